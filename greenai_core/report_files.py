"""Reports to and from JSON files, so that a crash never leaves half a file."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import tempfile
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from .errors import SchemaError
from .results import RESULT_TYPES, SCHEMA_VERSION, Report

T = TypeVar("T")


def to_json(value: object) -> Any:
    """The value as JSON types: dataclasses become objects, tuples arrays."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    return value


def dump(report: Report) -> str:
    """The report as the text of a JSON file.

    Raises:
        SchemaError: a figure is NaN or infinite, a value is of no JSON type, or
            a result is not of the report's kind; that is a fault in whatever
            made the report, and no reader could use it.
    """
    expected = RESULT_TYPES.get(report.kind)
    if expected is None:
        raise SchemaError(f"a report of the unknown kind {report.kind!r} cannot be written")
    for index, result in enumerate(report.results):
        if not isinstance(result, expected):
            raise SchemaError(
                f"results[{index}] of a {report.kind} report is a {type(result).__name__}, "
                f"not a {expected.__name__}"
            )
    ordered = {"schema_version": report.schema_version, **to_json(report)}
    try:
        text = json.dumps(ordered, indent=2, allow_nan=False, ensure_ascii=False)
    except ValueError as error:
        raise SchemaError(f"a report holds a figure that is not a number: {error}") from error
    except TypeError as error:
        raise SchemaError(f"a report holds a value that JSON has no type for: {error}") from error
    # A file name that is no UTF-8 reaches us with lone surrogates, which no encoder takes.
    return re.sub("[\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", text) + "\n"


def write_report(report: Report, path: str | os.PathLike[str]) -> None:
    """Write the report so that a crash leaves the old file or the new, never half.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """
    write_atomically(Path(path), dump(report).encode())


def write_atomically(path: Path, content: bytes) -> None:
    """Temporary file beside ``path``, synced, then renamed over it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read_report(path: str | os.PathLike[str]) -> Report:
    """The report in a JSON file written by this or any earlier release.

    Raises:
        SchemaError: not JSON, an unknown version, or a field that does not fit.
        OSError: the file cannot be read.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise SchemaError(f"{path} is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise SchemaError(f"{path} is not a report: it holds no JSON object")
    version = data.get("schema_version")
    if version != SCHEMA_VERSION:
        raise SchemaError(
            f"{path} has schema_version {version!r}, this greenai reads up to {SCHEMA_VERSION}. "
            "Upgrade greenai-core to read it"
        )
    kind = data.get("kind")
    if not isinstance(kind, str) or kind not in RESULT_TYPES:
        raise SchemaError(f"{path} is a report of the unknown kind {kind!r}")
    try:
        if "results" not in data:
            raise SchemaError("report.results is missing")
        result_type: Any = RESULT_TYPES[kind]
        results = _decode(tuple[result_type, ...], data["results"], "results")
        bare: Report = _decode(Report, {**data, "results": []}, "report")
    except SchemaError as error:
        raise SchemaError(f"{path}: {error}") from error
    return dataclasses.replace(bare, results=results)


def from_json(kind: type[T], data: Any, where: str) -> T:
    """The dataclass that ``to_json`` made these JSON types of.

    Args:
        kind: the class; its annotations are checked.
        data: decoded JSON; keys that the class does not have are ignored.
        where: named in errors.

    Raises:
        SchemaError: a field is missing or does not fit.
    """
    made: T = _decode_object(kind, data, where)
    return made


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _decode(kind: Any, data: Any, where: str) -> Any:
    """``data`` as an instance of the annotated type ``kind``."""
    origin = typing.get_origin(kind)
    if kind is Any:
        return data
    if origin in (typing.Union, types.UnionType):
        choices = typing.get_args(kind)
        if data is None and type(None) in choices:
            return None
        return _decode(next(c for c in choices if c is not type(None)), data, where)
    if origin is tuple:
        if not isinstance(data, list):
            raise SchemaError(f"{where} is not a list")
        item = typing.get_args(kind)[0]
        return tuple(_decode(item, value, f"{where}[{i}]") for i, value in enumerate(data))
    if dataclasses.is_dataclass(kind):
        return _decode_object(typing.cast("type[Any]", kind), data, where)
    expected: Any = {float: (int, float), Mapping: dict}.get(origin or kind, origin or kind)
    if not isinstance(data, expected) or (isinstance(data, bool) and kind is not bool):
        raise SchemaError(f"{where} is {data!r}, not a {getattr(kind, '__name__', kind)}")
    return _decode_float(data, where) if kind is float else data


def _decode_float(data: int | float, where: str) -> float:
    try:
        value = float(data)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise SchemaError(f"{where} is too large to be a figure")
    return value


def _decode_object(kind: type[T], data: Any, where: str) -> T:
    if not isinstance(data, dict):
        raise SchemaError(f"{where} is not an object")
    hints = typing.get_type_hints(kind)
    values = {}
    for item in dataclasses.fields(kind):  # type: ignore[arg-type]  # callers pass dataclasses
        if not item.init:
            continue
        if item.name in data:
            values[item.name] = _decode(hints[item.name], data[item.name], f"{where}.{item.name}")
        elif item.default is dataclasses.MISSING:
            raise SchemaError(f"{where}.{item.name} is missing")
    return kind(**values)
