"""How energy grows with size: the fits that the core chooses, in words and as curves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from greenai_core import ComparisonError, FitResult, StudyResult, fit_study
from greenai_plugins.exporters.pictures.chart import Break
from greenai_plugins.exporters.quantities import short

Curve = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Growth:
    """A fit to the rows of one model and batch size.

    Attributes:
        name: of the rows.
        sentence: what the fit says.
        curves: pieces of it, each without a jump.
        breaks: where it changes.
    """

    name: str
    sentence: str
    curves: tuple[Curve, ...] = ()
    breaks: tuple[Break, ...] = ()


def growth(name: str, study: StudyResult, model: str, batch_size: int) -> Growth | None:
    """The fit to the energy of one model and batch size; None for too few sizes.

    Args:
        name: of it, for people.
        study: that has the rows.
        model: whose rows.
        batch_size: likewise.
    """
    rows = tuple(r for r in study.rows if (r.model, r.batch_size) == (model, batch_size))
    try:
        fit = _fit(replace(study, models=(), rows=rows), model, batch_size)
    except ComparisonError:
        return None
    return Growth(name, fit.sentence, _curves(fit), tuple(_breaks(name, fit)))


@lru_cache(maxsize=128)
def _fit(study: StudyResult, model: str, batch_size: int) -> FitResult:
    """The same fit is asked for by the page, and by each kind of its pictures."""
    return fit_study(study, model, batch_size)


def _curves(fit: FitResult) -> tuple[Curve, ...]:
    jumps = {one.at for one in fit.breaks if one.kind == "jump"}
    pieces: list[list[tuple[float, float]]] = [[]]
    for place in zip(fit.sizes, fit.curve, strict=True):
        if place[0] in jumps and pieces[-1]:
            pieces.append([])
        pieces[-1].append(place)
    return tuple(map(tuple, pieces))


def _breaks(name: str, fit: FitResult) -> list[Break]:
    return [
        Break(
            one.at,
            one.low,
            one.high,
            f"{name}\n{one.kind} at {short(one.at, 4)} "
            f"({short(one.low, 4)} … {short(one.high, 4)})",
        )
        for one in fit.breaks
    ]
