"""Which process used the energy, as far as that can be made out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from greenai_core.process_results import PROCESS
from greenai_core.process_split import of_tree
from greenai_core.results import EnergySplit, ProcessShare

from . import figures, output

MOST_OF_TREE = 8
MOST_OTHERS = 5
"""Rows of processes in a table; the report has more."""

NAME_WIDTH = 30

HEADERS = ("PID", "process", "busy", "energy", "between")


def text(splits: Sequence[EnergySplit]) -> list[str]:
    """Lines: a table for each component, and how far it is to be believed."""
    lines = []
    for found in splits:
        energy = figures.with_ends(found.energy_j, found.low_j, found.high_j, "J")
        lines += ["", f"  {', '.join(found.channels)}: {energy} by process"]
        table = output.table(HEADERS, list(_rows(found)), right=(0, 2, 3))
        lines += [f"  {line}" for line in table.split("\n")]
        lines.append(output.paragraph(f"{found.basis}.", "  "))
    return lines


def _rows(found: EnergySplit) -> list[tuple[str, ...]]:
    inside = [share for share in found.shares if share.in_tree]
    others = [share for share in found.shares if share.kind == PROCESS and not share.in_tree]
    rest = [share for share in found.shares if share.kind != PROCESS and not share.in_tree]
    rows = [_row(share) for share in inside[:MOST_OF_TREE]]
    together = of_tree(found)
    if together is None:
        rows.append(("", "the command", "", "too short to tell", ""))
    elif len(inside) > 1:
        rows.append(_row(together, f"the command, all {len(inside)}"))
    rows += [_row(share) for share in others[:MOST_OTHERS]]
    left = others[MOST_OTHERS:]
    if left:
        rows.append(_sum(left))
    return rows + [_row(share) for share in rest]


def _row(share: ProcessShare, name: str = "") -> tuple[str, ...]:
    program, _, arguments = share.command.partition(" ")
    shown = name or f"{Path(program).name} {arguments}".strip() or share.name
    if len(shown) > NAME_WIDTH:
        shown = f"{shown[: NAME_WIDTH - 1]}…"
    return (
        "" if share.pid is None else str(share.pid),
        output.one_line(shown),
        "" if share.busy_s is None else figures.quantity(share.busy_s, "s"),
        figures.quantity(share.energy_j, "J", 2),
        figures.ends(share.low_j, share.high_j, "J") if share.high_j > share.low_j else "",
    )


def _sum(shares: Sequence[ProcessShare]) -> tuple[str, ...]:
    return (
        "",
        f"{len(shares)} more processes",
        figures.quantity(sum(share.busy_s or 0.0 for share in shares), "s"),
        figures.quantity(sum(share.energy_j for share in shares), "J", 2),
        figures.ends(
            sum(share.low_j for share in shares), sum(share.high_j for share in shares), "J"
        ),
    )
