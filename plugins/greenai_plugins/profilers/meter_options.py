"""Options that several wattmeters share, checked."""

from __future__ import annotations

import math
import re

from greenai_core import ConfigError


def number(profiler: str, name: str, value: float | str, least: float) -> float:
    """The value of an option that is a number.

    Raises:
        ConfigError: it is none, or less than ``least``.
    """
    try:
        found = float(value)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{profiler}: {name} {value!r} is no number") from error
    if not math.isfinite(found) or found < least:
        raise ConfigError(f"{profiler}: {name} is {found}, it must be at least {least}")
    return found


def label_of(profiler: str, label: str) -> str:
    """A name that can be a part of the id of a channel.

    Raises:
        ConfigError: it cannot.
    """
    if not re.fullmatch(r"[\w.-]+", str(label)):
        raise ConfigError(
            f"{profiler}: label {label!r} must be made of letters, digits, '.', '_' and '-'"
        )
    return str(label)
