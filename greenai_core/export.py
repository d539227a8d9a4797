"""The contract of an exporter: from a report to bytes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from .errors import SchemaError
from .results import Report

if TYPE_CHECKING:
    from .recording_reading import Recorded


@dataclass(frozen=True)
class ReportSource:
    """Something that is shown beside others.

    Attributes:
        name: that tells it from the others, for people.
        content: a report, or a recording that was read back.
        runs: name and report of some runs behind a study, whose blocks tell power over time.
    """

    name: str
    content: Report | Recorded
    runs: tuple[tuple[str, Report], ...] = ()


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

    def export_several(self, sources: Sequence[ReportSource]) -> bytes:
        """Several reports and recordings in one file; kinds that write one report keep this.

        Raises:
            SchemaError: these cannot be written in one file.
        """
        content = sources[0].content if len(sources) == 1 else None
        if isinstance(content, Report):
            return self.export(content)
        raise SchemaError(
            f"{self.name} writes one report a file, not {_what(sources)}. `greenai report` writes "
            "several as HTML and as Markdown"
        )

    def export_parts(self, sources: Sequence[ReportSource]) -> Mapping[str, bytes]:
        """The same as several files: name without suffix -> content.

        Kinds that have no parts, and keep this, write one file named ``report``.

        Raises:
            SchemaError: these cannot be written so.
        """
        return {"report": self.export_several(sources)}


def _what(sources: Sequence[ReportSource]) -> str:
    if len(sources) == 1:
        return "a recording"
    return f"{len(sources)} of them"
