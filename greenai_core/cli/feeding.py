"""What a model is fed: the options of it, shared by the commands that run models."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from greenai_core.errors import ConfigError, ModelInputError

from .options import stack

_IMAGES = (
    click.option(
        "--resize",
        type=click.Choice(["stretch", "fit", "crop"]),
        help="Images: change the proportions, pad with black, or cut the borders off. "
        "[default: stretch]",
    ),
    click.option(
        "--normalise",
        metavar="HOW",
        help="Images: imagenet, 0..1, -1..1, 0..255, none, or MEAN/STD such as "
        "0.5,0.5,0.5/0.25,0.25,0.25. [default: 0..1, or 0..255 for whole numbers]",
    ),
)
_DATA = (
    click.option(
        "--input",
        "input_path",
        metavar="PATH",
        help="Image, folder of images, .txt, .npy or .npz. [default: synthetic data of the "
        "model's input shapes]",
    ),
    click.option(
        "--text",
        "texts",
        multiple=True,
        metavar="TEXT",
        help="Text, for the tokenizer beside the model; repeat for several samples.",
    ),
    click.option(
        "--batch-size", type=click.IntRange(min=1), metavar="N", help="Samples in one inference."
    ),
    click.option(
        "--axis",
        "axes",
        multiple=True,
        metavar="NAME=SIZE",
        help="Size of an axis that the model leaves open: batch=8, seq=128, or by input and "
        "position input_ids.1=128; repeat for several.",
    ),
    *_IMAGES,
    click.option(
        "--preprocess",
        metavar="MODULE:FUNCTION",
        help="Function that makes the input of --input PATH; MODULE is looked up from the "
        "current folder too.",
    ),
)
_PREPROCESS = click.option(
    "--preprocess",
    metavar="MODULE:FUNCTION",
    help="Function that is called on the path of each image, or on the arrays of each batch, and "
    "makes the inputs; MODULE is looked up from the current folder too.",
)

PICTURES = ("resize", "normalise")


data_options = stack(*_DATA)
image_options = stack(*_IMAGES)
preprocess_option = stack(_PREPROCESS)

FLAGS = ("input_path", "texts", "batch_size", "axes", *PICTURES, "preprocess")


@dataclass(frozen=True)
class Feed:
    """What models are fed.

    Attributes:
        data: a path, a ``Text``, or None for synthetic data.
        options: an ``InputOptions``.
        settings: the same for the report, in JSON types.
    """

    data: Any
    options: Any
    settings: Mapping[str, Any]


def feed(flags: dict[str, Any]) -> Feed:
    """What the data options say; they are taken out of ``flags``.

    Raises:
        ConfigError: one has the wrong form, or two exclude each other.
    """
    from greenai_core.inputs import InputOptions, Text

    given = {name: flags.pop(name, None) for name in FLAGS}
    path, texts = given["input_path"], given["texts"] or ()
    if path is not None and texts:
        raise ConfigError("--input and --text exclude each other: give one of them")
    for name in PICTURES:
        if given[name] is not None and (path is None or _is_array(path)):
            raise ConfigError(f"--{name} is for images: give one, or a folder, with --input")
    axes = dict(map(axis, given["axes"] or ()))
    reference = given["preprocess"]
    chosen = {name: given[name] for name in PICTURES if given[name] is not None}
    try:
        options = InputOptions(
            batch_size=given["batch_size"],
            axes=axes,
            preprocess=None if reference is None else function(reference),
            **chosen,
        )
    except ModelInputError as error:
        raise ConfigError(f"--normalise {given['normalise']}: {error}") from error
    settings = {
        "input": path,
        "text": list(texts) or None,
        "batch_size": given["batch_size"],
        "axes": axes,
        "resize": options.resize if path else None,
        "normalise": options.normalise,
        "preprocess": reference,
    }
    return Feed(Text(*texts) if texts else path, options, settings)


def axis(text: str) -> tuple[str, int]:
    """``"seq=128"`` -> ``("seq", 128)``.

    Raises:
        ConfigError: it has another form.
    """
    name, equals, size = text.rpartition("=")
    if not (name and equals and size.isdecimal() and int(size) > 0):
        raise ConfigError(f"--axis {text}: write it as NAME=SIZE, for example seq=128")
    return name, int(size)


def function(reference: str) -> Callable[[Any], Any]:
    """The function that ``module:name`` stands for; the current folder is looked in too.

    Raises:
        ConfigError: it is no such reference, cannot be imported, or is not there.
    """
    module_name, colon, name = reference.partition(":")
    if not (module_name and colon and name):
        raise ConfigError(f"--preprocess {reference}: write it as MODULE:FUNCTION")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # anything can happen while importing users' code
        raise ConfigError(
            f"--preprocess {reference}: its module cannot be imported "
            f"({type(error).__name__}: {error}). It is looked for in {here} and among the "
            "installed packages"
        ) from error
    finally:
        if here in sys.path:
            sys.path.remove(here)
    found = getattr(module, name, None)
    if not callable(found):
        raise ConfigError(f"--preprocess {reference}: {module_name} has no function {name}")
    made: Callable[[Any], Any] = found
    return made


def _is_array(path: str) -> bool:
    return path.lower().endswith((".npy", ".npz", ".txt", ".md"))
