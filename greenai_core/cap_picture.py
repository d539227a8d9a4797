"""The curves of a search for the best cap, as a picture (SVG) and as a table (CSV)."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from .cap_results import CapPoint, CapProbe, CapResult

WIDTH, HEIGHT = 960, 400
TOP, BOTTOM, GAP, MARGIN = 64, 330, 74, 62
PANELS = 3
BLUE, ORANGE, GREY, GREEN = "#2b6cb0", "#c05621", "#718096", "#2f855a"

COLUMNS = (
    "role", "asked", "cap", "start_s", "duration_s", "steps", "seconds_s", "energy_j", "power_w",
    "note",
)  # fmt: skip

Pair = tuple[float, float]


def probes_csv(probes: Sequence[CapProbe]) -> str:
    """The probes as CSV with a header line; units stand in the names, caps are in the result's."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for probe in probes:
        writer.writerow([getattr(probe, column) for column in COLUMNS])
    return text.getvalue()


@dataclass(frozen=True)
class Panel:
    """One diagram: where it is, and what its axes show."""

    left: float
    right: float
    x: Pair
    y: Pair

    def at(self, x: float, y: float) -> Pair:
        """Where a point is on the paper."""
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        return self.left + across * (self.right - self.left), BOTTOM - up * (BOTTOM - TOP)


def picture(result: CapResult) -> str:
    """Time and energy of a step against the cap, and against each other, as SVG.

    Dots are probes, lines the curves, the ring is the chosen cap; the thick part of the
    third diagram is the Pareto front.
    """
    unit = result.unit
    cap: Callable[[CapPoint | CapProbe], float] = lambda p: p.cap  # noqa: E731  # one of three
    seconds: Callable[[CapPoint | CapProbe], float] = lambda p: p.seconds_s  # noqa: E731
    joules: Callable[[CapPoint | CapProbe], float] = lambda p: p.energy_j  # noqa: E731
    panels = [
        _panel(0, result, cap, seconds, f"cap ({unit})", "time of a step (s)"),
        _panel(1, result, cap, joules, f"cap ({unit})", "energy of a step (J)"),
        _panel(2, result, seconds, joules, "time of a step (s)", "energy of a step (J)"),
    ]
    title = f"{', '.join(result.devices)}: {result.objective}"
    chosen = f"{result.chosen:g} {unit}" + (" (the original)" if result.kept_original else "")
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
            f'width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="12">',
            f"<title>{escape(title)}</title>",
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
            _text(MARGIN, 22, title, size=14, weight="bold"),
            _text(MARGIN, 40, f"chosen: {chosen}. {result.reason}", fill=GREY),
            *panels,
            _text(
                MARGIN,
                HEIGHT - 6,
                "dots: probes; line: the curve; ring: the chosen cap; thick: Pareto front",
                size=11,
                fill=GREY,
            ),
            "</svg>",
            "",
        ]
    )


def _panel(
    number: int,
    result: CapResult,
    across: Callable[[CapPoint | CapProbe], float],
    up: Callable[[CapPoint | CapProbe], float],
    x_name: str,
    y_name: str,
) -> str:
    used = [probe for probe in result.probes if probe.role != "pilot"] or list(result.probes)
    everything: list[CapPoint | CapProbe] = [*used, *result.curve]
    width = (WIDTH - 2 * MARGIN - (PANELS - 1) * GAP) / PANELS
    left = MARGIN + number * (width + GAP)
    x = _ends([across(one) for one in everything])
    y = _ends([up(one) for one in everything])
    panel = Panel(left, left + width, x, y)
    parts = [_axes(panel, x_name, y_name)]
    if result.curve:
        parts.append(_line(panel, [(across(p), up(p)) for p in result.curve], GREY, 1.5))
        if number == PANELS - 1:
            parts.append(_line(panel, [(across(p), up(p)) for p in result.pareto], GREEN, 4))
        nearest = min(result.curve, key=lambda point: abs(point.cap - result.chosen))
        cx, cy = panel.at(across(nearest), up(nearest))
        parts.append(
            f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="9" fill="none" stroke="{ORANGE}" '
            'stroke-width="3"/>'
        )
    for probe in used:
        px, py = panel.at(across(probe), up(probe))
        said = f"{probe.cap:g} {result.unit}: {probe.seconds_s:.4g} s, {probe.energy_j:.4g} J"
        parts.append(
            f'<circle cx="{px:.1f}" cy="{py:.1f}" r="4" fill="{BLUE}">'
            f"<title>{escape(said)}</title></circle>"
        )
    return "\n".join(parts)


def _ends(values: Sequence[float]) -> Pair:
    low, high = min(values), max(values)
    room = 0.06 * (high - low) or 0.06 * abs(high) or 1.0
    return low - room, high + room


def _axes(panel: Panel, x_name: str, y_name: str) -> str:
    parts = [
        f'<path d="M{panel.left:.1f},{TOP} V{BOTTOM} H{panel.right:.1f}" fill="none" '
        f'stroke="{GREY}"/>',
        _text((panel.left + panel.right) / 2, BOTTOM + 38, x_name, anchor="middle"),
        _text(panel.left, TOP - 8, y_name),
    ]
    for share in (0.1, 0.5, 0.9):
        value = panel.x[0] + share * (panel.x[1] - panel.x[0])
        at, _ = panel.at(value, panel.y[0])
        parts.append(_text(at, BOTTOM + 18, f"{value:.3g}", fill=GREY, anchor="middle"))
        value = panel.y[0] + share * (panel.y[1] - panel.y[0])
        _, at = panel.at(panel.x[0], value)
        parts.append(_text(panel.left - 6, at + 4, f"{value:.3g}", fill=GREY, anchor="end"))
    return "\n".join(parts)


def _line(panel: Panel, points: Sequence[Pair], colour: str, width: float) -> str:
    path = " ".join("{:.1f},{:.1f}".format(*panel.at(*point)) for point in points)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"/>'


def _text(
    x: float,
    y: float,
    text: str,
    *,
    size: int = 12,
    weight: str = "normal",
    fill: str = "#1a202c",
    anchor: str = "start",
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" fill="{fill}" '
        f'text-anchor="{anchor}">{escape(text)}</text>'
    )
