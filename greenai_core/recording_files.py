"""Writing rows so that a process that is killed loses none that it has written."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
from dataclasses import replace
from pathlib import Path

from .errors import ConfigError
from .recording_meta import END, Ending, Meta, encoded, part_path, parts_of, read_meta, sidecar
from .recording_order import CSV, Order
from .recording_rows import Encoder, encoder, header
from .report_files import write_atomically

TAIL_BYTES = 1 << 16
"""So much of the end of a file is searched for its last whole line."""


class WriteError(OSError):
    """A row could not be written; the message is whole, with the next step."""

    def __str__(self) -> str:
        return str(self.strerror)


def failure(path: Path, error: OSError, what: str = "cannot be written") -> WriteError:
    """The error to tell of a file that cannot be written."""
    reason = error.strerror or str(error)
    return WriteError(
        error.errno,
        f"{path} {what}: {reason}. Free some space there, or record to another place; "
        "what was recorded until then is in the file",
    )


def there_already(path: Path) -> ConfigError:
    """The error to tell of a file that is not overwritten."""
    return ConfigError(
        f"{path} is there already. Give another name, or continue it with --append (append=True)"
    )


def claim(path: Path) -> int:
    """Keep other recorders from a file and those that continue it.

    Returns:
        A descriptor; the claim ends when it is closed, or with the process.

    Raises:
        ConfigError: another recorder writes to it.
        WriteError: it cannot be opened.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise failure(path, error) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        raise ConfigError(
            f"another recorder writes to {path} now. Wait until it has ended, or record to "
            "another file"
        ) from error
    except OSError:
        pass  # some network file systems have no locks
    return fd


class RowFile:
    """The files of one recording, one after the other; each row is one ``write``.

    What ``write`` took survives the end of the process, however it comes: the kernel has
    it. A power cut may lose the seconds that were not on the disk yet.

    Args:
        order: what is recorded.
        meta: what goes beside the rows.
    """

    def __init__(self, order: Order, meta: Meta) -> None:
        self._order = order
        self._meta = meta
        self._base = Path(order.out)
        self._path = self._base
        self._fd = self._claim = -1
        self._size = 0
        self._rows = 0
        self._opened_s = 0.0
        self._regular = True
        self._rotates = any((order.rotate_rows, order.rotate_bytes, order.rotate_s))
        self._line: Encoder = encoder(order.format, meta.names)
        self.files: list[str] = []

    @property
    def meta(self) -> Meta:
        """What stands beside the rows."""
        return self._meta

    def create(self, now_s: float) -> None:
        """Begin the first file.

        Raises:
            ConfigError: it is there already, or another recorder writes to it.
            WriteError: it cannot be written.
        """
        there = [path for path in parts_of(self._base) if path.is_file() and path.stat().st_size]
        if there:
            raise there_already(there[0])
        self._begin(now_s)

    def resume(self, now_s: float) -> None:
        """Go on in the last file of a recording; half a row at its end is cut off.

        Raises:
            ConfigError: another recorder writes to it.
            WriteError: it cannot be written.
        """
        self._claim = claim(self._base)
        self.files = [str(path) for path in parts_of(self._base)]
        self._path = Path(self.files[-1])
        self._open(now_s)
        self._size = _whole_lines(self._path)
        os.ftruncate(self._fd, self._size)
        with self._path.open("rb") as file:
            self._rows = sum(1 for _ in file) - 1
        self._save_meta()

    def write(self, cells: list[str], notes: str, now_s: float) -> None:
        """Add a row.

        Raises:
            WriteError: the disk is full; the file ends with the row before.
        """
        line = self._line(cells, notes)
        if self._rotates and self._is_due(len(line), now_s):
            self._rotate(now_s)
        self._put(line)
        self._rows += 1

    def check(self) -> None:
        """See that what is written can still be found.

        Raises:
            WriteError: the file was deleted.
        """
        if self._regular and os.fstat(self._fd).st_nlink == 0:
            raise WriteError(
                None,
                f"{self._path} was deleted while it was recorded, and its rows with it. "
                "Record again, to a place that nothing clears",
            )

    def close(self, ending: Ending, meta: Meta) -> None:
        """Add how it ended; the rows are on the disk when it returns.

        Raises:
            WriteError: that could not be added; the rows are there.
        """
        self._meta = replace(meta, part=self._meta.part, end=ending)
        try:
            self._finish()
            if self._regular:
                os.fsync(self._fd)
        except OSError as error:
            raise failure(self._path, error, "could not be finished") from error
        finally:
            self.release()

    def release(self) -> None:
        """Close the file as it is."""
        for fd in (self._fd, self._claim):
            if fd >= 0:
                os.close(fd)
        self._fd = self._claim = -1

    def _begin(self, now_s: float) -> None:
        self._open(now_s)
        if self._regular and self._claim < 0:
            self._claim = claim(self._base)
        if self._regular and os.fstat(self._fd).st_size:
            # Another one came first, since it was looked for.
            raise there_already(self._path)
        self.files.append(str(self._path))
        # First what the rows mean: a file without it could not be read back.
        self._save_meta()
        if self._order.format == CSV:
            self._put(header(CSV, self._meta.names))
        else:
            self._put(_line(encoded(self._meta)))

    def _open(self, now_s: float) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        try:
            self._fd = os.open(self._path, flags, 0o666)
        except OSError as error:
            raise failure(self._path, error) from error
        self._regular = stat.S_ISREG(os.fstat(self._fd).st_mode)
        self._size = self._rows = 0
        self._opened_s = now_s

    def _save_meta(self) -> None:
        if self._order.format == CSV and self._regular:
            place = sidecar(self._path)
            text = json.dumps(encoded(self._meta), indent=2, allow_nan=False) + "\n"
            try:
                write_atomically(place, text.encode())
            except OSError as error:
                raise failure(place, error) from error

    def _finish(self) -> None:
        if self._order.format == CSV:
            self._save_meta()
        else:
            self._put(_line({END: encoded(self._meta)}))

    def _is_due(self, more: int, now_s: float) -> bool:
        order = self._order
        return (self._regular and self._rows > 0) and (
            (order.rotate_rows is not None and self._rows >= order.rotate_rows)
            or (order.rotate_bytes is not None and self._size + more > order.rotate_bytes)
            or (order.rotate_s is not None and now_s - self._opened_s >= order.rotate_s)
        )

    def _rotate(self, now_s: float) -> None:
        part = self._meta.part + 1
        old, self._fd = self._fd, -1
        os.close(old)
        self._meta = replace(self._meta, part=part)
        self._path = part_path(self._base, part)
        try:
            self._begin(now_s)
        except ConfigError as error:
            raise WriteError(None, str(error)) from error

    def _put(self, content: bytes) -> None:
        size = len(content)
        try:
            written = os.write(self._fd, content)
            while written < size:  # the last bytes of a disk
                written += os.write(self._fd, content[written:])
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self._size)
            raise failure(self._path, error) from error
        self._size += size


def _line(data: object) -> bytes:
    return (json.dumps(data, allow_nan=False) + "\n").encode()


def _whole_lines(path: Path) -> int:
    """Bytes of a file up to the end of its last whole line."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - TAIL_BYTES))
        tail = file.read()
    newline = tail.rfind(b"\n")
    return size if newline < 0 else size - len(tail) + newline + 1


def earlier(order: Order) -> Meta | None:
    """What is known of the recording that is to be continued; None where there is none yet.

    Raises:
        SchemaError: what is there is no recording.
        OSError: it cannot be read.
    """
    path = Path(order.out)
    if not (path.is_file() and path.stat().st_size):
        return None
    return read_meta(parts_of(path)[-1], order.format)
