"""What ``torch.export.save`` wrote, read from the archive's own headers.

Two layouts are known. Since PyTorch 2.8 a ``.pt2`` file is an archive with one
folder: ``archive_format``, ``models/NAME.json`` (the graph and its signature) and
``data/weights`` (one file a storage, with a table of names, shapes and types).
Before, it was a flat one: ``serialized_exported_program.json`` beside pickles.
Nothing here imports PyTorch or unpickles.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from greenai_core import ModelLoadError

from . import archives

PT2, FLAT, OTHER = "pt2", "flat", ""

FLAT_PROGRAM = "serialized_exported_program.json"
FLAT_WEIGHTS = "serialized_state_dict.pt"

MAX_JSON = 512 << 20
"""Bytes: the graph of a network of a hundred billion parameters takes a tenth of it."""


@dataclass(frozen=True)
class Archive:
    """An open archive.

    Attributes:
        path: of the file.
        layout: ``PT2`` or ``FLAT``.
        sizes: bytes of each member, by its name below the archive's folder.
        prefix: the archive's folder with its slash; empty in the flat layout.
    """

    path: Path
    layout: str
    sizes: Mapping[str, int]
    prefix: str
    _zip: zipfile.ZipFile = field(repr=False)

    def read(self, name: str) -> bytes:
        """A member as a whole.

        Raises:
            ModelLoadError: it is missing, or larger than any header.
        """
        if self.sizes.get(name, 0) > MAX_JSON:
            raise ModelLoadError(
                f"{self.path}: {name} claims {self.sizes[name]:,} bytes, more than any header has"
            )
        with self.open(name) as member:
            return member.read()

    def open(self, name: str) -> IO[bytes]:
        """A member to read piece by piece; no longer than the archive is open.

        Raises:
            ModelLoadError: it is missing.
        """
        if name not in self.sizes:
            raise ModelLoadError(
                f"{self.path} lacks {name}, so it is no complete exported program. Export it again"
            )
        return self._zip.open(self.prefix + name)

    def json(self, name: str) -> Any:
        """A member that holds JSON.

        Raises:
            ModelLoadError: it is missing or no JSON.
        """
        try:
            return json.loads(self.read(name))
        except (ValueError, RecursionError) as error:
            raise ModelLoadError(f"{self.path}: {name} is no JSON ({error})") from error

    def programs(self) -> Mapping[str, str]:
        """Name of each exported program -> the member that holds its graph."""
        if self.layout == FLAT:
            return {"model": FLAT_PROGRAM}
        members = [name for name in self.sizes if name.startswith("models/")]
        return {
            name[len("models/") : -len(".json")]: name for name in members if name.endswith(".json")
        }

    def program(self) -> str:
        """Name of the program that PyTorch loads.

        Raises:
            ModelLoadError: there is none of that name.
        """
        names = self.programs()
        if "model" in names:
            return "model"
        compiled = any(name.startswith("data/aotinductor/") for name in self.sizes)
        if compiled and not names:
            raise ModelLoadError(
                f"{self.path} is a package of compiled machine code (AOTInductor), without the "
                "exported program that it was made from. Use the file of torch.export.save"
            )
        raise ModelLoadError(
            f"{self.path} has no exported program called model (it has: "
            f"{', '.join(sorted(names)) or 'none'}). Save the one you mean with torch.export.save"
        )


def layout(path: Path) -> str:
    """``PT2``, ``FLAT``, or ``OTHER`` for all else and for what cannot be read."""
    try:
        if not archives.listable(path):
            return OTHER
        with zipfile.ZipFile(path) as archive:
            return _layout(archive)[0]
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError):
        return OTHER


@contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """The archive, while the block lasts.

    Raises:
        ModelLoadError: the file is broken, a trap, or no exported program.
    """
    try:
        with archives.opened(path) as archive:
            kind, prefix = _layout(archive)
            if kind == OTHER:
                raise ModelLoadError(
                    f"{path} was not written by torch.export.save. It may be truncated, or of "
                    "another format"
                )
            sizes = {
                entry.filename[len(prefix) :]: entry.file_size
                for entry in archive.infolist()
                if entry.filename.startswith(prefix)
            }
            yield Archive(path, kind, sizes, prefix, archive)
    except (OSError, zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, NotImplementedError) as e:
        raise ModelLoadError(
            f"{path} is an archive that cannot be read ({e}). It may be truncated: get it again"
        ) from e


def _layout(archive: zipfile.ZipFile) -> tuple[str, str]:
    """Layout, and the prefix of the names."""
    names = archive.namelist()
    if FLAT_PROGRAM in names:
        return FLAT, ""
    root = names[0].partition("/")[0] + "/" if names else ""
    marker = f"{root}archive_format"
    if marker not in names or archive.getinfo(marker).file_size > len(PT2):
        return OTHER, ""
    return (PT2, root) if archive.read(marker) == PT2.encode() else (OTHER, "")
