"""Models measured in turn, and what one of them costs against the first."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .arrays import samples
from .blocks import Source
from .budget import Term, gains
from .channels import Channel, contents, joined_method
from .clock import Clock
from .errors import ModelInputError
from .evaluation import describe
from .inputs import InputOptions
from .interleaved import ComparisonSettings, QuadRun, run_quads
from .model import DLLibrary
from .model_factory import opened
from .quads import LABELS, energies, pieces_of
from .results import (
    ComparedModel,
    ComparisonResult,
    FailedModel,
    Figure,
    MissingChannel,
    ModelSummary,
    Quad,
)
from .run_costs import sensor_notes
from .statistics import Vector, batch_means, expanded


class ComparisonInterrupted(KeyboardInterrupt):
    """Ctrl-C or a signal ended a comparison; the quads measured are not lost.

    Attributes:
        result: of those quads, with ``complete`` False.
    """

    def __init__(self, result: ComparisonResult) -> None:
        super().__init__("interrupted")
        self.result = result


@dataclass(frozen=True)
class Contestant:
    """A loaded model with its input on the device, ready to run.

    Attributes:
        summary: which file, and how it is fed.
        work: one inference, complete on return.
        accelerators: ids of the boards it runs on.
        assumptions: what was taken for granted about its input.
    """

    summary: ModelSummary
    work: Callable[[], None]
    accelerators: tuple[str, ...]
    assumptions: tuple[str, ...]


def contestant(library: DLLibrary, data: Any, options: InputOptions) -> Contestant:
    """Load a model and make its input.

    Raises:
        ModelError: it cannot be run on these data.
    """
    library.load()
    inputs: Mapping[str, Any] = library.make_inputs(data, options)
    prepared = library.prepare(inputs)

    def work() -> None:
        library.predict(prepared)
        library.synchronize()

    return Contestant(
        describe(library, inputs, samples(inputs)),
        work,
        tuple(library.accelerators()),
        tuple(library.assumptions()),
    )


def loaded(
    models: Sequence[DLLibrary | str | os.PathLike[str]],
    data: Any,
    options: InputOptions,
    stack: contextlib.ExitStack,
) -> tuple[list[Contestant], list[FailedModel]]:
    """All models loaded and fed; those that fail are told apart while two are left.

    Args:
        models: opened models, or paths.
        data: see ``DLLibrary.run``.
        options: see ``InputOptions``.
        stack: keeps the models of paths open.

    Raises:
        ModelError: there are not two models, or the first or all others fail.
    """
    if not 2 <= len(models) <= len(LABELS):
        raise ModelInputError(
            f"{len(models)} models cannot be compared: give two, or up to {len(LABELS)}, the first "
            "of which the others are compared with"
        )
    contestants: list[Contestant] = []
    failed: list[FailedModel] = []
    for index, name in enumerate(models):
        try:
            library = stack.enter_context(opened(name))
            contestants.append(contestant(library, data, options))
        except Exception as error:
            last = index == len(models) - 1
            if index == 0 or (last and len(contestants) < 2):
                raise
            path = name.path if isinstance(name, DLLibrary) else name
            failed.append(FailedModel(str(path), _told(error)))
    return contestants, failed


def compare(
    contestants: Sequence[Contestant],
    failed: Sequence[FailedModel],
    sources: Sequence[Source],
    clock: Clock,
    settings: ComparisonSettings | None,
    progress: Callable[[float, str], None],
) -> ComparisonResult:
    """Measure in turn and compare with the first. See ``Session.compare``."""
    settings = settings or ComparisonSettings()
    boards = {board for one in contestants for board in one.accelerators}
    channels = [channel for source in sources for channel in source.channels]
    contains = contents(channels, boards)
    unit, counts = _units(contestants)
    works = [one.work for one in contestants]
    run = run_quads(works, sources, contains, clock, settings, progress, counts)
    inside = _described(sources, contains, run)
    models = tuple(
        ComparedModel(
            label,
            one.summary,
            None if run.failures else _energy(run, label, count, inside),
            _seconds(run.quads, label, count),
        )
        for label, one, count in zip(LABELS, contestants, counts, strict=False)
    )
    paths = [one.summary.path for one in contestants]
    dropped = [FailedModel(paths[index], _told(error)) for index, error in run.dropped.items()]
    result = ComparisonResult(
        unit=unit,
        design="interleaved",
        models=models,
        ratios=run.ratios,
        margin=settings.margin,
        contains=contains,
        missing=tuple(MissingChannel(id, why) for id, why in run.failures.items()),
        quads=run.quads,
        failed=(*failed, *dropped),
        self_cost_share=run.self_cost_share,
        complete=not run.interrupted,
        warnings=(
            *_assumed(contestants),
            *_warnings(run, inside, unit, settings, len(contestants)),
            *sensor_notes(sources),
        ),
    )
    if run.interrupted:
        raise ComparisonInterrupted(result)
    return result


def _units(contestants: Sequence[Contestant]) -> tuple[str, list[int]]:
    """What the energies are of, and how many of it one run of each model is."""
    sizes = [one.summary.batch_size for one in contestants]
    return ("inference", [1] * len(sizes)) if len(set(sizes)) == 1 else ("sample", sizes)


def _described(sources: Sequence[Source], contains: Sequence[str], run: QuadRun) -> list[Channel]:
    """The channels of the total as they are known at the mean power of the run."""
    pieces = [piece for quad in run.quads for piece in quad.pieces]
    seconds = sum(piece.duration_s for piece in pieces)
    joules: dict[str, float] = {}
    for piece in pieces:
        for channel in piece.channels:
            joules[channel.id] = joules.get(channel.id, 0.0) + channel.energy_j
    return [
        source.described(channel, joules[channel.id] / seconds if channel.id in joules else None)
        for source in sources
        for channel in source.channels
        if channel.id in contains
    ]


def _values(quads: Sequence[Quad], label: str, count: int) -> Vector:
    """Joules of one unit in each quad that the model took part in."""
    return np.array([np.mean(energies(q, label)) / count for q in quads if label in q.order])


def _energy(run: QuadRun, label: str, count: int, channels: Sequence[Channel]) -> Figure | None:
    """Joules of one unit; None without an interval."""
    values = _values(run.quads, label, count)
    shares = [
        (c.gain_kind, c.id, c.gain_uncertainty * _mean(run, label, count, c.id)) for c in channels
    ]
    names = " + ".join(channel.id for channel in channels)
    method = joined_method({channel.method for channel in channels})
    return _figure(values, gains(shares), method, names, run.self_cost_share)


def _mean(run: QuadRun, label: str, count: int, id: str) -> float:
    """Joules of one unit on one channel."""
    joules = [
        channel.energy_j / piece.duration_s * piece.work_s / piece.iterations / count
        for quad in run.quads
        for piece in pieces_of(quad, label)
        for channel in piece.channels
        if channel.id == id
    ]
    return float(np.mean(joules)) if joules else 0.0


def _seconds(quads: Sequence[Quad], label: str, count: int) -> Figure | None:
    """Seconds of one unit; None without an interval."""
    values = [
        np.mean([piece.work_s / piece.iterations for piece in pieces_of(quad, label)]) / count
        for quad in quads
        if label in quad.order
    ]
    return _figure(np.array(values), (), "clock", "monotonic clock")


def _figure(
    values: Vector, gain: Sequence[Term], method: str, what: str, reading: float = 0.0
) -> Figure | None:
    if len(values) < 2:
        return None
    interval = batch_means(values)
    mean, half = interval.mean, interval.half
    spread = f"{interval.blocks} quads, r = {interval.correlation:.2f}"
    budget = (
        Term("repetition", interval.u, interval.nu, detail=spread, blocks=interval.blocks,
             joined=1, correlation=interval.correlation),
        *gain,
    )  # fmt: skip
    if reading:
        # The power while sensors are read is unknown: 0 to twice the mean, a uniform error.
        unread = reading * mean / math.sqrt(3)
        budget += (Term("reading", unread, None, False, f"{reading:.2%} of the time"),)
    total = max(expanded([(t.u, math.inf if t.nu is None else t.nu) for t in budget]), half)
    return Figure(
        mean,
        max(mean - total, 0.0),
        mean + total,
        max(mean - half, 0.0),
        mean + half,
        method,
        f"{what}; mean of {len(values)} quads",
        budget,
    )


def _told(error: Exception) -> str:
    return str(error) or type(error).__name__


def _assumed(contestants: Sequence[Contestant]) -> list[str]:
    return [f"{one.summary.path}: {text}" for one in contestants for text in one.assumptions]


def _warnings(
    run: QuadRun,
    channels: Sequence[Channel],
    unit: str,
    settings: ComparisonSettings,
    models: int,
) -> list[str]:
    notes = []
    if unit == "sample":
        notes.append("the models take different numbers of samples at once: compared per sample")
    if run.failures:
        lost = "; ".join(f"{id}: {why}" for id, why in run.failures.items())
        notes.append(f"no ratio: a channel of the total was lost ({lost})")
    elif run.interrupted:
        notes.append(f"interrupted after {len(run.quads)} quads")
    elif run.wanted > len(run.quads):
        needed = run.wanted * run.quad_s / models
        notes.append(
            f"the time was over after {len(run.quads)} quads; about {run.wanted} are needed: "
            f"allow them with --max-time {needed:.0f}, or let nothing else run meanwhile"
        )
    if any(not channel.measured for channel in channels):
        which = ", ".join(channel.id for channel in channels if not channel.measured)
        note = f"modelled, not measured: {which}"
        if not any(channel.measured for channel in channels):
            note += ". The ratio tells how long the models keep the hardware how busy, no more"
        notes.append(note)
    return notes
