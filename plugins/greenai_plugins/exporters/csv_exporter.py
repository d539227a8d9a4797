"""Reports as CSV, for spreadsheets and data frames."""

from __future__ import annotations

import csv
import io
from dataclasses import astuple
from typing import ClassVar

from greenai_core import CapResult, Exporter, LayersResult, Report, StudyResult

from .layers_csv import layers_csv
from .powercap_csv import powercap_csv
from .rows import COLUMNS, rows
from .study_csv import study_csv


class CsvExporter(Exporter):
    """One row for each total and each channel; of studies a size, of caps a probe, each layer.

    The columns are the fields of ``rows.Row``, units in their names; numbers
    have all their digits, a figure that is not known is an empty cell.
    """

    name: ClassVar[str] = "csv"
    suffix: ClassVar[str] = ".csv"

    def export(self, report: Report) -> bytes:
        """The report as CSV in UTF-8.

        Raises:
            SchemaError: a result is of no known kind.
        """
        studies = [result for result in report.results if isinstance(result, StudyResult)]
        if report.kind == "study":
            return b"\n".join(map(study_csv, studies)) or b"model\n"
        if report.kind == "layers":
            return layers_csv([one for one in report.results if isinstance(one, LayersResult)])
        if report.kind == "powercap":
            return powercap_csv([one for one in report.results if isinstance(one, CapResult)])
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([_cell(value) for value in astuple(row)] for row in rows(report))
        # A file name that is no UTF-8 has characters that no encoder takes.
        return text.getvalue().encode(errors="backslashreplace")


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
