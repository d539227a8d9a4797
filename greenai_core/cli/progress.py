"""A progress bar on stderr that costs the measured loop next to nothing.

It is drawn by the measured process, so drawing it must be cheap: rich takes
1.3 ms for what these few lines do in 0.01 ms.
"""

from __future__ import annotations

import os
import shutil
import sys
import time

REDRAW_S = 0.25
BAR = 20


class Progress:
    """One line that is overwritten; nothing at all where stderr is no terminal.

    Args:
        total: how many pieces of work there are.
        done: how many of them were done before.

    Attributes:
        ahead: told first, so that a narrow terminal cuts off something else.
    """

    def __init__(self, total: int = 1, done: int = 0) -> None:
        stream = sys.stderr
        self._shown = stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"
        self._total = total
        self._number = done
        self._name = ""
        self.ahead = ""
        self._due = 0.0

    def begin(self, name: str) -> None:
        """Turn to the next piece of work."""
        self._number += 1
        self._name = name
        self._due = 0.0
        self(0.0, "loading")

    def __call__(self, share: float, text: str) -> None:
        """Tell the share that is done (0 to 1) and a word on the state."""
        if not self._shown or (now := time.monotonic()) < self._due:
            return
        self._due = now + REDRAW_S
        done = round(share * BAR)
        count = f" ({self._number} of {self._total})" if self._total > 1 else ""
        bar = f"[{'#' * done}{'-' * (BAR - done)}] {share:4.0%}"
        line = f"{bar} {self.ahead}{self._name}{count}: {text}"
        width = shutil.get_terminal_size().columns - 1
        sys.stderr.write(f"\r\x1b[K{line[:width]}")
        sys.stderr.flush()

    def clear(self) -> None:
        """Leave the line as if nothing had been there."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
