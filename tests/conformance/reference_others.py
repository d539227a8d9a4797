"""Telemetry, limiter, grader and exporter that keep every rule."""

from __future__ import annotations

import json
import math

from greenai_core import (
    Exporter,
    Figure,
    Gradable,
    Grade,
    Grader,
    Observation,
    PluginUnavailable,
    PowerCapError,
    PowerLimit,
    PowerLimiter,
    ReadingError,
    SchemaError,
    Telemetry,
    to_json,
)
from greenai_core.testing.exporter_suite import ExporterConformance
from greenai_core.testing.grader_suite import GraderConformance
from greenai_core.testing.limiter_suite import LimiterConformance
from greenai_core.testing.telemetry_suite import TelemetryConformance


class ReferenceTelemetry(Telemetry):
    def __init__(self, board):
        self.board = board

    def observe(self):
        if self.board["broken"]:
            raise ReadingError("gpu:GPU-0 does not answer")
        return [
            Observation("gpu:GPU-0", "temperature", self.board["temperature"], "°C"),
            Observation("host", "utilisation", self.board["utilisation"], "%"),
        ]


class TelemetryReference(TelemetryConformance):
    plugin = ReferenceTelemetry

    def make_telemetry(self):
        self.board = {"temperature": 61.0, "utilisation": 40.0, "broken": False}
        return self.plugin(self.board)

    def truth(self):
        return {("gpu:GPU-0", "temperature"): 61.0, ("host", "utilisation"): 40.0}

    def break_sensor(self):
        self.board["broken"] = True


class Boards:
    """Two boards that keep to limits."""

    def __init__(self, present=True):
        self.present = present
        self.watts = {"gpu:GPU-0": 300.0, "gpu:GPU-1": 250.0}
        self.forbidden = False
        self.stubborn = False

    def set(self, device, watts):
        if not self.stubborn:
            self.watts[device] = watts


class ReferenceLimiter(PowerLimiter):
    name = "reference"
    is_open = False

    def __init__(self, boards):
        self.boards = boards

    def check_available(self):
        if not self.boards.present:
            raise PluginUnavailable("there are no boards", "Plug one in")

    def open(self):
        self.refuse_absence()
        self.is_open = True

    def refuse_absence(self):
        if not self.boards.present:
            raise PluginUnavailable("there are no boards", "Plug one in")

    def close(self):
        self.is_open = False

    def limits(self):
        if not self.is_open:
            raise PowerCapError("the limiter is not open")
        return [
            PowerLimit(device, watts, 350.0, 100.0, 400.0, not self.boards.forbidden)
            for device, watts in self.boards.watts.items()
        ]

    def set_limit(self, device, watts):
        if device not in self.boards.watts:
            raise PowerCapError(f"there is no device {device}")
        self.permit(device)
        self.check_range(watts)
        self.boards.set(device, watts)
        self.read_back(device, watts)

    def permit(self, device):
        if self.boards.forbidden:
            raise PowerCapError(f"no permission to set {device}")

    def check_range(self, watts):
        if not 100.0 <= watts <= 400.0:
            raise PowerCapError(f"{watts} W is out of range")

    def read_back(self, device, watts):
        if self.boards.watts[device] != watts:
            raise PowerCapError(f"{device} kept {self.boards.watts[device]} W")


class LimiterReference(LimiterConformance):
    plugin = ReferenceLimiter

    def make_hardware(self):
        self.boards = Boards()

    def make_limiter(self):
        return self.plugin(self.boards)

    def make_absent(self):
        return self.plugin(Boards(present=False))

    def true_limit(self, device):
        return self.boards.watts[device]

    def forbid(self):
        self.boards.forbidden = True

    def make_stubborn(self):
        self.boards.stubborn = True


class ReferenceGrader(Grader):
    """Joules a unit: below 1 is A, below 2 B, below 4 C, and so on."""

    name = "reference"

    def grade(self, measured):
        refusal = self.refusal(measured)
        if refusal:
            return self.grade_of(None, None, refusal)
        joules = measured.net_energy_j
        letter = self.letter(joules.value / measured.units)
        best = self.letter(joules.low / measured.units)
        return self.grade_of(letter, best, f"{joules.value / measured.units:.3g} J")

    def refusal(self, measured):
        units, joules = measured.units, measured.net_energy_j
        if units is None:
            return "ungraded: no functional unit"
        if not (math.isfinite(units) and units > 0):
            return f"ungraded: {units} units"
        if measured.missing:
            return f"ungraded: no joules of {measured.missing[0]}"
        if joules is None:
            return "ungraded: no joules"
        if not (math.isfinite(joules.value) and joules.value > 0):
            return f"ungraded: {joules.value} J"
        return ""

    def letter(self, joules):
        step = 0 if joules < 1 else min(1 + math.floor(math.log2(joules)), 6)
        return "ABCDEFG"[step]

    def grade_of(self, letter, best, reason):
        return Grade(self.name, "doubling", letter, best, False, "measured", (reason,), "")


class GraderReference(GraderConformance):
    plugin = ReferenceGrader

    def make_grader(self):
        return self.plugin()

    def gradable(self):
        joules = Figure(30.0, 27.0, 33.0, 29.0, 31.0, "counter", "cpu:0/package")
        return Gradable(joules, joules, units=10.0, unit="image", options={"scale": ["x"]})


class ReferenceExporter(Exporter):
    name = "reference"
    suffix = ".txt"
    kinds = ("bench", "train", "measure", "grade")

    def export(self, report):
        if report.kind not in self.kinds:
            raise SchemaError(f"the kind {report.kind!r} is not known")
        return "\n".join(["joules", *map(self.line, report.results)]).encode()

    def line(self, result):
        data = to_json(result)
        for name in ("energy_per_inference_j", "energy_per_step_j"):
            if name in data:
                return json.dumps(data[name] and data[name]["value"])
        if "ratios" in data:
            return json.dumps([ratio["value"] for ratio in data["ratios"]])
        return json.dumps(data["gross"]["energy_j"])


class ExporterReference(ExporterConformance):
    plugin = ReferenceExporter

    def make_exporter(self):
        return self.plugin()

    def read_energies(self, content):
        return [json.loads(line) for line in content.decode().splitlines()[1:]]
