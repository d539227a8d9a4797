"""A crash inside a library is told like any other error.

A damaged file can end the process from within a library's native code, where
no Python can catch it. So the work is done in a fork, and the first process
only waits for it: it hands signals on and turns a crash into a clear message.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from types import FrameType

from . import exit_codes
from .output import complain

WATCHED = ("params", "run", "bench", "compare", "train", "layers")
"""Commands that open model files in their own process."""

CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)

PATIENCE_S = 2.0
"""A signal that comes so long after the first one finds work that cannot hear."""

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def wanted(arguments: Sequence[str]) -> bool:
    """Whether a command line is to be watched: it opens a model, and a fork is safe now."""
    at = next((i for i, word in enumerate(arguments) if not word.startswith("-")), None)
    if at is None or sys.platform != "linux":
        return False
    name = arguments[at]
    opens = name in WATCHED or (name == "grade" and _grades_a_model(arguments[at + 1 :]))
    return opens and threading.active_count() == 1


def _grades_a_model(arguments: Sequence[str]) -> bool:
    """Whether ``grade`` measures a model; a script is a process of its own already."""
    from greenai_core.errors import GreenAIError

    from . import grade_arguments
    from .grade import command

    try:
        words = grade_arguments.split(arguments, grade_arguments.takes_value(command.params))
    except GreenAIError:
        return False  # the command itself tells it
    return words.kind == grade_arguments.MODEL


def split() -> int | None:
    """Go on in a fork.

    Returns:
        None in the fork, which does the work; in the process that was there
        before the exit code, when the fork has ended.
    """
    from .child import FROM_KEYBOARD, RELAYED, keyboard_reaches_child

    waiting = signal.pthread_sigmask(signal.SIG_BLOCK, RELAYED)
    sys.stdout.flush()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        end_with(parent)
        signal.pthread_sigmask(signal.SIG_SETMASK, waiting)
        return None

    first = math.inf

    def relay(number: int, frame: FrameType | None) -> None:
        nonlocal first
        first = min(first, time.monotonic())
        if time.monotonic() - first > PATIENCE_S:
            # Native code that never returns hears nothing else.
            os.kill(child, signal.SIGKILL)
        elif not (number in FROM_KEYBOARD and keyboard_reaches_child()):
            os.kill(child, number)

    for number in RELAYED:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, relay)
    signal.pthread_sigmask(signal.SIG_SETMASK, waiting)
    return _told(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def _told(code: int) -> int:
    """The exit code to end with, after telling what no one else could."""
    if code >= 0:
        return code
    name = signal.Signals(-code).name
    if -code in CRASHES:
        complain(
            f"the library crashed while it read or ran the model ({name}). The file is probably "
            "damaged, or made to do this: get it again, or look at it with `greenai params`, "
            "which reads headers without the library"
        )
        return exit_codes.MODEL
    if -code == signal.SIGKILL:
        complain(
            "the work was killed (SIGKILL), as Linux does when memory runs out. Use a smaller "
            "batch or model, or free some memory"
        )
    return exit_codes.SIGNAL - code


def end_with(parent: int) -> None:
    """Have the kernel end this process when its parent is killed, so that none is left behind."""
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(exit_codes.SIGNAL + signal.SIGKILL)
