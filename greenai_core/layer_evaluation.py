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
from .clock import Clock
from .errors import ModelError, ModelInputError
from .inputs import InputOptions
from .layer_results import LayersResult
from .layers import LayerMeasurement, LayerSettings, Pass
from .model import DLLibrary
from .results import Figure, ModelSummary
from .training import Course

INFERENCE = "inference"
TRAINING = "training"

WHOLE_SHARE = 0.3
"""Of the progress: measuring the whole pass."""

AGAIN = 0.25
"""Of the longest time of measuring the pass: measuring it once more after its layers."""

TRAINING_BATCH = 8
"""Samples of a training step on synthetic data, where the model leaves that open: layers that
normalise over a batch need several."""

SEED = 0
"""Of synthetic targets: a step costs the same whatever they are."""


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
    whole = evaluation.inference(
        library,
        summary,
        one_pass.work,
        bench.sources,
        bench.clock,
        bench.settings.loop,
        lambda share, text: bench.progress(WHOLE_SHARE * share, text),
    )
    measurement = LayerMeasurement(
        one_pass,
        bench.sources,
        bench.clock,
        bench.settings,
        lambda share, text: bench.progress(WHOLE_SHARE + (1 - WHOLE_SHARE) * share, text),
    )
    result = measurement.measure(whole)
    again = evaluation.inference(
        library,
        summary,
        one_pass.work,
        bench.sources,
        bench.clock,
        replace(bench.settings.loop, max_time_s=bench.settings.loop.max_time_s * AGAIN),
        lambda share, text: None,
    )
    changed = drifted(whole.energy_per_inference_j, again.energy_per_inference_j)
    return replace(result, warnings=(*result.warnings, changed)) if changed else result


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
