"""``greenai sync``."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from greenai_core import registry
from greenai_core.errors import ConfigError, GradeError, GreenAIError
from greenai_core.spool import Entry, Spool
from greenai_core.submission import (
    KEPT,
    REJECTED,
    SENT,
    Outcome,
    Sender,
    ServiceGrader,
    deliver,
)

from . import exit_codes, options, output, services
from .config import LONGEST_WAIT_S, configure

GROUP = "greenai.graders"


@dataclasses.dataclass(frozen=True)
class Synced:
    """What became of one run.

    Attributes:
        state: ``sent``, ``kept``, ``rejected``; ``taken`` by another greenai meanwhile;
            ``waiting`` where nothing was tried.
        lines: what the service said.
        problem: why it was not sent; empty if it was.
    """

    key: str
    created: str
    url: str
    state: str
    lines: tuple[str, ...] = ()
    problem: str = ""


@click.command(short_help="Send the runs that a grading service did not get yet.")
@click.option("--url", metavar="URL", help="Only the runs for this service.")
@click.option("--moved-to", metavar="URL", help="Send them to this address instead.")
@click.option(
    "--token-file", metavar="FILE", help="Token for the service. [default: GREENAI_TOKEN]"
)
@click.option("--ca-file", metavar="FILE", help="Certificates to trust instead of the usual ones.")
@click.option(
    "--timeout",
    type=options.Number(min=0, min_open=True, max=LONGEST_WAIT_S),
    metavar="S",
    help="Give a service up after so long, for each run. [default: the setting grading_timeout]",
)
@click.option("--rejected", is_flag=True, help="Those that a service refused, instead.")
@click.option("--offline", is_flag=True, help="Open no connection: only tell what waits.")
@click.option("--dry-run", is_flag=True, help="Open no connection: print what would be sent.")
@click.option("--spool", "folder", metavar="DIR", help="Where the runs wait.")
@options.json_flag
def command(
    url: str | None,
    moved_to: str | None,
    rejected: bool,
    offline: bool,
    dry_run: bool,
    folder: str | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Send the runs that a grading service did not get yet.

    A run that is to be graded by a service is kept on the disk first, and goes
    away when the service has answered. What a service refused lies in
    `rejected/` beside it. --dry-run prints the very bytes; a token is shown as
    TOKEN. The exit code is 9 while runs remain that could not be sent.

    \b
    Examples:
      greenai sync
      greenai sync --offline --json
      greenai sync --url http://127.0.0.1:8080 --moved-to https://grades.example
    """  # noqa: D301  # click takes \b for "keep these lines"
    spool = Spool(Path(folder) if folder else None)
    entries, problems = spool.rejected() if rejected else spool.waiting()
    others = {entry.url for entry in entries} - ({url.rstrip("/")} if url else set())
    entries = chosen(entries, url, alone=offline or dry_run)
    if url and not entries and others:
        output.note(f"greenai: runs wait for {', '.join(map(output.one_line, sorted(others)))}")
    entries = [dataclasses.replace(e, url=moved_to) if moved_to else e for e in entries]
    configuration = configure({"grading_timeout": given.pop("timeout")})
    senders = Senders(services.options_of(configuration, given))
    if moved_to:
        for entry in entries:
            senders.of(entry)  # an address that cannot be used is told before any work
    if dry_run:
        output.emit_bytes(b"".join(_bytes(entry, senders) for entry in entries))
        return
    deadline_s = configuration.settings.grading_timeout
    tried = map(_waiting, entries) if offline else sent(entries, senders, spool, deadline_s)
    done = []
    try:
        for one in tried:
            done.append(one)
            if not as_json:
                tell(one)  # at once: what a service said is kept nowhere else
    finally:
        if as_json:
            place = spool.folder and spool.folder.as_posix()
            output.emit_json({"spool": place, "runs": done, "problems": problems})
    if not as_json:
        summarise(done, problems, spool)
    left = any(one.state in (KEPT, REJECTED) for one in done)
    if (left or problems) and not offline:
        click.get_current_context().exit(exit_codes.SERVICE)


def chosen(entries: Sequence[Entry], url: str | None, *, alone: bool) -> list[Entry]:
    """The runs for one service.

    Args:
        entries: all.
        url: of the service; None for the only one that there is.
        alone: nothing is sent, so that all services may be looked at.

    Raises:
        ConfigError: there are several services. A token is for one.
    """
    if url is not None:
        return [entry for entry in entries if entry.url == url.rstrip("/")]
    waiting = sorted({entry.url for entry in entries})
    if len(waiting) > 1 and not alone:
        raise ConfigError(
            f"runs wait for several services: {', '.join(waiting)}. Choose one with --url, so "
            "that none gets the token of another"
        )
    return list(entries)


class Senders:
    """The way to each service, made once.

    Args:
        given: options of the senders.
    """

    def __init__(self, given: dict[str, Any]) -> None:
        self._given = given
        self._made: dict[tuple[str, str], Sender] = {}

    def of(self, entry: Entry) -> Sender:
        """That of a run.

        Raises:
            GreenAIError: the grader is not installed, or the address cannot be used.
        """
        name = (entry.grader, entry.url)
        if name not in self._made:
            kind: Any = registry.load(GROUP, entry.grader)
            if not (isinstance(kind, type) and issubclass(kind, ServiceGrader)):
                raise ConfigError(f"the grader {entry.grader!r} sends nothing to a service")
            self._made[name] = kind.sender(entry.url, **self._given)
        return self._made[name]


def sent(
    entries: Iterable[Entry], senders: Senders, spool: Spool, deadline_s: float
) -> Iterator[Synced]:
    """Send one after the other; a service that is silent once is not asked for the others.

    Args:
        entries: all of one service.
        senders: to it.
        spool: where they are.
        deadline_s: the longest that one may take, s.
    """
    silent = False
    for entry in entries:
        if silent:
            problem = "not tried, since the service was silent for the one before"
            yield _synced(entry, Outcome(KEPT, problem=problem, path=entry.path))
            continue
        try:
            outcome = deliver(entry, senders.of(entry), spool, deadline_s=deadline_s)
        except GreenAIError as error:
            outcome = Outcome(KEPT, problem=str(error), path=entry.path)
        silent = outcome.silent
        yield _synced(entry, outcome)


def _synced(entry: Entry, outcome: Outcome) -> Synced:
    lines = outcome.answer.lines if outcome.answer else ()
    return Synced(
        entry.run.key, entry.run.created, entry.url, outcome.state, lines, outcome.problem
    )


def _waiting(entry: Entry) -> Synced:
    return Synced(entry.run.key, entry.run.created, entry.url, "waiting", problem=entry.why)


def _bytes(entry: Entry, senders: Senders) -> bytes:
    try:
        return senders.of(entry).dry_run(entry.run)
    except GradeError as error:
        output.warn(f"{entry.path}: {error}")
        return b""


def tell(one: Synced) -> None:
    """What became of a run, for people."""
    output.emit(output.one_line(f"{one.created}  {one.state}: {one.url}"))
    for line in (*one.lines, *([one.problem] if one.problem else [])):
        output.emit(output.paragraph(output.one_line(line), "  "))


def summarise(done: Sequence[Synced], problems: Sequence[str], spool: Spool) -> None:
    """What is to be said of all of them."""
    for problem in problems:
        output.warn(problem)
    if not done and not problems:
        output.emit(f"nothing waits in {spool.folder or 'a home folder: there is none'}")
    elif done and all(one.state == SENT for one in done):
        output.emit("all sent")
