"""The rows of a table of layers: measured parts and times, made into figures that add up."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .abilities import Layer
from .layer_closure import Closure, close
from .layer_results import CONTEXT, ISOLATION, TIME, HookCost, LayerEnergy, LayersResult
from .layer_shares import ROOT, Shares
from .results import Figure, InferenceResult

UNSURE_BY_TIME = 0.5
"""Standard uncertainty, relative, of what goes by its time where fewer than three layers
were measured, and of what is in no layer: an assumption, since what waits may draw half of
what computes. Elsewhere the measured layers tell it."""

LEAST_BY_TIME = 0.25
"""The least of it that they may tell: they are the long ones, which the mean power is mostly
made of, so they are always near it. An assumption too."""

IN_COMMON = 0.5
"""Share of that uncertainty that is one error of all rows by their time: what all of them
draw is not the mean power. So a residual goes to where nothing was measured, however many
rows that is."""

FEWEST_TO_TELL = 3

NORMAL = 1.96

_HOW = {
    CONTEXT: "slope of the energy of the pass over how often the layer is done in it",
    ISOLATION: "the layer done again and again by itself, on the inputs it had in the pass",
    TIME: "its share of the time at the mean power of the pass",
}


@dataclass(frozen=True)
class Part:
    """A row before closing.

    Attributes:
        joules: of one pass.
        u: standard uncertainty, J, from run to run.
        method: ``context``, ``isolation`` or ``time``.
        warnings: about it.
        common: what of ``u`` is one error of all rows by their time, J.
    """

    joules: float
    u: float
    method: str
    warnings: tuple[str, ...] = ()
    common: float = 0.0


def u_of(figure: Figure) -> float:
    """Standard uncertainty of a figure from run to run; its low end may be cut off at 0."""
    return (figure.repeat_high - figure.value) / NORMAL


def seconds_by_layer(shares: Shares) -> dict[str, float]:
    """Seconds of a pass in each layer, all its calls together."""
    total: dict[str, float] = {}
    for name, seconds in zip(shares.layers, shares.seconds, strict=True):
        total[name] = total.get(name, 0.0) + seconds
    return total


def layers_result(
    whole: InferenceResult,
    phase: str,
    layers: Sequence[Layer],
    macs: Mapping[str, int],
    shares: Shares,
    measured: Mapping[str, Part],
) -> LayersResult:
    """The table of layers.

    Args:
        whole: the pass, measured without watching its layers.
        phase: ``inference`` or ``training``.
        layers: of the model, parents before children.
        macs: multiply-accumulates by layer, as far as known.
        shares: the time of each call.
        measured: the layers whose energy was measured; the others go by their time.
    """
    seconds = seconds_by_layer(shares)
    calls = Counter(shares.layers)
    # An overhead below nothing is noise: shares of the time must not come to more than all of it.
    longest_s = max(shares.pass_s, shares.pass_s - shares.overhead_s)
    energy = whole.energy_per_inference_j
    names = [layer.name for layer in layers]
    rows = [*names, ROOT, None]  # None stands for the overhead
    parts: dict[str | None, Part] = {}
    closure: Closure | None = None
    if energy is not None and shares.pass_s > 0:
        parts = _all_parts(rows, seconds, shares, measured, energy)
        closure = close(
            energy.value,
            u_of(energy),
            [parts[row].joules for row in rows],
            [parts[row].u for row in rows],
            [parts[row].common for row in rows],
        )
    figures = _figures(rows, parts, closure, energy)
    within = _with_parts(layers, figures)
    found = tuple(
        LayerEnergy(
            name=layer.name,
            type=layer.type,
            parent=layer.parent,
            calls=calls.get(layer.name, 0),
            parameters=layer.parameters,
            macs=macs.get(layer.name),
            seconds=_shown(seconds.get(layer.name)),
            time_share=_share(_shown(seconds.get(layer.name)), longest_s),
            energy_j=figures[layer.name][1],
            measured_j=figures[layer.name][0],
            with_parts_j=within[layer.name],
            method=parts[layer.name].method if parts else TIME,
            warnings=parts[layer.name].warnings if parts else (),
            direction=layer.direction,
        )
        for layer in layers
    )
    return LayersResult(
        model=whole.model,
        phase=phase,
        energy_j=energy,
        latency_s=whole.latency_s,
        power_w=whole.power_w,
        contains=whole.contains,
        layers=found,
        unattributed_j=figures[ROOT][1],
        overhead_j=figures[None][1],
        residual_j=_residual(closure, energy),
        residual_share=None if closure is None else closure.share,
        residual_flagged=closure is not None and closure.flagged,
        hook_cost=_hook_cost(shares),
        passes=shares.passes,
        missing=whole.missing,
        warnings=whole.warnings,
    )


def _all_parts(
    rows: Sequence[str | None],
    seconds: Mapping[str, float],
    shares: Shares,
    measured: Mapping[str, Part],
    energy: Figure,
) -> dict[str | None, Part]:
    """Every row: measured, or by its time at the mean power."""
    unsure_s: dict[str, float] = {}
    for name, u in zip(shares.layers, shares.u_seconds, strict=True):
        unsure_s[name] = unsure_s.get(name, 0.0) + u * u
    power = energy.value / shares.pass_s
    told = _unsure_by_time(measured, seconds, power)
    parts: dict[str | None, Part] = {}
    for row in rows:
        if row is not None and row in measured:
            parts[row] = measured[row]
            continue
        took = shares.overhead_s if row is None else seconds.get(row, 0.0)
        u_s = shares.u_overhead_s if row is None else math.sqrt(unsure_s.get(row, 0.0))
        relative = told if row else max(told, UNSURE_BY_TIME)
        by_power = power * relative * max(took, 0.0)
        u = math.hypot(by_power, power * u_s)
        parts[row] = Part(power * took, u, TIME, common=IN_COMMON * by_power)
    return parts


def _unsure_by_time(
    measured: Mapping[str, Part], seconds: Mapping[str, float], power: float
) -> float:
    """How far layers that were measured are from their time at the mean power, relative.

    Long ones count more: what a short one is off by is its noise.
    """
    known = [name for name in measured if seconds.get(name, 0.0) > 0 and power > 0]
    if len(known) < FEWEST_TO_TELL:
        return UNSURE_BY_TIME
    took = np.array([seconds[name] for name in known])
    ratios = np.array([measured[name].joules for name in known]) / (power * took)
    told = math.sqrt(float(np.average((ratios - 1.0) ** 2, weights=took)))
    return max(told, LEAST_BY_TIME)


def _figures(
    rows: Sequence[str | None],
    parts: Mapping[str | None, Part],
    closure: Closure | None,
    energy: Figure | None,
) -> dict[str | None, tuple[Figure | None, Figure | None]]:
    """Each row before and after closing."""
    if closure is None or energy is None:
        return dict.fromkeys(rows, (None, None))
    found: dict[str | None, tuple[Figure | None, Figure | None]] = {}
    for row, value, u in zip(rows, closure.parts, closure.u_parts, strict=True):
        part = parts[row]
        found[row] = (
            _figure(part.joules, part.u, part.method, energy, "before closing"),
            _figure(value, u, part.method, energy, "closed to the energy of the pass"),
        )
    return found


def _figure(value: float, u: float, method: str, energy: Figure, how: str) -> Figure:
    """A row's figure: the gain of the sensors is that of the whole."""
    half = NORMAL * u
    gain = 0.0
    if energy.value:
        wide = (energy.high - energy.value) ** 2 - (NORMAL * u_of(energy)) ** 2
        gain = math.sqrt(max(wide, 0.0)) / abs(energy.value)
    both = math.hypot(half, gain * value)
    floor = min(value, 0.0)  # energy is never negative, but what was measured may be by chance
    return Figure(
        value=value,
        low=max(value - both, floor),
        high=value + both,
        repeat_low=max(value - half, floor),
        repeat_high=value + half,
        method="modelled" if method == TIME else energy.method,
        provenance=f"{_HOW[method]}; {how}",
    )


def _with_parts(
    layers: Sequence[Layer], figures: Mapping[str | None, tuple[Figure | None, Figure | None]]
) -> dict[str, Figure | None]:
    """Each layer with all that is inside it; uncertainties of parts are independent."""
    inside: dict[str, list[Figure | None]] = {layer.name: [] for layer in layers}
    parents = {layer.name: layer.parent for layer in layers}
    for layer in layers:
        own = figures[layer.name][1]
        at: str | None = layer.name
        while at is not None:
            inside[at].append(own)
            at = parents.get(at)
    return {name: _summed(found) for name, found in inside.items()}


def _summed(figures: Sequence[Figure | None]) -> Figure | None:
    known = [figure for figure in figures if figure is not None]
    if len(known) < len(figures) or not known:
        return None
    if len(known) == 1:
        return known[0]
    value = math.fsum(figure.value for figure in known)
    half = NORMAL * math.sqrt(math.fsum(u_of(figure) ** 2 for figure in known))
    gains = math.fsum(
        math.sqrt(max((f.high - f.value) ** 2 - (NORMAL * u_of(f)) ** 2, 0.0)) for f in known
    )
    both = math.hypot(half, gains)
    methods = sorted({figure.method for figure in known})
    return Figure(
        value,
        max(value - both, min(value, 0.0)),
        value + both,
        max(value - half, min(value, 0.0)),
        value + half,
        "+".join(methods),
        "sum of the layer and of all inside it",
    )


def _residual(closure: Closure | None, energy: Figure | None) -> Figure | None:
    if closure is None or energy is None:
        return None
    half = NORMAL * closure.u_residual
    value = closure.residual
    return Figure(
        value,
        value - half,
        value + half,
        value - half,
        value + half,
        energy.method,
        "energy of the pass less that of all rows",
    )


def _hook_cost(shares: Shares) -> HookCost | None:
    if shares.watched_s == shares.pass_s and shares.per_call_s == 0.0:
        return None
    share = (shares.watched_s - shares.pass_s) / shares.pass_s if shares.pass_s else 0.0
    return HookCost(shares.per_call_s, share, shares.left_share)


def _shown(seconds: float | None) -> float | None:
    """No layer gives time back."""
    return None if seconds is None else max(seconds, 0.0)


def _share(part: float | None, whole: float) -> float | None:
    return None if part is None or not whole else part / whole
