"""Table of what inferences and training steps cost above idle."""

from __future__ import annotations

from collections.abc import Sequence

from greenai_core.above_idle import below_floor
from greenai_core.results import Figure, InferenceResult, Report, TrainingResult

from . import figures, output


def text(report: Report, names: Sequence[str]) -> list[str]:
    """The table, and which idle it is; nothing where idle was not measured.

    Args:
        report: of inferences or training steps.
        names: of its models.
    """
    rows = []
    unit = "inference"
    for name, result in zip(names, report.results, strict=True):
        net: Figure | None = None
        if isinstance(result, InferenceResult):
            net = result.net_energy_per_inference_j
        elif isinstance(result, TrainingResult):
            net, unit = result.net_energy_per_step_j, "step"
        else:
            continue
        if net is not None and result.idle_power_w is not None:
            rows.append((name, figures.spread(result.idle_power_w, "W"), *_net(net)))
    if not rows:
        return []
    header = ("model", "idle power", f"one {unit} above idle", "95 % interval")
    return [
        output.table(header, rows),
        output.paragraph(
            "Idle: model loaded, device open, mean of before and after. Above idle is what is "
            "left when idle power × time is taken off."
        ),
    ]


def _net(net: Figure) -> tuple[str, str]:
    if below_floor(net):
        return "below the noise floor", figures.interval(net, "J")
    return figures.spread(net, "J"), figures.interval(net, "J")
