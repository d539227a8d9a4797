"""``greenai layers``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from greenai_core import registry
from greenai_core.calibration import applied
from greenai_core.errors import ConfigError
from greenai_core.export import Exporter
from greenai_core.layer_evaluation import LayersInterrupted
from greenai_core.layer_results import CONTEXT, ISOLATION, METHODS, LayersResult
from greenai_core.layers import LayerSettings
from greenai_core.session import Session

from . import exit_codes, feeding, layers_text, options, output, sensors
from .faults import Faults
from .models import Choice, choose
from .outcome import finish, keep
from .places import check_file, check_report
from .progress import Progress
from .reports import FILE_NAME, ReportFile


@click.command(short_help="Where in a model the joules go: layer by layer, adding up.")
@click.argument("model")
@click.option("--train", is_flag=True, help="Of a training step: forward and backward apart.")
@click.option(
    "--data",
    metavar="DIR|FILE.npz",
    help="Data of --train, as of `greenai train`; the first batch. [default: synthetic]",
)
@click.option("--optimizer", metavar="NAME", help="sgd or adam, of --train. [default: sgd]")
@click.option(
    "--top",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    metavar="N",
    help="Measure and show the N layers that take longest; the others go by their time.",
)
@click.option(
    "--method",
    type=click.Choice(METHODS),
    help="Repeat a layer inside the pass, by itself, or go by its time, which is a model. "
    "[default: context; isolation with --train]",
)
@click.option(
    "--layer-time",
    type=options.Number(min=0, min_open=True),
    default=3.0,
    show_default=True,
    metavar="S",
    help="Measure each layer for so long, twice as long where it is not precise by then.",
)
@click.option("--tree", is_flag=True, help="Show all layers as a tree, with subtotals.")
@click.option("--csv", "csv_path", metavar="FILE", help="Write all rows there too.")
@feeding.data_options
@options.device_option
@options.loop_options
@options.sensor_options
@options.out_option
@options.model_options
@options.json_flag
def command(model: str, as_json: bool, **flags: Any) -> None:
    """Where in a model the joules go: layer by layer, adding up.

    No sensor sees a layer. So the whole pass is measured, watching tells the
    time of each layer, and the energy of the longest ones is measured by
    repeating them: inside the pass (context) or by themselves (isolation).
    What is left goes by its time at the mean power, which is a model and
    marked with ~. What the rows fall short of the whole is told first; then
    they are made to add up to it.

    With --train a pass is a training step; the model is not trained by it.

    \b
    Examples:
      greenai layers net.pt --class mynets:Net --input-shape 1x3x224x224
      greenai layers resnet50.onnx --top 5 --layer-time 10
      greenai layers net.pt --class mynets:Net --train --batch-size 32 --tree
      greenai layers net.pt --class mynets:Net --method time --csv layers.csv
    """  # noqa: D301  # click takes \b for "keep these lines"
    configured = options.configuration(flags).settings
    check(flags)
    csv_file = None if flags["csv_path"] is None else check_file(flags["csv_path"], "--csv")
    feed = feeding.feed(flags)
    given = options.model_flags(flags, optimizer=("--optimizer", flags["optimizer"]))
    faults = Faults()
    with output.stdout_kept_clean():
        chosen = choose([model], given, faults, configured.device)
    if not chosen:
        click.get_current_context().exit(faults.code)
    wanted = layer_settings(flags)
    depends_on = {
        **sensors.for_report(configured),
        **feed.settings,
        **for_report(wanted, flags),
        "input_shapes": {name: list(shape) for name, shape in given.shapes.items()},
    }
    report = ReportFile("layers", depends_on, check_report(configured.out, FILE_NAME))
    interrupted = False
    try:
        with output.stdout_kept_clean(), sensors.opened(configured) as session:
            report.skipped = session.skipped
            report.calibrations = tuple(map(applied, session.calibrations))
            wanted = replace(wanted, loop=sensors.loop_settings(configured))
            measure(chosen[0], feed, session, wanted, flags, report, faults)
        finish(report, faults)
    except KeyboardInterrupt:
        interrupted = True
    if csv_file is not None and report.report.results:
        write_rows(report, csv_file, faults)
    show(report, flags, as_json)
    if interrupted:
        raise KeyboardInterrupt
    click.get_current_context().exit(faults.code)


def check(flags: Mapping[str, Any]) -> None:
    """Return if the flags go together.

    Raises:
        ConfigError: they do not.
    """
    if flags["train"] and (flags["input_path"] is not None or flags["texts"]):
        raise ConfigError("--train takes its data, inputs and targets, with --data")
    if not flags["train"]:
        for name in ("data", "optimizer"):
            if flags[name] is not None:
                raise ConfigError(f"--{name} is for training: give --train too")


def layer_settings(flags: Mapping[str, Any]) -> LayerSettings:
    """How layers are measured, as far as the flags say."""
    method = flags["method"] or (ISOLATION if flags["train"] else CONTEXT)
    return LayerSettings(method=method, top=flags["top"], layer_s=flags["layer_time"])


def for_report(wanted: LayerSettings, flags: Mapping[str, Any]) -> dict[str, Any]:
    """The same in JSON types."""
    return {
        "train": flags["train"],
        "data": flags["data"],
        "optimizer": flags["optimizer"],
        "method": wanted.method,
        "top": wanted.top,
        "layer_s": wanted.layer_s,
    }


def measure(
    choice: Choice,
    feed: feeding.Feed,
    session: Session,
    wanted: LayerSettings,
    flags: Mapping[str, Any],
    report: ReportFile,
    faults: Faults,
) -> None:
    """Measure the layers of the model; the result goes into the report.

    Raises:
        ModelError: its layers cannot be told apart.
        KeyboardInterrupt: what was measured by then is in the report.
    """
    progress = Progress()
    progress.begin(Path(choice.path).name)
    try:
        with choice.open() as library:
            result = session.evaluate_layers(
                library,
                flags["data"] if flags["train"] else feed.data,
                training=flags["train"],
                options=feed.options,
                settings=wanted,
                progress=progress,
            )
    except LayersInterrupted as error:
        progress.clear()
        told(choice, error.result, report, faults)
        raise
    finally:
        progress.clear()
    told(choice, result, report, faults)


def told(choice: Choice, result: LayersResult, report: ReportFile, faults: Faults) -> None:
    """Keep the result, and say what is to be known of it; without a total that is a fault."""
    keep(report, result, faults)
    for warning in result.warnings:
        output.warn(f"{choice.path}: {warning}")
    if result.energy_j is None:
        faults.tell(f"{choice.path}: {shortfall(result)}", exit_codes.MEASUREMENT)


def shortfall(result: LayersResult) -> str:
    """Why there is no total, as of `greenai bench`."""
    lost = [one for one in result.missing if one.id in result.contains]
    if lost:
        return (
            f"no total: {lost[0].id} was lost: {lost[0].reason}. "
            "`greenai devices` tells what works now"
        )
    if not result.contains:
        return "no total: none of the channels in use belongs in one"
    return "no total: too few readings for an interval. Allow more with --max-time"


def write_rows(report: ReportFile, path: Path, faults: Faults) -> None:
    """All rows as CSV; what cannot be written is still shown."""
    exporter: Exporter = registry.load("greenai.exporters", "csv")()
    try:
        output.save(path, exporter.export(report.report))
        output.note(f"greenai: rows written to {path}")
    except output.OutputError as error:
        faults.add(error)


def show(report: ReportFile, flags: Mapping[str, Any], as_json: bool) -> None:
    """The result on stdout, and where the report is."""
    if as_json:
        output.emit_bytes(report.content())
    else:
        output.emit(layers_text.text(report.report, flags["top"], flags["tree"]))
    if report.written:
        output.note(f"greenai: report written to {report.path}")
