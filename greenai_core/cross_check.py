"""Several tools on one load: how far they disagree, and whether their intervals allow it.

The tools measure the same seconds of one steady load, several times over. Compared is
mean power: tools that are slow to begin or end have windows of other lengths.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from .blocks import Source
from .channels import PARTS, SUPERSETS, Channel, Reading, bounds, contents, half_widths
from .clock import Clock
from .loads import Load
from .statistics import coverage_factor, effective_nu

SAME, COMPONENT, WHOLE = "same channel", "same component", "parts in whole"

ALPHA = 0.05
"""Share of cross-checks without any true disagreement in which one is claimed."""

SETTLE_S = 2.0
"""For which the load is on before anybody measures."""

Progress: TypeAlias = Callable[[float, str], None]


@dataclass(frozen=True)
class ToldPower:
    """Mean power of one channel in one round, as one tool told it.

    Attributes:
        power_w: None if it told nothing.
        u_w: standard uncertainty without the gain.
        reason: why it told nothing.
    """

    profiler: str
    channel: Channel
    power_w: float | None
    u_w: float = 0.0
    reason: str = ""


Round: TypeAlias = Sequence[ToldPower]


@dataclass(frozen=True)
class MeanPower:
    """Mean power of one channel over all rounds in which its tool told it.

    ``low_w`` and ``high_w`` hold the sensor's gain, the other two do not; both 95 %.
    ``reason`` is why it is missing in some of the rounds.
    """

    profiler: str
    channel: str
    component: str
    method: str
    power_w: float | None
    low_w: float | None
    high_w: float | None
    repeat_low_w: float | None
    repeat_high_w: float | None
    rounds: int
    reason: str = ""


@dataclass(frozen=True)
class Disagreement:
    """How far two tools are apart.

    Attributes:
        what: a channel, a component, or a channel that holds others.
        kind: ``same channel``, ``same component`` (all its channels of each tool), or
            ``parts in whole`` (``other`` are the parts: they cannot use more).
        reference: the profiler that a session would take.
        other: the one that is compared with it.
        ratio: power of the other over that of the reference.
        low: of the interval of the ratio; those of one cross-check hold together in
            95 % of such checks.
        high: likewise.
        exceeds: whether the disagreement is more than the intervals allow.
    """

    what: str
    kind: str
    reference: str
    other: str
    reference_w: float
    other_w: float
    ratio: float
    low: float
    high: float
    exceeds: bool


@dataclass(frozen=True)
class CrossCheck:
    """What several tools told of one load."""

    rounds: int
    seconds: float
    powers: tuple[MeanPower, ...]
    disagreements: tuple[Disagreement, ...]


def measure(
    sources: Sequence[Source],
    load: Load,
    clock: Clock,
    *,
    rounds: int,
    seconds: float,
    progress: Progress = lambda share, text: None,
) -> Iterator[Round]:
    """Let all tools measure one load together; gives each round when it is over.

    Args:
        sources: one a tool, open.
        load: is put on for all rounds.
        clock: of the profilers.
        rounds: how often.
        seconds: of one round.
        progress: told the share that is done.

    Raises:
        CalibrationError: the load has ended by itself.
    """
    order = sorted(sources, key=lambda source: (source.profiler.nests, source.profiler.swift))
    load.set(1.0)
    clock.sleep(SETTLE_S)
    for number in range(rounds):
        progress(number / rounds, f"round {number + 1} of {rounds}")
        measured = _round(order, clock, seconds)
        load.check()
        yield measured


def _round(order: Sequence[Source], clock: Clock, seconds: float) -> Round:
    told: dict[int, list[ToldPower]] = {}
    begun: list[tuple[Source, Any, float]] = []
    ended: list[tuple[Source, Any, float]] = []
    try:
        for source in order:
            with _failures(source, told):
                begun.append((source, source.profiler.begin(), clock.now()))
        clock.sleep(seconds)
    finally:
        for source, state, since in reversed(begun):
            with _failures(source, told):
                length = clock.now() - since
                tell = source.profiler.finish(state)
                # Those that are not swift must be told while the others go on.
                ended.append((source, tell if source.profiler.swift else _fixed(tell()), length))
    for source, tell, length in ended:
        with _failures(source, told):
            told[id(source)] = [_told(source, reading, length) for reading in tell()]
    return [power for source in order for power in told[id(source)]]


def _fixed(readings: Sequence[Reading]) -> Callable[[], Sequence[Reading]]:
    return lambda: readings


@contextlib.contextmanager
def _failures(source: Source, told: dict[int, list[ToldPower]]) -> Any:
    """One tool that fails is missing; the others go on."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  # other tools raise what they like
        reason = str(error) or type(error).__name__
        name = source.profiler.name
        told[id(source)] = [ToldPower(name, c, None, reason=reason) for c in source.channels]


def _told(source: Source, reading: Reading, seconds: float) -> ToldPower:
    known = source.corrected(reading, seconds)
    name = source.profiler.name
    if known.energy_j is None or not known.energy_j > 0:
        reason = known.reason or "told 0 J"
        return ToldPower(name, known.channel, None, reason=reason)
    return ToldPower(name, known.channel, known.energy_j / seconds, known.u_j / seconds)


def judge(rounds: Sequence[Round], seconds: float, priority: Mapping[str, int]) -> CrossCheck:
    """How far the tools disagree.

    Args:
        rounds: what each told.
        seconds: of one round.
        priority: of each profiler; the higher is the reference.
    """
    series = _series(rounds)
    ranks = {key: (c.measured, priority.get(key[0], 0)) for key, (c, _) in series.items()}
    ranked = sorted(series, key=lambda key: ranks[key], reverse=True)
    pairs = [*_same(ranked), *_components(ranked, series), *_wholes(ranked, series)]
    found = [
        made
        for what, kind, first, other in pairs
        if (made := _compare(what, kind, first, other, series, len(pairs))) is not None
    ]
    powers = tuple(_mean(key, *series[key]) for key in ranked)
    found.sort(key=lambda d: not d.exceeds)
    return CrossCheck(len(rounds), seconds, powers, tuple(found))


Key: TypeAlias = "tuple[str, str]"
"""Profiler and channel id."""

Pair: TypeAlias = "tuple[str, str, tuple[Key, ...], tuple[Key, ...]]"
"""What, its kind, channels of the reference, channels of the other."""

Series: TypeAlias = "dict[Key, tuple[Channel, list[ToldPower]]]"


def _series(rounds: Sequence[Round]) -> Series:
    series: Series = {}
    for power in itertools.chain.from_iterable(rounds):
        key = power.profiler, power.channel.id
        series.setdefault(key, (power.channel, []))[1].append(power)
    return series


def _same(ranked: Sequence[Key]) -> Iterable[Pair]:
    """The same channel by several tools."""
    for id in dict.fromkeys(id for _, id in ranked):
        first, *others = [key for key in ranked if key[1] == id]
        for other in others:
            yield id, SAME, (first,), (other,)


def _components(ranked: Sequence[Key], series: Series) -> Iterable[Pair]:
    """All that a tool tells of a component, where another one divides it differently."""
    for component in PARTS:
        of: dict[str, list[Key]] = {}
        for key in ranked:
            if series[key][0].component == component:
                of.setdefault(key[0], []).append(key)
        wholes = {name: _outermost(keys, series) for name, keys in of.items()}
        first: tuple[Key, ...] = ()
        for keys in wholes.values():
            first = first or keys
            if not {id for _, id in first} & {id for _, id in keys}:
                yield f"{component} in all", COMPONENT, first, keys


def _outermost(keys: Sequence[Key], series: Series) -> tuple[Key, ...]:
    ids = {id for _, id in keys}
    return tuple(key for key in keys if series[key][0].contained_in not in ids)


def _wholes(ranked: Sequence[Key], series: Series) -> Iterable[Pair]:
    """Meters of the whole machine, and the measured parts in it."""
    first = {id: key for key in reversed(ranked) for id in [key[1]]}
    measured = [series[key][0] for key in first.values() if series[key][0].measured]
    parts = [c for c in measured if c.component in PARTS]
    inside = contents(parts) if parts else ()
    for channel in measured:
        if channel.component in SUPERSETS and inside:
            yield channel.id, WHOLE, (first[channel.id],), tuple(first[id] for id in inside)


def _compare(
    what: str,
    kind: str,
    first: Sequence[Key],
    other: Sequence[Key],
    series: Series,
    pairs: int,
) -> Disagreement | None:
    """Both sums round by round; None where no two rounds have all of it."""
    sums = [
        (_sum(a), _sum(b))
        for a, b in zip(_by_round(first, series), _by_round(other, series), strict=True)
        if a is not None and b is not None
    ]
    n = len(sums)
    if n < 2:
        return None
    logs = [math.log(b[0] / a[0]) for a, b in sums]
    mean = math.fsum(logs) / n
    scatter = math.sqrt(math.fsum((d - mean) ** 2 for d in logs) / (n - 1) / n)
    # What is wrong with each window may be wrong with all of them in the same way.
    within = math.fsum(math.hypot(a[1] / a[0], b[1] / b[0]) for a, b in sums) / n
    gain = _gain_apart(first, other, series)
    u = math.sqrt(scatter**2 + within**2 + gain**2)
    nu = effective_nu([(scatter, n - 1), (math.hypot(within, gain), math.inf)])
    half = coverage_factor(nu, 1.0 - ALPHA / pairs) * u
    low, high = math.exp(mean - half), math.exp(mean + half)
    return Disagreement(
        what=what,
        kind=kind,
        reference="+".join(dict.fromkeys(name for name, _ in first)),
        other="+".join(dict.fromkeys(name for name, _ in other)),
        reference_w=math.fsum(a[0] for a, _ in sums) / n,
        other_w=math.fsum(b[0] for _, b in sums) / n,
        ratio=math.exp(mean),
        low=low,
        high=high,
        exceeds=low > 1.0 if kind == WHOLE else not low <= 1.0 <= high,
    )


def _by_round(keys: Sequence[Key], series: Series) -> list[list[tuple[float, float]] | None]:
    """Power and uncertainty of each channel, a round each; None where one is missing."""
    rows = zip(*(series[key][1] for key in keys), strict=True)
    return [
        None
        if any(power.power_w is None for power in row)
        else [(power.power_w or 0.0, power.u_w) for power in row]
        for row in rows
    ]


def _sum(powers: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return math.fsum(w for w, _ in powers), math.hypot(*(u for _, u in powers))


def _gain_apart(first: Sequence[Key], other: Sequence[Key], series: Series) -> float:
    """Relative uncertainty of the ratio by gains; what both have in common cancels."""
    shares: dict[str, float] = {}
    for sign, keys in ((1.0, first), (-1.0, other)):
        powers = {k: _average(series[k][1]) for k in keys}
        whole = math.fsum(powers.values()) or 1.0
        for key in keys:
            channel = series[key][0]
            part = sign * powers[key] / whole * channel.gain_uncertainty
            shares[channel.gain_kind] = shares.get(channel.gain_kind, 0.0) + part
    return math.hypot(*shares.values())


def _average(powers: Sequence[ToldPower]) -> float:
    known = [power.power_w for power in powers if power.power_w is not None]
    return math.fsum(known) / len(known) if known else 0.0


def _mean(key: Key, channel: Channel, powers: Sequence[ToldPower]) -> MeanPower:
    told = [(p.power_w, p.u_w) for p in powers if p.power_w is not None]
    reason = next((p.reason for p in powers if p.power_w is None), "")
    name, id = key
    if not told:
        nothing = (None,) * 5
        return MeanPower(name, id, channel.component, channel.method, *nothing, 0, reason)
    n = len(told)
    mean = math.fsum(w for w, _ in told) / n
    # Rounds differ because the load does, and because the tool errs: the greater of both.
    spread = math.fsum((w - mean) ** 2 for w, _ in told) / max(n - 1, 1) / n
    u = math.sqrt(max(spread, math.fsum(u * u for _, u in told) / n))
    repeat, whole = half_widths([(channel, mean, u)])
    return MeanPower(
        name,
        id,
        channel.component,
        channel.method,
        mean,
        *bounds(mean, whole),
        *bounds(mean, repeat),
        n,
        reason,
    )
