"""Tables of what inferences and training steps cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from greenai_core.channels import MODELLED
from greenai_core.results import Figure, InferenceResult, MissingChannel, Report, TrainingResult

from . import above_idle, beside, figures, lessons, output, own_costs, processes
from .sensors import NO_SENSOR

Measured = InferenceResult | TrainingResult


@dataclass(frozen=True)
class ChannelCost:
    """Energy of one inference or step on one channel."""

    id: str
    method: str
    in_total: bool
    energy: Figure


@dataclass(frozen=True)
class Cost:
    """One result, whether of an inference or of a training step."""

    model: str
    unit: str
    batch_size: int
    energy: Figure | None
    per_sample: Figure | None
    seconds: Figure
    power: Figure | None
    target: float
    target_met: bool
    contains: tuple[str, ...]
    channels: tuple[ChannelCost, ...]
    missing: tuple[MissingChannel, ...]
    warnings: tuple[str, ...]

    @property
    def modelled(self) -> bool:
        """Whether every joule of it is computed, none measured."""
        return bool(self.channels) and all(c.method == MODELLED for c in self.channels)

    @property
    def shortfall(self) -> str:
        """Why there is no total; empty when there is one."""
        if self.energy is not None:
            return ""
        lost = [m for m in self.missing if m.id in self.contains]
        if lost:
            return (
                f"no total: {lost[0].id} was lost: {lost[0].reason}. "
                "`greenai devices` tells what works now"
            )
        if not self.contains:
            return "no total: none of the channels in use belongs in one"
        return "no total: too few readings for an interval. Allow more with --max-time"


def cost(result: Measured) -> Cost:
    """The common part of a result."""
    if isinstance(result, InferenceResult):
        unit, energy, seconds = "inference", result.energy_per_inference_j, result.latency_s
        channels = [
            ChannelCost(c.id, c.method, c.in_total, c.energy_per_inference_j)
            for c in result.channels
        ]
    else:
        unit, energy, seconds = "step", result.energy_per_step_j, result.step_s
        channels = [
            ChannelCost(c.id, c.method, c.in_total, c.energy_per_step_j) for c in result.channels
        ]
    return Cost(
        result.model.path,
        unit,
        result.model.batch_size,
        energy,
        result.energy_per_sample_j,
        seconds,
        result.power_w,
        result.target,
        result.target_met,
        result.contains,
        tuple(channels),
        result.missing,
        result.warnings,
    )


def text(report: Report) -> str:
    """The tables of a report of inferences or training steps."""
    costs = [cost(r) for r in report.results if isinstance(r, (InferenceResult, TrainingResult))]
    if not costs:
        return "No model was measured."
    names = short_names([c.model for c in costs])
    parts = [_totals(costs, names)]
    if any(c.batch_size > 1 for c in costs):
        parts.append(_samples(costs, names))
    parts += above_idle.text(report, names) + processes.text(report)
    parts += lessons.text(report)
    parts.append(_channels(costs, names))
    parts += beside.text(report, names)
    unmet = [c for c in costs if c.energy and not c.target_met]
    interrupted = [c for c in unmet if not report.complete and _precise(c)]
    if len(interrupted) < len(unmet):
        parts.append(
            output.paragraph(
                f"no: ±{costs[0].target * 100:.3g}% was not reached. {_more(report)}, "
                "ask for less with --precision, or let nothing else run meanwhile."
            )
        )
    if interrupted:
        parts.append(output.paragraph("no: interrupted before the end of the run."))
    if all(c.modelled for c in costs):
        parts.append(output.paragraph(NO_SENSOR))
    shown = dict(zip([c.model for c in costs], names, strict=True))
    parts += [output.paragraph(text) for text in own_costs.told(report, shown.__getitem__)]
    parts.append(
        output.paragraph(
            "± is repeatability: use it to compare on this machine. The 95 % interval has the "
            "uncertainty of the sensors too."
        )
    )
    return "\n\n".join(parts)


def _precise(c: Cost) -> bool:
    """Whether repeatability is within the target, as far as it was measured."""
    if c.energy is None:
        return False
    return c.energy.repeat_high - c.energy.value <= c.target * abs(c.energy.value)


def _more(report: Report) -> str:
    if any(isinstance(r, TrainingResult) and r.epochs for r in report.results):
        return "Measure more with --epochs"
    return "Allow more with --max-time"


def short_names(paths: Sequence[str]) -> list[str]:
    """File names; whole paths where two files have one name."""
    names = [Path(path).name or path for path in paths]
    return [
        path if names.count(name) > 1 else name for name, path in zip(names, paths, strict=True)
    ]


def _totals(costs: Sequence[Cost], names: Sequence[str]) -> str:
    unit = costs[0].unit
    rows = [
        (
            name,
            figures.spread(c.energy, "J") + (_label(c) if c.energy else ""),
            figures.interval(c.energy, "J"),
            figures.quantity(c.seconds.value, "s"),
            figures.quantity(c.power.value if c.power else None, "W"),
            "yes" if c.target_met else "no",
        )
        for name, c in zip(names, costs, strict=True)
    ]
    goal = f"±{costs[0].target * 100:.3g}%?"
    return output.table(("model", f"one {unit}", "95 % interval", "time", "power", goal), rows)


def _label(c: Cost) -> str:
    if c.modelled:
        return "\nmodelled"
    inside = {channel.method for channel in c.channels if channel.in_total}
    return "\nmodelled in part" if MODELLED in inside else ""


def _samples(costs: Sequence[Cost], names: Sequence[str]) -> str:
    rows = [
        (name, str(c.batch_size), figures.spread(c.per_sample, "J"))
        for name, c in zip(names, costs, strict=True)
    ]
    return output.table(("model", "batch", "one sample"), rows)


def _channels(costs: Sequence[Cost], names: Sequence[str]) -> str:
    rows: list[tuple[str, ...]] = []
    for name, c in zip(names, costs, strict=True):
        first = len(rows)
        rows += [
            (
                "",
                channel.id,
                channel.method,
                figures.spread(channel.energy, "J"),
                "yes" if channel.in_total else "no",
            )
            for channel in c.channels
        ]
        rows += [("", m.id, "lost", figures.UNKNOWN, "") for m in c.missing]
        if len(rows) > first:
            rows[first] = (name, *rows[first][1:])
    unit = costs[0].unit
    return output.table(("model", "channel", "method", f"one {unit}", "in total"), rows)
