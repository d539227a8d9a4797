"""One model measured in several fresh processes, and the mean over them.

What differs from process to process (where memory lies, which kernels a library
chose, how warm the caches are) is the same for all repetitions of one process, so
no number of them shows it. Only other processes do.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from .above_idle import BELOW_FLOOR, floor_note
from .budget import Budget, Term
from .clock import SYSTEM_CLOCK, Clock
from .errors import GreenAIError
from .evaluation import MeasurementInterrupted
from .loop import LoopSettings
from .observed import joined
from .results import (
    ChannelInference,
    Figure,
    InferenceResult,
    MissingChannel,
    ProcessRun,
    ProcessSpread,
    SelfCost,
)
from .statistics import LOOK_GROWTH, Interval, coverage_factor, expanded

PROCESSES = 8
"""Before the first look at their interval."""

LEAST_PROCESSES = 5
ENOUGH = 3
"""Processes that must have finished for a figure where others failed."""

HOPELESS = 2
"""Processes that fail one after the other at the beginning: others would too."""

Measure = Callable[[LoopSettings], InferenceResult]


def process_interval(values: Sequence[float]) -> Interval:
    """Mean over processes and Student's t interval; ν is their number less one.

    The spread within each process is contained: it moves the means too.
    """
    means = np.asarray(values, dtype=np.float64)
    n = len(means)
    if n < 2:
        return Interval(float(means.mean()), math.inf, 1.0, n, 0.0)
    half = coverage_factor(n - 1) * float(means.std(ddof=1)) / math.sqrt(n)
    return Interval(float(means.mean()), half, float(n - 1), n, 0.0)


def over_processes(figures: Sequence[Figure], signed: bool = False) -> Figure:
    """The mean of the figures of several processes; of one process its own figure.

    What does not repeat, as the gain of a sensor, is common to all of them and
    stays as it is; what does is seen in how the processes differ.

    Args:
        figures: one a process, of the same quantity.
        signed: whether it may be negative.
    """
    if len(figures) < 2:
        return figures[0]
    interval = process_interval([figure.value for figure in figures])
    budget: Budget = (
        Term("processes", interval.u, interval.nu, detail=f"{interval.blocks} processes"),
        *_common(figures),
    )
    parts = [(term.u, math.inf if term.nu is None else term.nu) for term in budget]
    total = max(expanded(parts), interval.half)
    mean = interval.mean
    floor = -math.inf if signed else min(mean, 0.0)
    first = figures[0]
    return Figure(
        mean,
        max(mean - total, floor),
        mean + total,
        max(mean - interval.half, floor),
        mean + interval.half,
        first.method,
        f"mean of {len(figures)} processes; of the first: {first.provenance}",
        budget,
    )


def _common(figures: Sequence[Figure]) -> Budget:
    """The terms that do not repeat, each the mean over processes.

    They err alike in all processes, so they belong together by their place: the
    words may differ (a gain that is known at the power of each).
    """
    found: dict[tuple[str, int], list[Term]] = {}
    for figure in figures:
        count: Counter[str] = Counter()
        for term in figure.budget:
            if not term.repeats:
                found.setdefault((term.name, count[term.name]), []).append(term)
                count[term.name] += 1
    return tuple(
        replace(terms[0], u=math.fsum(term.u for term in terms) / len(figures))
        for terms in found.values()
    )


def spread(figures: Sequence[Figure]) -> ProcessSpread | None:
    """How far processes differ; None where that is no share of anything."""
    interval = process_interval([figure.value for figure in figures])
    if len(figures) < 2 or interval.mean <= 0:
        return None
    within = math.fsum(_u_repeat(figure) ** 2 for figure in figures) / len(figures)
    seen = float(np.var([figure.value for figure in figures], ddof=1))
    return ProcessSpread(
        math.sqrt(max(seen - within, 0.0)) / interval.mean, math.sqrt(within) / interval.mean
    )


def _u_repeat(figure: Figure) -> float:
    repeats = [term.u for term in figure.budget if term.repeats]
    return math.hypot(*repeats) if repeats else (figure.repeat_high - figure.value) / 2


def isolated_result(
    results: Sequence[InferenceResult],
    target: float,
    why_not: str = "",
    failures: Sequence[str] = (),
) -> InferenceResult:
    """One result of those of several processes.

    Args:
        results: one a process, in their order.
        target: relative half-width asked for.
        why_not: what stood in the way of reaching it; empty to go by the interval.
        failures: of processes that gave no result, in words.
    """
    first = results[0]
    energy = _mean([r.energy_per_inference_j for r in results])
    latency = over_processes([r.latency_s for r in results])
    if len(results) < 2:
        why_not = why_not or "one process says nothing of how processes differ"
    elif not why_not and (reached := _relative(energy or latency)) > target:
        why_not = f"the interval over processes reached ±{reached:.1%}, not ±{target:.1%}"
    channels, missing = _channels(results)
    net = _mean([r.net_energy_per_inference_j for r in results], signed=True)
    return replace(
        first,
        energy_per_inference_j=energy,
        energy_per_sample_j=_mean([r.energy_per_sample_j for r in results]),
        latency_s=latency,
        power_w=_mean([r.power_w for r in results]),
        channels=channels,
        missing=missing,
        repetitions=tuple(one for r in results for one in r.repetitions),
        inferences=sum(r.inferences for r in results),
        target=target,
        target_met=not why_not,
        self_cost_share=math.fsum(r.self_cost_share for r in results) / len(results),
        warnings=(*_warnings(results, why_not, failures), *floor_note(net)),
        raw=None,
        removed=tuple(one for r in results for one in r.removed),
        self_cost=_self_cost(results),
        observations=joined([r.observations for r in results]),
        idle_power_w=_mean([r.idle_power_w for r in results]),
        net_energy_per_inference_j=net,
        idle=first.idle if len(results) == 1 else (),
        processes=tuple(map(_process, results)),
        process_spread=spread(
            [r.energy_per_inference_j for r in results if r.energy_per_inference_j is not None]
            if energy is not None
            else [r.latency_s for r in results]
        ),
    )


def evaluate_isolated(
    measure: Measure,
    settings: LoopSettings,
    processes: int = PROCESSES,
    clock: Clock = SYSTEM_CLOCK,
    progress: Callable[[float, str], None] = lambda share, text: None,
) -> InferenceResult:
    """Measure in so many fresh processes, and in more while that can help.

    The interval is looked at when all of them have run, and then at half as many
    more each time, while the time allows another process.

    Args:
        measure: runs one process with settings for it; what a process that fails
            raises is told, and the others go on.
        settings: when to stop. Each process measures for its share of the longest
            time. More processes than asked for are begun only while the longest
            time, loading included, is not over.
        processes: to be run before the first look.
        clock: of this process.
        progress: told the share done and a word on the state.

    Raises:
        GreenAIError: of the first process that failed, where too few finished.
        MeasurementInterrupted: Ctrl-C; its ``result`` is of those that had finished.
        KeyboardInterrupt: none had.
    """
    if processes < LEAST_PROCESSES:
        raise ValueError(f"{processes} processes are too few: {LEAST_PROCESSES} at least")
    share = settings.max_time_s / processes
    each = replace(settings, max_time_s=share, min_time_s=min(settings.min_time_s, share))
    results: list[InferenceResult] = []
    errors: list[GreenAIError] = []
    told: list[str] = []
    began, look = clock.now(), processes
    try:
        while True:
            number = len(results) + len(errors)
            if number >= look and (_reached(results, settings) or len(results) < ENOUGH):
                break
            look = math.ceil(look * LOOK_GROWTH) if number >= look else look
            spent = clock.now() - began
            if number >= processes and spent * (number + 1) / number > settings.max_time_s:
                break
            progress(min(number / look, 1.0), f"process {number + 1} of {look}")
            try:
                results.append(measure(each))
            except GreenAIError as error:
                errors.append(error)
                told.append(f"process {number + 1} failed: {error}")
            if _hopeless(len(results), len(errors), processes):
                break
    except KeyboardInterrupt:
        if not results:
            raise
        why = "interrupted before the target was reached"
        result = isolated_result(results, settings.precision, why, told)
        raise MeasurementInterrupted(result) from None
    if errors and len(results) < ENOUGH:
        raise errors[0]
    return isolated_result(results, settings.precision, failures=told)


def _hopeless(finished: int, failed: int, processes: int) -> bool:
    return failed > processes - ENOUGH or (failed >= HOPELESS and not finished)


def _reached(results: Sequence[InferenceResult], settings: LoopSettings) -> bool:
    energies = [r.energy_per_inference_j for r in results]
    if None in energies and not all(energy is None for energy in energies):
        return True  # a total is lost, and more processes do not bring it back
    figure = _mean(energies) or over_processes([r.latency_s for r in results])
    return len(results) > 1 and _relative(figure) <= settings.precision


def _relative(figure: Figure) -> float:
    half = figure.repeat_high - figure.value
    return half / figure.value if figure.value > 0 else math.inf


def _mean(figures: Sequence[Figure | None], signed: bool = False) -> Figure | None:
    """None where one of them is not known: the mean of the others would be of less."""
    known = [figure for figure in figures if figure is not None]
    return over_processes(known, signed) if len(known) == len(figures) else None


def _channels(
    results: Sequence[InferenceResult],
) -> tuple[tuple[ChannelInference, ...], tuple[MissingChannel, ...]]:
    figures: dict[str, list[Figure]] = {}
    kinds: dict[str, ChannelInference] = {}
    lost: dict[str, str] = {}
    for number, result in enumerate(results, 1):
        for channel in result.channels:
            kinds.setdefault(channel.id, channel)
            figures.setdefault(channel.id, []).append(channel.energy_per_inference_j)
        for missing in result.missing:
            lost.setdefault(missing.id, f"process {number}: {missing.reason}")
    whole = {id for id, found in figures.items() if len(found) == len(results)}
    for id in figures:
        if id not in whole:
            lost.setdefault(id, "not every process gave a figure of it")
    return (
        tuple(
            replace(kinds[id], energy_per_inference_j=over_processes(figures[id]))
            for id in figures
            if id in whole
        ),
        tuple(MissingChannel(id, why) for id, why in lost.items() if id not in whole),
    )


def _process(result: InferenceResult) -> ProcessRun:
    return ProcessRun(
        len(result.repetitions),
        result.inferences,
        result.energy_per_inference_j,
        result.latency_s,
        result.power_w,
        result.idle_power_w,
        result.net_energy_per_inference_j,
        result.target_met,
    )


def _warnings(
    results: Sequence[InferenceResult], why_not: str, failures: Sequence[str]
) -> tuple[str, ...]:
    """Those of the processes, each once; whether one process met the target is its own matter."""
    own = [f"target not met: {why_not}"] if why_not else []
    if failures:
        own.append(f"the figures are those of {len(results)} processes; " + "; ".join(failures))
    found: dict[str, list[str]] = {}
    for result in results:
        for text in result.warnings:
            if not text.startswith(_OF_ITS_OWN):
                found.setdefault(re.sub(r"[0-9.]+", "#", text), []).append(text)
    n = len(results)
    shared = [
        t[0] if len(t) == n else f"in {len(t)} of {n} processes: {t[0]}" for t in found.values()
    ]
    return (*own, *shared)


_OF_ITS_OWN = ("target not met", BELOW_FLOOR)
"""Warnings that speak of one process by itself, not of the mean."""


def _self_cost(results: Sequence[InferenceResult]) -> SelfCost | None:
    """In all processes together."""
    costs = [r.self_cost for r in results if r.self_cost is not None]
    if len(costs) < len(results):
        return None
    energies = [cost.energy_j for cost in costs if cost.energy_j is not None]
    return SelfCost(
        math.fsum(cost.held_s for cost in costs),
        math.fsum(cost.cpu_s for cost in costs),
        math.fsum(cost.share for cost in costs) / len(costs),
        _sum(energies) if len(energies) == len(costs) else None,
    )


def _sum(figures: Sequence[Figure]) -> Figure:
    """Of estimates that err alike."""

    def total(key: str) -> float:
        return math.fsum(getattr(figure, key) for figure in figures)

    return replace(
        figures[0],
        value=total("value"),
        low=total("low"),
        high=total("high"),
        repeat_low=total("repeat_low"),
        repeat_high=total("repeat_high"),
        budget=(),
    )
