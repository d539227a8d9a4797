"""Reading what ``torch.save`` wrote, without running code from the file."""

from __future__ import annotations

import os
import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greenai_core import ModelLoadError, loading

from . import archives, torch_archive, torch_saved
from .pickle_reader import Made
from .torch_saved import STATE_KEYS, Saved
from .torch_tensors import TensorHeader, UnknownTensor
from .user_code import importable_here


@dataclass(frozen=True)
class Checkpoint:
    """What the file holds: the weights by name, or a whole network."""

    state: Mapping[str, Any] | None = None
    module: Any = None


def read_headers(path: Path) -> list[tuple[str, TensorHeader]] | None:
    """The weights by name, without PyTorch and without their numbers.

    None where only PyTorch itself understands how a tensor is described.

    Raises:
        ModelLoadError: the file is broken, holds no network, or asks for code.
    """
    saved = open_file(path)
    wanted = torch_archive.unsafe(saved.names)
    if wanted:
        raise ModelLoadError(f"{path}: {refusal(wanted)}")
    with loading(path, "greenai"):
        try:
            state = torch_saved.state(saved.value)
            if state is not None:
                return list(torch_saved.named_tensors(saved, state))
        except UnknownTensor:
            return None
    made = isinstance(saved.value, Made)
    raise _no_network(path, "Tensor" if made else type(saved.value).__name__, saved.value)


def open_file(path: Path) -> Saved:
    """What the file says of itself, without PyTorch.

    Raises:
        ModelLoadError: ``torch.save`` did not write it, or it is damaged.
    """
    _kind(path)
    with loading(path, "greenai"):
        return torch_saved.open_saved(path)


def read(path: Path, trust: bool) -> Checkpoint:
    """The network or the weights in a file, on the CPU and, where possible, mapped.

    Args:
        path: written by ``torch.save``.
        trust: let the file run code while it is loaded.

    Raises:
        ModelLoadError: the file is broken, holds no network, or asks for code
            without being trusted.
    """
    found = _kind(path)
    if found == torch_archive.SAVED:
        with loading(path, "zipfile"):
            archives.check(path)
    import torch

    with loading(path, "PyTorch"), importable_here(), warnings.catch_warnings():
        # PyTorch warns of its own internals when it reads quantised tensors.
        warnings.filterwarnings("ignore", module=r"torch\.")
        mapped = found == torch_archive.SAVED and not torch_archive.compressed(path)
        try:
            loaded = torch.load(
                os.fspath(path), map_location="cpu", weights_only=not trust, mmap=mapped
            )
        except pickle.UnpicklingError as error:
            wanted = torch_archive.unsafe(torch_saved.open_saved(path).names)
            if wanted:
                raise ModelLoadError(f"{path}: {refusal(wanted)}") from error
            raise ModelLoadError(
                f"{path}: PyTorch's safe loader refuses this file ({_safe_reason(error)}). "
                "It may be truncated, or ask for code (trust=True lets it, if you trust the file)"
            ) from error
    return _checkpoint(path, loaded)


def refusal(wanted: tuple[str, ...]) -> str:
    """Why a file that asks for code is not loaded, and how it can be."""
    shown = ", ".join(wanted[:6]) + (f" and {len(wanted) - 6} more" if len(wanted) > 6 else "")
    return (
        f"it is a pickle that would run code while it is loaded (it asks for {shown}). If you "
        "trust where it comes from, pass --trust (in Python trust=True); safer: save "
        "model.state_dict()"
    )


def _safe_reason(error: Exception) -> str:
    """What the safe loader says, without its advice on how to switch it off."""
    lines = [line.strip() for line in str(error).splitlines()]
    telling = [line for line in lines if line.startswith("WeightsUnpickler error")] or lines[:1]
    return telling[0][:300] if telling else type(error).__name__


def _checkpoint(path: Path, loaded: Any) -> Checkpoint:
    import torch

    candidates = [loaded]
    if isinstance(loaded, Mapping):
        candidates = [loaded[key] for key in STATE_KEYS if key in loaded] + candidates
    for candidate in candidates:
        if isinstance(candidate, torch.nn.Module):
            return Checkpoint(module=candidate)
        if isinstance(candidate, Mapping) and any(
            isinstance(value, torch.Tensor) for value in candidate.values()
        ):
            return Checkpoint(state=candidate)
    raise _no_network(path, type(loaded).__name__, loaded)


def _kind(path: Path) -> str:
    found = torch_archive.kind(path)
    if found not in (torch_archive.SAVED, torch_archive.LEGACY):
        raise ModelLoadError(
            f"{path} was not written by torch.save. It may be truncated, or of another format"
        )
    return found


def _no_network(path: Path, kind: str, value: Any) -> ModelLoadError:
    what = f"a {kind}"
    if isinstance(value, Mapping):
        keys = [key for key in list(value)[:8] if isinstance(key, (str, int))]
        what += f" with the keys {', '.join(map(str, keys)) or '(none)'}"
    return ModelLoadError(
        f"{path} holds {what}, no network: a state dict, or a dict that has it under "
        f"{', '.join(STATE_KEYS)}, was expected"
    )
