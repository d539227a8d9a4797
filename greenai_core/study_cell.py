"""One cell of a study measured in this process: load, warm up, infer, record."""

from __future__ import annotations

import datetime
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from . import evaluation
from .arrays import samples
from .clock import SYSTEM_CLOCK, Clock
from .errors import MeasurementError, ModelError
from .host_use import HostUse
from .kept_runs import KeptRun
from .model import DLLibrary
from .model_factory import factory
from .results import InferenceResult, ModelSummary
from .session import Session
from .study_cells import CellKey
from .study_inputs import check_cell, given_shapes, input_options
from .study_plan import PlannedModel, StudyPlan
from .study_power import power_lines
from .study_work import WorkLibrary, boards_of, load_function, made_work

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class MeasuredCell:
    """What measuring one cell gave.

    Attributes:
        result: as of ``greenai bench``.
        power: the lines of ``power_metrics.json``.
        latencies: seconds of inferences, in their order.
        every: one in so many inferences is among them.
        macs: multiply-accumulates of one inference; None where not known.
        note: of the model, in words.
    """

    result: InferenceResult
    power: tuple[str, ...]
    latencies: tuple[float, ...]
    every: int
    macs: int | None = None
    note: str = ""


class Latencies:
    """Seconds of each repetition of a work; of many, every second, fourth … one.

    Args:
        clock: of the measurement.
        most: to be kept.
    """

    def __init__(self, clock: Clock, most: int) -> None:
        self._now = clock.now
        self._most = 2 * most
        self._begun = array("d")
        self._seconds = array("d")
        self._count = 0
        self.every = 1

    def timed(self, work: Callable[[], None]) -> Callable[[], None]:
        """The same work, with its latencies kept."""
        now = self._now

        def measured() -> None:
            begun = now()
            work()
            ended = now()
            if self._count % self.every == 0:
                self._keep(begun, ended - begun)
            self._count += 1

        return measured

    def _keep(self, begun: float, seconds: float) -> None:
        if len(self._begun) >= self._most:
            del self._begun[1::2], self._seconds[1::2]
            self.every *= 2
            if self._count % self.every:
                return
        self._begun.append(begun)
        self._seconds.append(seconds)

    def since(self, instant: float) -> tuple[float, ...]:
        """Those of repetitions that began then or later: without the warm-up."""
        pairs = zip(self._begun, self._seconds, strict=True)
        kept = [seconds for begun, seconds in pairs if begun >= instant]
        step = -(-2 * len(kept) // self._most) or 1
        self.every *= step
        return tuple(kept[::step])


def measure_cell(
    plan: StudyPlan, cell: CellKey, session: Session, progress: Progress = lambda share, text: None
) -> MeasuredCell:
    """Measure one cell with an open session that keeps its readings (``raw=True``).

    Raises:
        ModelError: the model cannot be run at this size.
        MeasurementError: a sensor failed.
    """
    model = plan.model(cell.model)
    library = opened(plan, model, cell)
    try:
        return _measured(plan, model, cell, library, session, progress)
    finally:
        library.close()


def opened(plan: StudyPlan, model: PlannedModel, cell: CellKey) -> DLLibrary:
    """The model of a cell; its weights are not loaded yet, if it is a file.

    Raises:
        ModelError: it cannot be opened.
    """
    if model.callable is not None:
        return made_work(model.callable, cell.size, cell.batch_size, plan.device)
    return _file(plan, model, cell)


def _file(plan: StudyPlan, model: PlannedModel, cell: CellKey) -> DLLibrary:
    if model.file is None:
        raise AssertionError("a model is a file or a callable")
    kind = factory.get_model(model.file, format=model.format)
    kind.check_available()
    shapes = given_shapes(model, cell.size, cell.batch_size)
    return kind(model.file, device=plan.device, input_shapes=shapes, **model.options)


def refusals(plan: StudyPlan, model: PlannedModel) -> dict[tuple[int, int], str]:
    """Why sizes and batch sizes of a model cannot be measured, found without running it.

    Raises:
        ModelError: the model, or its function, is not there or cannot be read.
        PluginError: the library of its format is not installed.
    """
    if model.callable is not None:
        load_function(model.callable)
        return {}
    found: dict[tuple[int, int], str] = {}
    for batch in model.batch_sizes:
        for size in model.sizes:
            with _file(plan, model, CellKey(model.name, size, batch, 0)) as library:
                if any(spec.shape is None for spec in library.input_specs):
                    return found  # only running it would tell
                try:
                    check_cell(model, library, size, batch)
                except ModelError as error:
                    found[(size, batch)] = str(error)
    return found


def macs_of(plan: StudyPlan, cell: CellKey) -> int | None:
    """Multiply-accumulates of one inference of a cell; None where they are not told."""
    model = plan.model(cell.model)
    if model.callable is not None:
        return None
    try:
        with _file(plan, model, cell) as library:
            options = input_options(model, library, cell.size, cell.batch_size)
            return library.count_macs(options).macs
    except ModelError:
        return None


def _measured(
    plan: StudyPlan,
    model: PlannedModel,
    cell: CellKey,
    library: DLLibrary,
    session: Session,
    progress: Progress,
) -> MeasuredCell:
    work, summary, macs = _ready(model, cell, library, session)
    clock = session.clock
    latencies = Latencies(clock, plan.latencies)
    use = HostUse(clock.now, plan.period_s / 2) if clock is SYSTEM_CLOCK else None
    runs: list[KeptRun] = []

    def told(share: float, text: str) -> None:
        if use is not None:
            use.look()
        progress(share, text)

    told(0.0, "warming up")
    result = evaluation.inference(
        library, summary, latencies.timed(work), session.sources, clock, plan.loop(), told,
        runs.append, plan.idle_s,
    )  # fmt: skip
    if use is not None:
        use.end()
    if not runs:
        raise MeasurementError("the cell left no readings")
    readings = runs[0].readings
    offset = time.time() - clock.now()
    lines = power_lines(
        readings,
        plan.period_s,
        lambda instant: _local(instant + offset),
        use,
    )
    kept = latencies.since(readings.begun_s)
    note = library.made.note if isinstance(library, WorkLibrary) else ""
    return MeasuredCell(result, tuple(lines), kept, latencies.every, macs, note or model.note)


def _local(timestamp: float) -> datetime.datetime:
    """Local time without a zone, as AIPowerMeter's scripts expect it."""
    utc = datetime.datetime.fromtimestamp(timestamp, datetime.timezone.utc)
    return utc.astimezone().replace(tzinfo=None)


def _ready(
    model: PlannedModel, cell: CellKey, library: DLLibrary, session: Session
) -> tuple[Callable[[], None], ModelSummary, int | None]:
    """One inference, how it is fed, and its multiply-accumulates."""
    if isinstance(library, WorkLibrary):
        library.boards = _boards(library.device, session)
        made = library.made
        summary = ModelSummary(
            library.where, library.format, library.device, (f"size {cell.size}",), cell.batch_size
        )
        wait = library.synchronize

        def step() -> None:
            made.step()
            wait()

        return step, summary, made.macs
    options = input_options(model, library, cell.size, cell.batch_size)
    library.load()
    inputs = library.make_inputs(None, options)
    prepared = library.prepare(inputs)

    def infer() -> None:
        library.predict(prepared)
        library.synchronize()

    return infer, evaluation.describe(library, inputs, samples(inputs)), None


def _boards(device: str, session: Session) -> tuple[str, ...]:
    """Of a callable: the board that PyTorch says, else all that the sensors see."""
    found = boards_of(device)
    return tuple(found) if found is not None else _accelerators(session)


def _accelerators(session: Session) -> tuple[str, ...]:
    return tuple(c.id for c in session.channels if c.component in ("gpu", "accelerator"))


def describe_error(error: BaseException) -> tuple[Sequence[str], str]:
    """Names of an error's classes, the nearest first, and its message."""
    kinds = [kind.__name__ for kind in type(error).__mro__]
    return kinds, str(error) or type(error).__name__
