"""How long the pieces of a comparison have to be, for sensors to tell them apart.

A piece is a pause, work that is not counted, work that is, and work that is not
again. See ``docs/method.md``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

PIECE_S = 0.5
GRAINS_A_PIECE = 10
BLUR = 0.01
"""Share of a piece that its two borders may be uncertain by (k = 1), as a rule."""

FEWEST_GRAINS = 3
"""Values of the slowest sensor in the counted part of a piece: as a rule, and at least."""

SETTLE_GRAINS = 2.0
SETTLE_SHARE = 0.2
"""What is left out at the beginning of a piece: caches still hold the other model, and the
last value of a counter is of the pause."""

TAIL_GRAINS = 1.5
"""Work goes on so long after a piece, until the counter has shown a value after its end."""

PAUSE_SHARE = 0.1
"""Length of the pause before each piece, of its counted part."""

LONG_RUN_GRAINS = 100
LEAST_GRAIN_S = 0.005
"""One run of so many values is a piece by itself: what its ends blur is 0.3 % at most."""


@dataclass(frozen=True)
class Pace:
    """Runs of one work in each part of a piece, and between two reads of the sensors."""

    settle: int
    counted: int
    tail: int
    stride: int


def piece_length(grain_s: float, slowest_s: float, share_s: float) -> float:
    """Seconds of the counted part of a piece.

    Args:
        grain_s: between two values of the slowest sensor.
        slowest_s: of one run of the slowest work.
        share_s: what the time allows.
    """
    # Sensors are read between runs, so when a value came is known to one run or one grain.
    blur_s = min(grain_s, slowest_s) * math.sqrt(2 / 12)
    usual_s = max(PIECE_S, GRAINS_A_PIECE * grain_s, blur_s / BLUR)
    return max(FEWEST_GRAINS * grain_s, min(usual_s, share_s))


def pace_of(run_s: float, piece_s: float, grain_s: float, tick_s: float) -> Pace:
    """How often to repeat work in a piece.

    Args:
        run_s: of one run.
        piece_s: of the counted part.
        grain_s: between two values of the slowest sensor.
        tick_s: between two reads.
    """
    counted = math.ceil(piece_s / run_s)
    stride = max(1, round(tick_s / run_s))
    if run_s >= LONG_RUN_GRAINS * max(grain_s, LEAST_GRAIN_S):
        return Pace(0, counted, 0, stride)
    settle_s = max(SETTLE_GRAINS * grain_s, SETTLE_SHARE * piece_s)
    tail_s = TAIL_GRAINS * grain_s
    return Pace(math.ceil(settle_s / run_s), counted, math.ceil(tail_s / run_s), stride)
