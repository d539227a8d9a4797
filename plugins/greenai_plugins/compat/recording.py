"""Samples of power at a period, in the background, until a stop is asked for."""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

from greenai_core import (
    GreenAIError,
    HostUse,
    NoSensorError,
    Observed,
    Session,
    power_metrics,
    to_json,
)

from .parsers import JsonParser

STOP_MESSAGE = "Stop"
"""What ends a recording when it is put into its queue."""

STOPPING_S = 30.0
"""How long an end waits for the sample that is being taken."""


class Measuring(threading.Thread):
    """One recording: lines of mean power, and the energy of the whole with its interval.

    Args:
        driver: where it is written.
        period_s: between two samples.
        profilers, options: see ``greenai_core.Session``.

    Raises:
        ValueError: a period that is not positive.
    """

    def __init__(
        self,
        driver: JsonParser,
        period_s: float,
        profilers: str | Iterable[Any],
        options: Mapping[str, Mapping[str, Any]] | None,
    ) -> None:
        if not period_s > 0:
            raise ValueError(f"the period is {period_s} s: give one above 0")
        super().__init__(name="greenai-compat", daemon=True)
        self._driver = driver
        self._period_s = period_s
        self._ending = threading.Event()
        self._ended = False
        self._session = Session(profilers, options=options)
        try:
            self._session.open()
        except NoSensorError as error:
            warnings.warn(f"no energy can be recorded: {error}", RuntimeWarning, stacklevel=4)
            self._ended = True
            return
        self._use = HostUse(self._session.clock.now, 0.0)
        self._use.look()
        with contextlib.suppress(GreenAIError):
            self._session.observe()  # a utilisation is the mean since the look before
        self._whole = self._session.window("recording").__enter__()
        self._now = self._session.window("sample").__enter__()
        self._began_s = self._session.clock.now()

    def start(self) -> None:
        """Begin to take samples."""
        if not self._ended:
            super().start()

    def run(self) -> None:
        """Take a sample each period, until ``end``."""
        while not self._ending.wait(self._period_s):
            self._sample(again=True)

    def end(self) -> None:
        """Take the last sample and write the energy of the whole; once."""
        if self._ended:
            return
        self._ended = True
        self._ending.set()
        if self.is_alive():
            self.join(STOPPING_S)
        self._whole.__exit__(None, None, None)
        try:
            self._sample(again=False)
            self._driver.save_window(to_json(self._whole.result))
            self._driver.close_driver()
        finally:
            self._session.close()

    def _sample(self, again: bool) -> None:
        ended, start_s = self._now, self._began_s
        if again:
            # Begun before the other ends, so that no joule falls between two samples.
            self._now = self._session.window("sample").__enter__()
        self._began_s = self._session.clock.now()
        ended.__exit__(None, None, None)
        self._use.end()
        watts = {one.id: one.energy_j / ended.duration_s for one in ended.channels}
        channels = [one for one in self._session.channels if one.id in watts]
        seen: list[Observed] = []
        with contextlib.suppress(GreenAIError):
            seen = [
                Observed(one.device, one.quantity, one.unit, 1, one.value)
                for one in self._session.observe()
            ]
        use = self._use.between(start_s, self._began_s)
        del self._use.looks[:-1]
        metrics = power_metrics(channels, watts, seen, use)
        self._driver.save_power_metrics(metrics, ended.duration_s)


class Stopping:
    """Takes the message that ends a recording, as its queue did.

    Args:
        measuring: what is ended.
    """

    def __init__(self, measuring: Measuring) -> None:
        self._measuring = measuring

    def put(self, message: object) -> None:
        """End the recording when the message is ``STOP_MESSAGE``; returns when it has ended."""
        if message == STOP_MESSAGE:
            self._measuring.end()
