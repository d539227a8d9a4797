"""``greenai grade``."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from greenai_core.environment import machine_identity
from greenai_core.errors import GradeError, ReadingError
from greenai_core.gradables import gradable
from greenai_core.net import NetEnergy, as_figure, net_energy
from greenai_core.net_channels import net_channels
from greenai_core.power_ranges import power_range
from greenai_core.results import ChannelNet, CommandResult, Diagnosis, Grade, WindowResult
from greenai_core.session import Session
from greenai_core.spans import Window

from . import (
    exit_codes,
    footprints,
    grade_arguments,
    grade_options,
    grade_text,
    notebook,
    options,
    output,
    own_baselines,
    pictures,
    sensors,
    services,
    unmeasured,
)
from .command_report import deliver
from .config import Settings
from .faults import Faults
from .full_power import full_power
from .judge import Judge
from .measure import run_in
from .places import check_file
from .verdicts import verdict

LEAST_WINDOW_S = 0.2
"""An idle time shorter than this says nothing."""


@click.command(
    cls=grade_options.Command,
    short_help="Energy above idle and a grade: of a script, a command, a model.",
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="TARGET [ARGUMENTS]...")
@grade_options.all_options
def command(words: tuple[str, ...], out: str | None, as_json: bool, **flags: Any) -> None:
    """Energy above idle and a grade: of a script, a command, a model.

    \b
    TARGET is one of
      SCRIPT.py            run with this Python
      -m MODULE            run as python -m does
      NOTEBOOK.ipynb       its code cells, in order
      -- COMMAND           any program
      MODEL                a model file: one inference is measured as bench does

    Measures the idle machine, runs the target, untouched, and measures idle again.
    Tells on stderr the joules of each channel, those above idle, how busy the
    machine was, what share idling alone would have cost, and then carbon. A letter
    needs the number of functional units (images, tokens, …) and a reference;
    without them it stays ungraded, and says why. Options come before TARGET (after
    it too for a MODEL); what follows it belongs to the program. The exit code is
    the program's own; 125 where greenai fails before it starts. Nothing leaves
    this machine unless a service is named with --url.

    \b
    Examples:
      greenai grade train.py --epochs 3
      greenai grade --units 5000 --unit image --scale scale.json classify.py
      greenai grade --baseline save -m mypackage.evaluate
      greenai grade --baseline compare -m mypackage.evaluate
      greenai grade --country FR --price 0.25EUR --out run.json -- make -j8
      greenai grade resnet50.onnx --task image-classification
      greenai grade --units 1 --unit run --label label.svg analysis.ipynb
      greenai grade --grader web --url https://grades.example classify.py
    """  # noqa: D301  # click takes \b for "keep these lines"
    context = click.get_current_context()
    kind = context.meta.get(grade_arguments.KIND, "")
    grade_options.check_for(kind, context)
    settings = options.configuration(flags).settings
    pictures.check_apart({"--out": out, "--label": flags["label"], "--badge": flags["badge"]})
    file = None if out is None else check_file(out, "--out")
    if kind == grade_arguments.MODEL:
        from . import grade_model

        if len(words) > 1:
            raise click.UsageError(f"one model at a time, not {len(words)}.")
        context.exit(grade_model.run(words[0], settings, flags, file, as_json))
    job = prepare(kind, words, settings, flags)
    with sensors.opened(settings, observe=True) as session:
        before = idle(session, settings.idle_time, "before the run")
        window = session.window("script")
        utilisation(session)
        code = run_in(window, job.program)
        try:
            try:
                result = outcome(job, session, before, window, code)
            except KeyboardInterrupt:
                result = outcome(job.hurried, session, None, window, code)
            more = {"idle_time_s": settings.idle_time, **grade_options.for_report(flags)}
            text = grade_text.command(result)
            report = deliver("grade", result, settings, more, as_json, file, session, text=text)
            pictures.draw(job.files, report, Faults())
        except Exception as error:  # noqa: BLE001  # the exit code stays the script's
            Faults().add(error)
    context.exit(code)


@dataclass(frozen=True)
class Job:
    """What is run, and how it is graded; all of it checked.

    Attributes:
        shown: the command as the report tells it.
        program: what is started.
        name: of the target, for baselines and labels.
        files: of label and badge.
    """

    shown: tuple[str, ...]
    program: tuple[str, ...]
    name: str
    judge: Judge
    rates: footprints.Rates
    baseline: own_baselines.Wanted | None
    service: services.Service | None
    files: Mapping[str, Path]
    idle_time_s: float
    units: float | None
    unit: str | None
    tdp_w: float | None

    @property
    def hurried(self) -> Job:
        """What is left of it after Ctrl-C: no idle, no service, nothing kept."""
        return replace(self, idle_time_s=0.0, service=None, baseline=None)


def prepare(kind: str, words: Sequence[str], settings: Settings, flags: Mapping[str, Any]) -> Job:
    """See that everything can be done, before anything is.

    Raises:
        UsageError: there is nothing to run.
        Exit: there is no such file.
        GreenAIError: an option cannot be used.
    """
    if not words and not flags["module"]:
        raise click.UsageError(
            "Missing SCRIPT.py, NOTEBOOK.ipynb, -m MODULE, -- COMMAND, or a model file."
        )
    units, unit = grade_options.functional_units(flags)
    chosen = grade_options.chosen_judge(flags)
    shown, program = program_of(kind, words, flags["module"])
    name = flags["module"] or Path(words[0]).name
    return Job(
        shown,
        program,
        name,
        chosen,
        grade_options.chosen_rates(flags),
        grade_options.chosen_baseline(flags, name),
        services.service(chosen, flags),
        pictures.files(flags),
        settings.idle_time,
        units,
        unit,
        settings.profiler.get("modelled", {}).get("tdp_w"),
    )


def program_of(
    kind: str, words: Sequence[str], module: str | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The command as people know it, and what is started.

    Raises:
        Exit: there is no such file.
        ConfigError: a notebook cannot be run.
    """
    if kind == grade_arguments.MODULE and module:
        return ("-m", module, *words), (sys.executable, "-m", module, *words)
    shown = tuple(words)
    if kind == grade_arguments.COMMAND:
        return shown, shown
    if not Path(shown[0]).exists():
        hint = "" if Path(shown[0]).suffix else f". A program goes after --: grade -- {shown[0]} …"
        output.complain(f"there is no script {shown[0]}. Check the path{hint}")
        raise click.exceptions.Exit(exit_codes.NOT_FOUND)
    if kind == grade_arguments.NOTEBOOK:
        for cell in notebook.read_cells(Path(shown[0])):
            for line in cell.skipped:
                output.note(f"greenai: {cell.name}: {line} changes only what is shown: skipped")
        return shown, (sys.executable, "-m", notebook.__name__, *shown)
    return shown, (sys.executable, *shown)


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
    warnings += [*session.notes(), *unmeasured.warnings(window.result)]
    net = taken_off(window, before, after, session, warnings)
    nets = net_channels(window.result, before, after, session.channels) if before and after else ()
    result = CommandResult(
        command=job.shown,
        exit_code=code,
        gross=window.result,
        idle_power_w=net.idle_power_w if net else None,
        net_energy_j=net.net_energy_j if net else None,
        idle_share=net.idle_share if net else None,
        utilisation_percent=busy,
        units=job.units,
        unit=job.unit,
        grade=None,
        warnings=(),
        idle=tuple(w for w in (before, after) if w is not None),
        net_channels=nets,
        footprint=footprints.footprint(
            as_figure(window.result),
            net.net_energy_j if net else None,
            job.units,
            job.unit,
            job.rates,
            warnings,
        ),
        diagnosis=diagnosis(window.result, nets, job.tdp_w, warnings),
    )
    return graded(job, result, session, warnings)


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
        return idle(session, seconds, "after the run")
    except KeyboardInterrupt:
        warnings.append("idle after the run was interrupted, so nothing is known above idle")
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


def diagnosis(
    gross: WindowResult, nets: Sequence[ChannelNet], tdp_w: float | None, warnings: list[str]
) -> Diagnosis | None:
    """How much of its power range the run used; None where nobody tells full power."""
    if not nets:
        return None
    try:
        return power_range(gross, nets, full_power(gross, tdp_w))
    except GradeError as error:
        warnings.append(f"no diagnosis: {error}")
    except Exception as error:  # noqa: BLE001  # a driver's fault must not cost the measurement
        Faults().add(error)
    return None


# The grade


def graded(job: Job, result: CommandResult, session: Session, warnings: list[str]) -> CommandResult:
    """The result with its grade; whatever graders, baselines and services do, it stays."""
    measured = gradable(result, machine=machine_identity())

    def grade() -> Grade:
        if job.service is None:
            return job.judge.grade(measured)
        boards = services.devices(session, job.tdp_w)
        return services.graded(job.judge, job.service, result, measured, boards, warnings)

    given, compared = verdict(job.judge, job.baseline, measured, grade, warnings, Faults())
    return replace(result, grade=given, against_baseline=compared, warnings=tuple(warnings))
