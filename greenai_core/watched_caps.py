"""Starting the watchdog of changed limits, and ending it. See ``cap_watchdog``."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from .cap_watchdog import READY
from .errors import PowerCapError
from .knobs import Knob

START = (
    "import sys; sys.path[:] = sys.argv.pop(1).split('\\n'); "
    "from greenai_core.cap_watchdog import main; sys.exit(main(sys.argv[1:]))"
)
"""Not ``-m``: that would look for modules in the current folder first."""

LONGEST_START_S = 60.0
LONGEST_END_S = 5.0


class Watchdog:
    """A running watchdog.

    Args:
        knob: of the limits; its ``options`` are not None.
        records: what to give back.
        locks: open lock files, that it goes on holding.

    Raises:
        PowerCapError: it does not start, so no limit may be changed.
    """

    def __init__(self, knob: Knob, records: Sequence[Path], locks: Sequence[int]) -> None:
        plan = {
            "parent": os.getpid(),
            "target": knob.target,
            "options": dict(knob.options or {}),
            "records": [str(path.absolute()) for path in records],
            "locks": list(locks),
        }
        path = "\n".join(str(Path(entry).absolute()) for entry in sys.path)
        command = [sys.executable, "-c", START, path, json.dumps(plan)]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                pass_fds=tuple(locks),
                start_new_session=True,
            )
        except OSError as error:
            raise PowerCapError(
                f"the watchdog that would give limits back cannot be started with "
                f"{sys.executable!r}: {error}. No limit was changed"
            ) from error
        try:
            self._await_ready()
        except BaseException:
            self.end()
            raise

    def _await_ready(self) -> None:
        out = self._process.stdout
        assert out is not None
        ready, _, _ = select.select([out], [], [], LONGEST_START_S)
        said = out.readline() if ready else b""
        if said != READY:
            why = said.decode(errors="replace").strip() or "it said nothing"
            raise PowerCapError(
                f"the watchdog that would give limits back does not start: {why}. "
                "No limit was changed"
            )

    @property
    def alive(self) -> bool:
        """Whether it still watches."""
        return self._process.poll() is None

    def end(self) -> None:
        """Let it go: it gives back what is still on record, and ends."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(LONGEST_END_S)
        except subprocess.TimeoutExpired:
            return  # a board keeps it waiting; it goes on by itself
