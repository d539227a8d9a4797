"""No more digits than are known, and never zero for what is unknown."""

import pytest

from greenai_core import Figure
from greenai_core.cli import figures


def figure(value, repeat, total=None):
    total = repeat if total is None else total
    return Figure(
        value, value - total, value + total, value - repeat, value + repeat, "counter", ""
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "unknown"),
        (0.0, "0 J"),
        (0.0123, "12.3 mJ"),
        (1234.5, "1.23 kJ"),
        (0.99996, "1.00 J"),
        (999.4, "999 J"),
        (3e-9, "3.00 nJ"),
        (2e-12, "0.00200 nJ"),
        (-0.5, "-500 mJ"),
    ],
)
def test_a_quantity_has_a_prefix_and_three_digits(value, text):
    assert figures.quantity(value, "J") == text


@pytest.mark.parametrize(
    ("value", "half", "text"),
    [
        (0.01234, 0.00017, "12.34 mJ ± 1.4 %"),
        (12.3, 6.0, "12.3 J ± 49 %"),
        (12.345678, 0.00001, "12.3457 J ± <0.01 %"),
        (5.0, 0.0, "5.00000 J ± 0 %"),
        (0.0, 0.002, "0 J ± 2.0 mJ"),
    ],
)
def test_the_spread_decides_the_digits(value, half, text):
    assert figures.spread(figure(value, half), "J") == text


def test_an_unknown_figure_is_called_unknown():
    assert figures.spread(None, "J") == figures.interval(None, "J") == "unknown"


def test_an_interval_is_of_the_total_uncertainty():
    assert figures.interval(figure(12.34, 0.1, 1.15), "J") == "11.2 – 13.5 J"


def test_an_interval_around_nothing_shows_both_signs():
    assert figures.with_ends(0.000749, -0.0151, 0.0166, "J") == "0.7 mJ (-15.1 to 16.6)"
