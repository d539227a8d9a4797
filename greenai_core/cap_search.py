"""Search for the best cap with few probes, whatever it is that probes.

A pilot under the original cap, five caps in random order and the first of them once more, a
curve through them, and two more where the curve has its best. See ``docs/power-cap.md``.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .cap_curves import Curves, fitted
from .cap_objectives import Objective
from .cap_results import CapPoint, CapProbe
from .errors import ConfigError
from .statistics import Vector

PILOT, GRID, ADAPTIVE = "pilot", "grid", "adaptive"

HEADROOM = 1.1
"""Work draws its mean power now more, now less; caps so far above it never matter."""

CROWDED = 0.04
"""Probes that are nearer to each other, as a share of the range, tell nothing new."""

LEAST_QUADS = 6
"""As few as a comparison is made of (``ComparisonSettings``)."""

POINTS = 101
"""Of the curve that is handed back."""


@dataclass(frozen=True)
class SearchSettings:
    """How to search.

    Attributes:
        probe_s: measured under each cap.
        settle_s: not measured after each change of the cap: clocks and power find their level.
        grid: caps of the first round.
        adaptive: caps of the second.
        least_saving: a candidate that promises less is not worth confirming, as a share.
        quads: of the confirmation; 0 for none.
        seed: of the random orders; None for another one each time.
        low, high: search within; None for the range of the device, up to the original cap.

    Raises:
        ConfigError: a value that cannot be used.
    """

    probe_s: float = 2.5
    settle_s: float = 0.5
    grid: int = 5
    adaptive: int = 2
    least_saving: float = 0.01
    quads: int = 6
    seed: int | None = None
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        if not self.probe_s > 0 or not self.settle_s >= 0:
            raise ConfigError("a probe takes more than 0 s, and settling 0 s at least")
        if self.grid < 3 or self.adaptive < 0:
            raise ConfigError(f"{self.grid} caps give no curve: try 3 at least")
        if self.quads and self.quads < LEAST_QUADS:
            raise ConfigError(
                f"{self.quads} quads confirm nothing: give {LEAST_QUADS} or more, or 0 for none"
            )


@dataclass(frozen=True)
class Range:
    """Where to search, in the unit of the limiter."""

    low: float
    original: float


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        probes: in their order, the pilot first.
        curves: through them; None where none were needed.
        candidate: the best cap of the curves; None where no cap can save.
        reason: why there is none.
        scores: of the curve points.
    """

    probes: tuple[CapProbe, ...]
    curves: Curves | None
    candidate: float | None
    reason: str


Probe = Callable[[float, str], CapProbe]


def search(
    probe: Probe,
    within: Range,
    drawn: Callable[[CapProbe], float | None],
    objective: Objective,
    settings: SearchSettings,
) -> Found:
    """Find the cap that promises most.

    Args:
        probe: measures under a cap, in a role.
        within: where to search.
        drawn: what the capped device itself drew in a probe, in the unit of the caps;
            None where nobody knows.
        objective: what is to be small.
        settings: how to search.
    """
    draw = random.Random(settings.seed)  # noqa: S311  # no secret: the order of probes
    pilot = probe(within.original, PILOT)
    power = drawn(pilot)
    if power is not None and power * HEADROOM < within.low:
        reason = f"the work draws {power:.0f} W, less than the lowest cap of {within.low:g} W"
        return Found((pilot,), None, None, f"no cap can save: {reason}")
    others = grid(within, power, settings.grid)[:-1]
    draw.shuffle(others)
    # The original at both ends shows how the work drifts, without the start of the pilot.
    probes = [probe(cap, GRID) for cap in (within.original, *others, within.original)]
    curves = through(probes)
    for _ in range(settings.adaptive):
        best, saving = promise(curves, within, objective)
        if saving < settings.least_saving:
            break
        cap = elsewhere(best, [one.cap for one in probes], within)
        probes.append(probe(cap, ADAPTIVE))
        curves = through(probes)
    best, saving = promise(curves, within, objective)
    told = (pilot, *probes)
    if saving < settings.least_saving or best >= within.original:
        return Found(told, curves, None, _nothing(objective, saving))
    return Found(told, curves, best, "")


def _nothing(objective: Objective, saving: float) -> str:
    share = f"{max(saving, 0.0):.1%}".replace("%", " %")
    return f"no cap can save: the best promises {share} in {objective.name}"


def through(probes: Sequence[CapProbe]) -> Curves:
    """The curves through all probes but the pilot, without what drifts with time."""
    used = [one for one in probes if one.role != PILOT]
    return fitted(
        [one.cap for one in used],
        undrifted(used, [one.seconds_s.value for one in used]),
        undrifted(used, [one.power_w.value for one in used]),
    )


def undrifted(probes: Sequence[CapProbe], values: Sequence[float]) -> list[float]:
    """What probes say, had the work been all the time as it was in the middle.

    The line through the logarithms of the first and the last probe of the highest cap is
    taken out.

    Args:
        probes: in the order in which they were measured.
        values: of each, above 0.
    """
    top = max(one.asked for one in probes)
    times = [one.start_s + one.duration_s / 2 for one in probes]
    at = [i for i, one in enumerate(probes) if one.asked == top]
    first, last = at[0], at[-1]
    if first == last:
        return list(values)
    slope = math.log(values[last] / values[first]) / (times[last] - times[first])
    middle = (times[first] + times[last]) / 2
    return [
        value * math.exp(slope * (middle - time)) for value, time in zip(values, times, strict=True)
    ]


def grid(within: Range, power: float | None, count: int) -> list[float]:
    """Caps of the first round: the original, and the others up to what the work draws."""
    top = within.original
    if power is not None:
        top = min(top, max(power * HEADROOM, within.low))
    if top < within.original:
        caps = [*np.linspace(within.low, top, count - 1), within.original]
    else:
        caps = list(np.linspace(within.low, top, count))
    rounded = [min(max(float(round(cap)), within.low), within.original) for cap in caps[:-1]]
    return list(dict.fromkeys([*rounded, within.original]))


def promise(curves: Curves, within: Range, objective: Objective) -> tuple[float, float]:
    """The best cap of the curves, and the share of the objective that it promises to save."""
    caps = steps(curves, within)
    scores = _scores(curves, caps, within, objective)
    # Of equals the highest: where a cap changes nothing, none is better than any.
    best = len(scores) - 1 - int(np.argmin(scores[::-1]))
    return float(caps[best]), float(1 - scores[best] / scores[-1])


def steps(curves: Curves, within: Range, count: int = 0) -> Vector:
    """Caps between the lowest probe and the original: whole ones, or so many."""
    low = float(curves.caps[0])
    if count:
        return np.linspace(low, within.original, count)
    whole = np.arange(np.ceil(low), within.original)
    return np.append(whole, within.original)


def _scores(curves: Curves, caps: Vector, within: Range, objective: Objective) -> Vector:
    seconds = curves.seconds(caps)
    original_s = float(curves.seconds(np.array([within.original]))[0])
    return objective.scores(seconds, seconds * curves.watts(caps), original_s)


def elsewhere(best: float, caps: Sequence[float], within: Range) -> float:
    """The best cap, or, where a probe was next to it, the middle of the wider gap beside it."""
    known = sorted({*caps, within.original})
    span = known[-1] - known[0]
    nearest = min(known, key=lambda cap: abs(cap - best))
    if abs(nearest - best) > CROWDED * span:
        return float(round(best))
    at = known.index(nearest)
    gaps = [(known[i + 1] - known[i], known[i]) for i in (at - 1, at) if 0 <= i < len(known) - 1]
    width, start = max(gaps)
    return float(round(start + width / 2))


def points(curves: Curves, within: Range, objective: Objective) -> tuple[CapPoint, ...]:
    """The curves as points, for tables and pictures."""
    caps = steps(curves, within, POINTS)
    seconds, watts = curves.seconds(caps), curves.watts(caps)
    scores = _scores(curves, caps, within, objective)
    return tuple(
        CapPoint(
            float(cap),
            float(s),
            float(w),
            float(s * w),
            float(score / scores[-1]) if np.isfinite(score) else None,
        )
        for cap, s, w, score in zip(caps, seconds, watts, scores, strict=True)
    )


def pareto(curve: Sequence[CapPoint]) -> tuple[CapPoint, ...]:
    """The points that no other beats in both time and energy, fastest first.

    Of points that are alike, as where a cap does not matter, it holds the highest cap.
    """
    front: list[CapPoint] = []

    def alike(value: float) -> float:
        """Nine digits: where the curves are level the rest is rounding."""
        return float(f"{value:.9g}")

    for point in sorted(
        curve, key=lambda one: (alike(one.seconds_s), alike(one.energy_j), -one.cap)
    ):
        if not front or alike(point.energy_j) < alike(front[-1].energy_j):
            front.append(point)
    return tuple(front)
