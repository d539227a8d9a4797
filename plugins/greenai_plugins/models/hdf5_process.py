"""The HDF5 library, in a process of its own.

On a damaged file libhdf5 may loop without end, take all memory or crash, and nothing in Python
can stop it. So a file is first shown to the library in a process that has limits; what ends
badly there is an error like any other here.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from greenai_core import ModelLoadError

from .hdf5_headers import Item

START = (
    "import json, sys; asked = json.loads(sys.argv[1]); sys.path[:] = asked['path']; "
    "from greenai_plugins.models.hdf5_process import main; main(asked)"
)
COMMAND = (sys.executable, "-I", "-c", START)
"""What is started; one argument follows, in JSON. The file is its standard input."""

CPU_S = 3
"""The headers of the largest networks take a tenth of this."""

BYTES_PER_CPU_S = 100e6
"""Unpacking with deflate, which is all that h5py applies by itself, is faster than this."""

MEMORY_BYTES = 2**30
"""More than the library itself takes."""

GET_AGAIN = "It is damaged, or made to do this: get it again"
ENDLESS = f"the HDF5 library comes to no end on this file. {GET_AGAIN}"

BLOCKED_S = 300.0
"""A disk that does not answer: processor time alone would never run out."""

_ended_badly: dict[tuple[int, ...], str] = {}
"""Files that the library did not survive, with the message: each is tried once."""


class Slice(io.RawIOBase):
    """A stretch of an open file as a file of its own."""

    def __init__(self, file: BinaryIO, start: int, length: int) -> None:
        self.start = start
        self._file, self._length, self._at = file, length, 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place, counted from the beginning of the stretch; return it."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._length}[whence]
        self._at = max(base + offset, 0)
        return self._at

    def tell(self) -> int:
        """The place, counted from the beginning of the stretch."""
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Read what there is, at most as much as the buffer holds."""
        view = memoryview(buffer)
        count = max(min(len(view), self._length - self._at), 0)
        self._file.seek(self.start + self._at)
        data = self._file.read(count)
        view[: len(data)] = data
        self._at += len(data)
        return len(data)


def items(path: Path, source: BinaryIO, size: int, *, thorough: bool = False) -> Mapping[str, Item]:
    """All groups and datasets of HDF5, as ``keras_hdf5.items`` tells them.

    Args:
        path: of the model.
        source: the file at that path, a ``Slice`` of it, or its unpacked content.
        size: bytes of the HDF5.
        thorough: read all that a library could read, so that it may open the file afterwards.

    Raises:
        ModelLoadError: the file is a trap, or the library did not survive it.
        ValueError: it is damaged.
    """
    known = path.stat()
    file_now = (known.st_dev, known.st_ino, known.st_size, known.st_mtime_ns)
    if file_now in _ended_badly:
        raise ModelLoadError(f"{path}: {_ended_badly[file_now]}")
    with _handed(path, source) as (file, start):
        asked = {
            "path": sys.path, "model": str(path), "start": start, "size": size,
            "thorough": thorough,
        }  # fmt: skip
        answer, end = _asked(file, asked, BLOCKED_S + size / BYTES_PER_CPU_S)
    if end:
        _ended_badly[file_now] = end
        raise ModelLoadError(f"{path}: {end}")
    return _answer(path, answer)


def _asked(file: BinaryIO, asked: Mapping[str, Any], limit_s: float) -> tuple[bytes, str]:
    """What the other process answers, and how it ended if that was before its answer."""
    try:
        done = subprocess.run(
            [*COMMAND, json.dumps(asked)],
            stdin=file, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False,
            timeout=limit_s,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return b"", ENDLESS
    if done.returncode < 0:
        if -done.returncode == getattr(signal, "SIGXCPU", 0):
            return b"", ENDLESS
        name = signal.Signals(-done.returncode).name
        return b"", f"the HDF5 library crashed on this file ({name}). {GET_AGAIN}"
    return done.stdout, ""


@contextlib.contextmanager
def _handed(path: Path, source: BinaryIO) -> Iterator[tuple[BinaryIO, int]]:
    """A file that another process can have, and where the HDF5 begins in it."""
    if isinstance(source, io.BytesIO):
        with tempfile.TemporaryFile() as file:
            file.write(source.getbuffer())
            file.seek(0)
            yield file, 0
    else:
        with path.open("rb") as file:
            yield file, source.start if isinstance(source, Slice) else 0


def _answer(path: Path, text: bytes) -> Mapping[str, Item]:
    try:
        told = json.loads(text)
    except ValueError:
        raise ModelLoadError(
            f"{path}: the process that reads HDF5 ({sys.executable} -I -c …) ended without an "
            "answer. Check that `import h5py` works in this Python"
        ) from None
    if "refused" in told:
        raise ModelLoadError(told["refused"])
    if "damaged" in told:
        raise ValueError(told["damaged"])
    return {
        name: Item(
            {key: _frozen(value) for key, value in attributes.items()},
            None if shape is None else tuple(shape),
            dtype,
            item_bytes,
        )
        for name, attributes, shape, dtype, item_bytes in told["items"]
    }


def _frozen(value: str | list[str]) -> str | tuple[str, ...]:
    return value if isinstance(value, str) else tuple(value)


def main(asked: Mapping[str, Any]) -> None:
    """Read the file on standard input, and answer on standard output, in JSON."""
    from . import keras_hdf5

    importlib.import_module("h5py")  # before memory is limited to what the file may take
    _limit_memory()
    _limit_cpu(0)
    path = Path(asked["model"])
    with open(0, "rb", closefd=False) as file:
        part = Slice(file, asked["start"], asked["size"])
        told: dict[str, Any]
        try:
            found = keras_hdf5.items(path, part, keras_hdf5.wanted)
            if asked["thorough"]:
                _limit_cpu(keras_hdf5.packed_bytes(part))
                keras_hdf5.read_all(part)
            told = {"items": [[name, *_fields(item)] for name, item in found.items()]}
        except ModelLoadError as error:
            told = {"refused": str(error)}
        except MemoryError:
            told = {"damaged": f"the HDF5 library wants more than {MEMORY_BYTES >> 20} MiB for it"}
        except Exception as error:  # noqa: BLE001  # h5py raises anything, and all is the file's
            told = {"damaged": f"{error or type(error).__name__}"}
    with open(1, "w", closefd=False) as answer:  # the pipe of whoever asked
        json.dump(told, answer)


def _fields(item: Item) -> tuple[Any, ...]:
    return dict(item.attributes), item.shape, item.dtype, item.item_bytes


def _limit_cpu(reading: int) -> None:
    """Allow ``CPU_S`` from now on, and what reading so many bytes takes."""
    with contextlib.suppress(ImportError, ValueError, OSError):  # Windows has no such limits
        import resource
        import time

        allowed = int(time.process_time() + CPU_S + reading / BYTES_PER_CPU_S) + 1
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        soft = allowed if hard == resource.RLIM_INFINITY else min(allowed, hard)
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def _limit_memory() -> None:
    with contextlib.suppress(ImportError, ValueError, OSError, IndexError):
        import resource

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        allowed = pages * resource.getpagesize() + MEMORY_BYTES
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        soft = allowed if hard == resource.RLIM_INFINITY else min(allowed, hard)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
