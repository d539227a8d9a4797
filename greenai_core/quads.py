"""From readings taken while pieces of work took turns, to the quads they make up."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .blocks import RunReadings
from .comparison import LogRatio, paired, quad_differences
from .results import ChannelJoules, Quad, Repetition
from .statistics import Indices, Vector

LABELS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""Of the works, in their order."""


@dataclass(frozen=True)
class Piece:
    """A stretch of one work that counts.

    Attributes:
        index: whose it was.
        start, end: numbers of the ticks at its borders.
    """

    index: int
    start: int
    end: int


def cut_quads(
    run: RunReadings, rounds: Sequence[Sequence[Piece]], contains: Sequence[str]
) -> tuple[tuple[Quad, ...], dict[str, str]]:
    """The quads, and why a channel gave nothing.

    Args:
        run: all that the sensors showed.
        rounds: the pieces of each quad.
        contains: ids of the channels that are wanted.
    """
    pieces = list(itertools.chain.from_iterable(rounds))
    at = np.array([tick for piece in pieces for tick in (piece.start, piece.end)], np.intp)
    instants = run.before[at]
    joules, failures = _joules(run, at, contains)
    worked = np.concatenate(([0.0], np.cumsum(run.before[1:] - run.after[:-1])))[at]
    done = np.cumsum(run.iterations)[at]
    stretches = iter(
        Repetition(
            float(instants[2 * n] - instants[0]),
            float(instants[2 * n + 1] - instants[2 * n]),
            float(worked[2 * n + 1] - worked[2 * n]),
            int(done[2 * n + 1] - done[2 * n]),
            tuple(ChannelJoules(id, float(values[n])) for id, values in joules.items()),
        )
        for n in range(len(pieces))
    )
    quads = tuple(
        Quad(
            "".join(LABELS[piece.index] for piece in one),
            tuple(itertools.islice(stretches, len(one))),
        )
        for one in rounds
    )
    return quads, failures


def _joules(
    run: RunReadings, at: Indices, contains: Sequence[str]
) -> tuple[dict[str, Vector], dict[str, str]]:
    """Joules of each piece by channel: every other stretch between the borders."""
    stretches, failures = run.energies(at, run.before[at])
    joules = {id: values[::2] for id, values in stretches.items() if id in contains}
    lost = {id: why for id, why in failures.items() if id in contains}
    for id, values in joules.items():
        if not (values > 0).all():
            lost[id] = f"{id} told no energy for a stretch of work, which cannot be true"
    return {id: values for id, values in joules.items() if id not in lost}, lost


def energies(quad: Quad, label: str) -> list[float]:
    """Joules of one iteration in each piece of a work.

    Power in the piece × time of one iteration: the reading of sensors between
    iterations is part of neither.
    """
    return [
        sum(channel.energy_j for channel in piece.channels)
        / piece.duration_s
        * piece.work_s
        / piece.iterations
        for piece in pieces_of(quad, label)
    ]


def pieces_of(quad: Quad, label: str) -> list[Repetition]:
    """The pieces of a work in a quad."""
    return [piece for letter, piece in zip(quad.order, quad.pieces, strict=True) if letter == label]


def ratio_logs(
    quads: Sequence[Quad], labels: Sequence[str], samples: Sequence[int]
) -> list[tuple[str, LogRatio]]:
    """Label and ratio of each work against the first of the labels.

    Args:
        quads: all of which hold these labels.
        labels: of the works.
        samples: what one iteration of each counts for; the ratio is of one sample.

    Raises:
        ValueError: there are fewer than two quads.
    """
    shares = [
        np.array([energies(quad, label) for quad in quads]) / count
        for label, count in zip(labels, samples, strict=True)
    ]
    return [
        (label, paired(quad_differences(shares[0], other)))
        for label, other in zip(labels[1:], shares[1:], strict=True)
    ]
