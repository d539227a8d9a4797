"""Text in SVG: what may stand there, and how much room it takes.

Names of models and commands are anybody's, so nothing of them reaches the file as
markup, and nothing of them reaches a reader as a trick of direction or a control.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from xml.sax.saxutils import escape

ELLIPSIS = "…"

BREAKS = " /_-+,;:."
"""A line may end after these."""

NARROW = "iljtfrI.,:;'|!()[]/ "
NARROWEST = 0.42
"""Width of these, in sizes of the font."""

WIDE = "mwMW@%—"


def clean(text: str) -> str:
    """Text on one line, without what XML forbids and what turns its direction."""
    return " ".join("".join(map(_visible, text)).split())


JOINERS = "\u200c\u200d"
"""What Persian, the scripts of India and joined emoji are written with."""


@lru_cache(maxsize=4096)
def _visible(character: str) -> str:
    if character in JOINERS:
        return character
    kind = unicodedata.category(character)
    if character.isspace():
        return " "
    # Cc controls, Cs half pairs, Cn no character; Cf turns direction or hides.
    return "\N{REPLACEMENT CHARACTER}" if kind in ("Cc", "Cs", "Cn", "Cf") else character


def marked_up(text: str) -> str:
    """Text as it stands in SVG, in an element or an attribute."""
    return escape(clean(text), {'"': "&quot;", "'": "&apos;"})


def width(text: str, size: float) -> float:
    """About how wide a text is in a sans-serif font, rather too wide.

    Args:
        text: on one line.
        size: of the font; the result has its unit.
    """
    return size * sum(map(_em, text))


def _em(character: str) -> float:
    """Of DejaVu Sans, the widest of the fonts that systems fall back on."""
    if unicodedata.combining(character) or character in JOINERS:
        return 0.0
    if unicodedata.east_asian_width(character) in "WF":
        return 1.0
    if character in NARROW:
        return NARROWEST
    if character in WIDE:
        return 1.0
    return 0.72 if character.isupper() else 0.64


def lines(text: str, size: float, room: float, most: int) -> list[str]:
    """Text in lines that fit; what has no room in the middle is an ellipsis.

    Args:
        text: to be broken after spaces and marks, or anywhere where there are none.
        size: of the font.
        room: width of a line.
        most: lines.
    """
    text = clean(text)
    keep = min(len(text), int(most * room / (NARROWEST * size)) + 1)
    found = _broken(_kept(text, keep), size, room)
    while len(found) > most and keep > 1:
        keep -= max(keep // 20, 1)
        found = _broken(_kept(text, keep), size, room)
    return found[:most]


def _kept(text: str, keep: int) -> str:
    """So many characters of both ends."""
    if keep >= len(text):
        return text
    head = (keep + 1) // 2
    return text[:head] + ELLIPSIS + text[len(text) - keep + head :]


def _broken(text: str, size: float, room: float) -> list[str]:
    found = []
    while text:
        end = _fits(text, size, room)
        if end < len(text):
            marks = [i + 1 for i in range(end // 3, end) if text[i] in BREAKS]
            end = marks[-1] if marks else end
        found.append(text[:end].strip())
        text = text[end:].lstrip()
    return found


def _fits(text: str, size: float, room: float) -> int:
    """How many characters fit; one at least."""
    used = 0.0
    for index, character in enumerate(text):
        used += size * _em(character)
        if used > room and index:
            return index
    return len(text)


def text(x: float, y: float, size: float, content: str, *, of: str = "ink", more: str = "") -> str:
    """A text element.

    Args:
        x: of its anchor.
        y: of its base line.
        size: of the font.
        content: as it is meant; it is escaped here.
        of: class of the style: ``ink``, ``pale`` …
        more: other attributes, ready.
    """
    return (
        f'<text class="gr-{of}" x="{x:g}" y="{y:g}" font-size="{size:g}"{more and " " + more}>'
        f"{marked_up(content)}</text>"
    )


def document(
    size: tuple[float, float], parts: Sequence[str], style: str, title: str = "", about: str = ""
) -> bytes:
    """A whole SVG file: no script, nothing from elsewhere.

    Args:
        size: width and height.
        parts: elements.
        style: CSS.
        title: what it is, for those who do not see it.
        about: all of it in words, for the same.
    """
    across, down = (f"{side:g}" for side in size)
    named = f"<title>{marked_up(title)}</title><desc>{marked_up(about)}</desc>" if title else ""
    role = f' role="img" aria-label="{marked_up(title)}"' if title else ""
    content = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{across}" height="{down}" '
        f'viewBox="0 0 {across} {down}"{role} '
        "font-family=\"system-ui, 'DejaVu Sans', Verdana, Arial, sans-serif\">"
        f"{named}<style>{style}</style>{''.join(parts)}</svg>\n"
    )
    return content.encode()
