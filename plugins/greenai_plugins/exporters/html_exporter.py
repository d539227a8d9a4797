"""Reports as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from greenai_core import Exporter, Report, ReportSource

from .pages.html import rendered
from .pages.page import page_of


class HtmlExporter(Exporter):
    """A page for people: findings, tables, pictures, machine, warnings, raw figures."""

    name: ClassVar[str] = "html"
    suffix: ClassVar[str] = ".html"

    def export(self, report: Report) -> bytes:
        """The report as HTML in UTF-8.

        Raises:
            SchemaError: it is of no known kind.
        """
        return self.export_several([ReportSource("report", report)])

    def export_several(self, sources: Sequence[ReportSource]) -> bytes:
        """Reports and recordings side by side, with verdicts where they can be compared.

        Raises:
            SchemaError: one is of no known kind.
        """
        return rendered(page_of(sources))
