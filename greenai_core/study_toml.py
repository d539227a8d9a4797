"""``STUDY.toml``: read with the line of whatever is wrong, and written back."""

from __future__ import annotations

import difflib
import importlib
import json
import math
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .errors import ConfigError
from .study_plan import LEAST_PERIOD_S, TOKENS, PlannedModel, StudyPlan, is_folder_name
from .toml_lines import key_lines, line_of

Check = Callable[[Any], Any]

MOST_CELLS = 1_000_000
"""A study of more is a slip of the pen: at a second each it takes eleven days."""

SECRETS = ("password", "secret", "token", "auth")
"""Words in the names of profiler options that do not belong into a file that is copied."""

RESERVED = ("study.toml", "cells.jsonl", "report.json")


class _Wrong(Exception):
    """A value is not allowed; the message says what is."""


def read_study_plan(path: str | os.PathLike[str]) -> StudyPlan:
    """The study that a TOML file describes; see ``docs/studies.md`` for its keys.

    Paths in it are relative to the file. Nothing is imported or opened yet.

    Raises:
        ConfigError: it cannot be read, is no TOML, or a key or value is wrong; with the line
            of each, and what is allowed.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is no text in UTF-8: {error}") from error
    return parse_study_plan(text, file)


def parse_study_plan(text: str, file: Path) -> StudyPlan:
    """The plan in the text of a file.

    Args:
        text: of the file.
        file: where it lies: errors name it, and paths are relative to its folder.

    Raises:
        ConfigError: see ``read_study_plan``.
    """
    # The standard library has it since 3.11.
    tomllib = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{file} is not valid TOML: {error}") from error
    reader = _Reader(file, text)
    try:
        plan = reader.plan(table)
    except ConfigError as error:
        if reader.faults:
            raise ConfigError("; ".join(reader.faults)) from error
        # Keys that are right by themselves may exclude one another: the first named is pointed at.
        said = str(error)
        named = sorted((key for key in table if f"{key} " in said), key=said.index)
        line = line_of(reader.lines, (named[0],)) if named else 1
        raise ConfigError(f"{file}:{line}: {said}") from error
    return plan


class _Reader:
    """Collects what is wrong, each with its line, so that all is told at once."""

    def __init__(self, file: Path, text: str) -> None:
        self.file = file
        self.lines = key_lines(text)
        self.faults: list[str] = []

    def plan(self, table: Mapping[str, Any]) -> StudyPlan:
        given = self.checked(table, STUDY, (), {"models", "profiler"})
        for one, other in (("seconds", "precision"), ("sizes", "tokens")):
            self.not_both(table, (), one, other)
        options = self.profilers(table.get("profiler", {}))
        models = self.models(table.get("models"), given)
        if self.faults:
            raise ConfigError("see the faults")
        count = sum(len(m.sizes) * len(m.batch_sizes) for m in models) * given.get("runs", 10)
        if count > MOST_CELLS:
            self.fault(("runs",), f"the study has {count} cells: {MOST_CELLS} are the most")
        given.setdefault("name", default_name(self.file))
        for key in ("sizes", "tokens", "batch_sizes", "size_name"):
            given.pop(key, None)
        if self.faults:
            raise ConfigError("see the faults")
        return StudyPlan(models=models, profiler_options=options, **given)

    def models(self, tables: Any, shared: Mapping[str, Any]) -> tuple[PlannedModel, ...]:
        if not (isinstance(tables, list) and tables and all(isinstance(t, dict) for t in tables)):
            self.fault(("models",), "a study has at least one model: a table [[models]] for each")
            return ()
        found: list[PlannedModel] = []
        for number, table in enumerate(tables):
            where = ("models", number)
            given = self.checked(table, MODEL, where)
            self.not_both(table, where, "sizes", "tokens")
            self.not_both(table, where, "file", "callable")
            if "file" not in table and "callable" not in table:
                self.fault(where, 'a model needs file = "…" or callable = "file.py:function"')
            sizes = _sizes(given, shared)
            if "sizes" not in sizes:
                self.fault(where, "the sizes are missing: sizes = [224, …] or tokens = [50, …]")
            for key in ("tokens", "sizes", "batch_sizes", "size_name"):
                given.pop(key, None)
            for key in ("file", "callable"):
                if key in given:
                    given[key] = os.path.normpath(self.file.parent / given[key])
            given.setdefault("name", model_name(given.get("file"), given.get("callable")))
            if given["name"] in [model.name for model in found]:
                self.fault((*where, "name"), f"a second model is called {given['name']!r}: "
                           "give each its own name")  # fmt: skip
            if not self.faults:
                found.append(PlannedModel(**given, **sizes))
        return tuple(found)

    def profilers(self, tables: Any) -> dict[str, dict[str, Any]]:
        if not (isinstance(tables, dict) and all(isinstance(t, dict) for t in tables.values())):
            self.fault(("profiler",), "options of a profiler are a table: [profiler.NAME]")
            return {}
        for name, options in tables.items():
            for key in options:
                if any(word in key.lower() for word in SECRETS):
                    self.fault(
                        ("profiler", name, key),
                        f"{key} is a secret, and this file is copied into the results: set it "
                        "in your own configuration (`greenai config show` names the file)",
                    )
        return {name: dict(options) for name, options in tables.items()}

    def checked(
        self,
        table: Mapping[str, Any],
        known: Mapping[str, Check],
        where: tuple[str | int, ...],
        more: Sequence[str] | set[str] = (),
    ) -> dict[str, Any]:
        """The values of known keys, as the plan has them."""
        found = {}
        for key, value in table.items():
            if key in known:
                try:
                    found[key] = known[key](value)
                except _Wrong as error:
                    self.fault((*where, key), f"{key} = {_short(value)}: {error}")
            elif key not in more:
                every = sorted({*known, *more})
                near = difflib.get_close_matches(key, every, 1)
                hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(every)}"
                self.fault((*where, key), f"unknown key {key!r}: {hint}")
        return found

    def not_both(
        self, table: Mapping[str, Any], where: tuple[str | int, ...], one: str, other: str
    ) -> None:
        if one in table and other in table:
            self.fault((*where, other), f"{one} and {other} exclude each other: give one")

    def fault(self, where: tuple[str | int, ...], text: str) -> None:
        told = f"{self.file}:{line_of(self.lines, where)}: {text}"
        if told not in self.faults:
            self.faults.append(told)


def default_name(file: Path) -> str:
    """Of a study whose file gives none."""
    return file.absolute().parent.name if file.name == "study.toml" else file.stem


def model_name(file: str | None, function: str | None) -> str:
    """Of a model that was given none: of its file, or of its function."""
    name = Path(file).stem if file else (function or "").rpartition(":")[2]
    plain = "".join(char if is_folder_name(f"a{char}a") else "_" for char in name)
    return plain.strip(". ")[:80] or "model"


def _sizes(own: Mapping[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    """What ``sizes``, ``tokens``, ``batch_sizes`` and ``size_name`` say: a model's own first."""
    given = own if "sizes" in own or "tokens" in own else shared
    found: dict[str, Any] = {}
    if "sizes" in given or "tokens" in given:
        found["sizes"] = given["sizes"] if "sizes" in given else given["tokens"]
    if "batch_sizes" in own or "batch_sizes" in shared:
        found["batch_sizes"] = {**shared, **own}["batch_sizes"]
    names = (
        own.get("size_name"),
        TOKENS if "tokens" in own else None,
        shared.get("size_name"),
        TOKENS if "tokens" in given else None,
    )
    return {**found, "size_name": next(filter(None, names), "")}


def _short(value: Any) -> str:
    shown = json.dumps(value, default=str, ensure_ascii=False)
    return shown if len(shown) <= 40 else shown[:37] + "…"


# What values may be


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise _Wrong("give a text in quotes")
    return value


def _any_text(value: Any) -> str:
    if not isinstance(value, str):
        raise _Wrong("give a text in quotes")
    return value


def _folder(value: Any) -> str:
    if not isinstance(value, str) or not is_folder_name(value) or value.lower() in RESERVED:
        raise _Wrong(
            "it becomes the name of a folder: letters, digits and . _ + - = @, at most 100, and "
            f"not {', '.join(RESERVED)}"
        )
    return value


def _function(value: Any) -> str:
    file, colon, name = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if not (colon and file.endswith(".py") and name.isidentifier()):
        raise _Wrong('give "file.py:function"')
    return str(value)


def _device(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"auto|cpu|cuda(:[0-9]+)?", value):
        raise _Wrong("give cpu, cuda, cuda:1 or auto, in quotes")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _Wrong("give true or false")
    return value


def _whole(least: int) -> Check:
    def check(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise _Wrong(f"give a whole number from {least}")
        return value

    return check


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise _Wrong("give a number")
    return float(value)


def _positive(value: Any) -> float:
    number = _number(value)
    if number <= 0:
        raise _Wrong("give more than 0")
    return number


def _at_least(least: float) -> Check:
    def check(value: Any) -> float:
        number = _number(value)
        if number < least:
            raise _Wrong(f"give {least:g} or more")
        return number

    return check


def _idle(value: Any) -> float | None:
    return None if value == "auto" else float(_at_least(0)(value))


def _precision(value: Any) -> float:
    share = share_of(value) if isinstance(value, str) else _number(value)
    if share is None or not 0 < share < 1:
        raise _Wrong('give a share between 0 and 1, or a percentage such as "2%"')
    return share


def share_of(text: str) -> float | None:
    """``"2%"`` or ``"0.02"`` as 0.02; None for what is no number."""
    try:
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None


def _whole_numbers(value: Any) -> tuple[int, ...]:
    numbers = value if isinstance(value, list) else [value]
    good = all(isinstance(n, int) and not isinstance(n, bool) and n >= 1 for n in numbers)
    if not numbers or not good or len(set(numbers)) < len(numbers):
        raise _Wrong("give whole numbers from 1, none of them twice: [112, 224]")
    return tuple(numbers)


def _texts(value: Any) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
        raise _Wrong('give names in quotes: ["rapl", "nvml"]')
    return tuple(texts)


def _table(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _Wrong("give a table: { key = value }")
    return value


SIZE, BATCH = "size", "batch"


def _axes(value: Any) -> dict[str, int | str]:
    table = _table(value)
    if not all(size == SIZE or _is_size(size) for size in table.values()):
        raise _Wrong('each axis has a whole number from 1, or "size": { seq = "size" }')
    return table


def _shapes(value: Any) -> dict[str, tuple[int | str, ...]]:
    table = value if isinstance(value, dict) else {"": value}
    good = all(
        isinstance(shape, list)
        and shape
        and all(axis in (SIZE, BATCH) or _is_size(axis) for axis in shape)
        for shape in table.values()
    )
    if not good:
        raise _Wrong('give ["batch", 3, "size", "size"], or such a list for each input by name')
    return {name: tuple(shape) for name, shape in table.items()}


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


_SIZE_KEYS: Mapping[str, Check] = {
    "sizes": _whole_numbers,
    "tokens": _whole_numbers,
    "batch_sizes": _whole_numbers,
    "size_name": _text,
}

STUDY: Mapping[str, Check] = {
    "name": _text,
    **_SIZE_KEYS,
    "runs": _whole(1),
    "seconds": _positive,
    "precision": _precision,
    "min_seconds": _positive,
    "max_seconds": _positive,
    "warm_up_s": _at_least(0),
    "idle_s": _idle,
    "device": _device,
    "seed": _whole(0),
    "cell_timeout_s": _positive,
    "period_s": _at_least(LEAST_PERIOD_S),
    "latencies": _whole(1),
    "fresh_process": _flag,
    "profilers": _texts,
}
"""The keys of a study, beside ``models`` and ``profiler``."""

MODEL: Mapping[str, Check] = {
    "name": _folder,
    "file": _text,
    "callable": _function,
    **_SIZE_KEYS,
    "format": _text,
    "options": _table,
    "input_shapes": _shapes,
    "axes": _axes,
    "note": _any_text,
}
"""The keys of a model."""
