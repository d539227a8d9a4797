"""Numbers as people read them: a unit that keeps them short, digits that are known."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from greenai_core import Figure

PREFIXES = {
    -15: "f", -12: "p", -9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T", 15: "P",
}  # fmt: skip
"""Power of ten -> what stands for it."""

UNPREFIXED = ("%", "", "°C")
"""Units that take no prefix."""

UNKNOWN = "unknown"

MODELLED = "modelled"


@dataclass(frozen=True)
class Quantity:
    """A number with its 95 % interval.

    Attributes:
        value: in ``unit``; None where it is not known.
        low, high: None where they are not known.
        unit: without a prefix.
        method: as in ``Figure``; ``modelled`` in it is shown.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    unit: str = "J"
    method: str = ""

    @property
    def modelled(self) -> bool:
        """Whether some of it was computed, not measured."""
        return self.value is not None and MODELLED in self.method


def of_figure(figure: Figure | None, unit: str) -> Quantity:
    """The figure with its total uncertainty."""
    if figure is None:
        return Quantity(None, unit=unit)
    return Quantity(figure.value, figure.low, figure.high, unit, figure.method)


def repeatable(figure: Figure | None, unit: str) -> Quantity:
    """The figure with the interval that compares runs of one machine."""
    if figure is None:
        return Quantity(None, unit=unit)
    return Quantity(figure.value, figure.repeat_low, figure.repeat_high, unit, figure.method)


def written(quantity: Quantity, power: int | None = None) -> str:
    """``0.27 J (0.25 … 0.29)``.

    Args:
        quantity: to be written.
        power: of ten, that the unit's prefix stands for; None for the one that fits.
    """
    if quantity.value is None:
        return UNKNOWN
    power = exponent([quantity.value], quantity.unit) if power is None else power
    unit = f" {PREFIXES[power]}{quantity.unit}".rstrip()
    number, span = parts(quantity, power)
    return f"{number}{unit} ({span})" if span else f"{number}{unit}"


def parts(quantity: Quantity, power: int) -> tuple[str, str]:
    """Number and interval without the unit; the interval is empty where it is not known."""
    if quantity.value is None:
        return UNKNOWN, ""
    scale = 10.0**power
    value, low, high = quantity.value, quantity.low, quantity.high
    if low is None or high is None:
        return fixed(value / scale, 0.0), ""
    half = (high - low) / 2 / scale
    return fixed(value / scale, half), f"{fixed(low / scale, half)} … {fixed(high / scale, half)}"


def exponent(values: Iterable[float | None], unit: str = "J") -> int:
    """The power of ten of the prefix that suits most of these."""
    sizes = sorted(abs(v) for v in values if v is not None and math.isfinite(v) and v)
    if not sizes or unit in UNPREFIXED:
        return 0
    middle = sizes[len(sizes) // 2]
    if 0.1 <= middle < 1000:  # 0.27 J reads better than 270 mJ
        return 0
    power = 3 * math.floor(math.log10(middle * (1 + 1e-9)) / 3)
    return min(max(power, min(PREFIXES)), max(PREFIXES))


def fixed(value: float, half: float) -> str:
    """A number to the second digit of its half-width, or to three digits."""
    if not math.isfinite(value):
        return UNKNOWN
    if half > 0 and math.isfinite(half):
        places = 1 - math.floor(math.log10(half))
    elif value:
        places = 2 - math.floor(math.log10(abs(value)))
    else:
        places = 0
    return signed(f"{value:,.{min(max(places, 0), 9)}f}".replace(",", "\N{THIN SPACE}"))


def short(value: float, digits: int = 3) -> str:
    """A bare number with so many digits that count, and no trailing zeros."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else UNKNOWN
    places = max(digits - 1 - math.floor(math.log10(abs(value))), 0)
    text = f"{value:,.{min(places, 12)}f}".replace(",", "\N{THIN SPACE}")
    return signed(text.rstrip("0").rstrip(".") if "." in text else text)


def percent(share: float) -> str:
    """``0.0142`` -> ``1.4 %``."""
    return f"{short(100 * share, 2)} %"


def signed(text: str) -> str:
    """With a minus as it is set."""
    return text.replace("-", "\N{MINUS SIGN}")
