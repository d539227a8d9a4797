"""The CSV files of the older tools, and which board they measure."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

Options = Mapping[str, Mapping[str, Any]]


def cell(value: float) -> str:
    """A cell; empty for what is not known."""
    return "" if math.isnan(value) else f"{value:.10g}"


def begin(file: Path, header: Sequence[str] | None) -> None:
    """An empty file, with the names of its columns if there are any."""
    file.write_text("", encoding="utf-8")
    if header is not None:
        append(file, [header])


def append(file: Path, rows: Iterable[Sequence[str]]) -> None:
    """Rows at its end."""
    with file.open("a", newline="", encoding="utf-8") as out:
        csv.writer(out, lineterminator="\n").writerows(rows)


def with_board(options: Options | None, board: int) -> dict[str, dict[str, Any]]:
    """The options with the board that was asked for, where they name none."""
    all_options = {name: dict(given) for name, given in (options or {}).items()}
    for profiler in ("nvml", "nvml-power"):
        all_options.setdefault(profiler, {}).setdefault("gpus", str(board))
    return all_options
