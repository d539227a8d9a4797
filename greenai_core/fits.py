"""How a quantity grows with size: the curve that data choose, with its breaks and their intervals.

The simplest curve is chosen that predicts sizes it has not seen about as well as the best one does
(leave-one-size-out cross-validation, one standard error of the paired differences). A break must
also be there: a curve with one is only taken when data of the curve without it, drawn again and
again with the scatter that was found, would show a break as clear as this in fewer than 3 % of the
draws. What is claimed, and how often that is wrong, is in ``docs/study-summary.md``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from . import fit_candidates as shapes
from .errors import ComparisonError
from .fit_candidates import Bank, bank, left_out_errors, residual_squares
from .fit_results import BEND_NAME, JUMP_NAME, FitBreak, FitResult, FitScore
from .fit_words import sentence_of
from .statistics import Vector, t_quantile

LEAST_SIZES = 5
DRAWS = 299
"""Of the test whether a break is there."""

ALPHA = 0.03
"""At which it is made. The scatter is estimated and so are the weights: at 0.05, linear data
showed a break 5 % of the time, with nothing to spare."""

JUMP_CRITICAL = 7.63 / 3.84
"""The 95 % point of the likelihood ratio of where a jump lies, over that of a smooth parameter
(Eo and Morley 2015: 7.63 against χ²(1) = 3.84)."""

ROUNDING = 1e-20
"""Squared errors of so small a part of the squared values are those of arithmetic."""

DUST = 1e-12
"""A level is none whose whole interval is so small a share of the values: that is arithmetic's."""

Even = tuple[float, tuple[float, float]]
"""A size and its 95 % interval."""


def fit_sizes(
    sizes: Sequence[float],
    values: Sequence[float],
    uncertainties: Sequence[float | None] | None = None,
    seed: int = 0,
) -> FitResult:
    """The curve that a quantity follows over sizes.

    Args:
        sizes: of the inputs, each once, positive.
        values: of the quantity, positive.
        uncertainties: standard ones of the values; weights come from them, drawn towards what is
            common to all, since few runs tell a spread badly. None for equal shares of the values.
        seed: of the draws of the test for breaks.

    Raises:
        ComparisonError: there are fewer than five sizes, or values that no curve fits.
    """
    order = np.argsort(np.asarray(sizes, dtype=float), kind="stable")
    x = np.asarray(sizes, dtype=float)[order]
    y = np.asarray(values, dtype=float)[order]
    _check(x, y)
    known = None if uncertainties is None else [uncertainties[i] for i in order]
    weights = _weights(y, known)
    z = y * weights
    banks = {shape: made for shape in shapes.SHAPES if (made := bank(shape, x, weights))}
    errors = {shape: left_out_errors(made, z) for shape, made in banks.items()}
    errors = {
        shape: np.where(found < ROUNDING * z**2, 0.0, found)
        for shape, found in errors.items()
        if np.isfinite(found).all()
    }
    banks = {shape: banks[shape] for shape in errors}
    shape, p_break = _chosen(banks, errors, z, np.random.default_rng(seed))
    scale = float(np.mean(1 / (weights * y)))
    scores = tuple(
        FitScore(name, shapes.PARAMETERS[name], scale * math.sqrt(float(found.mean())))
        for name, found in errors.items()
    )
    return _result(_whole(banks[shape], x, weights, z), x, y, weights, scores, p_break)


def _check(x: Vector, y: Vector) -> None:
    if len(x) < LEAST_SIZES:
        raise ComparisonError(
            f"{len(x)} {'size is' if len(x) == 1 else 'sizes are'} too few to tell one curve from "
            f"another: measure {LEAST_SIZES} or more"
        )
    if len(set(x)) < len(x):
        raise ComparisonError("a size is there twice: give one value for each size")
    if not (np.isfinite(x).all() and np.isfinite(y).all() and (x > 0).all() and (y > 0).all()):
        raise ComparisonError("sizes and values must be positive numbers to fit a curve to them")


def _weights(y: Vector, uncertainties: Sequence[float | None] | None) -> Vector:
    """1/u of each value, with relative uncertainties drawn half-way to their median."""
    if uncertainties is None:
        return 1 / y
    told = [u / v if u else math.nan for u, v in zip(uncertainties, y, strict=True)]
    shares = np.array(told)
    known = shares[~np.isnan(shares)]
    if not len(known):
        return 1 / y
    common = float(np.median(known))
    own = np.where(np.isnan(shares), common, shares)
    return np.asarray(1 / (y * np.sqrt((own**2 + common**2) / 2)))


# Which shape


def _chosen(
    banks: Mapping[str, Bank],
    errors: Mapping[str, Vector],
    z: Vector,
    generator: np.random.Generator,
) -> tuple[str, float | None]:
    """The simplest shape about as good as the best, and how likely its breaks are chance.

    Whether there is any break at all is asked once, with all shapes that have one at the same
    time, so that looking at many of them finds none too many; then whether there are two.
    """
    smooth, one, two = (
        [shape for shape in group if shape in banks]
        for group in (shapes.SMOOTH, shapes.ONE_BREAK, shapes.TWO_BREAKS)
    )
    if _parsimonious([*smooth, *one, *two], errors) in smooth:
        return _parsimonious(smooth, errors), None
    p = _p_of_break(banks, smooth, [*one, *two], z, generator)
    if p > ALPHA:
        return _parsimonious(smooth, errors), None
    shape = _parsimonious([*smooth, *one, *two], errors)
    if shape in two:
        second = _p_of_break(banks, [*smooth, *one], two, z, generator)
        if second <= ALPHA:
            return shape, max(p, second)
        shape = _parsimonious([*smooth, *one], errors)
    return shape, None if shape in smooth else p


def _parsimonious(allowed: Sequence[str], errors: Mapping[str, Vector]) -> str:
    best = min(allowed, key=lambda shape: float(errors[shape].mean()))
    for shape in allowed:
        more = errors[shape] - errors[best]
        if more.mean() <= more.std(ddof=1) / math.sqrt(len(more)):
            return shape
    return best


def _p_of_break(
    banks: Mapping[str, Bank],
    simpler: Sequence[str],
    rivals: Sequence[str],
    z: Vector,
    generator: np.random.Generator,
) -> float:
    """How often the best of the simpler shapes, drawn again, gives way as clearly as it did."""
    left = {name: residual_squares(banks[name], z[:, None])[:, 0] for name in simpler}
    null = min(simpler, key=lambda name: _per_degree(name, left[name].min(), len(z)))
    centre = banks[null].explained(int(left[null].argmin()), z)
    spread = math.sqrt(_per_degree(null, left[null].min(), len(z)))
    if spread == 0.0:
        return 1.0
    draws = centre[:, None] + spread * generator.standard_normal((len(z), DRAWS))
    seen = _gain_of(banks, simpler, rivals, z[:, None])[0]
    by_chance = _gain_of(banks, simpler, rivals, draws)
    return float((1 + np.sum(by_chance >= seen)) / (1 + DRAWS))


def _per_degree(shape: str, squares: float, n: int) -> float:
    return float(squares) / (n - shapes.PARAMETERS[shape])


def _gain_of(
    banks: Mapping[str, Bank], simpler: Sequence[str], rivals: Sequence[str], values: Vector
) -> Vector:
    """Logarithm of the residual variance of the simpler shapes over that of the rivals."""
    n = values.shape[0]
    before, after = (
        np.min(
            [
                residual_squares(banks[name], values).min(axis=0) / (n - shapes.PARAMETERS[name])
                for name in names
            ],
            axis=0,
        )
        for names in (simpler, rivals)
    )
    tiny = 1e-28 * (values**2).sum(axis=0)
    return np.asarray(np.log((before + tiny) / (after + tiny)))


# The chosen curve


def _whole(made: Bank, x: Vector, weights: Vector, z: Vector) -> Bank:
    """With all places near the best where, at many sizes, a part of the places was tried."""
    if made.shape not in shapes.TWO_BREAKS:
        return made
    best = int(residual_squares(made, z[:, None])[:, 0].argmin())
    return bank(made.shape, x, weights, tuple(map(float, made.places[best]))) or made


def _result(
    made: Bank,
    x: Vector,
    y: Vector,
    weights: Vector,
    scores: tuple[FitScore, ...],
    p_break: float | None,
) -> FitResult:
    z = y * weights
    squares = residual_squares(made, z[:, None])[:, 0]
    best = int(squares.argmin())
    design = made.design(best)
    solved: Vector = np.linalg.lstsq(design * weights[:, None], z, rcond=None)[0].astype(float)
    curve = design @ solved
    freedom = len(x) - shapes.PARAMETERS[made.shape]
    # Not squares[best]: the difference of two sums of squares ends at their rounding.
    variance = float(((z - curve * weights) ** 2).sum()) / freedom
    reach = t_quantile(0.975, freedom)
    covariance = np.linalg.inv((design * weights[:, None]).T @ (design * weights[:, None]))
    halves = reach * np.sqrt(np.maximum(np.diagonal(covariance) * variance, 0.0))
    coefficients, intervals = _named(made, best, solved, halves, x, DUST * float(y.max()))
    if made.shape == shapes.POWER:
        possible = squares <= squares[best] * (1 + reach**2 / freedom) + 1e-300
        near = _one_step_on(made.places[:, 0], made.places[possible, 0])
        intervals["exponent"] = _exponents(x, weights, z, near, reach**2 / freedom)
    if made.shape == shapes.SQUARE and coefficients["level"]:
        even = _even(solved, covariance * variance, reach, shapes.middle_of(x))
        if even is not None:
            coefficients["even"], intervals["even"] = even
    breaks = _breaks(made, squares, best, solved, x, reach**2 / freedom)
    scatter = float(np.sqrt(np.mean((y / curve - 1) ** 2) * len(x) / freedom))
    return FitResult(
        made.shape,
        sentence_of(made.shape, coefficients, intervals, breaks, x, curve),
        coefficients,
        intervals,
        breaks,
        tuple(map(float, curve)),
        tuple(map(float, x)),
        tuple(map(float, y)),
        scores,
        p_break,
        scatter,
    )


def _named(
    made: Bank, best: int, solved: Vector, halves: Vector, x: Vector, dust: float
) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    found = {"level": (float(solved[0]), float(halves[0]))}
    if abs(solved[0]) + halves[0] < dust:
        found["level"] = (0.0, 0.0)
    if made.shape == shapes.POWER:
        exponent = float(made.places[best, 0])
        unit = shapes.middle_of(x) ** -exponent  # the design is of size over that
        found["factor"] = (float(solved[0]) * unit, float(halves[0]) * unit)
        found["exponent"] = (exponent, 0.0)
        del found["level"]
    elif made.shape == shapes.SQUARE:
        unit = shapes.middle_of(x) ** -2
        found["square"] = (float(solved[1]) * unit, float(halves[1]) * unit)
    elif made.shape not in (shapes.CONSTANT, shapes.STEP):
        found["slope"] = (float(solved[1]), float(halves[1]))
    coefficients = {name: value for name, (value, _) in found.items()}
    return coefficients, {name: (v - half, v + half) for name, (v, half) in found.items()}


def _breaks(
    made: Bank, squares: Vector, best: int, solved: Vector, x: Vector, allowance: float
) -> tuple[FitBreak, ...]:
    if made.shape in shapes.SMOOTH:
        return ()
    bends = made.shape in (shapes.FLAT_LINEAR, shapes.BEND, shapes.FLAT_LINEAR_JUMP)
    found = []
    for column in range(made.places.shape[1]):
        bend = bends and column == 0
        factor = 1.0 if bend else JUMP_CRITICAL
        tiny = 1e-12 * float(squares.max())
        inside = squares <= squares[best] * (1 + factor * allowance) + tiny
        possible = made.places[inside, column]
        at = float(made.places[best, column])
        first = 2 if made.shape in (shapes.JUMP, shapes.BEND, shapes.TWO_JUMPS) else 1
        change = float(solved[first + column])
        if bend:
            low, high = _one_step_on(made.places[:, column], possible)
            found.append(FitBreak(BEND_NAME, at, low, high, change))
        else:
            before, after = _between(made.places[:, column], possible, x)
            found.append(FitBreak(JUMP_NAME, float(x[x > at].min()), before, after, change))
    return tuple(sorted(found, key=lambda one: one.at))


def _exponents(
    x: Vector, weights: Vector, z: Vector, near: tuple[float, float], allowance: float
) -> tuple[float, float]:
    """The exponents that fit not significantly worse, finer than the candidates are apart."""
    fine = np.linspace(*near, 2001)
    powers = np.exp(np.log(x / shapes.middle_of(x))[:, None] * fine) * weights[:, None]
    squares = z @ z - (z @ powers) ** 2 / (powers**2).sum(axis=0)
    tiny = 1e-14 * float(z @ z)
    inside = fine[squares <= max(squares.min(), 0.0) * (1 + allowance) + tiny]
    return float(inside.min()), float(inside.max())


def _even(solved: Vector, covariance: Vector, reach: float, unit: float) -> Even | None:
    """The size where both parts of a constant and a square are equal, with its interval.

    The interval is Fieller's, of a ratio (J. R. Stat. Soc. B 16, 1954, 175); it begins at 0 where
    there may be no constant part. None where the parts may be equal nowhere.
    """
    if min(solved) <= 0:
        return None
    level, square = solved
    allowed = reach**2 * covariance
    room = square**2 - allowed[1, 1]
    if room <= 0:
        return None
    middle = level * square - allowed[0, 1]
    half = math.sqrt(max(middle**2 - room * (level**2 - allowed[0, 0]), 0.0))
    low, high = (math.sqrt(max(end / room, 0.0)) for end in (middle - half, middle + half))
    return unit * math.sqrt(level / square), (unit * low, unit * high)


def _between(grid: Vector, possible: Vector, x: Vector) -> tuple[float, float]:
    """The sizes that a jump lies between: up to the next places that were tried and ruled out."""
    lower, upper = grid[grid < possible.min()], grid[grid > possible.max()]
    before = x[x > lower.max()].min() if len(lower) else x[x < possible.min()].max()
    after = x[x < upper.min()].max() if len(upper) else x[x > possible.max()].min()
    return float(before), float(after)


def _one_step_on(grid: Vector, possible: Vector) -> tuple[float, float]:
    """The interval reaches to the next places that were tried: between them nothing was."""
    places = np.unique(grid)
    low = int(np.searchsorted(places, possible.min()))
    high = int(np.searchsorted(places, possible.max()))
    return float(places[max(low - 1, 0)]), float(places[min(high + 1, len(places) - 1)])
