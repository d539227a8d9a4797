"""Reports as JSON: what ``write_report`` writes and ``read_report`` reads."""

from __future__ import annotations

from typing import ClassVar

from greenai_core import Exporter, Report, dump


class JsonExporter(Exporter):
    """The whole report; ``docs/json-schema.md`` describes each key."""

    name: ClassVar[str] = "json"
    suffix: ClassVar[str] = ".json"

    def export(self, report: Report) -> bytes:
        """The report as JSON.

        Raises:
            SchemaError: a figure is not finite.
        """
        return dump(report).encode()
