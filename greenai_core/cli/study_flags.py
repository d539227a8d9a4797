"""The options of ``greenai study``, and the plan that they make with or without a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from greenai_core.errors import ConfigError
from greenai_core.study_files import PLAN
from greenai_core.study_plan import PIXELS, TOKENS, PlannedModel, StudyPlan
from greenai_core.study_toml import model_name, parse_study_plan, share_of

from . import options
from .config import Settings, public


def sizes(text: str | tuple[int, ...]) -> tuple[int, ...]:
    """The numbers of a text with commas between them.

    Raises:
        BadParameter: it is none.
    """
    if isinstance(text, tuple):
        return text
    try:
        found = tuple(int(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not found or min(found) < 1 or len(set(found)) < len(found):
        raise click.BadParameter(f"{text}: give whole numbers from 1, each once: 112,224,448")
    return found


def share(text: str | float) -> float:
    """The share that ``2%`` or ``0.02`` stands for.

    Raises:
        BadParameter: it is none.
    """
    found = text if isinstance(text, float) else share_of(text)
    if found is None or not 0 < found < 1:
        raise click.BadParameter(f"{text}: give a share such as 2% or 0.02")
    return found


_SECONDS = options.Number(min=0, min_open=True)

_PLAN = (
    click.option(
        "--sizes", type=sizes, metavar="N,N...", help="Height and width of images, pixels."
    ),
    click.option("--tokens", type=sizes, metavar="N,N...", help="Lengths of texts, tokens."),
    click.option(
        "--batch-sizes",
        type=sizes,
        metavar="N,N...",
        help="Samples in one inference. [default: 1]",
    ),
    click.option(
        "--runs",
        type=click.IntRange(min=1),
        metavar="N",
        help="Times that each is measured. [default: 10]",
    ),
    click.option(
        "--seconds",
        type=_SECONDS,
        metavar="S",
        help="Measure each cell so long, whatever is reached.",
    ),
    click.option(
        "--precision",
        type=share,
        metavar="SHARE",
        help="Stop a cell when its repeatability interval is this narrow. [default: 2%]",
    ),
    click.option(
        "--max-time",
        "max_seconds",
        type=_SECONDS,
        metavar="S",
        help="Measure one cell at most this long, seconds. [default: 60]",
    ),
    click.option(
        "--min-time",
        "min_seconds",
        type=_SECONDS,
        metavar="S",
        help="Measure one cell at least this long, seconds. [default: 1]",
    ),
    click.option(
        "--idle",
        "idle_s",
        type=options.Number(min=0),
        metavar="S",
        help="Measure idle so long before and after each cell. [default: 0, not at all]",
    ),
    click.option(
        "--seed",
        type=click.IntRange(min=0),
        metavar="N",
        help="Of the order of cells. [default: drawn, and recorded]",
    ),
    click.option(
        "--cell-timeout",
        "cell_timeout_s",
        type=_SECONDS,
        metavar="S",
        help="Give up a cell that has not ended after so long, loading and all, as failed. "
        "[default: never]",
    ),
    click.option(
        "--one-process",
        is_flag=True,
        help="Measure all cells in one process: quicker, but memory of one cell may stay for "
        "the next.",
    ),
)


plan_options = options.stack(*_PLAN)
"""The options that make a plan."""


_CHANGES = (
    "runs",
    "seconds",
    "precision",
    "max_seconds",
    "min_seconds",
    "idle_s",
    "seed",
    "cell_timeout_s",
    "device",
)
"""Options that change the field of the same name of a plan."""

_MODEL_FLAGS = {
    "model_format": "--format",
    "class_name": "--class",
    "trust": "--trust",
    "model_options": "--model-option",
    "input_shapes": "--input-shape",
}


def plan_of(
    what: Sequence[str], flags: Mapping[str, Any], settings: Settings, out: Path
) -> tuple[StudyPlan, str]:
    """The plan that the command line asks for, and the text of the file that it is from.

    Raises:
        ConfigError: it asks for none, or for an impossible one.
        click.UsageError: nothing says what to measure.
    """
    for one, other in (("seconds", "precision"), ("sizes", "tokens")):
        if flags[one] is not None and flags[other] is not None:
            raise ConfigError(f"--{one} and --{other} exclude each other: give one")
    file = _file(what, flags, out)
    if file is None:
        return _of_models(what, flags, settings), ""
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is no text in UTF-8: {error}") from error
    spare = [flag for name, flag in _MODEL_FLAGS.items() if flags.get(name)]
    if spare:
        raise ConfigError(f"{file} says how its models are opened: set there what {spare[0]} does")
    plan = _changed(parse_study_plan(text, file), flags)
    return plan, "" if file.name == PLAN else text


def _file(what: Sequence[str], flags: Mapping[str, Any], out: Path) -> Path | None:
    """The TOML file of the study; None for models."""
    if not what:
        if not flags["resume"]:
            raise click.UsageError("Missing argument 'STUDY.toml|MODEL...'.")
        if not (out / PLAN).is_file():
            raise ConfigError(f"{out} holds no study to resume: name its folder with --out")
        return out / PLAN
    tomls = [text for text in what if text.lower().endswith(".toml")]
    if tomls and len(what) > 1:
        raise ConfigError(f"{tomls[0]} describes a study completely: give it alone")
    return Path(tomls[0]) if tomls else None


def _of_models(what: Sequence[str], flags: Mapping[str, Any], settings: Settings) -> StudyPlan:
    """The plan of models that are named on the command line."""
    wanted = flags["sizes"] or flags["tokens"]
    if wanted is None:
        raise ConfigError(
            "say which input sizes: --sizes 112,224,448 of images, or --tokens 50,100,200 of texts"
        )
    given = options.model_flags(dict(flags))
    size_name = TOKENS if flags["tokens"] else PIXELS
    common = PlannedModel(
        "",
        sizes=wanted,
        batch_sizes=flags["batch_sizes"] or (1,),
        size_name=size_name,
        format=given.format,
        options=given.options,
        input_shapes={name: _with_size(shape, size_name) for name, shape in given.shapes.items()},
    )
    names: list[str] = []
    for text in what:
        name = model_name(text, None)
        number = next(n for n in range(1, len(what) + 1) if _numbered(name, n) not in names)
        names.append(_numbered(name, number))
    plan = StudyPlan(
        " and ".join(names),
        tuple(
            replace(common, name=name, file=text) for name, text in zip(names, what, strict=True)
        ),
        precision=settings.precision,
        min_seconds=settings.min_time,
        max_seconds=settings.max_time,
        warm_up_s=min(0.5, settings.min_time / 2),
        device=settings.device,
        profilers=settings.profilers,
    )
    return _changed(plan, flags)


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name}-{number}"


def _with_size(shape: Sequence[int], size_name: str) -> tuple[int | str, ...]:
    """A given shape, with the cell's sizes where it has them: ``1x3x224x224``, ``1x128``."""
    if size_name == TOKENS:
        return ("batch", "size", *shape[2:]) if len(shape) > 1 else tuple(shape)
    if len(shape) != 4:
        return ("batch", *shape[1:])
    last = shape[3] in (1, 3, 4) and shape[1] not in (1, 3, 4)
    return ("batch", "size", "size", shape[3]) if last else ("batch", shape[1], "size", "size")


def _changed(plan: StudyPlan, flags: Mapping[str, Any]) -> StudyPlan:
    """The plan with what flags say of it."""
    changes = {key: flags[key] for key in _CHANGES if flags.get(key) is not None}
    if "precision" in changes:
        changes["seconds"] = None
    if "max_seconds" in changes and "min_seconds" not in changes:
        changes["min_seconds"] = min(plan.min_seconds, changes["max_seconds"])
    if "min_seconds" in changes and "max_seconds" not in changes:
        changes["max_seconds"] = max(plan.max_seconds, changes["min_seconds"])
    if "min_seconds" in changes:
        changes["warm_up_s"] = min(plan.warm_up_s, changes["min_seconds"] / 2)
    if flags["one_process"]:
        changes["fresh_process"] = False
    if flags.get("profilers"):
        changes["profilers"] = tuple(flags["profilers"])
    changes["profiler_options"] = _merged(plan.profiler_options, _open_options(flags))
    models = plan.models
    if flags["sizes"] is not None:
        models = tuple(
            replace(m, sizes=flags["sizes"], size_name=_unless_tokens(m.size_name)) for m in models
        )
    if flags["tokens"] is not None:
        models = tuple(replace(m, sizes=flags["tokens"], size_name=TOKENS) for m in models)
    if flags["batch_sizes"] is not None:
        models = tuple(replace(m, batch_sizes=flags["batch_sizes"]) for m in models)
    return replace(plan, models=models, **changes)


def _unless_tokens(size_name: str) -> str:
    """What --sizes are called: as the file has it, but for lengths, which --tokens gives."""
    return "" if size_name == TOKENS else size_name


Tables = Mapping[str, Mapping[str, Any]]


def _given_options(flags: Mapping[str, Any]) -> Tables:
    return options.profiler_options(flags.get("profiler_options") or (), flags.get("tdp"))


def _open_options(flags: Mapping[str, Any]) -> Tables:
    """The profiler options of the command line, but for secrets: they are written down."""
    return {
        name: {key: value for key, value in table.items() if public(key, value) == value}
        for name, table in _given_options(flags).items()
    }


def _merged(under: Tables, over: Tables) -> dict[str, dict[str, Any]]:
    names = dict.fromkeys((*under, *over))
    return {name: {**under.get(name, {}), **over.get(name, {})} for name in names}


def settings_of(plan: StudyPlan, flags: Mapping[str, Any], settings: Settings) -> Settings:
    """The settings of the sensors: flags, then the plan, then what is configured."""
    with_plan = _merged(settings.profiler, plan.profiler_options)
    return replace(
        settings,
        profilers=plan.profilers if plan.profilers != ("auto",) else settings.profilers,
        profiler=_merged(with_plan, _given_options(flags)),
        precision=plan.precision,
        min_time=plan.min_seconds,
        max_time=plan.max_seconds,
        device=plan.device,
    )


def for_report(plan: StudyPlan) -> dict[str, Any]:
    """What of the plan the figures depend on, beside the settings."""
    return {"runs": plan.runs, "seconds": plan.seconds, "idle_s": plan.idle_s}
