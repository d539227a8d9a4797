"""Sending a run to a grading service: on the disk first, and never at the cost of the run."""

from __future__ import annotations

import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from .errors import (
    ConfigError,
    GradeError,
    ServiceError,
    ServiceRefused,
    ServiceUnreachable,
    ServiceUntrusted,
)
from .grading import Grader
from .runs import Run
from .spool import Entry, Spool

SENT, KEPT, REJECTED, LOST, TAKEN = "sent", "kept", "rejected", "lost", "taken"
"""What became of a run; see ``Outcome``."""

DEADLINE_S = 20.0
"""After so long a service is given up, however it keeps the line open."""


@dataclass(frozen=True)
class Answer:
    """What a service said of a run.

    Attributes:
        service: its host.
        content: JSON types; what the service's grader makes a grade of.
        lines: the same for people.
    """

    service: str
    content: Mapping[str, Any]
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """What became of a run.

    Attributes:
        state: ``sent``; ``kept`` in the spool, for ``greenai sync``; ``rejected``
            by the service for good; ``lost``: it could be written nowhere, and
            so it was not sent either; ``taken``: another greenai is sending it, or
            has.
        answer: of the service; None unless sent.
        problem: why it was not sent; empty if it was.
        path: its file; None where there is none any more.
        silent: no connection came about, or nothing was said in time, so that the
            next run would fare no better.
    """

    state: str
    answer: Answer | None = None
    problem: str = ""
    path: Path | None = None
    silent: bool = False


class Sender(ABC):
    """Takes runs to one service.

    Attributes:
        grader: name of the plugin, under which ``greenai sync`` finds it again.
        url: address of the service, without any secret.
    """

    grader: ClassVar[str]
    url: str

    @abstractmethod
    def send(self, run: Run) -> Answer:
        """Send a run; doing it twice must be the same as doing it once.

        Raises:
            ServiceRefused: the service will never take it.
            GradeError: the run holds nothing that this service could grade.
            ServiceError: it did not work this time.
        """

    @abstractmethod
    def dry_run(self, run: Run) -> bytes:
        """The bytes that ``send`` would write, with no connection opened.

        In place of a token they hold the word ``TOKEN``.

        Raises:
            GradeError: see ``send``.
        """


class ServiceGrader(Grader):
    """A grader whose grades come from what a service answered."""

    @classmethod
    @abstractmethod
    def sender(cls, url: str, **options: Any) -> Sender:
        """The way to the service at an address.

        Raises:
            ConfigError: the address or an option cannot be used.
        """


def submit(
    run: Run,
    sender: Sender,
    spool: Spool,
    *,
    offline: bool = False,
    deadline_s: float = DEADLINE_S,
) -> Outcome:
    """Keep a run, then send it. Whatever service, network or disk do, this does not raise.

    Args:
        run: with a key that was made before it began.
        sender: to the service.
        spool: where it is kept until the service has it.
        offline: only keep it; no socket is opened.
        deadline_s: the longest that this may take, s.
    """
    try:
        entry = spool.put(run, sender.grader, sender.url)
    except (OSError, ConfigError) as error:
        reason = (error.strerror if isinstance(error, OSError) else "") or str(error)
        place = f" in {spool.folder}" if spool.folder else ""
        return Outcome(
            LOST,
            problem=f"the run cannot be kept{place}: {reason}. So it was not sent",
        )
    if offline:
        problem = "offline: nothing was sent. `greenai sync` sends it later"
        return Outcome(KEPT, problem=problem, path=entry.path)
    return deliver(entry, sender, spool, deadline_s=deadline_s)


def deliver(
    entry: Entry, sender: Sender, spool: Spool, *, deadline_s: float = DEADLINE_S
) -> Outcome:
    """Send a run that is in the spool, and move its file accordingly; does not raise."""
    with spool.claim(entry) as mine:
        if not mine:
            return Outcome(TAKEN, problem="another greenai is sending it, or has")
        return _delivered(entry, sender, spool, deadline_s)


def _delivered(entry: Entry, sender: Sender, spool: Spool, deadline_s: float) -> Outcome:
    try:
        answer = _within(deadline_s, sender, entry.run)
    except GradeError as error:
        return _put_aside(entry, spool, str(error))
    except ServiceRefused as error:
        again = "`greenai sync --rejected` tries once more"
        return _put_aside(entry, spool, f"{error}. {again}")
    except ServiceError as error:
        problem = f"{error}. The run is kept for `greenai sync`"
        silent = isinstance(error, (ServiceUnreachable, ServiceUntrusted))
        return Outcome(KEPT, problem=problem, path=entry.path, silent=silent)
    except Exception as error:  # noqa: BLE001  # a fault of a plugin must not cost the run either
        problem = f"unexpected {type(error).__name__} of the grader {sender.grader}: {error}"
        return Outcome(KEPT, problem=problem, path=entry.path)
    try:
        spool.remove(entry)
    except OSError as error:
        problem = f"{entry.path} was sent and cannot be removed: {error.strerror}. Remove it"
        return Outcome(SENT, answer, problem, entry.path)
    return Outcome(SENT, answer)


def _put_aside(entry: Entry, spool: Spool, why: str) -> Outcome:
    try:
        moved = spool.reject(entry, why)
    except (OSError, ConfigError) as error:
        return Outcome(KEPT, problem=f"{why}; and it cannot be moved: {error}", path=entry.path)
    return Outcome(REJECTED, problem=why, path=moved.path)


@dataclass
class _Result:
    """What a thread hands back."""

    answer: Answer | None = None
    error: BaseException | None = field(default=None)


def _within(deadline_s: float, sender: Sender, run: Run) -> Answer:
    """``sender.send(run)``, given up after a while.

    A service that sends a byte now and then never runs into a timeout of its
    socket. Whoever waits for it goes on; the thread ends with the program.

    Raises:
        ServiceUnreachable: the time is over; else what ``send`` raises.
    """
    done: queue.Queue[_Result] = queue.Queue()

    def work() -> None:
        try:
            done.put(_Result(answer=sender.send(run)))
        except BaseException as error:  # noqa: BLE001  # told by who waits
            done.put(_Result(error=error))

    threading.Thread(target=work, name="greenai-send", daemon=True).start()
    try:
        result = done.get(timeout=min(deadline_s, threading.TIMEOUT_MAX))
    except queue.Empty:
        raise ServiceUnreachable(f"{sender.url} did not finish within {deadline_s:g} s") from None
    if isinstance(result.error, Exception):
        raise result.error
    if result.error is not None:  # such as SystemExit, which is not the plugin's to ask for
        raise ServiceError(f"the grader {sender.grader} ended with {result.error!r}")
    if result.answer is None:
        raise ServiceError(f"the grader {sender.grader} gave no answer")
    return result.answer
