"""``greenai params``."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import click

from greenai_core.errors import ModelError, PluginError
from greenai_core.model import DLLibrary
from greenai_core.parameters import LayerParameters, MacCount

from . import feeding, options, output
from .faults import Faults
from .models import Choice, choose

NOT_COUNTED = (
    "element by element operations and sums, as of activations, normalisation, pooling and softmax"
)
"""What ``DLLibrary.count_macs`` leaves out."""

WHOLE = "(the model itself)"


@click.command(short_help="Count the parameters of model files.")
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option("--by-layer", is_flag=True, help="List them layer by layer, as a table.")
@click.option(
    "--flops",
    is_flag=True,
    help="Count the multiply-accumulates of one inference, too; it may run the model once.",
)
@click.option(
    "--axis",
    "axes",
    multiple=True,
    metavar="NAME=SIZE",
    help="With --flops: size of an axis that the model leaves open, such as seq=128.",
)
@options.model_options
@options.json_flag
def command(
    models: tuple[str, ...],
    by_layer: bool,
    flops: bool,
    axes: tuple[str, ...],
    as_json: bool,
    **flags: Any,
) -> None:
    """Count the parameters of model files.

    Prints a JSON list, one object a file, with path, format, trainable,
    non_trainable, total (numbers of elements) and bytes (what they take in the
    file). Reads headers instead of weights wherever the format allows. A file
    that cannot be read is told on stderr, the others are still counted, and the
    exit code is 4.

    --by-layer prints a table; with --json it adds layers to each object.
    --flops adds macs, the multiply-accumulates of one inference in convolutions
    and matrix products (null where they are not known, and macs_reason says
    why), macs_inputs, what that inference was fed with, macs_assumptions, what
    was assumed because nobody said it, such as a shape found by trying, and
    macs_not_counted, which operators are left out.

    \b
    Examples:
      greenai params resnet50.onnx
      greenai params *.onnx *.keras | jq '.[] | [.path, .total] | @tsv' -r
      greenai params weights.pt --by-layer
      greenai params bert.onnx --flops --axis seq=128
    """  # noqa: D301  # click takes \b for "keep these lines"
    faults = Faults()
    found = []
    feed = feeding.feed({"axes": axes}) if flops else None
    device = "cpu" if flops else None
    with output.stdout_kept_clean(), _without_threads(flops):
        chosen = choose(models, options.model_flags(flags), faults, device, installed=False)
        for choice in chosen:
            try:
                found.append(_count(choice, by_layer, feed))
            except Exception as error:  # noqa: BLE001  # one bad file must not hide the others
                faults.add(error, choice.path)
    if by_layer and not as_json:
        output.emit("\n\n".join(map(_text, found)))
    else:
        output.emit_json(found)
    click.get_current_context().exit(faults.code)


@contextlib.contextmanager
def _without_threads(computing: bool) -> Iterator[None]:
    """Spare NumPy, which reading HDF5 takes, its threads: starting them takes longer than counting.

    Args:
        computing: leave it as it is, since a model is run.
    """
    name = "OPENBLAS_NUM_THREADS"
    if computing or name in os.environ:
        yield
        return
    os.environ[name] = "1"
    try:
        yield
    finally:
        del os.environ[name]


def _count(choice: Choice, by_layer: bool, feed: feeding.Feed | None) -> dict[str, Any]:
    entry: dict[str, Any] = {"path": choice.path, "format": choice.library.format}
    with choice.open() as library:
        count = library.count_parameters()
        entry["trainable"] = count.trainable
        entry["non_trainable"] = count.non_trainable
        entry["total"] = count.total
        entry["bytes"] = count.bytes
        if feed is not None:
            macs = _macs(library, feed)
            assumed = () if macs.macs is None else library.assumptions()
            for text in assumed:
                output.warn(f"{choice.path}: {text}")
            entry["macs"] = macs.macs
            entry["macs_reason"] = macs.reason or None
            entry["macs_inputs"] = list(macs.inputs)
            entry["macs_assumptions"] = list(assumed)
            entry["macs_not_counted"] = NOT_COUNTED
        if by_layer:
            entry["layers"] = list(library.count_by_layer())
    return entry


def _macs(library: DLLibrary, feed: feeding.Feed) -> MacCount:
    try:
        return library.count_macs(feed.options)
    except (ModelError, PluginError) as error:
        return MacCount(None, str(error))


def _text(entry: dict[str, Any]) -> str:
    from .figures import quantity

    layers: list[LayerParameters] = entry["layers"]
    rows = [
        [
            layer.name or WHOLE,
            layer.type or "",
            f"{layer.trainable:,}",
            f"{layer.non_trainable:,}",
            quantity(layer.bytes, "B"),
        ]
        for layer in layers
    ]
    total = quantity(entry["bytes"], "B")
    rows.append(["total", "", f"{entry['trainable']:,}", f"{entry['non_trainable']:,}", total])
    headers = ("layer", "type", "trainable", "not trainable", "size")
    lines = [
        output.heading(f"{entry['path']} ({entry['format']})"),
        output.table(headers, rows, right=(2, 3, 4)),
    ]
    if "macs" in entry:
        lines.append(_macs_line(entry))
    return "\n".join(lines)


def _macs_line(entry: dict[str, Any]) -> str:
    from .figures import quantity

    if entry["macs"] is None:
        return output.paragraph(f"multiply-accumulates: unknown. {entry['macs_reason']}")
    fed = "; ".join(entry["macs_inputs"])
    lines = [
        f"multiply-accumulates: {quantity(entry['macs'], 'MAC')} with {fed}",
        *(f"  assumed: {text}" for text in entry["macs_assumptions"]),
        f"  not counted: {entry['macs_reason'] or entry['macs_not_counted']}",
    ]
    return "\n".join(map(output.paragraph, lines))
