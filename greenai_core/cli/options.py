"""Options that several commands share."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from greenai_core.errors import ConfigError

from .config import Configuration, configure

F = TypeVar("F", bound=Callable[..., Any])

Flags = dict[str, Any]


class Number(click.FloatRange):
    """A number in a range; neither infinite nor NaN, which compare with nothing."""

    name = "number"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The number that the text stands for."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is no finite number.", param, ctx)
        return number


raw_flag = click.option(
    "--raw",
    is_flag=True,
    help="Keep the raw readings beside the report, for `greenai explain`.",
)

idle_option = click.option(
    "--idle",
    type=Number(min=0),
    metavar="S",
    help="Measure idle so long before and after; 0 for not at all. "
    "[default: 1, or 20 values of the sensors]",
)

json_flag = click.option(
    "--json", "as_json", is_flag=True, help="Print only JSON on stdout, for machines."
)

_SENSORS = (
    click.option(
        "-p",
        "--profiler",
        "profilers",
        multiple=True,
        metavar="NAME",
        help="Measure with this profiler; repeat for several. [default: auto, all that work here]",
    ),
    click.option(
        "-O",
        "--option",
        "profiler_options",
        multiple=True,
        metavar="PROFILER.KEY=VALUE",
        help="Set an option of a profiler, e.g. wattmeter.url=http://192.0.2.7.",
    ),
    click.option(
        "--tdp",
        type=Number(min=0, min_open=True),
        metavar="WATTS",
        help="Thermal design power for the modelled profiler (same as -O modelled.tdp_w=WATTS).",
    ),
    click.option(
        "--no-calibration",
        "calibrations",
        flag_value="none",
        default=None,
        help="Leave out what `greenai calibrate` found: the sensors as they are.",
    ),
)
_LOOP = (
    click.option(
        "--precision",
        metavar="SHARE",
        help="Stop when the repeatability interval is this narrow: 2% or 0.02. [default: 2%]",
    ),
    click.option(
        "--max-time",
        metavar="S",
        help="Measure one model at most this long, seconds. [default: 60]",
    ),
    click.option(
        "--min-time",
        metavar="S",
        help="Measure one model at least this long, seconds. [default: 1]",
    ),
)
_DEVICE = click.option(
    "--device", metavar="DEVICE", help="cpu, cuda, cuda:1 … [default: auto, a GPU if usable]"
)
_OUT = click.option(
    "--out", metavar="DIR", help="Folder of the report, report.json. [default: greenai-report]"
)
_MODEL = (
    click.option(
        "--format", "model_format", metavar="NAME", help="Format, where the file does not tell."
    ),
    click.option(
        "--class",
        "class_name",
        metavar="MODULE:NAME",
        help="Class of a PyTorch state dict; MODULE is looked up from the current folder too.",
    ),
    click.option(
        "--trust",
        is_flag=True,
        help="Unpickle the file. Only for files you trust: it can run any code.",
    ),
    click.option(
        "--model-option",
        "model_options",
        multiple=True,
        metavar="KEY=VALUE",
        help="Set an option of the model's format.",
    ),
)
_SHAPE = click.option(
    "--input-shape",
    "input_shapes",
    multiple=True,
    metavar="[NAME=]1x3x224x224",
    help="Shape of an input that the file leaves open; repeat for several.",
)


def stack(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    """One decorator that adds options in this order."""

    def apply(function: F) -> F:
        return functools.reduce(lambda f, decorate: decorate(f), reversed(decorators), function)

    return apply


sensor_options = stack(*_SENSORS)
loop_options = stack(*_LOOP)
device_option = stack(_DEVICE)
out_option = stack(_OUT)
model_options = stack(*_MODEL, _SHAPE)

SETTINGS = ("precision", "max_time", "min_time", "device", "out", "idle_time", "calibrations")


def configuration(flags: Flags) -> Configuration:
    """The settings with these flags on top.

    Raises:
        ConfigError: a flag, variable or file has a value that cannot be used.
    """
    given: dict[str, Any] = {key: flags.get(key) for key in SETTINGS}
    given["profilers"] = list(flags.get("profilers") or ()) or None
    options = profiler_options(flags.get("profiler_options") or (), flags.get("tdp"))
    given["profiler"] = options or None
    return configure(given)


def profiler_options(texts: Sequence[str], tdp: float | None) -> dict[str, dict[str, Any]]:
    """``PROFILER.KEY=VALUE`` texts as tables.

    Raises:
        ConfigError: one has another form.
    """
    tables: dict[str, dict[str, Any]] = {}
    for text in texts:
        name, dot, rest = text.partition(".")
        key, equals, value = rest.partition("=")
        if not (name and dot and key and equals):
            raise ConfigError(f"-O {text}: write it as PROFILER.KEY=VALUE")
        tables.setdefault(name, {})[key] = literal(value)
    if tdp is not None:
        tables.setdefault("modelled", {})["tdp_w"] = tdp
    return tables


def literal(text: str) -> Any:
    """Number, true, false, or text; quotes make it text whatever it looks like."""
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


@dataclass(frozen=True)
class ModelFlags:
    """How to open the models of a command.

    Attributes:
        format: name of the format, None to look at the file.
        shapes: input shapes by name; the name ``""`` is the only (or first) input.
        options: of formats; each goes to the formats that know it.
        spellings: the flag behind each of ``options``, for messages.
    """

    format: str | None
    shapes: Mapping[str, tuple[int, ...]]
    options: Mapping[str, Any]
    spellings: Mapping[str, str]


def model_flags(flags: Flags, **more: tuple[str, Any]) -> ModelFlags:
    """What the model options of a command say.

    Args:
        flags: all flags of the command.
        more: option -> (its flag, its value); left out where the value is None.

    Raises:
        ConfigError: one has the wrong form.
    """
    options: dict[str, Any] = {}
    spellings: dict[str, str] = {}
    for text in flags.get("model_options") or ():
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise ConfigError(f"--model-option {text}: write it as KEY=VALUE")
        options[key], spellings[key] = literal(value), "--model-option " + key
    if flags.get("class_name"):
        module, colon, name = flags["class_name"].partition(":")
        if not (module and colon and name):
            raise ConfigError(f"--class {flags['class_name']}: write it as MODULE:NAME")
        options["model_constructor"] = flags["class_name"]
        spellings["model_constructor"] = "--class"
    if flags.get("trust"):
        options["trust"], spellings["trust"] = True, "--trust"
    for key, (flag, value) in more.items():
        if value is not None:
            options[key], spellings[key] = value, flag
    shapes = dict(map(shape, flags.get("input_shapes") or ()))
    return ModelFlags(flags.get("model_format"), shapes, options, spellings)


def shape(text: str) -> tuple[str, tuple[int, ...]]:
    """``"x=1x3x8x8"`` -> ``("x", (1, 3, 8, 8))``; without a name ``""``.

    Raises:
        ConfigError: it has another form.
    """
    name, equals, axes = text.rpartition("=")
    try:
        sizes = tuple(int(axis) for axis in axes.replace(",", "x").lower().split("x"))
    except ValueError:
        sizes = ()
    if not sizes or min(sizes) < 1 or bool(equals) != bool(name):
        raise ConfigError(f"--input-shape {text}: write it as 1x3x224x224 or NAME=1x3x224x224")
    return name, sizes
