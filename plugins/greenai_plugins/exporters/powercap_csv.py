"""Searches for the best cap as CSV: one row for each probe."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from greenai_core import CapProbe, CapResult, Figure

_ENDS = ("", "_low", "_high", "_repeat_low", "_repeat_high")

FIGURES = {"seconds": "s", "energy": "j", "power": "w"}


def _columns(name: str, unit: str) -> list[str]:
    return [f"{name}{end}_{unit}" for end in _ENDS]


COLUMNS = (
    "result",
    "command",
    "objective",
    "limiter",
    "order",
    "role",
    "asked",
    "cap",
    "unit",
    "clamped",
    "in_force",
    "start_s",
    "duration_s",
    "steps",
    *(column for name, unit in FIGURES.items() for column in _columns(name, unit)),
    "method",
    "note",
)
"""``asked`` and ``cap`` are in ``unit``; ``in_force`` is the cap of each device, read back."""


def powercap_csv(results: Sequence[CapResult]) -> bytes:
    """All probes of all results one below the other, with one head."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for index, result in enumerate(results):
        about = {
            "result": index,
            "command": " ".join(result.command),
            "objective": result.objective,
            "limiter": result.limiter,
            "unit": result.unit,
        }
        for order, probe in enumerate(result.probes, 1):
            writer.writerow({**about, "order": order, **dict(_probe(probe))})
    # A command that is no UTF-8 has characters that no encoder takes.
    return text.getvalue().encode(errors="backslashreplace")


def _probe(probe: CapProbe) -> Iterator[tuple[str, object]]:
    for name in ("role", "asked", "cap", "start_s", "duration_s", "steps", "note"):
        yield name, getattr(probe, name)
    yield "clamped", "true" if probe.clamped else "false"
    yield "in_force", "; ".join(f"{one.device} {one.cap:g}" for one in probe.in_force)
    yield "method", probe.energy_j.method
    figures: dict[str, Figure] = {
        "seconds": probe.seconds_s,
        "energy": probe.energy_j,
        "power": probe.power_w,
    }
    for name, unit in FIGURES.items():
        found = figures[name]
        ends = (found.value, found.low, found.high, found.repeat_low, found.repeat_high)
        yield from zip(_columns(name, unit), ends, strict=True)
