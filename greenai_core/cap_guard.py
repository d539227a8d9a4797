"""Limits that are changed for a while and always given back.

Before a limit is changed what it was is on disk, a lock keeps others away, and a watchdog
process stands by. It is given back at the end of the ``with`` block, when the interpreter
ends, on SIGTERM and SIGHUP, by the watchdog when this process is killed, and by
``greenai powercap restore`` when even that was. See ``docs/power-cap.md``.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING

from . import cap_records
from .cap_locks import DeviceLock
from .cap_records import HELD, CapRecord
from .errors import PowerCapError, PowerCapForbidden, PowerCapKept
from .knobs import Knob, Setting, make_knob
from .proc_files import descendants
from .watched_caps import Watchdog

if TYPE_CHECKING:
    from typing_extensions import Self

ENDING = (signal.SIGTERM, signal.SIGHUP)
"""Signals that would end this process without a word; Ctrl-C is an exception anyway."""

SAME = 0.5
"""Two limits that differ by less are the same, in the unit of the limiter."""


@dataclass(frozen=True)
class InForce:
    """A limit that was set.

    Attributes:
        device: whose it is.
        asked: for.
        value: what is in force, read back.
        unit: ``W`` or ``MHz``.
        note: why the two differ; empty if they do not.
    """

    device: str
    asked: float
    value: float
    unit: str
    note: str = ""


class CapGuard:
    """Changes the limits of some devices and gives them back; a context manager.

    Args:
        knob: an open limiter.
        devices: those that may be changed.
        folder: of the records and locks; None for ``cap_records.default_folder``.
        shared: change them although other processes use them.
    """

    def __init__(
        self,
        knob: Knob,
        devices: Sequence[str],
        *,
        folder: Path | None = None,
        shared: bool = False,
    ) -> None:
        self.knob = knob
        self.devices = tuple(dict.fromkeys(devices))
        self.before: dict[str, Setting] = {}
        """What each device had."""
        self._folder = folder or cap_records.default_folder()
        self._shared = shared
        self._locks: list[DeviceLock] = []
        self._records: dict[str, Path] = {}
        self._watchdog: Watchdog | None = None
        self._handlers: dict[int, object] = {}
        self._changed: set[str] = set()
        self._pid = 0

    # Beginning and ending

    def open(self) -> Self:
        """Lock the devices, write down what they have, and start the watchdog.

        Raises:
            PowerCapError: a device must not be changed here and now.
        """
        self._pid = os.getpid()
        atexit.register(self._at_exit)
        try:
            for device in sorted(self.devices):
                self._locks.append(cap_records.locked(self._folder, device))
                recover(self._folder, device, self.knob)
                self.before[device] = checked(self.knob, device, self._shared)
            for device in self.devices:
                self._write(device)
            self._watch()
            self._handle_signals()
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """Give every limit back; does nothing when that was done, or in a forked child.

        Raises:
            PowerCapError: a device did not take its old limit; the others have theirs.
        """
        if self._pid != os.getpid():
            return
        try:
            failed = list(self._give_back())
        except BaseException:  # Ctrl-C once more
            list(self._give_back())
            raise
        finally:
            self._end()
        if failed:
            raise PowerCapError(
                f"{'; '.join(failed)}. What it had is kept on record: `greenai powercap restore` "
                "gives it back once the device answers"
            )

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # Setting

    def set(self, device: str, value: float) -> InForce:
        """Set the limit of a device, within what it takes.

        Raises:
            PowerCapForbidden: no permission.
            PowerCapError: the device does not answer, or keeps its limit whatever is set.
        """
        if device not in self.before or self._pid != os.getpid():
            raise PowerCapError(f"the limit of {device} is not guarded, so it is not changed")
        before, unit = self.before[device], self.knob.unit
        if not value > 0:  # NaN too
            raise PowerCapError(f"{value:g} {unit} is no limit: {_range(before)}")
        self._watch()
        wanted = min(max(value, before.low), before.high)
        note = ""
        if wanted != value:
            note = f"{_range(before)}, not {value:g}"
        first = device not in self._changed
        self._changed.add(device)  # before: a signal may come right after the limit was set
        try:
            got = self.knob.set(device, wanted)
        except PowerCapForbidden:
            self._changed.discard(device)
            raise
        except PowerCapKept as kept:
            if first and before.current is not None and abs(kept.kept - before.current) < SAME:
                raise
            got = kept.kept
        if abs(got - wanted) >= SAME:
            note = f"{before} was asked for {wanted:g} {unit} and keeps {got:g} {unit}"
        return InForce(device, value, got, unit, note)

    def restore(self, device: str) -> None:
        """Give one device back what it had; it stays guarded.

        Raises:
            PowerCapError: it does not take it.
        """
        self.knob.restore(device, self.before[device].current, self.before[device].also)

    def keep(self, device: str) -> None:
        """Let the limit of a device stay as it is set now."""
        self._changed.discard(device)

    # Parts

    def _write(self, device: str) -> None:
        setting = self.before[device]
        path = cap_records.path_of(self._folder, device, self.knob.unit, HELD)
        record = record_of(self.knob, setting, HELD)
        cap_records.write_record(path, record)
        self._records[device] = path

    def _watch(self) -> None:
        """See that a watchdog stands by; somebody may have killed the one before."""
        if self.knob.options is None or (self._watchdog is not None and self._watchdog.alive):
            return
        locks = [fd for lock in self._locks for fd in lock.fds]
        self._watchdog = Watchdog(self.knob, list(self._records.values()), locks)

    def _end(self) -> None:
        """Let the watchdog go, which gives back what is still on record, and the locks."""
        watchdog, self._watchdog = self._watchdog, None
        if watchdog is not None:
            watchdog.end()
        while self._locks:
            self._locks.pop().release()
        self._pid = 0
        self._release_signals()
        atexit.unregister(self._at_exit)

    def _give_back(self) -> Iterator[str]:
        for device, path in list(self._records.items()):
            try:
                if device in self._changed:
                    self.restore(device)
                cap_records.forget(path)
            except Exception as error:  # noqa: BLE001  # whatever fails, the others come back
                yield f"{self.before[device]} could not be given back its old limit: {error}"
            else:
                del self._records[device]

    def _at_exit(self) -> None:
        with contextlib.suppress(PowerCapError):  # it stays on record
            self.close()

    def _handle_signals(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for number in ENDING:
            if signal.getsignal(number) is signal.SIG_DFL:
                self._handlers[number] = signal.signal(number, self._die)

    def _release_signals(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in self._handlers:
                if signal.getsignal(number) == self._die:
                    signal.signal(number, signal.SIG_DFL)
        self._handlers = {}

    def _die(self, number: int, frame: FrameType | None) -> None:
        """Give the limits back and die of the signal, as without us."""
        with contextlib.suppress(PowerCapError):
            self.close()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def _range(setting: Setting) -> str:
    return f"{setting} takes {setting.low:g} to {setting.high:g} {setting.unit}"


def record_of(knob: Knob, setting: Setting, lasting: str) -> CapRecord:
    """What to write down before a limit is changed."""
    options = None if knob.options is None else dict(knob.options)
    return CapRecord(
        setting.device,
        knob.unit,
        setting.current,
        setting.default,
        knob.target,
        options,
        os.getpid(),
        cap_records.boot_id(),
        lasting,
        dict(setting.also),
    )


def checked(knob: Knob, device: str, shared: bool) -> Setting:
    """What a device has now, if its limit may be changed.

    Raises:
        PowerCapError: it may not: MIG, or other processes use it.
    """
    setting = knob.setting(device)
    if setting.refusal:
        raise PowerCapError(f"the limit of {setting} is not changed: {setting.refusal}")
    others = {} if shared else strangers(knob.limiter.users(device))
    if others:
        raise PowerCapError(
            f"the limit of {setting} is not changed, since others use it: {told(others)}. "
            "Wait for them, or allow it with --shared (shared=True)"
        )
    return setting


def strangers(users: Mapping[int, str]) -> dict[int, str]:
    """Those of some processes that are neither this one nor its children."""
    own = {os.getpid(), *descendants(os.getpid())}
    return {pid: name for pid, name in users.items() if pid not in own}


def told(processes: Mapping[int, str]) -> str:
    """Processes, for people."""
    outside = "outside of this container, or gone"
    return ", ".join(f"process {pid} ({name or outside})" for pid, name in processes.items())


def recover(folder: Path, device: str, knob: Knob | None = None) -> list[str]:
    """Give a locked device back what a program that was killed left on record.

    Args:
        folder: of the records.
        device: whose lock this process holds.
        knob: an open limiter, used where the record is of it.

    Returns:
        What was done, in words; nothing as a rule.

    Raises:
        PowerCapError: it could not be given back.
    """
    return [undone(path, knob) for path in cap_records.records_in(folder, device, HELD)]


def undone(path: Path, knob: Knob | None = None) -> str:
    """Give back what is on record, and forget the record; what was done, in words.

    Raises:
        PowerCapError: the device does not take it; the record stays.
    """
    record = cap_records.read_record(path)
    if record is None:
        return f"{path} is gone: somebody else gave the limit back"
    if record.boot != cap_records.boot_id():
        cap_records.forget(path)
        return f"{record.device}: the system was started anew since, which undoes all limits"
    if knob is not None and knob.target == record.target:
        knob.restore(record.device, record.original, record.also)
    else:
        if record.options is None:
            raise PowerCapError(
                f"what {record.device} had ({record.original} {record.unit}) is on record in "
                f"{path}, but no other process can set it. Set it by hand, and remove the file"
            )
        other = make_knob(record.target, record.options)
        other.limiter.open()
        try:
            other.restore(record.device, record.original, record.also)
        finally:
            other.limiter.close()
    cap_records.forget(path)
    value = "none" if record.original is None else f"{record.original:g} {record.unit}"
    return f"{record.device}: its limit is {value} again"
