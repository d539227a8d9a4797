"""Ctrl-C, SIGTERM and SIGHUP end a command in the same orderly way."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Handler = Callable[[int, FrameType | None], None]


class Interrupts:
    """Turns signals into ``KeyboardInterrupt`` and remembers which one came."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._held = 0
        self._pending = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        if self._held:
            self._pending = True
        else:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Handle the signals in this block."""
        self.received, self._held, self._pending = None, 0, False
        with handled(ENDING, self._handle):
            yield

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Let a signal wait until the end of this block: a report is being written."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
            if self._pending and not self._held:
                self._pending = False
                raise KeyboardInterrupt


@contextlib.contextmanager
def handled(numbers: Sequence[signal.Signals], handler: Handler) -> Iterator[None]:
    """Handle these signals in this block; those that are ignored (nohup) stay so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in numbers}
    before = {n: old for n, old in before.items() if old not in (signal.SIG_IGN, None)}
    try:
        for number in before:
            signal.signal(number, handler)
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


INTERRUPTS = Interrupts()
"""Those of this process."""
