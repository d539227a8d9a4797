"""``greenai export``."""

from __future__ import annotations

from pathlib import Path

import click

from greenai_core import registry
from greenai_core.errors import SchemaError
from greenai_core.export import Exporter
from greenai_core.report_files import read_report
from greenai_core.results import Report

from . import output
from .places import check_file
from .reports import FILE_NAME


@click.command(short_help="A report as CSV, Markdown or JSON.")
@click.argument("report", metavar="REPORT")
@click.option(
    "--to",
    "name",
    required=True,
    metavar="NAME",
    help="csv, markdown, json, or another that `greenai plugins` lists.",
)
@click.option("-o", "--output", "path", metavar="FILE", help="Write there. [default: stdout]")
def command(report: str, name: str, path: str | None) -> None:
    """A report as CSV, Markdown or JSON.

    REPORT is a report.json, or a folder that holds one. Reads the reports of
    this and every earlier release.

    \b
    Examples:
      greenai export greenai-report --to markdown
      greenai export results/report.json --to csv -o results.csv
    """  # noqa: D301  # click takes \b for "keep these lines"
    exporter: Exporter = registry.load("greenai.exporters", name)()
    file = None if path is None else check_file(path, "--output")
    content = exporter.export(read(Path(report)))
    if file is None:
        output.emit_bytes(content)
    else:
        output.save(file, content)


def read(path: Path) -> Report:
    """The report at a path.

    Raises:
        SchemaError: there is none, or it cannot be read.
    """
    file = path / FILE_NAME if path.is_dir() else path
    try:
        return read_report(file)
    except OSError as error:
        raise SchemaError(f"the report {file} cannot be read: {error.strerror}") from error
