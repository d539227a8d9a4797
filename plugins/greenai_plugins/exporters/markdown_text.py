"""Text in Markdown that means only itself."""

from __future__ import annotations

import re


def plain(text: str | None) -> str:
    """Text that can stand in a cell or a list, and means only itself."""
    flat = " ".join((text or "").split())
    return re.sub(r"([\\`*_|<\[])", r"\\\1", flat)


def code(text: str) -> str:
    """Text as code in a cell."""
    flat = " ".join(text.split()).replace("|", r"\|")
    return f"`` {flat} ``" if "`" in flat else f"`{flat}`"
