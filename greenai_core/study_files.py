"""The files of a study: where each cell's are, the journal, and the lock.

The journal is the truth about which cells ended. A line is appended when the files of its
cell are on the disk, and synced before the next cell begins, so a crash loses the cell that was
being measured and no other. A line that a crash cut short is no cell.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .errors import ConfigError, SchemaError
from .report_files import from_json
from .study_cells import CellRecord, cell_from_json
from .study_results import StudiedModel

PLAN = "study.toml"
JOURNAL = "cells.jsonl"
REPORT = "report.json"
LOCK = ".lock"

POWER = "power_metrics.json"
LATENCY = "latency.csv"

BEGIN, RESUME, MODEL = "begin", "resume", "model"
"""Events that the journal tells of."""

CHUNK = 1 << 20


def read_cells(folder: Path) -> Iterator[CellRecord]:
    """The cells of a study that ended, in the order in which they were measured.

    Args:
        folder: of the study.

    Raises:
        SchemaError: a line other than the last is no cell.
        OSError: the journal cannot be read.
    """
    for number, data in _lines(folder / JOURNAL):
        if "event" not in data:
            try:
                yield cell_from_json(data)
            except SchemaError as error:
                raise SchemaError(f"{folder / JOURNAL}:{number}: {error}") from error


def read_events(folder: Path) -> Iterator[dict[str, Any]]:
    """The lines of the journal that are no cells: how the study began, that it was resumed.

    Raises:
        SchemaError, OSError: see ``read_cells``.
    """
    for _, data in _lines(folder / JOURNAL):
        if "event" in data:
            yield data


def _lines(journal: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number and content of each whole line; one that was cut short, at the end, is none."""
    with journal.open("rb") as file:
        lines = iter(enumerate(file, start=1))
        for number, line in lines:
            try:
                data = _object(line)
            except ValueError as error:
                if next(lines, None) is None:
                    return
                raise SchemaError(
                    f"{journal}:{number} is damaged: {error}. Every other line is whole: delete "
                    "this one, and --resume measures its cell again"
                ) from error
            yield number, data


def _object(line: bytes) -> dict[str, Any]:
    data = json.loads(line)
    if not isinstance(data, dict):
        raise ValueError("it is no JSON object")
    return data


class Journal:
    """The journal of a study, open for appending.

    Args:
        folder: of the study; it exists.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / JOURNAL
        self._file = self.path.open("ab", buffering=0)
        self._size = self._whole()
        self._file.truncate(self._size)

    def _whole(self) -> int:
        """Bytes up to the end of the last whole line; one that only lacks its end gets it."""
        content = self.path.read_bytes()
        if not content:
            return 0
        last = content.rstrip(b"\n").rfind(b"\n") + 1
        try:
            _object(content[last:])
        except ValueError:
            return last
        if not content.endswith(b"\n"):
            self._file.write(b"\n")
            return len(content) + 1
        return len(content)

    def append(self, data: Mapping[str, Any]) -> None:
        """Add a line; it is on the disk when this returns, or not there at all.

        Raises:
            OSError: the disk is full, say.
        """
        text = json.dumps(data, separators=(",", ":"), allow_nan=False)
        line = text.encode() + b"\n"
        try:
            left = memoryview(line)
            while left:
                left = left[self._file.write(left) or 0 :]
            os.fsync(self._file.fileno())
        except BaseException as error:
            with contextlib.suppress(OSError):
                self._file.truncate(self._size)
            if isinstance(error, OSError):
                raise OSError(error.errno, error.strerror, str(self.path)) from error
            raise
        self._size += len(line)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Nobody else writes to this study meanwhile; the system ends the lock with the process.

    Raises:
        ConfigError: somebody else does.
        OSError: the folder cannot be written.
    """
    with (folder / LOCK).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            owner = file.read(20).strip()
            who = f" (process {owner})" if owner.isdigit() else ""
            raise ConfigError(
                f"another study{who} is being measured into {folder}: wait for its end, or give "
                "another folder with --out"
            ) from error
        except OSError:
            pass  # a file system that knows no locks
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def sweep(folder: Path, *names: str) -> None:
    """Remove what a crash left of files that were being written."""
    for name in names:
        for left in folder.glob(f".{name}.*"):
            left.unlink(missing_ok=True)


def holds_study(folder: Path) -> bool:
    """Whether a study was begun there."""
    return (folder / JOURNAL).exists() or (folder / PLAN).exists()


def fingerprint(path: Path) -> str:
    """SHA-256 of a file, or of all files of a folder with their names.

    Raises:
        OSError: one cannot be read.
    """
    if path.is_file():
        return _digest(path).hexdigest()
    whole = hashlib.sha256()
    for file in sorted(item for item in path.rglob("*") if item.is_file()):
        whole.update(f"{file.relative_to(path)}\0".encode("utf-8", "surrogateescape"))
        whole.update(_digest(file).digest())
    return whole.hexdigest()


def _digest(file: Path) -> hashlib._Hash:
    found = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            found.update(chunk)
    return found


def latency_text(latencies: tuple[float, ...]) -> str:
    """One latency a line, s, as ``numpy.savetxt`` writes it."""
    return "".join(f"{seconds:.18e}\n" for seconds in latencies)


def read_models(folder: Path) -> tuple[StudiedModel, ...]:
    """What is known of the models of a study; of each what was told last.

    Raises:
        SchemaError, OSError: see ``read_cells``.
    """
    found: dict[str, StudiedModel] = {}
    for data in read_events(folder):
        if data["event"] == MODEL:
            model = from_json(StudiedModel, data.get("model"), f"{folder / JOURNAL}: a model")
            found[model.name] = model
    return tuple(found.values())
