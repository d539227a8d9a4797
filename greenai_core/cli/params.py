"""``greenai params``."""

from __future__ import annotations

from typing import Any

import click

from . import options, output
from .faults import Faults
from .models import Choice, choose


@click.command(short_help="Count the parameters of model files.")
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@options.model_options
@options.json_flag
def command(models: tuple[str, ...], as_json: bool, **flags: Any) -> None:
    """Count the parameters of model files.

    Prints a JSON list, one object a file, with path, format, trainable,
    non_trainable, total (numbers of elements) and bytes (what they take in the
    file). Reads headers instead of weights wherever the format allows. A file
    that cannot be read is told on stderr, the others are still counted, and the
    exit code is 4.

    \b
    Examples:
      greenai params resnet50.onnx
      greenai params *.onnx *.keras | jq '.[] | [.path, .total] | @tsv' -r
      greenai params weights.pt --format pytorch
    """  # noqa: D301  # click takes \b for "keep these lines"
    faults = Faults()
    counts = []
    with output.stdout_kept_clean():
        for choice in choose(models, options.model_flags(flags), faults, installed=False):
            try:
                counts.append(_count(choice))
            except Exception as error:  # noqa: BLE001  # one bad file must not hide the others
                faults.add(error, choice.path)
    output.emit_json(counts)
    click.get_current_context().exit(faults.code)


def _count(choice: Choice) -> dict[str, Any]:
    with choice.open() as library:
        count = library.count_parameters()
    return {
        "path": choice.path,
        "format": choice.library.format,
        "trainable": count.trainable,
        "non_trainable": count.non_trainable,
        "total": count.total,
        "bytes": count.bytes,
    }
