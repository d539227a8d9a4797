"""One figure with its interval for each of several names, below each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from greenai_plugins.exporters.pages.blocks import Table
from greenai_plugins.exporters.quantities import UNKNOWN
from greenai_plugins.exporters.svg_text import lines, text

from .axes import Axis, can_be_log, linear, logarithmic
from .picture import Drawing, Key, Picture, colour, how_much, mark, number, point

ACROSS = 440.0
TOP, BOTTOM, ROW = 6.0, 42.0, 44.0
SIZE = 12.0
LEFT, RIGHT = 12.0, 16.0


@dataclass(frozen=True)
class Item:
    """A line of the ranking.

    Attributes:
        name: of it.
        value: its figure; None where it is not known.
        low, high: of its interval; None where it is not known.
        tip: what it tells, in lines.
        series: which of the keys it belongs to.
        modelled: its mark is hollow.
    """

    name: str
    value: float | None
    low: float | None
    high: float | None
    tip: str
    series: int = 0
    modelled: bool = False


@dataclass(frozen=True)
class Ranking:
    """What is drawn.

    Attributes:
        name, title, about, table: see ``Picture``.
        label, unit: of the axis.
        items: in their order.
        keys: names of the series; none where there is one.
        zero: the axis begins at zero.
        reference: a figure that all are compared with, and its margin to either side.
    """

    name: str
    title: str
    about: str
    label: str
    unit: str
    items: tuple[Item, ...]
    keys: tuple[Key, ...] = ()
    zero: bool = True
    reference: tuple[float, float, float] | None = None
    table: Table | None = None


def ranked(ranking: Ranking) -> Picture:
    """The ranking as a picture, with a logarithmic axis too where it helps."""
    values = [v for i in ranking.items for v in (i.value, i.low, i.high) if v is not None]
    values += ranking.reference or ()
    ends = (LEFT, ACROSS - RIGHT)
    axes = [("linear", linear(values, ends, ranking.unit, zero=ranking.zero))]
    if (
        can_be_log([i.value for i in ranking.items if i.value is not None])
        and ranking.reference is None
    ):
        axes.append(("log", logarithmic(values, ends, ranking.unit)))
    variants = tuple((name, _drawing(ranking, axis)) for name, axis in axes)
    modelled = how_much(item.modelled for item in ranking.items if item.value is not None)
    return Picture(
        ranking.name, ranking.title, ranking.about, variants, ranking.keys, ranking.table, modelled
    )


def _drawing(ranking: Ranking, axis: Axis) -> Drawing:
    base = TOP + ROW * len(ranking.items)
    parts = [_frame(ranking, axis, base)]
    if ranking.reference:
        parts.append(_reference(ranking.reference, axis, base))
    for row, item in enumerate(ranking.items):
        y = TOP + ROW * row
        content = [_name(item.name, y), _mark(item, axis, y + 30)]
        parts.append(
            f'<g class="g {colour(item.series)}" data-series="{item.series}">'
            f"{point(item.tip, ''.join(content))}</g>"
        )
    return Drawing(ACROSS, base + BOTTOM, "".join(parts))


def _name(name: str, y: float) -> str:
    shown = lines(name, SIZE, ACROSS - LEFT - RIGHT, 1)
    return text(LEFT - 6, y + 15, SIZE, shown[0] if shown else "", of="halo")


def _mark(item: Item, axis: Axis, y: float) -> str:
    if item.value is None:
        return text(LEFT + 4, y + 4, SIZE, UNKNOWN, of="pale")
    line = ""
    if item.low is not None and item.high is not None:
        left, right = axis.at(item.low), axis.at(item.high)
        ends = f"M{number(left)} {number(y)}H{number(right)}"
        caps = f"M{number(left)} {number(y - 4)}v8M{number(right)} {number(y - 4)}v8"
        line = f'<path class="i" d="{ends}{caps}"/>'
    return line + mark(axis.at(item.value), y, item.series, item.modelled)


def _frame(ranking: Ranking, axis: Axis, base: float) -> str:
    ticks = _apart(axis)
    grid = "".join(f"M{number(axis.at(t))} {TOP:g}V{number(base)}" for t in ticks)
    unit = axis.unit(ranking.unit)
    label = f"{ranking.label}, {unit}" if unit else ranking.label
    parts = [
        f'<path class="gr-rule" d="{grid}"/>',
        f'<path class="gr-axis" d="M{LEFT:g} {number(base)}H{ACROSS - RIGHT:g}"/>',
        text(ACROSS - RIGHT, base + 36, SIZE, label, more='text-anchor="end"'),
    ]
    parts += [
        text(axis.at(t), base + 17, SIZE, axis.label(t), of="pale", more='text-anchor="middle"')
        for t in ticks
    ]
    return "".join(parts)


def _apart(axis: Axis) -> Sequence[float]:
    kept: list[float] = []
    for tick in axis.ticks:
        room = 8 * (len(axis.label(tick)) + 1)
        if not kept or axis.at(tick) - axis.at(kept[-1]) >= room:
            kept.append(tick)
    return kept


def _reference(reference: tuple[float, float, float], axis: Axis, base: float) -> str:
    value, low, high = reference
    left, right = axis.at(low), axis.at(high)
    return (
        f'<rect class="gr-band" x="{number(left)}" y="{TOP:g}" '
        f'width="{number(max(right - left, 1))}" height="{number(base - TOP)}"/>'
        f'<path class="gr-break" d="M{number(axis.at(value))} {TOP:g}V{number(base)}"/>'
    )
