"""What a command is called, without its folder and arguments: those are nobody's business."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

WITH_VALUE = ("-W", "-X", "--check-hash-based-pycs")
"""Options of Python that a value follows."""


def program_name(command: Sequence[str]) -> str:
    """The script, module or program that a command runs.

    Args:
        command: as a report has it: ``("train.py", "--epochs", "3")``, ``("-m", "json.tool")``,
            ``("python3", "-u", "train.py")``.

    Returns:
        Its name alone; ``command`` where there is none.
    """
    words = [*command]
    if words and PurePath(words[0]).name.startswith("python"):
        words = _after_options(words[1:]) or words[:1]
    if words[:1] == ["-m"]:
        words = words[1:]
    return (PurePath(words[0]).name if words else "") or "command"


def _after_options(words: Sequence[str]) -> list[str]:
    """What Python runs, from the script or ``-m`` on; empty where it runs neither."""
    at = 0
    while at < len(words) and words[at].startswith("-"):
        if words[at] == "-m":
            return [*words[at : at + 2]] if at + 1 < len(words) else []
        if words[at] in ("-", "-c"):
            return []
        at += 2 if words[at] in WITH_VALUE else 1
    return [*words[at : at + 1]]
