"""Run the code cells of a notebook in order, in one process, without Jupyter.

``python -m greenai_core.cli.notebook FILE [ARGUMENTS]...`` is what ``greenai grade``
starts. Nothing is displayed but what the cells print.
"""

from __future__ import annotations

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

MAGIC = re.compile(r"^(\s*)(?:%(\w+)|!|\?|[\w.]+\?{1,2}\s*$)")

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
    """

    number: int
    name: str
    source: str
    skipped: tuple[str, ...]


def read_cells(path: Path) -> tuple[Cell, ...]:
    """The code cells of a notebook, checked: all of them are Python.

    Raises:
        ConfigError: it is no notebook of Python, or a cell cannot be run here.
    """
    content = _content(path)
    found: list[Cell] = []
    for cell in content["cells"]:
        if not isinstance(cell, dict) or cell.get("cell_type") != "code":
            continue
        source = cell.get("source", "")
        text = "".join(map(str, source)) if isinstance(source, list) else str(source)
        found.append(_checked(path, len(found) + 1, text))
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


def _checked(path: Path, number: int, text: str) -> Cell:
    """A cell without what only IPython understands.

    Raises:
        ConfigError: it needs IPython, or is not Python.
    """
    name, skipped = f"{path.name}, cell {number}", []
    if text.lstrip().startswith("%%"):
        magic = text.split(maxsplit=1)[0]
        raise ConfigError(f"{name} is a {magic} cell, which is a magic of IPython. {INSTEAD}")
    try:
        compiled(text, name)
    except (SyntaxError, ValueError) as error:
        lines = text.split("\n")
        for at, line in enumerate(lines):
            found = MAGIC.match(line)
            if found is None:
                continue
            if found[2] not in SKIPPED:
                raise ConfigError(
                    f"{name}, line {at + 1}: {line.strip()!r} is a magic of IPython. {INSTEAD}"
                ) from error
            skipped.append(line.strip())
            lines[at] = f"{found[1]}pass"
        text = "\n".join(lines)
    try:
        compiled(text, name)
    except (SyntaxError, ValueError) as error:
        where = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        what = error.msg if isinstance(error, SyntaxError) else error
        raise ConfigError(f"{name}{where} is not Python: {what}") from error
    return Cell(number, name, text, tuple(skipped))


def compiled(source: str, name: str) -> types.CodeType:
    """The code of a cell; ``await`` may stand outside of functions, as in Jupyter.

    Raises:
        SyntaxError: it is not Python.
    """
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code: types.CodeType = compile(source, f"<{name}>", "exec", flags=flags, dont_inherit=True)
    return code


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
            _execute(compiled(cell.source, cell.name), vars(main))
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
