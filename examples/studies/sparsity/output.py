"""Results of a study as tables, JSON and CSV, and greenai reports."""

from __future__ import annotations

import csv
import datetime
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from greenai_core import ComparisonResult, Report, write_report
from greenai_core import environment as machine

Row = Mapping[str, Any]


def table(rows: Sequence[Row], columns: Mapping[str, str]) -> str:
    """Rows for people.

    Args:
        rows: of the table.
        columns: key of a row -> heading.
    """
    cells = [list(columns.values()), *([told(row.get(key)) for key in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) for line in cells]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def told(value: Any) -> str:
    """One cell: three digits of a fraction, thousands of a count, a dash for nothing known."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def write(folder: Path, name: str, about: Mapping[str, Any], rows: Sequence[Row]) -> None:
    """``NAME.json`` with everything, ``NAME.csv`` with the rows."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = {**about, "created": _now(), "machine": machine.describe(), "rows": rows}
    text = json.dumps(whole, indent=1, allow_nan=False, ensure_ascii=False)
    (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    keys = list(dict.fromkeys(key for row in rows for key in row))
    with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, keys)
        writer.writeheader()
        writer.writerows(rows)


def write_comparisons(
    path: Path, results: Sequence[ComparisonResult], settings: Mapping[str, Any]
) -> None:
    """A report of the kind ``compare``, which ``greenai export`` and ``explain`` read."""
    report = Report(
        kind="compare",
        created=_now(),
        environment=machine.describe(),
        settings=dict(settings),
        results=tuple(results),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_report(report, path)


def comparison_rows(result: ComparisonResult, **also: Any) -> list[dict[str, Any]]:
    """One row for each work of a comparison."""
    ratios = {ratio.label: ratio for ratio in result.ratios}
    rows = []
    for one in result.models:
        ratio = ratios.get(one.label)
        energy, seconds = one.energy_j, one.seconds_s
        rows.append(
            {
                **also,
                "variant": str(one.model.path),
                "samples": one.model.batch_size,
                "energy_j": energy and energy.value,
                "energy_low_j": energy and energy.low,
                "energy_high_j": energy and energy.high,
                "seconds_s": seconds and seconds.value,
                "ratio": ratio and ratio.value,
                "ratio_low": ratio and ratio.low,
                "ratio_high": ratio and ratio.high,
                "verdict": ratio.verdict if ratio else "baseline",
                "quads": len(result.quads),
            }
        )
    return rows


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
