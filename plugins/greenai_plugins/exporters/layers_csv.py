"""Energy by layer as CSV: one row for each layer, and for what is in none."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from greenai_core import Figure, LayerEnergy, LayersResult

_FIGURE = ("energy_j", "low_j", "high_j", "repeat_low_j", "repeat_high_j", "energy_method")

COLUMNS = (
    "result",
    "model",
    "phase",
    "row",
    "layer",
    "type",
    "direction",
    "parent",
    "calls",
    "parameters",
    "macs",
    "seconds",
    "time_share",
    *_FIGURE,
    "layer_method",
    "measured_j",
    "with_parts_j",
    "joules_per_mac",
    "warnings",
)
"""``row`` is ``total``, ``layer``, ``unattributed``, ``overhead`` or ``residual``. The rows
``layer``, ``unattributed`` and ``overhead`` add up to ``total``."""


def layers_csv(results: Sequence[LayersResult]) -> bytes:
    """All results one below the other, with one head; what is not known is an empty cell."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for index, result in enumerate(results):
        about = {"result": index, "model": result.model.path, "phase": result.phase}
        for row in _rows(result):
            filled = {key: "" if value is None else value for key, value in row.items()}
            writer.writerow({**about, **filled})
    # A file name that is no UTF-8 has characters that no encoder takes.
    return text.getvalue().encode(errors="backslashreplace")


def _rows(result: LayersResult) -> Iterator[dict[str, object]]:
    yield {"row": "total", "seconds": result.latency_s.value, **_energy(result.energy_j)}
    yield {"row": "residual", **_energy(result.residual_j)}
    yield {"row": "unattributed", **_energy(result.unattributed_j)}
    yield {"row": "overhead", **_energy(result.overhead_j)}
    for layer in result.layers:
        yield _layer(layer)


def _layer(layer: LayerEnergy) -> dict[str, object]:
    return {
        "row": "layer",
        "layer": layer.name,
        "type": layer.type,
        "direction": layer.direction,
        "parent": layer.parent,
        "calls": layer.calls,
        "parameters": layer.parameters,
        "macs": layer.macs,
        "seconds": layer.seconds,
        "time_share": layer.time_share,
        **_energy(layer.energy_j),
        "layer_method": layer.method,
        "measured_j": layer.measured_j and layer.measured_j.value,
        "with_parts_j": layer.with_parts_j and layer.with_parts_j.value,
        "joules_per_mac": layer.joules_per_mac,
        "warnings": "; ".join(layer.warnings),
    }


def _energy(figure: Figure | None) -> dict[str, object]:
    if figure is None:
        return {}
    values = (
        figure.value,
        figure.low,
        figure.high,
        figure.repeat_low,
        figure.repeat_high,
        figure.method,
    )
    return dict(zip(_FIGURE, values, strict=True))
