"""What greenai itself took, told where it is noticeable."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from greenai_core.channels import Channel
from greenai_core.results import Report, SelfCost, WindowResult
from greenai_core.self_cost import self_cost

from . import figures

NOTICEABLE = 0.005
"""Share of what was measured; below it nothing is told but in the report."""


def of_command(
    window: WindowResult, channels: tuple[Channel, ...], cpu_s: float, cpus: int
) -> SelfCost:
    """What this process took while a command ran; the command never waits for it.

    Args:
        window: around the command.
        channels: in use.
        cpu_s: processor time of this process meanwhile.
        cpus: that the machine has.
    """
    by_id = {channel.id: channel for channel in channels}
    seconds = max(window.duration_s, 1e-9)
    watts = [(by_id[c.id], c.energy_j / seconds) for c in window.channels]
    return self_cost(0.0, cpu_s, window.duration_s, watts, cpus)


def told(report: Report, name: Callable[[str], str]) -> Iterator[str]:
    """A sentence for each result that measuring took a noticeable part of.

    Args:
        report: of models.
        name: what a model is called, by its path.
    """
    for result in report.results:
        own = getattr(result, "self_cost", None)
        if own is None or own.share <= NOTICEABLE:
            continue
        model = getattr(result, "model", None)
        yield sentence(own, "the command" if model is None else name(model.path))


def sentence(own: SelfCost, what: str) -> str:
    """Time and joules in words."""
    joules = "its energy is not known: no sensor sees the processors"
    if own.energy_j is not None:
        joules = f"about {figures.quantity(own.energy_j.value, 'J')}, estimated"
    return (
        f"Measuring took {own.share:.1%} of the time of {what}: "
        f"{figures.quantity(own.cpu_s, 's')} of a processor, {joules}."
    )
