"""Energy above idle of each channel by itself, by the rules of the total."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .channels import Channel
from .figures import ChannelNet
from .net import net_energy
from .results import ChannelEnergy, WindowResult


def net_channels(
    gross: WindowResult, before: WindowResult, after: WindowResult, channels: Sequence[Channel]
) -> tuple[ChannelNet, ...]:
    """What each channel cost above idle; those that a window lacks are left out.

    Args:
        gross: the run.
        before: an idle window before it, of the same session.
        after: an idle window after it.
        channels: of the session, for the gain of each.
    """
    found = []
    for channel in gross.channels:
        alone = [_alone(window, channel.id) for window in (gross, before, after)]
        run, first, last = alone
        if run is None or first is None or last is None:
            continue
        net = net_energy(run, first, last, channels)
        found.append(
            ChannelNet(
                channel.id, channel.component, channel.in_total, net.idle_power_w, net.net_energy_j
            )
        )
    return tuple(found)


def _alone(window: WindowResult, id: str) -> WindowResult | None:
    """The window as if the channel were all of it; None where it gave nothing there."""
    found = [channel for channel in window.channels if channel.id == id]
    if len(found) != 1 or window.duration_s <= 0:
        return None
    one: ChannelEnergy = found[0]
    return replace(
        window,
        energy_j=one.energy_j,
        low_j=one.low_j,
        high_j=one.high_j,
        repeat_low_j=one.repeat_low_j,
        repeat_high_j=one.repeat_high_j,
        method=one.method,
        contains=(id,),
        channels=(one,),
        missing=(),
        budget=one.budget,
    )
