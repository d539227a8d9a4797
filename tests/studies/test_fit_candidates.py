"""Fits found from products of columns are those of fitting every candidate by itself."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from greenai_core import fit_sizes
from greenai_core.fit_candidates import SHAPES, bank, left_out_errors, residual_squares

SIZES = np.array([8.0, 16, 24, 40, 64, 96, 100, 160, 200, 320])
WEIGHTS = np.linspace(0.5, 2.0, len(SIZES))
VALUES = np.random.default_rng(4).uniform(1, 3, len(SIZES)) * WEIGHTS


def refitted(design, weights, values):
    """Weighted curve and squares of what it leaves."""
    weighted = design * weights[:, None]
    solved = np.linalg.lstsq(weighted, values, rcond=None)[0]
    return weighted @ solved, ((values - weighted @ solved) ** 2).sum()


@pytest.mark.parametrize("shape", SHAPES)
def test_every_candidate_leaves_what_fitting_it_leaves(shape):
    made = bank(shape, SIZES, WEIGHTS)
    told = residual_squares(made, np.column_stack([VALUES, VALUES**2]))
    assert len(told) == len(made.places) > 0
    for candidate, squares in enumerate(told):
        curve, left = refitted(made.design(candidate), WEIGHTS, VALUES)
        assert squares[0] == pytest.approx(left, rel=1e-9)
        assert made.explained(candidate, VALUES) == pytest.approx(curve)
        assert squares[1] == pytest.approx(refitted(made.design(candidate), WEIGHTS, VALUES**2)[1])


@pytest.mark.parametrize("shape", SHAPES)
def test_the_left_out_errors_are_those_of_fitting_without_each_size(shape):
    made = bank(shape, SIZES, WEIGHTS)
    told = left_out_errors(made, VALUES)
    for out, error in enumerate(told):
        kept = np.arange(len(SIZES)) != out
        tried = []
        for candidate in range(len(made.places)):
            design = made.design(candidate)
            if np.linalg.matrix_rank(design[kept] * WEIGHTS[kept, None]) < design.shape[1]:
                continue
            weighted = design * WEIGHTS[:, None]
            solved = np.linalg.lstsq(weighted[kept], VALUES[kept], rcond=None)[0]
            left = ((VALUES[kept] - weighted[kept] @ solved) ** 2).sum()
            tried.append((left, (VALUES[out] - weighted[out] @ solved) ** 2))
        least = min(left for left, _ in tried)
        assert error == pytest.approx(min(e for left, e in tried if left <= least * (1 + 1e-8)))


def test_a_fit_of_400_sizes_takes_little_memory():
    """And little time: it was a basis for each of 7,600 pairs of places, twice."""
    sizes = 8.0 * np.arange(1, 401)
    truth = 1 + np.maximum(sizes - 672, 0) * 0.005 + 3.0 * (sizes > 1797)
    values = truth * (1 + 0.01 * np.random.default_rng(0).standard_normal(400))
    tracemalloc.start()
    try:
        found = fit_sizes(sizes, values)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.shape == "constant then linear with a jump"
    assert peak < 3.5e8
