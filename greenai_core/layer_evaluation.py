"""The layers of a model file, measured in a session."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from . import evaluation
from .blocks import Source
from .clock import Clock
from .layer_results import LayersResult
from .layers import LayerMeasurement, LayerSettings, Pass
from .model import DLLibrary

INFERENCE = "inference"

WHOLE_SHARE = 0.3
"""Of the progress: measuring the whole pass."""


def inference_layers(
    library: DLLibrary,
    prepared: Any,
    summary: Any,
    sources: Sequence[Source],
    clock: Clock,
    settings: LayerSettings,
    progress: Callable[[float, str], None],
) -> LayersResult:
    """The layers of one inference. See ``Session.evaluate_layers``."""
    layered = library.as_layered()

    def work() -> None:
        library.predict(prepared)
        library.synchronize()

    whole = evaluation.inference(
        library,
        summary,
        work,
        sources,
        clock,
        settings.loop,
        lambda share, text: progress(WHOLE_SHARE * share, text),
    )
    count = getattr(layered, "macs", None)
    one_pass = Pass(
        INFERENCE,
        layered,
        prepared,
        work,
        library.synchronize,
        count(prepared) if count is not None else {},
    )
    measurement = LayerMeasurement(
        one_pass,
        sources,
        clock,
        settings,
        lambda share, text: progress(WHOLE_SHARE + (1 - WHOLE_SHARE) * share, text),
    )
    return measurement.measure(whole)
