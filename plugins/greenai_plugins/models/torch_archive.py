"""What a file written by PyTorch is, from its directory or first bytes.

Nothing here imports PyTorch or unpickles: names of a pickle's globals are read
off its opcodes, never looked up.
"""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

SAVED, LEGACY, TORCHSCRIPT, OTHER = "saved", "legacy", "torchscript", ""

# torch.serialization.MAGIC_NUMBER, pickled with protocol 2 by torch.save before 1.6.
_LEGACY_MAGIC = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
_LEGACY_HEADER_PICKLES = 3

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
            if not head.startswith(b"PK"):
                return OTHER
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        return OTHER
    root = _root(names)
    if root is None:
        return OTHER
    has_code = any(name.startswith(f"{root}/code/") for name in names)
    if f"{root}/constants.pkl" in names and has_code:
        return TORCHSCRIPT
    return OTHER if has_code else SAVED


def compressed(path: Path) -> bool:
    """Whether the archive was packed again with compression, so that it cannot be mapped."""
    with zipfile.ZipFile(path) as archive:
        return any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist())


def unsafe_globals(path: Path) -> tuple[str, ...]:
    """Names of the code that the file's pickle asks for, beside that of tensors.

    None for a state dict; classes of a network for a whole pickled module.

    Raises:
        Exception: of several kinds, when the file is broken.
    """
    if kind(path) == LEGACY:
        with path.open("rb") as file:
            for _ in range(_LEGACY_HEADER_PICKLES):
                list(pickle_globals(file))
            found = list(pickle_globals(file))
    else:
        with zipfile.ZipFile(path) as archive:
            root = _root(set(archive.namelist()))
            with archive.open(f"{root}/data.pkl") as file:
                found = list(pickle_globals(file))
    return tuple(sorted({name for name in found if not _harmless(name)}))


def pickle_globals(file: IO[bytes]) -> Iterator[str]:
    """``module.name`` of every global that the next pickle of a stream asks for."""
    strings: list[str] = []
    memo: dict[int, str] = {}
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name in ("GLOBAL", "INST"):
            yield str(argument).replace(" ", ".", 1)
        elif opcode.name == "STACK_GLOBAL":
            yield ".".join(strings[-2:])
        elif "UNICODE" in opcode.name or "STRING" in opcode.name:
            strings.append(str(argument))
        elif opcode.name == "MEMOIZE":
            memo[len(memo)] = strings[-1] if strings else ""
        elif opcode.name in ("PUT", "BINPUT", "LONG_BINPUT"):
            memo[int(str(argument))] = strings[-1] if strings else ""
        elif opcode.name in ("GET", "BINGET", "LONG_BINGET"):
            strings.append(memo.get(int(str(argument)), ""))


def _root(names: set[str]) -> str | None:
    """The archive's one folder, if it is laid out as PyTorch does."""
    roots = {name[: -len("/data.pkl")] for name in names if name.count("/") == 1}
    return next(
        (root for root in sorted(roots) if {f"{root}/data.pkl", f"{root}/version"} <= names), None
    )


def _harmless(name: str) -> bool:
    module = name.rpartition(".")[0] + "."
    return name in HARMLESS_GLOBALS or module in HARMLESS
