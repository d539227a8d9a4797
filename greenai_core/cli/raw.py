"""Raw readings beside a report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from greenai_core.results import CapResult, ComparisonResult, LayersResult, Result, StudyResult

from . import output

if TYPE_CHECKING:
    from greenai_core.kept_runs import Kept


def with_raw(result: Result, kept: Kept, report: Path, number: int) -> Result:
    """The result with the file of its raw readings, which is written beside the report.

    Args:
        result: to be kept.
        kept: what it follows from.
        report: where the report is written.
        number: of the result, from 1.

    Raises:
        OutputError: it cannot be written.
    """
    from greenai_core.raw_files import raw_bytes, raw_file

    if isinstance(result, (CapResult, ComparisonResult, LayersResult, StudyResult)):
        return result
    path = report.with_name(f"{report.stem}.raw-{number}.npz")
    content = raw_bytes(kept)
    output.save(path, content)
    output.note(f"greenai: raw readings written to {path} ({len(content) / 1000:,.0f} kB)")
    return replace(result, raw=raw_file(path.name, content))
