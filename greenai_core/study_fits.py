"""The fit of one metric of a study over its sizes."""

from __future__ import annotations

from .errors import ComparisonError
from .fit_results import FitResult
from .fits import fit_sizes
from .statistics import coverage_factor
from .study_metrics import TOTAL
from .study_results import StudyResult


def fit_study(
    study: StudyResult, model: str, batch_size: int, metric: str = TOTAL, seed: int = 0
) -> FitResult:
    """How a metric of one model at one batch size grows with the input size.

    Values are weighted by their intervals from run to run: the gain of a sensor is common to all
    sizes and changes no shape.

    Args:
        study: that has them.
        model: its name there.
        batch_size: of the rows that count.
        metric: by name.
        seed: see ``fit_sizes``.

    Raises:
        ComparisonError: fewer than five sizes know the metric.
    """
    known = [
        (row.size, found)
        for row in study.rows
        if (row.model, row.batch_size) == (model, batch_size)
        and (found := row.metric(metric)) is not None
        and found.value > 0
    ]
    if not known:
        raise ComparisonError(
            f"{model} at batch size {batch_size} has no {metric} in the study {study.name}: see "
            "`greenai study summary` for what it has"
        )
    return fit_sizes(
        [size for size, _ in known],
        [found.value for _, found in known],
        [
            None if found.repeat_half is None else found.repeat_half / coverage_factor()
            for _, found in known
        ],
        seed,
    )
