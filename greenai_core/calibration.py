"""Gain and offset of a sensor, from what it and a better meter told of the same loads.

Pure functions: pairs of mean powers go in, a straight line with its covariance
comes out, and the line is applied to readings. What a calibrated figure means
is explained in ``docs/calibration.md``. Powers are watts, energies joules.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .channels import PARTS, Channel
from .errors import CalibrationError
from .results import AppliedCalibration
from .statistics import Vector, coverage_factor

PART = "part"
"""The meter stands in the supply line of the very part that the sensor watches."""

WALL = "wall"
"""The meter sees the whole machine, through its power supply."""

SCOPES = (PART, WALL)

FEWEST_STAIRS = 4
"""A line takes two; two more, to see whether it is one."""

LEAST_SPAN = 0.2
"""Of the highest power. On less, the offset is drawn out of a short line."""

LEAST_SPAN_IN_U = 10.0
"""Of a usual stair's uncertainty: the gain is then known to about 10 % at worst."""

LARGEST_REST = 0.2
"""Share of the sensor's span by which the rest of the machine may follow it."""

MAX_ITERATIONS = 200

STRETCH = 0.1
"""Share of the calibrated span by which a load may lie outside of it."""


@dataclass(frozen=True)
class Stair:
    """One load, held for a while, as sensor and meter told it.

    Attributes:
        level: of the load, 0 to 1.
        duration_s: measured, after settling.
        sensor_w, meter_w: mean powers.
        u_sensor_w, u_meter_w: their standard uncertainties, gains apart.
        correlation: of these two errors: a load that is not quite steady moves both.
        rest_w: mean power of the other parts, where sensors tell it.
    """

    level: float
    duration_s: float
    sensor_w: float
    meter_w: float
    u_sensor_w: float
    u_meter_w: float
    correlation: float = 0.0
    rest_w: float | None = None


@dataclass(frozen=True)
class Line:
    """meter = gain · sensor + offset.

    Attributes:
        gain: without unit.
        offset_w: meter power where the sensor tells 0 W.
        u_gain, u_offset_w, covariance_w: of the fit, widened where the stairs
            differ from the line by more than they should.
        chi2_per_nu: squared residuals over what they should be.
        straight: False when that is significantly more than 1 (99 %).
        lack_w: how far a stair lies off the line; 0 for a straight one.
    """

    gain: float
    offset_w: float
    u_gain: float
    u_offset_w: float
    covariance_w: float
    chi2_per_nu: float
    straight: bool
    lack_w: float


@dataclass(frozen=True)
class Calibration:
    """A line with what it takes to use it, and to doubt it, later.

    Attributes:
        channel: id of the calibrated channel.
        profiler: who read it.
        meter: id of the channel that it was compared with.
        scope: one of ``SCOPES``.
        date: UTC, ISO 8601.
        line: the fit.
        u_meter: relative standard uncertainty of the meter's gain. It is common
            to all stairs and does not average away.
        u_rest: relative, of the slope: how much the rest of the machine followed.
        stairs: what was measured.
        software: version of greenai-core.
        driver: version of the sensor's driver; None where not known.
        complete: False when it was interrupted and holds a part of the stairs.
    """

    channel: str
    profiler: str
    meter: str
    scope: str
    date: str
    line: Line
    u_meter: float
    u_rest: float
    stairs: tuple[Stair, ...]
    software: str
    driver: str | None = None
    complete: bool = True

    @property
    def offset_w(self) -> float:
        """The offset that is applied: behind a wall meter it is the rest of the machine."""
        return self.line.offset_w if self.scope == PART else 0.0

    @property
    def u_gain(self) -> float:
        """Relative standard uncertainty of the gain, with the meter's own."""
        fitted = self.line.u_gain / self.line.gain
        return math.sqrt(fitted**2 + self.u_meter**2 + self.u_rest**2)

    def watts(self, sensor_w: float) -> float:
        """What the meter would tell, or its part above the constant one at a wall."""
        return self.line.gain * sensor_w + self.offset_w

    def relative_u(self, sensor_w: float) -> float:
        """Relative standard uncertainty of ``watts``: it depends on the power.

        u² = (P·u_gain)² + u_offset² + 2·P·cov, and what does not average away.
        """
        watts = self.watts(sensor_w)
        if watts <= 0:
            return math.inf
        line = self.line
        variance = (sensor_w * line.u_gain) ** 2 + line.lack_w**2
        if self.scope == PART:
            variance += line.u_offset_w**2 + 2 * sensor_w * line.covariance_w
        common = math.hypot(self.u_meter, self.u_rest) * watts
        return math.sqrt(max(variance, 0.0) + common**2) / watts

    def covers(self, sensor_w: float) -> bool:
        """Whether the power lies where the stairs were, or hardly outside."""
        low = min(stair.sensor_w for stair in self.stairs)
        high = max(stair.sensor_w for stair in self.stairs)
        slack = STRETCH * (high - low)
        return low - slack <= sensor_w <= high + slack

    def __str__(self) -> str:
        """One line for people: ``calibrated on 2026-11-22 against wall:plug (gain …)``."""
        meaning = ", as seen at the wall, without the constant part" if self.scope == WALL else ""
        offset = f", offset {self.offset_w:+.2g} W" if self.scope == PART else ""
        return (
            f"calibrated on {self.date[:10]} against {self.meter} "
            f"(gain {self.line.gain:.3f} ± {self.u_gain:.1%}{offset}){meaning}"
        )


# The fit


def fit_line(stairs: Sequence[Stair]) -> Line:
    """The straight line through points that err in both directions.

    York's weighted least squares with correlated errors: D. York, N. M. Evensen,
    M. López Martínez and J. De Basabe Delgado, Unified equations for the slope,
    intercept, and standard errors of the best straight line, American Journal of
    Physics 72 (2004) 367, doi:10.1119/1.1632486.

    Raises:
        CalibrationError: too few stairs, too small a span, a sensor that does
            not move, or a line that falls.
    """
    check_stairs(stairs)
    x, y, ux, uy, r = (
        np.array([getattr(stair, name) for stair in stairs])
        for name in ("sensor_w", "meter_w", "u_sensor_w", "u_meter_w", "correlation")
    )
    gain = float(np.polyfit(x, y, 1)[0])
    for _ in range(MAX_ITERATIONS):
        weights, beta, x0, y0 = _york(gain, x, y, ux, uy, r)
        before, gain = gain, float((weights * beta) @ (y - y0) / ((weights * beta) @ (x - x0)))
        if abs(gain - before) <= 1e-12 * abs(gain):
            break
    weights, beta, x0, y0 = _york(gain, x, y, ux, uy, r)
    offset = y0 - gain * x0
    adjusted = x0 + beta
    centre = float(weights @ adjusted / weights.sum())
    var_gain = 1 / float(weights @ (adjusted - centre) ** 2)
    var_offset = 1 / float(weights.sum()) + centre**2 * var_gain
    residuals = y - gain * x - offset
    line = _widened(residuals, weights, gain, offset, (var_gain, var_offset, -centre * var_gain))
    if gain < 3 * line.u_gain:
        raise CalibrationError(
            f"the sensor does not follow the meter: the gain is {gain:.3g} ± {line.u_gain:.2g}. "
            "Check that the meter feeds what the sensor watches, and that the load reaches it"
        )
    return line


def _york(
    gain: float, x: Vector, y: Vector, ux: Vector, uy: Vector, r: Vector
) -> tuple[Vector, Vector, float, float]:
    """Weights, corrections along x, and the centre of mass, for one slope."""
    shared = r * ux * uy
    weights = 1 / (uy**2 + gain**2 * ux**2 - 2 * gain * shared)
    x0 = float(weights @ x / weights.sum())
    y0 = float(weights @ y / weights.sum())
    u, v = x - x0, y - y0
    beta = weights * (u * uy**2 + gain * v * ux**2 - (gain * u + v) * shared)
    return weights, beta, x0, y0


def _widened(
    residuals: Vector,
    weights: Vector,
    gain: float,
    offset: float,
    variances: tuple[float, float, float],
) -> Line:
    """The line with what its residuals add to its uncertainty.

    Residuals that are larger than the stairs' own uncertainty widen it. Where
    they are so by no chance, they alone tell it, and only as well as few points
    can: hence Student's t.
    """
    nu = len(residuals) - 2
    chi2 = float(weights @ residuals**2)
    excess = chi2 / nu
    straight = chi2 <= chi2_quantile_99(nu)
    few = 1.0 if straight else coverage_factor(nu) / coverage_factor()
    factor = max(excess, 1.0) * few**2
    lack = 0.0 if straight else math.sqrt(float(residuals @ residuals) / nu)
    var_gain, var_offset, covariance = (factor * value for value in variances)
    u_gain, u_offset = math.sqrt(var_gain), math.sqrt(var_offset)
    return Line(gain, offset, u_gain, u_offset, covariance, excess, straight, lack)


def chi2_quantile_99(nu: int) -> float:
    """99 % quantile of chi², within 1 % (Wilson and Hilferty 1931)."""
    return float(nu * (1 - 2 / (9 * nu) + 2.3263 * math.sqrt(2 / (9 * nu))) ** 3)


def check_stairs(stairs: Sequence[Stair]) -> None:
    """Return if a line can be drawn through the stairs.

    Raises:
        CalibrationError: too few, too small a span, or a sensor that does not move.
    """
    if len(stairs) < FEWEST_STAIRS:
        raise CalibrationError(
            f"{len(stairs)} stairs are too few for a calibration: it takes {FEWEST_STAIRS}"
        )
    sensor = [stair.sensor_w for stair in stairs]
    meter = [stair.meter_w for stair in stairs]
    span, meter_span = max(sensor) - min(sensor), max(meter) - min(meter)
    u_sensor = float(np.median([stair.u_sensor_w for stair in stairs]))
    u_meter = float(np.median([stair.u_meter_w for stair in stairs]))
    if span < LEAST_SPAN_IN_U * u_sensor and meter_span >= LEAST_SPAN_IN_U * u_meter:
        raise CalibrationError(
            f"the sensor is stuck: it moved by {span:.3g} W while the meter moved by "
            f"{meter_span:.3g} W. Check that it watches what the load loads"
        )
    if (
        span < LEAST_SPAN * max(sensor)
        or span < LEAST_SPAN_IN_U * u_sensor
        or meter_span < LEAST_SPAN_IN_U * u_meter
    ):
        raise CalibrationError(
            f"the power of the stairs spans only {span:.3g} W of {max(sensor):.3g} W at the sensor "
            f"and {meter_span:.3g} W at the meter (± {u_meter:.2g} W): too little to tell a gain "
            "from an offset. Give a stronger load, or longer stairs"
        )


def slope_of_rest(stairs: Sequence[Stair]) -> float:
    """Watts by which the other parts followed, per watt of the sensor.

    A wall meter sees them too, so the slope holds them; nothing can tell them apart.

    Raises:
        CalibrationError: they followed so much that the slope says little.
    """
    known = [(s.sensor_w, s.rest_w) for s in stairs if s.rest_w is not None]
    if len(known) < FEWEST_STAIRS:
        return 0.0
    sensor, rest = np.array(known).T
    followed = abs(float(np.polyfit(sensor, rest, 1)[0]))
    if followed > LARGEST_REST:
        raise CalibrationError(
            f"the rest of the machine was not constant: its other sensors followed the load by "
            f"{followed:.0%} of what this one did, and a meter at the wall sees both. Use a load "
            "that leaves them alone, or a meter in the supply line of this part"
        )
    return followed


def check_pair(sensor: Channel, meter: Channel, same_profiler: bool, u_meter: float | None) -> None:
    """Return if the one can be calibrated with the other.

    Raises:
        CalibrationError: it cannot; says why.
    """
    if sensor.id == meter.id:
        raise CalibrationError(
            f"{sensor.id} cannot be calibrated against itself: a meter must be independent of it"
        )
    for channel, role in ((sensor, "sensor"), (meter, "meter")):
        if not channel.measured:
            raise CalibrationError(
                f"{channel.id} is modelled: no sensor stands behind it, so it cannot be the {role} "
                "of a calibration"
            )
    if same_profiler:
        raise CalibrationError(
            f"{meter.id} is told by the same profiler as {sensor.id}, so both may err alike: a "
            "meter must be independent of the sensor"
        )
    if sensor.component not in PARTS:
        raise CalibrationError(
            f"{sensor.id} is no part that a total adds up ({sensor.component}): calibrate "
            f"{', '.join(PARTS)} channels"
        )
    if not (u_meter or meter.gain_uncertainty):
        raise CalibrationError(
            f"how well {meter.id} itself is known is not stated: give it with "
            "--meter-uncertainty 1% (one standard uncertainty; of a maker's ±2 %, 2 %/√3 = 1.2 %)"
        )


# The use


def calibrated(channel: Channel, calibration: Calibration, watts: float | None) -> Channel:
    """The channel with what its calibration says of its gain.

    Outside of the calibrated powers the sensor is not taken to be better than
    it was. Gains found with one meter share its error: they are of one kind.

    Args:
        channel: as its profiler describes it.
        calibration: of that channel.
        watts: calibrated power that is spoken of; None for the worst among those
            of the stairs.
    """
    if watts is None:
        powers = [stair.sensor_w for stair in calibration.stairs]
        at_ends = map(calibration.relative_u, (min(powers), max(powers)))
        u = max(calibration.u_gain, *at_ends)
    else:
        sensor_w = (watts - calibration.offset_w) / calibration.line.gain
        u = calibration.relative_u(sensor_w)
        if not calibration.covers(sensor_w):
            u = max(u, channel.gain_uncertainty)
    return replace(
        channel,
        gain_uncertainty=math.hypot(u, channel.load_uncertainty),
        gain_source=f"calibrated against {calibration.meter}; {calibration}",
        calibration=str(calibration),
    )


def applied(calibration: Calibration) -> AppliedCalibration:
    """What a report says of a calibration that its figures contain."""
    return AppliedCalibration(
        calibration.channel,
        calibration.meter,
        calibration.scope,
        calibration.date,
        calibration.line.gain,
        calibration.offset_w,
        calibration.u_gain,
    )


def below_zero(id: str) -> str:
    """Why the line gives no figure."""
    return (
        f"the calibration of {id} gives less than 0 W: the power is far below the powers that it "
        "was made at. Calibrate it with lower stairs, or measure with --no-calibration"
    )
