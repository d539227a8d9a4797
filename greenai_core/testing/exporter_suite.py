"""The conformance suite of exporters.

Ten lines in the tests of a plugin::

    from greenai_core.testing.exporter_suite import ExporterConformance

    class TestMyExporter(ExporterConformance):
        def make_exporter(self):
            return MyExporter()

        def read_energies(self, content):  # with another library than the exporter's
            rows = some_parser(content)
            return [float(row["joules"]) if row["joules"] else None for row in rows]

The reports come from ``sample_report``; ``read_energies`` is asked only for kinds
that the exporter writes.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

import pytest

from greenai_core.errors import SchemaError
from greenai_core.export import Exporter, ReportSource
from greenai_core.results import RESULT_TYPES, Report

from .conformance import Conformance, check
from .sample_reports import SAMPLE_ENERGY_J, sample_report
from .watching import watched


class ExporterConformance(Conformance):
    """Rules of ``Exporter``; subclass it as ``Test…``."""

    precision: ClassVar[float] = 1e-9
    """Relative error that rounding in the file may make."""

    def make_exporter(self) -> Exporter:
        """The exporter."""
        raise NotImplementedError("the suite needs make_exporter()")

    def read_energies(self, content: bytes) -> Sequence[float | None]:
        """The total joules of each result, read back from the file; None for unknown.

        Of the results' ``energy_per_inference_j``, ``energy_per_step_j`` or
        ``gross.energy_j``, in their order.
        """
        raise NotImplementedError("the suite needs read_energies(content)")

    @check
    def test_class_facts_are_stated(self) -> None:
        """An exporter has a name, and an ending with its dot."""
        exporter = self.make_exporter()
        assert exporter.name.strip(), "name is empty"
        assert exporter.suffix.startswith("."), f"the suffix {exporter.suffix!r} has no dot"

    @check
    def test_every_kind_is_written_or_refused(self) -> None:
        """Each kind of report becomes bytes, or a SchemaError; at least one becomes bytes."""
        assert self._written(), "the exporter writes no kind of report"

    @check
    def test_exporting_again_gives_the_same(self) -> None:
        """The same report gives the same bytes, from the same exporter and a new one."""
        exporter = self.make_exporter()
        for kind in self._written():
            first, second, third = (
                one.export(sample_report(kind))
                for one in (exporter, exporter, self.make_exporter())
            )
            assert first == second == third, f"{kind}: the bytes differ"

    @check
    def test_report_is_left_alone(self) -> None:
        """Exporting changes nothing in the report."""
        for kind in self._written():
            report = sample_report(kind)
            before = copy.deepcopy(report)
            self.make_exporter().export(report)
            assert report == before, f"{kind}: the report was changed"

    @check
    def test_exporting_touches_nothing(self) -> None:
        """An exporter gives bytes; it opens no file and no connection."""
        for kind in self._written():
            exporter, report = self.make_exporter(), sample_report(kind)
            with watched() as touched:
                exporter.export(report)
            assert not touched, f"{kind}: exporting touched {touched[0]}"

    @check
    def test_energies_are_the_report_s(self) -> None:
        """The joules in the file are those of the report."""
        for kind in self._with_energies():
            energies = self.read_energies(self.make_exporter().export(sample_report(kind)))
            assert len(energies) == 1, f"{kind}: {len(energies)} results in the file, not 1"
            assert energies[0] is not None, f"{kind}: the file has no joules"
            assert math.isclose(energies[0], SAMPLE_ENERGY_J, rel_tol=self.precision), (
                f"{kind}: {energies[0]} J in the file, {SAMPLE_ENERGY_J} J in the report"
            )

    @check
    def test_unknown_energy_is_not_zero(self) -> None:
        """Joules that are not known are not known in the file either: never 0."""
        for kind in self._with_energies():
            content = self.make_exporter().export(sample_report(kind, known=False))
            energies = self.read_energies(content)
            assert list(energies) == [None], f"{kind}: unknown joules became {energies}"

    @check
    def test_several_results_keep_their_order(self) -> None:
        """All results of a report are in the file, in their order."""
        for kind in self._with_energies():
            one, other = sample_report(kind), sample_report(kind, known=False)
            report = dataclasses.replace(one, results=(*other.results, *one.results))
            energies = self.read_energies(self.make_exporter().export(report))
            assert [energy is not None for energy in energies] == [False, True], f"{kind}"

    @check
    def test_report_without_results_is_no_crash(self) -> None:
        """A run that was interrupted before its first result is written, or refused."""
        for kind in RESULT_TYPES:
            report = dataclasses.replace(sample_report(kind), results=(), complete=False)
            self._export(report)

    @check
    def test_several_are_written_or_refused(self) -> None:
        """Several reports at once become bytes, the same ones each time, or a SchemaError."""
        for kind in self._written():
            sources = [
                ReportSource("a", sample_report(kind)),
                ReportSource("b", sample_report(kind, known=False)),
            ]
            before = copy.deepcopy(sources)
            with watched() as touched:
                first = self._several(sources)
            assert first == self._several(sources), f"{kind}: the bytes differ"
            assert sources == before, f"{kind}: the reports were changed"
            assert not touched, f"{kind}: exporting touched {touched[0]}"

    @check
    def test_one_of_several_is_written(self) -> None:
        """What can be written alone can be written as the only one of several."""
        for kind in self._written():
            content = self._several([ReportSource("only", sample_report(kind))])
            assert content, f"{kind}: export() writes it, export_several() refuses it"

    @check
    def test_parts_have_names_for_files(self) -> None:
        """Parts are bytes, with names that can be those of files; or a SchemaError."""
        for kind in self._written():
            for name, content in self._parts(kind).items():
                assert re.fullmatch(r"\w[\w.-]*", name), f"{kind}: {name!r} is no name of a file"
                assert type(content) is bytes, f"{kind}: {name} is {type(content).__name__}"
                assert content, f"{kind}: {name} is empty"

    @check
    def test_unknown_kind_is_refused(self) -> None:
        """A kind of report that the exporter does not know is a SchemaError."""
        report = dataclasses.replace(sample_report("bench"), kind="no such kind")
        with pytest.raises(SchemaError):
            self.make_exporter().export(report)

    def _several(self, sources: Sequence[ReportSource]) -> bytes | None:
        try:
            content = self.make_exporter().export_several(sources)
        except SchemaError:
            return None
        assert type(content) is bytes, f"export_several() gave {type(content).__name__}"
        assert content, "export_several() gave no bytes"
        return content

    def _parts(self, kind: str) -> Mapping[str, bytes]:
        try:
            return self.make_exporter().export_parts([ReportSource("only", sample_report(kind))])
        except SchemaError:
            return {}

    def _export(self, report: Report) -> bytes | None:
        try:
            content = self.make_exporter().export(report)
        except SchemaError:
            return None
        assert type(content) is bytes, f"{report.kind}: export() gave {type(content).__name__}"
        assert content, f"{report.kind}: export() gave no bytes"
        return content

    def _written(self) -> list[str]:
        return [kind for kind in RESULT_TYPES if self._export(sample_report(kind)) is not None]

    def _with_energies(self) -> list[str]:
        """Kinds whose results have one total each: no comparisons, studies, layers, caps."""
        apart = ("compare", "study", "layers", "powercap")
        return [kind for kind in self._written() if kind not in apart]


__all__ = ["ExporterConformance"]
