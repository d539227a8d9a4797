"""Studies as CSV: one row for each model, batch size and size."""

from __future__ import annotations

import csv
import io

from greenai_core import StudyResult


def study_csv(result: StudyResult) -> bytes:
    """One row for each row of the study; each metric with its interval."""
    result = result.bounded()
    names = list(dict.fromkeys(m.name for row in result.rows for m in row.metrics))
    fields = ("", "_low", "_high", "_repeat_low", "_repeat_high", "_method")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    head = ["model", result.size_name, "batch_size", "runs", "target_met"]
    writer.writerow([*head, *(name + field for name in names for field in fields)])
    for row in result.rows:
        cells: list[object] = [row.model, row.size, row.batch_size, row.runs, row.target_met]
        for name in names:
            m = row.metric(name)
            cells += (
                [""] * len(fields)
                if m is None
                else [m.value, m.low, m.high, m.repeat_low, m.repeat_high, m.method]
            )
        writer.writerow(["" if cell is None else cell for cell in cells])
    return text.getvalue().encode(errors="backslashreplace")
