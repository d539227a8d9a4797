"""``greenai study compare``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from greenai_core.comparison import WORSE
from greenai_core.study_comparison import ComparedRow, StudyComparison, compare_studies
from greenai_core.study_machines import one_machine
from greenai_core.study_metrics import TOTAL

from . import comparisons, exit_codes, output, study_shown
from .study_reading import foreign, foreign_options, read_studies


@click.command(short_help="Two studies side by side, with a verdict for each size.")
@click.argument("folders", metavar="DIR DIR", nargs=2, type=click.Path(exists=True))
@click.option(
    "--same-machine/--two-machines",
    "same",
    default=None,
    help="Whether the sensors were the same ones. [default: as the reports tell]",
)
@click.option(
    "--margin",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.02,
    show_default=True,
    help="Within it two are equivalent.",
)
@click.option("--metric", default=TOTAL, show_default=True, help="That is compared.")
@click.option("--fail-if-worse", is_flag=True, help="Exit 8 if the second is worse at any size.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@foreign_options
def command(
    folders: tuple[str, str],
    same: bool | None,
    margin: float,
    metric: str,
    fail_if_worse: bool,
    as_json: bool,
    inferences: str | None,
    batch_size: int,
    plugs: str,
) -> None:
    """The second study against the first: better, worse, equivalent or undecided.

    On one machine the sensors' gains cancel and the scatter of the runs decides. On
    two they do not: the intervals then hold the uncertainty of the sensors.

    \b
    Examples:
      greenai study compare before after
      greenai study compare server laptop --two-machines --json
    """  # noqa: D301  # click takes \b for "keep these lines"
    first, other = read_studies(folders, foreign(inferences, batch_size, plugs))
    if same is None:
        same = one_machine(Path(folders[0]), Path(folders[1]))
    found = compare_studies(first, other, same_machine=same, margin=margin, metric=metric)
    if as_json:
        output.emit_json({"schema_version": 1, "comparison": found})
    else:
        for warning in found.warnings:
            output.warn(warning)
        output.emit(_text(found, _names(found, folders)))
    if fail_if_worse and any(row.ratio and row.ratio.verdict == WORSE for row in found.rows):
        click.get_current_context().exit(exit_codes.WORSE)


def _names(found: StudyComparison, folders: Sequence[str]) -> tuple[str, str]:
    """What the two are called: by their names, else by their folders."""
    if found.first != found.other:
        return found.first, found.other
    first, other = (Path(folder).absolute().name for folder in folders)
    return (first, other) if first != other else ("first", "second")


def _text(found: StudyComparison, names: tuple[str, str]) -> str:
    first, other = names
    several = len({row.model for row in found.rows}) > 1
    batches = len({row.batch_size for row in found.rows}) > 1
    identity = ["model"] * several + ["batch"] * batches
    headers = [*identity, "size", first, other, "difference", "verdict"]
    rows = [_row(row, several, batches) for row in found.rows]
    count = sum(row.ratio is not None for row in found.rows)
    legend = (
        f"{found.metric}, {other} against {first}, as on {found.design}. ± is from run "
        "to run. Equal studies are called different at any size in 5 % of cases, shared by the "
        f"{count} sizes (Holm). Within {100 * found.margin:g} % they are equivalent."
    )
    return f"{output.table(headers, rows)}\n\n{output.paragraph(legend)}"


def _row(row: ComparedRow, several: bool, batches: bool) -> Sequence[str]:
    head = [row.model] * several + [str(row.batch_size)] * batches + [str(row.size)]
    sides = [study_shown.labelled(metric) for metric in (row.first, row.other)]
    if row.ratio is None:
        return [*head, *sides, "", "unknown"]
    return [*head, *sides, comparisons.difference(row.ratio), row.ratio.verdict]
