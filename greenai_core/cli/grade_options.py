"""The options of ``greenai grade``, in sections, and what they ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import click
from click.core import ParameterSource

from greenai_core.errors import ConfigError

from . import feeding, footprints, grade_arguments, options, own_baselines
from .config import LONGEST_WAIT_S
from .judge import Judge, judge

URL_VARIABLE = "GREENAI_GRADING_URL"

_TARGET = (
    click.option(
        "-m", "--module", metavar="MODULE", help="Run a module; what follows belongs to it."
    ),
)
_GRADE = (
    click.option(
        "--units",
        type=options.Number(min=1e-9, max=1e30),
        metavar="N",
        help="Functional units that it does. [default: of a model the samples of one inference]",
    ),
    click.option("--unit", metavar="NAME", help="What one is: image, token, request …"),
    click.option(
        "--task",
        metavar="TASK",
        help="What it does, such as image-classification: takes the shipped scale that fits.",
    ),
    click.option(
        "--hardware", metavar="CLASS", help="Hardware class, as in the ids of scales."
    ),
    click.option(
        "--scale", metavar="ID|FILE.json", help="Scale to grade with; see `greenai scale list`."
    ),
    click.option(
        "--grader", "grader_name", default="scale", show_default=True, metavar="NAME",
        help="Plugin that grades: scale, self (your baseline), web (a service) …",
    ),
    click.option(
        "--baseline",
        metavar="save|compare[=NAME]",
        help="Keep what it cost on this machine, or compare with what was kept. "
        "[default NAME: of the target]",
    ),
    click.option("--label", metavar="FILE.svg", help="Draw a label from A to G."),
    click.option("--badge", metavar="FILE.svg", help="Draw a badge for a README."),
)  # fmt: skip
_CARBON = (
    click.option("--country", metavar="NAME", help="Carbon of its electricity: FR, Poland …"),
    click.option(
        "--carbon-intensity",
        type=options.Number(min=0),
        metavar="G",
        help="gCO2e for a kilowatt-hour. [default: the average of the world]",
    ),
    click.option(
        "--pue",
        type=options.Number(min=1),
        metavar="N",
        help="Power usage effectiveness of the data centre; for the grade too. "
        "[default: 1, a workstation]",
    ),
    click.option("--price", metavar="PRICE", help="Of a kilowatt-hour: 0.25EUR."),
)
_SERVICE = (
    click.option(
        "--url",
        metavar="URL",
        envvar=URL_VARIABLE,
        help=f"Address, for --grader web. [default: {URL_VARIABLE}]",
    ),
    click.option(
        "--offline", is_flag=True, help="Send nothing now: keep the run for `greenai sync`."
    ),
    click.option(
        "--dry-run", is_flag=True, help="Send and keep nothing: show on stderr what would be sent."
    ),
    click.option(
        "--token-file", metavar="FILE", help="Token for the service. [default: GREENAI_TOKEN]"
    ),
    click.option(
        "--ca-file", metavar="FILE", help="Certificates to trust instead of the usual ones."
    ),
    click.option(
        "--timeout",
        type=options.Number(min=0, min_open=True, max=LONGEST_WAIT_S),
        metavar="S",
        help="Give the service up after so long. [default: the setting grading_timeout]",
    ),
)
_OUTPUT = (
    click.option(
        "--idle-time",
        metavar="S",
        help="Measure idle so long before and after; 0 for not at all. [default: 5]",
    ),
    click.option("--out", metavar="FILE", help="Write the report there, as JSON."),
    click.option(
        "--json",
        "as_json",
        is_flag=True,
        help="JSON instead of the summary: on stdout after the program has ended, or to --out.",
    ),
)
_MODEL_ONLY = (
    *feeding.FLAGS,
    "device",
    "precision",
    "max_time",
    "min_time",
    "model_format",
    "class_name",
    "trust",
    "model_options",
    "input_shapes",
)


class Command(grade_arguments.GradeCommand):
    """``greenai grade``, with its sections."""

    sections: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "Target": ("module",),
        "Grade": (
            "units", "unit", "task", "hardware", "scale", "grader_name", "baseline", "label",
            "badge",
        ),
        "Carbon and cost": ("country", "carbon_intensity", "pue", "price"),
        "Service (nothing is sent without --grader web and an address)": (
            "url", "offline", "dry_run", "token_file", "ca_file", "timeout",
        ),
        "Measuring and output": (
            "idle_time", "profilers", "profiler_options", "tdp", "calibrations", "out", "as_json",
            "debug", "help",
        ),
        "Of a MODEL alone": _MODEL_ONLY,
    }  # fmt: skip


all_options = options.stack(
    options.sensor_options,
    options.model_options,
    options.loop_options,
    options.device_option,
    feeding.data_options,
    *_TARGET,
    *_GRADE,
    *_CARBON,
    *_SERVICE,
    *_OUTPUT,
)
"""Every option of the command."""


def check_for(kind: str, context: click.Context) -> None:
    """See that no option was given that this kind of target does not have.

    Raises:
        ConfigError: one was.
    """
    if kind == grade_arguments.MODEL:
        return
    for name in _MODEL_ONLY:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            option = next(p for p in context.command.params if p.name == name)
            raise ConfigError(f"{option.opts[0]} is for model files: leave it out")


def functional_units(flags: Mapping[str, Any]) -> tuple[float | None, str | None]:
    """How many units a program does, and of what: half of it would cost the run its letter.

    Raises:
        ConfigError: one is given without the other.
    """
    units, unit = flags["units"], (flags["unit"] or "").strip() or None
    if units is not None and unit is None:
        raise ConfigError(f"--units {units:g} of what? Name one with --unit, such as --unit image")
    if unit is not None and units is None:
        raise ConfigError(f"--unit {unit}: how many does it do? Say so with --units N")
    return units, unit


def for_report(flags: Mapping[str, Any]) -> dict[str, Any]:
    """What the figures depend on, for the settings of the report."""
    return {
        "scale": flags["scale"],
        "grader": flags["grader_name"],
        "task": flags["task"],
        "hardware": flags["hardware"],
        "pue": flags["pue"],
        "country": flags["country"],
        "carbon_intensity": flags["carbon_intensity"],
        "price": flags["price"],
        "baseline": flags["baseline"],
    }


def chosen_judge(flags: Mapping[str, Any]) -> Judge:
    """The grader that the options ask for. Raises as ``judge``."""
    return judge(
        flags["grader_name"],
        scale=flags["scale"],
        task=flags["task"],
        hardware_class=flags["hardware"],
        pue=flags["pue"],
    )


def chosen_rates(flags: Mapping[str, Any]) -> footprints.Rates:
    """Carbon intensity, PUE and price. Raises as ``footprints.rates``."""
    return footprints.rates(
        flags["country"], flags["carbon_intensity"], flags["pue"], flags["price"]
    )


def chosen_baseline(flags: Mapping[str, Any], name: str) -> own_baselines.Wanted | None:
    """The baseline; the grader ``self`` compares without being told to.

    Raises as ``own_baselines.wanted``.
    """
    text = flags["baseline"]
    if flags["grader_name"] == own_baselines.GRADER:
        text = text or own_baselines.COMPARE
    return own_baselines.wanted(text, name)
