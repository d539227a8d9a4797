"""``greenai study summary``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import click

from greenai_core.channels import MODELLED
from greenai_core.study_results import StudyResult
from greenai_core.study_tables import concat_records, csv_bytes, parquet_bytes, records

from . import output, study_shown
from .places import check_file
from .study_reading import foreign, foreign_options, read_studies

FORMATS: Mapping[str, Callable[[Sequence[StudyResult]], bytes]] = {
    "csv": lambda studies: csv_bytes(records(studies)),
    "json": lambda studies: output.json_bytes({"schema_version": 1, "studies": list(studies)}),
    "parquet": lambda studies: parquet_bytes(records(studies)),
    "concat": lambda studies: csv_bytes(concat_records(studies)),
}


@click.command(short_help="A study's folder as a table, CSV, JSON or Parquet.")
@click.argument("folders", metavar="DIR…", nargs=-1, required=True, type=click.Path(exists=True))
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", *FORMATS]),
    default="table",
    show_default=True,
    help="concat: the columns of AIPowerMeter's concat_power_measure.py.",
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option("--overview", is_flag=True, help="A column for each model; so for several DIRs.")
@click.option(
    "--size", type=click.IntRange(1), help="The overview at this size. [default: the largest]"
)
@click.option("-o", "--out", metavar="FILE", help="Write there. [default: stdout]")
@foreign_options
def command(
    folders: tuple[str, ...],
    form: str,
    as_json: bool,
    overview: bool,
    size: int | None,
    out: str | None,
    inferences: str | None,
    batch_size: int,
    plugs: str,
) -> None:
    """One row for each model, batch size and input size: the median of the runs.

    DIR is a folder that `greenai study` wrote, or one that AIPowerMeter wrote
    (input_<size>/run_<k>/power_metrics.json). Several DIRs stand side by side.

    \b
    Examples:
      greenai study summary results
      greenai study summary results --format csv -o results.csv
      greenai study summary yolo resnet vit bert --size 224
    """  # noqa: D301  # click takes \b for "keep these lines"
    form = "json" if as_json else form
    options = foreign(inferences, batch_size, plugs)
    file = None if out is None else check_file(out, "--out")
    studies = read_studies(folders, options)
    if form == "table":
        content = _table(studies, overview or size is not None or len(studies) > 1, size)
    else:
        content = FORMATS[form](studies)
    metrics = [one for study in studies for row in study.rows for one in row.metrics]
    if form == "concat" and any(MODELLED in one.method for one in metrics):
        output.warn("modelled joules are left out: the columns of concat stand for measured ones")
    _write(content, file)


def _table(studies: Sequence[StudyResult], overview: bool, size: int | None) -> bytes:
    text = study_shown.overview(studies, size) if overview else study_shown.text(studies[0])
    return f"{text}\n".encode("utf-8", "replace")


def _write(content: bytes, file: Path | None) -> None:
    if file is None:
        output.emit_bytes(content)
    else:
        output.save(file, content)
