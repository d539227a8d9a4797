"""Where in a model the joules go. See ``docs/layers.md``.

No sensor sees a layer: layers last microseconds, sensors move every millisecond at best. So
time tells where a pass spends itself, and the energy of the layers that matter is measured by
repeating them: inside the pass (``context``), or by themselves (``isolation``). Both are
measurements of many repetitions. Only what is left goes by its time, which is a model.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from .abilities import (
    CallTime,
    Layer,
    LayerCall,
    Layered,
    ProfiledLayered,
    RepeatableLayered,
    TimedLayered,
)
from .blocks import Source
from .clock import Clock
from .errors import ModelError
from .layer_profiles import profiled_shares
from .layer_results import CONTEXT, ISOLATION, TIME, LayersResult
from .layer_rows import Part, layers_result, seconds_by_layer, u_of
from .layer_shares import NO_TIMES, ROOT, Shares, shares_of
from .loop import LoopSettings, run_loop
from .results import InferenceResult
from .run_costs import run_costs, sensors_of
from .statistics import Vector

STEPS = (0, 1, 3, 3, 1, 0)
"""How often more a layer is done in the passes that are compared, in steps: there and back, so
that a drift is in none of the slopes."""

STEP_SHARE = 0.3
"""Of a pass: what a step adds to it at least, so that it does not drown in what passes scatter."""

LONGEST_STEP = 50
"""Times; a layer that takes less than 0.6 % of a pass adds less than that share."""

FEWEST_PASSES = 15
MOST_PASSES = 400
PASSES_S = 2.0
"""Of each kind of passes that tell times."""

UNSETTLED = 2
"""Passes of each kind that are left out: what runs for the first time is not like the rest."""

AT_MOST = 2
"""Times the seconds of a layer: so long it is measured where it is not precise before."""

LONG_ENOUGH_S = 0.001
"""Replays are joined until they take so long: waiting for a device is not part of a layer."""

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class LayerSettings:
    """How layers are measured.

    Attributes:
        method: ``context``, ``isolation`` or ``time``; a layer that cannot be measured so
            is measured by the next one, and says so.
        top: how many of them, those that take longest; the others go by their time.
        layer_s: of measuring each, s; twice as long where it is not precise by then.
        loop: when the measurement of the whole pass stops.
        seed: of the order of passes; None for one of its own each time.
    """

    method: str = CONTEXT
    top: int = 10
    layer_s: float = 3.0
    loop: LoopSettings = field(default_factory=LoopSettings)
    seed: int | None = None


@dataclass(frozen=True)
class Pass:
    """What is measured: a pass through a model, whatever the model is.

    Attributes:
        phase: ``inference`` or ``training``.
        layered: its layers.
        prepared: what it is fed with.
        work: one pass; when it returns nothing of it is still running.
        synchronize: returns when nothing is running.
        macs: multiply-accumulates by layer, as far as known.
    """

    phase: str
    layered: Layered
    prepared: object
    work: Callable[[], None]
    synchronize: Callable[[], None]
    macs: Mapping[str, int]


class LayerMeasurement:
    """Measures the layers of one pass with open profilers.

    Args:
        one_pass: what is measured.
        sources: the profilers.
        clock: theirs.
        settings: how.
        progress: told the share done and a word on the state.
    """

    def __init__(
        self,
        one_pass: Pass,
        sources: Sequence[Source],
        clock: Clock,
        settings: LayerSettings,
        progress: Progress = lambda share, text: None,
    ) -> None:
        self._pass = one_pass
        self._sources = sources
        self._clock = clock
        self._settings = settings
        self._progress = progress
        self._random = random.Random(settings.seed)  # noqa: S311  # no secret
        self._layers: tuple[Layer, ...] = ()
        self._shares: Shares | None = None
        self._parts: dict[str, Part] = {}

    def measure(self, whole: InferenceResult) -> LayersResult:
        """All rows, closed: see ``gather`` and ``result``."""
        self.gather(whole)
        return self.result(whole)

    def gather(self, whole: InferenceResult) -> None:
        """Times and energies of the layers. What is interrupted leaves what it had until then.

        Args:
            whole: the same pass, measured without watching its layers.

        Raises:
            ModelError: the layers cannot be told apart.
        """
        layers = self._pass.layered.layers()
        if not layers:
            raise ModelError(
                f"{whole.model.path}: this model tells no layers apart; `greenai bench` measures "
                "it as a whole"
            )
        self._layers = tuple(layers)
        self._progress(0.0, "timing the layers")
        self._shares = self._timed_layers(whole)
        seconds = seconds_by_layer(self._shares)
        if whole.energy_per_inference_j is not None and self._settings.method != TIME:
            self._measure(self._leaves(layers, seconds), seconds, whole)

    def result(self, whole: InferenceResult) -> LayersResult:
        """All rows, closed, of what was gathered.

        Args:
            whole: what they are closed to.
        """
        layers = self._layers or self._pass.layered.layers()
        shares = self._shares or NO_TIMES
        macs = self._pass.macs
        return layers_result(whole, self._pass.phase, layers, macs, shares, self._parts)

    def _timed_layers(self, whole: InferenceResult) -> Shares:
        layered, prepared = self._pass.layered, self._pass.prepared
        count = round(PASSES_S / max(whole.latency_s.value, 1e-6))
        count = min(max(count, FEWEST_PASSES), MOST_PASSES)
        if isinstance(layered, ProfiledLayered):
            return profiled_shares(layered, prepared, lambda: self._timed(self._pass.work), count)
        if not isinstance(layered, TimedLayered):
            return self._replayed(layered.calls(prepared), whole)
        passes: list[tuple[CallTime, ...]] = []
        work_s: list[float] = []
        lengths: dict[int, list[float]] = {0: [], 1: [], 2: []}
        for number in range(-UNSETTLED, count):
            for probes in self._random.sample((None, *lengths), 4):
                if probes is None:
                    took = self._timed(self._pass.work)
                else:
                    calls = layered.timed(prepared, probes)
                if number < 0:
                    continue
                if probes is None:
                    work_s.append(took)
                else:
                    lengths[probes].append(calls[0].seconds)
                if probes == 1:
                    passes.append(calls)
        return shares_of(passes, lengths[1], lengths[2], lengths[0], work_s)

    def _replayed(self, calls: Sequence[LayerCall], whole: InferenceResult) -> Shares:
        """Times of layers done by themselves, where a pass does not tell them."""
        names, seconds, unsure = [ROOT], [0.0], [0.0]
        for call in calls:
            took, u = _typical(partial(self._net_s, call))
            names.append(call.layer)
            seconds.append(took)
            unsure.append(u)
        pass_s = whole.latency_s.value
        seconds[0] = max(pass_s - math.fsum(seconds), 0.0)
        return Shares(
            layers=tuple(names),
            seconds=tuple(seconds),
            u_seconds=tuple(unsure),
            overhead_s=0.0,
            pass_s=pass_s,
            per_call_s=0.0,
            watched_s=pass_s,
            left_share=0.0,
            passes=0,
        )

    def _net_s(self, call: LayerCall) -> float:
        """Time of a call done by itself once, less that of handing it over right afterwards."""
        took = self._timed(call.replay)
        return took if call.empty is None else took - self._timed(call.empty)

    def _timed(self, work: Callable[[], object]) -> float:
        began = self._clock.now()
        work()
        self._pass.synchronize()
        return self._clock.now() - began

    def _leaves(self, layers: Sequence[Layer], seconds: Mapping[str, float]) -> list[str]:
        """The layers in which no other takes time, longest first."""
        containers = set()
        for layer in reversed(layers):  # from the inside to the outside
            if layer.name in containers or seconds.get(layer.name, 0.0) > 0:
                containers.add(layer.parent)
        leaves = [
            layer.name
            for layer in layers
            if layer.name not in containers and seconds.get(layer.name, 0.0) > 0
        ]
        leaves.sort(key=lambda name: -seconds[name])
        return leaves

    def _measure(
        self, names: Sequence[str], seconds: Mapping[str, float], whole: InferenceResult
    ) -> None:
        """Those that take longest, of those that can be done again."""
        calls: dict[str, list[LayerCall]] = {}
        for call in self._pass.layered.calls(self._pass.prepared):
            calls.setdefault(call.layer, []).append(call)
        order = [name for name in names if name in calls][: self._settings.top]
        self._random.shuffle(order)
        for number, name in enumerate(order):
            self._progress((1 + number) / (1 + len(order)), name)
            part = self._one(name, calls[name], seconds[name], whole)
            if part is not None:
                self._parts[name] = part

    def _one(
        self, name: str, calls: Sequence[LayerCall], seconds: float, whole: InferenceResult
    ) -> Part | None:
        reasons: tuple[str, ...] = ()
        if self._settings.method == CONTEXT:
            if isinstance(self._pass.layered, RepeatableLayered):
                try:
                    return self._in_context(self._pass.layered, name, seconds, whole)
                except ModelError as error:
                    reasons = (f"measured by itself: {error}",)
            else:
                reasons = (
                    f"measured by itself: {self._pass.phase} of this format cannot repeat a "
                    "layer in a pass",
                )
        if not calls:
            return None
        return self._isolated(calls, seconds, whole, reasons)

    def _in_context(
        self, layered: RepeatableLayered, name: str, seconds: float, whole: InferenceResult
    ) -> Part | None:
        """The slope of the energy of a pass over how often the layer is done in it."""
        step = math.ceil(STEP_SHARE * whole.latency_s.value / seconds)
        often = [1 + min(step, LONGEST_STEP) * steps for steps in STEPS]
        joules, unsure = [], []
        for times in often:
            repeated = layered.repeated(self._pass.prepared, name, times)
            found = self._joules(repeated, self._settings.layer_s / len(often), 1, whole)
            if found is None:
                return None
            joules.append(found[0])
            unsure.append(found[1])
        slope, u = _slope(np.array(often, float), np.array(joules), np.array(unsure))
        return Part(slope, u, CONTEXT)

    def _isolated(
        self,
        calls: Sequence[LayerCall],
        seconds: float,
        whole: InferenceResult,
        reasons: tuple[str, ...],
    ) -> Part | None:
        joules, variance = 0.0, 0.0
        each_s = self._settings.layer_s / len(calls)
        for call in calls:
            works = [call.replay] if call.empty is None else [call.replay, call.empty]
            for sign, work in zip((1, -1), works, strict=False):
                took = seconds / len(calls)
                if call.empty is not None:
                    took, _ = _typical(partial(self._timed, work))
                joined = max(1, math.ceil(LONG_ENOUGH_S / max(took, 1e-7)))
                found = self._joules(work, each_s / len(works), joined, whole)
                if found is None:
                    return None
                joules += sign * found[0]
                variance += found[1] ** 2
        if joules < 0:
            # Not lifted to nothing: over many small layers that would add up.
            reasons = (*reasons, "by itself it costs no more than handing a layer over")
        return Part(joules, math.sqrt(variance), ISOLATION, reasons)

    def _joules(
        self,
        asynchronous: Callable[[], object],
        seconds: float,
        joined: int,
        whole: InferenceResult,
    ) -> tuple[float, float] | None:
        """Energy of one, and its standard uncertainty; None where a sensor failed."""

        def work() -> None:
            for _ in range(joined):
                asynchronous()
            self._pass.synchronize()

        settings = replace(
            self._settings.loop,
            min_time_s=seconds,
            max_time_s=max(AT_MOST * seconds, 1.0),
            warm_up_s=min(self._settings.loop.warm_up_s, seconds / 4),
        )
        run = run_loop(work, self._sources, whole.contains, self._clock, settings)
        if run.interrupted:
            raise KeyboardInterrupt
        sensors = sensors_of(self._sources, run.blocks)
        energy = run_costs(run, sensors, whole.contains, settings).energy
        if energy is None:
            return None
        return energy.value / joined, u_of(energy) / joined


def _typical(once_s: Callable[[], float]) -> tuple[float, float]:
    """Median of a time, s, and how unsure it is; the first one is left out."""
    once_s()
    found = sorted(once_s() for _ in range(FEWEST_PASSES))
    return found[len(found) // 2], (found[-3] - found[2]) / math.sqrt(len(found))


def _slope(times: Vector, joules: Vector, unsure: Vector) -> tuple[float, float]:
    """The least-squares slope, weighted; scatter beyond the uncertainties widens it."""
    floor = max(float(unsure.max()) * 1e-3, 1e-15)
    weights = 1.0 / np.maximum(unsure, floor) ** 2
    centre = float((weights * times).sum() / weights.sum())
    spread = float((weights * (times - centre) ** 2).sum())
    slope = float((weights * (times - centre) * joules).sum() / spread)
    level = float((weights * (joules - slope * (times - centre))).sum() / weights.sum())
    misfit = joules - level - slope * (times - centre)
    excess = float((weights * misfit**2).sum() / (len(times) - 2))
    return slope, math.sqrt(max(excess, 1.0) / spread)
