"""What a page is made of, before anybody decides how it is written down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from greenai_plugins.exporters.quantities import Quantity

if TYPE_CHECKING:
    from greenai_plugins.exporters.pictures.picture import Picture


@dataclass(frozen=True)
class Code:
    """A name as a machine knows it: a file, a command, a channel."""

    text: str


@dataclass(frozen=True)
class Tag:
    """A word that stands out.

    Attributes:
        text: the word.
        tone: ``good``, ``bad``, ``doubt`` or ``plain``.
    """

    text: str
    tone: str = "plain"


Cell = str | Quantity | Code | Tag


@dataclass(frozen=True)
class Table:
    """Rows of cells.

    Attributes:
        caption: what it holds.
        head: names of the columns; the first names the rows.
        rows: each as long as ``head``.
    """

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Notes:
    """Sentences, a line each.

    Attributes:
        lines: the sentences.
        tone: ``warning`` or ``plain``.
    """

    lines: tuple[str, ...]
    tone: str = "plain"


@dataclass(frozen=True)
class Pictures:
    """Pictures beside each other."""

    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Letters:
    """A grade.

    Attributes:
        subject: what was graded.
        letter: None when ungraded.
        best_letter: at the favourable end of the interval.
        lines: why, and what the next letter takes.
    """

    subject: str
    letter: str | None
    best_letter: str | None
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """Names and values, such as those of a machine."""

    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Download:
    """A file that the page carries.

    Attributes:
        name: of the file.
        kind: MIME type.
        content: of the file.
    """

    name: str
    kind: str
    content: bytes


@dataclass(frozen=True)
class Downloads:
    """Files that the page carries, the most wanted first."""

    files: tuple[Download, ...]


Block = Table | Notes | Pictures | Letters | Facts | Downloads | str


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it.

    Attributes:
        title: its heading.
        blocks: in their order; a string is a paragraph.
        folded: it is shown when asked for.
    """

    title: str
    blocks: tuple[Block, ...]
    folded: bool = False


@dataclass(frozen=True)
class Page:
    """A whole page.

    Attributes:
        title: what it is about.
        kicker: what kind of page it is.
        finding: the main thing in a sentence.
        meta: when, where, in short.
        cautions: what must be known before any figure is read.
        sections: in their order.
    """

    title: str
    kicker: str
    finding: str
    meta: tuple[str, ...]
    cautions: tuple[str, ...]
    sections: tuple[Section, ...]

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """All pictures, in their order."""
        return tuple(
            picture
            for section in self.sections
            for block in section.blocks
            if isinstance(block, Pictures)
            for picture in block.pictures
        )
