"""The process that gives limits back when the program that changed them is gone.

``cap_guard`` starts it before it changes anything. It is a session of its own, deaf to the
signals of a terminal. It waits until its standard input closes or the program is dead,
whichever it sees first, gives back what is still on record, and ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .cap_locks import release
from .cap_records import forget, read_record
from .errors import GreenAIError
from .knobs import Knob, make_knob

READY = b"ready\n"

ATTEMPTS = 10
PAUSE_S = 0.1
"""A board that does not answer is asked again; what fails for good stays on record."""

DEAF_TO = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP)


def main(arguments: Sequence[str]) -> int:
    """Watch over one program; 1 if a limit could not be given back.

    Args:
        arguments: JSON with ``parent`` (its PID), ``target`` and ``options`` of the
            limiter, ``records`` (their paths), and ``locks`` (open file descriptors).
    """
    for number in DEAF_TO:
        signal.signal(number, signal.SIG_IGN)
    plan: Mapping[str, Any] = json.loads(arguments[0])
    try:
        knob = make_knob(plan["target"], plan["options"])
        knob.limiter.open()
    except GreenAIError as error:
        os.write(1, f"{error}\n".encode())
        return 1
    os.chdir("/")
    try:
        with contextlib.suppress(BrokenPipeError):  # already dead: what is on record is given back
            os.write(1, READY)
        _wait_for_the_end_of(plan["parent"])
        paths = [Path(path) for path in plan["records"]]
        failed = [path for path in paths if not _given_back(knob, path)]
    finally:
        for fd in plan["locks"]:
            release(fd)
        knob.limiter.close()
    return int(bool(failed))


def _wait_for_the_end_of(parent: int) -> None:
    """Return when the pipe to the program is closed, or the program is dead.

    Children that the program forked may keep the pipe open after its death; where the
    system has process descriptors (Linux 5.3), these do not.
    """
    poll = select.poll()
    poll.register(0, select.POLLIN | select.POLLHUP)
    process = None
    with contextlib.suppress(AttributeError, OSError):
        process = os.pidfd_open(parent)
    if os.getppid() != parent:
        return  # it died while we began
    if process is not None:
        poll.register(process, select.POLLIN)
    while True:
        for fd, _ in poll.poll():
            if fd == process or not os.read(0, 4096):
                return


def _given_back(knob: Knob, path: Path) -> bool:
    """Whether what is on record was given back, or there is no record any more."""
    for _ in range(ATTEMPTS):
        try:
            record = read_record(path)
            if record is not None:
                knob.restore(record.device, record.original, record.also)
                forget(path)
            return True
        except Exception:  # noqa: BLE001  # whatever fails, the others come back
            time.sleep(PAUSE_S)
    return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
