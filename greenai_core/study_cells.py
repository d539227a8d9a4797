"""The cells of a study: what is measured, and what is kept of each in the journal.

A cell is one model × input size × batch size × run. The journal ``cells.jsonl`` has one line
for each cell that ended, a JSON object without blanks::

    {"model": "alexnet", "size": 224, "batch_size": 1, "run": 0, "state": "done",
     "reason": "", "started": "2026-11-22T23:10:00.123456+00:00", "ended": "…",
     "folder": "input_224/run_0", "device": "cuda:0", "inferences": 4000, "target_met": true,
     "energy_per_inference_j": [0.61, 0.58, 0.64, 0.60, 0.62, "counter"],
     "energy_per_sample_j": […], "latency_s": […, "clock"], "power_w": […],
     "idle_power_w": null, "net_energy_per_inference_j": null,
     "contains": ["cpu:0/package", "gpu:GPU-…"],
     "channels": [["cpu:0/package", "cpu", true, [0.1, …, "counter"]], …],
     "missing": [["cpu:0/dram", "why"], …],
     "observations": [{"device": "gpu:GPU-…", "quantity": "utilisation", "unit": "%",
                       "looks": 38, "mean": 91.0, "least": 90.0, "most": 93.0}, …],
     "warnings": ["…"]}

A figure is ``[value, low, high, repeat_low, repeat_high, method]``, see ``Figure``. A failed
cell has the keys up to ``folder``, its state ``failed``, a reason, and in ``error`` the class of
what was raised, such as ``ModelError``; the others are absent.
What is not known is null or absent, never zero. Lines with the key ``event`` are no cells: they
tell when the study began or was resumed, and what was learnt about a model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import SchemaError
from .figures import Figure, MissingChannel, Observed
from .results import InferenceResult

DONE = "done"
FAILED = "failed"


@dataclass(frozen=True, order=True)
class CellKey:
    """Which cell: each is measured once."""

    model: str
    size: int
    batch_size: int
    run: int

    def __str__(self) -> str:
        return f"{self.model}, size {self.size}, batch {self.batch_size}, run {self.run}"


@dataclass(frozen=True)
class CellFigure:
    """One number of a cell with its 95 % intervals; the fields are those of ``Figure``."""

    value: float
    low: float
    high: float
    repeat_low: float
    repeat_high: float
    method: str


@dataclass(frozen=True)
class CellChannel:
    """Energy of one inference, of the whole batch, on one channel.

    Attributes:
        id: such as ``gpu:GPU-6a1e…`` or ``cpu:0/package``.
        component: ``cpu``, ``dram``, ``gpu``, ``wall`` …
        in_total: whether the total contains it.
        energy_per_inference_j: J; its method tells measured from modelled.
    """

    id: str
    component: str
    in_total: bool
    energy_per_inference_j: CellFigure


@dataclass(frozen=True)
class CellRecord:
    """A cell that ended, as the journal has it.

    Attributes:
        key: which cell.
        state: ``done`` or ``failed``.
        reason: why it failed; empty if it did not.
        started, ended: UTC, ISO 8601.
        folder: of its files, relative to the study.
        device: that the model ran on.
        inferences: measured.
        target_met: whether it became as precise as asked; None where nothing was asked.
        energy_per_inference_j: of the whole batch, the sum of ``contains``.
        energy_per_sample_j, latency_s, power_w: J, s, W; the latency is that of the batch.
        idle_power_w, net_energy_per_inference_j: None where idle was not measured.
        contains: ids of the channels that the total is the sum of.
        channels: all that were read.
        missing: those that gave no figure, and why.
        observations: how busy, hot and full the devices were meanwhile.
        warnings: about the figures.
        error: class of the error of a failed cell; empty in journals of before it was kept.
    """

    key: CellKey
    state: str
    reason: str
    started: str
    ended: str
    folder: str
    device: str = ""
    inferences: int = 0
    target_met: bool | None = None
    energy_per_inference_j: CellFigure | None = None
    energy_per_sample_j: CellFigure | None = None
    latency_s: CellFigure | None = None
    power_w: CellFigure | None = None
    idle_power_w: CellFigure | None = None
    net_energy_per_inference_j: CellFigure | None = None
    contains: tuple[str, ...] = ()
    channels: tuple[CellChannel, ...] = ()
    missing: tuple[MissingChannel, ...] = ()
    observations: tuple[Observed, ...] = ()
    warnings: tuple[str, ...] = ()
    error: str = ""

    @property
    def done(self) -> bool:
        """Whether it has figures."""
        return self.state == DONE


FIGURES = (
    "energy_per_inference_j",
    "energy_per_sample_j",
    "latency_s",
    "power_w",
    "idle_power_w",
    "net_energy_per_inference_j",
)
"""The fields of a record that are figures."""


def cell_figure(figure: Figure | None) -> CellFigure | None:
    """What the journal keeps of a figure."""
    if figure is None:
        return None
    return CellFigure(
        figure.value,
        figure.low,
        figure.high,
        figure.repeat_low,
        figure.repeat_high,
        figure.method,
    )


def cell_record(key: CellKey, result: InferenceResult, folder: str) -> CellRecord:
    """The record of a cell that was measured, without its times."""
    return CellRecord(
        key,
        DONE,
        "",
        "",
        "",
        folder,
        device=result.model.device,
        inferences=result.inferences,
        target_met=result.target_met,
        energy_per_inference_j=cell_figure(result.energy_per_inference_j),
        energy_per_sample_j=cell_figure(result.energy_per_sample_j),
        latency_s=cell_figure(result.latency_s),
        power_w=cell_figure(result.power_w),
        idle_power_w=cell_figure(result.idle_power_w),
        net_energy_per_inference_j=cell_figure(result.net_energy_per_inference_j),
        contains=result.contains,
        channels=tuple(
            CellChannel(one.id, one.component, one.in_total, energy)
            for one in result.channels
            if (energy := cell_figure(one.energy_per_inference_j)) is not None
        ),
        missing=result.missing,
        observations=result.observations,
        warnings=result.warnings,
    )


def cell_to_json(cell: CellRecord) -> dict[str, Any]:
    """The record as JSON types, see the text of this module."""
    key = cell.key
    line: dict[str, Any] = {
        "model": key.model,
        "size": key.size,
        "batch_size": key.batch_size,
        "run": key.run,
        "state": cell.state,
        "reason": cell.reason,
        "started": cell.started,
        "ended": cell.ended,
        "folder": cell.folder,
    }
    if not cell.done:
        return line | ({"error": cell.error} if cell.error else {})
    line |= {
        "device": cell.device,
        "inferences": cell.inferences,
        "target_met": cell.target_met,
        **{name: _listed(getattr(cell, name)) for name in FIGURES},
        "contains": list(cell.contains),
        "channels": [
            [one.id, one.component, one.in_total, _listed(one.energy_per_inference_j)]
            for one in cell.channels
        ],
        "missing": [[one.id, one.reason] for one in cell.missing],
        "observations": [_observed(one) for one in cell.observations],
        "warnings": list(cell.warnings),
    }
    return line


def cell_from_json(data: Mapping[str, Any]) -> CellRecord:
    """The record that ``cell_to_json`` made these JSON types of; keys it does not know are left.

    Raises:
        SchemaError: a key is missing, or its value does not fit.
    """
    try:
        key = CellKey(
            _text(data["model"]),
            _count(data["size"]),
            _count(data["batch_size"]),
            _count(data["run"]),
        )
        state = data["state"]
        if state not in (DONE, FAILED):
            raise SchemaError(f"the state is {state!r}, neither {DONE!r} nor {FAILED!r}")
        reason, started, ended, folder = (
            _text(data[name]) for name in ("reason", "started", "ended", "folder")
        )
        if state == FAILED:
            error_class = _text(data.get("error", ""))
            return CellRecord(key, state, reason, started, ended, folder, error=error_class)
        target_met = data.get("target_met")
        if target_met not in (True, False, None):
            raise SchemaError(f"target_met is {target_met!r}, not true, false or null")
        return CellRecord(
            key,
            state,
            reason,
            started,
            ended,
            folder,
            device=_text(data["device"]),
            inferences=_count(data["inferences"]),
            target_met=target_met,
            energy_per_inference_j=_figure(data.get("energy_per_inference_j")),
            energy_per_sample_j=_figure(data.get("energy_per_sample_j")),
            latency_s=_figure(data.get("latency_s")),
            power_w=_figure(data.get("power_w")),
            idle_power_w=_figure(data.get("idle_power_w")),
            net_energy_per_inference_j=_figure(data.get("net_energy_per_inference_j")),
            contains=tuple(map(_text, data["contains"])),
            channels=tuple(map(_channel, data["channels"])),
            missing=tuple(
                MissingChannel(_text(id), _text(why)) for id, why in data.get("missing", ())
            ),
            observations=tuple(
                Observed(**{**one, "reasons": tuple(one.get("reasons", ()))})
                for one in data.get("observations", ())
            ),
            warnings=tuple(map(_text, data.get("warnings", ()))),
        )
    except KeyError as error:
        raise SchemaError(f"the key {error} is missing") from error
    except (TypeError, ValueError) as error:
        raise SchemaError(f"a value does not fit: {error}") from error


def _listed(figure: CellFigure | None) -> list[float | str] | None:
    if figure is None:
        return None
    return [
        figure.value,
        figure.low,
        figure.high,
        figure.repeat_low,
        figure.repeat_high,
        figure.method,
    ]


def _observed(one: Observed) -> dict[str, Any]:
    """Without what it does not tell, which is half of it."""
    known = {name: value for name, value in vars(one).items() if value not in (None, ())}
    return {name: list(v) if isinstance(v, tuple) else v for name, v in known.items()}


def _figure(data: Any) -> CellFigure | None:
    if data is None:
        return None
    *numbers, method = data
    value, low, high, repeat_low, repeat_high = map(float, numbers)
    if not all(map(math.isfinite, (value, low, high, repeat_low, repeat_high))):
        raise SchemaError(f"{data!r} holds what is no finite number; unknown is null")
    return CellFigure(value, low, high, repeat_low, repeat_high, _text(method))


def _channel(data: Any) -> CellChannel:
    id, component, in_total, figure = data
    energy = _figure(figure)
    if energy is None:
        raise SchemaError(f"the channel {id!r} has no energy")
    return CellChannel(_text(id), _text(component), bool(in_total), energy)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise SchemaError(f"{value!r} is no text")
    return value


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise SchemaError(f"{value!r} is no whole number")
    return value
