"""Numbers for people: SI prefixes, and no more digits than are known."""

from __future__ import annotations

import math

from greenai_core.results import Figure

PREFIXES = (
    (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""),
    (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p"), (1e-15, "f"),
)  # fmt: skip
UNKNOWN = "unknown"


def quantity(value: float | None, unit: str, digits: int = 3) -> str:
    """``0.0123`` and ``"J"`` -> ``"12.3 mJ"``."""
    if value is None:
        return UNKNOWN
    factor, prefix = _prefix(value)
    return f"{_significant(value / factor, digits)} {prefix}{unit}"


def spread(figure: Figure | None, unit: str) -> str:
    """Value and repeatability: ``"12.34 mJ ± 1.4 %"``."""
    if figure is None:
        return UNKNOWN
    half = figure.repeat_high - figure.value
    factor, prefix = _prefix(figure.value)
    text = f"{_rounded(figure.value / factor, half / factor)} {prefix}{unit}"
    if figure.value == 0:
        return f"{text} ± {quantity(half, unit, 2)}"
    return f"{text} ± {percent(half / abs(figure.value))}"


def interval(figure: Figure | None, unit: str) -> str:
    """The total uncertainty: ``"11.2 – 13.5 mJ"``."""
    if figure is None:
        return UNKNOWN
    return ends(figure.low, figure.high, unit)


def ends(low: float, high: float, unit: str) -> str:
    """An interval in one unit, rounded to what its width allows."""
    factor, prefix = _prefix(max(abs(low), abs(high)))
    half = (high - low) / 2 / factor
    return f"{_rounded(low / factor, half)} – {_rounded(high / factor, half)} {prefix}{unit}"


def with_ends(value: float, low: float, high: float, unit: str) -> str:
    """A value and its interval in one unit: ``"3.030 J (3.018 to 3.042)"``."""
    factor, prefix = _prefix(max(abs(low), abs(high)))
    half = (high - low) / 2 / factor
    shown = [_rounded(number / factor, half) for number in (value, low, high)]
    return f"{shown[0]} {prefix}{unit} ({shown[1]} to {shown[2]})"


def percent(share: float) -> str:
    """``0.0142`` -> ``"1.4 %"``."""
    if 0 < abs(share) < 1e-4:
        return "<0.01 %"
    return f"{_significant(share * 100, 2)} %"


def _prefix(value: float) -> tuple[float, str]:
    size = abs(value)
    if size == 0 or not math.isfinite(size):
        return 1.0, ""
    return next(((f, p) for f, p in PREFIXES if size >= f * 0.9995), PREFIXES[-1])


def _significant(value: float, digits: int) -> str:
    if value == 0:
        return "0"
    places = digits - 1 - math.floor(math.log10(abs(value)))
    rounded = round(value, places)
    if math.floor(math.log10(abs(rounded))) > digits - 1 - places:  # 0.99996 became 1.000
        places -= 1
    return f"{rounded:.{max(places, 0)}f}"


def _rounded(value: float, half: float) -> str:
    """The value to the second significant digit of its half-width, 6 digits at most."""
    if value == 0:
        return "0"
    size = math.floor(math.log10(max(abs(value), half)))
    places = 1 - math.floor(math.log10(half)) if half > 0 else 5 - size
    places = min(max(places, 2 - size), 5 - size)
    return f"{round(value, places):.{max(places, 0)}f}"
