"""What a limit was before greenai changed it, on disk.

A record is written and synced before a limit is changed and removed after it was given
back, so whatever happens in between, somebody can give it back.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import glob
import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .cap_locks import PLAIN, DeviceLock
from .errors import PowerCapError

VERSION = 1

HELD = "held"
"""A limit that is given back when its program ends."""

KEPT = "kept"
"""A limit that was set to stay (``greenai powercap set``)."""

MOST_BYTES = 1 << 16
"""Of a record; what is longer is none."""

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


def device_of(path: Path) -> str:
    """The device of a record that cannot be read, going by the name of its file."""
    kind, _, name = path.name.split(".")[0].partition("_")
    return f"{kind}:{name.replace('_', '/')}"


def lock_of(path: Path) -> Path:
    """The lock file beside a record."""
    return path.with_name(f"{path.name.split('.')[0]}.lock")


def locked(folder: Path, device: str) -> DeviceLock:
    """Lock a device; see ``DeviceLock``.

    Raises:
        PowerCapError: somebody else holds it.
    """
    return DeviceLock(folder / f"{_slug(device)}.lock", device)


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
        # Of programs that were killed while they wrote; whoever writes holds the lock.
        for old in path.parent.glob(f".{glob.escape(path.name)}.*"):
            old.unlink(missing_ok=True)
        # A new file: root may write into a folder of somebody who put a link there.
        with temporary.open("x", encoding="utf-8") as file:
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
        PowerCapError: it cannot be read, is none, or is not to be obeyed.
    """
    remedy = (
        f"Look at it; `greenai powercap reset --gpu {device_of(path)}` gives the device the limit "
        "of its maker, and removes the file"
    )
    try:
        text, owner = _read(path)
        data = json.loads(text)
        if isinstance(data, dict) and data.get("version", VERSION) != VERSION:
            raise PowerCapError(f"{path} is of another version of greenai. Restore with that one")
        fields = {field.name: data[field.name] for field in dataclasses.fields(CapRecord)}
        _check(fields)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise PowerCapError(
            f"{path} should say what a limit was before greenai changed it, but cannot be read "
            f"({_why(error)}). {remedy}"
        ) from error
    if owner not in (0, os.geteuid()):
        # It names a class to be imported, and a limit to be set: root must not obey anybody.
        raise PowerCapError(
            f"{path} is not obeyed, since it belongs to another user ({owner}). {remedy}"
        )
    return CapRecord(**fields)


def _read(path: Path) -> tuple[str, int]:
    """The text of a file, and whose it is.

    Raises:
        OSError: it cannot be read, or is a link.
        ValueError: it is no plain file, or too long.
    """
    handle = os.open(path, os.O_RDONLY | PLAIN)
    with open(handle, encoding="utf-8") as file:  # noqa: PTH123  # of a file that is open
        known = os.fstat(handle)
        if not stat.S_ISREG(known.st_mode) or known.st_size > MOST_BYTES:
            raise ValueError("it is no plain file, or too long")
        return file.read(), known.st_uid


def _why(error: Exception) -> str:
    if isinstance(error, OSError):
        return "it is a link" if error.errno == errno.ELOOP else str(error.strerror)
    if isinstance(error, KeyError):
        return f"it has no {error}"
    return str(error) or type(error).__name__


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


def _slug(device: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", device)
