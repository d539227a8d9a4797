"""Reports of commands: built here, and written after every result."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from greenai_core import environment
from greenai_core.report_files import dump
from greenai_core.results import AppliedCalibration, Report, Result, Skipped

from . import output
from .raw import with_raw
from .signals import INTERRUPTS

if TYPE_CHECKING:
    from greenai_core.kept_runs import Kept

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
        self.calibrations: Sequence[AppliedCalibration] = ()

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
            calibrations=tuple(self.calibrations),
        )

    def add(self, result: Result, kept: Kept | None = None) -> None:
        """Add a result and write the report.

        Args:
            result: to be added.
            kept: its raw readings, to be written beside the report.

        Raises:
            OutputError: it cannot be written; the result is kept in memory.
        """
        try:
            if kept is not None and self.path is not None:
                result = with_raw(result, kept, self.path, len(self._results) + 1)
        finally:
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
