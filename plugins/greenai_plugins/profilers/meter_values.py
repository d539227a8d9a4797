"""The numbers in what a generic meter says, and what they are of."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal, InvalidOperation
from typing import Any

from greenai_core import ReadingError

from .meter_path import at, parse_path, split, told

POWERS: Mapping[str, Decimal] = {"mW": Decimal("1e-3"), "W": Decimal(1), "kW": Decimal(1000)}
ENERGIES: Mapping[str, Decimal] = {
    "mJ": Decimal("1e-3"),
    "J": Decimal(1),
    "kJ": Decimal(1000),
    "MJ": Decimal(1_000_000),
    "mWh": Decimal("3.6"),
    "Wh": Decimal(3600),
    "kWh": Decimal(3_600_000),
    "Wmin": Decimal(60),
}
MAX_DIGITS = 40
MOST = Decimal("1e24")
"""No meter counts as far, in whatever unit."""

FLOAT_DIGITS = 16
"""A number of so many digits is a binary fraction written out, of which fewer are meant."""


@dataclass(frozen=True)
class Value:
    """Where one channel's number is: the sum of what stands at some places.

    Attributes:
        label: of the channel.
        places: in the JSON; none where the whole text is the number.
    """

    label: str
    places: tuple[tuple[str | int, ...], ...] = ()


def values_of(path: Any, label: str) -> tuple[Value, ...]:
    """``a.b[0].c`` -> one value; ``x+y`` -> their sum; ``psu1=x,psu2=y`` -> two channels.

    Raises:
        ValueError: it has another form.
    """
    if not path:
        return (Value(label),)
    texts = [*map(str, path)] if isinstance(path, (list, tuple)) else split(str(path), ",")
    found = []
    for text in texts:
        name, *rest = split(text, "=")
        if len(rest) > 1:
            raise ValueError(f"{text!r} has more than one '='; put such names into [\"…\"]")
        places = tuple(map(parse_path, split(rest[0] if rest else name, "+")))
        if not all(places):
            raise ValueError(f"{text!r} lacks a path")
        found.append(Value(name if rest else label, places))
    if len({value.label for value in found}) < len(found):
        raise ValueError(f"{path!r} makes two channels of one name; write psu1=…,psu2=…")
    return tuple(found)


def number_in(text: str, value: Value) -> Decimal:
    """The number of a channel in what the meter said.

    Raises:
        ValueError: there is none, or one that cannot be true.
    """
    if not value.places:
        return _number(text.strip(), "its answer")
    try:
        data = json.loads(text, parse_float=Decimal, parse_int=Decimal, parse_constant=Decimal)
    except (ValueError, RecursionError, InvalidOperation) as error:
        shown = text[:40].replace("\n", " ")
        raise ValueError(f"its {len(text)} characters are not JSON: {shown!r}") from error
    return sum((_number(at(data, *place), told(place)) for place in value.places), Decimal(0))


def _number(found: Any, where: str) -> Decimal:
    if isinstance(found, str) and len(found) <= MAX_DIGITS:
        # Many meters send their numbers as text.
        with contextlib.suppress(InvalidOperation):
            found = Decimal(found)
    if not isinstance(found, Decimal):
        shown = repr(found)
        raise ValueError(f"{where} is {shown[:60]}{'…' * (len(shown) > 60)}, no number")
    if not found.is_finite() or not 0 <= found < MOST:
        raise ValueError(f"{where} is {found:.6g}, which cannot be true")
    return found


def step_of(numbers: Sequence[Decimal]) -> Decimal:
    """The last digit of numbers as they were written."""
    exponents = [int(_as_meant(number).as_tuple().exponent) for number in numbers]
    return Decimal(1).scaleb(min([0, *exponents]))


def _as_meant(number: Decimal) -> Decimal:
    """11.679 for 11.679000000000002."""
    if len(number.as_tuple().digits) < FLOAT_DIGITS:
        return number
    return Context(prec=FLOAT_DIGITS - 4).plus(number).normalize()


def read(text: str, value: Value, about: str) -> Decimal:
    """As ``number_in``, for profilers.

    Raises:
        ReadingError: there is no such number; names the source.
    """
    try:
        return number_in(text, value)
    except ValueError as error:
        raise ReadingError(f"{about}: {error}") from error
