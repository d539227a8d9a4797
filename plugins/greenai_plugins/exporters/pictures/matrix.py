"""A matrix of coefficients from −1 to 1 as a heat map."""

from __future__ import annotations

from collections.abc import Sequence

from greenai_plugins.exporters.pages.blocks import Table
from greenai_plugins.exporters.quantities import signed
from greenai_plugins.exporters.svg_text import lines, text

from .picture import Drawing, Picture, number, point

ACROSS = 440.0
NAMES = 128.0
"""Room for the names at the left."""
HEAD = 22.0
SIZE = 11.5


def matrix(
    heading: tuple[str, str, str],
    names: Sequence[str],
    values: Sequence[Sequence[float | None]],
    tips: Sequence[Sequence[str]],
    table: Table,
) -> Picture:
    """The matrix as a picture; columns are numbered, and the rows tell which is which.

    Args:
        heading: name, title and description of the picture.
        names: of rows and columns.
        values: from −1 to 1; None where there is none.
        tips: what each cell tells, in lines.
        table: the figures behind it.
    """
    cell = min((ACROSS - NAMES) / max(len(names), 1), 44.0)
    body = []
    for row, name in enumerate(names):
        y = HEAD + cell * row
        shown = lines(f"{row + 1}  {name}", SIZE, NAMES - 6, 1)[0]
        body.append(text(0, y + cell / 2 + 4, SIZE, shown))
        middle = NAMES + cell * (row + 0.5)
        body.append(text(middle, HEAD - 7, SIZE, str(row + 1), more='text-anchor="middle"'))
        body += [
            _cell(values[row][column], tips[row][column], NAMES + cell * column, y, cell)
            for column in range(len(names))
        ]
    drawing = Drawing(ACROSS, HEAD + cell * len(names) + 6, "".join(body))
    name, title, about = heading
    return Picture(name, title, about, (("linear", drawing),), (), table)


def _cell(value: float | None, tip: str, x: float, y: float, size: float) -> str:
    box = (
        f'x="{number(x + 0.5)}" y="{number(y + 0.5)}" '
        f'width="{number(size - 1)}" height="{number(size - 1)}"'
    )
    if value is None:
        return point(tip, f'<rect class="gr-band" {box}/>')
    # Blue for together, orange for against; how much of it is how strong.
    series = "s0" if value >= 0 else "s1"
    share = f'fill-opacity="{0.06 + 0.6 * min(abs(value), 1.0):.2f}"'
    shown = f'<g class="{series}"><rect class="c" {share} {box}/></g>'
    figure = signed(f"{value:.2f}") if size >= 30 else signed(f"{value:.1f}")
    middle, base = x + size / 2, y + size / 2 + 4
    font = SIZE if size >= 30 else 9.5
    if size >= 18:
        shown += text(middle, base, font, figure, more='text-anchor="middle"')
    return point(tip, shown)
