"""Energy by layer for people: what does not add up first, then the layers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from greenai_core.channels import MODELLED
from greenai_core.layer_results import TIME, LayerEnergy, LayersResult
from greenai_core.results import Figure, Report

from . import figures, output
from .sensors import NO_SENSOR

UNIT = {"inference": "inference", "training": "training step"}

INDENT = "  "

FIGURES = (2, 3, 4, 5, 6)
"""Columns of numbers, that stay on one line."""

BELOW = "<"
"""Before the upper limit of what is too little to be told."""


@dataclass(frozen=True)
class Line:
    """A layer as it is shown, with both passes of training.

    Attributes:
        layer: the layer.
        energy_j: without the layers inside it.
        forward, backward: what both passes of training are; None where there are none.
        seconds, time_share: likewise.
        modelled: whether it goes by its time.
        macs: multiply-accumulates of the forward pass.
    """

    layer: LayerEnergy
    energy_j: float | None
    half_j: float
    forward: LayerEnergy | None
    backward: LayerEnergy | None
    time_share: float | None
    calls: int
    modelled: bool
    macs: int | None


def text(report: Report, top: int, tree: bool) -> str:
    """The results of a report.

    Args:
        report: of the kind ``layers``.
        top: layers to show where they are sorted.
        tree: all of them in the order of the model, with subtotals.
    """
    results = [result for result in report.results if isinstance(result, LayersResult)]
    if not results:
        return "No model was measured."
    return "\n\n".join("\n\n".join(_result(result, top, tree)) for result in results)


def _result(result: LayersResult, top: int, tree: bool) -> list[str]:
    lines = _lines(result)
    parts = [_head(result)]
    if not any(line.time_share for line in lines):
        return parts  # it was interrupted before layers were timed
    if tree:
        parts.append(_tree(result, lines))
    else:
        parts.append(_sorted(result, lines, top))
        subtotals = _subtotals(result, top)
        parts += [subtotals] if subtotals else []
    parts += [output.paragraph(words) for words in _legend(result, lines)]
    return parts


# What comes first


def _head(result: LayersResult) -> str:
    name = Path(result.model.path).name or result.model.path
    unit = UNIT.get(result.phase, result.phase)
    told = [f"{name}, one {unit} of {result.model.batch_size} on {result.model.device}"]
    if result.energy_j is None:
        told.append(f"energy unknown, {figures.quantity(result.latency_s.value, 's')}")
    else:
        told.append(
            f"{figures.spread(result.energy_j, 'J')}, "
            f"{figures.quantity(result.latency_s.value, 's')}"
        )
    head = f"{': '.join(told)}."
    return "\n".join([output.paragraph(head), output.paragraph(residual(result))])


def residual(result: LayersResult) -> str:
    """How far the rows are from the whole, and what to make of it."""
    left, share = result.residual_j, result.residual_share
    if result.energy_j is None:
        return "Residual: unknown, since the energy of the pass is."
    if result.unattributed_j is None:
        return "Residual: unknown, since no layer was timed."
    if left is None or share is None:
        return "Residual: none, since all layers go by their time."
    half = left.repeat_high - left.value
    side = "less" if left.value >= 0 else "more"
    said = (
        f"Residual: the rows come to {figures.quantity(abs(left.value), 'J')} "
        f"({abs(share):.1%}) {side} than the whole; its uncertainty is ± "
        f"{figures.quantity(half, 'J', 2)}."
    )
    if not result.residual_flagged:
        return f"{said} It is spread over the rows by their uncertainties."
    return (
        f"{said} That is too much to be chance, or more than 5 %: take the figures of layers as "
        "rough. Let nothing else run meanwhile, give --layer-time more seconds, or more layers a "
        "measurement with --top."
    )


# Tables


def _lines(result: LayersResult) -> list[Line]:
    passes: dict[str, dict[str, LayerEnergy]] = {}
    for layer in result.layers:
        if layer.direction and layer.parent is not None:
            passes.setdefault(layer.parent, {})[layer.direction] = layer
    return [
        _line(layer, passes.get(layer.name, {})) for layer in result.layers if not layer.direction
    ]


def _line(layer: LayerEnergy, passes: Mapping[str, LayerEnergy]) -> Line:
    parts = [layer, *passes.values()]
    forward, backward = passes.get("forward"), passes.get("backward")
    shares = [part.time_share for part in parts if part.time_share is not None]
    told = [part for part in parts if part.energy_j is not None and _is_there(part)]
    halves = [part.energy_j.repeat_high - part.energy_j.value for part in told if part.energy_j]
    return Line(
        layer=layer,
        energy_j=_sum([part.energy_j for part in parts]),
        half_j=math.hypot(*halves),
        forward=forward,
        backward=backward,
        time_share=math.fsum(shares) if shares else None,
        calls=forward.calls if forward else layer.calls,
        modelled=any(part.method == TIME for part in told),
        macs=forward.macs if forward else layer.macs,
    )


def _is_there(layer: LayerEnergy) -> bool:
    """Whether it takes part in the pass."""
    return bool(layer.calls or layer.seconds or (layer.energy_j and layer.energy_j.value))


def _sum(parts: Iterable[Figure | None]) -> float | None:
    known = list(parts)
    values = [figure.value for figure in known if figure is not None]
    return math.fsum(values) if len(values) == len(known) else None


def _sorted(result: LayersResult, lines: Sequence[Line], top: int) -> str:
    ordered = sorted(lines, key=_cost, reverse=True)
    there = [line for line in ordered if line.energy_j or line.time_share]
    containers = {layer.parent for layer in result.layers if not layer.direction}
    rows = []
    for line in there[:top]:
        own = " (itself)" if line.layer.name in containers else ""
        rows.append(_cells(result, line, output.one_line(line.layer.name) + own))
    rest = there[top:]
    if rest:
        rows.append(_others(result, rest))
    rows += _outside(result)
    return output.table(_headers(result), rows, right=(2, 3), whole=FIGURES)


def _cost(line: Line) -> float:
    """Of all lines joules or, where the energy of the pass is unknown, of all the time."""
    return (line.time_share or 0.0) if line.energy_j is None else line.energy_j


def _headers(result: LayersResult) -> tuple[str, ...]:
    last = ("forward", "backward") if result.phase == "training" else ("a MAC",)
    return ("layer", "type", "calls", "time", "one step" if len(last) > 1 else "one pass", *last)


def _cells(result: LayersResult, line: Line, name: str) -> tuple[str, ...]:
    return (
        name,
        output.one_line(line.layer.type),
        str(line.calls),
        _percent(line.time_share),
        _energy(line.energy_j, line.half_j, line.modelled),
        *_last(result, line),
    )


def _last(result: LayersResult, line: Line) -> tuple[str, ...]:
    if result.phase == "training":
        return tuple(map(_direction, (line.forward, line.backward)))
    if line.energy_j is None or not line.macs or _is_below(line):
        return ("",)
    return (_mark(line.modelled) + _joules(line.energy_j / line.macs),)


def _direction(part: LayerEnergy | None) -> str:
    """What one pass of training takes, as sure as the row: marks, and upper limits."""
    if part is None or part.energy_j is None or not _is_there(part):
        return ""
    figure, modelled = part.energy_j, part.method == TIME
    half = figure.repeat_high - figure.value
    if _untold(figure.value, half, modelled):
        return _limit(figure.value + half, modelled)
    return _mark(modelled) + _joules(figure.value)


def _others(result: LayersResult, lines: Sequence[Line]) -> tuple[str, ...]:
    joules = [line.energy_j for line in lines if line.energy_j is not None]
    energy = math.fsum(joules) if len(joules) == len(lines) else None
    half = math.hypot(*(line.half_j for line in lines))
    share = math.fsum(line.time_share or 0.0 for line in lines)
    empty = ("",) * len(_last(result, lines[0]))
    modelled = any(line.modelled for line in lines)
    return (
        f"{len(lines)} others",
        "",
        "",
        _percent(share),
        _energy(energy, half, modelled),
        *empty,
    )


def _outside(result: LayersResult) -> list[tuple[str, ...]]:
    empty = ("",) * (len(_headers(result)) - 5)
    return [
        (name, "", "", "", _figure(figure, modelled=True), *empty)
        for name, figure in (
            ("unattributed", result.unattributed_j),
            ("overhead", result.overhead_j),
        )
    ] + [("sum", "", "", "", figures.spread(result.energy_j, "J"), *empty)]


def _subtotals(result: LayersResult, top: int) -> str:
    """Modules with others inside, with all that is in them."""
    containers = {layer.parent for layer in result.layers if not layer.direction}
    found = [
        layer
        for layer in result.layers
        if layer.name in containers and layer.with_parts_j is not None
    ]
    found.sort(key=lambda layer: -(layer.with_parts_j.value if layer.with_parts_j else 0.0))
    if not found:
        return ""
    by_time = _by_time(result)
    rows = [
        (
            output.one_line(layer.name),
            output.one_line(layer.type),
            _figure(layer.with_parts_j, modelled=layer.name in by_time),
        )
        for layer in found[:top]
    ]
    return output.table(("with all inside", "type", "subtotal"), rows)


def _by_time(result: LayersResult) -> set[str]:
    """The layers that go by their time, and those that hold such layers."""
    parents = {layer.name: layer.parent for layer in result.layers}
    found: set[str] = set()
    for layer in result.layers:
        if layer.method == TIME and layer.energy_j is not None and layer.energy_j.value:
            at: str | None = layer.name
            while at is not None and at not in found:
                found.add(at)
                at = parents.get(at)
    return found


def _tree(result: LayersResult, lines: Sequence[Line]) -> str:
    containers = {layer.parent for layer in result.layers if not layer.direction}
    by_time = _by_time(result)
    depth: dict[str, int] = {}
    rows = []
    for line in lines:
        layer = line.layer
        depth[layer.name] = 0 if layer.parent is None else depth.get(layer.parent, 0) + 1
        short = layer.name
        if layer.parent is not None:
            short = layer.name.removeprefix(f"{layer.parent}.")
        short = INDENT * depth[layer.name] + output.one_line(short)
        cells = list(_cells(result, line, short))
        if layer.name in containers:
            cells[4] = _figure(layer.with_parts_j, modelled=layer.name in by_time)
            cells[3] = ""
            cells[5:] = [""] * len(cells[5:])
        rows.append(tuple(cells))
    rows += _outside(result)
    return output.table(_headers(result), rows, right=(2, 3), whole=FIGURES)


# Cells


def _figure(figure: Figure | None, *, modelled: bool) -> str:
    if figure is None:
        return figures.UNKNOWN
    return _energy(figure.value, figure.repeat_high - figure.value, modelled)


def _energy(value: float | None, half: float, modelled: bool) -> str:
    if value is None:
        return figures.UNKNOWN
    if _untold(value, half, modelled) and value + half > 0:
        return _limit(value + half, modelled)
    if not value:
        return f"{_mark(modelled)}0 J"
    return f"{_mark(modelled)}{_joules(value)} ± {figures.percent(half / abs(value))}"


def _mark(modelled: bool) -> str:
    return "~" if modelled else ""


def _limit(most: float, modelled: bool) -> str:
    return f"{_mark(modelled)}{BELOW} {figures.quantity(most, 'J', 2)}"


def _untold(value: float, half: float, modelled: bool) -> bool:
    """Whether nothing but an upper limit is known: the interval reaches down to nothing.

    What goes by its time has a value all the same, unless closing left nothing of it.
    """
    return half > 0 and (value <= 0 if modelled else value <= half)


def _is_below(line: Line) -> bool:
    return line.energy_j is not None and _untold(line.energy_j, line.half_j, line.modelled)


def _directions_below(line: Line) -> bool:
    return any(BELOW in _direction(part) for part in (line.forward, line.backward))


def _joules(value: float) -> str:
    return figures.quantity(value, "J")


def _percent(share: float | None) -> str:
    if share is None:
        return figures.UNKNOWN
    return f"{share:.1%}" if abs(share) < 0.1 else f"{share:.0%}"


def _legend(result: LayersResult, lines: Sequence[Line]) -> list[str]:
    said = []
    if result.energy_j is not None:
        said.append(
            "~: modelled. It goes by its time at the mean power (in a sum: a part of it); no "
            "layer was measured for it."
        )
    if result.energy_j is not None and result.energy_j.method == MODELLED:
        said.append(NO_SENSOR)
    if any(_is_below(line) or _directions_below(line) for line in lines):
        said.append(
            f"{BELOW}: too little to be told, at most so much; a longer --layer-time tells more."
        )
    reasons: dict[str, list[str]] = {}
    for line in lines:
        for warning in line.layer.warnings:
            reasons.setdefault(output.one_line(warning), []).append(
                output.one_line(line.layer.name)
            )
    said += [f"{', '.join(names)}: {warning}." for warning, names in reasons.items()]
    cost = result.hook_cost
    if cost is not None and cost.share > 0:
        said.append(f"Watching the layers made a pass {cost.share:.1%} longer; that was taken off.")
    said.append("± is repeatability, made wider by what the rows were short of the whole.")
    return said
