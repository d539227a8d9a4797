"""Bars of parts that add up: the channels of a total."""

from __future__ import annotations

from dataclasses import dataclass

from greenai_plugins.exporters.pages.blocks import Table
from greenai_plugins.exporters.svg_text import lines, text

from .axes import Axis, linear
from .picture import Drawing, Key, Picture, colour, how_much, number, point

ACROSS = 440.0
TOP, BOTTOM, ROW, THICK = 6.0, 42.0, 46.0, 16.0
SIZE = 12.0
LEFT, RIGHT = 8.0, 16.0


@dataclass(frozen=True)
class Part:
    """A piece of a bar: the series that it belongs to, its size, what it tells."""

    series: int
    value: float
    tip: str
    modelled: bool = False


@dataclass(frozen=True)
class Bar:
    """Parts of one thing; they are drawn after each other."""

    name: str
    parts: tuple[Part, ...]


def stacked(
    heading: tuple[str, str, str],
    label: str,
    bars: tuple[Bar, ...],
    keys: tuple[Key, ...],
    table: Table | None = None,
    unit: str = "J",
) -> Picture:
    """Bars as a picture.

    Args:
        heading: name, title and description of the picture.
        label: of the axis.
        bars: below each other.
        keys: names of the series.
        table: the figures behind it.
        unit: of the axis, without a prefix.
    """
    name, title, about = heading
    longest = [sum(max(p.value, 0.0) for p in bar.parts) for bar in bars]
    axis = linear(longest, (LEFT, ACROSS - RIGHT), unit, zero=True)
    base = TOP + ROW * len(bars)
    body = [_frame(axis, base, label, unit)]
    body += [_bar(bar, axis, TOP + ROW * row) for row, bar in enumerate(bars)]
    drawing = Drawing(ACROSS, base + BOTTOM, "".join(body))
    modelled = how_much(part.modelled for bar in bars for part in bar.parts)
    return Picture(name, title, about, (("linear", drawing),), keys, table, modelled)


def _bar(bar: Bar, axis: Axis, y: float) -> str:
    shown = lines(bar.name, SIZE, ACROSS - LEFT - RIGHT, 1)
    out = [text(LEFT, y + 15, SIZE, shown[0] if shown else "")]
    reached = 0.0
    for part in bar.parts:
        left, right = axis.at(reached), axis.at(reached + max(part.value, 0.0))
        reached += max(part.value, 0.0)
        kind = "o" if part.modelled else "b"
        box = (
            f'<rect class="{kind}" x="{number(left)}" y="{number(y + 21)}" '
            f'width="{number(max(right - left, 0.5))}" height="{THICK:g}"/>'
        )
        out.append(
            f'<g class="g {colour(part.series)}" data-series="{part.series}">'
            f"{point(part.tip, box)}</g>"
        )
    return "".join(out)


def _frame(axis: Axis, base: float, label: str, unit: str) -> str:
    grid = "".join(f"M{number(axis.at(t))} {TOP:g}V{number(base)}" for t in axis.ticks)
    named = f"{label}, {axis.unit(unit)}" if axis.unit(unit) else label
    parts = [
        f'<path class="gr-rule" d="{grid}"/>',
        text(ACROSS - RIGHT, base + 36, SIZE, named, more='text-anchor="end"'),
    ]
    parts += [
        text(axis.at(t), base + 17, SIZE, axis.label(t), of="pale", more='text-anchor="middle"')
        for t in axis.ticks
    ]
    return "".join(parts)
