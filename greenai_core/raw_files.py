"""Raw readings to and from files: a zip archive of arrays, without pickles.

``readings.json`` holds the structure, each array is a member of its own; so
``numpy.load`` opens the file too.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import types
import typing
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .blocks import RunReadings
from .channels import Evidence
from .counter_recording import CounterReadings
from .counter_window import CounterWindow
from .errors import SchemaError
from .kept_runs import Kept, KeptRun
from .kept_windows import KeptWindows
from .power_series import PowerReadings, PowerWindow
from .profiler import Readings
from .report_files import write_atomically
from .results import RawFile
from .windows import GivenReadings

VERSION = 1
INDEX = "readings.json"
MAX_BYTES = 2**30
"""Unpacked; an hour of a counter read every 4 ms on ten channels is 160 MB."""

_KINDS: Mapping[str, type[Any]] = {
    "run": KeptRun,
    "windows": KeptWindows,
    "counter": CounterReadings,
    "power": PowerReadings,
    "given": GivenReadings,
    "counter window": CounterWindow,
    "power window": PowerWindow,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}
_OPEN = (Readings, Evidence)
"""Protocols: a file says which of the kinds stands there."""


def raw_bytes(kept: Kept) -> bytes:
    """The content of a file of raw readings."""
    arrays: list[np.ndarray[Any, Any]] = []
    index = {"version": VERSION, "readings": _encode(kept, arrays)}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(_member(INDEX), json.dumps(index))
        for number, array in enumerate(arrays):
            with archive.open(_member(f"{number}.npy"), "w") as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
    return buffer.getvalue()


def write_raw(kept: Kept, path: str | os.PathLike[str]) -> RawFile:
    """Write readings so that a crash leaves the old file or the new, never half.

    Returns:
        For the field ``raw`` of the result that follows from them.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """
    content = raw_bytes(kept)
    write_atomically(Path(path), content)
    return raw_file(Path(path).name, content)


def raw_file(name: str, content: bytes) -> RawFile:
    """What a report says of a file of raw readings."""
    return RawFile(name, hashlib.sha256(content).hexdigest(), len(content))


def read_raw(path: str | os.PathLike[str], expected: RawFile | None = None) -> Kept:
    """The readings in a file.

    Args:
        path: of the file.
        expected: what a report says of it.

    Raises:
        SchemaError: it is damaged, or another one than the report was made from.
        OSError: it cannot be read.
    """
    content = Path(path).read_bytes()
    if expected is not None and raw_file(expected.name, content).sha256 != expected.sha256:
        raise SchemaError(
            f"{path} does not belong to the report: its SHA-256 is not the one that the report "
            "names. Put back the file that was written with it"
        )
    try:
        return _read(content)
    except SchemaError as error:
        raise SchemaError(f"{path}: {error}") from error
    except Exception as error:
        raise SchemaError(
            f"{path} is no file of raw readings, or damaged: {type(error).__name__}: {error}"
        ) from error


def _read(content: bytes) -> Kept:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if sum(member.file_size for member in archive.infolist()) > MAX_BYTES:
            raise SchemaError(f"it would unpack to more than {MAX_BYTES:,} bytes: it is hostile")
        index = json.loads(archive.read(INDEX))
        if index["version"] != VERSION:
            raise SchemaError(
                f"it has the version {index['version']!r}, this greenai reads {VERSION}. Upgrade "
                "greenai-core to read it"
            )
        kept = _decode(Kept, index["readings"], archive)
    if isinstance(kept, KeptRun):
        _check(kept.readings)
    return typing.cast("Kept", kept)


def _check(run: RunReadings) -> None:
    """Refuse what no run can have made, before anything is computed with it.

    Raises:
        SchemaError: lengths or numbers do not fit together.
    """
    count = len(run.after)
    if not (
        len(run.before) == len(run.iterations) == count
        and 0 <= run.first < count
        and run.per_block >= 1
        and np.all((run.pauses >= 0) & (run.pauses < count + 1))
    ):
        raise SchemaError("its ticks do not fit together: it is damaged")


def _member(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)  # of 1980, so that equal readings make equal files
    info.compress_type = zipfile.ZIP_DEFLATED
    return info


def _encode(value: Any, arrays: list[np.ndarray[Any, Any]]) -> Any:
    if isinstance(value, np.ndarray):
        arrays.append(value)
        return {"array": len(arrays) - 1}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {
            f.name: _encode(getattr(value, f.name), arrays) for f in dataclasses.fields(value)
        }
        kind = _NAMES.get(type(value))
        return {"kind": kind, **fields} if kind else fields
    if isinstance(value, (list, tuple)):
        return [_encode(item, arrays) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    return value


def _decode(kind: Any, data: Any, archive: zipfile.ZipFile) -> Any:
    """``data`` as an instance of the annotated type ``kind``."""
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        choices = [choice for choice in typing.get_args(kind) if choice is not type(None)]
        if data is None and len(choices) < len(typing.get_args(kind)):
            return None
        return _decode(choices[0] if len(choices) == 1 else Readings, data, archive)
    if kind in _OPEN:
        return _decode(_KINDS[data["kind"]], data, archive)
    if origin is tuple:
        return _tuple(typing.get_args(kind), data, archive)
    if (origin or kind) is np.ndarray:
        return _array(typing.get_args(typing.get_args(kind)[1])[0], data, archive)
    return _object(kind, data, archive) if dataclasses.is_dataclass(kind) else _plain(kind, data)


def _object(kind: Any, data: Any, archive: zipfile.ZipFile) -> Any:
    hints = typing.get_type_hints(kind)
    return kind(
        **{
            field.name: _decode(hints[field.name], data[field.name], archive)
            for field in dataclasses.fields(kind)
            if field.name in data or field.default is dataclasses.MISSING
        }
    )


def _plain(kind: type[Any], data: Any) -> Any:
    expected = (int, float) if kind is float else kind
    if not isinstance(data, expected) or (isinstance(data, bool) and kind is not bool):
        raise SchemaError(f"{data!r} stands where a {kind.__name__} belongs")
    return float(data) if kind is float else data


def _tuple(items: tuple[Any, ...], data: Any, archive: zipfile.ZipFile) -> tuple[Any, ...]:
    if not isinstance(data, list):
        raise SchemaError(f"{data!r} stands where a list belongs")
    if len(items) == 2 and items[1] is Ellipsis:
        return tuple(_decode(items[0], item, archive) for item in data)
    if len(items) != len(data):
        raise SchemaError(f"a list of {len(data)} stands where {len(items)} belong")
    return tuple(_decode(*pair, archive) for pair in zip(items, data, strict=True))


def _array(number: type[Any], data: Any, archive: zipfile.ZipFile) -> np.ndarray[Any, Any]:
    name = f"{int(data['array'])}.npy"
    with archive.open(name) as file:
        # Reading through the member bounds what a false header could ask for.
        content = io.BytesIO(file.read())
    array = np.lib.format.read_array(content, allow_pickle=False)
    if array.ndim != 1 or array.dtype != np.dtype(number):
        raise SchemaError(f"{name} holds {array.ndim} axes of {array.dtype}")
    return np.asarray(array)
