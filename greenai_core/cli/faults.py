"""Errors that do not end a command: told at once, remembered for the exit code."""

from __future__ import annotations

import traceback
from pathlib import Path

import click

from . import exit_codes
from .main import State, message
from .output import complain, note


class Faults:
    """What went wrong with some of several pieces of work.

    Attributes:
        code: exit code of the first fault; 0 while there is none.
        told: the messages.
    """

    def __init__(self) -> None:
        self.code = exit_codes.OK
        self.told: list[str] = []

    def add(self, error: Exception, subject: str = "") -> None:
        """Tell an error.

        Args:
            error: what was raised.
            subject: which piece of work, where the message does not name it.
        """
        context = click.get_current_context(silent=True)
        state = context.find_object(State) if context else None
        if state and state.debug:
            note("".join(traceback.format_exception(error)).rstrip())
        text = message(error)
        if subject and Path(subject).name not in text:
            text = f"{subject}: {text}"
        self.tell(text, exit_codes.of(error))

    def tell(self, text: str, code: int) -> None:
        """Tell a fault that was no exception; once, if it comes again."""
        self.code = self.code or code
        if text not in self.told:
            self.told.append(text)
            complain(text)
