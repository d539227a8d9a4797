"""What the commands that read studies take, and the studies in the folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from greenai_core.aipowermeter import AIPowerMeterOptions
from greenai_core.study_results import StudyResult
from greenai_core.study_summary import summarise

from . import options, output, study_shown

foreign_options = options.stack(
    click.option(
        "--inferences",
        metavar="N|SIZE=N,…",
        help="AIPowerMeter folders without latencies: inferences in each run.",
    ),
    click.option(
        "--batch-size",
        type=click.IntRange(1),
        default=1,
        metavar="N",
        help="AIPowerMeter folders: samples in one inference. [default: 1]",
    ),
    click.option(
        "--plugs",
        default="",
        metavar="N,…",
        help="AIPowerMeter folders: plugs of omegawatt.csv that feed the machine.",
    ),
)
"""The options about folders that AIPowerMeter wrote."""


def foreign(inferences: str | None, batch_size: int, plugs: str) -> AIPowerMeterOptions:
    """The options as the core takes them.

    Raises:
        click.BadParameter: a value cannot be read.
    """
    every, by_size = None, {}
    for part in (inferences or "").replace(" ", "").split(","):
        size, sign, number = part.rpartition("=")
        if not part:
            continue
        if not number.isdigit() or int(number) < 1 or (sign and not size.isdigit()):
            raise click.BadParameter(
                f"{inferences!r} is neither a number nor SIZE=N,SIZE=N, such as 224=4000,448=2000",
                param_hint="--inferences",
            )
        if sign:
            by_size[int(size)] = int(number)
        else:
            every = int(number)
    named = [part for part in plugs.replace(" ", "").split(",") if part]
    if not all(part.isdigit() for part in named):
        raise click.BadParameter(
            f"{plugs!r} is no list of plugs, such as 1 or 1,2", param_hint="--plugs"
        )
    return AIPowerMeterOptions(by_size, every, batch_size, tuple(map(int, named)))


def read_studies(folders: Sequence[str], options: AIPowerMeterOptions) -> list[StudyResult]:
    """The studies in the folders; what to know of them goes to stderr.

    Raises:
        SchemaError: a folder holds none.
    """
    found = []
    for folder in folders:
        study = summarise(Path(folder), options)
        for warning in study_shown.warnings_of(study):
            output.warn(f"{folder}: {warning}" if len(folders) > 1 else warning)
        found.append(study)
    return found
