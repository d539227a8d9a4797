"""A plan as the text of a ``STUDY.toml`` that reads back as the same plan."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import ConfigError
from .study_plan import PlannedModel, StudyPlan


def plan_to_toml(plan: StudyPlan, folder: Path | None) -> str:
    """The text of the plan.

    Args:
        plan: the plan.
        folder: that it will lie in, to which paths in it are relative; None keeps them.

    Raises:
        ConfigError: an option has a value that TOML has no type for.
    """
    head = {
        "name": plan.name,
        "runs": plan.runs,
        "seconds": plan.seconds,
        "precision": plan.precision if plan.seconds is None else None,
        "min_seconds": plan.min_seconds,
        "max_seconds": plan.max_seconds,
        "warm_up_s": plan.warm_up_s,
        "idle_s": "auto" if plan.idle_s is None else plan.idle_s,
        "device": plan.device,
        "seed": plan.seed,
        "cell_timeout_s": plan.cell_timeout_s,
        "period_s": plan.period_s,
        "latencies": plan.latencies,
        "fresh_process": plan.fresh_process,
        "profilers": plan.profilers,
    }
    parts = [_pairs(head)]
    parts += [
        f"[profiler.{_key(name)}]\n{_pairs(options)}"
        for name, options in plan.profiler_options.items()
    ]
    parts += [f"[[models]]\n{_pairs(_model(model, folder))}" for model in plan.models]
    return "\n".join(parts)


def _model(model: PlannedModel, folder: Path | None) -> dict[str, Any]:
    def placed(path: str) -> str:
        return path if folder is None else os.path.relpath(path, folder)

    table: dict[str, Any] = {"name": model.name}
    if model.file is not None:
        table["file"] = placed(model.file)
    if model.callable is not None:
        file, _, function = model.callable.rpartition(":")
        table["callable"] = f"{placed(file)}:{function}"
    return table | {
        "sizes": model.sizes,
        "size_name": model.size_name,
        "batch_sizes": model.batch_sizes,
        "format": model.format,
        "options": model.options or None,
        "input_shapes": model.input_shapes or None,
        "axes": model.axes or None,
        "note": model.note or None,
    }


def _pairs(table: Mapping[str, Any]) -> str:
    return "".join(
        f"{_key(key)} = {_value(value)}\n" for key, value in table.items() if value is not None
    )


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _text(name)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_key(key)} = {_value(item)}" for key, item in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    raise ConfigError(f"{value!r} cannot be written to a study's TOML: it has no type for it")


def _text(text: str) -> str:
    """A basic string; its escapes are those of JSON, but for characters beyond 16 bits."""
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise ConfigError(f"{text!r} cannot be written to a study's TOML: it is no valid text")
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
