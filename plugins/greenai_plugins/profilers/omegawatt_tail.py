"""Following a file that another process writes, replaces or shortens."""

from __future__ import annotations

import errno
import os
import stat
from io import FileIO
from pathlib import Path

READ_BYTES = 1 << 20


def _opened(path: Path) -> FileIO:
    if not (stat.S_ISREG(path.stat().st_mode) or path.is_dir()):
        # To open a pipe would wait for its writer.
        raise OSError(errno.EINVAL, "not a file", str(path))
    return FileIO(path)


class Tail:
    """A file that grows.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.restarted = False
        """Whether the latest ``read`` began a new file, or the same one from its beginning."""
        self._file: FileIO | None = None

    def open(self, keep_bytes: int) -> tuple[bytes, bytes]:
        """Open the file: the beginning and the end of what it holds now, each as long.

        Raises:
            OSError: it cannot be read.
        """
        self._file = _opened(self.path)
        head = self._file.read(keep_bytes)
        size = os.fstat(self._file.fileno()).st_size
        self._file.seek(max(len(head), size - keep_bytes))
        tail = self._file.read(max(0, size - self._file.tell()))
        return head, tail

    def read(self) -> bytes:
        """What was written since; a new file follows when the old one is at its end.

        Raises:
            OSError: it cannot be read, or is gone.
        """
        assert self._file is not None
        self.restarted = False
        content = self._file.read(READ_BYTES)
        if content:
            return content
        now, held = self.path.stat(), os.fstat(self._file.fileno())
        if (now.st_dev, now.st_ino) != (held.st_dev, held.st_ino):
            following = _opened(self.path)
            self._file.close()
            self._file = following
        elif now.st_size < self._file.tell():
            self._file.seek(0)
        else:
            return b""
        self.restarted = True
        return self._file.read(READ_BYTES)

    def close(self) -> None:
        """Give the file back."""
        if self._file is not None:
            self._file.close()
            self._file = None
