"""A place in decoded JSON: ``a.b[0].c``, ``meters[1]["active power"]``. No more than that."""

from __future__ import annotations

import re
from typing import Any

_STEP = re.compile(r'\.?([A-Za-z_][\w-]*)|\[(\d{1,6})\]|\["([^"]+)"\]')
_SPLIT = re.compile(r'("[^"]*")')
MAX_STEPS = 32


def at(data: Any, *keys: str | int) -> Any:
    """The item at a place of decoded JSON.

    Raises:
        ValueError: there is none; names the place.
    """
    for key in keys:
        if isinstance(key, int):
            found = isinstance(data, list) and key < len(data)
        else:
            found = isinstance(data, dict) and key in data
        if not found:
            raise ValueError(f"its answer has no {told(keys)}")
        data = data[key]
    return data


def told(keys: tuple[str | int, ...]) -> str:
    """The place as it is written."""
    place = "".join(f"[{k}]" if isinstance(k, int) else f".{k}" for k in keys)
    return place.lstrip(".")


def parse_path(text: str) -> tuple[str | int, ...]:
    """The keys of a path.

    Raises:
        ValueError: it is none.
    """
    keys: list[str | int] = []
    end = 0
    while end < len(text):
        step = _STEP.match(text, end)
        if step is None or (not keys and text.startswith(".")):
            raise ValueError(
                f'{text!r} is no path like power, a.b[0].c or meters[1]["active power"]: stuck at '
                f"{text[end:]!r}"
            )
        name, index, quoted = step.groups()
        keys.append(int(index) if index else name or quoted)
        end = step.end()
    if len(keys) > MAX_STEPS:
        raise ValueError(f"{text!r} has more than {MAX_STEPS} steps")
    return tuple(keys)


def split(text: str, sign: str) -> list[str]:
    """Pieces of the text between the signs that stand outside of quotes."""
    # A sign inside of quotes is hidden while the text is split.
    parts = _SPLIT.split(text)
    hidden = [part.replace(sign, "\0") if n % 2 else part for n, part in enumerate(parts)]
    return [piece.replace("\0", sign).strip() for piece in "".join(hidden).split(sign)]
