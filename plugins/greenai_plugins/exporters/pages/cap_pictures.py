"""The curves of a search for the best cap: against the cap, and against each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from greenai_core import CapPoint, CapProbe, CapResult
from greenai_plugins.exporters.pictures.chart import (
    Break,
    Chart,
    Point,
    Scaled,
    Series,
    below,
    drawn,
)
from greenai_plugins.exporters.pictures.picture import Picture
from greenai_plugins.exporters.quantities import MODELLED, Quantity, percent, repeatable, written

from .blocks import Cell, Table

MARKED = 7
"""Points of the Pareto front that tell their figures; the line goes through all of them."""

Figures = tuple[float, float | None, float | None]
"""A value with the ends of its interval."""

Of = Callable[[CapPoint | CapProbe], Figures]


def pictures(result: CapResult) -> list[Picture]:
    """What can be drawn: both curves over the cap, and energy over time."""
    if len({probe.cap for probe in result.probes}) < 2:
        return []
    return [_curves(result), _front(result)]


def _cap(one: CapPoint | CapProbe) -> Figures:
    return one.cap, None, None


def _seconds(one: CapPoint | CapProbe) -> Figures:
    return _figures(one, "seconds_s")


def _joules(one: CapPoint | CapProbe) -> Figures:
    return _figures(one, "energy_j")


def _figures(one: CapPoint | CapProbe, name: str) -> Figures:
    found = getattr(one, name)
    if isinstance(one, CapPoint):
        return found, None, None
    return found.value, found.repeat_low, found.repeat_high


def _curves(result: CapResult) -> Picture:
    """Time and energy of a step against the cap, one below the other."""
    clocks = result.unit == "MHz"
    across = Scaled(f"{'clock limit' if clocks else 'cap'}, {result.unit}", zero=False, log=False)
    about = (
        "Marks with bars are probes with their 95 % intervals of repeatability, dashed lines the "
        "curves fitted to them, the broad line the Pareto front: caps that no other beats in both "
        "time and energy; the upright line is the cap that is chosen."
        if result.curve
        else "Marks with bars are probes with their 95 % intervals of repeatability."
    )
    words = "the limit of before stays" if result.kept_original else "chosen"
    breaks = (Break(result.chosen, None, None, f"{result.chosen:g} {result.unit}: {words}"),)
    charts = [
        Chart(
            "cap-curves", _title(result, "Time and energy of a step"), about, across,
            Scaled("time of a step", "s", zero=False, log=False),
            _series(result, _cap, _seconds), breaks, table=_table(result),
        ),
        Chart(
            "cap-curves", "", about, across,
            Scaled("energy of a step", "J", zero=False, log=False),
            _series(result, _cap, _joules), breaks,
        ),
    ]  # fmt: skip
    return below(charts)


def _front(result: CapResult) -> Picture:
    """Energy of a step against its time."""
    about = (
        "Each cap is a place: faster to the left, less energy below. The broad line is the "
        "Pareto front; what lies above and to the right of it is beaten."
        if result.curve
        else "Each probe is a place: faster to the left, less energy below."
    )
    return drawn(
        Chart(
            "cap-front", _title(result, "Energy against time"), about,
            Scaled("time of a step", "s", zero=False, log=False),
            Scaled("energy of a step", "J", zero=False, log=False),
            _series(result, _seconds, _joules), table=_pareto(result),
        )
    )  # fmt: skip


def _title(result: CapResult, before: str) -> str:
    chosen = f"{result.chosen:g} {result.unit}"
    return f"{before}: {chosen}" + (", as it was" if result.kept_original else " is best")


def _series(result: CapResult, x: Of, y: Of) -> tuple[Series, ...]:
    """The Pareto front, the probes and their curve, the cap of before and the chosen one."""
    made = []
    front = result.pareto
    if front:
        step = max(1, -(-len(front) // MARKED))
        points = tuple(_point(one, x, y, result) for one in front[::step])
        line = tuple((x(one)[0], y(one)[0]) for one in front)
        made.append(Series("Pareto front", points, broad=line, joined=False, dense=True))
    curve = tuple((x(one)[0], y(one)[0]) for one in result.curve)
    probed = sorted((_point(one, x, y, result) for one in result.probes), key=lambda p: p.x)
    name = "probes, and the curve" if curve else "probes"
    made.append(Series(name, tuple(probed), joined=False, fits=(curve,) if curve else ()))
    if result.curve:
        before = result.curve[-1]
        marked = [(f"{before.cap:g} {result.unit}, as before", before)]
        if not result.kept_original and result.chosen_point is not None:
            chosen = result.chosen_point
            marked.append((f"{chosen.cap:g} {result.unit}, chosen", chosen))
        made += [Series(words, (_point(one, x, y, result),), joined=False) for words, one in marked]
    return tuple(made)


def _point(one: CapPoint | CapProbe, x: Of, y: Of, result: CapResult) -> Point:
    across, left, right = x(one)
    up, low, high = y(one)
    modelled = y is _joules and any(MODELLED in p.energy_j.method for p in result.probes)
    return Point(across, up, _tip(one, result), low, high, left, right, modelled=modelled)


def _tip(one: CapPoint | CapProbe, result: CapResult) -> str:
    lines = [f"{one.cap:g} {result.unit}"]
    if isinstance(one, CapPoint):
        seconds, joules = Quantity(one.seconds_s, unit="s"), Quantity(one.energy_j, unit="J")
        lines[0] += ", on the curve"
    else:
        seconds, joules = repeatable(one.seconds_s, "s"), repeatable(one.energy_j, "J")
        lines[0] += f", {one.role} probe"
    lines += [f"{written(seconds)} a step", f"{written(joules)} a step"]
    if isinstance(one, CapPoint) and one.score is not None and result.objective:
        lines.append(f"{result.objective}: {percent(one.score)} of that before")
    return "\n".join(lines)


HEAD = ("cap", "time of a step", "energy of a step", "power", "objective over that before")


def _table(result: CapResult) -> Table | None:
    """The curve at about a dozen caps."""
    return _of_curve("The curves", result.curve[:: max(1, len(result.curve) // 10)], result)


def _pareto(result: CapResult) -> Table | None:
    step = max(1, len(result.pareto) // 10)
    return _of_curve("The Pareto front, fastest first", result.pareto[::step], result)


def _of_curve(caption: str, points: Sequence[CapPoint], result: CapResult) -> Table | None:
    if not points:
        return None
    rows: list[tuple[Cell, ...]] = [
        (
            f"{one.cap:g} {result.unit}",
            Quantity(one.seconds_s, unit="s"),
            Quantity(one.energy_j, unit="J"),
            Quantity(one.power_w, unit="W"),
            "too slow" if one.score is None else f"{one.score:.3f}",
        )
        for one in points
    ]
    return Table(f"{caption}, fitted to the probes", HEAD, tuple(rows))
