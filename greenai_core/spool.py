"""Runs that wait to be sent: one file each, written before anything is sent.

A file appears whole or not at all, also when the machine loses its power: it is
written beside its place, synced, renamed, and the folder is synced.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .errors import ConfigError, SchemaError
from .report_files import from_json, to_json
from .runs import Run
from .user_folders import user_folder

SCHEMA_VERSION = 1

REJECTED = "rejected"
"""Folder of the runs that a service refused; they are sent again only when asked for."""

KEY = re.compile(r"[A-Za-z0-9_-]{8,64}")

MOST_BYTES = 2**20
"""No run is longer; it is a few hundred bytes."""


@dataclass(frozen=True)
class Entry:
    """A run in the spool.

    Attributes:
        grader: name of the plugin that sends it.
        url: address of the service.
        path: its file.
        why: what the service said where it refused; empty otherwise.
    """

    run: Run
    grader: str
    url: str
    path: Path
    why: str = ""


def default_folder() -> Path:
    """``$XDG_STATE_HOME/greenai/spool``, by default below ``~/.local/state``.

    Raises:
        ConfigError: neither that nor a home folder is known.
    """
    return user_folder("XDG_STATE_HOME", ".local/state") / "spool"


class Spool:
    """The runs that wait.

    Args:
        folder: where they are; None for the default. It need not exist.

    Attributes:
        folder: where they are; None where the user has no home folder, so that none can wait.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        if folder is None:
            with contextlib.suppress(ConfigError):
                self.folder = default_folder()

    def put(self, run: Run, grader: str, url: str) -> Entry:
        """Keep a run; when this returns it is on the disk.

        Raises:
            ConfigError: the key of the run is no key, or a figure is no number; or there is no
                home folder to keep it in.
            OSError: it cannot be written.
        """
        if not KEY.fullmatch(run.key):
            raise ConfigError(f"the key {run.key!r} of a run is none: make it with new_key()")
        entry = Entry(run, grader, url, (self.folder or default_folder()) / f"{run.key}.json")
        _write(entry)
        return entry

    def waiting(self) -> tuple[list[Entry], list[str]]:
        """The runs that wait, the oldest first, and what is wrong with files that are none."""
        return _read_folder(self.folder) if self.folder else ([], [])

    def rejected(self) -> tuple[list[Entry], list[str]]:
        """Those that a service refused, and what is wrong with files that are none."""
        return _read_folder(self.folder / REJECTED) if self.folder else ([], [])

    @contextlib.contextmanager
    def claim(self, entry: Entry) -> Iterator[bool]:
        """Keep every other greenai from sending a run meanwhile.

        Gives False where another one is sending it, or has: then leave it alone. The
        claim ends with the process, however that ends.
        """
        try:
            handle = _opened(entry.path)
        except (FileNotFoundError, SchemaError):
            yield False
            return
        except OSError:  # it was written or read before, so it is there: there is no lock for it
            yield True
            return
        try:
            yield _locked(handle) and _is_still_at(handle, entry.path)
        finally:
            os.close(handle)

    def remove(self, entry: Entry) -> None:
        """Forget a run that was sent; one that is gone already is no error.

        Raises:
            OSError: it cannot be removed.
        """
        entry.path.unlink(missing_ok=True)

    def reject(self, entry: Entry, why: str) -> Entry:
        """Move a run to ``rejected/``, with what the service said.

        Raises:
            OSError: it cannot be written.
        """
        folder = (self.folder or default_folder()) / REJECTED
        moved = replace(entry, path=folder / entry.path.name, why=why)
        _write(moved)
        if moved.path != entry.path:
            entry.path.unlink(missing_ok=True)
        return moved


def _encoded(entry: Entry) -> bytes:
    """The content of a file.

    Raises:
        ConfigError: a figure is no number, or a text no text.
    """
    content = {
        "schema_version": SCHEMA_VERSION,
        "grader": entry.grader,
        "url": entry.url,
        "why": entry.why,
        "run": to_json(entry.run),
    }
    try:
        text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)
        return (text + "\n").encode()
    except ValueError as error:
        raise ConfigError(
            f"a figure of the run is no number, so it is not kept: {error}"
        ) from error


def _write(entry: Entry) -> None:
    encoded = _encoded(entry)
    folder = entry.path.parent
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=folder, prefix=".")  # readable for its owner alone
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(encoded)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(entry.path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # some network file systems cannot; the file itself is safe
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _read_folder(folder: Path) -> tuple[list[Entry], list[str]]:
    entries, problems = [], []
    try:
        paths = sorted(p for p in folder.iterdir() if p.match("[!.]*.json"))
    except FileNotFoundError:
        return [], []
    except OSError as error:
        return [], [f"{folder} cannot be read: {error.strerror}. Nothing is known of its runs"]
    for path in paths:
        try:
            entries.append(_read(path))
        except FileNotFoundError:
            continue  # sent by somebody else meanwhile
        except OSError as error:
            problems.append(f"{path} cannot be read: {error.strerror}")
        except (SchemaError, ConfigError, ValueError, RecursionError) as error:
            problems.append(f"{path} holds no run: {error}. Remove it")
    return sorted(entries, key=lambda entry: (entry.run.created, entry.run.key)), problems


def _read(path: Path) -> Entry:
    text = _content(path).decode("utf-8")
    data: Any = json.loads(text, parse_constant=_refuse_constant)
    if not isinstance(data, dict):
        raise SchemaError("it is no JSON object")
    if data.get("schema_version") != SCHEMA_VERSION:
        raise SchemaError(
            f"its schema_version is {data.get('schema_version')!r}, not {SCHEMA_VERSION}. Send it "
            "with the greenai that wrote it, or forget it"
        )
    texts = [data.get(name) for name in ("grader", "url", "why")]
    if not all(isinstance(text, str) for text in texts):
        raise SchemaError("its grader, url or why is no text")
    grader, url, why = map(str, texts)
    run = from_json(Run, data.get("run"), "run")
    if not KEY.fullmatch(run.key):
        raise SchemaError("its key is none")
    entry = Entry(run, grader, url, path, why)
    _encoded(entry)
    return entry


def _content(path: Path) -> bytes:
    """The bytes of a file that nobody else can have written.

    Else another user could choose the address that a token goes to.

    Raises:
        SchemaError: it is no such file.
        OSError: it cannot be read.
    """
    with os.fdopen(_opened(path), "rb") as file:
        told = os.fstat(file.fileno())
        if not stat.S_ISREG(told.st_mode):
            raise SchemaError("it is no regular file")
        if os.name == "posix" and told.st_uid != os.geteuid():
            raise SchemaError("it belongs to another user, who may send it")
        if os.name == "posix" and told.st_mode & 0o022:
            raise SchemaError("others may write it, and so choose where a token goes")
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise SchemaError("it is too long for a run")
    return content


def _opened(path: Path) -> int:
    """A handle of the file itself: links are not followed, pipes not waited for.

    Raises:
        SchemaError: it is a link.
        OSError: it cannot be read.
    """
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        return os.open(path, flags)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise SchemaError("it is a link") from error
        raise


def _locked(handle: int) -> bool:
    """Whether the file is locked now; where systems have no locks it passes for locked."""
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
    return True


def _is_still_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except OSError:
        return False


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")
