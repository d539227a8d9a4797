"""Compose the profilers of a machine, open windows, and measure models.

A :class:`Session` is what people and the command line use: it picks the
profilers, keeps channels from being counted twice, and turns readings into
results.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from . import evaluation, registry
from .blocks import Source
from .channels import Channel, Reading, contents, window_result
from .clock import SYSTEM_CLOCK, Clock
from .errors import LifecycleError, NoSensorError, PluginError, PluginUnavailable, ReadingError
from .evaluation import MeasurementInterrupted
from .inputs import samples, to_inputs
from .loop import LoopSettings
from .model import DLLibrary, Trainable
from .model_factory import factory
from .profiler import Observation, Profiler, Telemetry
from .results import (
    ChannelEnergy,
    Figure,
    InferenceResult,
    MissingChannel,
    ParameterCount,
    Skipped,
    TrainingResult,
    WindowResult,
)

if TYPE_CHECKING:
    import numpy as np
    from typing_extensions import Self

P = ParamSpec("P")
R = TypeVar("R")

Progress = Callable[[float, str], None]

__all__ = ["MeasurementInterrupted", "Session", "Window", "measure"]


class Window:
    """A stretch of time and its energy; made by ``Session.window``.

    The figures are there once the window has ended.
    """

    # Defaults of the class, since making a window is part of what it costs to measure one.
    _duration: float | None = None
    _result: WindowResult | None = None

    def __init__(self, session: Session, name: str, accelerators: Collection[str] | None) -> None:
        self.name = name
        self._session = session
        self._accelerators = accelerators

    def __enter__(self) -> Self:
        settle()
        self._sources = self._session.sources
        self._duration = self._result = None
        self._begun: list[tuple[Profiler, Any]] = []
        try:
            for source in self._sources:
                profiler = source.profiler
                self._begun.append((profiler, profiler.begin()))
        except BaseException:
            self._end()
            raise
        self._start = self._session.clock.now()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        settle()
        self._duration = self._session.clock.now() - self._start
        self._end()

    def _end(self) -> None:
        self._ended: list[Callable[[], Sequence[Reading]]] = [
            profiler.finish(begun) for profiler, begun in self._begun
        ]

    def _readings(self) -> Iterator[tuple[str, Reading]]:
        for source, ended in zip(self._sources, self._ended, strict=True):
            for reading in ended():
                if reading.channel in source.channels:
                    yield source.profiler.name, reading

    @property
    def result(self) -> WindowResult:
        """All figures of the window.

        Raises:
            LifecycleError: it has not ended.
        """
        if self._duration is None:
            raise LifecycleError(f"the window {self.name!r} has not ended yet")
        if self._result is None:
            self._result = window_result(
                self.name, self._duration, list(self._readings()), self._accelerators
            )
        return self._result

    @property
    def energy_j(self) -> float | None:
        """Joules of the total; None when a channel of it is missing."""
        return self.result.energy_j

    @property
    def duration_s(self) -> float:
        """Seconds between beginning and end."""
        return self.result.duration_s

    @property
    def channels(self) -> tuple[ChannelEnergy, ...]:
        """Energy of each channel that could be read."""
        return self.result.channels

    @property
    def missing(self) -> tuple[MissingChannel, ...]:
        """Channels without a figure, and why."""
        return self.result.missing


class Session:
    """The sensors of this machine, opened together.

    Use it as a context manager, or call ``open`` and ``close``.

    Args:
        profilers: ``"auto"`` takes every profiler that works here, the modelled
            one only where nothing measures; else names or ``Profiler`` objects,
            each of which must work.
        options: constructor options by profiler name.
        clock: for simulated hardware.
        accelerators: ids of the boards that totals contain; None for all that
            the profilers show. Evaluating a model uses the boards it runs on.
    """

    def __init__(
        self,
        profilers: str | Iterable[str | Profiler] = "auto",
        *,
        options: Mapping[str, Mapping[str, Any]] | None = None,
        clock: Clock = SYSTEM_CLOCK,
        accelerators: Collection[str] | None = None,
    ) -> None:
        self._wanted = None if profilers == "auto" else _as_list(profilers)
        self._options = dict(options or {})
        self.clock = clock
        self.accelerators = accelerators
        self._sources: tuple[Source, ...] | None = None
        self.skipped: tuple[Skipped, ...] = ()
        """Profilers that are not used, and why."""

    # Opening and closing

    def open(self) -> Self:
        """Open the profilers.

        Raises:
            LifecycleError: the session is open already.
            PluginError: a requested profiler does not work.
            NoSensorError: none works.
        """
        if self._sources is not None:
            raise LifecycleError("the session is open already")
        skipped: list[Skipped] = []
        with contextlib.ExitStack() as stack:
            sources: list[Source] = []
            for profiler in self._candidates(skipped):
                if self._open_one(profiler, skipped):
                    stack.callback(profiler.close)
                    self._admit(profiler, sources, skipped)
            self.skipped = tuple(skipped)
            if not sources:
                why = "; ".join(f"{s.profiler}: {s.reason}" for s in skipped) or "none is installed"
                raise NoSensorError(
                    f"no profiler can measure here ({why}). `greenai devices` tells the remedies"
                )
            self._sources = tuple(sources)
            stack.pop_all()
        return self

    def _candidates(self, skipped: list[Skipped]) -> Iterator[Profiler]:
        """The profilers to try, best first; those of ``auto`` may fail."""
        if self._wanted is not None:
            for wanted in self._wanted:
                yield wanted if isinstance(wanted, Profiler) else self._make(wanted)
            return
        loaded, broken = registry.load_all("greenai.profilers")
        skipped.extend(Skipped(name, str(error), "") for name, error in broken.items())
        for cls in sorted(loaded.values(), key=lambda c: (-c.priority, c.name)):
            if cls.automatic or cls.name in self._options:
                yield self._make(cls.name)

    def _make(self, name: str) -> Profiler:
        cls = registry.load("greenai.profilers", name)
        options = self._options.get(name, {})
        unknown = set(options) - set(cls.option_names)
        if unknown:
            known = ", ".join(sorted(cls.option_names)) or "none"
            raise PluginUnavailable(
                f"the profiler {name!r} has no option {', '.join(sorted(unknown))}",
                f"Its options: {known}",
            )
        made: Profiler = cls(**options)
        return made

    def _open_one(self, profiler: Profiler, skipped: list[Skipped]) -> bool:
        try:
            profiler.check_available()
            profiler.open(self.clock)
        except (PluginError, ReadingError) as error:
            if self._wanted is not None:
                raise
            hint = error.hint if isinstance(error, PluginUnavailable) else ""
            reason = error.reason if isinstance(error, PluginUnavailable) else str(error)
            skipped.append(Skipped(profiler.name, reason, hint))
            return False
        return True

    def _admit(self, profiler: Profiler, sources: list[Source], skipped: list[Skipped]) -> None:
        """Use those channels of an open profiler that no better one covers."""
        taken = {c.id: s.profiler.name for s in sources for c in s.channels}
        measured = {c.component: s.profiler.name for s in sources for c in s.channels if c.measured}
        used, covered = [], {}
        for channel in profiler.channels:
            if channel.id in taken:
                covered[channel.id] = taken[channel.id]
            elif self._wanted is None and not channel.measured and channel.component in measured:
                covered[channel.component] = measured[channel.component]
            else:
                used.append(channel)
        if used:
            sources.append(Source(profiler, tuple(used)))
        else:
            profiler.close()
        if covered:
            what = ", ".join(f"{key} is measured by {name}" for key, name in covered.items())
            skipped.append(Skipped(profiler.name, what, ""))

    def close(self) -> None:
        """Close the profilers; does nothing when the session is not open."""
        sources, self._sources = self._sources or (), None
        with contextlib.ExitStack() as stack:
            for source in sources:
                stack.callback(source.profiler.close)

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # What is measured

    @property
    def sources(self) -> tuple[Source, ...]:
        """The profilers in use, each with the channels it is used for.

        Raises:
            LifecycleError: the session is not open.
        """
        if self._sources is None:
            raise LifecycleError("the session is not open: use `with Session() as session`")
        return self._sources

    @property
    def channels(self) -> tuple[Channel, ...]:
        """All channels in use."""
        return tuple(itertools.chain.from_iterable(s.channels for s in self.sources))

    @property
    def contains(self) -> tuple[str, ...]:
        """Ids of the channels that the total of a window adds up."""
        return contents(self.channels, self.accelerators)

    def observe(self) -> tuple[Observation, ...]:
        """Utilisation, memory, temperature, clocks; no energy. Sources that fail are left out."""
        seen: list[Observation] = []
        for source in self.sources:
            if isinstance(source.profiler, Telemetry):
                with contextlib.suppress(ReadingError):
                    seen.extend(source.profiler.observe())
        return tuple(seen)

    # Windows

    def window(self, name: str = "window") -> Window:
        """A context manager whose energy is measured; windows may nest and overlap.

        At both ends it waits for CUDA work that PyTorch has started, if PyTorch
        is in use.
        """
        return Window(self, name, self.accelerators)

    def idle(self, seconds: float = 5.0) -> Figure:
        """Power while this process waits, W.

        Raises:
            ReadingError: a channel of the total could not be read.
        """
        with self.window("idle") as window:
            self.clock.sleep(seconds)
        return evaluation.power(window.result)

    # Models

    def count_parameters(self, model: DLLibrary | str | os.PathLike[str]) -> ParameterCount:
        """Elements and bytes of a model's parameters. Needs no sensor."""
        with opened(model) as library:
            return library.count_parameters()

    def infer(
        self,
        model: DLLibrary | str | os.PathLike[str],
        data: Any = None,
        preprocess: Callable[[Any], Any] | None = None,
    ) -> dict[str, np.ndarray[Any, Any]]:
        """One inference; see ``DLLibrary.run``."""
        with opened(model) as library:
            return library.run(data, preprocess)

    def evaluate_inference(
        self,
        model: DLLibrary | str | os.PathLike[str],
        data: Any = None,
        *,
        batch_size: int | None = None,
        settings: LoopSettings | None = None,
        progress: Progress = lambda share, text: None,
    ) -> InferenceResult:
        """Energy, time and power of one inference.

        Loading, preparing the input and warming up are not measured.

        Args:
            model: an opened model, or a path that the factory opens.
            data: see ``greenai_core.inputs.to_inputs``; None for synthetic data.
            batch_size: samples in one inference; None for what data or file say.
            settings: when to stop.
            progress: told the share done and a word on the state.

        Raises:
            ModelError: the model cannot be run on these data.
            MeasurementInterrupted: Ctrl-C; its ``result`` holds what was measured.
        """
        with opened(model) as library:
            library.load()
            inputs = to_inputs(
                data, library.input_specs, batch_size=batch_size, image_layout=library.image_layout
            )
            prepared = library.prepare(inputs)

            def work() -> None:
                library.predict(prepared)
                library.synchronize()

            return evaluation.inference(
                library,
                evaluation.describe(library, inputs, samples(inputs)),
                work,
                self.sources,
                self.clock,
                settings or LoopSettings(),
                progress,
            )

    def evaluate_training(
        self,
        model: DLLibrary | str | os.PathLike[str],
        batches: Sequence[tuple[Any, Any]],
        *,
        steps: int | None = None,
        settings: LoopSettings | None = None,
        trainable: Trainable | None = None,
        progress: Progress = lambda share, text: None,
    ) -> TrainingResult:
        """Energy, time and power of one training step; the model is trained meanwhile.

        Args:
            model: an opened model, or a path that the factory opens.
            batches: pairs of inputs (as in ``evaluate_inference``) and targets,
                used in turn again and again.
            steps: measured steps at most; None for no limit.
            settings: when to stop.
            trainable: what ``model.as_trainable()`` gave, to save it afterwards.
            progress: told the share done and a word on the state.

        Raises:
            ModelError: the model cannot be trained on these data.
            MeasurementInterrupted: Ctrl-C; its ``result`` holds what was measured.
        """
        with opened(model) as library:
            trainable = trainable or library.as_trainable()
            arrays = [
                (to_inputs(data, library.input_specs, image_layout=library.image_layout), targets)
                for data, targets in batches
            ]
            prepared = itertools.cycle(
                [trainable.prepare_batch(inputs, targets) for inputs, targets in arrays]
            )

            def work() -> None:
                trainable.step(next(prepared))
                trainable.synchronize()

            return evaluation.training(
                library,
                evaluation.describe(library, arrays[0][0], samples(arrays[0][0])),
                trainable,
                work,
                self.sources,
                self.clock,
                replace(settings or LoopSettings(), max_iterations=steps),
                progress,
            )


def _as_list(profilers: str | Iterable[str | Profiler]) -> list[str | Profiler]:
    return [profilers] if isinstance(profilers, str) else list(profilers)


@contextlib.contextmanager
def opened(model: DLLibrary | str | os.PathLike[str]) -> Iterator[DLLibrary]:
    """The model itself, left open; or the one of a path, closed afterwards."""
    if isinstance(model, DLLibrary):
        yield model
    else:
        with factory.load(model) as library:
            yield library


def settle() -> None:
    """Wait for the CUDA work that PyTorch has started, if this process uses it.

    Energy read before the accelerator has finished belongs to nobody.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        return
    cuda = getattr(torch, "cuda", None)
    if cuda is not None and cuda.is_initialized():
        cuda.synchronize()


def measure(
    f: Callable[P, R] | None = None,
    *,
    profilers: str | Iterable[str | Profiler] = "auto",
    on_result: Callable[[WindowResult], None] | None = None,
) -> Any:
    """Decorator: measure each call of a function.

    The result of the latest call is the function's attribute ``last``.

    Args:
        f: the function, when used as plain ``@measure``.
        profilers: see ``Session``.
        on_result: called with the result of each call.
    """
    if f is None:
        return functools.partial(measure, profilers=profilers, on_result=on_result)
    function = f
    wanted = profilers if isinstance(profilers, str) else list(profilers)

    @functools.wraps(function)
    def measured(*args: P.args, **kwargs: P.kwargs) -> R:
        with Session(wanted) as session:
            window = session.window(function.__qualname__)
            try:
                with window:
                    return function(*args, **kwargs)
            finally:
                measured.last = window.result  # type: ignore[attr-defined]  # documented attribute
                if on_result is not None:
                    on_result(window.result)

    measured.last = None  # type: ignore[attr-defined]  # documented attribute
    return measured
