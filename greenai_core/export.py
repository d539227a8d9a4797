"""The contract of an exporter: from a report to bytes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from .results import Report


class Exporter(ABC):
    """Turns a report into the content of a file; never opens one."""

    name: ClassVar[str]
    suffix: ClassVar[str]
    """Ending of files of this kind, with the dot."""

    @abstractmethod
    def export(self, report: Report) -> bytes:
        """The content of the file.

        Raises:
            SchemaError: this kind of report cannot be written so.
        """
