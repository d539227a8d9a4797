"""``greenai train``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from greenai_core.errors import ConfigError, ModelInputError
from greenai_core.loop import LoopSettings
from greenai_core.model import Trainable
from greenai_core.session import MeasurementInterrupted, Session

from . import costs, exit_codes, options, output, sensors
from .faults import Faults
from .models import Choice, choose
from .outcome import finish, keep, show, tell
from .progress import Progress
from .reports import FILE_NAME, ReportFile

TARGETS = "y"
SINGLE_INPUT = "x"
BATCH_SIZE = 32

Batch = tuple[Any, Any]


@click.command(short_help="Joules, seconds and watts of one training step.")
@click.argument("model")
@click.option(
    "--data",
    "data_path",
    required=True,
    metavar="FILE.npz",
    help="Arrays x (or one by input name) and y, the targets; the first axis counts samples.",
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
    help=f"Samples in one step. [default: {BATCH_SIZE}, or all there are]",
)
@click.option("--optimizer", metavar="NAME", help="sgd or adam. [default: the format's]")
@click.option("--lr", type=float, metavar="RATE", help="Learning rate. [default: the format's]")
@click.option("--save", "save_path", metavar="OUT", help="Write the trained model there.")
@options.device_option
@options.loop_options
@options.sensor_options
@options.out_option
@options.model_options
@options.json_flag
def command(
    model: str,
    data_path: str,
    steps: int | None,
    batch_size: int | None,
    save_path: str | None,
    as_json: bool,
    **flags: Any,
) -> None:
    """Joules, seconds and watts of one training step.

    One step is a forward pass, a backward pass and an update of the weights on
    one batch. Steps are repeated, unmeasured ones first to warm up, until the
    energy is known as precisely as asked, N steps are measured, or the time is
    over. The model file is not changed; --save writes the trained model.

    \b
    Examples:
      greenai train net.pt --class mynets:Net --data digits.npz --steps 200
      greenai train net.keras --data digits.npz --optimizer adam --lr 0.001
      greenai train net.keras --data digits.npz --save trained.keras --json
    """  # noqa: D301  # click takes \b for "keep these lines"
    settings = options.configuration(flags).settings
    given = options.model_flags(
        flags,
        optimizer=("--optimizer", flags["optimizer"]),
        learning_rate=("--lr", flags["lr"]),
    )
    faults = Faults()
    with output.stdout_kept_clean():
        chosen = choose([model], given, faults, settings.device)
    if not chosen:
        click.get_current_context().exit(faults.code)
    arrays, targets = read_data(Path(data_path))
    if batch_size is not None and batch_size > len(targets):
        raise ConfigError(f"--batch-size {batch_size}: {data_path} has {len(targets)} samples")
    size = batch_size or usual_batch(chosen[0], len(targets))
    report = ReportFile(
        "train",
        {**sensors.for_report(settings), "data": data_path, "batch_size": size, "steps": steps},
        Path(settings.out) / FILE_NAME,
    )
    report.check_writable()
    interrupted = False
    try:
        with output.stdout_kept_clean(), sensors.opened(settings) as session:
            report.skipped = session.skipped
            steps_of = Steps(batches(arrays, targets, size), steps, save_path)
            measure_steps(
                chosen[0], steps_of, session, sensors.loop_settings(settings), report, faults
            )
        finish(report, faults)
    except MeasurementInterrupted:
        interrupted = True
    show(report, as_json)
    if interrupted:
        raise KeyboardInterrupt
    click.get_current_context().exit(faults.code)


@dataclass(frozen=True)
class Steps:
    """What is trained on, how often at most, and where the result goes."""

    batches: Sequence[Batch]
    most: int | None
    save_path: str | None


def measure_steps(
    choice: Choice,
    steps: Steps,
    session: Session,
    loop: LoopSettings,
    report: ReportFile,
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
                steps.batches,
                steps=steps.most,
                settings=loop,
                trainable=trainable,
                progress=progress,
            )
            progress.clear()
            keep(report, result, faults)
            tell(costs.cost(result), faults)
        except MeasurementInterrupted as error:
            keep(report, error.result, faults)
            save(trainable, steps.save_path, faults)
            raise
        finally:
            progress.clear()
        save(trainable, steps.save_path, faults)


def save(trainable: Trainable, path: str | None, faults: Faults) -> None:
    """Write the trained model; the figures are shown even if that fails."""
    if path is None:
        return
    try:
        trainable.save(path)
    except Exception as error:  # noqa: BLE001  # whatever the library raises, it is not written
        faults.tell(f"the trained model is not written to {path}: {error}", exit_codes.OUTPUT)
    else:
        output.note(f"greenai: trained model written to {path}")


def read_data(path: Path) -> tuple[Mapping[str, Any], Any]:
    """Inputs by name, and targets.

    Raises:
        ModelInputError: the file cannot be read, or lacks something.
    """
    import numpy as np

    if not path.is_file():
        raise ModelInputError(f"there is no data file {path}. Check the path")
    try:
        with np.load(path, allow_pickle=False) as loaded:
            arrays = {name: loaded[name] for name in loaded.files}
    except Exception as error:
        raise ModelInputError(f"{path} is not an .npz file that can be read: {error}") from error
    if TARGETS not in arrays or len(arrays) < 2:
        found = ", ".join(arrays) or "nothing"
        raise ModelInputError(
            f"{path} holds {found}: it must hold {TARGETS} (the targets) and "
            f"{SINGLE_INPUT} (or one array by input name)"
        )
    lengths = {name: len(array) if array.ndim else 0 for name, array in arrays.items()}
    if len(set(lengths.values())) > 1 or not min(lengths.values()):
        counts = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ModelInputError(f"the arrays of {path} do not have one number of samples: {counts}")
    targets = arrays.pop(TARGETS)
    return arrays, targets


def usual_batch(choice: Choice, samples: int) -> int:
    """The batch size of a model that fixes one, else ``BATCH_SIZE`` or all samples.

    Raises:
        ModelError: the inputs of the model cannot be told.
    """
    with output.stdout_kept_clean(), choice.open() as library:
        shapes = [spec.shape for spec in library.input_specs if spec.shape]
    fixed = [shape[0] for shape in shapes if isinstance(shape[0], int)]
    return min(fixed[0] if fixed else BATCH_SIZE, samples)


def batches(arrays: Mapping[str, Any], targets: Any, size: int) -> list[Batch]:
    """Whole batches only, so that every step does the same work."""
    single = arrays[SINGLE_INPUT] if list(arrays) == [SINGLE_INPUT] else None
    cut = []
    for start in range(0, len(targets) - size + 1, size):
        rows = slice(start, start + size)
        inputs = {name: array[rows] for name, array in arrays.items()}
        cut.append((single[rows] if single is not None else inputs, targets[rows]))
    return cut
