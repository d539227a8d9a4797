"""Points and lines over two axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from greenai_plugins.exporters.pages.blocks import Table
from greenai_plugins.exporters.svg_text import text

from .axes import Axis, can_be_log, linear, logarithmic
from .picture import Drawing, Key, Picture, colour, how_much, mark, number, point

ACROSS, DOWN = 440.0, 300.0
LEFT, RIGHT, TOP, BOTTOM = 56.0, 10.0, 26.0, 44.0
FURTHEST = 30.0
"""How far below the least figure a logarithmic axis goes for the sake of an interval."""

SIZE = 12.0
"""Of the font; a phone shows 440 units on about 366 pixels."""


@dataclass(frozen=True)
class Point:
    """A figure at a place.

    Attributes:
        x, y: of the figure.
        tip: what it tells, in lines.
        low, high: ends of the interval of ``y``; None where it is not known.
        x_low, x_high: likewise of ``x``.
        runs: what single runs gave at the same ``x``.
        modelled: its mark is hollow.
    """

    x: float
    y: float
    tip: str
    low: float | None = None
    high: float | None = None
    x_low: float | None = None
    x_high: float | None = None
    runs: tuple[float, ...] = ()
    modelled: bool = False


@dataclass(frozen=True)
class Series:
    """Figures that belong together.

    Attributes:
        name: in the legend.
        points: in the order of ``x``.
        joined: a line leads from each to the next.
        fits: pieces of a curve that was fitted to them.
        area: ``x``, lower and upper end of a band.
        dense: the points are too many for marks; they are a line alone.
        broad: places of a broad pale line behind all else.
    """

    name: str
    points: tuple[Point, ...]
    joined: bool = True
    fits: tuple[tuple[tuple[float, float], ...], ...] = ()
    area: tuple[tuple[float, float, float], ...] = ()
    dense: bool = False
    broad: tuple[tuple[float, float], ...] = ()

    @property
    def modelled(self) -> bool:
        """Whether all of it is computed."""
        return bool(self.points) and all(p.modelled for p in self.points)


@dataclass(frozen=True)
class Break:
    """An instant or a size at which something changes.

    Attributes:
        at: place on the axis of ``x``.
        low, high: its interval; None where it is not known.
        label: in words.
    """

    at: float
    low: float | None
    high: float | None
    label: str


@dataclass(frozen=True)
class Scaled:
    """What an axis is of.

    Attributes:
        label: what.
        unit: without a prefix; empty for none.
        zero: a linear axis begins at zero.
        log: a logarithmic one may be chosen.
    """

    label: str
    unit: str = ""
    zero: bool = True
    log: bool = True


@dataclass(frozen=True)
class Chart:
    """What is drawn. See ``Picture`` for the names; ``level`` is a line across, with a band."""

    name: str
    title: str
    about: str
    x: Scaled
    y: Scaled
    series: tuple[Series, ...]
    breaks: tuple[Break, ...] = ()
    table: Table | None = None
    level: Break | None = None


def drawn(chart: Chart) -> Picture:
    """The chart as a picture, with logarithmic axes too where they help."""
    xs, ys = _values(chart)
    variants = [("linear", _drawing(chart, xs, ys, (False, False)))]
    x_log = chart.x.log and can_be_log(xs)
    seen = [p.y for one in chart.series for p in one.points]
    if chart.y.log and can_be_log(seen):
        # An interval that reaches zero ends at the axis, and does not stretch it.
        ys = [y for y in ys if y >= min(seen) / FURTHEST]
        variants.append(("log", _drawing(chart, xs, ys, (x_log, True))))
    keys = tuple(Key(one.name, i, one.modelled) for i, one in enumerate(chart.series))
    modelled = how_much(p.modelled for one in chart.series for p in one.points)
    return Picture(
        chart.name, chart.title, chart.about, tuple(variants), keys, chart.table, modelled
    )


def below(charts: Sequence[Chart]) -> Picture:
    """Charts of the same series, one below the other, as one picture with linear axes.

    Args:
        charts: name, title, description, legend and table are those of the first.
    """
    first = drawn(charts[0])
    drawings = [drawn(chart).variants[0][1] for chart in charts]
    body, down = "", 0.0
    for one in drawings:
        body += f'<g transform="translate(0 {number(down)})">{one.body}</g>'
        down += one.down
    modelled = how_much(p.modelled for chart in charts for one in chart.series for p in one.points)
    return replace(first, variants=(("linear", Drawing(ACROSS, down, body)),), modelled=modelled)


def _values(chart: Chart) -> tuple[list[float], list[float]]:
    xs: list[float] = []
    ys: list[float] = []
    if chart.level is not None:
        ys += [v for v in (chart.level.at, chart.level.low, chart.level.high) if v is not None]
    for one in chart.series:
        for p in one.points:
            xs += [v for v in (p.x, p.x_low, p.x_high) if v is not None]
            ys += [v for v in (p.y, p.low, p.high, *p.runs) if v is not None]
        for x, low, high in one.area:
            xs.append(x)
            ys += [low, high]
        ys += [y for piece in one.fits for _, y in piece]
        xs += [x for x, _ in one.broad]
        ys += [y for _, y in one.broad]
    return xs, ys


def _drawing(
    chart: Chart, xs: Sequence[float], ys: Sequence[float], log: tuple[bool, bool]
) -> Drawing:
    across, down = (LEFT, ACROSS - RIGHT), (DOWN - BOTTOM, TOP)
    x = (
        logarithmic(xs, across, chart.x.unit)
        if log[0]
        else linear(xs, across, chart.x.unit, zero=chart.x.zero)
    )
    y = (
        logarithmic(ys, down, chart.y.unit)
        if log[1]
        else linear(ys, down, chart.y.unit, zero=chart.y.zero)
    )
    parts = [_frame(chart, x, y)]
    if chart.level is not None:
        parts.append(_level(chart.level, y))
    parts += [_break(one, x) for one in chart.breaks]
    parts += [_series(one, index, x, y) for index, one in enumerate(chart.series)]
    return Drawing(ACROSS, DOWN, "".join(parts))


def _frame(chart: Chart, x: Axis, y: Axis) -> str:
    grid = "".join(f"M{LEFT:g} {number(y.at(t))}H{ACROSS - RIGHT:g}" for t in y.ticks)
    base = DOWN - BOTTOM
    feet = "".join(f"M{number(x.at(t))} {base:g}v4" for t in x.ticks)
    parts = [
        f'<path class="gr-rule" d="{grid}"/>',
        f'<path class="gr-axis" d="M{LEFT:g} {base:g}H{ACROSS - RIGHT:g}{feet}"/>',
    ]
    parts += [
        text(LEFT - 6, y.at(t) + 4, SIZE, y.label(t), of="pale", more='text-anchor="end"')
        for t in y.ticks
    ]
    parts += [
        text(x.at(t), base + 17, SIZE, x.label(t), of="pale", more='text-anchor="middle"')
        for t in _apart(x)
    ]
    parts.append(text(2, 13, SIZE, _named(chart.y, y)))
    parts.append(text(ACROSS - RIGHT, DOWN - 6, SIZE, _named(chart.x, x), more='text-anchor="end"'))
    return "".join(parts)


def _apart(axis: Axis) -> list[float]:
    """Ticks whose words do not touch."""
    kept: list[float] = []
    for tick in axis.ticks:
        room = 4 * (len(axis.label(tick)) + 1) + (4 * len(axis.label(kept[-1])) if kept else 0)
        if not kept or axis.at(tick) - axis.at(kept[-1]) >= room:
            kept.append(tick)
    return kept


def _named(scaled: Scaled, axis: Axis) -> str:
    unit = axis.unit(scaled.unit)
    return f"{scaled.label}, {unit}" if unit else scaled.label


def _break(one: Break, x: Axis) -> str:
    at = x.at(one.at)
    parts = []
    if one.low is not None and one.high is not None:
        left, right = x.at(one.low), x.at(one.high)
        parts.append(
            f'<rect class="gr-band" x="{number(left)}" y="{TOP:g}" '
            f'width="{number(max(right - left, 1))}" height="{DOWN - BOTTOM - TOP:g}"/>'
        )
    parts.append(f'<path class="gr-break" d="M{number(at)} {TOP:g}V{DOWN - BOTTOM:g}"/>')
    return point(one.label, "".join(parts))


def _level(one: Break, y: Axis) -> str:
    band = ""
    if one.low is not None and one.high is not None:
        top, base = y.at(one.high), y.at(one.low)
        band = (
            f'<rect class="gr-band" x="{LEFT:g}" y="{number(top)}" '
            f'width="{ACROSS - RIGHT - LEFT:g}" height="{number(max(base - top, 1))}"/>'
        )
    return f'{band}<path class="gr-break" d="M{LEFT:g} {number(y.at(one.at))}H{ACROSS - RIGHT:g}"/>'


def _series(one: Series, index: int, x: Axis, y: Axis) -> str:
    parts = []
    if one.area:
        upper = " ".join(f"{number(x.at(a))},{number(y.at(c))}" for a, _, c in one.area)
        lower = " ".join(f"{number(x.at(a))},{number(y.at(b))}" for a, b, _ in reversed(one.area))
        parts.append(f'<polygon class="a" points="{upper} {lower}"/>')
    if one.broad:
        parts.append(f'<path class="w" d="{_line(one.broad, x, y)}"/>')
    if one.joined and len(one.points) > 1 and not one.fits:
        parts.append(f'<path class="l" d="{_line([(p.x, p.y) for p in one.points], x, y)}"/>')
    if one.fits:
        curve = "".join(_line(piece, x, y) for piece in one.fits)
        parts.append(f'<path class="f" d="{curve}"/>')
    places = (f"M{number(x.at(p.x))} {number(y.at(run))}h0" for p in one.points for run in p.runs)
    dots = "".join(dict.fromkeys(places))
    if dots:
        parts.append(f'<path class="d" d="{dots}"/>')
    parts += [_point(p, index, x, y, one.dense) for p in one.points]
    modelled = " n" if one.modelled else ""
    return f'<g class="g {colour(index)}{modelled}" data-series="{index}">{"".join(parts)}</g>'


def _line(places: Sequence[tuple[float, float]], x: Axis, y: Axis) -> str:
    return "M" + "L".join(f"{number(x.at(a))} {number(y.at(b))}" for a, b in places)


def _point(p: Point, index: int, x: Axis, y: Axis, dense: bool) -> str:
    left, up = x.at(p.x), y.at(p.y)
    if dense:
        dot = f'<path class="q" d="M{number(left)} {number(up)}h0"/>'
        return point(p.tip, dot)
    reach = ""
    if p.low is not None and p.high is not None:
        reach += f"M{number(left)} {number(y.at(p.low))}V{number(y.at(p.high))}"
    if p.x_low is not None and p.x_high is not None:
        reach += f"M{number(x.at(p.x_low))} {number(up)}H{number(x.at(p.x_high))}"
    line = f'<path class="i" d="{reach}"/>' if reach else ""
    return point(p.tip, line + mark(left, up, index, p.modelled))
