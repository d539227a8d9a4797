"""What disturbed a run, in words, with what to do about it; each fits two lines of a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .channels import Channel
from .conditions import Conditions
from .statistics import add_gains, coverage_factor

BUSY_SHARE = 0.1
"""Of all CPUs; less is what every machine does beside."""

STOLEN_SHARE = 0.01
THROTTLED_SHARE = 0.05
SWAPPED_BYTES = 1 << 20


def advice(conditions: Conditions, start_s: float, end_s: float) -> Iterator[str]:
    """What to know of the conditions between two instants, on the clock of the run."""
    yield from conditions.standing
    for series in conditions.series:
        mean = series.mean_in(start_s, end_s)
        if mean is None:
            continue
        share = mean / conditions.cpus
        if series.quantity == "outside_load" and share >= BUSY_SHARE:
            yield (
                f"other processes used {share:.0%} of the CPU: close them, or let the run last "
                "longer"
            )
        elif series.quantity == "stolen" and share >= STOLEN_SHARE:
            yield (
                f"the hypervisor gave {share:.0%} of the CPU time to other machines: "
                "measure on one of its own"
            )
        elif series.quantity == "throttled" and mean > 0:
            yield (
                "the CPU was throttled by heat or current: let it cool down, or see to its cooling"
            )
        elif series.quantity == "throttling" and mean >= THROTTLED_SHARE:
            yield (
                f"{series.device} was throttled by its power limit or heat for {mean:.0%} of the "
                "run: state its limit with the figure, or raise it"
            )
    if conditions.swapped_bytes >= SWAPPED_BYTES:
        yield (
            f"{conditions.swapped_bytes / 1e6:.0f} MB were swapped meanwhile: close other "
            "programs, or take smaller batches"
        )


def gain_advice(channels: Sequence[tuple[Channel, float]], precision: float) -> str:
    """Advice where the gain of sensors is wider than the target; empty where it is not.

    Args:
        channels: of the total, each with its mean energy.
        precision: relative half-width asked for.
    """
    total = sum(energy for _, energy in channels)
    open_to_it = [(c, e) for c, e in channels if c.measured and not c.calibration]
    u = add_gains([(c.gain_kind, c.gain_uncertainty * abs(e)) for c, e in open_to_it])
    if total <= 0 or coverage_factor() * u / total <= precision:
        return ""
    return (
        f"more repetition cannot help: the sensors' gain is uncertain by {u / total:.1%}. "
        "Run `greenai calibrate`, or compare by repeatability"
    )
