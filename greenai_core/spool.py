"""Runs that wait to be sent: one file each, written before anything is sent.

A file appears whole or not at all, also when the machine loses its power: it is
written beside its place, synced, renamed, and the folder is synced.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .errors import ConfigError, SchemaError
from .report_files import from_json, to_json
from .runs import Run

SCHEMA_VERSION = 1

REJECTED = "rejected"
"""Folder of the runs that a service refused; they are sent again only when asked for."""

KEY = re.compile(r"[A-Za-z0-9_-]{8,64}")


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
    """``$XDG_STATE_HOME/greenai/spool``, by default below ``~/.local/state``."""
    home = os.environ.get("XDG_STATE_HOME", "")
    base = Path(home) if Path(home).is_absolute() else Path("~/.local/state").expanduser()
    return base / "greenai" / "spool"


class Spool:
    """The runs that wait.

    Args:
        folder: where they are; None for the default. It need not exist.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = default_folder() if folder is None else folder

    def put(self, run: Run, grader: str, url: str) -> Entry:
        """Keep a run; when this returns it is on the disk.

        Raises:
            ConfigError: the key of the run is no key, or a figure is no number.
            OSError: it cannot be written.
        """
        if not KEY.fullmatch(run.key):
            raise ConfigError(f"the key {run.key!r} of a run is none: make it with new_key()")
        entry = Entry(run, grader, url, self.folder / f"{run.key}.json")
        _write(entry)
        return entry

    def waiting(self) -> tuple[list[Entry], list[str]]:
        """The runs that wait, the oldest first, and what is wrong with files that are none."""
        return _read_folder(self.folder)

    def rejected(self) -> tuple[list[Entry], list[str]]:
        """Those that a service refused, and what is wrong with files that are none."""
        return _read_folder(self.folder / REJECTED)

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
        moved = replace(entry, path=self.folder / REJECTED / entry.path.name, why=why)
        _write(moved)
        if moved.path != entry.path:
            entry.path.unlink(missing_ok=True)
        return moved


def _write(entry: Entry) -> None:
    content = {
        "schema_version": SCHEMA_VERSION,
        "grader": entry.grader,
        "url": entry.url,
        "why": entry.why,
        "run": to_json(entry.run),
    }
    try:
        text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)
        encoded = (text + "\n").encode()
    except ValueError as error:
        raise ConfigError(
            f"a figure of the run is no number, so it is not kept: {error}"
        ) from error
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
    for path in sorted(folder.glob("[!.]*.json")):
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
    data: Any = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    if not isinstance(data, dict):
        raise SchemaError("it is no JSON object")
    if data.get("schema_version") != SCHEMA_VERSION:
        raise SchemaError(f"its schema_version is {data.get('schema_version')!r}, not 1")
    texts = [data.get(name) for name in ("grader", "url", "why")]
    if not all(isinstance(text, str) for text in texts):
        raise SchemaError("its grader, url or why is no text")
    grader, url, why = map(str, texts)
    return Entry(from_json(Run, data.get("run"), "run"), grader, url, path, why)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")
