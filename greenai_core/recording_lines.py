"""The rows of recordings, read back; half a line at the end is what a kill may leave."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from .errors import SchemaError
from .recording_meta import END, KEY, Meta, decoded
from .recording_order import CSV

TAIL_BYTES = 1 << 18
"""More than the line that ends a file of JSON lines has."""

Row = list[str]
"""Cells as text, in the order of the columns; empty where nothing is known."""


def whole_lines(path: Path) -> Iterator[str]:
    """Lines that end as lines do; what a killed process left half is no row."""
    with path.open(encoding="utf-8", newline="\n") as file:
        for line in file:
            if line.endswith("\n"):
                yield line


def ends_in_half(path: Path) -> bool:
    """Whether the last line of a file was not written to its end."""
    with path.open("rb") as file:
        if file.seek(0, 2) == 0:
            return False
        file.seek(-1, 2)
        return file.read(1) != b"\n"


def rows_of(path: Path, format: str, names: Sequence[str]) -> Iterator[Row]:
    """The rows of one file.

    Args:
        path: of the file.
        format: ``csv`` or ``jsonl``.
        names: of the columns that it should have.

    Raises:
        SchemaError: its columns are others, or a row cannot be read.
        OSError: it cannot be read.
    """
    found = _csv_rows(path, names) if format == CSV else _json_rows(path, names)
    try:
        yield from found
    except UnicodeDecodeError as error:
        raise SchemaError(f"{path} is damaged: it is not UTF-8 ({error})") from error


def _csv_rows(path: Path, names: Sequence[str]) -> Iterator[Row]:
    lines = csv.reader(whole_lines(path))
    head = next(lines, None)
    if head != list(names):
        raise SchemaError(
            f"the columns of {path} are not those that its sidecar lists: it was changed, or the "
            "sidecar is that of another file"
        )
    for number, row in enumerate(lines, 2):
        if len(row) != len(names):
            raise SchemaError(
                f"{path}, row {number}: it has {len(row)} cells, not {len(names)}: it was changed "
                "after it was recorded. Remove that row to read the others"
            )
        yield row


def _json_rows(path: Path, names: Sequence[str]) -> Iterator[Row]:
    for number, line in enumerate(whole_lines(path), 1):
        try:
            data = json.loads(line)
            if KEY in data or END in data:
                continue
            yield ["" if data[name] is None else str(data[name]) for name in names]
        except (ValueError, KeyError, TypeError) as error:
            raise SchemaError(
                f"{path}, line {number}: it is no row with all columns ({error}): it was changed "
                "after it was recorded. Remove that line to read the others"
            ) from error


def last_meta(path: Path) -> Meta | None:
    """What the last line of a file of JSON lines tells of the end; None if it is a row.

    Raises:
        SchemaError: it is of another version.
    """
    last = ""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, 2) - TAIL_BYTES))
        for line in file.read().decode(errors="replace").splitlines():
            last = line
    try:
        data = json.loads(last)
    except ValueError:
        return None
    return decoded(data[END], str(path)) if isinstance(data, dict) and END in data else None
