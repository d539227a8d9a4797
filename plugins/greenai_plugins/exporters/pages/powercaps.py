"""Reports of the search for the best cap: what it saves, the curves, and how they were found."""

from __future__ import annotations

import shlex
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from greenai_core import CapConfirmation, CapProbe, CapRatio, CapResult, Report, ReportSource
from greenai_plugins.exporters.quantities import Quantity, percent, repeatable, written

from .blocks import Block, Cell, Code, Notes, Pictures, Section, Table
from .cap_pictures import pictures

PHASES = {"pilot": "pilot", "grid": "first round", "adaptive": "second round"}


@dataclass(frozen=True)
class Searched:
    """A search in a report.

    Attributes:
        name: that tells it from the others on the page.
        result: of the search.
    """

    name: str
    result: CapResult


def searched(sources: Sequence[ReportSource]) -> list[Searched]:
    """All of them, named apart."""
    found = [
        (source.name, _name(result), result)
        for source in sources
        if isinstance(source.content, Report)
        for result in source.content.results
        if isinstance(result, CapResult)
    ]
    counts = Counter(name for _, name, _ in found)
    return [
        Searched(f"{name} ({source})" if counts[name] > 1 else name, result)
        for source, name, result in found
    ]


def _name(result: CapResult) -> str:
    labels = Counter(one.label or one.id for one in result.limits)
    named = [f"{count} × {label}" if count > 1 else label for label, count in labels.items()]
    boards = ", ".join(named or result.devices)
    return f"{shlex.join(result.command)} on {boards}" if result.command else boards


def shown_cap(cap: float | None, result: CapResult) -> str:
    """A cap with its unit, which takes no prefix; ``free`` for a clock without a limit."""
    return "free" if cap is None else f"{cap:g} {result.unit}"


def what(result: CapResult) -> str:
    """What was searched for the best value of."""
    return "clock limit" if result.unit == "MHz" else "cap"


def finding(found: Sequence[Searched]) -> str:
    """The main thing about them in a sentence."""
    result = found[0].result
    chosen = shown_cap(result.chosen, result)
    more = f" {len(found) - 1} more below." if len(found) > 1 else ""
    if result.outcome == "dry run":
        return f"Nothing was tried: setting a limit is not permitted here.{more}"
    if result.kept_original:
        return f"The {what(result)} of {chosen} stays: {result.reason}.{more}"
    if result.saving is None or result.slowdown is None:
        return f"A {what(result)} of {chosen} promises most; that was not confirmed.{more}"
    saved, slower = result.saving, result.slowdown
    return (
        f"A {what(result)} of {chosen} instead of {shown_cap(result.original, result)} saves "
        f"{_share(saved)} of the energy of a step, which takes {_share(slower)} longer.{more}"
    )


def _share(ratio: CapRatio) -> str:
    return f"{percent(ratio.value)} ({percent(ratio.low)} … {percent(ratio.high)})"


def methods(source: ReportSource) -> list[str]:
    """How the joules of a source were come by."""
    return [probe.energy_j.method for one in searched([source]) for probe in one.result.probes]


def sections(found: Sequence[Searched]) -> list[Section]:
    """Everything about them, in the order of reading."""
    return [Section(_title(one), tuple(_blocks(one.result))) for one in found]


def _title(one: Searched) -> str:
    return f"The best {what(one.result)}: {one.name}"


def _blocks(result: CapResult) -> list[Block]:
    blocks: list[Block] = [_told(result)]
    if result.candidate is not None:
        blocks.append(compared(result))
    found = pictures(result)
    if found:
        blocks.append(Pictures(tuple(found)))
    if result.probes:
        blocks.append(probes(result))
    if result.by_hand:
        rows = tuple((Code(line),) for line in result.by_hand)
        blocks.append(Table("What root would have to type, one after the other", ("try",), rows))
    if result.limits:
        blocks.append(devices(result))
    return blocks


def _told(result: CapResult) -> Notes:
    lines = [f"{result.reason[:1].upper()}{result.reason[1:]}."]
    lines.append(f"Objective: the least {result.objective}.")
    if result.step_pattern is not None:
        lines.append(f"A step ends with each line of output in which {result.step_pattern!r} is.")
    elif result.command:
        lines.append("A step is one run of the command.")
    if result.contains:
        lines.append(f"The energies contain {', '.join(result.contains)}.")
    took = written(Quantity(result.duration_s, unit="s"))
    lines.append(f"The search took {took}; the limit of before is in force again.")
    return Notes(tuple(lines[:-1] if result.outcome == "dry run" else lines))


# Tables


def compared(result: CapResult) -> Table:
    """The candidate against the cap of before, as the confirmation and the curves have them."""
    assert result.candidate is not None
    rows: list[tuple[Cell, ...]] = []
    method = next((probe.energy_j.method for probe in result.probes), "")
    for label, cap in (("A", result.original), ("B", result.candidate)):
        pieces = [
            piece
            for quad in result.quads
            for letter, piece in zip(quad.order, quad.pieces, strict=False)
            if letter == label and piece.iterations and piece.duration_s > 0
        ]
        if not pieces:
            continue
        seconds = statistics.fmean(piece.work_s / piece.iterations for piece in pieces)
        watts = statistics.fmean(
            sum(channel.energy_j for channel in piece.channels) / piece.duration_s
            for piece in pieces
        )
        joules = statistics.fmean(
            sum(channel.energy_j for channel in piece.channels)
            / piece.duration_s
            * piece.work_s
            / piece.iterations
            for piece in pieces
        )
        rows.append(
            (
                shown_cap(cap, result),
                Quantity(seconds, unit="s"),
                Quantity(joules, unit="J", method=method),
                Quantity(watts, unit="W", method=method),
                "",
            )
        )
    for name, one in ((shown_cap(result.candidate, result), result), *_others(result)):
        ratios = (one.time, one.energy, None, one.score)
        cells = ["" if ratio is None else _ratio(ratio) for ratio in ratios]
        if any(cells):
            rows.append((f"{name} over {shown_cap(result.original, result)}", *cells))
    if not rows:
        rows.append((f"{shown_cap(result.candidate, result)}: not confirmed", "", "", "", ""))
    caption = (
        "The candidate against the limit of before, measured in turns; ratios with 95 % intervals"
    )
    head = (what(result), "time of a step", "energy of a step", "power", result.objective)
    shown = len(head) if result.score is not None else len(head) - 1
    return Table(caption, head[:shown], tuple(row[:shown] for row in rows))


def _others(result: CapResult) -> list[tuple[str, CapResult | CapConfirmation]]:
    """Other caps that were measured against the limit of before."""
    return [(shown_cap(one.cap, result), one) for one in result.others]


def _ratio(ratio: CapRatio) -> str:
    return f"× {ratio.value:.3f} ({ratio.low:.3f} … {ratio.high:.3f})"


def probes(result: CapResult) -> Table:
    """A row for each probe, in the order in which they were measured."""
    several = len(result.devices) > 1
    rows: list[tuple[Cell, ...]] = []
    for number, probe in enumerate(result.probes, 1):
        rows.append(
            (
                str(number),
                PHASES.get(probe.role, probe.role),
                f"{probe.asked:g}",
                _in_force(probe) if several else f"{probe.cap:g}",
                str(probe.steps),
                repeatable(probe.seconds_s, "s"),
                repeatable(probe.energy_j, "J"),
                repeatable(probe.power_w, "W"),
                probe.note,
            )
        )
    head = (
        "probe", "round", f"asked for, {result.unit}", f"in force, {result.unit}", "steps",
        "time of a step", "energy of a step", "power", "the device said",
    )  # fmt: skip
    shown = [i for i in range(len(head)) if i < len(head) - 1 or any(row[-1] for row in rows)]
    return Table(
        "Probes, in the order in which they were measured; 95 % intervals of repeatability",
        tuple(head[i] for i in shown),
        tuple(tuple(row[i] for i in shown) for row in rows),
    )


def _in_force(probe: CapProbe) -> str:
    caps = {one.cap for one in probe.in_force}
    if len(caps) < 2:
        return f"{probe.cap:g}"
    return ", ".join(f"{one.device}: {one.cap:g}" for one in probe.in_force)


def devices(result: CapResult) -> Table:
    """What each device had, and what it can have."""
    rows = []
    for one in result.limits:
        number = "" if one.index is None else f"{one.index}"
        also = ", ".join(
            f"{key.replace('_', ' ')} {value} {result.unit}" for key, value in one.also.items()
        )
        rows.append(
            (
                Code(one.id),
                one.label,
                number,
                shown_cap(one.original, result),
                "" if one.default is None else shown_cap(one.default, result),
                f"{one.low:g} to {shown_cap(one.high, result)}",
                also,
            )
        )
    head = ("device", "name", "number", "before", "the maker's", "range", "changed with it")
    shown = [i for i in range(len(head)) if i == 0 or any(row[i] for row in rows)]
    return Table(
        f"What was limited, with the limiter {result.limiter}",
        tuple(head[i] for i in shown),
        tuple(tuple(row[i] for i in shown) for row in rows),
    )
