"""``greenai run``."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np

from greenai_core.errors import ConfigError
from greenai_core.model import DLLibrary

from . import feeding, options, output
from .faults import Faults
from .models import choose
from .places import check_file

TOP = 5

Arrays = Mapping[str, Any]


@click.command(short_help="One inference: what the model answers.")
@click.argument("model")
@feeding.data_options
@click.option(
    "--output", "output_path", metavar="FILE.npz", help="Write the outputs there, by name."
)
@options.device_option
@options.model_options
@options.json_flag
def command(model: str, output_path: str | None, as_json: bool, **flags: Any) -> None:
    """One inference: what the model answers.

    Prints name, shape and type of each output, and its largest values with
    their indices. Without --input the model is fed the same synthetic numbers
    every time, made from its signature. Nothing is measured: that is `bench`.

    \b
    Examples:
      greenai run resnet50.onnx --input cat.jpg
      greenai run resnet50.onnx --input photos/ --resize crop --normalise imagenet
      greenai run bert.onnx --text "a sentence" --output hidden.npz
      greenai run net.pt --class mynets:Net --input-shape 1x3x224x224
      greenai run resnet50.onnx --batch-size 8 --device cpu --json
    """  # noqa: D301  # click takes \b for "keep these lines"
    feed = feeding.feed(flags)
    settings = options.configuration(flags).settings
    file = None if output_path is None else npz_file(output_path)
    faults = Faults()
    with output.stdout_kept_clean():
        chosen = choose([model], options.model_flags(flags), faults, settings.device)
        if not chosen:
            click.get_current_context().exit(faults.code)
        with chosen[0].open() as library:
            inputs, outputs = infer(library, feed)
            device, assumed = library.device, library.assumptions()
    for text in assumed:
        output.warn(f"{model}: {text}")
    if file is not None:
        save(file, outputs, faults)
    described = {name: describe(array) for name, array in outputs.items()}
    if as_json:
        output.emit_json(
            {
                "model": model,
                "format": chosen[0].library.format,
                "device": device,
                "inputs": [_signature(name, array) for name, array in inputs.items()],
                "outputs": [
                    {**_signature(name, array), **described[name]}
                    for name, array in outputs.items()
                ],
                "output_file": None if faults.code else output_path,
            }
        )
    else:
        output.emit("\n\n".join(_text(n, array, described[n]) for n, array in outputs.items()))
    click.get_current_context().exit(faults.code)


def npz_file(text: str) -> Path:
    """The file of ``--output``.

    Raises:
        ConfigError: it has another ending, or cannot be written.
        OutputError: the disk is full.
    """
    if not text.endswith(".npz"):
        raise ConfigError(f"--output {text}: its name must end with .npz")
    return check_file(text, "--output")


def save(file: Path, outputs: Arrays, faults: Faults) -> None:
    """Write the outputs; they are shown even if that fails."""
    try:
        output.save(file, npz(outputs))
    except output.OutputError as error:
        faults.add(error)
    else:
        output.note(f"greenai: outputs written to {file}")


def infer(library: DLLibrary, feed: feeding.Feed) -> tuple[Arrays, Arrays]:
    """Inputs and outputs of one inference."""
    library.load()
    inputs = library.make_inputs(feed.data, feed.options)
    outputs = library.predict(library.prepare(inputs))
    library.synchronize()
    return inputs, library.fetch(outputs)


def describe(array: Any) -> dict[str, Any]:
    """The largest values with their indices, and how many are no numbers."""
    flat = np.asarray(array).reshape(-1)
    if flat.dtype.kind not in "biufc":
        return {"top": [_entry(array, i, str(flat[i])) for i in range(min(TOP, flat.size))]}
    sizes = np.abs(flat) if flat.dtype.kind == "c" else flat.astype(np.float64)
    nans = int(np.isnan(sizes).sum())
    order = np.argsort(np.where(np.isnan(sizes), -np.inf, sizes), kind="stable")[::-1]
    best = [int(i) for i in order[: min(TOP, flat.size - nans)]]
    return {"top": [_entry(array, i, _plain(flat[i])) for i in best], "nan": nans}


def npz(arrays: Arrays) -> bytes:
    """The arrays as the content of an ``.npz`` file, whatever their names."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            plain = array.astype(str) if array.dtype.kind == "O" else array
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, plain, allow_pickle=False)
    return buffer.getvalue()


def _entry(array: Any, index: int, value: Any) -> dict[str, Any]:
    where = [int(axis) for axis in np.unravel_index(index, array.shape)] if array.ndim else []
    return {"index": where, "value": value}


def _plain(value: Any) -> Any:
    """A NumPy scalar as a JSON type; JSON has no infinities."""
    if np.iscomplexobj(value) or not np.isfinite(value):
        return str(value)
    return value.item()


def _signature(name: str, array: Any) -> dict[str, Any]:
    return {"name": name, "shape": list(array.shape), "dtype": str(array.dtype)}


def _text(name: str, array: Any, described: dict[str, Any]) -> str:
    shape = "x".join(map(str, array.shape)) or "scalar"
    lines = [output.heading(f"{name}  {shape}  {array.dtype}")]
    if array.size == 0:
        return "\n".join([*lines, "  empty"])
    for entry in described["top"]:
        value = entry["value"]
        shown = f"{value:.6g}" if isinstance(value, float) else str(value)
        lines.append(f"  [{', '.join(map(str, entry['index']))}]  {shown}")
    if described.get("nan"):
        lines.append(f"  {described['nan']} of {array.size} values are NaN")
    return "\n".join(lines)
