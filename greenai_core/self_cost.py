"""What measuring itself took: time and, as an estimate, joules."""

from __future__ import annotations

from collections.abc import Sequence

from .channels import Channel, joined_method
from .results import Figure, SelfCost
from .statistics import coverage_factor

HOSTS = ("cpu", "psys", "wall")
"""Components whose power a busy processor is part of, the narrowest first."""


def self_cost(
    held_s: float,
    cpu_s: float,
    duration_s: float,
    watts: Sequence[tuple[Channel, float]] = (),
    cpus: int = 1,
) -> SelfCost:
    """The cost of measuring over a stretch of time.

    Args:
        held_s: while the work stood still for it.
        cpu_s: on a processor.
        duration_s: of the stretch, s.
        watts: channels and their mean power in the stretch.
        cpus: that the machine has.
    """
    share = max(held_s, cpu_s) / duration_s if duration_s > 0 else 0.0
    return SelfCost(held_s, cpu_s, share, _energy(cpu_s, watts, cpus))


def _energy(cpu_s: float, watts: Sequence[tuple[Channel, float]], cpus: int) -> Figure | None:
    """Joules of the processor time, between an even share of the machine's power and all of it.

    What one busy processor adds is not measured: where all are busy it is about
    the share of one, where nothing else runs it may be nearly everything.
    """
    for component in HOSTS:
        inside = [(c, w) for c, w in watts if c.component == component]
        if inside:
            break
    else:
        return None
    power = sum(w for _, w in inside)
    least, most = cpu_s * power / cpus, cpu_s * power
    kinds = [abs(w) * channel.gain_uncertainty for channel, w in inside]
    gain = coverage_factor() * sum(kinds) / power if power > 0 else 0.0
    names = " + ".join(channel.id for channel, _ in inside)
    provenance = f"estimate: processor time of greenai × mean power of {names}" + (
        f", between one of {cpus} CPUs' share of it and all" if cpus > 1 else ""
    )
    return Figure(
        (least + most) / 2,
        least * max(1 - gain, 0.0),
        most * (1 + gain),
        least,
        most,
        joined_method({channel.method for channel, _ in inside}),
        provenance,
    )
