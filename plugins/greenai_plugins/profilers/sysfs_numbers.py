"""Numbers and texts in files of sysfs, with errors that say what is wrong with which file."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from greenai_core import ReadingError

LONGEST = 64
"""Bytes of the longest number that a driver prints, with room to spare."""

LONGEST_TEXT = 4096
"""Characters: a page, which no file of sysfs exceeds."""

GONE = (errno.ENOENT, errno.ENODEV, errno.ENXIO)
"""What a read ends in once the device or its driver is no longer there."""


def read_number(file: Path, what: str) -> int:
    """The whole number in a file.

    It is opened anew each time: an open file of a device that went away may keep its
    last value on some file systems, and opening one of sysfs costs microseconds.

    Args:
        file: to be read.
        what: is read, for messages.

    Raises:
        ReadingError: the file is gone, forbidden, cannot be read, or holds no number.
    """
    content = b""
    try:
        fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            content = os.read(fd, LONGEST)
        finally:
            os.close(fd)
        return int(content)
    except OSError as error:
        raise ReadingError(f"{what}: {file} {_why(error)}") from error
    except ValueError as error:
        raise ReadingError(f"{what}: {file} holds {content!r} instead of a number") from error


def _why(error: OSError) -> str:
    if error.errno in GONE:
        return f"is gone ({error.strerror}): the device was unplugged, or its driver unloaded"
    if error.errno == errno.ENODATA:
        return "has no data now: the input is switched off, or not measured"
    return f"could not be read ({error.strerror})"


def denied(error: ReadingError) -> bool:
    """Whether a file could not be read because the user may not."""
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno == errno.EACCES


def text(file: Path) -> str:
    """What a file holds, without white space around it; empty if it cannot be read.

    Labels come from firmware: what could move a cursor or turn the text around is left out.
    """
    try:
        with file.open(encoding="utf-8", errors="replace") as stream:
            content = stream.read(LONGEST_TEXT).strip()
    except OSError:
        return ""
    return "".join(c for c in content if c.isprintable() or c.isspace())


def number(file: Path) -> int | None:
    """The number in a file that need not be there; None if there is none."""
    try:
        return int(text(file))
    except ValueError:
        return None
