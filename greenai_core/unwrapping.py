"""From the raw counts of one channel to joules: differences, wraps, resets, garbage."""

from __future__ import annotations

import itertools
import math
from typing import Any

from .channels import DEFAULT_PERIOD_S, Channel
from .errors import ReadingError

MAX_POWER_W = 5000.0
"""No channel of one machine draws more; a counter that says so was reset."""

_EPOCHS = itertools.count()


class Counter:
    """Unwraps one channel's raw counts into joules since it was opened."""

    __slots__ = (
        "channel", "epoch", "joules", "moved", "plain", "raw", "seen", "shown", "sure_s", "unit",
    )  # fmt: skip

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.raw: int | None = None
        # What the count was parsed from: while that stays the same, so does the count.
        self.shown: Any = None
        self.seen = math.inf
        self.moved = -math.inf
        self.joules = 0.0
        self.epoch = next(_EPOCHS)
        self.unit = channel.resolution_j
        # More than this at once, or less than nothing, is looked at twice.
        self.plain = round(MAX_POWER_W * DEFAULT_PERIOD_S / max(channel.resolution_j, 1e-15))
        # A wrap cannot have passed unseen between two reads so close together.
        self.sure_s = channel.wraps_at * self.unit / MAX_POWER_W if channel.wraps_at else math.inf

    def add(self, time: float, raw: int) -> None:
        """Count what has come since the read before.

        Raises:
            ReadingError: the count is negative, moved as no energy explains (back
                without a wrap, or ahead faster than MAX_POWER_W), or may have
                wrapped more than once since the read before.
        """
        last = self.raw
        if raw == last:
            self.seen = time
            return
        delta = min(raw, 0) if last is None else raw - last
        if not 0 <= delta <= self.plain or time - self.seen > self.sure_s:
            delta = self._explain(time, raw, delta)
        self.joules += delta * self.unit
        self.raw = raw
        self.seen = self.moved = time

    def _explain(self, time: float, raw: int, delta: int) -> int:
        channel = self.channel
        if not raw >= 0:  # NaN too
            raise ReadingError(f"the counter of {channel.id} gave {raw}, which cannot be true")
        last = raw - delta
        if delta < 0 and channel.wraps_at:
            delta += channel.wraps_at
        # One update period of energy may appear at once, whatever the time between reads,
        # and a counter may be slower than it declares.
        elapsed = max(time - self.seen, 0.0) + max(channel.update_period_s or 0, DEFAULT_PERIOD_S)
        if delta < 0 or delta * channel.resolution_j > MAX_POWER_W * elapsed:
            self.begin_anew(time, raw)
            what = "went back" if raw < last else f"jumped within {elapsed:.3g} s"
            raise ReadingError(
                f"the counter of {channel.id} {what} from {last} to {raw}: "
                "it was reset, or gave garbage"
            )
        pause = time - self.seen
        if pause > self.sure_s and (delta + (channel.wraps_at or 0)) * self.unit <= (
            MAX_POWER_W * pause
        ):
            self.begin_anew(time, raw)
            raise ReadingError(
                f"the counter of {channel.id} could not be read for {pause:.0f} s and may have "
                "wrapped unseen meanwhile"
            )
        return delta

    def begin_anew(self, time: float, raw: int | None) -> None:
        """Count from here on; nothing before can be subtracted any more."""
        self.raw, self.seen, self.joules = raw, time, 0.0
        self.shown = None
        self.epoch = next(_EPOCHS)
