"""What a file written by PyTorch is, from its directory or first bytes.

Nothing here imports PyTorch or unpickles.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from pathlib import Path

from . import archives

SAVED, LEGACY, TORCHSCRIPT, OTHER = "saved", "legacy", "torchscript", ""

# torch.serialization.MAGIC_NUMBER, pickled with protocol 2 by torch.save before 1.6.
_LEGACY_MAGIC = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."

HARMLESS = ("torch.", "torch._utils.", "torch._tensor.", "torch.storage.", "torch.serialization.")
"""Modules of the globals that tensors are rebuilt from, which the safe loader knows."""

HARMLESS_GLOBALS = {
    "collections.OrderedDict",
    "collections.Counter",
    "collections.defaultdict",
    "torch.nn.parameter.Parameter",
    "torch.nn.parameter.Buffer",
    "_codecs.encode",
    "builtins.set",
    "builtins.bytearray",
    "builtins.complex",
    "__builtin__.set",
    "__builtin__.bytearray",
}


def kind(path: Path) -> str:
    """What the file is.

    Returns:
        ``SAVED`` (``torch.save``), ``LEGACY`` (``torch.save`` before 1.6),
        ``TORCHSCRIPT`` (``torch.jit.save``), or ``OTHER`` for all else, exported
        programs (``.pt2``), files that are cut off and files that cannot be
        read among them.
    """
    try:
        with path.open("rb") as file:
            head = file.read(len(_LEGACY_MAGIC))
            if head == _LEGACY_MAGIC:
                return LEGACY
            if not head.startswith(b"PK") or not archives.listable(path):
                return OTHER
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        return OTHER
    folder = root(names)
    if folder is None:
        return OTHER
    has_code = any(name.startswith(f"{folder}/code/") for name in names)
    if f"{folder}/constants.pkl" in names and has_code:
        return TORCHSCRIPT
    return OTHER if has_code else SAVED


def is_legacy(path: Path) -> bool:
    """Whether ``torch.save`` of before 1.6 wrote the file."""
    with path.open("rb") as file:
        return file.read(len(_LEGACY_MAGIC)) == _LEGACY_MAGIC


def compressed(path: Path) -> bool:
    """Whether the archive was packed again with compression, so that it cannot be mapped."""
    with zipfile.ZipFile(path) as archive:
        return any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist())


def unsafe(names: Iterable[str]) -> tuple[str, ...]:
    """Of the functions and classes that a pickle asks for, those that are not just tensors."""
    return tuple(sorted({name for name in names if not _harmless(name)}))


def root(names: set[str]) -> str | None:
    """The archive's one folder, if it is laid out as PyTorch does.

    Programs that use young operators have their version in another place.
    """
    roots = {name[: -len("/data.pkl")] for name in names if name.count("/") == 1}
    versions = ("version", ".data/version")
    return next(
        (
            one
            for one in sorted(roots)
            if f"{one}/data.pkl" in names and any(f"{one}/{file}" in names for file in versions)
        ),
        None,
    )


def _harmless(name: str) -> bool:
    module = name.rpartition(".")[0] + "."
    return name in HARMLESS_GLOBALS or module in HARMLESS
