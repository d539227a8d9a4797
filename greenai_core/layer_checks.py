"""Whether the rows of a table of layers are the whole that they claim to be."""

from __future__ import annotations

import math

from .layer_results import LayersResult

EXACT = 1e-9
"""Of the whole: what rounding leaves of a sum."""


def check_layers(result: LayersResult) -> list[str]:
    """Where rows do not add up to the energy of the pass, or subtotals not to what is inside."""
    energy = result.energy_j
    outside = [figure for figure in (result.unattributed_j, result.overhead_j) if figure]
    own = {layer.name: layer.energy_j.value for layer in result.layers if layer.energy_j}
    if energy is None or len(own) < len(result.layers) or not outside:
        return []
    slack = EXACT * abs(energy.value)
    summed = math.fsum([*own.values(), *(figure.value for figure in outside)])
    found = []
    if abs(summed - energy.value) > slack:
        found.append(f"energy_j is {energy.value!r}, its rows add up to {summed!r}")
    parents = {layer.name: layer.parent for layer in result.layers}
    inside = dict.fromkeys(own, 0.0)
    for name, joules in own.items():
        at: str | None = name
        while at is not None and at in inside:
            inside[at] += joules
            at = parents[at]
    for index, layer in enumerate(result.layers):
        told = layer.with_parts_j
        if told is not None and abs(told.value - inside[layer.name]) > slack:
            found.append(
                f"layers[{index}].with_parts_j is {told.value!r}, {layer.name} and what is inside "
                f"it add up to {inside[layer.name]!r}"
            )
    return found
