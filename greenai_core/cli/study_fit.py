"""``greenai study fit``."""

from __future__ import annotations

from dataclasses import dataclass

import click

from greenai_core.correlations import KINDS, CorrelationMatrix, correlations_of
from greenai_core.errors import ComparisonError
from greenai_core.fit_results import FitResult
from greenai_core.study_fits import fit_study
from greenai_core.study_metrics import GPU_MEMORY, LATENCY, PER_SAMPLE, POWER, SM, TOTAL, in_order
from greenai_core.study_results import StudyResult

from . import figures, output, study_shown
from .study_reading import foreign, foreign_options, read_studies

SHOWN = 7
"""Columns of a matrix in 80 columns."""


@dataclass(frozen=True)
class Fitted:
    """What ``--json`` tells of one model and batch size."""

    study: str
    model: str
    batch_size: int
    metric: str
    fit: FitResult | None
    refused: str
    correlations: tuple[CorrelationMatrix, ...]
    left_out: tuple[int, ...] = ()
    """Sizes whose value is not positive, so that no curve can have it."""


@click.command(short_help="How energy grows with size, and what goes with what.")
@click.argument("folders", metavar="DIR…", nargs=-1, required=True, type=click.Path(exists=True))
@click.option("--metric", default=TOTAL, show_default=True, help="That is fitted.")
@click.option("--json", "as_json", is_flag=True, help="For machines; with all coefficients.")
@foreign_options
def command(
    folders: tuple[str, ...],
    metric: str,
    as_json: bool,
    inferences: str | None,
    batch_size: int,
    plugs: str,
) -> None:
    """How energy grows with input size, and the correlations of all metrics.

    The curve (constant, linear, a power, with bends or jumps) is the simplest that
    predicts sizes it has not seen; a break has an interval. Five sizes are needed.

    \b
    Examples:
      greenai study fit results
      greenai study fit results --metric latency_s --json
    """  # noqa: D301  # click takes \b for "keep these lines"
    studies = read_studies(folders, foreign(inferences, batch_size, plugs))
    found = [one for study in studies for one in _fitted(study, metric)]
    for one in found:
        if one.left_out:
            sizes = ", ".join(map(str, one.left_out))
            output.warn(
                f"{one.model}, batch size {one.batch_size}: the curve is without size {sizes}, "
                f"whose {metric} is not above 0"
            )
    if as_json:
        output.emit_json({"schema_version": 1, "fits": found})
        return
    output.emit("\n\n".join(_told(one) for one in found))


def _fitted(study: StudyResult, metric: str) -> list[Fitted]:
    found = []
    for model, batch in dict.fromkeys((row.model, row.batch_size) for row in study.rows):
        fit, refused = None, ""
        try:
            fit = fit_study(study, model, batch, metric)
        except ComparisonError as error:
            refused = str(error)
        matrices = tuple(correlations_of(study, kind, model) for kind in KINDS)
        left_out = tuple(
            row.size
            for row in study.rows
            if (row.model, row.batch_size) == (model, batch)
            and (value := row.metric(metric)) is not None
            and value.value <= 0
        )
        found.append(Fitted(study.name, model, batch, metric, fit, refused, matrices, left_out))
    return found


def _told(one: Fitted) -> str:
    parts = [output.heading(f"{one.model}, batch size {one.batch_size}: {one.metric}")]
    if one.fit is None:
        parts.append(output.paragraph(f"No curve: {one.refused}."))
    else:
        parts += _fit(one.fit, one.metric)
    parts += [_matrix(matrix) for matrix in one.correlations if len(matrix.names) > 1]
    return "\n\n".join(parts)


def _fit(fit: FitResult, metric: str) -> list[str]:
    unit = study_shown.unit_of(metric)
    told = [f"{fit.sentence[0].upper()}{fit.sentence[1:]}."]
    told += [
        f"{name.capitalize()}: {_number(fit, name, unit)}."
        for name in ("level", "slope", "square")
        if name in fit.coefficients
    ]
    told.append(f"Scatter about the curve: {figures.percent(fit.relative_scatter)}.")
    if fit.p_break is not None:
        told.append(f"A break this clear by chance: p = {fit.p_break:.3f}.")
    rows = [
        (
            f"{'> ' if score.shape == fit.shape else '  '}{score.shape}",
            str(score.parameters),
            figures.percent(score.error),
        )
        for score in fit.scores
    ]
    scores = output.table(("shape", "parameters", "error at a size left out"), rows, right=(1, 2))
    return [output.paragraph(" ".join(told)), scores]


def _number(fit: FitResult, name: str, unit: str) -> str:
    low, high = fit.intervals[name]
    per = {"slope": " for each of size", "square": " for each of size squared"}.get(name, "")
    return figures.with_ends(fit.coefficients[name], low, high, unit + per)


def _matrix(matrix: CorrelationMatrix) -> str:
    """The most telling metrics; those that never change are in no matrix."""
    first = ["size", "batch_size", TOTAL, LATENCY, POWER, SM, GPU_MEMORY]
    names = [name for name in first if name in matrix.names]
    # That of one sample is the total again where all batches are of one size.
    double = [] if "batch_size" in matrix.names else [PER_SAMPLE]
    names += [name for name in in_order(list(matrix.names)) if name not in [*names, *double]]
    names = names[:SHOWN]
    rows = [
        [_word(one), *(_coefficient(matrix, one, other) for other in names[: index + 1])]
        + [""] * (len(names) - index - 1)
        for index, one in enumerate(names)
    ]
    title = f"{matrix.kind.capitalize()} correlation of the rows (n = {_most_rows(matrix)})"
    headers = ["", *(_word(name) for name in names)]
    return f"{title}\n{output.table(headers, rows, right=range(1, len(names) + 1))}"


def _most_rows(matrix: CorrelationMatrix) -> int:
    return max((one.n for row in matrix.table for one in row if one is not None), default=0)


def _coefficient(matrix: CorrelationMatrix, one: str, other: str) -> str:
    if one == other:
        return "1"
    found = matrix.between(one, other)
    return "-" if found is None else f"{found.value:.2f}"


def _word(name: str) -> str:
    return name.removeprefix("energy_").rpartition("_")[0].replace("_", " ") or name
