"""``greenai compare``."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from greenai_core.calibration import applied
from greenai_core.compared_models import ComparisonInterrupted
from greenai_core.compared_reports import compare_reports
from greenai_core.comparison import FIRST_LOOK_QUADS, WORSE
from greenai_core.errors import ConfigError
from greenai_core.interleaved import ComparisonSettings
from greenai_core.results import ComparisonResult
from greenai_core.session import Session

from . import comparisons, exit_codes, feeding, options, output, sensors
from .config import Settings
from .export import read
from .faults import Faults
from .models import Choice, choose
from .outcome import finish, keep
from .places import check_report
from .progress import Progress
from .reports import FILE_NAME, ReportFile

EQUIVALENT = "2%"


@click.command(short_help="Which of several models uses less energy, and by how much.")
@click.argument("names", nargs=-1, required=True, metavar="A B [C]...")
@feeding.data_options
@options.device_option
@click.option(
    "--equivalent",
    default=EQUIVALENT,
    show_default=True,
    metavar="SHARE",
    help="Models whose energies differ by less are equivalent; 0 for never.",
)
@click.option(
    "--precision",
    metavar="SHARE",
    help="Stop when the interval of the ratio is this narrow: 2% or 0.02. [default: 2%]",
)
@click.option(
    "--quads",
    type=click.IntRange(min=FIRST_LOOK_QUADS),
    metavar="N",
    help="Measure N quads (each model twice in each), whatever the time. [default: as many as "
    "the first 6 show to be needed]",
)
@click.option(
    "--max-time",
    metavar="S",
    help="Stop after so many seconds for each model, but not before 6 quads. [default: 60]",
)
@click.option(
    "--fail-if-worse",
    is_flag=True,
    help=f"Exit with {exit_codes.WORSE} if a model uses more energy than A: for CI.",
)
@options.sensor_options
@click.option(
    "--out",
    metavar="DIR",
    help="Folder of the report, report.json. [default: greenai-report; of reports: none]",
)
@options.model_options
@options.json_flag
def command(
    names: tuple[str, ...], equivalent: str, fail_if_worse: bool, as_json: bool, **flags: Any
) -> None:
    """Which of several models uses less energy, and by how much.

    All models are loaded and measured in turn in random quads, ABBA or BAAB, so
    that a machine that warms up meanwhile favours none. The first is what the
    others are compared with:

    \b
      better      uses less energy than A: the interval leaves out "the same"
      worse       uses more
      equivalent  differs by less than --equivalent, and that is sure
      undecided   neither: measure longer, with --max-time or --quads

    The chance that equal models are called different is 5 %, whatever the number
    of models. Given reports of bench or train instead of models, it compares the
    figures in them, matched by the names of the models; but what changed between
    the two runs is then taken for a difference between the models.

    \b
    Examples:
      greenai compare fp32.onnx int8.onnx
      greenai compare a.onnx b.onnx c.onnx --max-time 300 --equivalent 1%
      greenai compare old.onnx new.onnx --fail-if-worse || echo "more joules"
      greenai compare monday/report.json tuesday/report.json
    """  # noqa: D301  # click takes \b for "keep these lines"
    margin = share(equivalent, "--equivalent")
    if len(names) < 2:
        raise click.UsageError("give two models, or two reports, to compare.")
    reports = [is_report(name) for name in names]
    if any(reports) and not all(reports):
        raise click.UsageError("give models only, or reports only: they cannot be mixed.")
    faults = Faults()
    if all(reports):
        results = of_reports(names, margin, flags, as_json)
    else:
        results = of_models(names, margin, flags, as_json, faults)
    worse = any(ratio.verdict == WORSE for result in results for ratio in result.ratios)
    code = faults.code or (exit_codes.WORSE if fail_if_worse and worse else exit_codes.OK)
    click.get_current_context().exit(code)


def share(text: str, flag: str) -> float:
    """``"2%"`` or ``"0.02"`` -> 0.02.

    Raises:
        ConfigError: it is neither, or not from 0 to below 1.
    """
    try:
        value = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise ConfigError(f"{flag} {text}: write it as 2% or 0.02")
    return value


def is_report(name: str) -> bool:
    """Whether it names a report, not a model."""
    path = Path(name)
    return path.suffix.lower() == ".json" or (path / FILE_NAME).is_file()


# Reports


def of_reports(
    names: Sequence[str], margin: float, flags: dict[str, Any], as_json: bool
) -> Sequence[ComparisonResult]:
    """Compare reports and show it; written only where ``--out`` says so.

    Raises:
        ComparisonError: the figures mean different things.
        SchemaError: one cannot be read.
        ConfigError: the result would replace one of them.
    """
    content = [(name, read(Path(name))) for name in names]
    out = flags.get("out")
    path = None if out is None else check_report(out, FILE_NAME)
    for name in names:
        source = Path(name) / FILE_NAME if Path(name).is_dir() else Path(name)
        if path is not None and path.resolve() == source.resolve():
            raise ConfigError(f"--out {out} would replace {source}, which is being compared")
    results = compare_reports(content, margin)
    report = ReportFile("compare", {"reports": list(names), "equivalent": margin}, path)
    faults = Faults()
    for result in results:
        tell(result, faults)
        keep(report, result, faults)
    finish(report, faults)
    show(report, as_json)
    if faults.code:
        raise click.exceptions.Exit(faults.code)
    return results


# Models


def of_models(
    names: Sequence[str], margin: float, flags: dict[str, Any], as_json: bool, faults: Faults
) -> Sequence[ComparisonResult]:
    """Measure models in turn, write the report and show it.

    Raises:
        Exit: too few of them can be opened.
        KeyboardInterrupt: what was measured by then has been shown.
    """
    settings = options.configuration(flags).settings
    feed = feeding.feed(flags)
    given = options.model_flags(flags)
    limits = ComparisonSettings(
        precision=settings.precision,
        margin=margin,
        quads=flags.get("quads"),
        max_time_s=settings.max_time,
        warm_up_s=min(0.5, settings.max_time / 8),
    )
    with output.stdout_kept_clean():
        chosen = choose(names, given, faults, settings.device)
    if len(chosen) < 2 or chosen[0].path != names[0]:
        raise click.exceptions.Exit(faults.code)
    report = begin(settings, feed, given, limits)
    interrupted = False
    try:
        with output.stdout_kept_clean(), sensors.opened(settings) as session:
            report.skipped = session.skipped
            report.calibrations = tuple(map(applied, session.calibrations))
            result = measured(session, chosen, feed, limits)
        interrupted = not result.complete
        tell(result, faults)
        keep(report, result, faults)
        if not interrupted:
            finish(report, faults)
    except KeyboardInterrupt:
        interrupted = True
    show(report, as_json)
    if interrupted:
        raise KeyboardInterrupt
    return [result]


def measured(
    session: Session, chosen: Sequence[Choice], feed: feeding.Feed, limits: ComparisonSettings
) -> ComparisonResult:
    """The comparison; after Ctrl-C what there is of it."""
    progress = Progress()
    progress.begin(" / ".join(Path(choice.path).name for choice in chosen))
    try:
        with opened(chosen) as libraries:
            return session.compare(
                libraries, feed.data, options=feed.options, settings=limits, progress=progress
            )
    except ComparisonInterrupted as end:
        return end.result
    finally:
        progress.clear()


@contextlib.contextmanager
def opened(chosen: Sequence[Choice]) -> Any:
    """All models at once; closed together."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(choice.open()) for choice in chosen]


def begin(
    settings: Settings,
    feed: feeding.Feed,
    given: options.ModelFlags,
    limits: ComparisonSettings,
) -> ReportFile:
    """The report, still empty, at a place where it can be written.

    Raises:
        ConfigError: nothing can be written there.
        OutputError: the disk is full.
    """
    depends_on = {
        **sensors.for_report(settings),
        **feed.settings,
        "input_shapes": {name: list(shape) for name, shape in given.shapes.items()},
        "equivalent": limits.margin,
        "quads": limits.quads,
    }
    return ReportFile("compare", depends_on, check_report(settings.out, FILE_NAME))


def tell(result: ComparisonResult, faults: Faults) -> None:
    """Warnings, models that failed, and why there is no ratio."""
    for failed in result.failed:
        faults.tell(f"{failed.path}: {failed.reason}", exit_codes.MODEL)
    for warning in result.warnings:
        output.warn(warning)
    if not result.ratios and result.complete:
        faults.tell("no ratio: an energy is not known", exit_codes.MEASUREMENT)


def show(report: ReportFile, as_json: bool) -> None:
    """The comparison on stdout, and where the report is."""
    if as_json:
        output.emit_bytes(report.content())
    else:
        output.emit(comparisons.text(report.report))
    if report.written:
        output.note(f"greenai: report written to {report.path}")
