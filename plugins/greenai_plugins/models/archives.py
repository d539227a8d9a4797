"""Zip archives from strangers: what makes one a trap, told from its list of members.

Nothing is unpacked here. A library that unpacks an archive afterwards is
spared members that leave its folder, and content thousands of times the size
of the file.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath

from greenai_core import ModelLoadError

MAX_DIRECTORY_BYTES = 24 * 2**20
"""The list of members of a checkpoint with 100,000 tensors takes less than half of this."""

MAX_EXPANSION = 100
MIN_BOMB_BYTES = 2**28
"""Trained weights shrink by less than 10 %, so a file that unpacks to this much
and to ``MAX_EXPANSION`` times its own size holds no model."""

_END = struct.Struct("<4s4H2LH")
_END_ZIP64 = struct.Struct("<4sQ2H2L4Q")


def check(path: Path) -> None:
    """Return if a library may unpack the archive. See ``opened`` for what is raised."""
    with opened(path):
        pass


@contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """The archive, when it is none of the traps that ``trap`` knows.

    Raises:
        ModelLoadError: it is one.
        zipfile.BadZipFile: it is no zip archive, or damaged.
        OSError: it cannot be read.
    """
    if not listable(path):
        raise ModelLoadError(
            f"{path} lists its members in more than {MAX_DIRECTORY_BYTES >> 20} MiB: "
            "no model has so many"
        )
    with zipfile.ZipFile(path) as archive:
        what = trap(archive.infolist(), path.stat().st_size)
        if what:
            raise ModelLoadError(f"{path} {what}. It is damaged or hostile, and is not unpacked")
        yield archive


def trap(members: list[zipfile.ZipInfo], file_bytes: int) -> str:
    """What is wrong with the members of an archive; empty if nothing is.

    Args:
        members: as the archive lists them.
        file_bytes: size of the archive.
    """
    names = set()
    for member in members:
        name = member.orig_filename
        if _leaves_its_folder(name):
            return f"holds a member whose path leads out of the archive ({name!r})"
        if name in names:
            return f"holds the member {name!r} twice"
        names.add(name)
    if sum(member.compress_size for member in members) > file_bytes:
        return "lists members that together are larger than the file, so they overlap"
    unpacked = sum(member.file_size for member in members)
    if unpacked > max(MIN_BOMB_BYTES, MAX_EXPANSION * file_bytes):
        return f"would unpack to {unpacked:,} bytes, from {file_bytes:,}"
    return ""


def listable(path: Path) -> bool:
    """Whether the list of members is short enough to be read into memory."""
    return directory_bytes(path) <= MAX_DIRECTORY_BYTES


def directory_bytes(path: Path) -> int:
    """Size of the list of members, by the record at the file's end; 0 if there is none."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(size - (1 << 16) - _END.size, 0))
        tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _END.size:
        return 0
    listed = int(_END.unpack_from(tail, at)[5])
    at = tail.rfind(b"PK\x06\x06")
    if at >= 0 and len(tail) - at >= _END_ZIP64.size:
        listed = max(listed % 0xFFFFFFFF, int(_END_ZIP64.unpack_from(tail, at)[8]))
    return listed


def _leaves_its_folder(name: str) -> bool:
    parts = name.replace("\\", "/").split("/")
    return ".." in parts or not parts[0] or PureWindowsPath(name).drive != "" or "\0" in name
