"""What processors and boards draw at full load, as users and drivers tell it."""

from __future__ import annotations

import math
from pathlib import Path

from greenai_core import registry
from greenai_core.channels import MODELLED
from greenai_core.errors import GreenAIError
from greenai_core.limiter import PowerLimit
from greenai_core.power_ranges import FullPower
from greenai_core.processor_limits import POWERCAP, package_limits
from greenai_core.results import WindowResult

PROCESSOR = "cpu"
BOARDS = ("gpu", "accelerator")
"""Components."""

GROUP = "greenai.limiters"


def full_power(
    gross: WindowResult, tdp_w: float | None, powercap: Path = POWERCAP
) -> list[FullPower]:
    """Full power of the channels in the total of a run, as far as it is known.

    Args:
        gross: the run.
        tdp_w: of the processors, as the user stated it; else the limits in force.
        powercap: the kernel's tree of power limits.
    """
    # Modelled power is made of the utilisation and a full power of the model's own: what
    # comes out of it here would be the utilisation again.
    inside = [c for c in gross.channels if c.in_total and c.method != MODELLED]
    processors = [channel for channel in inside if channel.component == PROCESSOR]
    ids = tuple(channel.id for channel in processors)
    found = []
    if tdp_w is not None and ids:
        found.append(FullPower(ids, tdp_w, "processors as given"))
    elif ids:
        limits = package_limits(powercap)
        if len(limits) == len(ids):
            kinds = " and ".join(sorted({limit.kind for limit in limits}))
            watts = math.fsum(limit.power_w for limit in limits)
            found.append(FullPower(ids, watts, f"{kinds} of processors"))
    boards = {channel.id for channel in inside if channel.component in BOARDS}
    limited = board_limits() if boards else []
    return found + [
        FullPower((id,), watts, "power limit in force of boards")
        for id, watts in limited
        if id in boards
    ]


def board_limits() -> list[tuple[str, float]]:
    """Power limits that drivers tell, W, by the id of the device's channel."""
    found = []
    loaded, _ = registry.load_all(GROUP)
    for kind in loaded.values():
        limiter = kind()
        try:
            limiter.check_available()
            limiter.open()
        except GreenAIError:
            continue
        try:
            told = [limit for limit in limiter.limits() if isinstance(limit, PowerLimit)]
            found += [(limit.device, limit.current_w) for limit in told]
        except GreenAIError:
            continue
        finally:
            limiter.close()
    return found
