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

from . import torch_archive
from .user_code import importable_here

STATE_KEYS = ("state_dict", "model_state_dict", "model")
"""Where training scripts put the network in a checkpoint."""


@dataclass(frozen=True)
class Checkpoint:
    """What the file holds: the weights by name, or a whole network."""

    state: Mapping[str, Any] | None = None
    module: Any = None


def read(path: Path, trust: bool) -> Checkpoint:
    """The network or the weights in a file, on the CPU and, where possible, mapped.

    Args:
        path: written by ``torch.save``.
        trust: let the file run code while it is loaded.

    Raises:
        ModelLoadError: the file is broken, holds no network, or asks for code
            without being trusted.
    """
    import torch

    found = torch_archive.kind(path)
    if found not in (torch_archive.SAVED, torch_archive.LEGACY):
        raise ModelLoadError(
            f"{path} was not written by torch.save. It may be truncated, or of another format"
        )
    with loading(path, "PyTorch"), importable_here(), warnings.catch_warnings():
        # PyTorch warns of its own internals when it reads quantised tensors.
        warnings.filterwarnings("ignore", module=r"torch\.")
        mapped = found == torch_archive.SAVED and not torch_archive.compressed(path)
        try:
            loaded = torch.load(
                os.fspath(path), map_location="cpu", weights_only=not trust, mmap=mapped
            )
        except pickle.UnpicklingError as error:
            wanted = torch_archive.unsafe_globals(path)
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
    what = f"a {type(loaded).__name__}"
    if isinstance(loaded, Mapping):
        what += f" with the keys {', '.join(map(str, list(loaded)[:8])) or '(none)'}"
    raise ModelLoadError(
        f"{path} holds {what}, no network: a state dict, or a dict that has it under "
        f"{', '.join(STATE_KEYS)}, was expected"
    )
