"""What ``greenai record`` tells: how far it is, how it ended, and what a window holds."""

from __future__ import annotations

import datetime
import shutil
import sys
from collections.abc import Mapping
from typing import Any

from greenai_core.channels import MODELLED
from greenai_core.errors import ConfigError
from greenai_core.recording_order import Summary
from greenai_core.recording_reading import Recorded
from greenai_core.report_files import to_json
from greenai_core.results import WindowResult

from . import figures, output
from .sensors import NO_SENSOR


class ProgressLine:
    """One line on stderr that is overwritten; nothing where that is no terminal."""

    def __init__(self) -> None:
        self.shown = sys.stderr is not None and sys.stderr.isatty()

    def __call__(self, state: Mapping[str, Any]) -> None:
        """Tell rows, seconds and watts."""
        if not self.shown:
            return
        missed = f", {state['missed']} missed" if state["missed"] else ""
        watts = "" if state["power_w"] is None else f", {figures.quantity(state['power_w'], 'W')}"
        line = f"recording: {state['rows']} rows{missed}, {state['time_s']:.1f} s{watts}"
        width = shutil.get_terminal_size().columns - 1
        sys.stderr.write(f"\r\x1b[K{line[:width]}")
        sys.stderr.flush()

    def clear(self) -> None:
        """Leave the line as if nothing had been there."""
        if self.shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def ended(summary: Summary) -> str:
    """A few lines for people: what was recorded."""
    rows = f"{summary.rows} row{'s' * (summary.rows != 1)}"
    files = summary.files[0] if len(summary.files) == 1 else f"{len(summary.files)} files"
    lines = [
        f"greenai: {rows} in {figures.quantity(summary.duration_s, 's')} to {files}; "
        f"{summary.missed} ticks missed; ended because {summary.ended_by}"
    ]
    if summary.energy is not None:
        lines += _energy(summary.energy)
    lines += [f"greenai: warning: {output.one_line(text)}" for text in summary.notes]
    return "\n".join(lines)


def _energy(window: WindowResult) -> list[str]:
    lines = []
    if window.energy_j is not None and window.low_j is not None and window.high_j is not None:
        total = figures.with_ends(window.energy_j, window.low_j, window.high_j, "J")
        watts = figures.quantity(window.energy_j / window.duration_s, "W")
        lines.append(f"  total: {total}, {window.method}, {watts}")
    lines += [
        f"  {c.id}: {figures.with_ends(c.energy_j, c.low_j, c.high_j, 'J')}, {c.method}"
        + ("" if c.in_total else ", not in the total")
        for c in window.channels
    ]
    lines += [f"  {m.id}: {figures.UNKNOWN}: {output.one_line(m.reason)}" for m in window.missing]
    if window.method == MODELLED:
        lines.append(output.paragraph(NO_SENSOR, "  "))
    return lines


def as_report(summary: Summary) -> dict[str, Any]:
    """The same for machines."""
    return {"recording": to_json(summary)}


def instant(text: str, flag: str) -> float | datetime.datetime:
    """Seconds, or a moment as ISO 8601; without a time zone it is UTC.

    Raises:
        ConfigError: it is neither.
    """
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError as error:
        raise ConfigError(
            f"{flag} {text}: write seconds since the beginning of the recording, or a moment as "
            "2026-01-31T12:00:00Z"
        ) from error


def window_json(
    recorded: Recorded, window: WindowResult, start: str | None, end: str | None
) -> dict[str, Any]:
    """A window of a recording for machines."""
    return {
        "files": list(recorded.files),
        "from": start,
        "to": end,
        "rows": len(recorded.times),
        "missed": recorded.missed,
        "remarks": list(recorded.remarks),
        "window": to_json(window),
    }


def window_text(recorded: Recorded, window: WindowResult) -> str:
    """A window of a recording for people."""
    lines = [
        f"{window.name}: {figures.quantity(window.duration_s, 's')} of {len(recorded.times)} rows, "
        f"{recorded.missed} ticks missed"
    ]
    return "\n".join(lines + _energy(window))
