"""A page as HTML: one file, nothing from elsewhere, readable without its script."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from greenai_plugins.exporters.pictures.colours import DARK, LIGHT, style, variables
from greenai_plugins.exporters.pictures.picture import Drawing, Picture, colour, mark, number
from greenai_plugins.exporters.quantities import Quantity, parts, written
from greenai_plugins.exporters.svg_text import marked_up

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

HERE = Path(__file__).parent
SHEET = (HERE / "page.css").read_text(encoding="utf-8")
SCRIPT = (HERE / "page.js").read_text(encoding="utf-8")

MODELLED_TAG = '<span class="tag model">modelled</span>'

MOST_BYTES = 2_900_000
"""Of a page, unless its tables and pictures alone need more; a phone reads that at once."""

MANY_ROWS = 14
"""A table with more rows can be sorted by its columns."""


@dataclass(frozen=True)
class Column:
    """Of a table: its name as markup, and what all of its cells share."""

    name: str
    power: int | None
    numeric: bool
    modelled: bool
    sortable: bool


@cache
def sheet() -> str:
    """The whole style sheet."""
    dark = variables(DARK)
    return (
        f":root{{{variables(LIGHT)}}}"
        f"@media (prefers-color-scheme:dark){{:root{{{dark}}}}}"
        f":root[data-theme=light]{{{variables(LIGHT)}}}"
        f":root[data-theme=dark]{{{dark}}}"
        f"@media print{{:root,:root[data-theme]{{{variables(LIGHT)}}}}}"
        f"{style()}{SHEET}"
    )


def rendered(page: Page) -> bytes:
    """The page as an HTML file in UTF-8."""
    policy = (
        f"default-src 'none'; script-src {_hash(SCRIPT)}; style-src {_hash(sheet())}; "
        "base-uri 'none'; form-action 'none'"
    )
    sections = _sections(page)
    content = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{marked_up(page.title)}</title>\n<style>{sheet()}</style>\n</head>\n<body>\n"
        f'<a class="skip" href="#content">Skip to the figures</a>\n{_header(page)}'
        f'<main id="content" tabindex="-1">\n{sections}</main>\n'
        "<footer><p>Made by greenai. This page holds all that it shows, "
        "and asks no network for anything.</p></footer>\n"
        f'<div id="tip" hidden></div>\n<script>{SCRIPT}</script>\n</body>\n</html>\n'
    )
    return content.encode()


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _header(page: Page) -> str:
    meta = " · ".join(map(marked_up, page.meta))
    cautions = "".join(f'<p class="caution">{marked_up(text)}</p>' for text in page.cautions)
    links = "".join(
        f'<li><a href="#part-{i}">{marked_up(section.title)}</a></li>'
        for i, section in enumerate(page.sections, 1)
    )
    return (
        f'<header><div class="top"><p class="kicker">{marked_up(page.kicker)}</p>'
        '<button type="button" id="theme" hidden>Colours: system</button></div>'
        f'<h1>{marked_up(page.title)}</h1><p class="finding">{marked_up(page.finding)}</p>'
        f'<p class="meta">{meta}</p>{cautions}'
        f'<nav aria-label="On this page"><ul>{links}</ul></nav></header>\n'
    )


def _section(section: Section, number: int, room: int) -> str:
    body = "".join(
        _downloads(block, room) if isinstance(block, Downloads) else _block(block)
        for block in section.blocks
    )
    title = marked_up(section.title)
    if section.folded:
        return (
            f'<section id="part-{number}"><details><summary><h2>{title}</h2></summary>'
            f"{body}</details></section>\n"
        )
    return f'<section id="part-{number}"><h2>{title}</h2>{body}</section>\n'


def _sections(page: Page) -> str:
    """All sections; downloads get the room that the others leave."""
    made: dict[int, str] = {}
    last = [i for i, section in enumerate(page.sections) if _carries(section)]
    for i in [*(i for i in range(len(page.sections)) if i not in last), *last]:
        room = MOST_BYTES - sum(len(text.encode()) for text in made.values())
        made[i] = _section(page.sections[i], i + 1, room)
    return "".join(made[i] for i in sorted(made))


def _carries(section: Section) -> bool:
    return any(isinstance(block, Downloads) for block in section.blocks)


def _block(block: Block) -> str:
    writer: Callable[[Any], str] = WRITERS[type(block)]
    return writer(block)


def _paragraph(text: str) -> str:
    return f"<p>{marked_up(text)}</p>"


# Tables


def _table(table: Table) -> str:
    numeric = [_is_numeric(table, i) for i in range(len(table.head))]
    sortable = len(table.rows) > MANY_ROWS and any(numeric)
    columns = [
        Column(
            marked_up(head(table, i, power)),
            power,
            numeric[i],
            modelled(table, i),
            sortable,
        )
        for i, power in enumerate(powers(table))
    ]
    heads = "".join(map(_head, columns))
    rows = "".join(f"<tr>{''.join(_cells(row, columns))}</tr>" for row in table.rows)
    caption = marked_up(table.caption)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{caption}">'
        f"<table{' class=sortable' * sortable}><caption>{caption}</caption>"
        f"<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _head(column: Column) -> str:
    tag = f" {MODELLED_TAG}" if column.modelled else ""
    return f'<th scope="col"{" class=num" if column.numeric else ""}>{column.name}{tag}</th>'


def _cells(row: tuple[Cell, ...], columns: Sequence[Column]) -> Iterator[str]:
    for index, (cell, column) in enumerate(zip(row, columns, strict=True)):
        attributes = " class=num" if column.numeric else ""
        content = _content(cell, column.power, not column.modelled)
        if column.sortable and isinstance(cell, Quantity) and cell.value is not None:
            attributes += f' data-value="{cell.value:.9g}"'
        first = index == 0
        yield (
            f'<th scope="row"{attributes}>{content}</th>'
            if first
            else f"<td{attributes}>{content}</td>"
        )


def _is_numeric(table: Table, column: int) -> bool:
    cells = [row[column] for row in table.rows]
    return any(isinstance(cell, Quantity) for cell in cells) or (
        bool(cells) and all(isinstance(cell, str) and cell.isdecimal() for cell in cells)
    )


def _content(cell: Cell, power: int | None, tagged: bool) -> str:
    if isinstance(cell, Code):
        return f"<code>{marked_up(cell.text)}</code>"
    if isinstance(cell, Tag):
        return f'<span class="tag {cell.tone}">{marked_up(cell.text)}</span>'
    if isinstance(cell, Quantity):
        return _figure(cell, power, tagged)
    return marked_up(cell)


def _figure(cell: Quantity, power: int | None, tagged: bool) -> str:
    if cell.value is None:
        return '<span class="unknown">unknown</span>'
    if power is None:
        whole = written(cell)
        figure, _, span = whole.partition(" (")
        span = span.removesuffix(")")
    else:
        figure, span = parts(cell, power)
    shown = f"<b>{marked_up(figure)}</b>"
    if span:
        shown += f' <span class="span">({marked_up(span)})</span>'
    if cell.modelled and tagged:
        shown += f" {MODELLED_TAG}"
    return shown


# Other blocks


def _notes(notes: Notes) -> str:
    lines = "".join(f"<li>{marked_up(line)}</li>" for line in notes.lines)
    return f'<ul class="notes {notes.tone}">{lines}</ul>'


def _facts(facts: Facts) -> str:
    rows = "".join(
        f"<div><dt>{marked_up(name)}</dt><dd>{marked_up(value)}</dd></div>"
        for name, value in facts.rows
    )
    return f"<dl>{rows}</dl>"


def _letters(grade: Letters) -> str:
    letter = grade.letter or "–"
    span = "ungraded" if grade.letter is None else f"grade {grade.letter}"
    if grade.letter is not None and grade.best_letter not in (None, grade.letter):
        span += f", at best {grade.best_letter}"
    lines = "".join(f"<li>{marked_up(line)}</li>" for line in grade.lines)
    tone = letter if letter in "ABCDEFG" and len(letter) == 1 else "none"
    return (
        f'<div class="grade"><p class="letter grade-{tone}" aria-hidden="true">'
        f"{marked_up(letter)}</p><div><p><b>{marked_up(span)}</b> "
        f"<code>{marked_up(grade.subject)}</code></p><ul>{lines}</ul></div></div>"
    )


def _downloads(downloads: Downloads, room: int) -> str:
    """Links that hold their files; what has no room is named."""
    items = []
    for file in downloads.files:
        name = marked_up(file.name)
        link = f"data:{file.kind};base64,{base64.b64encode(file.content).decode()}"
        if len(link) > room:
            items.append(
                f"<li>{name} ({_size(len(file.content))}) is too large for a page: take it from "
                "the folder of the report, or make it with <code>greenai export</code></li>"
            )
            continue
        room -= len(link)
        size = f'<span class="span">{_size(len(file.content))}</span>'
        items.append(f'<li><a download="{name}" href="{link}">{name}</a> {size}</li>')
    return f'<ul class="downloads">{"".join(items)}</ul>'


def _size(count: int) -> str:
    return f"{count} bytes" if count < 1000 else f"{count / 1000:.0f} kB"


# Pictures


def _pictures(pictures: Pictures) -> str:
    return f'<div class="pictures">{"".join(map(_picture, pictures.pictures))}</div>'


def _picture(picture: Picture) -> str:
    tools = "".join(_tools(picture))
    drawings = "".join(
        _drawing(picture, name, drawing if i == 0 else _mute(drawing), shown=i == 0)
        for i, (name, drawing) in enumerate(picture.variants)
    )
    behind = "<p>Its figures stand in the tables of this page.</p>"
    if picture.table is not None:
        behind = (
            f"<details><summary>Figures of this picture</summary>{_table(picture.table)}</details>"
        )
    tag = f' <span class="tag model">{picture.modelled}</span>' if picture.modelled else ""
    return (
        f'<figure id="picture-{marked_up(picture.name)}"><h3>{marked_up(picture.title)}{tag}</h3>'
        f"{tools}{drawings}"
        f"<figcaption>{marked_up(picture.about)}</figcaption>{behind}</figure>"
    )


def _tools(picture: Picture) -> Iterator[str]:
    if not picture.keys and len(picture.variants) < 2:
        return
    yield '<div class="tools">'
    for key in picture.keys:
        sample = (
            '<svg class="key" viewBox="-8 -8 16 16" aria-hidden="true">'
            f'<g class="{colour(key.index)}">{mark(0, 0, key.index, key.modelled)}</g></svg>'
        )
        mixed = key.modelled and not all(other.modelled for other in picture.keys)
        said = marked_up(key.name) + (" (modelled)" if mixed else "")
        yield (
            f'<button type="button" class="series" aria-pressed="true" data-for="{key.index}">'
            f"{sample}{said}</button>"
        )
    if len(picture.variants) > 1:
        yield (
            '<button type="button" class="axes" aria-pressed="false" hidden>'
            "Logarithmic axes</button>"
        )
    yield "</div>"


def _mute(drawing: Drawing) -> Drawing:
    """Without what its points tell: the script takes that from the first drawing, in order."""
    return replace(drawing, body=re.sub(r' aria-label="[^"]*"', "", drawing.body))


def _drawing(picture: Picture, name: str, drawing: Drawing, *, shown: bool) -> str:
    hidden = "" if shown else " hidden"
    label = marked_up(f"{picture.title}: arrow keys go from figure to figure")
    return (
        f'<div class="drawing" data-axes="{name}"{hidden}>'
        f'<svg viewBox="0 0 {number(drawing.across)} {number(drawing.down)}" role="group" '
        f'aria-label="{label}">{drawing.body}</svg></div>'
    )


WRITERS: dict[type[Any], Callable[[Any], str]] = {
    str: _paragraph,
    Table: _table,
    Notes: _notes,
    Facts: _facts,
    Letters: _letters,
    Pictures: _pictures,
}
