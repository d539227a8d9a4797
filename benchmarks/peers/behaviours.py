"""What each tool does where a sensor is not as it should be.

Outcomes are worked out from the figures and from what was printed, by the rules of
``outcome``; none is typed by hand.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from accuracy import with_truth
from figures import cpu_joules, told
from machine import Machine, Ran
from scenes import GENTLE, LAPTOP, NO_RAPL, PSYS_EXTRA_W, Scene
from tool_list import Tool

READY_S = 10.0
"""When what happens in a scene happens: after the tool has started. Doubled if it has not."""

ATTEMPTS = 4
NOT_READY = 75
"""Exit code of a driver that came too late for its window."""

WINDOW_S = 3.0

RIGHT = 0.05
"""Within this share of the truth a figure is right: one update of a GPU's counter is 3 % of
the window, and how exact tools are is another table."""

PHANTOM_J = 1000.0
"""More than so much too much or too little cannot be a share of anything."""


@dataclass(frozen=True)
class Case:
    """Something that is not as it should be.

    Attributes:
        name: of the case.
        title: of its column.
        scene: what ``Scene`` is given beside profile and origin.
        part: whose figure is told: ``cpu`` (package and DRAM) or ``gpu``.
        event: the field of the scene that holds the instant, if something happens.
        unknowable: whether a figure is made up, since the sensor is gone.
        unmeasured: whether a figure is a model's, since there is no sensor.
    """

    name: str
    title: str
    part: str
    scene: Mapping[str, Any] = field(default_factory=dict)
    event: str = ""
    unknowable: bool = False
    unmeasured: bool = False


CASES = (
    Case("dram", "DRAM below the package", "cpu"),
    Case("wrap", "RAPL wraps", "cpu", event="wrap_at"),
    Case("psys", "psys beside package", "cpu", {"zones": LAPTOP}),
    Case("denied", "RAPL for root only", "cpu", {"denied": True}, unmeasured=True),
    Case("no_rapl", "no RAPL", "cpu", {"zones": NO_RAPL}, unmeasured=True),
    Case("lost", "GPU lost midway", "gpu", event="lost_at", unknowable=True),
    Case("old_gpu", "GPU without counter", "gpu", {"old_gpu": True}),
)


def measure(tool: Tool) -> dict[str, Any]:
    """The outcomes of all cases, with what they follow from."""
    sound, usual = _run(tool, Case("sound", "", "cpu"))
    found: dict[str, Any] = {}
    for case in CASES:
        rows, ran = (sound, usual) if case.name == "dram" else _run(tool, case)
        row = rows[-1] if rows else {}
        found[case.name] = {
            "outcome": _outcome(case, row, ran, sound, told(ran.said, usual.said)),
            "figures": row.get("figures"),
            "truth": row.get("truth"),
            "said": told(ran.said, usual.said)[:5],
        }
    return found


def _outcome(
    case: Case,
    row: Mapping[str, Any],
    ran: Ran,
    sound: Sequence[Mapping[str, Any]],
    lines: Sequence[str],
) -> str:
    healthy = sound[-1] if sound else {}
    usual = _value(case.part, healthy.get("figures") or {})
    if case.part == "gpu" and usual is None:
        return "has no GPU"
    share = usual / healthy["truth"][case.part] if usual and case.name != "dram" else None
    return outcome(case, row, ran, lines, share)


def _run(tool: Tool, case: Case) -> tuple[list[dict[str, Any]], Ran]:
    ready_s = READY_S
    for attempt in range(ATTEMPTS):
        origin = time.monotonic()
        windows: list[dict[str, float]] = [{"length": 1.0}, {"pause": 0.2, "length": WINDOW_S}]
        event: dict[str, Any] = {case.event: origin + ready_s} if case.event else {}
        if case.event:
            windows[1] = {"at": origin + ready_s - WINDOW_S / 2, "length": WINDOW_S}
        with Machine(Scene(GENTLE, origin, **case.scene, **event)) as machine:
            ran = machine.run(tool.python, tool.driver, windows, timeout_s=120.0)
            rows = with_truth(machine, ran)
        late = ran.out.get("opened_at", 0.0) > windows[1].get("at", math.inf)
        # Some give up when the processes that they start are slow to come.
        refused = attempt == 0 and "open_error" in ran.out
        if ran.code != NOT_READY and not late and not refused:
            break
        ready_s *= 2
    return rows, ran


def outcome(
    case: Case,
    row: Mapping[str, Any],
    ran: Ran,
    lines: Sequence[str],
    usual_share: float | None = None,
) -> str:
    """What became of a window, in a few words.

    Args:
        case: that was tried.
        row: of the window; empty if the tool did not come so far.
        ran: the run.
        lines: what was printed about sensors that a sound machine does not bring about.
        usual_share: of the truth that the tool gives on a sound machine.
    """
    if ran.out.get("open_error"):
        return f"refuses: {ran.out['open_error']}"
    if error := row.get("error") or ran.out.get("run_error"):
        return f"exception {error}"
    figures = row.get("figures")
    if not ran.out or not figures:
        return f"ends the program ({ran.code})" if ran.code else "no figure at all"
    part = case.part
    value = _value(part, figures)
    manner = _manner(lines)
    if value is None:
        return "left out" + (f", {manner}" if lines else "")
    truth = row["truth"]
    if case.unmeasured:
        amount = f"modelled, {value / truth[part] - 1.0:+.0%}" if value else "0 J"
        return f"{amount}, {manner}"
    near = _near(value, truth[part]) or (usual_share and _near(value, usual_share * truth[part]))
    if case.unknowable and near:
        return f"as if nothing were, {manner}"
    if _near(value, truth[part]):
        return "right"
    if near:
        return "as on a sound machine"
    if part == "cpu" and figures.get("dram") is not None and figures.get("package") is None:
        return "package left out" + (f", {manner}" if lines else "")
    return f"{_amount(value, truth, part)}, {manner}"


def _near(value: float, expected: float) -> bool:
    return abs(value / expected - 1.0) <= RIGHT


def _value(part: str, figures: Mapping[str, Any]) -> float | None:
    return cpu_joules(figures) if part == "cpu" else figures.get(part)


def _manner(lines: Sequence[str]) -> str:
    if not lines:
        return "silently"
    # greenai prints nothing by itself: its driver prints what stands in its results.
    return "listed" if all(line.startswith("listed as") for line in lines) else "said"


def _amount(value: float, truth: Mapping[str, float], part: str) -> str:
    if value == 0.0:
        return "0 J"
    away = value - truth[part]
    if abs(away) > PHANTOM_J:
        return f"{away / 1000:+.0f} kJ"
    if part == "cpu" and (parts := _sum_of(value, truth)):
        return parts
    return f"{value / truth[part] - 1.0:+.0%}"


def _sum_of(value: float, truth: Mapping[str, float]) -> str:
    """Which parts add up to this, if some do."""
    seconds = truth.get("seconds", 1.0)
    known = {
        "package": truth["package"],
        "DRAM": truth["dram"],
        "psys": truth["package"] + truth["dram"] + PSYS_EXTRA_W * seconds,
        "cores": 0.6 * truth["package"],
    }
    for count in range(1, len(known) + 1):
        for names in itertools.combinations(known, count):
            if abs(value / sum(known[name] for name in names) - 1.0) <= RIGHT / 2:
                return ("only " if count == 1 else "") + " + ".join(names)
    return ""
