"""Telemetry, limiters, graders and exporters with one fault each."""

from __future__ import annotations

import dataclasses
import itertools
import os
import time
from pathlib import Path

from kit import breaks
from reference_others import (
    ExporterReference,
    GraderReference,
    LimiterReference,
    ReferenceExporter,
    ReferenceGrader,
    ReferenceLimiter,
    ReferenceTelemetry,
    TelemetryReference,
)

from greenai_core import (
    Observation,
    PluginUnavailable,
    PowerCapError,
    ReadingError,
    SchemaError,
)
from greenai_core.results import RESULT_TYPES

# Telemetry


def telling(check, *more):
    """The mutant tells something more."""

    class Tells(ReferenceTelemetry):
        def observe(self):
            return [*super().observe(), *more]

    Tells.__name__ = f"Tells{more[0].quantity.title()}"
    breaks(check, TelemetryReference)(Tells)


telling("test_each_figure_is_told_once", Observation("host", "utilisation", 40.0, "%"))
telling("test_quantities_have_their_units", Observation("gpu:GPU-0", "power", 40.0, "W"))
telling("test_values_are_possible", Observation("gpu:GPU-0", "utilisation", 101.0, "%"))
telling("test_devices_are_named", Observation("0", "utilisation", 40.0, "%"))


@breaks("test_values_are_the_truth", TelemetryReference)
class TooWarm(ReferenceTelemetry):
    def observe(self):
        first, second = super().observe()
        return [dataclasses.replace(first, value=first.value + 1), second]


@breaks("test_observing_again_works", TelemetryReference)
class FallsSilent(ReferenceTelemetry):
    told = False

    def observe(self):
        observations = super().observe()
        told, self.told = self.told, True
        return observations[:1] if told else observations


@breaks("test_failed_sensor_is_an_error", TelemetryReference)
class TellsNothing(ReferenceTelemetry):
    def observe(self):
        try:
            return super().observe()
        except ReadingError:
            return []


# Limiters


def limiter(check):
    return breaks(check, LimiterReference)


@limiter("test_constructor_opens_nothing")
class LooksAtOnce(ReferenceLimiter):
    def __init__(self, boards):
        super().__init__(boards)
        list(Path("/").iterdir())


@limiter("test_present_hardware_is_available")
class NeverAvailable(ReferenceLimiter):
    def check_available(self):
        raise PluginUnavailable("there are no boards", "Plug one in")


@limiter("test_absent_hardware_has_a_remedy")
class NoRemedy(ReferenceLimiter):
    def check_available(self):
        if not self.boards.present:
            raise PluginUnavailable("there are no boards")


@limiter("test_absent_hardware_does_not_open")
class OpensNothing(ReferenceLimiter):
    def refuse_absence(self):
        pass


@limiter("test_closing_twice_is_harmless")
class ClosesWhatIsOpen(ReferenceLimiter):
    opened = False

    def open(self):
        super().open()
        self.opened = True

    def close(self):
        if not self.opened:
            raise PowerCapError("not open")
        super().close()


@limiter("test_devices_are_named_once")
class TellsTheLastTwice(ReferenceLimiter):
    def limits(self):
        first, second = super().limits()
        return [first, second, second]


@limiter("test_limits_are_those_in_force")
class TellsTheDefaultFirst(ReferenceLimiter):
    """Until something is set; afterwards it knows."""

    touched = False

    def limits(self):
        first, second = super().limits()
        return [first, second if self.touched else dataclasses.replace(second, current_w=350.0)]

    def set_limit(self, device, watts):
        self.touched = True
        super().set_limit(device, watts)


@limiter("test_ranges_hold_their_limits")
class DefaultOutOfRange(ReferenceLimiter):
    def limits(self):
        return [dataclasses.replace(limit, default_w=450.0) for limit in super().limits()]


@limiter("test_set_limit_is_in_force")
class TellsTheOldLimit(ReferenceLimiter):
    def limits(self):
        if not hasattr(self, "told"):
            self.told = super().limits()
        return self.told if not self.boards.forbidden else super().limits()


@limiter("test_other_devices_keep_their_limits")
class SetsThemAll(ReferenceLimiter):
    def set_limit(self, device, watts):
        super().set_limit(device, watts)
        if watts == 250.0 and device == "gpu:GPU-0":
            self.boards.watts["gpu:GPU-1"] = 249.0


@limiter("test_old_limit_can_be_restored")
class NeverGoesBack(ReferenceLimiter):
    def check_range(self, watts):
        super().check_range(watts)
        if watts == 300.0:
            raise PowerCapError("limits can only be lowered")


@limiter("test_closing_changes_no_limit")
class RestoresByItself(ReferenceLimiter):
    def close(self):
        super().close()
        self.boards.watts.update({"gpu:GPU-0": 300.0})


@limiter("test_out_of_range_is_refused")
class Clamps(ReferenceLimiter):
    def set_limit(self, device, watts):
        super().set_limit(device, min(max(watts, 100.0), 400.0))


@limiter("test_unknown_device_is_refused")
class RaisesKeyErrors(ReferenceLimiter):
    def set_limit(self, device, watts):
        _ = self.boards.watts[device]
        super().set_limit(device, watts)


@limiter("test_forbidden_is_told")
class AlwaysSettable(ReferenceLimiter):
    def limits(self):
        return [dataclasses.replace(limit, settable=True) for limit in super().limits()]


@limiter("test_stubborn_board_is_an_error")
class DoesNotReadBack(ReferenceLimiter):
    def read_back(self, device, watts):
        pass


# Graders


def grader(check):
    return breaks(check, GraderReference)


@grader("test_grade_names_its_grader")
class Anonymous(ReferenceGrader):
    def grade(self, measured):
        return dataclasses.replace(super().grade(measured), grader="someone")


@grader("test_letters_are_a_to_g")
class TripleA(ReferenceGrader):
    def letter(self, joules):
        return "A+" if joules < 1e-4 else super().letter(joules)


@grader("test_every_grade_has_reasons")
class SilentRefusal(ReferenceGrader):
    def grade(self, measured):
        grade = super().grade(measured)
        return grade if grade.letter else dataclasses.replace(grade, reasons=())


@grader("test_best_letter_is_no_worse")
class BestIsWorst(ReferenceGrader):
    def grade_of(self, letter, best, reason):
        return super().grade_of(letter, best and "G", reason)


@grader("test_grading_again_gives_the_same")
class WearsOut(ReferenceGrader):
    count = itertools.count()

    def grade_of(self, letter, best, reason):
        return super().grade_of(letter, best, f"{reason} (grade {next(self.count)})")


@grader("test_measurement_is_left_alone")
class UsesUpOptions(ReferenceGrader):
    def grade(self, measured):
        measured.options.get("scale", []).clear()
        return super().grade(measured)


@grader("test_grading_touches_nothing")
class LooksScalesUp(ReferenceGrader):
    def grade(self, measured):
        Path(os.devnull).read_bytes()
        return super().grade(measured)


@grader("test_more_energy_is_never_better")
class RewardsEffort(ReferenceGrader):
    def letter(self, joules):
        return "A" if 100 < joules < 10_000 else super().letter(joules)


@grader("test_without_functional_unit_there_is_no_letter")
class OneUnitByDefault(ReferenceGrader):
    def grade(self, measured):
        if measured.units is None:
            measured = dataclasses.replace(measured, units=1.0)
        return super().grade(measured)


@grader("test_missing_channel_never_improves")
class ForgivesMissingChannels(ReferenceGrader):
    def grade(self, measured):
        grade = super().grade(dataclasses.replace(measured, missing=()))
        return dataclasses.replace(grade, letter="A") if measured.missing else grade


@grader("test_no_joules_get_no_letter")
class NothingIsBest(ReferenceGrader):
    def grade(self, measured):
        grade = super().grade(measured)
        none = measured.units and measured.net_energy_j is None
        return self.grade_of("A", "A", "no joules at all") if none else grade


@grader("test_no_number_gets_no_letter")
class TakesAnyUnits(ReferenceGrader):
    def refusal(self, measured):
        if measured.units is not None and measured.units < 0:
            measured = dataclasses.replace(measured, units=1.0)
        return super().refusal(measured)

    def letter(self, joules):
        return super().letter(abs(joules))


# Exporters


def exporter(check):
    return breaks(check, ExporterReference)


@exporter("test_class_facts_are_stated")
class NoDot(ReferenceExporter):
    suffix = "txt"


@exporter("test_every_kind_is_written_or_refused")
class WritesNothing(ReferenceExporter):
    kinds = ()


@exporter("test_exporting_again_gives_the_same")
class StampsTheTime(ReferenceExporter):
    def export(self, report):
        return super().export(report).replace(b"joules", f"joules {time.time_ns()}".encode())


@exporter("test_report_is_left_alone")
class AddsToTheReport(ReferenceExporter):
    def export(self, report):
        report.settings["exported"] = True
        return super().export(report)


@exporter("test_exporting_touches_nothing")
class WritesAFile(ReferenceExporter):
    def export(self, report):
        content = super().export(report)
        Path(os.devnull).write_bytes(content)
        return content


@exporter("test_energies_are_the_report_s")
class TellsMillijoules(ReferenceExporter):
    def line(self, result):
        line = super().line(result)
        return line if line == "null" else str(1000 * float(line))


@exporter("test_unknown_energy_is_not_zero")
class ZeroForUnknown(ReferenceExporter):
    """Where it is the only result; the order of several stays as it was."""

    def export(self, report):
        content = super().export(report)
        return content.replace(b"null", b"0.0") if len(report.results) == 1 else content


@exporter("test_several_results_keep_their_order")
class SortsResults(ReferenceExporter):
    def export(self, report):
        if report.kind not in self.kinds:
            return super().export(report)
        ordered = tuple(sorted(report.results, key=self.line))
        return super().export(dataclasses.replace(report, results=ordered))


@exporter("test_report_without_results_is_no_crash")
class NeedsAResult(ReferenceExporter):
    def export(self, report):
        content = super().export(report)
        return content if report.results[0] else b""


@exporter("test_several_are_written_or_refused")
class WritesTextOfSeveral(ReferenceExporter):
    def export_several(self, sources):
        if len(sources) > 1:
            return "several"
        return super().export_several(sources)


@exporter("test_one_of_several_is_written")
class WritesPairsOnly(ReferenceExporter):
    def export_several(self, sources):
        raise SchemaError("one is not several")


@exporter("test_parts_have_names_for_files")
class NamesPartsByPath(ReferenceExporter):
    def export_parts(self, sources):
        return {"parts/report": self.export_several(sources)}


@exporter("test_unknown_kind_is_refused")
class WritesAnything(ReferenceExporter):
    def export(self, report):
        known = report.kind in RESULT_TYPES
        return super().export(report if known else dataclasses.replace(report, kind="bench"))
