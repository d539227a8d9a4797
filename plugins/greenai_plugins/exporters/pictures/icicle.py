"""A tree of parts that add up: a flame graph with the whole at the top."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from greenai_plugins.exporters.pages.blocks import Table
from greenai_plugins.exporters.svg_text import lines, text

from .picture import Drawing, Key, Picture, colour, how_much, number, point

ACROSS, ROW = 440.0, 24.0
SIZE = 11.0
PAD = 4.0
THINNEST = 0.4
"""Parts that would be narrower are not drawn."""


@dataclass(frozen=True)
class Piece:
    """A part, with the parts inside it.

    Attributes:
        name: written into it where there is room.
        value: of all of it; what is below nothing takes no room.
        tip: what it tells, in lines.
        series: its colour.
        modelled: it is drawn pale.
        inside: what it is made of; may be less than all of it.
    """

    name: str
    value: float
    tip: str
    series: int = 0
    modelled: bool = False
    inside: tuple[Piece, ...] = ()


def icicle(
    heading: tuple[str, str, str], whole: Piece, keys: tuple[Key, ...], table: Table | None = None
) -> Picture:
    """The tree as a picture.

    Args:
        heading: name, title and description of the picture.
        whole: the root.
        keys: names of the colours.
        table: the figures behind it.
    """
    name, title, about = heading
    boxes = list(_boxes(whole, 0.0, ACROSS, 0))
    down = ROW * (1 + max(depth for _, _, _, depth in boxes))
    body = "".join(_drawn(*box) for box in boxes)
    # What is around others says nothing of its own.
    modelled = how_much(piece.modelled for piece, *_ in boxes if not piece.inside)
    drawing = Drawing(ACROSS, down, body)
    return Picture(name, title, about, (("linear", drawing),), keys, table, modelled)


def _boxes(
    piece: Piece, left: float, across: float, depth: int
) -> Iterator[tuple[Piece, float, float, int]]:
    """Each piece with its place; pieces inside share the room of the piece around them."""
    yield piece, left, across, depth
    sizes = [max(inner.value, 0.0) for inner in piece.inside]
    # What is inside may come to more than the whole where a part of it is below nothing.
    scale = max(piece.value, sum(sizes))
    for inner, size in zip(piece.inside, sizes, strict=True):
        room = across * size / scale if scale > 0 else 0.0
        if room >= THINNEST:
            yield from _boxes(inner, left, room, depth + 1)
        left += room


def _drawn(piece: Piece, left: float, across: float, depth: int) -> str:
    top = ROW * depth
    kind = "o" if piece.modelled else "b"
    box = (
        f'<rect class="{kind}" x="{number(left)}" y="{number(top)}" width="{number(across)}" '
        f'height="{ROW - 2:g}"/>'
    )
    shown = lines(piece.name, SIZE, across - 2 * PAD, 1) if across > 24 else []
    words = text(left + PAD, top + 15, SIZE, shown[0], of="halo") if shown else ""
    return (
        f'<g class="g {colour(piece.series)}" data-series="{piece.series}">'
        f"{point(piece.tip, box + words)}</g>"
    )
