"""``greenai train``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from greenai_core.calibration import applied
from greenai_core.errors import ConfigError, ModelInputError
from greenai_core.loop import LoopSettings
from greenai_core.model import Trainable
from greenai_core.session import MeasurementInterrupted, Session, TrainingFailed

from . import costs, exit_codes, feeding, options, output, sensors
from .faults import Faults
from .models import Choice, choose
from .outcome import finish, keep, show, tell
from .places import check_report, check_save
from .progress import Progress
from .reports import FILE_NAME, ReportFile


@click.command(short_help="Joules, seconds and watts of training: a step, or whole epochs.")
@click.argument("model")
@click.option(
    "--data",
    "data_path",
    required=True,
    metavar="DIR|FILE.npz",
    help="Folder with a sub-folder of images for each class; or arrays x (or one by input "
    "name) and y, the targets, whose first axis counts samples.",
)
@click.option(
    "--validation",
    metavar="DIR|FILE.npz",
    help="The same, to try the model on after each epoch; measured apart.",
)
@click.option(
    "--epochs",
    type=click.IntRange(min=1),
    metavar="N",
    help="Measure whole epochs, with waiting for data. [default: repeated steps]",
)
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    metavar="N",
    help="Measure at most so many steps. [default: until the precision is reached]",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    metavar="N",
    help="Samples in one step. [default: the model's, or 32, or all there are]",
)
@click.option("--optimizer", metavar="NAME", help="sgd or adam. [default: the format's]")
@click.option(
    "--lr",
    type=options.Number(min=0),
    metavar="RATE",
    help="Learning rate. [default: the format's]",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="Of the order of samples, which is another in each epoch.",
)
@click.option("--no-shuffle", is_flag=True, help="Keep the order of the files and arrays.")
@click.option("--save", "save_path", metavar="OUT", help="Write the trained model there.")
@feeding.image_options
@feeding.preprocess_option
@options.device_option
@options.loop_options
@options.sensor_options
@options.out_option
@options.raw_flag
@options.idle_option
@options.model_options
@options.json_flag
def command(model: str, data_path: str, save_path: str | None, as_json: bool, **flags: Any) -> None:
    """Joules, seconds and watts of training: a step, or whole epochs.

    One step is a forward pass, a backward pass and an update of the weights on
    one batch. Without --epochs steps are repeated on data that are ready,
    unmeasured ones first to warm up, until the energy is known as precisely as
    asked, N steps are measured, or the time is over.

    With --epochs the model goes through all data that often. The table gives the
    energy, loss and accuracy of each epoch, and how long it waited for data.

    The model file is not changed; --save writes the trained model, also when
    Ctrl-C ends the training, but not when the loss is no number any more.

    \b
    Examples:
      greenai train net.pt --class mynets:Net --data digits.npz --steps 200
      greenai train net.keras --data digits.npz --optimizer adam --lr 0.001
      greenai train net.keras --data photos --validation others --epochs 3
      greenai train net.keras --data digits.npz --epochs 2 --save out.keras --json
    """  # noqa: D301  # click takes \b for "keep these lines"
    settings = options.configuration(flags).settings
    given = model_flags(flags)
    plan = make_plan(data_path, flags)
    inputs = plan.inputs()
    if save_path is not None:
        check_save(save_path, model)
    faults = Faults()
    with output.stdout_kept_clean():
        chosen = choose([model], given, faults, settings.device)
    if not chosen:
        click.get_current_context().exit(faults.code)
    depends_on = {**sensors.for_report(settings), "data": data_path, **plan.settings()}
    report = ReportFile("train", depends_on, check_report(settings.out, FILE_NAME))
    interrupted = False
    try:
        with output.stdout_kept_clean(), sensors.opened(settings, flags["raw"]) as session:
            report.skipped = session.skipped
            report.calibrations = tuple(map(applied, session.calibrations))
            loop = sensors.loop_settings(settings)
            measure(chosen[0], plan, inputs, session, loop, report, save_path, faults)
        finish(report, faults)
    except MeasurementInterrupted:
        interrupted = True
    show(report, as_json)
    if interrupted:
        raise KeyboardInterrupt
    click.get_current_context().exit(faults.code)


def model_flags(flags: Mapping[str, Any]) -> options.ModelFlags:
    """What the model options say, with those of training.

    Raises:
        ConfigError: one has the wrong form.
    """
    return options.model_flags(
        dict(flags),
        optimizer=("--optimizer", flags["optimizer"]),
        learning_rate=("--lr", flags["lr"]),
    )


@dataclass(frozen=True)
class Plan:
    """What is trained on, and how long. See ``Session.evaluate_training``."""

    data: str
    validation: str | None
    epochs: int | None
    steps: int | None
    batch_size: int | None
    seed: int | None
    resize: str | None
    normalise: str | None
    preprocess: str | None
    idle_s: float | None = None

    def settings(self) -> Mapping[str, Any]:
        """For the report."""
        return {
            "validation": self.validation,
            "epochs": self.epochs,
            "steps": self.steps,
            "batch_size": self.batch_size,
            "seed": self.seed,
            "resize": self.resize,
            "normalise": self.normalise,
            "preprocess": self.preprocess,
            "idle_s": self.idle_s,
        }

    def inputs(self) -> Any:
        """How data are made into inputs: an ``InputOptions``.

        Raises:
            ConfigError: there is no such normalisation or function.
        """
        from greenai_core.inputs import InputOptions

        try:
            options = InputOptions(normalise=self.normalise)
        except ModelInputError as error:
            raise ConfigError(f"--normalise {self.normalise}: {error}") from error
        if self.resize:
            options = replace(options, resize=self.resize)
        if self.preprocess:
            options = replace(options, preprocess=feeding.function(self.preprocess))
        return options


def make_plan(data: str, flags: Mapping[str, Any]) -> Plan:
    """What the flags ask for.

    Raises:
        ConfigError: some exclude each other.
    """
    if flags["epochs"] is not None and flags["steps"] is not None:
        raise ConfigError("--epochs and --steps exclude each other: give one of them")
    if flags["idle"] and flags["epochs"] is not None:
        raise ConfigError("--idle is for repeated steps: leave it out with --epochs")
    if flags["validation"] is not None and flags["epochs"] is None:
        raise ConfigError("--validation follows each epoch: give --epochs too")
    return Plan(
        data,
        flags["validation"],
        flags["epochs"],
        flags["steps"],
        flags["batch_size"],
        None if flags["no_shuffle"] else flags["seed"],
        flags["resize"],
        flags["normalise"],
        flags["preprocess"],
        flags["idle"],
    )


def measure(
    choice: Choice,
    plan: Plan,
    inputs: Any,
    session: Session,
    loop: LoopSettings,
    report: ReportFile,
    save_path: str | None,
    faults: Faults,
) -> None:
    """Train, measure, and save the model, even when it was interrupted.

    Raises:
        MeasurementInterrupted: what was measured is in the report.
        ModelError: the model cannot be trained on these data.
    """
    progress = Progress()
    progress.begin(Path(choice.path).name)
    with choice.open() as library:
        trainable = library.as_trainable()
        try:
            result = session.evaluate_training(
                library,
                plan.data,
                validation=plan.validation,
                epochs=plan.epochs,
                steps=plan.steps,
                batch_size=plan.batch_size,
                seed=plan.seed,
                options=inputs,
                settings=loop,
                trainable=trainable,
                progress=progress,
                idle_s=plan.idle_s,
            )
            progress.clear()
            keep(report, result, faults, session.kept)
            tell(costs.cost(result), faults)
        except MeasurementInterrupted as error:
            progress.clear()
            keep(report, error.result, faults, session.kept)
            save(trainable, save_path, faults)
            raise
        except TrainingFailed as error:
            progress.clear()
            keep(report, error.result, faults, session.kept)
            faults.add(error, choice.path)
        finally:
            progress.clear()
        save(trainable, save_path, faults)


def save(trainable: Trainable, path: str | None, faults: Faults) -> None:
    """Write the trained model; the figures are shown even if that fails."""
    if path is None:
        return
    if not math.isfinite(trainable.loss()):
        faults.tell(
            f"the trained model is not written to {path}: its weights are no numbers any more",
            exit_codes.MODEL,
        )
        return
    try:
        trainable.save(path)
    except Exception as error:  # noqa: BLE001  # whatever the library raises, it is not written
        faults.tell(f"the trained model is not written to {path}: {error}", exit_codes.OUTPUT)
    else:
        output.note(f"greenai: trained model written to {path}")
