"""Compose the profilers of a machine, open windows, and measure models.

A :class:`Session` is what people and the command line use: it picks the
profilers, keeps channels from being counted twice, and turns readings into
results.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any

from . import evaluation
from .arrays import samples
from .batches import SHUFFLE_SEED, Wanted, ready
from .blocks import Source
from .calibration import Calibration
from .channels import Channel, contents
from .clock import SYSTEM_CLOCK, Clock
from .counters import CounterProfiler
from .epochs import TrainingFailed, by_epochs, per_epoch
from .errors import LifecycleError, ModelInputError, ReadingError
from .evaluation import MeasurementInterrupted
from .host_telemetry import HostTelemetry
from .inputs import InputOptions
from .kept_runs import Kept, KeptRun
from .layer_evaluation import LayerBench, inference_layers, training_layers
from .layer_results import ISOLATION, LayersResult
from .layers import LayerSettings
from .loop import LoopSettings
from .model import DLLibrary, Trainable
from .model_factory import opened
from .observed import BackgroundObserver
from .parameters import ParameterCount
from .profiler import Observation, Profiler, Telemetry
from .results import (
    ComparisonResult,
    Figure,
    InferenceResult,
    Skipped,
    TrainingResult,
)
from .run_costs import sensor_notes
from .selection import open_sources, wanted, with_calibrations
from .spans import Window, WindowPlan, planned
from .training import Course

if TYPE_CHECKING:
    import numpy as np
    from typing_extensions import Self

    from .interleaved import ComparisonSettings

Progress = Callable[[float, str], None]

__all__ = ["MeasurementInterrupted", "Session", "TrainingFailed"]


class Session:
    """The sensors of this machine, opened together.

    Use it as a context manager, or call ``open`` and ``close``.

    Args:
        profilers: ``"auto"`` takes every profiler that works here, the modelled
            one only where nothing measures; else names or ``Profiler`` objects,
            each of which must work. ``"auto"`` stands alone, in a list too.
        options: constructor options by profiler name.
        clock: for simulated hardware.
        accelerators: ids of the boards that totals contain; None for all that
            the profilers show. Evaluating a model uses the boards it runs on.
        calibrations: to use for the channels that they are of; ``stored_calibrations()``
            gives those that ``greenai calibrate`` keeps for this machine.
        watch: whether slow counters are read in the background, so that windows
            know the edges around their ends.
        edge_wait: whether the figures of a window wait, one update period at most,
            for the edge after its end.
        observe: whether the devices are looked at in the background, so that the
            results of windows tell how busy, hot or throttled they were; about 0.1 % of a
            processor. Evaluations of models tell it anyway.
        raw: whether ``kept`` holds the readings of the latest evaluation, so that
            ``write_raw`` can keep them in a file.
    """

    def __init__(
        self,
        profilers: str | Iterable[str | Profiler] = "auto",
        *,
        options: Mapping[str, Mapping[str, Any]] | None = None,
        clock: Clock = SYSTEM_CLOCK,
        accelerators: Collection[str] | None = None,
        calibrations: Iterable[Calibration] = (),
        watch: bool = True,
        edge_wait: bool = True,
        observe: bool = False,
        raw: bool = False,
    ) -> None:
        self._raw = raw
        self._observes = observe
        self._observer: BackgroundObserver | None = None
        self.kept: Kept | None = None
        """What the figures of the latest evaluation follow from, if ``raw``."""
        self._watch = watch
        self._edge_wait = edge_wait
        self._calibrations = tuple(calibrations)
        self._wanted = wanted(profilers)
        self._options = dict(options or {})
        self.clock = clock
        self.accelerators = accelerators
        self._sources: tuple[Source, ...] | None = None
        self._plan: WindowPlan | None = None
        self._host: HostTelemetry | None = None
        self.unused_calibrations: tuple[str, ...] = ()
        """Why calibrations are not used."""
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
        sources, self.skipped = open_sources(self._wanted, self._options, self.clock, self._prepare)
        self._sources = tuple(sources)
        try:
            self._begin()
        except BaseException:  # Ctrl-C, while the devices are looked at for the first time
            self.close()
            raise
        return self

    def _begin(self) -> None:
        found = with_calibrations(self._sources or (), self._calibrations)
        self._sources, self.unused_calibrations = found
        if self._observes:
            profilers = [source.profiler for source in self._sources]
            self._observer = BackgroundObserver(profilers, self.clock)
            self._observer.open()
        self._plan = planned(self._sources, self.clock, self._observer)
        self._host = HostTelemetry() if self.clock is SYSTEM_CLOCK else None

    def _prepare(self, profiler: Profiler) -> None:
        if isinstance(profiler, CounterProfiler):
            profiler.watched = profiler.watched and self._watch
            profiler.waits_for_edge = profiler.waits_for_edge and self._edge_wait

    def close(self) -> None:
        """Close the profilers; does nothing when the session is not open."""
        sources, self._sources = self._sources or (), None
        with contextlib.ExitStack() as stack:
            for source in sources:
                stack.callback(source.profiler.close)
            if self._observer is not None:
                stack.callback(self._observer.close)

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
        """All channels in use, each with what is known of its gain."""
        return tuple(s.described(channel) for s in self.sources for channel in s.channels)

    @property
    def calibrations(self) -> tuple[Calibration, ...]:
        """Those that are used."""
        return tuple(itertools.chain.from_iterable(s.calibrations.values() for s in self.sources))

    @property
    def contains(self) -> tuple[str, ...]:
        """Ids of the channels that the total of a window adds up."""
        return contents(self.channels, self.accelerators)

    def observe(self) -> tuple[Observation, ...]:
        """Utilisation, memory, temperature, clocks; no energy. Sources that fail are left out.

        The machine itself is the device ``host``, told once. Where the clock of the
        session is not that of this machine only the sources tell of it.
        """
        seen: list[Observation] = []
        for source in self.sources:
            if isinstance(source.profiler, Telemetry):
                with contextlib.suppress(ReadingError):
                    seen.extend(source.profiler.observe())
        if self._host is not None and not any(one.device == "host" for one in seen):
            with contextlib.suppress(ReadingError):
                seen.extend(self._host.observe())
        return tuple(seen)

    def notes(self) -> tuple[str, ...]:
        """What the sensors say that readers of their figures must know; may take a second."""
        return sensor_notes(self.sources)

    # Windows

    def window(self, name: str = "window") -> Window:
        """A context manager whose energy is measured; windows may nest and overlap.

        At both ends it waits for CUDA work that PyTorch has started, if PyTorch
        is in use.
        """
        return Window(name, self.sources, self.clock, self.accelerators, self._plan)

    def await_edges(self) -> None:
        """Return when the slow counters that are watched have been seen to move.

        Worth calling before the first window of a session, if it is a short one:
        0.1 s on a GPU, nothing on a CPU.
        """
        for source in self.sources:
            if isinstance(source.profiler, CounterProfiler):
                source.profiler.await_edges()

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
        *,
        options: InputOptions | None = None,
    ) -> dict[str, np.ndarray[Any, Any]]:
        """One inference; see ``DLLibrary.run``."""
        with opened(model) as library:
            return library.run(data, preprocess, options=options)

    def evaluate_inference(
        self,
        model: DLLibrary | str | os.PathLike[str],
        data: Any = None,
        *,
        batch_size: int | None = None,
        options: InputOptions | None = None,
        settings: LoopSettings | None = None,
        progress: Progress = lambda share, text: None,
        idle_s: float | None = 0.0,
    ) -> InferenceResult:
        """Energy, time and power of one inference.

        Loading, preparing the input and warming up are not measured.

        Args:
            model: an opened model, or a path that the factory opens.
            data: see ``DLLibrary.run``; None for synthetic data.
            batch_size: samples in one inference; short for that option.
            options: see ``InputOptions``.
            settings: when to stop.
            progress: told the share done and a word on the state.
            idle_s: seconds of idle to measure before and after; 0 for none, None for
                what the sensors need. It gives the energy above idle.

        Raises:
            ModelError: the model cannot be run on these data.
            MeasurementInterrupted: Ctrl-C; its ``result`` holds what was measured.
        """
        with opened(model) as library:
            library.load()
            wanted = options or InputOptions()
            if batch_size is not None:
                wanted = replace(wanted, batch_size=batch_size)
            inputs = library.make_inputs(data, wanted)
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
                self._keep,
                idle_s,
            )

    def evaluate_layers(
        self,
        model: DLLibrary | str | os.PathLike[str],
        data: Any = None,
        *,
        training: bool = False,
        options: InputOptions | None = None,
        settings: LayerSettings | None = None,
        progress: Progress = lambda share, text: None,
    ) -> LayersResult:
        """Energy and time of one inference or training step, layer by layer.

        A model that is measured in training is not trained: it is as it was afterwards.

        Args:
            model: see ``evaluate_inference``.
            data: likewise; in training see ``evaluate_training``: the first batch is taken,
                None for synthetic inputs and targets.
            training: whether a pass is a training step: forward and backward of each layer,
                the loss and the optimiser.
            options: see ``evaluate_inference``.
            settings: how layers are measured, and when to stop. The default method is
                ``context``; in training ``isolation``.
            progress: told the share done and a word on the state.

        Raises:
            ModelError: the model cannot be run on these data, or its layers cannot be told
                apart; the message says why.
            LayersInterrupted: Ctrl-C; its ``result`` holds what was measured.
        """
        default = LayerSettings(method=ISOLATION) if training else LayerSettings()
        bench = LayerBench(self.sources, self.clock, settings or default, progress)
        with opened(model) as library:
            library.load()
            measure = training_layers if training else inference_layers
            return measure(library, data, options or InputOptions(), bench)

    def _keep(self, kept: Kept) -> None:
        self.kept = kept if self._raw else None

    def compare(
        self,
        models: Sequence[DLLibrary | str | os.PathLike[str]],
        data: Any = None,
        *,
        batch_size: int | None = None,
        options: InputOptions | None = None,
        settings: ComparisonSettings | None = None,
        progress: Progress = lambda share, text: None,
    ) -> ComparisonResult:
        """Energy of one inference of each model against that of the first.

        They are measured in turn in one run, so that a drift of the machine drops
        out; all of them are loaded at once. A model that fails is left out while
        two are left.

        Args:
            models: opened models, or paths; the first is what the others are compared with.
            data: see ``DLLibrary.run``; None for synthetic data.
            batch_size: samples in one inference; short for that option.
            options: see ``InputOptions``.
            settings: how long to compare, and what counts as equivalent.
            progress: told the share done and a word on the state.

        Raises:
            ModelError: the first model, or all others, cannot be run on these data.
            ComparisonInterrupted: Ctrl-C; its ``result`` holds what was measured.
        """
        from . import compared_models  # which most sessions do without

        wanted = options or InputOptions()
        if batch_size is not None:
            wanted = replace(wanted, batch_size=batch_size)
        with contextlib.ExitStack() as stack:
            loaded, failed = compared_models.loaded(models, data, wanted, stack)
            return compared_models.compare(
                loaded, failed, self.sources, self.clock, settings, progress
            )

    def evaluate_training(
        self,
        model: DLLibrary | str | os.PathLike[str],
        train_data: Any,
        *,
        validation: Any = None,
        epochs: int | None = None,
        steps: int | None = None,
        batch_size: int | None = None,
        seed: int | None = SHUFFLE_SEED,
        options: InputOptions | None = None,
        settings: LoopSettings | None = None,
        trainable: Trainable | None = None,
        progress: Progress = lambda share, text: None,
        idle_s: float | None = 0.0,
    ) -> TrainingResult:
        """Energy, time and power of training; the model is trained meanwhile.

        Without ``epochs`` the same steps are repeated on data that are ready,
        until their energy is known well; with it, whole epochs are measured, with
        waiting for data, and a validation after each.

        Args:
            model: an opened model, or a path that the factory opens.
            train_data: see ``greenai_core.training_data``.
            validation: the same; needs ``epochs``.
            epochs: times to go through the data.
            steps: measured steps at most, without ``epochs``; None for no limit.
            batch_size: samples in a step; None for the model's or 32.
            seed: of the order of samples; None keeps that of the data.
            options: how images are resized and normalised.
            settings: when to stop, without ``epochs``.
            trainable: what ``model.as_trainable()`` gave, to save it afterwards.
            progress: told the share done and a word on the state.
            idle_s: see ``evaluate_inference``; of repeated steps only.

        Raises:
            ModelError: the model cannot be trained on these data.
            TrainingFailed: it broke off; its ``result`` holds what was measured.
            MeasurementInterrupted: Ctrl-C; likewise.
        """
        if epochs is not None and steps is not None:
            raise ModelInputError("give epochs or steps, not both: whole epochs have their steps")
        if epochs is None and validation is not None:
            raise ModelInputError("validation follows each epoch: give the number of epochs too")
        with opened(model) as library:
            trainable = trainable or library.as_trainable()
            wanted = Wanted.of(
                library.signature(),
                library.input_specs,
                image_layout=library.image_layout,
                batch_size=batch_size,
                seed=seed,
                options=options,
            )
            times = 1 if epochs is None else epochs
            course = Course.of(train_data, validation, times, wanted)
            if epochs is None:
                limits = replace(settings or LoopSettings(), max_iterations=steps)
                return self._repeated_steps(library, trainable, course, limits, progress, idle_s)
            return by_epochs(
                library,
                trainable,
                course,
                self.sources,
                self.clock,
                settings or LoopSettings(),
                progress,
                self._keep,
            )

    def _repeated_steps(
        self,
        library: DLLibrary,
        trainable: Trainable,
        course: Course,
        settings: LoopSettings,
        progress: Progress,
        idle_s: float | None,
    ) -> TrainingResult:
        batches, more = ready(course.training)
        prepared = itertools.cycle(
            [trainable.prepare_batch(batch.inputs, batch.targets) for batch in batches]
        )

        def work() -> None:
            trainable.step(next(prepared))
            trainable.synchronize()

        def kept(result: Any) -> TrainingResult:
            first = f"trained on the first {len(batches)} batches only: --epochs takes all"
            notes = (first,) if more else ()
            result = replace(result, warnings=(*course.warnings, *notes, *result.warnings))
            if isinstance(self.kept, KeptRun):
                self.kept = replace(self.kept, epoch_samples=course.training.samples)
            return per_epoch(result, course.training.samples)

        summary = evaluation.describe(library, batches[0].inputs, batches[0].size)
        try:
            return kept(
                evaluation.training(
                    library,
                    summary,
                    trainable,
                    work,
                    self.sources,
                    self.clock,
                    settings,
                    progress,
                    self._keep,
                    idle_s,
                )
            )
        except MeasurementInterrupted as end:
            raise MeasurementInterrupted(kept(end.result)) from None
        except TrainingFailed as end:
            raise TrainingFailed(str(end), kept(end.result)) from end.__cause__
