"""On which line of a TOML file a key stands, which the parsers of Python do not tell.

Only for text that a parser has accepted: nothing is checked here.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field

Path = tuple[str | int, ...]

_BLANK = " \t\r\n"
_BARE_ENDS = _BLANK + ",]}#="


def key_lines(text: str) -> dict[Path, int]:
    """The line of each key, by its path: ``("models", 1, "file")`` for the second of ``models``.

    Elements of arrays have paths too. Lines count from 1; a table is at its header.

    Args:
        text: valid TOML.
    """
    scanner = _Scanner(text)
    scanner.document()
    return scanner.lines


def line_of(lines: dict[Path, int], path: Path) -> int:
    """The line of a path, or of the nearest thing around it; 1 for the whole file."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


@dataclass
class _Scanner:
    text: str
    at: int = 0
    lines: dict[Path, int] = field(default_factory=dict)
    arrays: Counter[Path] = field(default_factory=Counter)

    def document(self) -> None:
        inside: Path = ()
        while self._skip():
            if self.text[self.at] == "[":
                inside = self._header()
            else:
                self._pair(inside)

    def _header(self) -> Path:
        line = self._line()
        many = self.text.startswith("[[", self.at)
        self.at += 2 if many else 1
        keys = self._dotted()
        self._skip()
        self.at += 2 if many else 1
        path: Path = (*self._resolved(keys[:-1]), keys[-1])
        if many:
            number = self.arrays[path]
            self.arrays[path] += 1
            self.lines.setdefault(path, line)
            path = (*path, number)
        else:
            path = self._resolved(keys)
        for length in range(1, len(path) + 1):
            self.lines.setdefault(path[:length], line)
        return path

    def _resolved(self, keys: list[str]) -> Path:
        """The path that a header's keys mean: of an array of tables, its latest one."""
        path: Path = ()
        for key in keys:
            path = (*path, key)
            if self.arrays[path]:
                path = (*path, self.arrays[path] - 1)
        return path

    def _pair(self, inside: Path) -> None:
        line = self._line()
        path = inside
        for key in self._dotted():
            path = (*path, key)
            self.lines.setdefault(path, line)
        self._skip()
        self.at += 1  # =
        self._value(path)

    def _value(self, path: Path) -> None:
        self._skip()
        opening = self.text[self.at]
        if opening in "\"'":
            self._string()
        elif opening == "[":
            self.at += 1
            number = 0
            while self._skip() and self.text[self.at] != "]":
                element = (*path, number)
                self.lines[element] = self._line()
                self._value(element)
                number += 1
                self._comma()
            self.at += 1
        elif opening == "{":
            self.at += 1
            while self._skip() and self.text[self.at] != "}":
                self._pair(path)
                self._comma()
            self.at += 1
        else:
            while self.at < len(self.text) and self.text[self.at] not in ",]}#\n":
                self.at += 1

    def _comma(self) -> None:
        if self._skip() and self.text[self.at] == ",":
            self.at += 1

    def _dotted(self) -> list[str]:
        keys = []
        while True:
            self._skip()
            if self.text[self.at] in "\"'":
                keys.append(self._string())
            else:
                begun = self.at
                while self.text[self.at] not in _BARE_ENDS + ".":
                    self.at += 1
                keys.append(self.text[begun : self.at])
            self._skip()
            if self.text[self.at] != ".":
                return keys
            self.at += 1

    def _string(self) -> str:
        """Go past a string; its content, as far as keys need it."""
        quote = self.text[self.at]
        mark = quote * 3 if self.text.startswith(quote * 3, self.at) else quote
        self.at += len(mark)
        begun = self.at
        while not self.text.startswith(mark, self.at):
            self.at += 2 if quote == '"' and self.text[self.at] == "\\" else 1
        while len(mark) == 3 and self.text.startswith(quote, self.at + 3):
            self.at += 1  # quotes just before the closing ones belong to the string
        content = self.text[begun : self.at]
        self.at += len(mark)
        if quote == '"' and "\\" in content and len(mark) == 1:
            return str(json.loads(f'"{_as_json(content)}"'))
        return content

    def _skip(self) -> bool:
        """Go past blanks and comments; whether anything is left."""
        while self.at < len(self.text):
            if self.text[self.at] == "#":
                end = self.text.find("\n", self.at)
                self.at = len(self.text) if end < 0 else end
            elif self.text[self.at] in _BLANK:
                self.at += 1
            else:
                return True
        return False

    def _line(self) -> int:
        return self.text.count("\n", 0, self.at) + 1


def _as_json(content: str) -> str:
    """The content with the escapes that JSON does not have, of eight digits, in its own way."""
    parts = content.split("\\U")
    return parts[0] + "".join(
        json.dumps(chr(int(part[:8], 16)))[1:-1] + part[8:] for part in parts[1:]
    )
