"""Rows of the old service, read with care: decimals are strings, one row may come bare."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from greenai_core import ConfigError, DevicePower, GradeError, ServiceFailed

LETTER = re.compile(r"[A-Za-z][+-]{0,3}")
"""What may be shown as the letter of a class: nothing that a terminal or a shell would heed."""


@dataclass(frozen=True)
class ClassRow:
    """A class: its letter is of all figures from ``low`` up to, but without, ``high``."""

    letter: str
    low: float
    high: float

    def holds(self, value: float) -> bool:
        """Whether a figure is of this class."""
        return self.low <= value < self.high


def rows(answer: Any, where: str) -> list[Mapping[str, Any]]:
    """The rows of an answer, whether it is a list or a bare object.

    Raises:
        ServiceFailed: it is neither.
    """
    found = answer if isinstance(answer, list) else [answer]
    if not all(isinstance(row, dict) for row in found):
        raise ServiceFailed(f"{where} answered with JSON of another shape")
    return found


def class_row(row: Mapping[str, Any], where: str) -> ClassRow:
    """A class of what a service answered.

    Raises:
        ServiceFailed: it is none.
    """
    letter = row.get("calification")
    if not isinstance(letter, str) or not LETTER.fullmatch(letter.strip()):
        raise ServiceFailed(f"{where} answered with a class that has no letter")
    low, high = (_decimal(row, name, where) for name in ("min_C1", "max_C1"))
    if not low < high:
        raise ServiceFailed(f"{where} answered with a class from {low:g} to {high:g}")
    return ClassRow(letter.strip(), low, high)


def device_row(row: Mapping[str, Any], where: str) -> DevicePower:
    """A device of what a service answered.

    Raises:
        ServiceFailed: it is none.
    """
    kind, name = row.get("object_type"), row.get("value_type")
    if not isinstance(kind, str) or not isinstance(name, str):
        raise ServiceFailed(f"{where} answered with a device that has no name or type")
    try:
        return DevicePower(kind, name, _decimal(row, "value1", where))
    except ConfigError as error:
        raise ServiceFailed(f"{where} answered with what is no device: {error}") from error


def classes(content: Any) -> tuple[ClassRow, ...]:
    """The classes that an ``Answer`` holds, in rising order.

    Raises:
        GradeError: they are none, or overlap, so that a figure had two letters, or a
            figure that is worse would get a better letter.
    """
    made = [_own_row(row) for row in _listed(content)]
    found = sorted(set(made), key=lambda row: row.low)
    pairs = list(itertools.pairwise(found))
    for before, after in pairs:
        if after.low < before.high:
            raise GradeError(
                f"the service's classes {before.letter} and {after.letter} overlap: a figure of "
                f"{after.low:g} would be both"
            )
    for before, after in pairs:
        if after.letter <= before.letter:
            raise GradeError(
                f"the service's classes are out of order: {after.letter} comes after "
                f"{before.letter}"
            )
    return tuple(found)


def _listed(content: Any) -> Sequence[Any]:
    found = content.get("classes") if isinstance(content, Mapping) else None
    if not isinstance(found, (list, tuple)):
        raise GradeError("the answer of the service holds no classes")
    return found


def _own_row(row: Any) -> ClassRow:
    try:
        made = ClassRow(str(row["letter"]), float(row["low"]), float(row["high"]))
    except (KeyError, TypeError, ValueError) as error:
        raise GradeError(f"{row!r} is no class of a service") from error
    if not LETTER.fullmatch(made.letter):
        raise GradeError(f"{made.letter[:40]!r} is no letter of a class")
    if not (math.isfinite(made.low) and math.isfinite(made.high) and made.low < made.high):
        raise GradeError(f"{row!r} is no class of a service")
    return made


def _decimal(row: Mapping[str, Any], name: str, where: str) -> float:
    """A number that may come as a string."""
    value = row.get(name)
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number):
            return number
    raise ServiceFailed(f"{where} answered with {str(value)[:40]!r} where {name} should stand")
