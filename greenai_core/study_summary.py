"""A study's folder as a table, whoever wrote it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from .aipowermeter import AIPowerMeterOptions, read_aipowermeter, studied_models, writers_of
from .errors import ConfigError
from .study_cells import CellRecord
from .study_files import JOURNAL, PLAN, read_cells, read_models
from .study_plan import StudyPlan
from .study_results import StudiedModel, StudyResult, StudyRow
from .study_rows import rows_of
from .study_toml import read_study_plan

GREENAI = "greenai"
AIPOWERMETER = "AIPowerMeter"


def summarise(
    folder: str | os.PathLike[str], options: AIPowerMeterOptions | None = None
) -> StudyResult:
    """One row for each model, batch size and input size: the median of its runs.

    Reads the journal of a study of greenai, not its samples; of a folder that AIPowerMeter wrote,
    which has no journal, all samples.

    Args:
        folder: of the study.
        options: what folders of AIPowerMeter do not tell.

    Raises:
        SchemaError: there is no study, or its journal is damaged before its end.
        OSError: the journal cannot be read.
    """
    root = Path(folder)
    if (root / JOURNAL).is_file():
        return _own(root)
    rows = rows_of(read_aipowermeter(root, options))
    names = list(dict.fromkeys(row.model for row in rows))
    foreign, own = writers_of(root)
    source = " and ".join([AIPOWERMETER] * foreign + [GREENAI] * own)
    notes = []
    if options is None or options.batch_size == 1:
        notes = [
            f"{source} does not record the batch size here: taken as 1 where no folder batch_<b> "
            "says so"
        ] * any(row.batch_size == 1 for row in rows)
    return StudyResult(
        name=root.absolute().name,
        size_name="size",
        models=studied_models(root, names),
        rows=rows,
        source=source,
        cells=_ended(rows),
        missing_cells=0,
        warnings=tuple(notes),
    )


def _own(root: Path) -> StudyResult:
    plan, notes = _plan(root)
    return summarise_cells(
        read_cells(root),
        plan,
        name=root.absolute().name,
        models=read_models(root),
        warnings=notes,
    )


def summarise_cells(
    cells: Iterable[CellRecord],
    plan: StudyPlan | None,
    *,
    name: str = "",
    models: Iterable[StudiedModel] = (),
    warnings: Iterable[str] = (),
) -> StudyResult:
    """The same of cells at hand.

    Args:
        cells: that ended.
        plan: of the study; None where it is not known.
        name: of the study, where there is no plan.
        models: what is known of them.
        warnings: about the study as a whole.
    """
    order = [model.name for model in plan.models] if plan else []
    rows = rows_of(cells, order)
    known = {model.name: model for model in models}
    notes = {model.name: model.note for model in plan.models} if plan else {}
    names = list(dict.fromkeys([*order, *(row.model for row in rows)]))
    ended = _ended(rows)
    planned = _planned(plan) if plan else ended
    return StudyResult(
        name=plan.name if plan else name,
        size_name=plan.size_name if plan else "size",
        models=tuple(
            known.get(name, StudiedModel(name, note=notes.get(name, ""))) for name in names
        ),
        rows=rows,
        source=GREENAI,
        cells=max(planned, ended),
        missing_cells=max(planned - ended, 0),
        warnings=tuple(warnings),
    )


def _planned(plan: StudyPlan) -> int:
    return plan.runs * sum(len(model.sizes) * len(model.batch_sizes) for model in plan.models)


def _ended(rows: Iterable[StudyRow]) -> int:
    return sum(row.runs + len(row.failures) for row in rows)


def _plan(root: Path) -> tuple[StudyPlan | None, list[str]]:
    if not (root / PLAN).is_file():
        return None, [f"there is no {PLAN}: how many cells were planned is not known"]
    try:
        return read_study_plan(root / PLAN), []
    except ConfigError as error:
        return None, [f"{PLAN} cannot be used: {error}"]
