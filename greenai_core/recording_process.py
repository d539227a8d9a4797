"""The process that records: it reads sensors and writes rows, and does nothing else.

It is started anew, never forked, so it shares neither threads nor CUDA with the program
that is recorded. Its order comes on stdin as one line of JSON; the pipe stays open as long
as the recording shall last. What it tells goes to a pipe of its own, a line of JSON each.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
from collections.abc import Iterator, Mapping
from time import perf_counter, sleep  # what SYSTEM_CLOCK is made of
from typing import Any

from .errors import ConfigError, NoSensorError
from .recording_loop import LiveRecording
from .recording_order import Order
from .report_files import from_json, to_json
from .session import Session

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

STOP = "stop"
FOLLOW = "follow"

SWITCH_S = 0.0005
"""How long another thread may hold Python up at a tick."""

DEAF_S = 0.02
"""Between two looks at what comes from outside, where ticks are so close together: a mere
sleep takes half the processor time of waiting on descriptors."""

STOPPED = "it was stopped"
OVER = "the duration that was asked for is over"
PARENT_GONE = "the process that started it ended"


class Wishes:
    """What comes from outside while it records: orders, signals, ends of processes.

    Args:
        control: descriptor of the pipe that orders come on.
        parent: id of the process that started this one.
    """

    def __init__(self, control: int, parent: int) -> None:
        self._control = control
        self._buffer = b""
        self._parent = parent
        self._parent_fd = _pidfd(parent)
        self._signal_fd, writing = os.pipe()
        for fd in (self._signal_fd, writing):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        for number in ENDING:
            signal.signal(number, lambda *_: None)
        self._watched = [control, self._signal_fd]
        if self._parent_fd is not None:
            self._watched.append(self._parent_fd)

    def follow(self, pid: int) -> None:
        """Wake up when that process ends."""
        fd = _pidfd(pid)
        if fd is not None:
            self._watched.append(fd)

    def wait(self, seconds: float) -> list[int]:
        """Wait so long at most; descriptors that have something to tell."""
        return select.select(self._watched, [], [], max(seconds, 0.0))[0]

    def taken(self, ready: list[int]) -> Iterator[dict[str, Any]]:
        """What they tell; ``{"end": reason}`` for an end."""
        for fd in ready:
            if fd == self._control:
                yield from self._orders()
            elif fd == self._signal_fd:
                number = max(os.read(fd, 512))
                yield {"end": f"{signal.Signals(number).name} came"}
            elif fd == self._parent_fd:
                yield {"end": PARENT_GONE}
            else:
                self._watched.remove(fd)
                os.close(fd)
                yield {"ended": True}

    def orphaned(self) -> bool:
        """Whether the process that started this one has ended."""
        return os.getppid() != self._parent

    def _orders(self) -> Iterator[dict[str, Any]]:
        content = os.read(self._control, 65536)
        if not content:
            yield {"end": PARENT_GONE}
            return
        *lines, self._buffer = (self._buffer + content).split(b"\n")
        for line in lines:
            order = json.loads(line)
            yield {"end": STOPPED} if order == STOP else order


def _pidfd(pid: int) -> int | None:
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


class Teller:
    """Tells the process that started this one how things go; nothing if it has gone."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def tell(self, kind: str, what: Any) -> None:
        """One line."""
        line = json.dumps({kind: to_json(what)}, allow_nan=False).encode() + b"\n"
        with contextlib.suppress(OSError):
            os.set_blocking(self._fd, True)
            while line:
                line = line[os.write(self._fd, line) :]

    def mention(self, kind: str, what: Any) -> None:
        """One line, unless nobody reads: a row must not wait for it."""
        line = json.dumps({kind: to_json(what)}, allow_nan=False).encode() + b"\n"
        with contextlib.suppress(OSError):
            os.set_blocking(self._fd, False)
            # Less than PIPE_BUF: it is written whole or not at all.
            os.write(self._fd, line)


def record(order: Order, wishes: Wishes, teller: Teller) -> None:
    """Record until told to end; told in any case is how it ended.

    Raises:
        GreenAIError: it cannot begin.
        OSError: the file cannot be written at the beginning.
    """
    profilers = "auto" if order.profilers is None else order.profilers
    session = Session(
        profilers,
        options=order.options,
        calibrations=order.calibrations,
        watch=False,
        edge_wait=False,
    )
    with session:
        if not session.sources:
            raise NoSensorError("there is no sensor to be recorded")
        recording = LiveRecording(order, session)
        try:
            if order.pid is not None:
                recording.follow(order.pid)
                wishes.follow(order.pid)
            started = recording.begin()
            teller.tell("started", started)
            reason = _go_on(recording, wishes, teller)
            summary = recording.end(reason)
        finally:
            recording.close()
    teller.tell("ended", summary)


def _go_on(recording: LiveRecording, wishes: Wishes, teller: Teller) -> str:
    """One row after the other, until there is a reason to end."""
    told_s = checked_s = deaf_s = 0.0
    over_s = recording.over_s
    while True:
        now = perf_counter()
        due_s = recording.next_due(now)
        if due_s < deaf_s and due_s < over_s:
            if due_s > now:
                sleep(due_s - now)
        else:
            deaf_s = now + DEAF_S
            reason = _wait(min(due_s, over_s), recording, wishes, teller)
            if reason:
                return reason
            if due_s >= over_s:
                return OVER
        failure = recording.tick()
        if failure:
            return failure
        if now - checked_s >= 1.0:
            checked_s = now
            reason = recording.check() or (PARENT_GONE if wishes.orphaned() else "")
            if reason:
                return reason
        if recording.progress and now - told_s >= 0.25:
            told_s = now
            teller.mention("progress", recording.state())


def _wait(until_s: float, recording: LiveRecording, wishes: Wishes, teller: Teller) -> str:
    """Wait until an instant; why to end before it, if there is a reason."""
    while True:
        for wish in wishes.taken(wishes.wait(until_s - perf_counter())):
            reason = _obey(wish, recording, wishes, teller)
            if reason:
                return reason
        if perf_counter() >= until_s:
            return ""


def _obey(wish: Mapping[str, Any], recording: LiveRecording, wishes: Wishes, teller: Teller) -> str:
    if "end" in wish:
        return str(wish["end"])
    if "ended" in wish:
        return recording.followed_ended()
    try:
        recording.follow(int(wish[FOLLOW]))
        wishes.follow(int(wish[FOLLOW]))
    except ConfigError as error:
        # It may have ended before we looked: that is for whoever started it to see.
        teller.mention("note", str(error))
    return ""


def _read_line(fd: int) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(fd, 1)  # what follows the line is for later
        if not byte:
            raise ConfigError("the order of a recording did not arrive whole")
        line += byte
    return line


def main() -> int:
    """Record as stdin orders; the first argument names the pipe for what there is to tell."""
    status, parent = int(sys.argv[1]), int(sys.argv[2])
    os.set_inheritable(status, False)
    sys.setswitchinterval(SWITCH_S)
    teller = Teller(status)
    control = sys.stdin.fileno()
    try:
        order = from_json(Order, json.loads(_read_line(control)), "the order")
        record(order, Wishes(control, parent), teller)
    except Exception as error:  # noqa: BLE001  # the process that started this one raises it
        kinds = [kind.__name__ for kind in type(error).__mro__]
        known = {"kinds": kinds, "message": str(error), "errno": getattr(error, "errno", None)}
        hint = {"reason": getattr(error, "reason", ""), "hint": getattr(error, "hint", "")}
        teller.tell("failed", {**known, **hint})
        return 1
    return 0
