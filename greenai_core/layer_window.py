"""The layers of a loop of the user's, whose energy was measured as one window.

Nothing is repeated, so the energy of a layer is its share of the time at the mean power: a
model, and labelled as one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from .abilities import Layer
from .figures import Figure, ModelSummary
from .layer_results import HookCost, LayersResult
from .layer_rows import layers_result
from .layer_shares import INSIDE, ROOT, Shares
from .net import as_figure
from .results import InferenceResult, WindowResult

BY_CONSTRUCTION = 1e-9
"""Residual of rows that are shares of one whole: what rounding leaves."""


@dataclass(frozen=True)
class WatchedCall:
    """A row of what was watched, in all passes together.

    Attributes:
        layer: its name.
        calls: that were watched.
        seconds: without what is inside other rows, and without what watching cost.
    """

    layer: str
    calls: int
    seconds: float


@dataclass(frozen=True)
class WatchedLoop:
    """What was seen of a loop.

    Attributes:
        model: that was watched.
        phase: ``inference`` or ``training``.
        passes: through it.
        layers: its layers, and what else has a row.
        calls: those of them that took part.
        per_call_s: what watching a call cost.
        watching_s: what all watching cost.
        warnings: what to know of it.
    """

    model: ModelSummary
    phase: str
    passes: int
    layers: tuple[Layer, ...]
    calls: tuple[WatchedCall, ...]
    per_call_s: float
    watching_s: float
    warnings: tuple[str, ...] = ()


def layers_of_window(window: WindowResult, loop: WatchedLoop) -> LayersResult:
    """The energy of a mean pass, layer by layer.

    What the window used outside the layers, waiting for data for example, is unattributed;
    watching is the overhead.

    Args:
        window: around the whole loop.
        loop: what was seen in it.

    Raises:
        ValueError: no pass was seen.
    """
    if loop.passes < 1:
        raise ValueError("no pass was watched")
    count = loop.passes
    shares = _shares(loop, window.duration_s / count)
    result = layers_result(_whole(window, loop), loop.phase, loop.layers, {}, shares, {})
    watched = max(window.duration_s - loop.watching_s, 0.0)
    cost = HookCost(loop.per_call_s, loop.watching_s / watched if watched else 0.0, 0.0)
    result = replace(result, hook_cost=cost)
    if result.residual_share is not None and abs(result.residual_share) < BY_CONSTRUCTION:
        result = replace(result, residual_j=None, residual_share=None, residual_flagged=False)
    return result


def _shares(loop: WatchedLoop, pass_s: float) -> Shares:
    """The rows as calls of one pass, each as long as the mean of its kind."""
    names, seconds, unsure = [ROOT], [0.0], [0.0]
    for row in loop.calls:
        calls = max(round(row.calls / loop.passes), 1)
        each = row.seconds / loop.passes / calls
        # How much of its cost a call sees itself is not known; see ``INSIDE``.
        u = loop.per_call_s * row.calls / loop.passes * INSIDE / math.sqrt(3)
        names += [row.layer] * calls
        seconds += [each] * calls
        unsure += [u / math.sqrt(calls)] * calls
    overhead_s = loop.watching_s / loop.passes
    seconds[0] = max(pass_s - overhead_s - math.fsum(seconds), 0.0)
    return Shares(
        layers=tuple(names),
        seconds=tuple(seconds),
        u_seconds=tuple(unsure),
        overhead_s=overhead_s,
        pass_s=pass_s,
        per_call_s=loop.per_call_s,
        watched_s=pass_s,
        left_share=0.0,
        passes=loop.passes,
    )


def _whole(window: WindowResult, loop: WatchedLoop) -> InferenceResult:
    """The window as so many equal passes."""
    seconds = window.duration_s / loop.passes
    energy = as_figure(window)
    each = None if energy is None else _each(energy, loop.passes)
    watts = None if energy is None else _each(energy, window.duration_s)
    how = f"length of the window over {loop.passes} passes"
    return InferenceResult(
        model=loop.model,
        parameters=None,
        energy_per_inference_j=each,
        energy_per_sample_j=None,
        latency_s=Figure(seconds, seconds, seconds, seconds, seconds, "clock", how),
        power_w=watts,
        contains=window.contains,
        channels=(),
        missing=window.missing,
        repetitions=(),
        inferences=loop.passes,
        target=0.0,
        target_met=False,
        self_cost_share=0.0,
        warnings=loop.warnings,
    )


def _each(figure: Figure, parts: float) -> Figure:
    return replace(
        figure,
        value=figure.value / parts,
        low=figure.low / parts,
        high=figure.high / parts,
        repeat_low=figure.repeat_low / parts,
        repeat_high=figure.repeat_high / parts,
        budget=(),
    )
