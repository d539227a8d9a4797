"""The pictures of reports as files: SVG, and PNG where a library for it is installed."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Mapping, Sequence
from html import unescape
from typing import ClassVar

from greenai_core import Exporter, PluginUnavailable, Report, ReportSource, SchemaError

from .pages.page import page_of
from .pictures.picture import Picture, standalone
from .svg_text import clean

PNG_SCALE = 2.0
"""Dots for each unit: sharp on screens with small pixels."""


class SvgExporter(Exporter):
    """Pictures as SVG; ``export`` gives the first, which shows the main thing."""

    name: ClassVar[str] = "svg"
    suffix: ClassVar[str] = ".svg"

    def export(self, report: Report) -> bytes:
        """The first picture of the report.

        Raises:
            SchemaError: nothing can be drawn of it.
        """
        return self.export_several([ReportSource("report", report)])

    def export_several(self, sources: Sequence[ReportSource]) -> bytes:
        """The first picture of all of them together.

        Raises:
            SchemaError: nothing can be drawn of them.
        """
        return self._written(_pictures(sources)[0], 0)

    def export_parts(self, sources: Sequence[ReportSource]) -> Mapping[str, bytes]:
        """Every picture by its name; those with logarithmic axes end in ``-log``.

        Raises:
            SchemaError: nothing can be drawn of them.
        """
        made = {}
        for picture in _pictures(sources):
            for index, (axes, _) in enumerate(picture.variants):
                name = picture.name if axes == "linear" else f"{picture.name}-{axes}"
                made[name] = self._written(picture, index)
        return made

    def _written(self, picture: Picture, variant: int) -> bytes:
        return standalone(picture, variant)


class PngExporter(SvgExporter):
    """The same as PNG, on white, with what it shows as its description."""

    name: ClassVar[str] = "png"
    suffix: ClassVar[str] = ".png"

    def _written(self, picture: Picture, variant: int) -> bytes:
        try:
            import vl_convert
        except ImportError as error:
            raise PluginUnavailable(
                f"PNG needs vl-convert-python ({error})",
                "Install it with `pip install vl-convert-python`, or ask for SVG, which needs "
                "nothing",
            ) from error
        drawn = standalone(picture, variant, dark_too=False).decode()
        content: bytes = vl_convert.svg_to_png(drawn, scale=PNG_SCALE)
        return _described(content, picture)


def _described(content: bytes, picture: Picture) -> bytes:
    """A PNG that carries in words what it shows: its title, and what each point tells."""
    tips = re.findall(r'aria-label="([^"]*)"', picture.variants[0][1].body)
    lines = [picture.title, picture.about, *(unescape(tip).replace("\n", "; ") for tip in tips)]
    # International text: keyword, not compressed, no language, no translated keyword.
    body = b"Description\0\0\0\0\0" + "\n".join(map(clean, lines)).encode()
    chunk = b"iTXt" + body
    whole = struct.pack(">I", len(body)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    end_of_header = 8 + 4 + 4 + 13 + 4
    return content[:end_of_header] + whole + content[end_of_header:]


def _pictures(sources: Sequence[ReportSource]) -> tuple[Picture, ...]:
    found = page_of(sources).pictures
    if not found:
        names = ", ".join(source.name for source in sources)
        raise SchemaError(
            f"there is nothing to draw in {names}: it takes an energy that is known, and of a "
            "study two sizes; the tables of a page (.html, .md) show what there is"
        )
    return found
