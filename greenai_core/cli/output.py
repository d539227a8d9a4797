"""What the command line writes: results to stdout, everything else to stderr.

Colour only on a terminal and never with ``NO_COLOR``. JSON is UTF-8 whatever the
locale says. What `greenai --help` does not need is imported when used.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import shutil
import stat
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from greenai_core.errors import GreenAIError

if TYPE_CHECKING:
    from rich.table import Table

WIDTH = 80

FULL = (errno.ENOSPC, errno.EDQUOT)
"""What the system says of a disk without space."""


class OutputError(GreenAIError):
    """A result could not be written: the disk is full, or there is no permission."""


def emit(text: str) -> None:
    """Write a result to stdout.

    Raises:
        BrokenPipeError: nobody reads it any more.
        OutputError: it cannot be written.
    """
    emit_bytes((text + "\n").encode(_encoding(), "replace"))


def emit_bytes(content: bytes) -> None:
    """Write bytes to stdout. See ``emit``."""
    try:
        click.echo(content, nl=False)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(
            f"the result cannot be written to stdout: {error.strerror}. "
            "Free some space, or send it elsewhere"
        ) from error


def emit_json(value: object) -> None:
    """Write a value as one JSON document to stdout."""
    emit_bytes(json_bytes(value))


def json_bytes(value: object) -> bytes:
    """A value as a JSON document; paths that are not UTF-8 keep their bytes as escapes."""
    from greenai_core.report_files import to_json

    text = json.dumps(to_json(value), indent=2, allow_nan=False, ensure_ascii=False)
    return (text + "\n").encode("utf-8", "backslashreplace")


def note(text: str) -> None:
    """Tell something on stderr that is no result; lost when nobody can read it."""
    with contextlib.suppress(OSError):
        click.echo(text, err=True)


def warn(text: str) -> None:
    """One line of warning on stderr."""
    note(f"greenai: warning: {one_line(text)}")


def complain(text: str) -> None:
    """One line of error on stderr."""
    note(f"greenai: error: {one_line(text)}")


def one_line(text: str) -> str:
    """The text without line breaks, and without what would steer the terminal.

    Names of processes and of devices are others' to choose.
    """
    return "".join(sign if sign.isprintable() else "?" for sign in " ".join(text.split()))


def save(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; devices and pipes are written to directly.

    Raises:
        OutputError: it cannot be written.
    """
    from greenai_core.report_files import write_atomically

    try:
        target = path.resolve()
        if target.exists() and not stat.S_ISREG(target.stat().st_mode):
            target.write_bytes(content)
        else:
            write_atomically(target, content)
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError) -> OutputError:
    """What to say when ``path`` cannot be written."""
    full = error.errno in FULL
    step = "Free some space there, or choose another place" if full else "Choose another place"
    reason = error.strerror or str(error)
    if isinstance(error, (FileExistsError, NotADirectoryError)):
        reason = "a part of its path is a file, not a folder"
    return OutputError(f"{path} cannot be written: {reason}. {step}")


@contextlib.contextmanager
def stdout_kept_clean() -> Iterator[None]:
    """What libraries and users' classes print meanwhile goes to stderr."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def table(
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[int] = (),
    whole: Sequence[int] = (),
) -> str:
    """A table that fits the terminal, or 80 columns where there is none.

    Args:
        headers: of the columns.
        rows: cells as text; long ones are folded, never cut.
        right: columns that are aligned to the right.
        whole: columns whose cells stay on one line; short ones, as figures are.
    """
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for index, header in enumerate(headers):
        made.add_column(
            header,
            justify="right" if index in right else "left",
            overflow="fold",
            no_wrap=index in whole,
        )
    for row in rows:
        made.add_row(*map(_escaped, row))
    return _rendered(made)


def heading(text: str) -> str:
    """A line that stands out on a terminal."""
    return click.style(text, bold=True) if colourful() else text


def paragraph(text: str, indent: str = "") -> str:
    """The text wrapped to the width of tables; long words stay whole."""
    return textwrap.fill(
        text,
        width=width(),
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def width() -> int:
    """Columns to fill: those of the terminal; else COLUMNS, or 80."""
    if _is_terminal() or os.environ.get("COLUMNS", "").isdigit():
        return max(shutil.get_terminal_size((WIDTH, 24)).columns, 40)
    return WIDTH


def colourful() -> bool:
    """Whether stdout takes colour."""
    return _is_terminal() and not os.environ.get("NO_COLOR")


def abandon_stdout() -> None:
    """Let nothing more be written to a stdout that failed, not even at exit."""
    with contextlib.suppress(Exception):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _is_terminal() -> bool:
    return bool(sys.stdout is not None and sys.stdout.isatty())


def _encoding() -> str:
    return getattr(sys.stdout, "encoding", None) or "utf-8"


def _escaped(cell: str) -> str:
    from rich.markup import escape

    # Names of files that are not UTF-8 hold surrogates, which no terminal takes.
    return escape(cell.encode("utf-8", "replace").decode())


def _rendered(made: Table) -> str:
    from rich.console import Console

    buffer = io.StringIO()
    options: dict[str, Any] = {"force_terminal": True} if colourful() else {"no_color": True}
    Console(file=buffer, width=width(), highlight=False, **options).print(made)
    lines = buffer.getvalue().rstrip("\n").split("\n")
    return "\n".join(line.rstrip() for line in lines)
