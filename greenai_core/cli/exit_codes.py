"""The exit codes, public and documented in ``docs/exit-codes.md``."""

from __future__ import annotations

import errno

import click

from greenai_core import errors
from greenai_core.errors import (
    ComparisonError,
    ConfigError,
    GradeError,
    MeasurementError,
    ModelError,
    PluginError,
    PowerCapError,
    SchemaError,
    ServiceError,
)

from .output import OutputError

OK = 0
UNEXPECTED = 1
USAGE = 2
PLUGIN = 3
MODEL = 4
MEASUREMENT = 5
OUTPUT = 6
REPORT = 7
WORSE = 8
"""``compare --fail-if-worse``: a model uses more energy than the first. No error."""
SERVICE = 9
"""A grading service did not answer or refused; the runs are in the spool."""
WRAPPER_FAILED = 125
NOT_EXECUTABLE = 126
NOT_FOUND = 127
SIGNAL = 128
"""Added to the number of the signal that ended the work: 130 Ctrl-C, 143 SIGTERM."""
BROKEN_PIPE = 141
"""The reader of stdout went away; what a shell shows for a program killed by SIGPIPE."""

_KINDS: tuple[tuple[type[Exception], int], ...] = (
    (click.UsageError, USAGE),
    (ConfigError, USAGE),
    (PluginError, PLUGIN),
    (ModelError, MODEL),
    (MeasurementError, MEASUREMENT),
    (PowerCapError, MEASUREMENT),
    (OutputError, OUTPUT),
    (ComparisonError, REPORT),
    (GradeError, REPORT),
    (SchemaError, REPORT),
    (ServiceError, SERVICE),
)
_CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)


def of(error: BaseException) -> int:
    """The exit code for an error."""
    for kind, code in _KINDS:
        if isinstance(error, kind):
            return code
    if isinstance(error, OSError) and error.errno in _CANNOT_WRITE:
        return OUTPUT
    return UNEXPECTED


def of_class(name: str) -> int:
    """The exit code for errors of a class, by its name."""
    raised = getattr(errors, name, None)
    if not isinstance(raised, type):
        return UNEXPECTED
    return next((code for kind, code in _KINDS if issubclass(raised, kind)), UNEXPECTED)
