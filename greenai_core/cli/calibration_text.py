"""A calibration for people: its stairs, its line, and what to know before trusting it."""

from __future__ import annotations

from greenai_core.calibration import PART, Calibration
from greenai_core.channels import Channel

from . import output

PLAUSIBLE_GAIN = (0.8, 1.25)
"""Of a meter in the supply line of the part itself."""


def remarks(made: Calibration, sensor: Channel) -> list[str]:
    """What to know before trusting it."""
    line, notes = made.line, []
    if not made.complete:
        notes.append(f"interrupted: {len(made.stairs)} stairs were measured, fewer than planned")
    if not line.straight:
        notes.append(
            f"the stairs do not lie on a line: they are {line.lack_w:.2g} W off it, with chi²/ν = "
            f"{line.chi2_per_nu:.1f}. The uncertainty is widened by that. Something else may have "
            "run, or the sensor is not linear"
        )
    low, high = PLAUSIBLE_GAIN
    if made.scope == PART and not low < line.gain < high:
        notes.append(
            f"a gain of {line.gain:.2f} is far from 1: does {made.meter} feed {made.channel}, and "
            "nothing else?"
        )
    if 0 < sensor.gain_uncertainty <= made.u_gain:
        notes.append(
            f"the gain is now known to ± {made.u_gain:.1%} (k = 1), no better than the "
            f"± {sensor.gain_uncertainty:.1%} of the sensor itself: most of it is the meter's own "
            f"± {made.u_meter:.1%}. Without the calibration: greenai calibrate remove "
            f"{made.channel}"
        )
    return notes


def text(made: Calibration) -> str:
    """Its stairs, what it says, and the line."""
    rows = [
        (
            f"{stair.level:.0%}",
            f"{stair.sensor_w:.2f} W ± {stair.u_sensor_w:.2g}",
            f"{stair.meter_w:.2f} W ± {stair.u_meter_w:.2g}",
            f"{stair.meter_w - made.line.gain * stair.sensor_w - made.line.offset_w:+.2g} W",
        )
        for stair in sorted(made.stairs, key=lambda stair: stair.sensor_w)
    ]
    line = made.line
    short = f"Incomplete: it was interrupted after {len(made.stairs)} stairs."
    return "\n\n".join(
        [
            *([] if made.complete else [output.paragraph(short)]),
            output.table(("load", made.channel, made.meter, "off the line"), rows),
            output.paragraph(f"{made.channel} is {made}."),
            output.paragraph(
                f"Line: {line.gain:.4f} ± {line.u_gain:.2g} times the sensor, "
                f"{line.offset_w:+.3g} ± {line.u_offset_w:.2g} W; chi²/ν = {line.chi2_per_nu:.2f}. "
                f"The meter itself: ± {made.u_meter:.2g} times; ± is one standard uncertainty."
            ),
        ]
    )
