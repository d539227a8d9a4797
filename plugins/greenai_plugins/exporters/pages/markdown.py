"""A page as Markdown; pictures are named, and the command line links to their files."""

from __future__ import annotations

from collections.abc import Iterator

from greenai_plugins.exporters.markdown_text import code, plain
from greenai_plugins.exporters.quantities import Quantity, parts, written

from .blocks import (
    Block,
    Cell,
    Code,
    Downloads,
    Facts,
    Letters,
    Notes,
    Page,
    Pictures,
    Section,
    Table,
    Tag,
)
from .columns import head, modelled, powers


def rendered(page: Page) -> bytes:
    """The page as Markdown in UTF-8."""
    lines = [f"# {plain(page.title)}", "", f"**{plain(page.finding)}**", ""]
    lines += [plain(" · ".join(page.meta)), ""]
    lines += [line for text in page.cautions for line in (f"> {plain(text)}", "")]
    for section in page.sections:
        lines += _section(section)
    # A file name that is no UTF-8 has characters that no encoder takes.
    return ("\n".join(lines).rstrip("\n") + "\n").encode(errors="backslashreplace")


def _section(section: Section) -> list[str]:
    body = [line for block in section.blocks for line in _block(block)]
    return [f"## {plain(section.title)}", "", *body] if body else []


def _block(block: Block) -> Iterator[str]:
    if isinstance(block, Table):
        yield from _table(block)
    elif isinstance(block, Notes):
        yield from (f"- {plain(line)}" for line in block.lines)
        yield ""
    elif isinstance(block, Facts):
        yield from (f"- {plain(name)}: {plain(value)}" for name, value in block.rows)
        yield ""
    elif isinstance(block, Letters):
        yield from _letters(block)
    elif isinstance(block, Pictures):
        for picture in block.pictures:
            yield f"- *{plain(picture.title)}* (`{picture.name}`): {plain(picture.about)}"
        yield ""
    elif not isinstance(block, Downloads):
        yield from (plain(block), "")


def _letters(grade: Letters) -> Iterator[str]:
    letter = "ungraded" if grade.letter is None else f"grade **{grade.letter}**"
    if grade.letter is not None and grade.best_letter not in (None, grade.letter):
        letter += f", at best {grade.best_letter}"
    yield f"{code(grade.subject)}: {letter}"
    yield ""
    yield from (f"- {plain(line)}" for line in grade.lines)
    yield ""


def _table(table: Table) -> Iterator[str]:
    units = powers(table)
    heads = [plain(head(table, i, power)) for i, power in enumerate(units)]
    tagged = [not modelled(table, i) for i in range(len(heads))]
    heads = [name if tagged[i] else f"{name} *(modelled)*" for i, name in enumerate(heads)]
    right = [any(isinstance(row[i], Quantity) for row in table.rows) for i in range(len(heads))]
    yield plain(table.caption) + ":"
    yield ""
    yield "| " + " | ".join(heads) + " |"
    yield "| " + " | ".join("---:" if one else "---" for one in right) + " |"
    for row in table.rows:
        cells = (_cell(cell, units[i], tagged[i]) for i, cell in enumerate(row))
        yield "| " + " | ".join(cells) + " |"
    yield ""


def _cell(cell: Cell, power: int | None, tagged: bool) -> str:
    if isinstance(cell, Code):
        return code(cell.text)
    if isinstance(cell, Tag):
        return plain(cell.text)
    if not isinstance(cell, Quantity):
        return plain(cell)
    if power is None:
        shown = written(cell)
    else:
        number, span = parts(cell, power)
        shown = f"{number} ({span})" if span else number
    return shown + (" *(modelled)*" if cell.modelled and tagged else "")
