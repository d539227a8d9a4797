"""``greenai bench``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from greenai_core.loop import LoopSettings
from greenai_core.session import MeasurementInterrupted, Session

from . import costs, feeding, options, output, sensors
from .faults import Faults
from .models import Choice, choose
from .outcome import finish, keep, show, tell
from .progress import Progress
from .reports import FILE_NAME, ReportFile


@click.command(short_help="Joules, seconds and watts of one inference, with intervals.")
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@feeding.data_options
@options.device_option
@options.loop_options
@options.sensor_options
@options.out_option
@options.model_options
@options.json_flag
def command(
    models: tuple[str, ...],
    as_json: bool,
    **flags: Any,
) -> None:
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
      greenai bench net.pt --class mynets:Net --input-shape 1x3x224x224
      greenai bench bert.onnx --axis batch=8 --axis seq=128
      greenai bench big.onnx --batch-size 8 --device cuda:0 -p nvml --json
    """  # noqa: D301  # click takes \b for "keep these lines"
    configured = options.configuration(flags)
    settings = configured.settings
    feed = feeding.feed(flags)
    given = options.model_flags(flags)
    faults = Faults()
    with output.stdout_kept_clean():
        chosen = choose(models, given, faults, settings.device)
    if not chosen:
        click.get_current_context().exit(faults.code)
    report = ReportFile(
        "bench",
        {
            **sensors.for_report(settings),
            **feed.settings,
            "input_shapes": {name: list(shape) for name, shape in given.shapes.items()},
        },
        Path(settings.out) / FILE_NAME,
    )
    report.check_writable()
    interrupted = False
    try:
        with output.stdout_kept_clean(), sensors.opened(settings) as session:
            report.skipped = session.skipped
            measure_all(chosen, feed, session, sensors.loop_settings(settings), report, faults)
        finish(report, faults)
    except KeyboardInterrupt:
        interrupted = True
    show(report, as_json)
    if interrupted:
        raise KeyboardInterrupt
    click.get_current_context().exit(faults.code)


def measure_all(
    chosen: Sequence[Choice],
    feed: feeding.Feed,
    session: Session,
    loop: LoopSettings,
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
            with choice.open() as library:
                result = session.evaluate_inference(
                    library,
                    feed.data,
                    options=feed.options,
                    settings=loop,
                    progress=progress,
                )
        except MeasurementInterrupted as error:
            progress.clear()
            keep(report, error.result, faults)
            raise
        except Exception as error:  # noqa: BLE001  # one bad model must not stop the others
            progress.clear()
            faults.add(error, choice.path)
            report.warnings = tuple(faults.told)
        finally:
            progress.clear()
        if result is not None:
            keep(report, result, faults)
            tell(costs.cost(result), faults)
