"""A badge for a README, as SVG."""

from __future__ import annotations

from typing import ClassVar

from greenai_core import Exporter, Report

from .label_facts import COLOURS, ESTIMATED, Facts, all_facts, joules, percent
from .svg_text import clean, document, lines, marked_up, text, width

HEIGHT = 20.0
SIZE = 11.0
PAD = 7.0
LONGEST = 280.0
"""Room for what the badge tells; units can have any name."""

WORD = "energy"

STYLE = (
    ".gr-name{fill:#3d454e}.gr-white{fill:#ffffff}.gr-letter{fill:#10151a}"
    ".gr-plain{fill:#c9ced4}.gr-edge{fill:none;stroke:none}"
    "@media (prefers-color-scheme:dark){.gr-edge{stroke:#6b7681}}"
)
"""Dark pages get an edge: the dark half would vanish in them."""


class BadgeExporter(Exporter):
    """A letter and joules in one line for each result."""

    name: ClassVar[str] = "badge"
    suffix: ClassVar[str] = ".svg"

    def export(self, report: Report) -> bytes:
        """The badges as SVG, one above the other.

        Raises:
            SchemaError: the report holds nothing that a badge is of.
        """
        found = all_facts(report)
        badges = [_badge(facts) for facts in found]
        broadest = max(across for _, across in badges)
        if len(found) == 1:
            parts, across = badges[0]
            return document((across, HEIGHT), parts, STYLE, _title(found[0]), found[0].in_words)
        sheet = [
            f'<g role="img" aria-label="{marked_up(_title(facts))}" '
            f'transform="translate(0 {(HEIGHT + 4) * index:g})">'
            f"<title>{marked_up(_title(facts))}</title>"
            f"<desc>{marked_up(facts.in_words)}</desc>{''.join(parts)}</g>"
            for index, (facts, (parts, _)) in enumerate(zip(found, badges, strict=True))
        ]
        return document((broadest, (HEIGHT + 4) * len(found) - 4), sheet, STYLE)


def _title(facts: Facts) -> str:
    return f"Energy: {_told(facts)}"


def _told(facts: Facts) -> str:
    if facts.energy is None:
        return "ungraded" if facts.letter is None else facts.letters
    energy = f"{facts.about}{joules(facts.energy.value)}/{facts.unit}"
    said = [energy]
    grade = facts.grade
    if grade is not None and grade.change is not None:
        said.append(percent(grade.change.value))
    elif facts.letter is None:
        said.append("ungraded")
    else:
        said = [f"{facts.letters}  {energy}"]
    return ", ".join([*said, *([ESTIMATED] if facts.tier == ESTIMATED else [])])


def _badge(facts: Facts) -> tuple[list[str], float]:
    """Its elements and its width."""
    told = (lines(clean(_told(facts)), SIZE, LONGEST, 1) or [""])[0]
    name, value = (width(words, SIZE) for words in (WORD, told))
    left, right = name + 2 * PAD, value + 2 * PAD
    across = round(left + right, 1)
    fill = f'fill="{COLOURS[facts.letter]}"' if facts.letter else 'class="gr-plain"'
    return [
        f'<path class="gr-name" d="M3 0H{left:g}V{HEIGHT:g}H3a3 3 0 0 1-3-3V3a3 3 0 0 1 3-3z"/>',
        f'<path {fill} d="M{left:g} 0H{across - 3:g}a3 3 0 0 1 3 3V{HEIGHT - 3:g}'
        f'a3 3 0 0 1-3 3H{left:g}z"/>',
        f'<rect class="gr-edge" x="0.5" y="0.5" width="{across - 1:g}" height="{HEIGHT - 1:g}" '
        'rx="3"/>',
        text(PAD, 14, SIZE, WORD, of="white", more=_fitted(name)),
        text(left + PAD, 14, SIZE, told, of="letter", more=f'font-weight="600" {_fitted(value)}'),
    ], across


def _fitted(room: float) -> str:
    """Whatever font is there takes the room that was reckoned with."""
    return f'textLength="{room:g}" lengthAdjust="spacingAndGlyphs"'
