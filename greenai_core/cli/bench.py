"""``greenai bench``."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from greenai_core.calibration import applied
from greenai_core.errors import ConfigError
from greenai_core.isolated import LEAST_PROCESSES, PROCESSES, evaluate_isolated
from greenai_core.loop import LoopSettings
from greenai_core.results import InferenceResult
from greenai_core.session import MeasurementInterrupted, Session

from . import costs, feeding, isolation, options, output, sensors
from .config import Settings
from .faults import Faults
from .models import Choice, choose
from .outcome import finish, keep, show, tell
from .places import check_report
from .progress import Progress
from .reports import FILE_NAME, ReportFile
from .worker import Request

Measure = Callable[[Choice, Progress], InferenceResult]


@click.command(short_help="Joules, seconds and watts of one inference, with intervals.")
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@feeding.data_options
@options.device_option
@options.loop_options
@options.sensor_options
@options.out_option
@options.raw_flag
@options.idle_option
@click.option(
    "--isolate",
    is_flag=True,
    help="Repeat in fresh processes: the interval holds how processes differ.",
)
@click.option(
    "--processes",
    type=click.IntRange(min=LEAST_PROCESSES),
    metavar="N",
    help="So many for --isolate; more while the time allows. [default: 8]",
)
@options.model_options
@options.json_flag
def command(models: tuple[str, ...], as_json: bool, **flags: Any) -> None:
    """Joules, seconds and watts of one inference, with intervals.

    Loads each model, warms it up, and repeats inferences until their energy is
    known as precisely as asked, or the time is over. The table gives for each
    model:

    \b
      one inference   mean energy ± repeatability: what a second run on this
                      machine would show; use it to compare
      95 % interval   with the uncertainty of the sensors themselves
      time, power     mean latency, mean power of the channels in the total
      ±2%?            whether the precision was reached

    The report is written after every model, so Ctrl-C loses nothing finished. A
    model that fails does not stop the others. Joules that no sensor measured are
    labelled modelled.

    \b
    Examples:
      greenai bench resnet50.onnx
      greenai bench *.onnx --precision 1% --max-time 120 --out results
      greenai bench resnet50.onnx --isolate
      greenai bench net.pt --class mynets:Net --input-shape 1x3x224x224
      greenai bench bert.onnx --axis batch=8 --axis seq=128
      greenai bench big.onnx --batch-size 8 --device cuda:0 -p nvml --json
    """  # noqa: D301  # click takes \b for "keep these lines"
    settings = options.configuration(flags).settings
    if flags["processes"] is not None and not flags["isolate"]:
        raise ConfigError("--processes is for fresh processes: give --isolate too")
    if flags["raw"] and flags["isolate"]:
        raise ConfigError("--raw keeps the readings of one process: leave out --isolate")
    data = {name: flags[name] for name in feeding.FLAGS}
    feed = feeding.feed(flags)
    given = options.model_flags(flags)
    faults = Faults()
    with output.stdout_kept_clean():
        chosen = choose(models, given, faults, settings.device)
    if not chosen:
        click.get_current_context().exit(faults.code)
    report = begin(settings, feed, given, flags)
    interrupted = False
    try:
        with output.stdout_kept_clean(), sensors.opened(settings, flags["raw"]) as session:
            report.skipped = session.skipped
            report.calibrations = tuple(map(applied, session.calibrations))
            loop = sensors.loop_settings(settings)
            if flags["isolate"]:
                session.close()  # each process opens the sensors itself
                request = Request(0, "", settings, given, data, loop, flags["idle"])
                measure = isolated(request, flags["processes"] or PROCESSES)
            else:
                measure = here(feed, session, loop, flags["idle"])
            measure_all(chosen, measure, session, report, faults)
        finish(report, faults)
    except KeyboardInterrupt:
        interrupted = True
    show(report, as_json)
    if interrupted:
        raise KeyboardInterrupt
    click.get_current_context().exit(faults.code)


def begin(
    settings: Settings, feed: feeding.Feed, given: options.ModelFlags, flags: Mapping[str, Any]
) -> ReportFile:
    """The report, still empty, at a place where it can be written.

    Raises:
        ConfigError: nothing can be written there.
        OutputError: the disk is full.
    """
    depends_on = {
        **sensors.for_report(settings),
        **feed.settings,
        "idle_s": flags["idle"],
        "processes": (flags["processes"] or PROCESSES) if flags["isolate"] else None,
        "input_shapes": {name: list(shape) for name, shape in given.shapes.items()},
    }
    return ReportFile("bench", depends_on, check_report(settings.out, FILE_NAME))


def here(feed: feeding.Feed, session: Session, loop: LoopSettings, idle_s: float | None) -> Measure:
    """Measures in this process."""

    def measure(choice: Choice, progress: Progress) -> InferenceResult:
        with choice.open() as library:
            return session.evaluate_inference(
                library,
                feed.data,
                options=feed.options,
                settings=loop,
                progress=progress,
                idle_s=idle_s,
            )

    return measure


def isolated(request: Request, processes: int) -> Measure:
    """Measures in so many fresh processes; the path of the model is added to ``request``."""

    def measure(choice: Choice, progress: Progress) -> InferenceResult:
        asked = replace(request, path=choice.path)
        return evaluate_isolated(
            functools.partial(isolation.measure, asked),
            request.loop,
            processes,
            progress=progress,
        )

    return measure


def measure_all(
    chosen: Sequence[Choice],
    measure: Measure,
    session: Session,
    report: ReportFile,
    faults: Faults,
) -> None:
    """Measure one model after the other; each result is written before the next.

    Raises:
        KeyboardInterrupt: what was measured by then is in the report.
    """
    progress = Progress(len(chosen))
    for choice in chosen:
        progress.begin(Path(choice.path).name)
        result = None
        try:
            result = measure(choice, progress)
        except MeasurementInterrupted as error:
            progress.clear()
            keep(report, error.result, faults, session.kept)
            raise
        except Exception as error:  # noqa: BLE001  # one bad model must not stop the others
            progress.clear()
            faults.add(error, choice.path)
            report.warnings = tuple(faults.told)
        finally:
            progress.clear()
        if result is not None:
            keep(report, result, faults, session.kept)
            tell(costs.cost(result), faults)
