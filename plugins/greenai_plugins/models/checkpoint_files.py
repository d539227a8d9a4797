"""Which files hold the weights of a model: one, a sharded checkpoint, a model folder."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greenai_core import ModelLoadError

from . import safetensors_file, torch_archive, torch_checkpoint, torch_count
from .torch_tensors import TensorHeader

CONFIG = "config.json"
WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""Names in a model folder, in the order in which transformers looks for them."""

MAX_JSON = 64 << 20
"""Bytes: the index of a thousand shards takes a few MiB."""


@dataclass(frozen=True)
class Checkpoint:
    """The weights of one model.

    Attributes:
        path: what the user gave.
        files: each file -> the names of the tensors to take from it; None for all.
        folder: the model folder, where there is a ``config.json`` beside them.
    """

    path: Path
    files: Mapping[Path, frozenset[str] | None]
    folder: Path | None


def recognised(path: Path) -> bool:
    """Whether a path is a safetensors file, an index of shards or a model folder."""
    try:
        weights = _weights(path)
        if weights is None:
            return False
        if _is_index(weights):
            return _weight_map(_json(weights)) is not None
    except (OSError, ModelLoadError):
        return False
    if safetensors_file.looks_like(weights):
        return True
    return path.is_dir() and torch_archive.kind(weights) in (
        torch_archive.SAVED,
        torch_archive.LEGACY,
    )


def find(path: Path) -> Checkpoint:
    """The files that belong to a path.

    Raises:
        ModelLoadError: there are none, or an index names files that are missing or
            lie elsewhere.
    """
    weights = _weights(path)
    if weights is None:
        raise ModelLoadError(f"{path} has no weights: {', '.join(WEIGHTS)} are looked for")
    standard = path.is_dir() or path.name in WEIGHTS
    folder = weights.parent if standard and (weights.parent / CONFIG).is_file() else None
    if not _is_index(weights):
        return Checkpoint(path, {weights: None}, folder)
    found = _weight_map(_json(weights))
    if found is None:
        raise ModelLoadError(f"{weights} is no index of a sharded checkpoint. Get it again")
    shards: dict[Path, set[str]] = {}
    for name, shard in found.items():
        if Path(shard).name != shard or shard in ("", ".", ".."):
            raise ModelLoadError(
                f"{weights} names a shard outside of its folder ({shard!r:.120}), which is not read"
            )
        shards.setdefault(weights.parent / shard, set()).add(name)
    missing = sorted(file.name for file in shards if not file.is_file())
    if missing:
        raise ModelLoadError(
            f"{weights} names {len(missing)} shards that are not there ({', '.join(missing[:3])}). "
            "Download them beside it"
        )
    return Checkpoint(path, {file: frozenset(names) for file, names in shards.items()}, folder)


def headers(checkpoint: Checkpoint) -> Iterator[tuple[str, TensorHeader]]:
    """The tensors by name, without their numbers and, as far as it can be, without PyTorch.

    Raises:
        ModelLoadError: a file is damaged, asks for code, or lacks a tensor of the index.
    """
    for file, names in checkpoint.files.items():
        found = _safetensors(file) if safetensors_file.looks_like(file) else _pickled(file)
        _check_names(file, names, {name for name, _ in found})
        yield from ((name, tensor) for name, tensor in found if names is None or name in names)


def load(checkpoint: Checkpoint) -> dict[str, Any]:
    """The tensors themselves, on the CPU.

    Raises:
        ModelLoadError: as ``headers``.
    """
    state: dict[str, Any] = {}
    for file, names in checkpoint.files.items():
        if safetensors_file.looks_like(file):
            found = safetensors_file.load(file)
        else:
            found = dict(torch_checkpoint.read(file, trust=False).state or {})
        _check_names(file, names, set(found))
        state.update({name: found[name] for name in found if names is None or name in names})
    return state


def config(folder: Path) -> Mapping[str, Any]:
    """What ``config.json`` says.

    Raises:
        ModelLoadError: it is no table in JSON.
    """
    found = _json(folder / CONFIG)
    if not isinstance(found, dict):
        raise ModelLoadError(f"{folder / CONFIG} is no table. Get it again")
    return found


def _weights(path: Path) -> Path | None:
    """The file with the weights, or the index of them."""
    if path.is_dir():
        return next((path / name for name in WEIGHTS if (path / name).is_file()), None)
    return path


def _is_index(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(64).lstrip()[:1] == b"{"


def _json(path: Path) -> Any:
    try:
        if path.stat().st_size > MAX_JSON:
            raise ModelLoadError(f"{path} is larger than any index or configuration")
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ModelLoadError(f"{path} is no JSON that can be read ({error})") from error


def _weight_map(document: Any) -> Mapping[str, str] | None:
    found = document.get("weight_map") if isinstance(document, dict) else None
    if not isinstance(found, dict) or not found:
        return None
    return found if all(isinstance(shard, str) for shard in found.values()) else None


def _safetensors(file: Path) -> list[tuple[str, TensorHeader]]:
    return [
        (name, TensorHeader(entry.dtype, entry.shape, entry.end - entry.start,
                            (file, entry.start, name if entry.start == entry.end else ""), True))
        for name, entry in safetensors_file.read(file).items()
    ]  # fmt: skip


def _pickled(file: Path) -> list[tuple[str, TensorHeader]]:
    if torch_archive.kind(file) == torch_archive.OTHER:
        raise ModelLoadError(
            f"{file} is neither a safetensors file nor one of torch.save. It may be truncated: "
            "get it again"
        )
    wanted = torch_archive.unsafe(torch_checkpoint.open_file(file).names)
    if wanted:
        raise ModelLoadError(
            f"{file} is a pickle that would run code while it is loaded (it asks for "
            f"{', '.join(wanted[:6])}). Weights need none: get them as safetensors"
        )
    found = torch_checkpoint.read_headers(file)
    if found is None:
        state = torch_checkpoint.read(file, trust=False).state or {}
        return [(name, torch_count.of_tensor(tensor)) for name, tensor in state.items()]
    # Storages are numbered anew in each file.
    return [(name, _of_file(tensor, file)) for name, tensor in found]


def _of_file(tensor: TensorHeader, file: Path) -> TensorHeader:
    place = (file, tensor.place)
    return TensorHeader(tensor.dtype, tensor.shape, tensor.bytes, place, tensor.learns)


def _check_names(file: Path, wanted: frozenset[str] | None, held: set[str]) -> None:
    missing = sorted((wanted or frozenset()) - held)
    if missing:
        raise ModelLoadError(
            f"{file} lacks {len(missing)} tensors that the index names ({', '.join(missing[:3])}). "
            "Its download may be of another version"
        )
