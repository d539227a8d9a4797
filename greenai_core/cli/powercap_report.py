"""What ``greenai powercap optimise`` writes and shows."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from greenai_core.channels import MODELLED

from . import figures, options, output, sensors
from .faults import Faults
from .outcome import finish, keep
from .pictures import check_apart
from .places import check_file, check_report
from .reports import FILE_NAME, ReportFile

if TYPE_CHECKING:
    from greenai_core.cap_results import CapRatio, CapResult
    from greenai_core.cap_search import SearchSettings
    from greenai_core.export import Exporter
    from greenai_core.session import Session

SETTLE_S, SETTLE_SHARE = 0.5, 0.2

PROBES, CURVES = "probes.csv", "curves.svg"

GROUP = "greenai.exporters"


class CapReport:
    """The report of a search, and the files beside it.

    Args:
        program: that is the work.
        flags: of the command line.

    Raises:
        ConfigError: something cannot be written where it is asked for.
    """

    def __init__(self, program: tuple[str, ...], flags: Mapping[str, Any]) -> None:
        configured = options.configuration(dict(flags)).settings
        self.configured = configured
        self._program, self._pattern = program, flags["pattern"]
        path = check_report(configured.out, FILE_NAME)
        folder = path.parent
        self._gpus: tuple[str, ...] = flags["gpus"]
        self._limiter: str = flags["limiter"]
        self._asked = flags["out"] is not None
        self._tables = [folder / PROBES]
        self._pictures = [folder / CURVES]
        check_apart({"--csv": flags["csv_file"], "--picture": flags["picture"]})
        if flags["csv_file"]:
            self._tables.append(check_file(flags["csv_file"], "--csv"))
        if flags["picture"]:
            self._pictures.append(check_file(flags["picture"], "--picture"))
        self._report = ReportFile("powercap", _settings(configured, flags), path)

    def sensors(self, session: Session) -> None:
        """Tell the report what it is measured with."""
        from greenai_core.calibration import applied

        self._report.skipped = session.skipped
        self._report.calibrations = tuple(map(applied, session.calibrations))

    def keep(self, found: CapResult) -> None:
        """Write the report, and what belongs to it; what cannot be written is told."""
        faults = Faults()
        found = dataclasses.replace(found, command=self._program, step_pattern=self._pattern)
        keep(self._report, found, faults)
        if found.complete:
            finish(self._report, faults)
        if self._report.written:
            output.note(f"greenai: report written to {self._report.path}")
        self._export(self._tables, "csv", "probes", faults)
        for place in self._pictures:
            kind = "png" if place.suffix.lower() == ".png" else "svg"
            self._export([place], kind, "picture", faults)

    def deliver(self, found: CapResult, as_json: bool) -> None:
        """The same, and the result on stdout."""
        self.keep(found)
        for text in found.warnings:
            output.warn(text)
        if as_json:
            output.emit_bytes(self._report.content())
        else:
            output.emit(text_of(found, self._set_it(found)))

    def _set_it(self, found: CapResult) -> str:
        """The command that sets the chosen cap; empty where there is nothing to set."""
        if found.kept_original:
            return ""
        words = [f"greenai powercap set {found.chosen:g}"]
        words += [f"--gpu {shlex.quote(gpu)}" for gpu in self._gpus]
        words += [f"--limiter {self._limiter}"] if self._limiter != "auto" else []
        return " ".join(words)

    def planned(self, found: CapResult) -> None:
        """A search that was not permitted, as JSON on stdout; a folder only where one was named."""
        found = dataclasses.replace(found, command=self._program, step_pattern=self._pattern)
        if not self._asked:
            self._report.path = None
        faults = Faults()
        keep(self._report, found, faults)
        finish(self._report, faults)
        output.emit_bytes(self._report.content())

    def _export(self, places: list[Path], name: str, word: str, faults: Faults) -> None:
        from greenai_core import registry
        from greenai_core.errors import GreenAIError, SchemaError

        try:
            exporter: Exporter = registry.load(GROUP, name)()
            content = exporter.export(self._report.report)
        except SchemaError:
            # A search that ended after its pilot has nothing to draw, and a picture of an
            # earlier one would be taken for its own.
            if self._report.path is not None:
                (self._report.path.parent / CURVES).unlink(missing_ok=True)
            output.note(f"greenai: there is no {word}: too little was measured")
            return
        except GreenAIError as error:
            faults.add(error)
            return
        for place in places:
            try:
                output.save(place, content)
                output.note(f"greenai: {word} written to {place}")
            except output.OutputError as error:
                faults.add(error)


def settings_of(flags: Mapping[str, Any]) -> SearchSettings:
    """How to search, as far as the flags say."""
    from greenai_core.cap_search import SearchSettings

    probe_s = flags["probe_s"]
    settle_s = min(SETTLE_S, SETTLE_SHARE * probe_s)
    bare = SearchSettings(probe_s=probe_s, settle_s=settle_s)
    return dataclasses.replace(bare, quads=0) if flags["no_confirm"] else bare


def _settings(configured: Any, flags: Mapping[str, Any]) -> dict[str, Any]:
    """What the figures depend on."""
    from greenai_core.report_files import to_json

    found: dict[str, Any] = {
        key: value
        for key, value in sensors.for_report(configured).items()
        if key in ("profilers", "profiler_options", "calibrations")
    }
    found["objective"] = flags["objective"]
    found["gpu"] = list(flags["gpus"]) or ["0"]
    found["limiter"] = flags["limiter"]
    found["shared"] = flags["shared"]
    found["search"] = to_json(settings_of(flags))
    return found


def text_of(found: CapResult, set_it: str = "") -> str:
    """The result, for people.

    Args:
        found: by the search.
        set_it: the command that sets the chosen cap.
    """
    unit = found.unit
    rows = [
        [f"{p.cap:g} {unit}" + "*" * p.clamped, p.role, figures.spread(p.seconds_s, "s"),
         figures.spread(p.power_w, "W"), figures.spread(p.energy_j, "J")]
        for p in found.probes
    ]  # fmt: skip
    head = ["cap", "probe", "time of a step", "power", "energy"]
    lines = [output.table(head, rows, right=(2, 3, 4)), ""]
    if any(p.clamped for p in found.probes):
        lines[1:1] = [output.paragraph("* another cap was asked for than the device keeps")]
    lines += [
        output.heading(f"{found.chosen:g} {unit}" + (", as it was" if found.kept_original else "")),
        output.paragraph(found.reason, "  "),
    ]
    if found.saving is not None and found.slowdown is not None and found.candidate is not None:
        which = f"{found.candidate:g} {unit} against {found.original:g} {unit}"
        lines += [
            f"  {which}:",
            f"  energy saved  {_share(found.saving)}",
            f"  slower by     {_share(found.slowdown)}",
        ]
    lines.append(output.paragraph(f"energies contain {', '.join(found.contains)}", "  "))
    if any(MODELLED in p.energy_j.method for p in found.probes):
        lines.append(output.paragraph("a part of them is modelled, not measured", "  "))
    if set_it:
        lines.append(f"  set it with `{set_it}`")
    return "\n".join(lines)


def _share(ratio: CapRatio) -> str:
    ends = f"{figures.percent(ratio.low)} to {figures.percent(ratio.high)}"
    return f"{figures.percent(ratio.value)} ({ends})"
