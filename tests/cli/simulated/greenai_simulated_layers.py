"""Two layers of the tiny format, and Ctrl-C at a known place of their measurement."""

from __future__ import annotations

import itertools
import os
import signal
import time

from greenai_core import CallTime, Layer, LayerCall

ENOUGH = 700
"""Runs of at least a millisecond after which the warm-up of half a second is over."""


class TinyLayers:
    """``{"layers": {"interrupt": "whole" | "timing" | "layers" | "again"}}``."""

    def __init__(self, model, asked):
        self.model = model
        self.phase = "whole"
        self.interrupt = asked.get("interrupt")
        self.done = 0

    def at(self, phase):
        """Ctrl-C, once, if it was asked for here."""
        self.phase = phase
        if phase == self.interrupt:
            self.interrupt = None
            os.kill(os.getpid(), signal.SIGINT)

    def predicted(self):
        """The model was run as a whole."""
        self.done += 1
        if self.phase == "whole" and self.done == ENOUGH:
            self.at("whole")
        if self.phase == "layers":
            self.at("again")

    def layers(self):
        return (Layer("first", "Half", 3, None), Layer("second", "Half", 3, None))

    def half(self):
        self.model.spend(self.model.seconds / 2)

    def timed(self, prepared, probes):
        self.at("timing")
        stamps = [time.perf_counter()]
        for _ in range(2):
            self.half()
            stamps.append(time.perf_counter())
        whole = CallTime("", None, stamps[-1] - stamps[0])
        if not probes:
            return (whole,)
        pieces = [after - before for before, after in itertools.pairwise(stamps)]
        return (whole, CallTime("first", 0, pieces[0]), CallTime("second", 0, pieces[1]))

    def calls(self, prepared):
        def replay():
            self.at("layers")
            self.half()

        return (LayerCall("first", 0, replay), LayerCall("second", 0, replay))
