"""Record sensors to a file while a program runs, from a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from . import errors
from .calibration import Calibration
from .errors import ConfigError, GreenAIError, LifecycleError, MeasurementError, PluginUnavailable
from .recording_order import Order, Started, Summary, format_of
from .report_files import from_json, to_json
from .selection import wanted

if TYPE_CHECKING:
    from typing_extensions import Self

BEGIN_S = 60.0
"""Sensors that are not open by then will not be."""

END_S = 30.0
"""So long after it was told to end the process may still ask a slow sensor."""

FOLLOW = "follow"

Told = Callable[[Mapping[str, Any]], None]


class Recorder:
    """Energy, power, utilisation, temperature, memory and clocks, row by row, in a file.

    The rows are written by a process of its own, which shares nothing with this one: it goes
    on when this one is busy, and when this one ends in whatever way, it writes a last row and
    ends too. ``docs/recording.md`` describes the file; ``read_recording`` reads it back. ::

        with Recorder("run.csv", interval_s=0.1):
            train()

    Args:
        out: the file; its suffix is that of the format, ``.csv`` or ``.jsonl``.
        interval_s: between two rows, 0.001 s to an hour. What is no energy is asked for at
            most ten times a second.
        profilers: ``"auto"``, or names; a profiler object belongs to this process and
            cannot be handed to the other.
        options: constructor options by profiler name.
        format: ``csv`` or ``jsonl``, where the suffix does not tell.
        append: go on in the file if it is there: same columns, same boot of the machine.
        rotate_rows, rotate_bytes, rotate_s: go on in another file after so much.
        duration_s: end by itself after so long.
        pid: a process to follow with its children: their CPU time and memory are columns,
            and the recording ends with it.
        tree: columns for a process that ``follow`` names later.
        calibrations: see ``Session``; windows that are read back are corrected with them.

    Raises:
        ConfigError: a value that cannot be used.
    """

    def __init__(
        self,
        out: str | os.PathLike[str],
        interval_s: float = 0.1,
        profilers: str | Iterable[str] = "auto",
        options: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        format: str | None = None,
        append: bool = False,
        rotate_rows: int | None = None,
        rotate_bytes: int | None = None,
        rotate_s: float | None = None,
        duration_s: float | None = None,
        pid: int | None = None,
        tree: bool = False,
        calibrations: Iterable[Calibration] = (),
    ) -> None:
        self._order = Order(
            out=os.fspath(out),
            format=format_of(Path(out), format),
            interval_s=interval_s,
            profilers=_names(profilers),
            options={name: dict(given) for name, given in (options or {}).items()},
            calibrations=tuple(calibrations),
            append=append,
            rotate_rows=rotate_rows,
            rotate_bytes=rotate_bytes,
            rotate_s=rotate_s,
            duration_s=duration_s,
            pid=pid,
            tree=tree,
        )
        self._process: subprocess.Popen[bytes] | None = None
        self._status = -1
        self._unread = b""
        self.started: Started | None = None
        """What was told when the first row had been written."""
        self.summary: Summary | None = None
        """What became of the latest recording, once it has ended."""

    @property
    def running(self) -> bool:
        """Whether ``stop`` is still to come; the recording itself may have ended before."""
        return self._process is not None

    @property
    def time_s(self) -> float:
        """Seconds since the recording began: the column ``time_s`` at this instant.

        Raises:
            LifecycleError: it has not begun.
        """
        if self.started is None:
            raise LifecycleError("the recorder has not begun: call start() first")
        return time.monotonic() - self.started.start_monotonic_s

    def start(self, interval_s: float | None = None, *, progress: bool = False) -> Started:
        """Begin; returns when the first row is in the file.

        Args:
            interval_s: instead of that of the constructor.
            progress: whether ``wait`` is told how far the recording is.

        Raises:
            LifecycleError: it has begun already.
            ConfigError: the file is there already, or a value cannot be used.
            PluginError: a requested profiler does not work.
            NoSensorError: none works.
            OSError: the file cannot be written.
        """
        if self._process is not None:
            raise LifecycleError("the recorder records already: call stop() first")
        interval = self._order.interval_s if interval_s is None else interval_s
        order = replace(self._order, interval_s=interval, progress=progress)
        self.started = self.summary = None
        self._unread = b""
        self._process, self._status = _launched()
        try:
            self._send(to_json(order))
            self.started = self._first_word()
        except BaseException:
            self._kill()
            raise
        return self.started

    def follow(self, pid: int) -> None:
        """Record what that process and its children use, and end with it.

        Raises:
            LifecycleError: the recorder does not record, or has no columns for it.
        """
        if self._process is None:
            raise LifecycleError("the recorder does not record: call start() first")
        if not self._order.tree:
            raise LifecycleError("the recording has no columns for a process: give tree=True")
        self._send({FOLLOW: pid})

    def wait(self, told: Told = lambda state: None) -> Summary:
        """Return when the recording has ended by itself.

        Args:
            told: a few times a second how far it is, if ``start`` was asked for that.

        Raises:
            LifecycleError: it has not begun.
            MeasurementError: its process was killed.
        """
        if self._process is None:
            raise LifecycleError("the recorder does not record: call start() first")
        while True:
            word = self._word(None)
            if word is None or "ended" in word or "failed" in word:
                return self._finished(word)
            if "progress" in word:
                told(word["progress"])

    def stop(self, reason: str = "") -> Summary:
        """End the recording with a last row.

        Args:
            reason: what it says of why it ended; that it was stopped, if empty.

        Returns:
            What became of it.

        Raises:
            LifecycleError: it has not begun.
            OSError: it broke off because a row could not be written; ``summary`` tells
                what there is.
            MeasurementError: its process was killed; the file holds what was recorded
                until then.
        """
        if self._process is None:
            raise LifecycleError("the recorder was not started: call start() first")
        self._send({"end": reason} if reason else "stop")
        deadline = time.monotonic() + END_S
        while True:
            word = self._word(max(deadline - time.monotonic(), 0.0))
            if word is None or "ended" in word or "failed" in word:
                summary = self._finished(word)
                break
        if summary.failure:
            raise OSError(summary.errno, summary.failure)
        return summary

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.running:
            # What broke off the block is told first; `summary` tells of the recording.
            with contextlib.suppress(*([] if error is None else [OSError, MeasurementError])):
                self.stop()

    def _send(self, order: Any) -> None:
        process = self._process
        if process is None or process.stdin is None:
            raise AssertionError("the process was started with a pipe")
        # One that has ended reads nothing; what it told tells why.
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps(order).encode() + b"\n")
            process.stdin.flush()

    def _first_word(self) -> Started:
        deadline = time.monotonic() + BEGIN_S
        word = self._word(BEGIN_S)
        if word is not None and "started" in word:
            return from_json(Started, word["started"], "the answer of the recorder")
        if word is not None and "failed" in word:
            raise _raised(word["failed"])
        if time.monotonic() >= deadline:
            raise MeasurementError(
                f"the recorder could not open its sensors in {BEGIN_S:.0f} s. "
                "`greenai devices` tells which one is slow; leave it out with profilers="
            )
        raise MeasurementError(f"the recorder ended before it began{self._how()}")

    def _word(self, patience_s: float | None) -> dict[str, Any] | None:
        """The next line that it tells; None when there is none in time, or no more at all."""
        while b"\n" not in self._unread:
            if not select.select([self._status], [], [], patience_s)[0]:
                return None
            content = os.read(self._status, 65536)
            if not content:
                return None
            self._unread += content
        line, _, self._unread = self._unread.partition(b"\n")
        word: dict[str, Any] = json.loads(line)
        return word

    def _finished(self, word: dict[str, Any] | None) -> Summary:
        if word is not None and "ended" in word:
            self.summary = from_json(Summary, word["ended"], "the answer of the recorder")
            self._leave()
            return self.summary
        if word is not None:
            self._leave()
            raise _raised(word["failed"])
        how = self._how()
        self._kill()
        raise MeasurementError(
            f"the process that recorded {self._order.out} ended early{how}: the file holds what "
            "was recorded until then"
        )

    def _how(self) -> str:
        process = self._process
        if process is None:
            return ""
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = process.wait(1.0)
            return f" ({signal.Signals(-code).name})" if code < 0 else f" (exit code {code})"
        return " (it does not answer)"

    def _leave(self) -> None:
        """It has said its last word: let it go."""
        process = self._process
        if process is not None:
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                process.kill()
        self._kill()

    def _kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            if process.stdin is not None:
                with contextlib.suppress(OSError):
                    process.stdin.close()
            if process.poll() is None:
                process.kill()
                process.wait()
        if self._status >= 0:
            os.close(self._status)
            self._status = -1


def _names(profilers: str | Iterable[str]) -> tuple[str, ...] | None:
    asked = wanted(profilers)
    if asked is None:
        return None
    names = tuple(name for name in asked if isinstance(name, str))
    strange = [name for name in asked if not isinstance(name, str)]
    if strange:
        raise ConfigError(
            f"a recorder reads its sensors in another process, so {strange[0]!r} cannot be handed "
            "to it: give the profiler's name, and its options as options="
        )
    return names


def _launched() -> tuple[subprocess.Popen[bytes], int]:
    """The process, in a session of its own: Ctrl-C on a terminal is for us to handle."""
    reading, writing = os.pipe()
    # It finds the modules that this process finds, whatever lies in the current folder.
    program = (
        f"import sys; sys.path[:] = {sys.path!r}; "
        "from greenai_core.recording_process import main; sys.exit(main())"
    )
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(writing), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            pass_fds=(writing,),
            start_new_session=True,
        )
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    return process, reading


def _raised(told: Mapping[str, Any]) -> Exception:
    """What was raised there, as near to its own class as there is one here."""
    for name in told["kinds"]:
        kind = getattr(errors, name, None)
        if kind is PluginUnavailable:
            return PluginUnavailable(told["reason"], told["hint"])
        if isinstance(kind, type) and issubclass(kind, GreenAIError):
            return kind(told["message"])
        if name == "OSError":
            return OSError(told["errno"], told["message"])
        if name in ("TypeError", "ValueError"):
            return ConfigError(f"a profiler refuses an option: {told['message']}")
    return MeasurementError(f"the recorder failed: {told['message']}")
