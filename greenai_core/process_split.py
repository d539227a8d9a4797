"""Split the energy of a component over processes, and say how far that can be wrong.

The shares of a component always add up to its energy: what no process is made out to
have used is left in rows of their own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .process_results import IDLE, OTHERS, PROCESS, UNATTRIBUTED, EnergySplit, ProcessShare

SPLIT_ERROR = 0.4
"""95 % half-width, an assumption: a second of one program may take so much more or less
than a second of another. Memory traffic, vector units and the clock make the difference."""

DRAM_ERROR = 1.0
"""The same for memory, whose traffic follows CPU time hardly at all."""

MOST_OF_TREE = 100
MOST_OTHERS = 20
"""Processes with a row of their own; the smaller ones share one."""

ROUNDING = 1e-12
"""Less than this share is left over by the arithmetic, not by the processes."""

TICKS = 2
"""User and system time are each rounded down to a tick."""


@dataclass(frozen=True)
class Pool:
    """Energy to be split.

    Attributes:
        component, channels: see ``EnergySplit``.
        energy_j, low_j, high_j: of all channels together; 95 %.
        by: what it is split by, in words.
        idle_s: time in which the device did nothing.
        idle_j, idle_u_j: of doing nothing for as long as the window was, and how far
            that is known, 95 %; None where idle power is not known.
        tick_s: step of the times.
    """

    component: str
    channels: tuple[str, ...]
    energy_j: float
    low_j: float
    high_j: float
    by: str
    idle_s: float
    idle_j: float | None = None
    idle_u_j: float = 0.0
    tick_s: float = 0.0


@dataclass(frozen=True)
class Row:
    """Time of one process, or of what is no process; see ``ProcessShare``."""

    kind: str
    busy_s: float
    ended_s: float = 0.0
    pid: int | None = None
    name: str = ""
    command: str = ""
    in_tree: bool = False


def split(pool: Pool, rows: Sequence[Row]) -> EnergySplit:
    """Give each row its share of the energy.

    Where idle power is known it stays apart, and the rest is split by the time that
    each was busy. Where it is not, a second in which the device did nothing counts as
    much as a busy one, and the upper ends are those of a device that needs nothing
    to be idle.

    Args:
        pool: what is split.
        rows: of the processes, and of busy time that belongs to none of them.
    """
    rows = merged(rows)
    busy_s = math.fsum(row.busy_s for row in rows)
    idle_j = _idle_energy(pool, busy_s)
    above_j = max(pool.energy_j - idle_j, 0.0)  # rounding can make it less
    shares = [_share(pool, row, above_j, busy_s) for row in rows]
    return EnergySplit(
        component=pool.component,
        channels=pool.channels,
        energy_j=pool.energy_j,
        low_j=pool.low_j,
        high_j=pool.high_j,
        basis=basis(pool),
        shares=(*shares, _rest(pool, shares)),
    )


def _idle_energy(pool: Pool, busy_s: float) -> float:
    if busy_s <= 0.0:
        return pool.energy_j
    if pool.idle_j is not None:
        return min(pool.idle_j, pool.energy_j)
    return min(pool.energy_j * pool.idle_s / (pool.idle_s + busy_s), pool.energy_j)


def _share(pool: Pool, row: Row, above_j: float, busy_s: float) -> ProcessShare:
    part = row.busy_s / busy_s if busy_s > 0 else 0.0
    energy = above_j * part
    sensor = _relative(pool)
    tick = above_j * TICKS * pool.tick_s / busy_s if busy_s > 0 else 0.0
    half = math.hypot(energy * sensor, energy * _error(pool), tick, pool.idle_u_j * part)
    high = energy + half
    if pool.idle_j is None:
        high = max(high, pool.energy_j * part * (1 + sensor))
    return ProcessShare(
        kind=row.kind,
        energy_j=energy,
        low_j=max(energy - half, 0.0),
        high_j=max(min(high, pool.high_j), energy),
        busy_s=row.busy_s,
        ended_s=row.ended_s,
        pid=row.pid,
        name=row.name,
        command=row.command,
        in_tree=row.in_tree,
    )


def _rest(pool: Pool, shares: Sequence[ProcessShare]) -> ProcessShare:
    """What is left: the shares then add up, whatever was rounded."""
    energy = max(pool.energy_j - math.fsum(share.energy_j for share in shares), 0.0)
    if energy < ROUNDING * pool.energy_j:
        energy = 0.0
    nothing_seen = not shares and pool.idle_s <= 0.0
    if pool.idle_j is None:
        low, high = 0.0, pool.high_j - math.fsum(share.low_j for share in shares)
    else:
        half = math.hypot(energy * _relative(pool), pool.idle_u_j)
        low, high = energy - half, energy + half
    return ProcessShare(
        kind=UNATTRIBUTED if nothing_seen else IDLE,
        energy_j=energy,
        low_j=min(max(low, 0.0), energy),
        high_j=max(min(high, pool.high_j), energy),
        busy_s=None,
        name="too short to tell" if nothing_seen else "idle",
    )


def _relative(pool: Pool) -> float:
    """95 % half-width of the energy itself."""
    return (pool.high_j - pool.energy_j) / pool.energy_j if pool.energy_j > 0 else 0.0


def _error(pool: Pool) -> float:
    return DRAM_ERROR if pool.component == "dram" else SPLIT_ERROR


def basis(pool: Pool) -> str:
    """The words that a split needs."""
    idle = (
        "idle power apart, as it was measured"
        if pool.idle_j is not None
        else "idle power not known, so that an idle second counts as much as a busy one; the upper "
        "ends give all to the busy ones"
    )
    return (
        f"modelled: split by {pool.by}; {idle}; ±{_error(pool):.0%} for programs that are not "
        f"alike (an assumption), ±{_relative(pool):.1%} of the energy itself"
    )


def merged(rows: Sequence[Row]) -> list[Row]:
    """The largest rows in the order of a report, and one row for the small ones of each sort."""
    processes = sorted(
        (row for row in rows if row.kind == PROCESS and row.busy_s > 0),
        key=lambda row: (-row.busy_s, row.pid or 0),
    )
    found: list[Row] = []
    for in_tree, most in ((True, MOST_OF_TREE), (False, MOST_OTHERS)):
        group = [row for row in processes if row.in_tree == in_tree]
        found += group[:most]
        if len(group) > most:
            found.append(_together(group[most:], in_tree))
    return found + [row for row in rows if row.kind == UNATTRIBUTED and row.busy_s > 0]


def _together(rows: Sequence[Row], in_tree: bool) -> Row:
    return Row(
        OTHERS,
        math.fsum(row.busy_s for row in rows),
        math.fsum(row.ended_s for row in rows),
        name=f"{len(rows)} more" if in_tree else f"{len(rows)} other processes",
        in_tree=in_tree,
    )


def of_tree(found: EnergySplit) -> ProcessShare | None:
    """What the processes that were asked about are made out to have used together.

    Their errors are taken to go the same way, so their ends add up.
    """
    inside = [share for share in found.shares if share.in_tree]
    if not inside:
        return None
    return ProcessShare(
        kind=OTHERS,
        energy_j=math.fsum(share.energy_j for share in inside),
        low_j=math.fsum(share.low_j for share in inside),
        high_j=min(math.fsum(share.high_j for share in inside), found.high_j),
        busy_s=math.fsum(share.busy_s or 0.0 for share in inside),
        ended_s=math.fsum(share.ended_s for share in inside),
        name="together",
        in_tree=True,
    )
