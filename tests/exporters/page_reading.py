"""A page read back: its elements, and what it would load."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "link", "br", "hr", "img", "input"}
LOADS = ("src", "href", "srcset", "action", "data", "xlink:href", "poster", "background")


@dataclass
class Element:
    tag: str
    attributes: dict
    text: str = ""
    inside: list = field(default_factory=list)

    def all(self, tag):
        """Every element of that tag below this one."""
        found = [one for one in self.inside if one.tag == tag]
        return found + [deeper for one in self.inside for deeper in one.all(tag)]

    def words(self):
        """All text below."""
        return self.text + " ".join(one.words() for one in self.inside)


class _Reader(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.root = Element("root", {})
        self.open = [self.root]

    def handle_starttag(self, tag, attrs):
        one = Element(tag, dict(attrs))
        self.open[-1].inside.append(one)
        if tag not in VOID:
            self.open.append(one)

    def handle_startendtag(self, tag, attrs):
        self.open[-1].inside.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data):
        self.open[-1].text += data


def read_page(content):
    """The root of a page; tags that do not nest are an error."""
    reader = _Reader()
    reader.feed(content.decode())
    assert reader.open == [reader.root]
    return reader.root


def rows_of(table):
    """Texts of the cells of a table, row by row, the head first."""
    return [
        [re.sub(r"\s+", " ", cell.words()).strip() for cell in row.inside]
        for row in table.all("tr")
    ]


def loaded(root):
    """What the page would load or lead to."""
    return [
        (one.tag, name, value)
        for one in everything(root)
        for name, value in one.attributes.items()
        if name in LOADS
    ]


def everything(root):
    """Every element."""
    return [deeper for one in root.inside for deeper in (one, *everything(one))]


def downloads(root):
    """Name -> content of the files that the page carries."""
    return {
        one.attributes["download"]: base64.b64decode(one.attributes["href"].partition(",")[2])
        for one in root.all("a")
        if "download" in one.attributes
    }
