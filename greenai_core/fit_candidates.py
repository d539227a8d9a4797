"""The curves that may describe how a quantity grows with size. Pure functions.

Every candidate is linear in its coefficients once its breaks (or its exponent) are fixed, so all
of them are tried, and a fit is a projection. The candidates of a shape have some columns in common
and add one or two of a pool, a column for each place; what these tell beside the common ones is
found once, and pairs of them need no more than their products. A *bend* changes the slope and
leaves the curve whole; a *jump* lies between two neighbouring sizes and can be told no closer than
that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .statistics import Vector

CONSTANT = "constant"
LINEAR = "linear"
POWER = "power law"
SQUARE = "constant plus square"
FLAT_LINEAR = "constant then linear"
STEP = "constant with a jump"
JUMP = "linear with a jump"
BEND = "linear with a bend"
FLAT_LINEAR_JUMP = "constant then linear with a jump"
TWO_JUMPS = "linear with two jumps"

SHAPES = (
    CONSTANT, LINEAR, POWER, SQUARE, STEP, FLAT_LINEAR, JUMP, BEND, FLAT_LINEAR_JUMP, TWO_JUMPS,
)  # fmt: skip
"""From the simplest to the most complicated: the order in which parsimony prefers them."""

PARAMETERS = {
    CONSTANT: 1, LINEAR: 2, POWER: 2, SQUARE: 2, FLAT_LINEAR: 3, STEP: 3, JUMP: 4, BEND: 4,
    FLAT_LINEAR_JUMP: 5, TWO_JUMPS: 6,
}  # fmt: skip
"""Coefficients, exponents and places of breaks."""

SMOOTH = (CONSTANT, LINEAR, POWER, SQUARE)
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

SOUND = 1e-10
"""A column of which others leave so small a share tells nothing of its own."""

Table = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Bank:
    """All candidates of one shape at the given sizes and weights.

    Attributes:
        shape: one of ``SHAPES``.
        places: a row each: the bend, then the jumps; or the exponent.
        common: columns that all of them have, unweighted: sizes × columns.
        pool: columns to choose from, unweighted: one a row.
        chosen: rows of the pool that each candidate adds: none, one or two.
        frame: orthonormal, of the weighted common columns: sizes × columns.
        units: of the weighted pool what the frame leaves, of length 1: one a row.
        overlaps: product of the two units of each candidate; empty where it has fewer.
    """

    shape: str
    places: Table
    common: Table
    pool: Table
    chosen: Rows
    frame: Table
    units: Table
    overlaps: Vector

    def design(self, candidate: int) -> Table:
        """The columns of one, unweighted: sizes × coefficients."""
        return np.column_stack([self.common, *self.pool[self.chosen[candidate]]])

    def explained(self, candidate: int, values: Vector) -> Vector:
        """What one describes of weighted values."""
        left = values - self.frame @ (self.frame.T @ values)
        for unit in self._basis(candidate):
            left = left - (unit @ left) * unit
        return np.asarray(values - left)

    def _basis(self, candidate: int) -> list[Vector]:
        units = list(self.units[self.chosen[candidate]])
        if len(units) == 2:
            first, second = units
            beside = second - self.overlaps[candidate] * first
            units[1] = beside / np.linalg.norm(beside)
        return units


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
    common = _common(shape, sizes)
    places, pool, chosen = _candidates(shape, sizes, around)
    if not len(places):
        return None
    weighted = common * weights[:, None]
    frame, triangle = np.linalg.qr(weighted)
    lengths = np.linalg.norm(weighted, axis=0)
    if (np.abs(np.diagonal(triangle)) <= SOUND * lengths).any():
        return None
    columns = pool * weights
    beside = columns - (columns @ frame) @ frame.T
    beside -= (beside @ frame) @ frame.T  # what rounding left of them
    left, whole = (np.linalg.norm(table, axis=1) for table in (beside, columns))
    units = beside / np.where(left > 0, left, 1.0)[:, None]
    sound = (left > SOUND * whole)[chosen].all(axis=1)
    overlaps = np.empty(0)
    if chosen.shape[1] == 2:
        overlaps = (units @ units.T)[chosen[:, 0], chosen[:, 1]]
        sound &= overlaps**2 < 1 - SOUND
        overlaps = overlaps[sound]
    if not sound.any():
        return None
    return Bank(shape, places[sound], common, pool, chosen[sound], frame, units, overlaps)


def _common(shape: str, x: Vector) -> Table:
    """Columns that all candidates of a shape have."""
    one = np.ones_like(x)
    if shape == POWER:
        return np.empty((len(x), 0))
    if shape == SQUARE:
        return np.column_stack([one, (x / middle_of(x)) ** 2])
    flat = shape in (CONSTANT, STEP, FLAT_LINEAR, FLAT_LINEAR_JUMP)
    return one[:, None] if flat else np.column_stack([one, x])


def _candidates(shape: str, x: Vector, around: tuple[float, ...]) -> tuple[Table, Table, Rows]:
    """Places of each candidate, the pool of columns, and the rows of it that each has."""
    if shape == POWER:
        places = np.array(EXPONENTS)
        return places[:, None], (x / middle_of(x)) ** places[:, None], _each(len(places))
    if shape in (CONSTANT, LINEAR, SQUARE):
        return np.empty((1, 0)), np.empty((0, len(x))), np.empty((1, 0), dtype=np.intp)
    bends, jumps = bends_at(x), jumps_between(x)
    if shape in TWO_BREAKS:
        bends, jumps = _some(bends, MOST_BENDS, around), _some(jumps, MOST_JUMPS, around)
    bent = np.maximum(x - bends[:, None], 0.0)
    stepped = (x > jumps[:, None]).astype(float)
    if shape in (FLAT_LINEAR, BEND):
        return bends[:, None], bent, _each(len(bends))
    if shape in (STEP, JUMP):
        return jumps[:, None], stepped, _each(len(jumps))
    if shape == TWO_JUMPS:
        first, second = np.triu_indices(len(jumps), 1)
        apart = np.abs(stepped[first] - stepped[second]).sum(axis=1) >= SIDE
        chosen = np.column_stack([first, second])[apart]
        return jumps[chosen], stepped, chosen
    first, second = (grid.ravel() for grid in np.indices((len(bends), len(jumps))))
    places = np.column_stack([bends[first], jumps[second]])
    return places, np.vstack([bent, stepped]), np.column_stack([first, second + len(bends)])


def _each(count: int) -> Rows:
    return np.arange(count, dtype=np.intp)[:, None]


def middle_of(sizes: Vector) -> float:
    """The geometric mean, which powers of the size are taken of: any unit fits numbers."""
    return float(np.exp(np.log(sizes).mean()))


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


def residual_squares(one: Bank, values: Table) -> Table:
    """Sum of squares that each candidate leaves: candidates × columns.

    Args:
        one: the candidates.
        values: weighted; sizes × columns.
    """
    whole = (values**2).sum(axis=0) - ((one.frame.T @ values) ** 2).sum(axis=0)
    along = one.units @ values
    squares = np.tile(whole, (len(one.places), 1))
    if one.chosen.shape[1]:
        first = along[one.chosen[:, 0]]
        squares -= first**2
    if one.chosen.shape[1] == 2:
        overlaps = one.overlaps[:, None]
        squares -= (along[one.chosen[:, 1]] - overlaps * first) ** 2 / (1 - overlaps**2)
    return np.asarray(np.maximum(squares, 0.0))


def _left_and_leverage(one: Bank, values: Vector) -> tuple[Table, Table]:
    """What each candidate leaves of values, and how much each size pulls its own: by sizes."""
    common = values - one.frame @ (one.frame.T @ values)
    left = np.tile(common, (len(one.places), 1))
    pull = np.tile((one.frame**2).sum(axis=1), (len(one.places), 1))
    if one.chosen.shape[1] == 0:
        return left, pull
    along = one.units @ values
    first = one.units[one.chosen[:, 0]]
    left -= along[one.chosen[:, 0], None] * first
    pull += first**2
    if one.chosen.shape[1] == 2:
        length = np.sqrt(1 - one.overlaps**2)
        second = one.units[one.chosen[:, 1]]
        second -= one.overlaps[:, None] * first
        second /= length[:, None]
        share = (along[one.chosen[:, 1]] - one.overlaps * along[one.chosen[:, 0]]) / length
        left -= share[:, None] * second
        pull += second**2
    return left, pull


def left_out_errors(one: Bank, values: Vector) -> Vector:
    """Squared error at each size of the curve that was fitted, break and all, without it.

    By the identity e/(1 − h) nothing has to be fitted again. Where several places of a break fit
    the others equally well, the least of their errors counts: beside a jump a curve that has not
    seen a size claims nothing about which side of the jump it is on.

    Args:
        one: the candidates of one shape.
        values: weighted.
    """
    left, pull = _left_and_leverage(one, values)
    free = 1.0 - pull
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
