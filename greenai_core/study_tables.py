"""Studies as flat tables for CSV and Parquet, also as AIPowerMeter's script has it."""

from __future__ import annotations

import csv
import importlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

from .channels import MODELLED
from .errors import PluginUnavailable
from .study_metrics import GPU_MEMORY, LATENCY, SM, in_order
from .study_results import StudyResult, StudyRow

Record = dict[str, Any]

ATTRIBUTED = "nvidia_estimated_attributable_power_draw"
"""The column that is modelled in AIPowerMeter too."""

CONCAT = {
    "intel_power": "energy_package_j",
    "total_cpu_power": "energy_core_j",
    "mem_use_abs": "process_memory_b",
    "nvidia_draw_absolute": "",
    ATTRIBUTED: "energy_attributed_gpu_j",
    "per_gpu_attributable_mem_use": GPU_MEMORY,
    "sm": SM,
    "latency": LATENCY,
}
"""Columns of ``concat_power_measure.py`` -> our metric; the sum of all boards where it is empty."""


def records(studies: Sequence[StudyResult]) -> list[Record]:
    """One flat record a row; the bounds of a metric are ``<name>_low``, ``<name>_repeat_low`` ….

    What is not known is None, or no key at all where no row knows it.
    """
    names = in_order(
        list(dict.fromkeys(m.name for study in studies for row in study.rows for m in row.metrics))
    )
    return [_record(study, row, names) for study in studies for row in study.rows]


def _record(study: StudyResult, row: StudyRow, names: Sequence[str]) -> Record:
    found: Record = {
        "study": study.name,
        "source": study.source,
        "model": row.model,
        "batch_size": row.batch_size,
        "size": row.size,
        "runs": row.runs,
        "failed": len(row.failures),
        "target_met": row.target_met,
        "contains": " ".join(row.contains),
    }
    for name in names:
        metric = row.metric(name)
        for part in ("", "low", "high", "repeat_low", "repeat_high", "method", "runs"):
            field = part or "value"
            found[f"{name}_{part}" if part else name] = metric and getattr(metric, field)
    found["failures"] = "; ".join(f"run {one.run}: {one.reason}" for one in row.failures)
    found["warnings"] = "; ".join(row.warnings)
    return found


def concat_records(studies: Sequence[StudyResult]) -> list[Record]:
    """One record a size with the columns of AIPowerMeter's ``concat_power_measure.py``.

    Joules of one inference, medians over runs; but memory and SM utilisation are the medians
    themselves, which that script divides by the number of inferences. Its columns have no room for
    a method, so modelled joules are not there, but for those that are modelled there too.
    """
    several = sum(len(study.models) for study in studies) > 1
    several = several or any(len({row.batch_size for row in study.rows}) > 1 for study in studies)
    found = []
    for study in studies:
        for row in study.rows:
            head: Record = {"": row.size}
            if several:
                head |= {"model": row.model, "batch_size": row.batch_size}
            values = {
                metric.name: metric.value
                for metric in row.metrics
                if MODELLED not in metric.method or metric.name == CONCAT[ATTRIBUTED]
            }
            found.append(head | {column: _concat(column, values) for column in CONCAT})
    return found


def _concat(column: str, values: Mapping[str, float]) -> float | None:
    if CONCAT[column]:
        return values.get(CONCAT[column])
    boards = [value for name, value in values.items() if name.startswith("energy_gpu")]
    return sum(boards) if boards else None


def csv_bytes(rows: Sequence[Record]) -> bytes:
    """RFC 4180 in UTF-8 with a header; what is not known is an empty field."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    if rows:
        writer.writerow(rows[0])
    writer.writerows([_cell(value) for value in row.values()] for row in rows)
    return text.getvalue().encode("utf-8", "backslashreplace")


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and value[:1] in ("=", "+", "@", "-", "\t"):
        return f"'{value}"  # or a spreadsheet would take a model's name for a formula
    return value


def parquet_bytes(rows: Sequence[Record]) -> bytes:
    """The records as a Parquet file.

    Raises:
        PluginUnavailable: pyarrow is not installed.
    """
    try:
        arrow = importlib.import_module("pyarrow")
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise PluginUnavailable(
            "Parquet files need pyarrow, which is not installed",
            "install greenai-core[parquet], or choose --format csv",
        ) from error
    sink = arrow.BufferOutputStream()
    parquet.write_table(arrow.Table.from_pylist(list(rows)), sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content
