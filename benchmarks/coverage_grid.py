"""How often the 95 % intervals hold the truth, cell by cell: ``make coverage-grid``.

Each cell runs the production code on simulated hardware whose energy is known, see
``greenai_core.testing.coverage``. The tables and the picture go to ``docs/coverage.md``
and ``docs/coverage.svg``. The exit code is 1 when a cell falls short.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greenai_core.testing.coverage import Coverage, loop_coverage, window_coverage

DOCS = Path(__file__).parents[1] / "docs"

PROMISED = 0.93
"""Lowest coverage that a cell may truly have."""

HIGHEST = 0.97
WIDEST = 1.3
"""A cell that covers more, or is so many times as wide as an oracle's, says too little."""

DOUBT = 0.01
"""A cell that truly covers as promised is shown as short this often."""

LOOP_PERIODS_S = (0.001, 0.01, 0.1)
LOOP_CVS = (0.003, 0.01, 0.03, 0.1)
LOOP_MEMORIES = (0.0, 0.3, 0.6)
LOOP_TARGETS = (0.02, 0.005)

WINDOW_PERIODS_S = (0.02, 0.1)
WINDOW_SECONDS = (0.1, 0.35, 1.0, 5.0)
WINDOW_LOADS = ("starts", "ends", "bursts")


@dataclass(frozen=True)
class Cell:
    """One line of a table: what was run, and what came of it."""

    kind: str
    setting: tuple[Any, ...]
    found: Coverage | None

    @property
    def short(self) -> bool:
        """Whether so few hits would be a rare chance if the promise held."""
        return self.found is not None and falls_short(self.found.hits, self.found.draws)

    @property
    def wide(self) -> bool:
        """Whether it covers more than it should, or is wider than an oracle's by a third."""
        if self.found is None:
            return False
        misses = self.found.draws - self.found.hits
        return (
            self.found.width > WIDEST * self.found.oracle
            or _chance_of_at_most(misses, self.found.draws, 1 - HIGHEST) < DOUBT
        )


def falls_short(hits: int, draws: int) -> bool:
    """Whether a coverage of ``PROMISED`` gives so few hits less often than ``DOUBT``."""
    return _chance_of_at_most(hits, draws, PROMISED) < DOUBT


def _chance_of_at_most(count: int, draws: int, probability: float) -> float:
    return math.fsum(
        math.exp(
            math.lgamma(draws + 1)
            - math.lgamma(k + 1)
            - math.lgamma(draws - k + 1)
            + k * math.log(probability)
            + (draws - k) * math.log(1 - probability)
        )
        for k in range(count + 1)
    )


def loop_cells() -> Iterable[tuple[Any, ...]]:
    """Update period, CV, correlation and target of each cell of repeated work."""
    for target in LOOP_TARGETS:
        cvs = LOOP_CVS if target == LOOP_TARGETS[0] else LOOP_CVS[:3]
        yield from itertools.product(LOOP_PERIODS_S, cvs, LOOP_MEMORIES, (target,))


def window_cells() -> Iterable[tuple[Any, ...]]:
    """Update period, length, load, and whether the power is told, of each window cell."""
    yield from itertools.product(WINDOW_PERIODS_S, WINDOW_SECONDS, WINDOW_LOADS, (True, False))


def run_cell(job: tuple[str, tuple[Any, ...], int]) -> Cell:
    """One cell; for a worker process."""
    kind, setting, draws = job
    try:
        if kind == "loop":
            period, cv, memory, target = setting
            found = loop_coverage(period, cv, memory, draws, precision=target)
        else:
            period, seconds, load, powered = setting
            found = window_coverage(period, seconds, load, draws, powered=powered)
    except ValueError:
        return Cell(kind, setting, None)
    return Cell(kind, setting, found)


def loop_table(cells: Iterable[Cell]) -> list[str]:
    """Markdown lines of the loop."""
    lines = [
        "| Δ | CV | φ | target | coverage | bias | ± | oracle ± | met |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for cell in cells:
        period, cv, memory, target = cell.setting
        found = cell.found
        assert found is not None, "the loop always gives an interval"
        lines.append(
            f"| {period * 1000:g} ms | {cv:.1%} | {memory:g} | {target:.1%} | {_share(cell)} | "
            f"{found.bias:+.3%} | {found.width:.2%} | {found.oracle:.2%} | "
            f"{found.met / found.draws:.0%} |"
        )
    return lines


def window_table(cells: Iterable[Cell]) -> list[str]:
    """Markdown lines of the windows."""
    lines = [
        "| Δ | window | load | power told | coverage | bias | RMS error | ± | figures |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for cell in cells:
        period, seconds, load, powered = cell.setting
        start = f"| {period * 1000:g} ms | {seconds:g} s | {load} | {'yes' if powered else 'no'} | "
        if cell.found is None:
            lines.append(start + "no figure: too short to tell | | | | 0 |")
            continue
        found = cell.found
        lines.append(
            start + f"{_share(cell)} | {found.bias:+.2%} | {found.rms:.2%} | {found.width:.2%} | "
            f"{found.draws} |"
        )
    return lines


def _share(cell: Cell) -> str:
    assert cell.found is not None
    share = f"{cell.found.share:.3f}"
    if cell.short:
        return f"**{share} short**"
    return f"{share} wide" if cell.wide else share


def picture(cells: list[Cell], path: Path) -> None:
    """Coverage of every cell with its binomial doubt, beside the promised band."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "coverage"
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 1, figsize=(9, 6), constrained_layout=True)
    for axis, kind, title in zip(
        axes, ("loop", "window"), ("Repeated work", "Windows that happen once"), strict=True
    ):
        seen = [cell for cell in cells if cell.kind == kind and cell.found is not None]
        axis.axhspan(PROMISED, 1.0, color="#dfeedd", zorder=0)
        axis.axhline(0.95, color="#777777", linewidth=0.8, zorder=1)
        for index, cell in enumerate(seen):
            assert cell.found is not None
            colour = "#b3261e" if cell.short else "#8a8a8a" if cell.wide else "#1f5fa8"
            axis.errorbar(
                index, cell.found.share, yerr=1.96 * cell.found.doubt, fmt="o", color=colour,
                markersize=3, linewidth=0.8,
            )  # fmt: skip
        axis.set_ylim(0.85, 1.01)
        axis.set_xticks([])
        axis.set_ylabel("coverage of the 95 % interval")
        axis.set_title(f"{title}: {len(seen)} cells, in the order of the table", fontsize=10)
    figure.savefig(path, metadata={"Date": None})


def document(cells: list[Cell], draws: int) -> str:
    """The page with both tables."""
    short = sum(cell.short for cell in cells)
    wide = sum(cell.wide for cell in cells)
    loop = [cell for cell in cells if cell.kind == "loop"]
    windows = [cell for cell in cells if cell.kind == "window"]
    return "\n".join(
        [
            "# Do the intervals hold the truth?",
            "",
            "Made by `make coverage-grid`: the production code on simulated hardware whose",
            f"energy is known, {draws} draws a cell, the sensor's gain known exactly (or the",
            "interval would be wide enough for anything). A cell is **short** when a true",
            f"coverage of {PROMISED} would give so few hits less than once in {1 / DOUBT:.0f} "
            "times.",
            f"Of {len(cells)} cells {short} fall short. {wide} are *wide*: they cover more than",
            f"{HIGHEST}, or the interval is more than {WIDEST} times that of an oracle, which",
            "knows how the errors are spread. A wide interval says less than it could, and",
            "nothing that is not true.",
            "",
            "![Coverage of each cell](coverage.svg)",
            "",
            "## Repeated work",
            "",
            "Iterations of 10 ms on a counter that shows a new value every Δ (± 20 %); the",
            "length of an iteration varies by CV and neighbours correlate by φ. *±* is the mean",
            "half-width of the interval; *oracle ±* that of one that knew the spread of the",
            "errors. A run takes 64 blocks at least, so where the work is steadier than the",
            "target asks for the interval is narrower than asked.",
            "",
            *loop_table(loop),
            "",
            "## Windows that happen once",
            "",
            "A load between 70 W and 400 W that *starts* with the window, also *ends* with it,",
            "or comes in *bursts* of two Δ on average that know nothing of it. The power is told",
            "anew every 20 ms. *Figures* counts the windows that were given one: the others were",
            "too short to tell.",
            "",
            *window_table(windows),
            "",
        ]
    )


def main() -> int:
    """Run the grid; 1 when a cell falls short."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=300, help="runs a cell")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=DOCS, help="folder of the page and picture")
    options = parser.parse_args()
    jobs = [("loop", setting, options.draws) for setting in loop_cells()]
    jobs += [("window", setting, options.draws) for setting in window_cells()]
    began = time.monotonic()
    cells = []
    with ProcessPoolExecutor(options.workers) as pool:
        for cell in pool.map(run_cell, jobs):
            cells.append(cell)
            share = "no figure" if cell.found is None else f"{cell.found.share:.3f}"
            mark = "  SHORT" if cell.short else ""
            print(f"{len(cells)}/{len(jobs)} {cell.kind} {cell.setting}: {share}{mark}", flush=True)
    (options.out / "coverage.md").write_text(document(cells, options.draws), encoding="utf-8")
    picture(cells, options.out / "coverage.svg")
    print(f"{time.monotonic() - began:.0f} s; wrote {options.out / 'coverage.md'}")
    return int(any(cell.short for cell in cells))


if __name__ == "__main__":
    sys.exit(main())
