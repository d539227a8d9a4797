"""What each layer of a model costs, so that the layers add up to the model."""

from __future__ import annotations

from dataclasses import dataclass

from .figures import Figure, MissingChannel, ModelSummary

CONTEXT = "context"
ISOLATION = "isolation"
TIME = "time"
METHODS = (CONTEXT, ISOLATION, TIME)
"""How the energy of a layer is found, best first."""


@dataclass(frozen=True)
class LayerEnergy:
    """One layer of a pass; a layer with others inside has what is in none of these.

    Attributes:
        name: its path in the model.
        type: the library's name of its kind.
        parent: name of the layer that contains it; None at the top.
        calls: in one pass.
        parameters: elements of its own.
        macs: multiply-accumulates of one pass in it; None where not counted.
        seconds: of one pass, with what measuring cost taken off; None where not known.
        time_share: of the pass; None likewise.
        energy_j: of one pass; those of all layers, of what belongs to none and of the
            overhead add up to the energy of the pass. None where that is not known.
        measured_j: the same before it was made to add up.
        with_parts_j: with that of all layers inside; None likewise.
        method: ``context``, ``isolation``, or ``time``: its share of the time at the mean
            power, which is a model and no measurement.
        warnings: about this layer.
        direction: ``forward`` or ``backward``: that part of the work of its parent in
            training; empty for a layer.
    """

    name: str
    type: str
    parent: str | None
    calls: int
    parameters: int
    macs: int | None
    seconds: float | None
    time_share: float | None
    energy_j: Figure | None
    measured_j: Figure | None
    with_parts_j: Figure | None
    method: str
    warnings: tuple[str, ...] = ()
    direction: str = ""

    @property
    def joules_per_mac(self) -> float | None:
        """J of one multiply-accumulate; None where either is not known."""
        if self.energy_j is None or not self.macs:
            return None
        return self.energy_j.value / self.macs


@dataclass(frozen=True)
class HookCost:
    """What watching the layers cost, and that it was taken off.

    Attributes:
        per_call_s: of watching one call of one layer, s.
        share: of the watched pass, before it was taken off.
        left_share: by how much the corrected times of two kinds of passes, watched once and
            twice, still differ; None where they cannot be watched twice.
    """

    per_call_s: float
    share: float
    left_share: float | None


@dataclass(frozen=True)
class LayersResult:
    """The energy of one pass through a model, layer by layer.

    Attributes:
        model: which, and how it was fed.
        phase: ``inference`` or ``training``.
        energy_j: of one pass, measured without watching the layers; None where not known.
        latency_s: of one pass.
        power_w: mean.
        contains: the channels that the energy is the sum of.
        layers: in the order of the model, parents before children.
        unattributed_j: of what is in the model but in no layer: operations between them.
        overhead_j: of what comes around the model: handing over inputs and outputs.
        residual_j: the energy of the pass less that of all rows, before closing.
        residual_share: of the energy of the pass.
        residual_flagged: whether it is above 5 %, or above twice its uncertainty.
        hook_cost: None where layers are not timed by hooks.
        passes: that layers were timed in.
        missing: channels that gave no figure, and why.
        warnings: about the figures as a whole.
    """

    model: ModelSummary
    phase: str
    energy_j: Figure | None
    latency_s: Figure
    power_w: Figure | None
    contains: tuple[str, ...]
    layers: tuple[LayerEnergy, ...]
    unattributed_j: Figure | None
    overhead_j: Figure | None
    residual_j: Figure | None
    residual_share: float | None
    residual_flagged: bool
    hook_cost: HookCost | None
    passes: int
    missing: tuple[MissingChannel, ...] = ()
    warnings: tuple[str, ...] = ()
