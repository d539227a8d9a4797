"""What `import greenai_core` and `greenai --help` add to the start of an interpreter."""

from __future__ import annotations

import functools
import subprocess
import sys

from cases.outcome import Outcome
from cases.timing import interleaved_medians, scaled

COMMANDS = (
    ("-c", "pass"),
    ("-c", "import greenai_core"),
    ("-m", "greenai_core", "--help"),
)


def measure(scale: float = 1.0) -> tuple[Outcome, ...]:
    """Medians of interleaved runs, each in its own process."""
    rounds = scaled(25, scale)
    works = [functools.partial(_run, arguments) for arguments in COMMANDS]
    bare, imported, helped = interleaved_medians(works, rounds)
    detail = f"on top of {bare * 1e3:.0f} ms of a bare interpreter; medians of {rounds} runs"
    return (
        Outcome("import greenai_core", (imported - bare) * 1e3, "ms", 60.0, detail),
        Outcome("greenai --help", (helped - bare) * 1e3, "ms", 200.0, detail),
    )


def _run(arguments: tuple[str, ...]) -> None:
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
