"""Models of transformers: the class that a folder's configuration names, and its inputs.

Nothing is downloaded: only what lies in the folder is read.
"""

from __future__ import annotations

import contextlib
import inspect
import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from greenai_core import ModelLoadError, TensorSpec, loading, require

from .torch_runtime import reason

REQUIRED = {"transformers": "transformers"}

WHOLE = ("_ids", "_mask")
"""Endings of the names of inputs that are whole numbers."""


def cannot_load(config: Mapping[str, Any]) -> str:
    """Why a configuration does not lead to a network; empty if it can."""
    named = config.get("architectures")
    if isinstance(named, list) and named and isinstance(named[0], str):
        return ""
    return (
        "its config.json names no architecture, so it is not known which network the weights "
        "belong to. Save it with save_pretrained, or name its class with --class module:Name"
    )


def network_class(folder: Path, trust: bool) -> tuple[Any, Any]:
    """The class of the network and its configuration.

    Args:
        folder: with ``config.json``.
        trust: let code that lies in the folder make the network.

    Raises:
        ModelLoadError: this transformers has no such class, or the folder's code is needed.
        PluginUnavailable: transformers is not installed.
    """
    require(REQUIRED)
    import transformers

    with loading(folder, "transformers"), _quiet():
        told, _ = transformers.PretrainedConfig.get_config_dict(folder, local_files_only=True)
        name = (told.get("architectures") or [""])[0]
        known: Any = getattr(transformers, str(name), None)
        if _is_network(known):
            return known, known.config_class.from_pretrained(folder, local_files_only=True)
        remote = told.get("auto_map") or {}
        target = next((ref for ref in remote.values() if str(ref).endswith(f".{name}")), None)
        if target is None:
            raise ModelLoadError(
                f"{folder}: transformers {transformers.__version__} has no network {name!r:.80}. "
                "A newer one may; or name its class with --class module:Name"
            )
        if not trust:
            raise ModelLoadError(
                f"{folder}: its network {name} is code that lies in the folder. If you trust where "
                "it comes from, pass --trust (in Python trust=True)"
            )
        return _remote_class(folder, str(target))


def load(folder: Path, trust: bool) -> Any:
    """The network with its weights, on the CPU, in the type they are stored in.

    Raises:
        ModelLoadError: the folder is damaged, or lacks weights of the network.
        PluginUnavailable: transformers, or a library that the weights need, is not installed.
    """
    kind, config = network_class(folder, trust)
    with loading(folder, "transformers"), _quiet():
        try:
            network, told = kind.from_pretrained(
                folder,
                config=config,
                dtype="auto",
                local_files_only=True,
                output_loading_info=True,
            )
        except ImportError as error:  # quantised weights need their own libraries
            raise ModelLoadError(f"{folder}: {reason(error)}") from error
    missing = sorted(told["missing_keys"])
    if missing:
        raise ModelLoadError(
            f"{folder} lacks {len(missing)} weights of {kind.__name__} "
            f"({', '.join(missing[:3])}), which would be made up. Its config.json may name the "
            "wrong architecture"
        )
    return network


def inputs(
    kind: Any, config: Any, folder: Path, wanted: Collection[str] = ()
) -> tuple[TensorSpec, ...]:
    """What the network is fed with, as its class and configuration tell.

    Args:
        kind: class of the network.
        config: its configuration.
        folder: where a preprocessor may tell the size of images.
        wanted: names of optional inputs to feed, too.

    Returns:
        Its inputs; shapes that nothing tells are None.
    """
    taken = inspect.signature(kind.forward).parameters
    main = getattr(kind, "main_input_name", "input_ids")
    names = [main]
    if main == "input_ids" and "attention_mask" in taken:
        names.append("attention_mask")
    vision = getattr(config, "vision_config", None)
    if main != "pixel_values" and "pixel_values" in taken and vision is not None:
        names.append("pixel_values")
    if getattr(config, "is_encoder_decoder", False) and "decoder_input_ids" in taken:
        names.append("decoder_input_ids")
    names += sorted(name for name in wanted if name in taken and name not in names)
    return tuple(_spec(name, config, folder) for name in names)


def _spec(name: str, config: Any, folder: Path) -> TensorSpec:
    if name in ("input_ids", "attention_mask"):
        return TensorSpec(name, ("batch", "sequence"), "int64")
    if name == "decoder_input_ids":
        return TensorSpec(name, ("batch", "decoder_sequence"), "int64")
    if name == "pixel_values":
        return TensorSpec(name, _image(config, folder), layout="NCHW")
    bins, positions = (
        getattr(config, key, None) for key in ("num_mel_bins", "max_source_positions")
    )
    if name == "input_features" and bins and positions:
        return TensorSpec(name, ("batch", int(bins), 2 * int(positions)))
    return TensorSpec(name, None, "int64" if name.endswith(WHOLE) else "float32")


def _image(config: Any, folder: Path) -> tuple[int | str, ...] | None:
    """Batch, channels, height, width; None where nothing tells the size."""
    config = getattr(config, "vision_config", None) or config
    size = getattr(config, "image_size", None) or _preprocessed(folder)
    height, width = size if isinstance(size, (list, tuple)) and len(size) == 2 else (size, size)
    channels = getattr(config, "num_channels", 3)
    if not all(type(axis) is int and axis > 0 for axis in (channels, height, width)):
        return None
    return ("batch", channels, height, width)


def _preprocessed(folder: Path) -> Any:
    """Size of the images that the folder's preprocessor makes."""
    try:
        told = json.loads((folder / "preprocessor_config.json").read_bytes())
        size = told.get("crop_size") or told.get("size")
    except (OSError, ValueError, AttributeError, RecursionError):
        return None
    if not isinstance(size, Mapping):
        return size
    if "height" in size:
        return (size.get("height"), size.get("width"))
    return size.get("shortest_edge")


def _is_network(found: Any) -> bool:
    import transformers

    return inspect.isclass(found) and issubclass(found, transformers.PreTrainedModel)


def _remote_class(folder: Path, target: str) -> tuple[Any, Any]:
    import transformers
    from transformers.dynamic_module_utils import get_class_from_dynamic_module

    config = transformers.AutoConfig.from_pretrained(
        folder, local_files_only=True, trust_remote_code=True
    )
    found = get_class_from_dynamic_module(target, str(folder), local_files_only=True)
    return found, config


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """While it lasts, transformers shows no progress bars and no advice."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
