"""A picture: drawings of the same figures, what they show in words, and as a table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from greenai_plugins.exporters.pages.blocks import Table
from greenai_plugins.exporters.quantities import MODELLED
from greenai_plugins.exporters.svg_text import document, lines, marked_up, text, width

from .colours import DARK, LIGHT, SERIES, style

PAD = 14.0

PARTLY = "partly modelled"

SAID = {
    MODELLED: "Modelled figures: not measured, or not wholly",
    PARTLY: "What is hollow or pale is modelled: not measured, or not wholly",
}


@dataclass(frozen=True)
class Drawing:
    """The inside of an SVG.

    Attributes:
        across, down: its size.
        body: elements.
    """

    across: float
    down: float
    body: str


@dataclass(frozen=True)
class Key:
    """A line of the legend.

    Attributes:
        name: of the series.
        index: of the series in the drawing; tells colour and mark.
        modelled: its marks are hollow.
    """

    name: str
    index: int
    modelled: bool = False


@dataclass(frozen=True)
class Picture:
    """One picture.

    Attributes:
        name: of its file, without a suffix.
        title: what it shows.
        about: what is to be seen in it, for those who do not see it too.
        variants: name of the axes and drawing; the first is shown.
        keys: its series; none where the drawing names them itself.
        table: the figures behind it.
        modelled: ``modelled``, ``partly modelled``, or empty where all is measured.
    """

    name: str
    title: str
    about: str
    variants: tuple[tuple[str, Drawing], ...]
    keys: tuple[Key, ...] = ()
    table: Table | None = None
    modelled: str = ""


def how_much(modelled: Iterable[bool]) -> str:
    """For ``Picture.modelled``: of each of its figures, whether it is."""
    found = list(modelled)
    if not any(found):
        return ""
    return MODELLED if all(found) else PARTLY


MARKS = (
    "M-3.6 0a3.6 3.6 0 1 0 7.2 0a3.6 3.6 0 1 0-7.2 0z",
    "M-3.2-3.2h6.4v6.4h-6.4z",
    "M0-4.2L4 3H-4z",
    "M0-4.4L4.4 0L0 4.4L-4.4 0z",
    "M0 4.2L4-3H-4z",
    "M-4-1.5h2.5V-4h3v2.5H4v3H1.5V4h-3V1.5H-4z",
    "M-1.6-4h3.2L4-1.6v3.2L1.6 4h-3.2L-4 1.6v-3.2z",
    "M-4.2-2h8.4v4h-8.4z",
)
"""Outlines of marks, so that series differ without colour too."""


def number(value: float) -> str:
    """A place on the paper, as short as it can be."""
    return f"{value:.1f}".rstrip("0").rstrip(".").replace("-0.", "-.") or "0"


def mark(x: float, y: float, index: int, modelled: bool) -> str:
    """A mark of a series; hollow where the figure is modelled."""
    hollow = " h" if modelled else ""
    return (
        f'<path class="m{hollow}" transform="translate({number(x)} {number(y)})" '
        f'd="{MARKS[(index + index // SERIES) % len(MARKS)]}"/>'
    )


def colour(index: int) -> str:
    """Class of the colour of a series."""
    return f"s{index % SERIES}"


def point(tip: str, content: str) -> str:
    """A part that has something to tell: by pointer, by keyboard, by screen reader.

    Args:
        tip: lines of text.
        content: elements.
    """
    told = "&#10;".join(marked_up(line) for line in tip.split("\n"))
    return f'<g class="p" tabindex="-1" role="img" aria-label="{told}">{content}</g>'


TITLE, BOLD = 15.0, 1.1
"""Size of a title, and how much wider bold letters are."""


def standalone(picture: Picture, variant: int = 0, *, dark_too: bool = True) -> bytes:
    """The picture as an SVG file of its own, with title and legend.

    Args:
        picture: to be written.
        variant: which of its drawings.
        dark_too: it follows the colours of the reader's system.
    """
    drawing = picture.variants[variant][1]
    across = drawing.across + 2 * PAD
    title = lines(picture.title, BOLD * TITLE, drawing.across, 2)
    head = 26.0 + 18 * len(title) + (18 if picture.modelled else 0)
    rows = _legend(picture.keys, drawing.across)
    down = head + drawing.down + 18 * len(rows) + PAD
    parts = [
        f'<rect class="gr-paper" width="{number(across)}" height="{number(down)}"/>',
        *(
            text(PAD, 27 + 18 * line, TITLE, words, more='font-weight="600"')
            for line, words in enumerate(title)
        ),
        text(PAD, head - 18, 12, SAID.get(picture.modelled, ""), of="pale"),
        f'<g transform="translate({number(PAD)} {number(head)})">{drawing.body}</g>',
    ]
    for line, row in enumerate(rows):
        y = head + drawing.down + 18 * line + 10
        for key, x in row:
            shown = mark(PAD + x + 6, y - 4, key.index, key.modelled)
            parts.append(f'<g class="{colour(key.index)}">{shown}</g>')
            parts.append(text(PAD + x + 16, y, 12, _fitting(key, drawing.across)))
    sheet = style(LIGHT)
    if dark_too:
        sheet += f"@media (prefers-color-scheme:dark){{{style(DARK)}}}"
    return document((across, down), parts, sheet, picture.title, picture.about)


def _fitting(key: Key, room: float) -> str:
    """The name of a series, no longer than a row."""
    return next(iter(lines(key.name, 12, room - 16, 1)), "")


def _legend(keys: tuple[Key, ...], room: float) -> list[list[tuple[Key, float]]]:
    """The keys in rows, with their places."""
    rows: list[list[tuple[Key, float]]] = []
    x = room
    for key in keys:
        needed = 16 + width(_fitting(key, room), 12) + 14
        if x + needed > room or not rows:
            rows.append([])
            x = 0.0
        rows[-1].append((key, x))
        x += needed
    return rows
