"""greenai beside other tools on one simulated machine: `make peers`.

Prints tables; with ``--write`` they go into docs/comparison.md as well. See there.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import os
import platform
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import accuracy
import behaviours
import costs
from machine import why_not
from scenes import PROFILES
from tables import document
from tool_list import ENVIRONMENTS, Tool, named

KEPT = ENVIRONMENTS / "results.json"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
PARTS = ("accuracy", "first", "costs", "behaviours")
AT_ONCE = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write if asked to; 1 where the machine cannot be simulated."""
    options = _options(arguments)
    # Ended by a signal, the machine is cleared away all the same.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    tools = named(options.tool)
    if options.only_print:
        kept = json.loads(options.keep.read_text())
    else:
        if reason := why_not():
            print(f"The simulated machine {reason}.", file=sys.stderr)
            return 1
        kept = measured(options, tools)
    text = document(kept, [tool for tool in named(None) if tool.name in kept["versions"]])
    print(f"{kept['when']}\n\n{text}")
    if options.write:
        write(options.write, f"{kept['when']}\n\n{text}")
    return 0


def measured(options: argparse.Namespace, tools: Sequence[Tool]) -> dict[str, Any]:
    """Measure what is asked for; with ``--add`` what was kept of other tools stays."""
    size = "quick" if options.quick else "full"
    kept: dict[str, Any] = {part: {} for part in (*PARTS, "versions")}
    if options.add and options.keep.exists():
        kept |= json.loads(options.keep.read_text())
    kept["versions"] |= {tool.name: version for tool in tools if (version := installed(tool))}
    here = [tool for tool in tools if tool.name in kept["versions"]]
    kept["absent"] = {tool.name: why_absent(tool) for tool in tools if tool not in here}
    for name, why in kept["absent"].items():
        _say(f"{name} is left out: {why}")
    wanted = options.part or PARTS[: 3 if options.quick else None]
    options.keep.parent.mkdir(exist_ok=True)
    for part, name, job in jobs(wanted, here, size):
        _say(f"{part}: {name} ...")
        kept[part][name] = job()
        if why := kept[part][name].get("trouble"):
            _say(f"{name} gave no figures: {why}")
        kept["when"] = describe(size)
        options.keep.write_text(json.dumps(kept))
    return kept


def jobs(
    wanted: Sequence[str], tools: Sequence[Tool], size: str
) -> Iterator[tuple[str, str, Callable[[], dict[str, Any]]]]:
    """Part, key and work of everything to measure; tools take turns, so that a drift of the
    machine meets all of them."""
    if "accuracy" in wanted:
        profiles = PROFILES if size == "full" else ("constant", "bursts")
        for profile, tool in itertools.product(profiles, tools):
            name = f"{tool.name} {profile}"
            yield "accuracy", name, partial(accuracy.measure, tool, profile, size)
    if "first" in wanted:
        for tool in tools:
            yield "first", tool.name, partial(accuracy.first, tool, size)
    if "costs" in wanted:
        for tool in tools:
            yield "costs", tool.name, partial(costs.measure, tool, size)
    if "behaviours" in wanted:
        # These do not depend on how busy the machine is, so they need not wait in line.
        pool = ThreadPoolExecutor(AT_ONCE)
        try:
            running = {tool.name: pool.submit(behaviours.measure, tool) for tool in tools}
            for name, future in running.items():
                yield "behaviours", name, future.result
        finally:
            pool.shutdown(cancel_futures=True)


def installed(tool: Tool) -> str | None:
    """Version in the tool's environment; None if it is not there."""
    if not tool.python.exists():
        return None
    code = f"import importlib.metadata as m; print(m.version({tool.package!r}))"
    done = subprocess.run(
        [str(tool.python), "-c", code], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or None


def why_absent(tool: Tool) -> str:
    """Why a tool is not in its environment."""
    log = ENVIRONMENTS / tool.name / "pip.log"
    lines = log.read_text().strip().splitlines() if log.exists() else []
    return f"pip: {lines[-1]}" if lines else "not installed, `make peers` does it"


def describe(size: str) -> str:
    """When, where and how this was measured, in a sentence or two."""
    model = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    cpu = model[1] if model else platform.machine()
    today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    load = os.getloadavg()[0]
    return (
        f"Measured on {today} ({size} run) on {os.cpu_count()} cores of {cpu}, Linux "
        f"{platform.release().split('-')[0]}, Python {platform.python_version()}; load at the end "
        f"{load:.1f}. *All sensors simulated.*"
    )


def write(path: Path, text: str) -> None:
    """Put the figures between their marks in a document.

    Raises:
        ValueError: the document has no such marks.
    """
    before, begin, rest = path.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{path} has no lines {BEGIN} and {END} between which the figures go")
    path.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="peers", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="few windows, no behaviours; noisy")
    parser.add_argument("--tool", action="append", help="only this one; may be repeated")
    parser.add_argument("--part", action="append", choices=PARTS, help="only this; likewise")
    parser.add_argument("--add", action="store_true", help="keep the figures of other tools")
    parser.add_argument("--keep", type=Path, default=KEPT, help="file of the raw figures")
    parser.add_argument("--only-print", action="store_true", help="print what is kept")
    parser.add_argument("--write", type=Path, help="document to put the tables into")
    options = parser.parse_args(arguments)
    if options.quick and options.write:
        parser.error("a quick run is too noisy to be written into a document")
    try:
        named(options.tool)
    except ValueError as error:
        parser.error(str(error))
    return options


if __name__ == "__main__":
    sys.exit(main())
