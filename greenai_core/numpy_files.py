"""NumPy files from strangers: a small ``.npz`` may unpack to more than the memory there is."""

from __future__ import annotations

import zipfile
from pathlib import Path

from .errors import ModelInputError

MAX_EXPANSION = 100
MIN_BOMB_BYTES = 2**30
"""Real data shrink by a few times; what unpacks to this much, and to ``MAX_EXPANSION``
times the size of the file, is a trap or a fault."""


def refuse_bomb(path: Path) -> None:
    """Return if a file is no zip archive, or one that unpacks to a likely size.

    Raises:
        ModelInputError: it would unpack to more than data do.
        OSError, zipfile.BadZipFile: it cannot be read.
    """
    if not zipfile.is_zipfile(path):
        return
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > max(MIN_BOMB_BYTES, MAX_EXPANSION * size):
        raise ModelInputError(
            f"{path} would unpack to {unpacked:,} bytes, from {size:,}: it is damaged or hostile. "
            "If the data are meant, save them with numpy.savez, without compression"
        )
