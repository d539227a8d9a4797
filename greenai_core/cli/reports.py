"""Reports of commands: built here, and written after every result."""

from __future__ import annotations

import datetime
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from greenai_core import environment
from greenai_core.report_files import dump
from greenai_core.results import Report, Result, Skipped

from . import output
from .signals import INTERRUPTS

FILE_NAME = "report.json"


class ReportFile:
    """A report that grows; each result is on disk before the next is begun.

    Args:
        kind: see ``Report``.
        settings: the options that the figures depend on.
        path: where it is written; None keeps it in memory.
    """

    def __init__(self, kind: str, settings: Mapping[str, Any], path: Path | None) -> None:
        self.path = path
        self._kind = kind
        self._settings = settings
        self._created = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        self._environment = environment.describe()
        self._results: list[Result] = []
        self._complete = False
        self.written = False
        """Whether the file holds the report as it is now."""
        self.skipped: Sequence[Skipped] = ()
        self.warnings: Sequence[str] = ()

    @property
    def report(self) -> Report:
        """The report so far."""
        return Report(
            kind=self._kind,
            created=self._created,
            environment=self._environment,
            settings=self._settings,
            results=tuple(self._results),
            skipped=tuple(self.skipped),
            warnings=tuple(self.warnings),
            complete=self._complete,
        )

    def check_writable(self) -> None:
        """Find out before measuring, not after, that the folder cannot be written.

        Raises:
            OutputError: it cannot.
        """
        if self.path is None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.path.parent, prefix=".greenai-") as probe:
                probe.write(bytes(4096))
        except OSError as error:
            raise output.cannot_write(self.path, error) from error

    def add(self, result: Result) -> None:
        """Add a result and write the report.

        Raises:
            OutputError: it cannot be written; the result is kept in memory.
        """
        self._results.append(result)
        self._save()

    def finish(self) -> None:
        """Nothing more will be added. A report without results is not written.

        Raises:
            OutputError: it cannot be written.
        """
        self._complete = True
        if self._results:
            self._save()

    def _save(self) -> None:
        self.written = False
        if self.path is not None:
            with INTERRUPTS.held():
                output.save(self.path, self.content())
                self.written = True

    def content(self) -> bytes:
        """The report as a JSON file; paths that are not UTF-8 keep their bytes as escapes."""
        return dump(self.report).encode("utf-8", "backslashreplace")
