"""A study measured: every cell once, in the plan's order, each on the disk before the next."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from .errors import ConfigError, GreenAIError, ModelError, ModelInputError
from .report_files import dump, to_json, write_atomically
from .results import AppliedCalibration, InferenceResult, Report, Skipped
from .study_begin import begin, described, refuse_used, settled, utc_now
from .study_cell import MeasuredCell, Progress
from .study_cells import DONE, FAILED, CellKey, CellRecord, cell_record, cell_to_json
from .study_files import (
    LATENCY,
    MODEL,
    PLAN,
    POWER,
    REPORT,
    Journal,
    holds_study,
    latency_text,
    locked,
    read_cells,
    read_models,
    sweep,
)
from .study_plan import StudyPlan
from .study_process import ProcessCells, Sensors
from .study_results import StudiedModel, StudyResult
from .study_summary import summarise_cells

REPORT_SHARE = 0.05
"""Most of the time that writing the study's report after single cells may take."""

NO_PLACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
"""What the system says when nothing more can be written; measuring on would be for nothing."""

NOT_ASKED = "target not met"
"""How warnings begin that mean nothing where no precision was asked for."""


class Cells(Protocol):
    """Whatever measures cells; ``ProcessCells`` does in processes of their own."""

    def check(self, model: str) -> Mapping[tuple[int, int], str]:
        """Why sizes and batch sizes of a model cannot be measured."""

    def measure(self, cell: CellKey, macs: bool, progress: Progress) -> MeasuredCell:
        """Measure one cell; raises what went wrong."""

    def close(self) -> None:
        """Let go of everything."""


class Listener:
    """Told how a study goes on; this one does nothing."""

    def warned(self, text: str) -> None:
        """Something that readers of the study must know."""

    def begun(self, plan: StudyPlan, cells: int, left: int) -> None:
        """The first cell is next; of so many cells so many are left."""

    def failed_before(self, records: Sequence[CellRecord]) -> None:
        """Cells that failed when the study was measured before, and are not tried again."""

    def cell(self, cell: CellKey) -> None:
        """A cell begins."""

    def progress(self, share: float, text: str) -> None:
        """Of the cell: the share done and a word on the state."""

    def ended(self, record: CellRecord, error: Exception | None) -> None:
        """A cell ended, and is on the disk; ``error`` is why it has no figures."""


@dataclass(frozen=True)
class About:
    """What the reports of a study tell beside its figures.

    Attributes:
        settings: that the figures depend on.
        skipped: profilers that are not used, and why.
        calibrations: of the sensors.
        source: the text that the plan was read from.
        environment: see ``environment.describe``.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    skipped: Sequence[Skipped] = ()
    calibrations: Sequence[AppliedCalibration] = ()
    source: str = ""
    environment: Mapping[str, Any] = field(default_factory=described)

    def report(self, kind: str, results: tuple[Any, ...], **more: Any) -> bytes:
        """A report as the content of its file."""
        settings = {**self.settings, **more.pop("settings", {})}
        report = Report(
            kind,
            utc_now(),
            self.environment,
            settings,
            results,
            tuple(self.skipped),
            calibrations=tuple(self.calibrations),
            **more,
        )
        return dump(report).encode("utf-8", "backslashreplace")


def run_study(
    plan: StudyPlan,
    folder: str | os.PathLike[str],
    *,
    resume: bool = False,
    retry_failed: bool = False,
    sensors: Sensors | None = None,
    cells: Callable[[StudyPlan], Cells] | None = None,
    listener: Listener | None = None,
    hold: Callable[[], AbstractContextManager[Any]] = contextlib.nullcontext,
    about: About | None = None,
) -> StudyResult:
    """Measure the cells of a study that have not been measured yet.

    A cell that fails is recorded with its reason, and the next one follows. What ended is in
    the folder, whatever happens: after Ctrl-C or a crash the same call with ``resume`` goes on.

    Args:
        plan: what to measure.
        folder: where the results are written; see ``docs/studies.md``.
        resume: go on with the study that the folder holds; it has to be the same one.
        retry_failed: measure its cells that failed again, too.
        sensors: to measure with; None for those of the plan.
        cells: what measures, made for the plan; None for a process for each cell.
        listener: told how it goes on.
        hold: a context in which no signal shall interrupt: files are being written.
        about: for the reports.

    Raises:
        ConfigError: the folder holds a study and ``resume`` is not given, or another one than
            this, or somebody else measures into it.
        ModelError: a model is not there, or can be measured at none of its sizes.
        OSError: nothing more can be written; the cells that ended are safe.
        KeyboardInterrupt: likewise.
    """
    place = Path(folder)
    if resume and not holds_study(place):
        raise ConfigError(f"{place} holds no study to resume: leave out --resume to begin one")
    if not resume:
        refuse_used(plan, place)
    with _new_folder(place), locked(place):
        if not resume:
            refuse_used(plan, place)  # somebody else may have begun since
        plan = settled(plan, place, resume)
        sensors = sensors or Sensors(plan.profilers, plan.profiler_options)
        measuring = cells(plan) if cells else ProcessCells(plan, sensors)
        with contextlib.closing(measuring):
            refused = refuse_hopeless(plan, measuring)
            study = _Study(plan, place, measuring, listener or Listener(), hold, about or About())
            study.refused = refused
            study.retry_failed = retry_failed
            return study.run()


@contextlib.contextmanager
def _new_folder(folder: Path) -> Any:
    """The folder, made; one that stayed empty because nothing began is removed again."""
    there = folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        if not there and not holds_study(folder):
            with contextlib.suppress(OSError):
                for item in folder.iterdir():
                    item.unlink()
                folder.rmdir()


Refused = Mapping[tuple[str, int, int], str]
"""By model, size and batch size, why it cannot be measured."""


def refuse_hopeless(plan: StudyPlan, cells: Cells) -> Refused:
    """Refuse a model that can be measured at none of its sizes, before hours are spent.

    Returns:
        The sizes of other models that cannot be measured.

    Raises:
        ModelError: there is one, with the reason.
    """
    found: dict[tuple[str, int, int], str] = {}
    for model in plan.models:
        refused = cells.check(model.name)
        if len(refused) == len(model.sizes) * len(model.batch_sizes):
            why = next(iter(refused.values()))
            raise ModelError(f"{model.name} can be measured at none of its sizes: {why}")
        found |= {(model.name, size, batch): why for (size, batch), why in refused.items()}
    return found


class _Study:
    def __init__(
        self,
        plan: StudyPlan,
        folder: Path,
        cells: Cells,
        listener: Listener,
        hold: Callable[[], AbstractContextManager[Any]],
        about: About,
    ) -> None:
        self.plan = plan
        self.folder = folder
        self.cells = cells
        self.listener = listener
        self.hold = hold
        self.about = about
        self.records: list[CellRecord] = []
        self.models: dict[str, StudiedModel] = {}
        self.warnings: tuple[str, ...] = ()
        self.refused: Refused = {}
        self.retry_failed = False
        self.due = 0.0

    def run(self) -> StudyResult:
        with contextlib.closing(Journal(self.folder)) as journal:
            sweep(self.folder, PLAN, REPORT)
            about = self.about
            self.warnings = begin(self.plan, self.folder, journal, about.source, about.environment)
            for text in self.warnings:
                self.listener.warned(text)
            self.records = list(read_cells(self.folder))
            self.models = {model.name: model for model in read_models(self.folder)}
            every = self.plan.cells()
            again = self.retry_failed
            ended = {record.key for record in self.records if record.done or not again}
            left = [cell for cell in every if cell not in ended]
            self.listener.begun(self.plan, len(every), len(left))
            last = {record.key: record for record in self.records}
            failed = [last[cell] for cell in every if cell in ended and not last[cell].done]
            if failed:
                self.listener.failed_before(failed)
            try:
                for cell in left:
                    self.listener.cell(cell)
                    self._one(cell, journal)
            except BaseException:
                with self.hold(), contextlib.suppress(OSError):  # it is told what came first
                    self._report()
                raise
            with self.hold():
                return self._report()

    def _one(self, cell: CellKey, journal: Journal) -> None:
        """Measure a cell and record it."""
        started = utc_now()
        macs = cell == self._counted(cell.model)
        measured: MeasuredCell | None = None
        failure: Exception | None = None
        refused = self.refused.get((cell.model, cell.size, cell.batch_size))
        try:
            if refused is not None:
                raise ModelInputError(refused)
            measured = self.cells.measure(cell, macs, self.listener.progress)
        except Exception as error:
            if isinstance(error, OSError) and error.errno in NO_PLACE:
                raise
            failure = error
        where = self.plan.folder(cell)
        with self.hold():
            if measured is None:
                reason = self._from_here(_reason(failure), cell.model)
                kind = type(failure).__name__
                record = CellRecord(cell, FAILED, reason, started, utc_now(), where, error=kind)
            else:
                measured = self._told_from_here(self._asked_only(measured), cell.model)
                record = cell_record(cell, measured.result, where)
                asked = record.target_met if self.plan.seconds is None else None
                record = replace(record, started=started, ended=utc_now(), target_met=asked)
                self._write(where, measured)
                self._learn(cell, measured, macs, journal)
            journal.append(cell_to_json(record))
            self.records.append(record)
            self.listener.ended(record, failure)
            self._report_now_and_then()

    def _counted(self, name: str) -> CellKey | None:
        """The cell at which a model's multiplications are counted: its first of the smallest."""
        model = self.plan.model(name)
        possible = [
            (batch, size)
            for size in model.sizes
            for batch in model.batch_sizes
            if (name, size, batch) not in self.refused
        ]
        if not possible:
            return None
        batch, size = min(possible)
        return CellKey(name, size, batch, 0)

    def _asked_only(self, measured: MeasuredCell) -> MeasuredCell:
        """Without warnings of a precision that was not asked for."""
        if self.plan.seconds is None:
            return measured
        result = measured.result
        kept = tuple(text for text in result.warnings if not text.startswith(NOT_ASKED))
        return replace(measured, result=replace(result, warnings=kept))

    def _told_from_here(self, measured: MeasuredCell, name: str) -> MeasuredCell:
        """With the path of a callable as ``study.toml`` has it: no folder of anybody's own."""
        result = measured.result
        path = self._from_here(result.model.path, name)
        warnings = tuple(self._from_here(text, name) for text in result.warnings)
        made = replace(result, model=replace(result.model, path=path), warnings=warnings)
        return replace(measured, result=made)

    def _from_here(self, text: str, name: str) -> str:
        file = (self.plan.model(name).callable or "").rpartition(":")[0]
        if not Path(file).is_absolute():
            return text
        return text.replace(file, os.path.relpath(file, self.folder))

    def _write(self, where: str, measured: MeasuredCell) -> None:
        """The files of a cell; an earlier attempt that left some is replaced."""
        folder = self.folder / where
        power = "".join(f"{line}\n" for line in measured.power)
        settings = {"latency_every": measured.every}
        report = self.about.report("bench", (measured.result,), settings=settings)
        sweep(folder, POWER, LATENCY, REPORT)
        write_atomically(folder / POWER, power.encode())
        write_atomically(folder / LATENCY, latency_text(measured.latencies).encode())
        write_atomically(folder / REPORT, report)

    def _learn(self, cell: CellKey, measured: MeasuredCell, macs: bool, journal: Journal) -> None:
        """Keep what a cell tells about its model, once, and once more when it was counted."""
        if cell.model in self.models and not macs:
            return
        result: InferenceResult = measured.result
        before = self.models.get(cell.model)
        told = StudiedModel(
            cell.model,
            result.model,
            result.parameters,
            measured.macs if measured.macs is not None or before is None else before.macs,
            measured.note or self.plan.model(cell.model).note,
        )
        if before is None or before.macs != told.macs:
            self.models[cell.model] = told
            journal.append({"event": MODEL, "date": utc_now(), "model": to_json(told)})

    def result(self) -> StudyResult:
        """The study so far."""
        return summarise_cells(
            self.records, self.plan, models=self.models.values(), warnings=self.warnings
        )

    def _report_now_and_then(self) -> None:
        """A row is complete, perhaps: write the report, unless that took long a moment ago."""
        begun = time.monotonic()
        if begun >= self.due:
            self._report()
            ended = time.monotonic()
            self.due = ended + (ended - begun) / REPORT_SHARE

    def _report(self) -> StudyResult:
        result = self.result()
        complete = not result.missing_cells
        settings = {"seed": self.plan.seed}
        content = self.about.report("study", (result,), complete=complete, settings=settings)
        write_atomically(self.folder / REPORT, content)
        return result


def _reason(failure: Exception | None) -> str:
    """Why a cell has no figures, in words."""
    if isinstance(failure, GreenAIError):
        text = str(failure)
    elif isinstance(failure, MemoryError):
        text = f"out of memory: {failure}" if str(failure) else "out of memory"
    else:
        text = f"{type(failure).__name__}: {failure}"
    return " ".join(text.split())


__all__ = ["DONE", "About", "Cells", "Listener", "refuse_hopeless", "run_study"]
