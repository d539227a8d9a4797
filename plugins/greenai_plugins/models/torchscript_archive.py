"""The tensors of a TorchScript program, read without PyTorch and without their numbers.

The pickle of the program tells which object has which attributes; the code of
each class says which of them are parameters and which are buffers. Tensors that
the code itself uses, as freezing leaves them behind, are constants.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from . import torch_archive
from .pickle_reader import Global, Made, PickleError
from .torch_count import Held
from .torch_saved import check_stored, read_member, stored
from .torch_tensors import TensorHeader, UnknownTensor, tensors

CONSTANTS = "constants of the program"
"""Name of the layer that the tensors belong to which the code itself uses."""

MAX_CODE_BYTES = 2**26
MAX_MODULES = 200_000

PACKED = "__torch__.torch.classes."
"""Objects of PyTorch's own that hold weights in the layout of one library."""

_CLASS = re.compile(
    r"^class ([^\s(:]+)(?:\((\w+)\))?:\n((?:  __(?:parameters|buffers)__ = .*\n)*)", re.MULTILINE
)
_QUANTISED = re.compile(r"__torch__\.torch\.(ao\.)?nn\.(intrinsic\.)?quantized\.")
_LIST = re.compile(r"  __(parameters|buffers)__ = \[(.*)\]")
_TEXT = re.compile(r'"([^"]*)"')


@dataclass(frozen=True)
class ModuleClass:
    """One compiled class: the names of its parameters and buffers; none if it is no module."""

    is_module: bool
    parameters: frozenset[str]
    buffers: frozenset[str]


def read(path: Path) -> list[Held]:
    """The tensors of a program that hold weights, each with its module.

    Raises:
        UnknownTensor: only PyTorch can tell.
        ValueError, OSError, zipfile.BadZipFile: the file is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        folder = torch_archive.root(set(archive.namelist()))
        program = read_member(archive, f"{folder}/data.pkl")
        constants = read_member(archive, f"{folder}/constants.pkl")
        classes = _classes(archive, f"{folder}/code/", program.names)
        lengths = stored(archive, f"{folder}/data/")
        constant_lengths = stored(archive, f"{folder}/constants/")
    held = list(_of_modules(program.value, classes))
    for one in held:
        check_stored(one.tensor, lengths)
    for tensor in _of_constants(constants.value):
        check_stored(tensor, constant_lengths)
        held.append(Held(CONSTANTS, None, False, replace(tensor, place=("c", tensor.place))))
    return held


def _classes(
    archive: zipfile.ZipFile, folder: str, names: frozenset[str]
) -> dict[str, ModuleClass]:
    """The compiled classes of the given names, by name."""
    files = {name.rpartition(".")[0] for name in names if name.startswith("__torch__.")}
    known = set(archive.namelist())
    found = {}
    for module in sorted(files):
        member = f"{folder}{module.replace('.', '/')}.py"
        if member not in known:
            continue
        if archive.getinfo(member).file_size > MAX_CODE_BYTES:
            raise PickleError(f"its member {member} is too large to be code")
        text = archive.read(member).decode("utf-8", "replace")
        for match in _CLASS.finditer(text):
            name, base, lists = match.groups()
            listed = {kind: frozenset(_TEXT.findall(items)) for kind, items in _LIST.findall(lists)}
            if base != "Module":
                found[f"{module}.{name}"] = ModuleClass(False, frozenset(), frozenset())
            elif len(listed) == 2:  # PyTorch before 1.5 did not list buffers
                found[f"{module}.{name}"] = ModuleClass(
                    True, listed["parameters"], listed["buffers"]
                )
    return found


def _of_modules(program: Any, classes: Mapping[str, ModuleClass]) -> Iterator[Held]:
    if not _is_object(program):
        raise PickleError("it holds no program")
    waiting: list[tuple[str, Made]] = [("", program)]
    visited = 0
    while waiting:
        path, module = waiting.pop()
        visited += 1
        if visited > MAX_MODULES:
            raise PickleError(f"it has more than {MAX_MODULES:,} modules")
        kind = _class_of(module, classes)
        if not kind.is_module:
            continue
        name = module.kind.name.rpartition(".")[2]
        if not isinstance(module.state, dict):
            yield from (Held(path, name, False, tensor) for tensor in _of_own_state(module))
            continue
        inner = []
        for key, value in module.state.items():
            if key in kind.parameters or key in kind.buffers:
                learnt = key in kind.parameters
                for tensor in tensors(value):
                    yield Held(path, name, learnt and tensor.learns, tensor)
            elif _is_packed(value):
                yield from (Held(path, name, False, tensor) for tensor in tensors(value.state))
            elif _is_object(value):
                inner.append((f"{path}.{key}" if path else str(key), value))
        waiting.extend(reversed(inner))


def _of_own_state(module: Made) -> Iterator[TensorHeader]:
    """Tensors of a module that says itself what is saved of it.

    PyTorch's quantised layers save their weights and biases that way; what a
    stranger's tensors become when they are loaded, only its code can tell.
    """
    if not _QUANTISED.match(module.kind.name):
        raise UnknownTensor("a module with a state of its own")
    yield from tensors(module.state)


def _class_of(module: Made, classes: Mapping[str, ModuleClass]) -> ModuleClass:
    kind = classes.get(module.kind.name)
    if kind is None:
        raise UnknownTensor("a module without code")
    return kind


def _of_constants(value: Any) -> Iterator[TensorHeader]:
    """Tensors that the code uses; a scalar is a setting, not a weight."""
    for item in value if isinstance(value, (tuple, list)) else ():
        for tensor in tensors(item.state if _is_packed(item) else item):
            if tensor.shape:
                yield tensor


def _is_packed(value: Any) -> bool:
    return _is_object(value) and value.kind.name.startswith(PACKED)


def _is_object(value: Any) -> bool:
    return (
        isinstance(value, Made)
        and isinstance(value.kind, Global)
        and value.kind.name.startswith("__torch__.")
    )
