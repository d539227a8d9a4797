"""Reports of layers: what does not add up first, then where the joules go."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from greenai_core import Figure, LayerEnergy, LayersResult, Report, ReportSource
from greenai_plugins.exporters.pictures.icicle import Piece, icicle
from greenai_plugins.exporters.pictures.picture import Key, Picture
from greenai_plugins.exporters.pictures.ranking import Item, Ranking, ranked
from greenai_plugins.exporters.quantities import (
    MODELLED,
    Quantity,
    of_figure,
    percent,
    written,
)

from .blocks import Block, Cell, Code, Notes, Pictures, Section, Table

MOST_BARS = 15
MOST_ROWS = 40
COLOURS = 7
"""Types of layers that have a colour of their own; one is left for all others."""

HOW = {
    "context": "repeated in the pass",
    "isolation": "repeated by itself",
    "time": "by its time (modelled)",
}


@dataclass(frozen=True)
class Layered:
    """The layers of a model in a report.

    Attributes:
        name: of it, that tells it from the others on the page.
        model: short name of the model.
        result: its layers.
    """

    name: str
    model: str
    result: LayersResult

    @property
    def unit(self) -> str:
        """What a pass is."""
        return "training step" if self.result.phase == "training" else "inference"


@dataclass(frozen=True)
class Own:
    """A layer without the layers inside it; both passes of training together.

    Attributes:
        layer: it.
        energy: its own.
        time_share: likewise.
        contains: whether there are layers inside.
        calls: in one pass.
        directions: energy of the forward and of the backward pass of training; unknown where
            there is none.
        methods: how its energy was found; of training those of both passes.
        macs: multiply-accumulates, of training those of the forward pass; None where they
            were not counted.
    """

    layer: LayerEnergy
    energy: Quantity
    time_share: float
    contains: bool
    calls: int
    directions: tuple[Quantity, Quantity]
    methods: tuple[str, ...]
    macs: int | None

    @property
    def per_mac(self) -> str:
        """Joules of a multiply-accumulate; empty where they are not known or drown in noise."""
        joules, low = self.energy.value, self.energy.low or 0.0
        if joules is None or not self.macs or (low <= 0 and not self.energy.modelled):
            return ""
        return written(Quantity(joules / self.macs, unit="J"))

    @property
    def name(self) -> str:
        """As it is shown."""
        return f"{self.layer.name} (itself)" if self.contains else self.layer.name


def layered(sources: Sequence[ReportSource]) -> list[Layered]:
    """All of them, named apart."""
    found = [
        (source.name, PurePath(result.model.path).name or result.model.path, result)
        for source in sources
        if isinstance(source.content, Report)
        for result in source.content.results
        if isinstance(result, LayersResult)
    ]
    names = [f"{name}, {result.phase}" for _, name, result in found]
    counts = Counter(names)
    return [
        Layered(f"{name} ({source})" if counts[name] > 1 else name, model, result)
        for name, (source, model, result) in zip(names, found, strict=True)
    ]


def finding(found: Sequence[Layered]) -> str:
    """The main thing about them in a sentence."""
    one = found[0]
    energy = one.result.energy_j
    rows = [row for row in owns(one.result) if row.energy.value is not None]
    if energy is None or not rows or not energy.value:
        return "No energy is known: the table has the times of the layers."
    first = max(rows, key=lambda row: row.energy.value or 0.0)
    share = percent((first.energy.value or 0.0) / energy.value)
    words = "is modelled to take" if first.energy.modelled else "takes"
    return f"{first.name} {words} {share} of the energy of one {one.unit} of {one.model}."


def sections(found: Sequence[Layered]) -> list[Section]:
    """Everything about them, in the order of reading."""
    made = []
    for one in found:
        blocks: list[Block] = [_residual(one.result), table(one)]
        pictures = [*_bars(one), *_tree(one)]
        if pictures:
            blocks.insert(1, Pictures(tuple(pictures)))
        made.append(Section(f"Layers: {one.name}", tuple(blocks)))
    return made


def owns(result: LayersResult) -> list[Own]:
    """The layers, without what is inside them."""
    passes: dict[str, list[LayerEnergy]] = {}
    containers = set()
    for layer in result.layers:
        if layer.direction and layer.parent is not None:
            passes.setdefault(layer.parent, []).append(layer)
        elif layer.parent is not None:
            containers.add(layer.parent)
    made = []
    for layer in result.layers:
        if layer.direction:
            continue
        halves = {part.direction: part for part in passes.get(layer.name, [])}
        parts = [layer, *halves.values()]
        share = math.fsum(part.time_share or 0.0 for part in parts)
        parts = [part for part in parts if _takes_part(part)]
        energy = _added([part.energy_j for part in parts])
        methods = tuple(dict.fromkeys(part.method for part in parts))
        if share or energy.value:
            macs = next((part.macs for part in parts if part.macs), None)
            forward, backward = halves.get("forward"), halves.get("backward")
            made.append(
                Own(
                    layer,
                    energy,
                    share,
                    layer.name in containers,
                    forward.calls if forward else layer.calls,
                    (_direction(forward), _direction(backward)),
                    methods,
                    macs,
                )
            )
    return made


def _direction(part: LayerEnergy | None) -> Quantity:
    return of_figure(part.energy_j if part is not None and _takes_part(part) else None, "J")


def _takes_part(layer: LayerEnergy) -> bool:
    return bool(layer.time_share or layer.calls)


def _added(figures: Sequence[Figure | None]) -> Quantity:
    known = [figure for figure in figures if figure is not None]
    if len(known) < len(figures) or not known:
        return Quantity(None)
    if len(known) == 1:
        return of_figure(known[0], "J")
    value = math.fsum(figure.value for figure in known)
    half = math.hypot(*(figure.high - figure.value for figure in known))
    methods = "+".join(dict.fromkeys(figure.method for figure in known))
    return Quantity(value, max(value - half, min(value, 0.0)), value + half, "J", methods)


def _residual(result: LayersResult) -> Notes:
    left, share = result.residual_j, result.residual_share
    if result.energy_j is None:
        return Notes(("The residual is not known, since the energy of the pass is not.",))
    if result.unattributed_j is None:
        return Notes(("The residual is not known, since no layer was timed.",))
    if left is None or share is None:
        return Notes(("All layers go by their time, so there is no residual.",))
    side = "less" if left.value >= 0 else "more"
    said = (
        f"Before they were made to add up, the rows came to {percent(abs(share))} {side} than "
        f"the whole: {written(of_figure(left, 'J'))}."
    )
    if result.residual_flagged:
        said += " That is too much: take the figures of layers as rough."
    return Notes((said,), "warning" if result.residual_flagged else "plain")


def table(one: Layered) -> Table:
    """A row for each layer, those with most joules first; then what is in no layer."""
    rows: list[tuple[Cell, ...]] = []
    found = sorted(owns(one.result), key=_cost, reverse=True)
    in_training = one.result.phase == "training"
    for row in found[:MOST_ROWS]:
        layer = row.layer
        last = [_told(part) for part in row.directions] if in_training else [row.per_mac]
        rows.append(
            (
                Code(row.name),
                layer.type,
                str(row.calls) if row.calls else "",
                f"{layer.parameters:,}" if layer.parameters else "",
                f"{row.macs:,}" if row.macs else "",
                Quantity(100 * row.time_share, unit="%"),
                row.energy,
                *last,
                ", ".join(HOW.get(method, method) for method in row.methods),
            )
        )
    for name, figure in (
        ("unattributed", one.result.unattributed_j),
        ("overhead", one.result.overhead_j),
        ("sum", one.result.energy_j),
    ):
        rows.append((name, *[""] * 5, of_figure(figure, "J"), *[""] * (3 if in_training else 2)))
    if len(found) > MOST_ROWS:
        caption = f"The {MOST_ROWS} layers of {len(found)} with most joules, of one {one.unit}"
    else:
        caption = f"All layers, of one {one.unit}"
    last_heads = ("forward", "backward") if in_training else ("a MAC",)
    head = ("layer", "type", "calls", "parameters", "MACs", "time", "energy", *last_heads, "how")
    return Table(caption, head, tuple(rows))


def _cost(row: Own) -> float:
    """Joules or, where the energy of the pass is unknown, the time: all rows have the same."""
    return row.time_share if row.energy.value is None else row.energy.value


def _told(part: Quantity) -> Cell:
    """A direction that a layer does not have is no unknown figure."""
    return part if part.value is not None else ""


def _series(result: LayersResult) -> dict[str, int]:
    """Colour of each type: those with most joules have their own."""
    joules: Counter[str] = Counter()
    for row in owns(result):
        joules[row.layer.type] += max(row.energy.value or 0.0, 0.0)  # type: ignore[assignment]  # a Counter adds up any numbers
    names = [name for name, _ in joules.most_common()]
    return {name: min(at, COLOURS) for at, name in enumerate(names)}


def _keys(series: dict[str, int]) -> tuple[Key, ...]:
    keys = [Key(name, at) for name, at in series.items() if at < COLOURS]
    if any(at == COLOURS for at in series.values()):
        keys.append(Key("others", COLOURS))
    return tuple(keys)


def _bars(one: Layered) -> Iterator[Picture]:
    """The layers with most joules, with their intervals."""
    known = [row for row in owns(one.result) if row.energy.value is not None]
    known.sort(key=lambda row: -(row.energy.value or 0.0))
    if not known:
        return
    series = _series(one.result)
    items = tuple(
        Item(
            _marked(row.name, "time" in row.methods),
            row.energy.value,
            row.energy.low,
            row.energy.high,
            _tip(row.name, row.layer.type, row.energy),
            series[row.layer.type],
            row.energy.modelled or "time" in row.methods,
        )
        for row in known[:MOST_BARS]
    )
    rows = tuple((Code(row.name), row.energy) for row in known[:MOST_BARS])
    yield ranked(
        Ranking(
            "layers",
            f"Energy of layers: {one.name}",
            "The layers that use most, with 95 % intervals; ~ goes by its time, and hollow is what "
            "is modelled, by that or for want of a sensor.",
            f"energy of one {one.unit}",
            "J",
            items,
            _keys(series),
            table=Table("Energy of layers", ("layer", "energy"), rows),
        )
    )


def _marked(name: str, by_time: bool) -> str:
    """Colour alone would not tell it."""
    return f"~ {name}" if by_time else name


def _tip(name: str, type: str, energy: Quantity) -> str:
    said = f"{name}\n{type}\n{written(energy)}"
    return f"{said}\nmodelled" if energy.modelled else said


def _tree(one: Layered) -> Iterator[Picture]:
    """The whole pass above, the layers in it below: a flame graph."""
    energy = one.result.energy_j
    if energy is None or energy.value <= 0:
        return
    series = _series(one.result)
    children: dict[str | None, list[LayerEnergy]] = {}
    for layer in one.result.layers:
        children.setdefault(layer.parent, []).append(layer)

    def piece(layer: LayerEnergy) -> Piece:
        whole = layer.with_parts_j
        short = layer.direction or layer.name.removeprefix(f"{layer.parent}.")
        pieces = tuple(map(piece, children.get(layer.name, [])))
        own = layer.method == "time" and layer.energy_j is not None and layer.energy_j.value > 0
        by_time = own or any(one.name.startswith(_marked("", True)) for one in pieces)
        return Piece(
            _marked(short, by_time),
            whole.value if whole is not None else 0.0,
            _tip(layer.name, layer.type, of_figure(whole, "J")),
            series.get(layer.type, COLOURS),
            whole is not None and MODELLED in whole.method,
            pieces,
        )

    inside = [piece(layer) for layer in children.get(None, [])]
    for name, figure in (
        ("unattributed", one.result.unattributed_j),
        ("overhead", one.result.overhead_j),
    ):
        if figure is not None:
            tip = _tip(name, "in no layer", of_figure(figure, "J"))
            inside.append(Piece(_marked(name, True), figure.value, tip, COLOURS, True))
    tip = f"{one.name}\n{written(of_figure(energy, 'J'))}"
    whole = Piece(f"one {one.unit}", energy.value, tip, COLOURS, False, tuple(inside))
    about = (
        "The energy of the pass as a whole above, what it is made of below; each part is as wide "
        "as its share. Parts with a ~ go by their time, or hold such parts; pale parts are "
        "modelled, by that or for want of a sensor."
    )
    keys = _keys(series)
    yield icicle(("flame", f"Where the joules go: {one.name}", about), whole, keys)
