"""``greenai grade``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from greenai_core import registry
from greenai_core.errors import GradeError, ReadingError
from greenai_core.grading import Gradable, Grader
from greenai_core.net import NetEnergy, as_figure, net_energy
from greenai_core.results import CommandResult, Grade, WindowResult
from greenai_core.session import Session
from greenai_core.spans import Window

from . import exit_codes, options, output, sensors
from .command_report import deliver
from .faults import Faults
from .measure import run_in
from .places import check_file

LEAST_WINDOW_S = 0.2
"""An idle time shorter than this says nothing."""


@click.command(
    short_help="The energy of a Python script above idle, and its grade.",
    context_settings={"allow_interspersed_args": False},
)
@click.argument("script", metavar="SCRIPT.py")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[ARGUMENTS]...")
@click.option(
    "--idle-time",
    metavar="S",
    help="Measure idle so long before and after; 0 for not at all. [default: 5]",
)
@click.option(
    "--units",
    type=options.Number(min=0, min_open=True),
    metavar="N",
    help="Functional units that the script does.",
)
@click.option("--unit", metavar="NAME", help="What one is: image, token, request …")
@click.option("--scale", metavar="FILE.json", help="Scale to grade with.")
@click.option(
    "--grader", "grader_name", default="scale", show_default=True, metavar="NAME",
    help="Plugin that grades.",
)  # fmt: skip
@options.sensor_options
@click.option("--out", metavar="FILE", help="Write the report there, as JSON.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="JSON instead of the summary: on stdout after the script has ended, or to --out.",
)
def command(
    script: str,
    arguments: tuple[str, ...],
    scale: str | None,
    grader_name: str,
    out: str | None,
    as_json: bool,
    **flags: Any,
) -> None:
    """The energy of a Python script above idle, and its grade.

    Measures the idle machine, runs the script with this Python, untouched, and
    measures idle again. Tells on stderr the gross joules, those above idle, how
    busy the machine was, and what share idling alone would have cost. A letter
    needs a scale and the number of functional units (images, tokens, …) that the
    script did; without them it stays ungraded. Options come before SCRIPT.py,
    everything after it belongs to the script. The exit code is the script's;
    125 where greenai fails before it starts.

    \b
    Examples:
      greenai grade classify.py --images photos/
      greenai grade --units 5000 --unit image --scale scale.json classify.py
      greenai grade --idle-time 10 --out run.json train.py --epochs 3
    """  # noqa: D301  # click takes \b for "keep these lines"
    settings = options.configuration(flags).settings
    grader = make_grader(grader_name, scale)
    file = None if out is None else check_file(out, "--out")
    if not Path(script).exists():
        output.complain(f"there is no script {script}. Check the path")
        click.get_current_context().exit(exit_codes.NOT_FOUND)
    job = Job((script, *arguments), grader, settings.idle_time, flags["units"], flags["unit"])
    with sensors.opened(settings, observe=True) as session:
        before = idle(session, settings.idle_time, "before the script")
        window = session.window("script")
        utilisation(session)
        code = run_in(window, (sys.executable, *job.command))
        try:
            result = outcome(job, session, before, window, code)
            more = {"idle_time_s": settings.idle_time, "scale": scale, "grader": grader_name}
            deliver("grade", result, settings, more, as_json, file, session)
        except Exception as error:  # noqa: BLE001  # the exit code stays the script's
            Faults().add(error)
    click.get_current_context().exit(code)


@dataclass(frozen=True)
class Job:
    """What is run, and how it is graded."""

    command: tuple[str, ...]
    grader: Grader
    idle_time_s: float
    units: float | None
    unit: str | None


def outcome(
    job: Job, session: Session, before: WindowResult | None, window: Window, code: int
) -> CommandResult:
    """The result of a script that has ended; idle is measured once more for it.

    Args:
        job: what was run.
        session: the sensors.
        before: idle before the script; None where it was not measured.
        window: around the script.
        code: its exit code.
    """
    warnings: list[str] = []
    busy = utilisation(session)
    after = idle_after(session, job.idle_time_s if before else 0.0, warnings)
    warnings += session.notes()
    net = taken_off(window, before, after, session, warnings)
    grade = graded(job.grader, window.result, net, job.units, job.unit, warnings)
    return CommandResult(
        command=job.command,
        exit_code=code,
        gross=window.result,
        idle_power_w=net.idle_power_w if net else None,
        net_energy_j=net.net_energy_j if net else None,
        idle_share=net.idle_share if net else None,
        utilisation_percent=busy,
        units=job.units,
        unit=job.unit,
        grade=grade,
        warnings=tuple(warnings),
    )


# Idle, before and after


def idle(session: Session, seconds: float, when: str) -> WindowResult | None:
    """Energy while nothing is run; None where no idle time is asked for."""
    if seconds < LEAST_WINDOW_S:
        return None
    output.note(f"greenai: idle for {seconds:g} s {when}")
    with session.window(f"idle {when}") as window:
        session.clock.sleep(seconds)
    return window.result


def idle_after(session: Session, seconds: float, warnings: list[str]) -> WindowResult | None:
    """Idle after the script; Ctrl-C gives up the net energy, not the script's result."""
    try:
        return idle(session, seconds, "after the script")
    except KeyboardInterrupt:
        warnings.append("idle after the script was interrupted, so nothing is known above idle")
        return None


def taken_off(
    window: Window,
    before: WindowResult | None,
    after: WindowResult | None,
    session: Session,
    warnings: list[str],
) -> NetEnergy | None:
    """Energy above idle; None with a warning where it cannot be known."""
    if before is None or after is None:
        return None
    try:
        return net_energy(window.result, before, after, session.channels)
    except ReadingError as error:
        warnings.append(f"nothing is known above idle: {error}")
        return None


def utilisation(session: Session) -> float:
    """Mean utilisation of the host since the call before, %; by psutil where no profiler tells."""
    import psutil

    own = psutil.cpu_percent(interval=None)
    seen = [
        observation.value
        for observation in session.observe()
        if observation.device == "host" and observation.quantity == "utilisation"
    ]
    return seen[0] if seen else own


# The grade


def make_grader(name: str, scale: str | None) -> Grader:
    """The grader, made before the script runs: a wrong scale must not cost a run.

    Raises:
        GradeError: the scale cannot be read, or the grader takes none.
        PluginNotFound: no such grader is installed.
    """
    kind: Callable[..., Grader] = registry.load("greenai.graders", name)
    if scale is None:
        return kind()
    if "scale" not in getattr(kind, "option_names", ()):
        raise GradeError(f"the grader {name!r} takes no scale")
    try:
        text = Path(scale).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise GradeError(f"the scale {scale} cannot be read: {reason}") from error
    try:
        return kind(scale=text)
    except GradeError as error:
        raise GradeError(f"{scale}: {error}") from error


def graded(
    grader: Grader,
    gross: WindowResult,
    net: NetEnergy | None,
    units: float | None,
    unit: str | None,
    warnings: list[str],
) -> Grade | None:
    """What the grader says; None with a warning where it fails."""
    measured = Gradable(
        net_energy_j=net.net_energy_j if net else None,
        gross_energy_j=as_figure(gross),
        units=units,
        unit=unit,
        missing=tuple(m.id for m in gross.missing if m.id in gross.contains),
        components=tuple(dict.fromkeys(c.component for c in gross.channels if c.in_total)),
    )
    try:
        return grader.grade(measured)
    except GradeError as error:
        warnings.append(f"no grade: {error}")
        return None
