"""The figures of repeated work once more, from the blocks that stand in the report."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from .blocks import Blocks
from .epoch_energy import epoch_costs
from .isolated import over_processes
from .results import ChannelInference, ChannelStep, Figure, InferenceResult, TrainingResult
from .statistics import Vector, batch_means

SAME = 1e-9
"""Relative; another processor adds numbers up in another order."""


def check_repetitions(result: InferenceResult | TrainingResult) -> list[str]:
    """Where figures do not follow from the repetitions of their result, in words.

    The value and the repeatability interval are looked at; what the gains of
    the sensors add stands in no repetition.
    """
    if isinstance(result, TrainingResult) and result.epochs:
        return list(_epochs(result))
    if not result.repetitions:
        return ["repetitions is empty: nothing can be derived from it"]
    if isinstance(result, InferenceResult) and result.processes:
        return list(_processes(result))
    return list(_blocks(result))


def _processes(result: InferenceResult) -> Iterator[str]:
    """Each process from its own repetitions, and the totals from the processes."""
    counted = sum(process.repetitions for process in result.processes)
    if counted != len(result.repetitions):
        yield f"the processes have {counted} repetitions, the result {len(result.repetitions)}"
        return
    done = sum(process.inferences for process in result.processes)
    if done != result.inferences:
        yield f"inferences is {result.inferences}, the processes add up to {done}"
    first = 0
    for index, process in enumerate(result.processes):
        own = result.repetitions[first : first + process.repetitions]
        first += process.repetitions
        alone = replace(
            result,
            repetitions=own,
            inferences=process.inferences,
            energy_per_inference_j=process.energy_per_inference_j,
            energy_per_sample_j=_share(process.energy_per_inference_j, result.model.batch_size),
            latency_s=process.latency_s,
            power_w=process.power_w,
            channels=(),
            net_energy_per_inference_j=None,
            processes=(),
        )
        yield from (f"processes[{index}]: {text}" for text in _blocks(alone))
    for name in _MEANS:
        yield from _mean(name, getattr(result, name), [getattr(p, name) for p in result.processes])


_MEANS = (
    "energy_per_inference_j",
    "latency_s",
    "power_w",
    "idle_power_w",
    "net_energy_per_inference_j",
)
"""Figures of a result that are means over its processes."""


def _mean(name: str, told: Figure | None, processes: Sequence[Figure | None]) -> Iterator[str]:
    known = [figure for figure in processes if figure is not None]
    if len(known) < len(processes):
        if told is not None:
            yield f"{name} is {told.value!r}, but not known in every process"
        return
    signed = name.startswith("net_")
    follows = over_processes(known, signed)
    for key in ("value", "repeat_low", "repeat_high"):
        number, seen = getattr(follows, key), getattr(told, key, None)
        scale = SAME * abs(follows.value)
        if seen is None or not math.isclose(seen, number, rel_tol=SAME, abs_tol=scale):
            yield f"{name}.{key} is {seen!r}, {number!r} follows from the processes"


def _share(figure: Figure | None, samples: int) -> Figure | None:
    return None if figure is None else figure.divided(samples)


def _blocks(result: InferenceResult | TrainingResult) -> Iterator[str]:
    blocks = blocks_of(result)
    ids = [id for id in result.contains if id in blocks.energies]
    whole = bool(ids) and len(ids) == len(result.contains)
    if isinstance(result, InferenceResult):
        energy, seconds = "energy_per_inference_j", "latency_s"
        count = "inferences", result.inferences
    else:
        energy, seconds = "energy_per_step_j", "step_s"
        count = "steps", result.steps
    done = int(blocks.iterations.sum())
    if count[1] != done:
        yield f"{count[0]} is {count[1]}, the repetitions add up to {done}"
    yield from _compare(seconds, getattr(result, seconds), blocks.work / blocks.iterations)
    if whole:
        values = blocks.per_iteration(ids)
        yield from _compare(energy, getattr(result, energy), values)
        share = values / result.model.batch_size
        yield from _compare("energy_per_sample_j", result.energy_per_sample_j, share)
        watts = np.sum([blocks.energies[id] for id in ids], axis=0) / blocks.durations
        yield from _compare("power_w", result.power_w, watts)
        yield from _above_idle(result, blocks, values)
    channels: tuple[ChannelInference | ChannelStep, ...] = result.channels
    for index, channel in enumerate(channels):
        yield from _channel(f"channels[{index}]", channel, blocks)


def _above_idle(
    result: InferenceResult | TrainingResult, blocks: Blocks, gross: Vector
) -> Iterator[str]:
    name = (
        "net_energy_per_inference_j"
        if isinstance(result, InferenceResult)
        else "net_energy_per_step_j"
    )
    net: Figure | None = getattr(result, name)
    if net is None or result.idle_power_w is None:
        return
    idle = result.idle_power_w.value * blocks.work / blocks.iterations
    follows = float((gross - idle).mean())
    if not math.isclose(net.value, follows, rel_tol=SAME, abs_tol=SAME * float(gross.mean())):
        yield f"{name}.value is {net.value!r}, {follows!r} follows from the repetitions and idle"


def _channel(path: str, channel: ChannelInference | ChannelStep, blocks: Blocks) -> Iterator[str]:
    name = (
        "energy_per_inference_j" if isinstance(channel, ChannelInference) else "energy_per_step_j"
    )
    figure: Figure = getattr(channel, name)
    joined = next((term.joined for term in figure.budget if term.joined), None)
    if channel.id not in blocks.energies or (joined is None and not channel.in_total):
        return  # reports from before budgets do not tell how its blocks were joined
    if joined is not None and not 1 <= joined <= len(blocks.durations):
        yield f"{path}.{name}.budget tells of {joined} blocks made one"
        return
    joint = blocks.joined(joined) if joined else blocks
    yield from _compare(f"{path}.{name}", figure, joint.per_iteration([channel.id]))


def blocks_of(result: InferenceResult | TrainingResult) -> Blocks:
    """The repetitions as blocks; channels that are not in all of them are left out."""
    repetitions = result.repetitions
    joules: dict[str, list[float]] = {}
    for repetition in repetitions:
        for channel in repetition.channels:
            joules.setdefault(channel.id, []).append(channel.energy_j)
    return Blocks(
        np.array([r.start_s for r in repetitions]),
        np.array([r.duration_s for r in repetitions]),
        np.array([r.work_s for r in repetitions]),
        np.array([float(r.iterations) for r in repetitions]),
        {id: np.array(each) for id, each in joules.items() if len(each) == len(repetitions)},
        {},
    )


def _compare(path: str, figure: Figure | None, values: Vector) -> Iterator[str]:
    interval = batch_means(values)
    if figure is None:
        if math.isfinite(interval.half):
            yield f"{path} is null, {interval.mean!r} follows from the repetitions"
        return
    follows = {
        "value": interval.mean,
        "repeat_low": max(interval.mean - interval.half, min(interval.mean, 0.0)),
        "repeat_high": interval.mean + interval.half,
    }
    for name, number in follows.items():
        told = getattr(figure, name)
        if not math.isclose(told, number, rel_tol=SAME, abs_tol=SAME * abs(interval.mean)):
            yield f"{path}.{name} is {told!r}, {number!r} follows from the repetitions"


def _epochs(result: TrainingResult) -> Iterator[str]:
    """Values only: the times of the single steps, which the intervals need, are not in a report."""
    costs = epoch_costs(result.epochs, [result.step_s.value])
    for name in ("energy_per_step_j", "energy_per_sample_j", "energy_per_epoch_j", "power_w"):
        told: Figure | None = getattr(result, name)
        follows: Figure | None = getattr(costs, name)
        if told is None and follows is None:
            continue
        if (
            told is None
            or follows is None
            or not math.isclose(told.value, follows.value, rel_tol=SAME)
        ):
            numbers = [None if figure is None else figure.value for figure in (told, follows)]
            yield f"{name}.value is {numbers[0]!r}, {numbers[1]!r} follows from the epochs"
