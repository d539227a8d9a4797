"""Whether what a search for the best cap tells follows from what it measured."""

from __future__ import annotations

import math
from collections.abc import Iterator

from .cap_objectives import parse_objective
from .cap_probing import confirmed
from .cap_results import CapConfirmation, CapProbe, CapRatio, CapResult
from .cap_search import pareto
from .errors import ConfigError

SAME = 1e-9
"""Relative; another processor adds numbers up in another order."""


def check_caps(result: CapResult) -> list[str]:
    """What does not follow, in words; empty is well."""
    found = [
        f"probes[{index}]{text}"
        for index, probe in enumerate(result.probes)
        for text in _probe(probe, result.contains)
    ]
    found += _ratios(result, result.objective)
    for index, other in enumerate(result.others):
        found += [f"others[{index}].{text}" for text in _ratios(other, result.objective)]
    if result.curve and pareto(result.curve) != result.pareto:
        found.append("pareto is not the front of the curve")
    return found


def _probe(probe: CapProbe, contains: tuple[str, ...]) -> Iterator[str]:
    """Seconds, joules and watts of a step against the whole probe."""
    if probe.steps < 1 or not probe.duration_s > 0:
        yield f" has {probe.steps} steps in {probe.duration_s!r} s, which tell nothing"
        return
    follows = {"seconds_s": probe.duration_s / probe.steps}
    joules = {channel.id: channel.energy_j for channel in probe.channels}
    if joules and set(contains) <= joules.keys():
        whole = math.fsum(joules[id] for id in contains)
        follows["energy_j"] = whole / probe.steps
        follows["power_w"] = whole / probe.duration_s
    for name, value in follows.items():
        told = getattr(probe, name).value
        if not math.isclose(told, value, rel_tol=SAME):
            yield f".{name} is {told!r} in the report; {value!r} follows from its channels"


def _ratios(told: CapResult | CapConfirmation, objective: str) -> Iterator[str]:
    """The ratios against the quads."""
    try:
        again = confirmed(told.quads, parse_objective(objective))
    except (ConfigError, ValueError, ZeroDivisionError) as error:
        yield f"quads say nothing of {objective!r}: {error}"
        return
    for name in ("energy", "time", "score"):
        ratio: CapRatio | None = getattr(told, name)
        follows: CapRatio | None = None if again is None else getattr(again, name)
        if not _same(ratio, follows):
            yield f"{name} is {ratio} in the report; {follows} follows from the quads"


def _same(told: CapRatio | None, follows: CapRatio | None) -> bool:
    if told is None or follows is None:
        return told is follows
    return all(
        math.isclose(getattr(told, end), getattr(follows, end), rel_tol=SAME)
        for end in ("value", "low", "high")
    )
