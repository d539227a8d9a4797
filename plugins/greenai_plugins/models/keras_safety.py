"""What in the configuration of a Keras model would run the file's own code."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

CODE = frozenset({"Lambda", "__lambda__", "TFSMLayer"})
"""Classes whose configuration holds code: marshalled Python, or another SavedModel's path."""

BUILTIN_PACKAGES = frozenset({"keras", "keras_hub", "keras_cv", "keras_nlp", "builtins"})


NOT_FOR_MODELS = ("utils", "saving", "config", "backend")
"""Modules of Keras whose functions download, unpack or load: no layer is in them."""


def code(config: Any) -> list[str]:
    """Objects in a configuration that run code which the file chooses, sorted."""
    found = {str(item["class_name"]) for item in objects(config)} & CODE
    found |= {_full_name(item) for item in objects(config) if _is_no_part_of_a_model(item)}
    return sorted(found)


def files(config: Any) -> list[str]:
    """Files of this machine that layers of a configuration would read, sorted.

    Look-up layers take the path of a list of words in place of the words.
    """
    settings = (item.get("config") for item in objects(config))
    paths = (one.get("vocabulary") for one in settings if isinstance(one, dict))
    return sorted({path for path in paths if isinstance(path, str)})


def _is_no_part_of_a_model(item: Mapping[str, Any]) -> bool:
    parts = str(item.get("module") or "").removeprefix("keras.src").removeprefix("keras").split(".")
    return (
        str(item.get("module")).startswith("keras")
        and parts[1:2] != []
        and (parts[1] in NOT_FOR_MODELS)
    )


def strangers(config: Any) -> list[str]:
    """``module.Class`` of each object that is none of Keras' own, sorted."""
    return sorted({_full_name(item) for item in objects(config) if _is_stranger(item)})


def unregistered(config: Any, registered: Callable[[str], object]) -> list[str]:
    """``module.Class`` of each stranger that nobody registered with Keras, sorted.

    Some versions of Keras import the module that the file names, even in safe
    mode; an object that is registered is taken from the register instead.

    Args:
        config: of the model.
        registered: Keras' look-up of a registered name; None for an unknown one.
    """
    return sorted(
        {
            _full_name(item)
            for item in objects(config)
            if _is_stranger(item)
            and registered(str(item.get("registered_name") or item["class_name"])) is None
        }
    )


def _is_stranger(item: Mapping[str, Any]) -> bool:
    module = item.get("module")
    return bool(module) and str(module).split(".")[0] not in BUILTIN_PACKAGES


def _full_name(item: Mapping[str, Any]) -> str:
    name = item["class_name"]
    if name == "function" and isinstance(item.get("config"), str):
        name = item["config"]
    return f"{item['module']}.{name}"


def objects(config: Any) -> Iterator[Mapping[str, Any]]:
    """Every serialised object in a configuration, however deep."""
    waiting = [config]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            if isinstance(item.get("class_name"), str):
                yield item
            waiting.extend(item.values())
        elif isinstance(item, (list, tuple)):
            waiting.extend(item)
