"""``greenai explain``."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from greenai_core.results import Report

from . import exit_codes, figures, options, output
from .export import read
from .reports import FILE_NAME

if TYPE_CHECKING:
    from greenai_core.budget import Term
    from greenai_core.explanation import ExplainedFigure, ExplainedResult

TOLD = 10
"""Problems of one result that are told one by one."""

OWN_COST = ".self_cost.energy_j"
"""Path of the figure that is estimated, not measured."""

LAYER_ROW = re.compile(r"\.(layers\[\d+\]\.\w+|unattributed_j|overhead_j|residual_j)$")
"""Paths of the figures of a table of layers, which have no budgets of their own."""

MANY = 1000
"""Degrees of freedom beyond which nothing changes."""

ORIGINS = {
    "raw": "every figure was derived again from the raw readings",
    "repetitions": "values and repeatability were derived again from the repetitions in the report",
    "report": "the sums in the report were checked",
    "comparison": "the ratios of a comparison are not derived again",
    "layers": "the rows were added up again, and all inside each layer",
    "caps": "what each probe and the confirmation say was derived again from the joules in the "
    "report, and the Pareto front from the curve",
}


@click.command(short_help="Where figures come from, and what makes them uncertain.")
@click.argument("report", metavar="REPORT")
@options.json_flag
def command(report: str, as_json: bool) -> None:
    """Where figures come from, and what makes them uncertain.

    REPORT is a report.json, or a folder that holds one. Each figure is derived
    again: from the raw readings, where --raw kept them, by the code that made
    it; otherwise from the repetitions in the report as far as they go. Then its
    error budget: each source of uncertainty, how large it is (one standard
    uncertainty, u) and its share of the variance.

    A figure that does not follow from its readings, or readings that do not
    belong to the report, are an error, and the exit code is 7.

    \b
    Examples:
      greenai bench net.onnx --raw && greenai explain greenai-report
      greenai measure --raw --out job.json -- make && greenai explain job.json
      greenai explain results/report.json --json | jq .agrees
    """  # noqa: D301  # click takes \b for "keep these lines"
    from greenai_core.explanation import explain

    path = Path(report)
    file = path / FILE_NAME if path.is_dir() else path
    told = read(file)
    explained = explain(told, file.parent)
    agrees = not any(result.problems for result in explained)
    if as_json:
        results = [_as_json(result) for result in explained]
        output.emit_json({"report": str(file), "agrees": agrees, "results": results})
    else:
        output.emit("\n\n".join("\n".join(_text(result)) for result in explained))
    for result in explained:
        for note in result.notes:
            output.note(f"greenai: {result.title}: {note}")
        _complain(result, told)
    click.get_current_context().exit(exit_codes.OK if agrees else exit_codes.REPORT)


def _complain(result: ExplainedResult, report: Report) -> None:
    for problem in result.problems[:TOLD]:
        output.complain(problem)
    left = len(result.problems) - TOLD
    if left > 0:
        output.complain(f"{left} more problems in results[{result.number}]; --json lists them")
    version = report.environment.get("greenai_core")
    current = _version()
    if result.problems and version not in (None, current):
        output.note(
            f"greenai: the report was written by version {version}, this is {current}: its method "
            "may have changed"
        )


def _version() -> str:
    from greenai_core import environment

    return str(environment.describe().get("greenai_core"))


def _as_json(result: ExplainedResult) -> dict[str, Any]:
    from greenai_core.report_files import to_json

    plain = to_json(result)
    for shown, figure in zip(plain["figures"], result.figures, strict=True):
        shown["budget"] = [
            {**to_json(term), "share_of_variance": share} for term, share in figure.shares()
        ]
    return dict(plain)


def _text(result: ExplainedResult) -> Iterator[str]:
    yield output.heading(result.title)
    yield output.paragraph(_verdict(result), "  ")
    for figure in result.figures:
        yield ""
        yield output.heading(f"{figure.name}: {figures.quantity(figure.value, figure.unit, 4)}")
        yield from _figure(figure)


def _verdict(result: ExplainedResult) -> str:
    if result.problems:
        count = len(result.problems)
        return f"NOT TRACED: {count} {'figure does' if count == 1 else 'figures do'} not follow"
    if result.origin == "comparison":
        return ORIGINS[result.origin]
    text = f"{ORIGINS[result.origin]}: nothing differs"
    if result.origin == "raw" and result.raw is not None:
        text += f" ({result.raw.name}, {result.raw.size_bytes / 1000:,.0f} kB)"
    return text


def _figure(figure: ExplainedFigure) -> Iterator[str]:
    unit = figure.unit
    repeat = figures.ends(figure.repeat_low, figure.repeat_high, unit)
    yield f"  95 %: {figures.ends(figure.low, figure.high, unit)}, repeatability {repeat}"
    if figure.again is not None:
        same = "the same" if figure.again == figure.value else "NOT THE SAME"
        if same != "the same" and math.isclose(figure.again, figure.value, rel_tol=1e-9):
            same = "the same to 9 digits"
        again = figures.quantity(figure.again, unit, 4)
        yield f"  from raw readings: {again}, {same}"
    if not figure.budget and figure.path.endswith(OWN_COST):
        yield "  an estimate: processor time of greenai × mean power"
        return
    if not figure.budget and ".probes[" in figure.path:
        yield "  one step: nothing tells how steps differ"
        return
    if not figure.budget and LAYER_ROW.search(figure.path):
        yield "  a row: what its measurement left open, and what was added so that rows add up"
        return
    if not figure.budget:
        yield "  no error budget: the report was written before there were any"
        return
    rows = [
        [f"  {term.name}", figures.quantity(term.u, unit, 2), figures.percent(share), _words(term)]
        for term, share in figure.shares()
    ]
    nu = "∞" if figure.nu is None else f"{figure.nu:.0f}" if figure.nu < MANY else f"> {MANY}"
    k = f"× {figure.factor:.2f} for 95 % (ν = {nu})"
    rows.append(["  together", figures.quantity(figure.u, unit, 2), "", k])
    yield output.table(["  term", "u", "variance", ""], rows, right=(1, 2))


def _words(term: Term) -> str:
    if term.nu is None:
        return term.detail
    return f"{term.detail}, ν = {term.nu:.0f}".removeprefix(", ")
