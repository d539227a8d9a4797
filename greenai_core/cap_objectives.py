"""What the best cap is best in. Pure functions."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from .errors import ConfigError
from .statistics import Vector

KNOWN = {"energy": 0.0, "edp": 1.0, "ed2p": 2.0}
"""Objective -> exponent of time: E, E·t, E·t² (Martin et al. 2001)."""

_LIMITED = re.compile(r"energy\s*(?:within|under|<=?|@)\s*([0-9.]+)\s*%(?:\s*(?:of\s+)?slowdown)?")

RESERVE = 0.1
"""This share of an allowed slowdown is left unused by a choice that is not confirmed yet."""


@dataclass(frozen=True)
class Objective:
    """What is to be small.

    Attributes:
        name: as people write it.
        exponent: of time beside energy.
        slowdown: most that work may be slower, as a share; None for no limit.
    """

    name: str
    exponent: float
    slowdown: float | None = None

    def scores(self, seconds: Vector, joules: Vector, original_s: float) -> Vector:
        """The objective; infinite where work is too slow.

        Args:
            seconds: of one step.
            joules: of one step.
            original_s: seconds of one step under the original cap.
        """
        found = joules * (seconds / original_s) ** self.exponent
        if self.slowdown is None:
            return found
        allowed = 1 + self.slowdown * (1 - RESERVE)
        return np.where(seconds > allowed * original_s, np.inf, found)


def parse_objective(text: str) -> Objective:
    """The objective of a text: ``energy``, ``edp``, ``ed2p``, ``energy within 5 % slowdown``.

    Raises:
        ConfigError: it is none of these.
    """
    plain = " ".join(text.lower().replace("²", "2").split())
    if plain in KNOWN:
        return Objective(plain, KNOWN[plain])
    limited = _LIMITED.fullmatch(plain)
    try:
        percent = float(limited[1]) if limited else -1.0
    except ValueError:
        percent = -1.0
    if 0 < percent < 1000:
        return Objective(f"energy within {percent:g} % slowdown", 0.0, percent / 100)
    raise ConfigError(
        f"the objective {text!r} is not known. Choose energy, edp, ed2p, "
        "or `energy within 5 % slowdown`"
    )
