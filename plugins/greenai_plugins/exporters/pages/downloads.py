"""The figures behind a page, to be taken away: CSV and JSON inside of it."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Sequence

from greenai_core import Recorded, ReportSource, dump
from greenai_plugins.exporters.csv_exporter import CsvExporter
from greenai_plugins.exporters.svg_text import clean

from .blocks import Download, Downloads, Section


def section(sources: Sequence[ReportSource]) -> Section:
    """CSV and JSON of each source: the CSVs first, the small before the large."""
    offered = [file for source in sources for file in _files(source)]
    offered.sort(key=lambda file: (file.kind != "text/csv", len(file.content)))
    return Section("Figures to take away", (Downloads(tuple(offered)),))


def _files(source: ReportSource) -> list[Download]:
    stem = file_name(source.name)
    content = source.content
    if isinstance(content, Recorded):
        return [Download(f"{stem}.csv", "text/csv", _recording(content))]
    compact = json.dumps(json.loads(dump(content)), separators=(",", ":"), ensure_ascii=True)
    return [
        Download(f"{stem}.csv", "text/csv", CsvExporter().export(content)),
        Download(f"{stem}.json", "application/json", compact.encode()),
    ]


def file_name(name: str) -> str:
    """A name that any system takes."""
    short = re.sub(r"[^\w.-]+", "-", clean(name)).strip("-.")
    return short.removesuffix(".json").removesuffix(".csv")[:80] or "report"


def _recording(recorded: Recorded) -> bytes:
    """Time and all columns of figures; an unknown figure is an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = list(recorded.names)
    writer.writerow(names)
    columns = [recorded.column(name).tolist() for name in names]
    for row in zip(*columns, strict=True):
        writer.writerow(["" if math.isnan(value) else f"{value:.10g}" for value in row])
    return text.getvalue().encode(errors="backslashreplace")
