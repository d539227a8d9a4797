"""The curves that may describe how a quantity grows with size. Pure functions.

Every candidate is linear in its coefficients once its breaks (or its exponent) are fixed, so all
of them are tried: each is an orthonormal basis of what it can describe at the given sizes, and a
fit is a projection. A *bend* changes the slope and leaves the curve whole; a *jump* lies between
two neighbouring sizes and can be told no closer than that.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np
import numpy.typing as npt

from .statistics import Vector

CONSTANT = "constant"
LINEAR = "linear"
POWER = "power law"
FLAT_LINEAR = "constant then linear"
STEP = "constant with a jump"
JUMP = "linear with a jump"
BEND = "linear with a bend"
FLAT_LINEAR_JUMP = "constant then linear with a jump"
TWO_JUMPS = "linear with two jumps"

SHAPES = (
    CONSTANT, LINEAR, POWER, STEP, FLAT_LINEAR, JUMP, BEND, FLAT_LINEAR_JUMP, TWO_JUMPS,
)  # fmt: skip
"""From the simplest to the most complicated: the order in which parsimony prefers them."""

PARAMETERS = {
    CONSTANT: 1, LINEAR: 2, POWER: 2, FLAT_LINEAR: 3, STEP: 3, JUMP: 4, BEND: 4,
    FLAT_LINEAR_JUMP: 5, TWO_JUMPS: 6,
}  # fmt: skip
"""Coefficients, exponents and places of breaks."""

SMOOTH = (CONSTANT, LINEAR, POWER)
ONE_BREAK = (STEP, FLAT_LINEAR, JUMP, BEND)
TWO_BREAKS = (FLAT_LINEAR_JUMP, TWO_JUMPS)
SPARE = 2
"""Sizes that a shape needs beyond its parameters."""

SIDE = 2
"""Sizes on each side of a break: one alone may as well be an outlier."""

PER_GAP = 5
"""Places tried for a bend from one size to the next."""

MOST_JUMPS = 40
MOST_BENDS = 190
"""Places tried first for each of two breaks: all of them up to 40 sizes; at 200 sizes all would
be some gigabytes."""

EXPONENTS = tuple(float(p) for p in np.round(np.arange(-3.0, 4.001, 0.02), 2) if p)

Table = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Bank:
    """All candidates of one shape at the given sizes and weights.

    Attributes:
        shape: one of ``SHAPES``.
        places: a row each: the bend, then the jumps; or the exponent.
        designs: candidates × sizes × coefficients, unweighted.
        bases: orthonormal, of the weighted designs.
    """

    shape: str
    places: Table
    designs: Table
    bases: Table


def bank(shape: str, sizes: Vector, weights: Vector, around: tuple[float, ...] = ()) -> Bank | None:
    """The candidates of a shape; None where there are too few sizes for it.

    Args:
        shape: one of ``SHAPES``.
        sizes: increasing.
        weights: 1/u of each value.
        around: places of two breaks, near which all places are tried and not a part of them.
    """
    if len(sizes) < PARAMETERS[shape] + SPARE:
        return None
    places, designs = _all_designs(shape, tuple(map(float, sizes)), around)
    if not len(designs):
        return None
    bases, triangles = np.linalg.qr(designs * weights[None, :, None])
    diagonal = np.abs(np.diagonal(triangles, axis1=1, axis2=2))
    sound = diagonal.min(axis=1) > 1e-10 * diagonal.max(axis=1)
    if not sound.any():
        return None
    return Bank(shape, places[sound], designs[sound], bases[sound])


@lru_cache(maxsize=12)
def _all_designs(
    shape: str, sizes: tuple[float, ...], around: tuple[float, ...]
) -> tuple[Table, Table]:
    """Of one shape; several models of a study have the same sizes."""
    made = list(_designs(shape, np.array(sizes), around))
    places = np.array([place for place, _ in made], dtype=float).reshape(len(made), -1)
    return places, np.stack([design for _, design in made]) if made else np.empty(0)


def jumps_between(sizes: Vector) -> Vector:
    """Middles of the gaps that a jump may lie in."""
    middles = (sizes[1:] + sizes[:-1]) / 2
    return np.asarray(middles[SIDE - 1 : len(middles) - SIDE + 1])


def bends_at(sizes: Vector) -> Vector:
    """Places that a bend may have: at sizes and between them."""
    inner = sizes[SIDE - 1 : len(sizes) - SIDE + 1]
    shares = np.arange(PER_GAP) / PER_GAP
    grid = (inner[:-1, None] + shares[None, :] * np.diff(inner)[:, None]).ravel()
    return np.append(grid, inner[-1])


def _some(places: Vector, most: int, around: tuple[float, ...]) -> Vector:
    """So many places, evenly chosen, and all near those of ``around``."""
    if len(places) <= most:
        return places
    kept = set(np.linspace(0, len(places) - 1, most).round().astype(int).tolist())
    step = len(places) // most + 1
    for place in around:
        at = int(np.abs(places - place).argmin())
        kept.update(range(max(at - step, 0), min(at + step + 1, len(places))))
    return np.asarray(places[sorted(kept)])


def _designs(
    shape: str, x: Vector, around: tuple[float, ...]
) -> Iterator[tuple[tuple[float, ...], Table]]:
    """Places and unweighted design of each candidate."""
    one = np.ones_like(x)
    if shape == POWER:
        middle = float(np.exp(np.log(x).mean()))
        for exponent in EXPONENTS:
            yield (exponent,), np.column_stack([(x / middle) ** exponent])
        return
    straight = [one] if shape in (CONSTANT, STEP, FLAT_LINEAR, FLAT_LINEAR_JUMP) else [one, x]
    bends = bends_at(x) if shape in (FLAT_LINEAR, BEND, FLAT_LINEAR_JUMP) else np.empty(0)
    jumps_at = jumps_between(x)
    if shape in TWO_BREAKS:
        bends = _some(bends, MOST_BENDS, around)
        jumps_at = _some(jumps_at, MOST_JUMPS, around)
    for bend in bends if len(bends) else (None,):
        bent = [] if bend is None else [_beyond(x, bend)]
        place = () if bend is None else (float(bend),)
        for jumps in _jumps(shape, x, jumps_at):
            stepped = [x > jump for jump in jumps]
            yield (*place, *jumps), np.column_stack([*straight, *bent, *stepped])


def _jumps(shape: str, x: Vector, places: Vector) -> Iterator[tuple[float, ...]]:
    if shape in (STEP, JUMP, FLAT_LINEAR_JUMP):
        yield from ((float(jump),) for jump in places)
    elif shape == TWO_JUMPS:
        for first, second in combinations(map(float, places), 2):
            if np.sum((x > first) & (x < second)) >= SIDE:
                yield first, second
    else:
        yield ()


def _beyond(x: Vector, bend: float) -> Vector:
    return np.maximum(x - bend, 0.0)


def residual_squares(one: Bank, values: Table) -> Table:
    """Sum of squares that each candidate leaves: candidates × columns.

    Args:
        one: the candidates.
        values: weighted; sizes × columns.
    """
    candidates, sizes, coefficients = one.bases.shape
    stacked = one.bases.transpose(0, 2, 1).reshape(candidates * coefficients, sizes)
    explained = (stacked @ values).reshape(candidates, coefficients, -1)
    squares = np.einsum("mpb,mpb->mb", explained, explained)
    return np.asarray(np.maximum((values**2).sum(axis=0) - squares, 0.0))


def left_out_errors(one: Bank, values: Vector) -> Vector:
    """Squared error at each size of the curve that was fitted, break and all, without it.

    By the identity e/(1 − h) nothing has to be fitted again. Where several places of a break fit
    the others equally well, the least of their errors counts: beside a jump a curve that has not
    seen a size claims nothing about which side of the jump it is on.

    Args:
        one: the candidates of one shape.
        values: weighted.
    """
    explained = values @ one.bases
    fitted = np.matmul(one.bases, explained[:, :, None])[:, :, 0]
    left = values[None, :] - fitted
    free = 1.0 - (one.bases**2).sum(axis=2)
    possible = free > 1e-9
    safe = np.where(possible, free, 1.0)
    errors = (left / safe) ** 2
    rest = (left**2).sum(axis=1)[:, None] - left**2 / safe
    rest = np.where(possible, rest, np.inf)
    least = rest.min(axis=0)
    scale = float((values**2).sum())
    tied = rest <= least[None, :] + 1e-9 * (least[None, :] + 1e-12 * scale)
    found = np.where(tied, errors, np.inf).min(axis=0)
    return np.where(np.isfinite(least), found, np.inf)
