"""The layers of a model file, measured in a session: of an inference or of a training step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from . import evaluation
from .abilities import Layered, LayeredTraining
from .arrays import samples
from .batches import SHUFFLE_SEED, Wanted, ready
from .blocks import Source
from .budget import Term, scaled
from .clock import Clock
from .errors import ModelError, ModelInputError
from .evaluation import MeasurementInterrupted
from .inputs import InputOptions
from .layer_results import TIME, LayersResult
from .layers import LayerMeasurement, LayerSettings, Pass
from .loop import LoopSettings
from .model import DLLibrary
from .results import Figure, InferenceResult, ModelSummary
from .statistics import expanded
from .training import Course

INFERENCE = "inference"
TRAINING = "training"

WHOLE_SHARE = 0.3
"""Of the progress: measuring the whole pass."""

MOST_OF_REST = 0.65
"""Of the progress: its layers."""

AGAIN = 0.25
"""Of the longest time of measuring the pass: measuring it once more after its layers."""

TRAINING_BATCH = 8
"""Samples of a training step on synthetic data, where the model leaves that open: layers that
normalise over a batch need several."""

SEED = 0
"""Of synthetic targets: a step costs the same whatever they are."""


class LayersInterrupted(KeyboardInterrupt):
    """Ctrl-C or a signal ended the measurement of layers; what was measured is not lost.

    Attributes:
        result: of what there was by then; its warnings say so.
    """

    def __init__(self, result: LayersResult) -> None:
        super().__init__("interrupted")
        measured = sum(layer.method != TIME for layer in result.layers)
        told = f"interrupted: the energy of {measured} layers had been measured"
        self.result = replace(result, warnings=(*result.warnings, told))


@dataclass(frozen=True)
class LayerBench:
    """What layers are measured with.

    Attributes:
        sources: the profilers, open.
        clock: theirs.
        settings: how layers are measured, and when to stop.
        progress: told the share done and a word on the state.
    """

    sources: Sequence[Source]
    clock: Clock
    settings: LayerSettings
    progress: Callable[[float, str], None]


def inference_layers(
    library: DLLibrary, data: Any, options: InputOptions, bench: LayerBench
) -> LayersResult:
    """The layers of one inference. See ``Session.evaluate_layers``."""
    inputs = library.make_inputs(data, options)
    prepared = library.prepare(inputs)
    layered = library.as_layered()

    def work() -> None:
        library.predict(prepared)
        library.synchronize()

    summary = evaluation.describe(library, inputs, samples(inputs))
    return _measured(library, summary, _pass(INFERENCE, layered, prepared, work, library), bench)


def training_layers(
    library: DLLibrary, data: Any, options: InputOptions, bench: LayerBench
) -> LayersResult:
    """The layers of one training step. See ``Session.evaluate_layers``."""
    trainable = library.as_trainable()
    if not isinstance(trainable, LayeredTraining):
        raise ModelError(
            f"{library.path}: the layers of a training step of {library.format} cannot be told "
            "apart. `greenai layers` without --train measures those of an inference, `greenai "
            "train` a whole step"
        )
    inputs, targets = _batch(library, data, options)
    prepared = trainable.prepare_batch(inputs, targets)

    def work() -> None:
        trainable.step(prepared)
        trainable.synchronize()

    summary = evaluation.describe(library, inputs, samples(inputs))
    with trainable.layered() as layered:
        step = _pass(TRAINING, layered, prepared, work, library)
        return _measured(library, summary, step, bench)


def _pass(
    phase: str, layered: Layered, prepared: Any, work: Callable[[], None], library: DLLibrary
) -> Pass:
    count = getattr(layered, "macs", None)
    macs: Mapping[str, int] = {} if count is None else count(prepared)
    return Pass(phase, layered, prepared, work, library.synchronize, macs)


def _measured(
    library: DLLibrary, summary: ModelSummary, one_pass: Pass, bench: LayerBench
) -> LayersResult:
    """The pass, its layers, and the pass once more.

    Raises:
        LayersInterrupted: Ctrl-C; its ``result`` holds what was measured.
    """

    def whole_pass(loop: LoopSettings, progress: Callable[[float, str], None]) -> InferenceResult:
        work, sources = one_pass.work, bench.sources
        return evaluation.inference(library, summary, work, sources, bench.clock, loop, progress)

    measurement = LayerMeasurement(
        one_pass,
        bench.sources,
        bench.clock,
        bench.settings,
        lambda share, text: bench.progress(WHOLE_SHARE + MOST_OF_REST * share, text),
    )
    loop = bench.settings.loop
    try:
        before = whole_pass(loop, lambda share, text: bench.progress(WHOLE_SHARE * share, text))
    except MeasurementInterrupted as error:
        if not isinstance(error.result, InferenceResult):
            raise AssertionError("an inference was interrupted") from None
        raise LayersInterrupted(measurement.result(error.result)) from None
    try:
        measurement.gather(before)
        bench.progress(WHOLE_SHARE + MOST_OF_REST, "the whole once more")
        shorter = replace(loop, max_time_s=loop.max_time_s * AGAIN)
        after = whole_pass(shorter, lambda share, text: None)
    except KeyboardInterrupt:
        raise LayersInterrupted(measurement.result(before)) from None
    return measurement.result(bracketed(before, after))


def bracketed(before: InferenceResult, after: InferenceResult) -> InferenceResult:
    """The pass while its layers were measured: the mean of before and after.

    What drifts steadily is then in the rows as it is in the whole; half of what is between the
    two is taken as the bounds of a uniform error of the mean, like idle power around a run.
    """
    energy = _between(before.energy_per_inference_j, after.energy_per_inference_j)
    if energy is None:
        return before
    changed = drifted(before.energy_per_inference_j, after.energy_per_inference_j)
    return replace(
        before,
        energy_per_inference_j=energy,
        latency_s=_between(before.latency_s, after.latency_s) or before.latency_s,
        power_w=_between(before.power_w, after.power_w),
        warnings=(*before.warnings, changed) if changed else before.warnings,
    )


def _between(before: Figure | None, after: Figure | None) -> Figure | None:
    """The mean of two figures of one sensor, whose gain is common to both."""
    if before is None or after is None:
        return None
    value = (before.value + after.value) / 2
    repeats = [
        replace(term, u=term.u / 2, name=f"{term.name} {when}")
        for figure, when in ((before, "before"), (after, "after"))
        for term in figure.budget
        if term.repeats
    ]
    # Both differ by chance too, which is in the other terms.
    chance = math.fsum(4 * term.u**2 for term in repeats)
    drift = math.sqrt(max((after.value - before.value) ** 2 - chance, 0.0) / 12)
    repeats.append(Term("drift", drift))
    scale = value / before.value if before.value else 1.0
    common = scaled([term for term in before.budget if not term.repeats], scale)
    half = _half_width(repeats)
    total = max(_half_width([*repeats, *common]), half)
    floor = min(value, 0.0)
    return replace(
        before,
        value=value,
        low=max(value - total, floor),
        high=value + total,
        repeat_low=max(value - half, floor),
        repeat_high=value + half,
        provenance=f"{before.provenance}; mean of before and after the layers",
        budget=(*repeats, *common),
    )


def _half_width(terms: Sequence[Term]) -> float:
    return expanded([(term.u, math.inf if term.nu is None else term.nu) for term in terms])


def drifted(before: Figure | None, after: Figure | None) -> str:
    """What to say of a pass that costs something else after its layers were measured.

    Args:
        before: energy of the pass; None where it is not known.
        after: likewise.
    """
    if before is None or after is None:
        return ""
    halves = [(one.repeat_high - one.repeat_low) / 2 for one in (before, after)]
    if abs(after.value - before.value) <= math.hypot(*halves):
        return ""
    return (
        f"the machine changed meanwhile: the pass cost {before.value:.3g} J before its layers were "
        f"measured and {after.value:.3g} J afterwards, so the figures of layers are not of one "
        "state. Let nothing else run, and measure again"
    )


def _batch(
    library: DLLibrary, data: Any, options: InputOptions
) -> tuple[Mapping[str, npt.NDArray[Any]], npt.NDArray[Any]]:
    """Inputs and targets: the first batch of the data, or synthetic ones."""
    if data is None:
        is_open = all(spec.shape and spec.shape[0] is None for spec in library.input_specs)
        # A model in memory brings a batch of its own.
        if options.batch_size is None and is_open and not library.in_memory:
            options = replace(options, batch_size=TRAINING_BATCH)
        inputs = library.make_inputs(None, options)
        return inputs, _targets(library, inputs)
    wanted = Wanted.of(
        library.signature(),
        library.input_specs,
        image_layout=library.image_layout,
        batch_size=options.batch_size,
        seed=SHUFFLE_SEED,
        options=options,
    )
    batches, _ = ready(Course.of(data, None, 1, wanted).training)
    return batches[0].inputs, batches[0].targets


def _targets(library: DLLibrary, inputs: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Random classes where the outputs look like scores of classes, else random values."""
    outputs = library.fetch(library.predict(library.prepare(inputs)))
    if not outputs:
        raise ModelInputError(f"{library.path} gives no output to compute a loss of")
    answer = outputs.get("logits", next(iter(outputs.values())))
    random = np.random.default_rng(SEED)
    if answer.ndim == 2 and answer.shape[1] > 1:
        classes: npt.NDArray[Any] = random.integers(0, answer.shape[1], answer.shape[0])
        return classes
    values: npt.NDArray[Any] = random.standard_normal(answer.shape).astype(np.float32)
    return values
