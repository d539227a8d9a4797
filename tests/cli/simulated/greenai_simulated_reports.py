"""A grader and an exporter for the tests of the command line."""

from __future__ import annotations

from greenai_core import Exporter, Grade, GradeError, Grader


class SimGrader(Grader):
    name = "sim"
    option_names = {"scale": "text of the scale"}

    def __init__(self, scale=None):
        if scale == "bad":
            raise GradeError("the scale is bad")
        self.scale = scale

    def grade(self, measured):
        if measured.units is None or self.scale is None:
            return Grade("sim", None, None, None, False, "measured", ("no functional unit",), "")
        return Grade("sim", "sim/1", "C", "B", False, "measured", ("as simulated",), "B needs less")


class SimExporter(Exporter):
    name = "sim"
    suffix = ".sim"

    def export(self, report):
        return f"{report.kind}: {len(report.results)}\n".encode()
