"""Table of what each epoch of a training cost and taught."""

from __future__ import annotations

from greenai_core.results import EpochResult, Report, TrainingResult

from . import figures, output


def text(report: Report) -> list[str]:
    """The tables of a report's epochs; none for repeated steps."""
    parts = []
    for result in report.results:
        if isinstance(result, TrainingResult) and result.epochs:
            parts += [_epochs(result), _whole(result)]
    return parts


def _epochs(result: TrainingResult) -> str:
    rows = [
        (
            str(epoch.number) + ("" if epoch.complete else " (part)"),
            figures.quantity(epoch.training.energy_j if epoch.training else None, "J"),
            figures.quantity(epoch.duration_s, "s"),
            figures.percent(epoch.wait_s / epoch.duration_s if epoch.duration_s else 0.0),
            _number(epoch.loss),
            _share(epoch.accuracy),
            *_validation(result, epoch),
        )
        for epoch in result.epochs
    ]
    header: tuple[str, ...] = ("epoch", "energy", "time", "waiting", "loss", "right")
    if _validated(result):
        header += ("val. energy", "val. loss", "val. right")
    return output.table(header, rows)


def _validated(result: TrainingResult) -> bool:
    return any(epoch.validation is not None for epoch in result.epochs)


def _validation(result: TrainingResult, epoch: EpochResult) -> tuple[str, ...]:
    if not _validated(result):
        return ()
    joules = epoch.validation.energy_j if epoch.validation else None
    return (
        figures.quantity(joules, "J") if epoch.validation else "",
        _number(epoch.validation_loss),
        _share(epoch.validation_accuracy),
    )


def _whole(result: TrainingResult) -> str:
    parts = []
    for name, figure in (
        ("One epoch", result.energy_per_epoch_j),
        ("The whole run", result.energy_of_run_j),
    ):
        if figure is not None:
            shown = figures.with_ends(figure.value, figure.low, figure.high, "J")
            parts.append(f"{name}: {shown}.")
    wait = result.data_wait
    if wait is not None:
        joules = ""
        if wait.energy_j is not None:
            joules = f", about {figures.quantity(wait.energy_j, 'J', 2)} at the mean power"
        waited = f"{figures.quantity(wait.duration_s, 's')} ({figures.percent(wait.share)})"
        parts.append(f"Waiting for data: {waited}{joules}.")
    return output.paragraph(" ".join(parts))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _share(value: float | None) -> str:
    return "" if value is None else figures.percent(value)
