"""``greenai study``: the protocol, and what is done with its results."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from greenai_core.calibration import applied
from greenai_core.errors import ConfigError
from greenai_core.study_plan import StudyPlan
from greenai_core.study_process import Sensors
from greenai_core.study_run import About, run_study
from greenai_core.user_folders import at_home

from . import calibrations, options, output, sensors, study_flags, study_shown
from .config import Settings
from .output import OutputError
from .signals import INTERRUPTS
from .study_progress import Told

SUBCOMMANDS = {
    "summary": ("study_summary", "Compile a study's folder, also one of AIPowerMeter."),
    "fit": ("study_fit", "How energy grows with size, and what goes with what."),
    "compare": ("study_compare", "Two studies side by side, with a verdict for each size."),
}
"""Sub-command -> its module and what it does; a file of that name is reached as ``./NAME``."""

DEFAULT_OUT = "greenai-study"


class StudyCommand(click.Command):
    """``greenai study X``: a study, unless X is the name of a sub-command."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """The context of the study, or of the sub-command, imported only then."""
        if args and args[0] in SUBCOMMANDS:
            from .main import debug_option

            module = importlib.import_module(f".{SUBCOMMANDS[args[0]][0]}", __package__)
            command: click.Command = module.command
            if debug_option not in command.params:
                command.params.append(debug_option)
            return command.make_context(f"{info_name} {args[0]}", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The sub-commands, without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in SUBCOMMANDS.items()])


@click.command(
    cls=StudyCommand, short_help="How energy grows with the size of the input: a whole study."
)
@click.argument("what", nargs=-1, metavar="STUDY.toml|MODEL...")
@study_flags.plan_options
@click.option("--out", metavar="DIR", help=f"Folder of the study. [default: {DEFAULT_OUT}]")
@click.option("--resume", is_flag=True, help="Go on with the study that the folder holds.")
@click.option("--retry-failed", is_flag=True, help="With --resume: failed cells again, too.")
@options.device_option
@options.sensor_options
@options.model_options
@options.json_flag
def command(what: tuple[str, ...], as_json: bool, **flags: Any) -> None:
    """How energy grows with the size of the input: a whole study.

    Measures each model × input size × batch size, --runs times: load, warm up,
    infer, record. Inside a run the order is random, so that heating does not
    look like an effect of size. A cell stops when its interval is narrow
    enough, or after --seconds. Each cell has a process of its own: one that
    fails (out of memory at the largest size) is recorded, and the rest goes on.

    The folder holds a line for each cell in cells.jsonl, the plan in
    study.toml, the table in report.json, and for each cell the files that
    AIPowerMeter's scripts read: input_SIZE/run_K/power_metrics.json and
    latency.csv. After Ctrl-C or a crash --resume goes on where it stopped; with
    --retry-failed it measures failed cells again.

    \b
    Examples:
      greenai study alexnet.onnx --sizes 112,224,448 --runs 3
      greenai study bert.onnx --tokens 50,100,200 --batch-sizes 1,8
      greenai study STUDY.toml --out results/alexnet
      greenai study --resume --out results/alexnet
      greenai study summary results/alexnet
    """  # noqa: D301  # click takes \b for "keep these lines"
    if flags["retry_failed"] and not flags["resume"]:
        raise ConfigError("--retry-failed goes with --resume: a new study has no failed cells")
    settings = options.configuration(flags).settings
    out = Path(flags["out"] or DEFAULT_OUT)
    plan, source = study_flags.plan_of(what, flags, settings, out)
    settings = study_flags.settings_of(plan, flags, settings)
    told = Told(out, as_json)
    try:
        with _disk(out):
            about, measured_with = prepared(plan, settings, source)
            result = run_study(
                plan,
                out,
                resume=flags["resume"],
                retry_failed=flags["retry_failed"],
                sensors=measured_with,
                listener=told,
                hold=INTERRUPTS.held,
                about=about,
            )
    except (KeyboardInterrupt, OutputError):
        told.stopped()
        raise
    if as_json:
        output.emit_bytes((out / "report.json").read_bytes())
    else:
        output.emit(study_shown.text(result))
    output.note(f"greenai: the study is in {out}")
    click.get_current_context().exit(told.faults.code)


def prepared(plan: StudyPlan, settings: Settings, source: str) -> tuple[About, Sensors]:
    """What the reports tell, and what the processes measure with; the sensors are tried.

    Raises:
        PluginError: a sensor that was asked for does not work.
        NoSensorError: none works.
    """
    with output.stdout_kept_clean(), sensors.opened(settings) as session:
        about = About(
            {**sensors.for_report(settings), **study_flags.for_report(plan)},
            session.skipped,
            tuple(map(applied, session.calibrations)),
            source,
        )
    kept = {calibrations.AUTO: "", calibrations.NONE: None}
    where = settings.calibrations
    folder = kept[where] if where in kept else str(at_home(where).absolute())
    return about, Sensors(settings.profilers, settings.profiler, folder)


@contextlib.contextmanager
def _disk(out: Path) -> Iterator[None]:
    """A disk that takes nothing more is told as such."""
    try:
        yield
    except OSError as error:
        if isinstance(error, FileExistsError | NotADirectoryError):
            raise ConfigError(f"--out {out}: a part of its path is a file, not a folder") from error
        raise output.cannot_write(Path(error.filename or out), error) from error
