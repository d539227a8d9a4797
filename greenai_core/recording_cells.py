"""What fills the cells of a row, and calls that take too long to be made between two rows."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from .clock import Clock
from .recording_rows import Column

T = TypeVar("T")

INLINE_SHARE = 0.25
"""What takes more of an interval is read in a thread of its own, so that ticks are not missed."""


class Cells(ABC):
    """Columns that one source fills."""

    columns: Sequence[Column]

    first: int = 0
    """Number of the first of them in a row, whose leading cells count as one."""

    due_s: float = -math.inf
    """Nothing is known anew before that instant."""

    def place(self, first: int) -> None:
        """Learn where in a row the columns are."""
        self.first = first

    @abstractmethod
    def read(self, now_s: float, row: list[str], notes: list[str]) -> None:
        """Fill the cells that are known now; ``notes`` tell what failed."""

    def close(self) -> None:  # noqa: B027  # most have no thread
        """End what runs in the background."""


class Stamped(NamedTuple, Generic[T]):
    """What a call returned, and the instant in the middle of it."""

    value: T
    time_s: float


class Background(Generic[T]):
    """A call that takes long, repeated in a thread; its newest result is there to be taken."""

    def __init__(self, call: Callable[[], T], period_s: float, clock: Clock) -> None:
        self._call = call
        self._clock = clock
        self._newest: Stamped[T] | None = None
        self._failure: Exception | None = None
        self._ticker = clock.repeat(self._run, lambda: period_s)

    def _run(self) -> None:
        before = self._clock.now()
        try:
            value = self._call()
        except Exception as error:  # noqa: BLE001  # told by whoever takes the result
            self._failure = error
        else:
            self._newest = Stamped(value, (before + self._clock.now()) / 2)

    def take(self) -> Stamped[T] | None:
        """The newest result, once.

        Raises:
            Exception: what the call raised since.
        """
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        newest, self._newest = self._newest, None
        return newest

    def close(self) -> None:
        """End it."""
        self._ticker.cancel()


def cost_s(call: Callable[[], object], clock: Clock, times: int = 3) -> float:
    """Seconds that a call takes, the least of some."""
    least = math.inf
    for _ in range(times):
        began = clock.now()
        call()
        least = min(least, clock.now() - began)
    return least
