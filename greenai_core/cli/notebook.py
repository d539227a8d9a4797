"""Run the code cells of a notebook in order, in one process, without Jupyter.

``python -m greenai_core.cli.notebook FILE [ARGUMENTS]...`` is what ``greenai grade``
starts. Nothing is displayed but what the cells print.
"""

from __future__ import annotations
import __future__

import ast
import inspect
import json
import linecache
import os
import re
import sys
import traceback
import types
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greenai_core.errors import ConfigError

SKIPPED = ("autoreload", "config", "load_ext", "matplotlib", "reload_ext")
"""Line magics that only change what is shown, or how modules are reloaded."""

TIMING = "time"
"""A magic that shows how long a statement, or a cell, took, and runs it as it stands."""

MAGIC = re.compile(r"^(\s*)(?:%(\w+)(.*)|(?:[^=#'\"]+=\s*)?[%!]\w|!|\?|[\w.]+\?{1,2}\s*$)")

FUTURES = sum(getattr(__future__, name).compiler_flag for name in __future__.all_feature_names)

INSTEAD = (
    "Take it out, or save the notebook as a script (jupyter nbconvert --to script) and grade that"
)


@dataclass(frozen=True)
class Cell:
    """A code cell that can be run.

    Attributes:
        number: among all code cells, from 1.
        name: for tracebacks.
        source: Python, without line magics that may be skipped.
        skipped: those.
        futures: flags of the compiler that cells before it set by ``from __future__``.
    """

    number: int
    name: str
    source: str
    skipped: tuple[str, ...]
    futures: int = 0


def read_cells(path: Path) -> tuple[Cell, ...]:
    """The code cells of a notebook, checked: all of them are Python.

    Raises:
        ConfigError: it is no notebook of Python, or a cell cannot be run here.
    """
    content = _content(path)
    found: list[Cell] = []
    futures = 0
    for cell in content["cells"]:
        if not isinstance(cell, dict) or cell.get("cell_type") != "code":
            continue
        source = cell.get("source", "")
        text = "".join(map(str, source)) if isinstance(source, list) else str(source)
        found.append(_checked(path, len(found) + 1, text, futures))
        futures |= _code(found[-1]).co_flags & FUTURES
    return tuple(found)


def _content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"the notebook {path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is no notebook: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("cells"), list):
        raise ConfigError(
            f"{path} is no notebook of format 4: it has no cells. Save it anew with Jupyter"
        )
    metadata = content.get("metadata")
    kernel = metadata.get("kernelspec") if isinstance(metadata, dict) else None
    language = kernel.get("language", "python") if isinstance(kernel, dict) else "python"
    if str(language).lower() != "python":
        raise ConfigError(
            f"{path} is in {language}, not Python. Grade the command that runs it: "
            "greenai grade -- COMMAND"
        )
    return content


def _checked(path: Path, number: int, text: str, futures: int) -> Cell:
    """A cell without what only IPython understands.

    Raises:
        ConfigError: it needs IPython, or is not Python.
    """
    name = f"{path.name}, cell {number}"
    lines = text.split("\n")
    first = next((i for i, line in enumerate(lines) if line.strip()), 0)
    skipped = []
    if lines[first].startswith("%%"):
        if lines[first].strip() != f"%%{TIMING}":
            magic = lines[first].split(maxsplit=1)[0]
            raise ConfigError(f"{name} is a {magic} cell, which is a magic of IPython. {INSTEAD}")
        skipped.append(lines[first].strip())
        lines[first] = ""
    while True:
        cell = Cell(number, name, "\n".join(lines), tuple(skipped), futures)
        try:
            _code(cell)
        except (SyntaxError, ValueError) as error:
            at = error.lineno if isinstance(error, SyntaxError) else None
            if not isinstance(error, SyntaxError) or at is None or not 0 < at <= len(lines):
                raise ConfigError(f"{name} is not Python: {error}") from error
            skipped.append(lines[at - 1].strip())
            lines[at - 1] = _without_magic(lines[at - 1], f"{name}, line {at}", error)
        else:
            return cell


def _without_magic(line: str, where: str, error: SyntaxError) -> str:
    """A line that is not Python, without its magic, so that it may be.

    Raises:
        ConfigError: there is none that can be skipped.
    """
    found = MAGIC.match(line)
    if found is None:
        raise ConfigError(f"{where} is not Python: {error.msg}") from error
    if found[2] == TIMING:
        return found[1] + (found[3].strip() or "pass")
    if found[2] not in SKIPPED:
        raise ConfigError(f"{where}: {line.strip()!r} is a magic of IPython. {INSTEAD}") from error
    return f"{found[1]}pass"


def _code(cell: Cell) -> types.CodeType:
    """The code of a cell; ``await`` may stand outside of functions, as in Jupyter.

    Raises:
        SyntaxError: it is not Python.
    """
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | cell.futures
    code: types.CodeType = compile(
        cell.source, f"<{cell.name}>", "exec", flags=flags, dont_inherit=True
    )
    return code


def _display(*shown: object, **how: object) -> None:
    """Stands for IPython's: nothing is displayed here."""


def run(path: Path, arguments: Sequence[str]) -> int:
    """Run the cells in a namespace of their own, in the folder of the notebook as Jupyter does.

    Returns:
        The exit code: 1 after an exception, which is shown as Python does.

    Raises:
        SystemExit: a cell ended the program.
        KeyboardInterrupt: Ctrl-C.
        ConfigError: see ``read_cells``.
    """
    cells = read_cells(path)
    main = types.ModuleType("__main__")
    vars(main)["display"] = _display
    sys.modules["__main__"] = main
    folder = path.resolve().parent
    sys.argv = [str(path.resolve()), *arguments]
    sys.path[0] = str(folder)
    os.chdir(folder)
    for cell in cells:
        file = f"<{cell.name}>"
        lines = cell.source.splitlines(keepends=True)
        linecache.cache[file] = (len(cell.source), None, lines, file)
        try:
            _execute(_code(cell), vars(main))
        except Exception as error:  # noqa: BLE001  # shown as Python shows what nobody caught
            shown = error.with_traceback(_theirs(error, file))
            traceback.print_exception(type(shown), shown, shown.__traceback__)
            return 1
    return 0


def _execute(code: types.CodeType, namespace: dict[str, Any]) -> None:
    made = eval(code, namespace)  # noqa: S307  # running the user's cells is its purpose
    if not code.co_flags & inspect.CO_COROUTINE:
        return
    import asyncio

    if "loop" not in _LOOP:
        _LOOP["loop"] = asyncio.new_event_loop()
        asyncio.set_event_loop(_LOOP["loop"])
    _LOOP["loop"].run_until_complete(made)


_LOOP: dict[str, Any] = {}
"""The event loop of all cells: what one has begun, the next may await."""


def _theirs(error: Exception, file: str) -> types.TracebackType | None:
    """The traceback from the cell on, without how it was started."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename != file:
        trace = trace.tb_next
    return trace or error.__traceback__


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1]), sys.argv[2:]))
