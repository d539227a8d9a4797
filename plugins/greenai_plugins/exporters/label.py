"""A label from A to G, as SVG that prints well."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from greenai_core import Exporter, Report

from .label_facts import COLOURS, DISCLAIMER, ESTIMATED, Facts, all_facts
from .svg_text import document, lines, marked_up, text, width

WIDTH = 360.0
MARGIN = 18.0
ROOM = WIDTH - 2 * MARGIN
BOLD = 1.15
"""How much wider than others bold letters are."""

HEAVY = 'font-weight="700"'
ROW = 27.0
BAR = 23.0
SHORTEST, STEP = 84.0, 22.0
"""Length of the bar of A, and what each letter adds."""

POINT_X = 292.0
"""Where the tip of the pointer is, right of the longest bar."""

TEXT_X = 96.0
"""Where what the rows below tell begins."""

LIGHT = "#ffffff", "#c3c8ce", "#14181d", "#5b6570"
DARK = "#15191e", "#4a525b", "#eceff2", "#a3adb8"
"""Paper, its edge, ink and pale ink."""


def _theme(paper: str, edge: str, ink: str, pale: str) -> str:
    return (
        f".gr-paper{{fill:{paper};stroke:{edge}}}.gr-on{{fill:{paper}}}.gr-ink{{fill:{ink}}}"
        f".gr-pale{{fill:{pale}}}.gr-line{{stroke:{pale};fill:none}}"
    )


STYLE = (
    f"{_theme(*LIGHT)}.gr-letter{{fill:#10151a}}"
    f"@media (prefers-color-scheme:dark){{{_theme(*DARK)}}}"
    f"@media print{{{_theme(*LIGHT)}}}"
)
"""Paper is white whatever the screen prefers."""


class LabelExporter(Exporter):
    """The label of each result, one above the other.

    Without a letter it shows joules and why there is none.
    """

    name: ClassVar[str] = "label"
    suffix: ClassVar[str] = ".svg"

    def export(self, report: Report) -> bytes:
        """The labels as SVG.

        Raises:
            SchemaError: the report holds nothing that a label is of.
        """
        found = all_facts(report)
        if len(found) == 1:
            parts, height = _label(found[0])
            return document((WIDTH, height), parts, STYLE, _title(found[0]), found[0].in_words)
        sheet, top = [], 0.0
        for facts in found:
            parts, height = _label(facts)
            sheet.append(
                f'<g role="img" aria-label="{marked_up(_title(facts))}" '
                f'transform="translate(0 {top:g})"><title>{marked_up(_title(facts))}</title>'
                f"<desc>{marked_up(facts.in_words)}</desc>{''.join(parts)}</g>"
            )
            top += height + MARGIN
        return document((WIDTH, top - MARGIN), sheet, STYLE)


def _title(facts: Facts) -> str:
    return f"Energy label: {facts.verdict}, {facts.headline}"


def _label(facts: Facts) -> tuple[list[str], float]:
    """Its elements and its height."""
    parts = [text(MARGIN, 31, 12, "ENERGY", of="pale", more='letter-spacing="2" font-weight="600"')]
    if facts.tier == ESTIMATED:
        more = 'letter-spacing="2" font-weight="600" text-anchor="end"'
        parts.append(text(WIDTH - MARGIN, 31, 12, ESTIMATED.upper(), more=more))
    y = 50.0
    for line in lines(facts.subject, 15, ROOM / BOLD, 2):
        parts.append(text(MARGIN, y, 15, line, more='font-weight="600"'))
        y += 19
    y += 4
    if facts.letter is None:
        found, y = _ungraded(facts, y)
        parts += found
    else:
        parts += _bars(facts, facts.letter, y)
        y += 7 * ROW
    found, y = _figures(facts, y)
    parts += found
    found, y = _rows(facts, y)
    parts += found
    parts.append(f'<path class="gr-line" d="M{MARGIN:g} {y:g}H{WIDTH - MARGIN:g}"/>')
    parts.append(text(WIDTH / 2, y + 18, 11, DISCLAIMER, of="pale", more='text-anchor="middle"'))
    height = y + 32
    paper = (
        f'<rect class="gr-paper" x="0.5" y="0.5" width="{WIDTH - 1:g}" height="{height - 1:g}" '
        'rx="10" fill="#fff"/>'
    )
    return [paper, *parts], height


def _bars(facts: Facts, given: str, top: float) -> Iterator[str]:
    grade = facts.grade
    for index, (letter, colour) in enumerate(COLOURS.items()):
        y = top + ROW * index
        tip = MARGIN + SHORTEST + STEP * index
        out = grade is not None and grade.provisional and letter in "AG"
        faded = ' opacity="0.3"' if out else ""
        yield (
            f'<path fill="{colour}"{faded} d="M{MARGIN:g} {y:g}H{tip:g}l{BAR / 2:g} {BAR / 2:g}'
            f'l-{BAR / 2:g} {BAR / 2:g}H{MARGIN:g}z"/>'
        )
        ink = "pale" if out else "letter"
        yield text(MARGIN + 9, y + 17, 16, letter, of=ink, more=HEAVY)
    letters = [*COLOURS]
    last = letters.index(given)
    first = letters.index(grade.best_letter) if grade and grade.best_letter else last
    if first < last:
        begin, end = top + ROW * first + 2, top + ROW * last + BAR - 2
        yield (
            f'<path class="gr-line" stroke-width="2" d="M{POINT_X - 12:g} {begin:g}h6V{end:g}h-6"/>'
        )
    y = top + ROW * last - 3
    half = (BAR + 6) / 2
    yield (
        f'<path class="gr-ink" d="M{POINT_X:g} {y + half:g}l{half:g} -{half:g}'
        f'H{WIDTH - MARGIN:g}v{2 * half:g}H{POINT_X + half:g}z"/>'
    )
    middle = (POINT_X + half + WIDTH - MARGIN) / 2
    yield text(middle, y + 22, 21, given, of="on", more='font-weight="700" text-anchor="middle"')


def _ungraded(facts: Facts, y: float) -> tuple[list[str], float]:
    """Why there is no letter, in place of the bars."""
    parts = [text(MARGIN, y + 22, _size(facts.verdict, 24), facts.verdict, of="pale", more=HEAVY)]
    y += 42
    reasons = facts.grade.reasons if facts.grade else ("nobody asked for a grade",)
    for reason in reasons[:4]:
        found = lines(
            reason.removeprefix("ungraded: ").removeprefix("not compared: "),
            11,
            ROOM - 10,
            3,
        )
        parts.append(text(MARGIN, y, 11, "–", of="pale"))
        for line in found:
            parts.append(text(MARGIN + 10, y, 11, line))
            y += 15
    return parts, y


def _size(words: str, largest: float) -> float:
    """Of the font in which bold words fill a line at most; longer ones take two."""
    return max(min(largest, largest * ROOM / BOLD / max(width(words, largest), 1)), 15.0)


def _figures(facts: Facts, y: float) -> tuple[list[str], float]:
    size = _size(facts.headline, 26)
    y += 30
    parts = []
    for line in lines(facts.headline, size, ROOM / BOLD, 2):
        parts.append(text(MARGIN, y, size, line, more=HEAVY))
        y += size + 2
    y -= size - 18
    for line in lines(facts.interval, 12, ROOM, 2):
        parts.append(text(MARGIN, y, 12, line, of="pale"))
        y += 16
    grade = facts.grade
    if grade is not None and grade.letter and grade.best_letter not in (None, grade.letter):
        reach = f"reaches from {grade.best_letter} to {grade.letter}: the worse letter counts"
        parts.append(text(MARGIN, y, 12, reach, of="pale"))
        y += 16
    return parts, y


def _rows(facts: Facts, y: float) -> tuple[list[str], float]:
    """What the figures are of, two columns."""
    grade = facts.grade
    basis = facts.tier + (", provisional scale" if grade and grade.provisional else "")
    told = {
        "Basis": "estimated: modelled, not measured" if basis == "estimated" else basis,
        "Channels": " + ".join(facts.channels) or "unknown",
        "Hardware": facts.hardware,
        "Scale": grade.scale if grade and grade.scale else "none",
        "Date": facts.date,
        **({"Change": facts.change} if facts.change and "baseline" not in facts.verdict else {}),
    }
    parts = []
    y += 12
    for name, value in told.items():
        parts.append(text(MARGIN, y, 11, name, of="pale"))
        for line in lines(value, 11, WIDTH - MARGIN - TEXT_X, 4):
            parts.append(text(TEXT_X, y, 11, line))
            y += 15
        y += 3
    return parts, y
