"""Speed and memory of greenai, as ratios in one run: `make bench`.

Prints a table; with ``--json`` a document for machines. The exit code is 1 when a
bound is broken. See ``docs/benchmarks.md``.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import sys
import textwrap
import traceback
from collections.abc import Sequence

from cases.outcome import Outcome

CASES = (
    "startup", "memory", "rapl_window", "nvml_window", "whole_window", "sampling_cost", "recording",
    "loop_overhead", "bench_command", "parameters", "power_caps", "study_summary",
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks; 1 if a bound is broken or a case fails."""
    options = _options(arguments)
    outcomes: list[Outcome] = []
    failed = False
    for case in options.case or CASES:
        print(f"{case} ...", file=sys.stderr, flush=True)
        try:
            outcomes += importlib.import_module(f"cases.{case}").measure(options.scale)
        except Exception:  # noqa: BLE001  # what the other cases found is not lost
            failed = True
            traceback.print_exc()
    print(as_json(outcomes) if options.json else table(outcomes))
    return int(failed or any(outcome.ok is False for outcome in outcomes))


def as_json(outcomes: Sequence[Outcome]) -> str:
    """All outcomes as one JSON document."""
    rows = [
        {**dataclasses.asdict(outcome), "ratio": outcome.ratio, "ok": outcome.ok}
        for outcome in outcomes
    ]
    return json.dumps({"benchmarks": rows}, indent=2, ensure_ascii=False)


def table(outcomes: Sequence[Outcome]) -> str:
    """All outcomes as a table, each with what stands behind it below."""
    width = max([len(outcome.name) for outcome in outcomes], default=0)
    lines = [f"{'':{width}}  {'measured':>10}  {'bound':>8}  {'of bound':>8}  ok?"]
    for outcome in outcomes:
        lines.append(f"{outcome.name:{width}}  {_cells(outcome)}")
        lines.append(
            textwrap.fill(outcome.detail, 96, initial_indent="    ", subsequent_indent="    ")
        )
    return "\n".join(lines)


def _cells(outcome: Outcome) -> str:
    measured = f"{outcome.measured:.3g} {outcome.unit}"
    if outcome.bound is None or outcome.ratio is None:
        return f"{measured:>10}  {'-':>8}  {'-':>8}  -"
    bound = f"{outcome.bound:g} {outcome.unit}"
    return f"{measured:>10}  {bound:>8}  {outcome.ratio:>8.0%}  {'yes' if outcome.ok else 'NO'}"


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("case", nargs="*", help=f"of {', '.join(CASES)}; default: all")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="share of the repetitions, for a quick look"
    )
    options = parser.parse_args(arguments)
    unknown = set(options.case) - set(CASES)
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
