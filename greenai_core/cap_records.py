"""What a limit was before greenai changed it, on disk; and one lock a device.

A record is written and synced before a limit is changed and removed after it was given
back, so whatever happens in between, somebody can give it back.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import PowerCapError

VERSION = 1

HELD = "held"
"""A limit that is given back when its program ends."""

KEPT = "kept"
"""A limit that was set to stay (``greenai powercap set``)."""

PATIENCE_S = 3.0
"""A lock whose program is dead is held by its watchdog, which is just giving limits back."""

BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class CapRecord:
    """What a device had.

    Attributes:
        device: ``gpu:GPU-<uuid>``.
        unit: ``W`` or ``MHz``.
        original: what to give back; None for a clock that ran freely.
        default: what the maker set; None where nobody tells.
        target: ``module:class`` of the limiter.
        options: of its constructor; None where no other process can make it.
        pid: of the process that changed the limit.
        boot: of the system, which forgets all limits when it starts again.
        lasting: ``held`` or ``kept``.
        also: what else is to be given back; see ``PowerLimiter.also``.
    """

    device: str
    unit: str
    original: float | None
    default: float | None
    target: str
    options: Mapping[str, Any] | None
    pid: int
    boot: str
    lasting: str
    also: Mapping[str, float]
    version: int = VERSION


def default_folder() -> Path:
    """``$XDG_STATE_HOME/greenai/powercap``.

    Raises:
        PowerCapError: neither that nor a home folder is known.
    """
    home = os.environ.get("XDG_STATE_HOME", "")
    try:
        base = Path(home) if Path(home).is_absolute() else Path("~/.local/state").expanduser()
    except RuntimeError as error:
        raise PowerCapError(
            "this user has no home folder, so what a limit was cannot be written down. Set "
            "XDG_STATE_HOME to a folder that can be written"
        ) from error
    return base / "greenai" / "powercap"


def boot_id() -> str:
    """What tells this run of the system from the one before; empty where nothing does."""
    try:
        return BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def path_of(folder: Path, device: str, unit: str, lasting: str) -> Path:
    """Where the record of a device is."""
    return folder / f"{_slug(device)}.{unit}.{lasting}.json"


def records_in(folder: Path, device: str | None = None, lasting: str | None = None) -> list[Path]:
    """The records there, of one device or of all."""
    pattern = f"{_slug(device) if device else '*'}.*.{lasting or '*'}.json"
    return sorted(folder.glob(pattern)) if folder.is_dir() else []


def write_record(path: Path, record: CapRecord) -> None:
    """Write a record so that it is there after a power cut too.

    Raises:
        PowerCapError: it cannot be written, so no limit may be changed.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    text = json.dumps(dataclasses.asdict(record), indent=2)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise PowerCapError(
            f"the limit of {record.device} is not changed, since what it was cannot be written to "
            f"{path}: {error.strerror}. Free some space, or set XDG_STATE_HOME to another folder"
        ) from error


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_record(path: Path) -> CapRecord | None:
    """A record; None where there is none.

    Raises:
        PowerCapError: it cannot be read, or is none.
    """
    try:
        with path.open(encoding="utf-8") as file:
            owner = os.fstat(file.fileno()).st_uid
            data = json.loads(file.read())
        fields = {field.name: data[field.name] for field in dataclasses.fields(CapRecord)}
        _check(fields)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise PowerCapError(
            f"{path} should say what a limit was before greenai changed it, but cannot be read "
            f"({error}). Look at it, set the limit by hand, and remove the file"
        ) from error
    if owner not in (0, os.geteuid()):
        # It names a class to be imported, and a limit to be set: root must not obey anybody.
        raise PowerCapError(
            f"{path} is not obeyed, since it belongs to another user ({owner}). Look at it, set "
            "the limit by hand, and remove the file"
        )
    if data["version"] != VERSION:
        raise PowerCapError(f"{path} is of another version of greenai. Restore with that one")
    return CapRecord(**fields)


def _check(fields: Mapping[str, Any]) -> None:
    """See that a damaged record does not fail half way through.

    Raises:
        ValueError: a field is of another kind.
    """
    texts = ("device", "unit", "target", "boot", "lasting")
    also = fields["also"]
    numbers = [fields["original"], fields["default"], *also.values()] if _maps(also) else ["also"]
    if (
        not all(isinstance(fields[name], str) for name in texts)
        or not all(one is None or type(one) in (int, float) for one in numbers)
        or not (fields["options"] is None or _maps(fields["options"]))
    ):
        raise ValueError("a field is not what it should be")


def _maps(value: object) -> bool:
    return isinstance(value, Mapping)


def forget(path: Path) -> None:
    """Remove a record; its limit was given back."""
    path.unlink(missing_ok=True)


class DeviceLock:
    """Keeps two programs from changing the limit of one device.

    The lock belongs to the open file, so a process that inherits it goes on holding it
    when this one is killed.

    Args:
        folder: of the records.
        device: to lock.

    Raises:
        PowerCapError: somebody else holds it.
    """

    def __init__(self, folder: Path, device: str) -> None:
        path = folder / f"{_slug(device)}.lock"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise _not_locked(device, path, error) from error
        began = time.monotonic()
        while not self._taken():
            holder = os.pread(self.fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            if _lives(holder) or time.monotonic() - began > PATIENCE_S:
                os.close(self.fd)
                if holder == str(os.getpid()):
                    raise PowerCapError(
                        f"this process changes the limit of {device} already: end its `with "
                        "power_cap(…)` block, or call reset_power_cap, first"
                    )
                raise PowerCapError(
                    f"another greenai (process {holder}) is changing the limit of {device}. "
                    "Wait for it, or end it"
                )
            time.sleep(0.02)
        try:
            os.ftruncate(self.fd, 0)
            os.pwrite(self.fd, f"{os.getpid()}\n".encode("ascii"), 0)
        except OSError as error:
            self.release()
            raise _not_locked(device, path, error) from error

    def _taken(self) -> bool:
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def release(self) -> None:
        """Let others have it, whoever else inherited it."""
        if self.fd >= 0:
            release(self.fd)
            self.fd = -1


def release(fd: int) -> None:
    """Release the lock of an open lock file, and close that."""
    with contextlib.suppress(OSError):
        fcntl.flock(fd, fcntl.LOCK_UN)
    with contextlib.suppress(OSError):
        os.close(fd)


def _not_locked(device: str, path: Path, error: OSError) -> PowerCapError:
    return PowerCapError(
        f"{device} cannot be locked: {path}: {error.strerror}. "
        "Set XDG_STATE_HOME to a folder that can be written"
    )


def _lives(pid: str) -> bool:
    try:
        state = Path(f"/proc/{int(pid)}/stat").read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError):
        return False
    return state.rpartition(")")[2].split()[:1] != ["Z"]


def _slug(device: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", device)
