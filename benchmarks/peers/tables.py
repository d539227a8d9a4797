"""The Markdown of docs/comparison.md, from what was measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from accuracy import FIRST_S, LENGTHS_S
from behaviours import CASES
from figures import Spread, better, errors, held, percent, spread
from scenes import PROFILES
from tool_list import GREENAI, Tool

Kept = Mapping[str, Any]

PARTS = {"package": "CPU package (RAPL)", "gpu": "GPU (NVML)"}

GLANCED_S = (0.1, 1.0)

COSTS = (
    ("begin_end_s", "begin + end", 1e3, "ms"),
    ("till_figure_s", "until the joules are known", 1e3, "ms"),
    ("start_s", "start", 1e3, "ms"),
    ("import_s", "import", 1e3, "ms"),
    ("cpu_share", "processor", 1e2, "%"),
    ("memory_mb", "memory", 1.0, "MiB"),
)
"""Key, title, factor and unit of each cost; less is better of every one."""


def document(kept: Kept, tools: Sequence[Tool]) -> str:
    """All tables and the list of what others do better."""
    parts = [
        summary(kept, tools),
        versions(kept, tools),
        *(accuracy(kept, tools, part) for part in PARTS),
        coverage(kept),
        first(kept, tools),
        costs(kept, tools),
        behaviours(kept, tools),
        others_better(kept, tools),
    ]
    return "\n\n".join(part for part in parts if part)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] + ["--:"] * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def length_name(length: float) -> str:
    """``10 ms`` or ``5 s``."""
    return f"{length * 1000:.0f} ms" if length < 1 else f"{length:g} s"


def summary(kept: Kept, tools: Sequence[Tool]) -> str:
    """One row a tool: errors of all loads together, and how often it is silently wrong."""
    rows = []
    for tool in tools:
        runs = [kept["accuracy"].get(f"{tool.name} {p}", {}).get("rows", []) for p in PROFILES]
        found = [
            spread([error for run in runs for error in errors(run, part, length)])
            for part in PARTS
            for length in GLANCED_S
        ]
        interval = (
            "yes" if any(held(run, "package", n) for run in runs for n in LENGTHS_S) else "no"
        )
        outcomes = [case["outcome"] for case in kept["behaviours"].get(tool.name, {}).values()]
        silent = sum(outcome.endswith("silently") for outcome in outcomes)
        wrong = f"{silent} of {len(outcomes)}" if outcomes else "-"
        rows.append([tool.name, *(percent(s.rms) if s else "-" for s in found), interval, wrong])
    head = [f"{name} {length_name(n)}" for name in ("CPU", "GPU") for n in GLANCED_S]
    return (
        "### At a glance\n\nRMS error in %, all loads together; whether an interval comes with "
        "the figure; and in how many of the cases further below a wrong or missing figure comes "
        "without a word.\n\n" + table(["", *head, "interval", "silently wrong"], rows)
    )


def versions(kept: Kept, tools: Sequence[Tool]) -> str:
    """Which tools, in which versions, used how; and which could not be had."""
    lines = [
        f"- **{tool.name} {kept['versions'].get(tool.name, '')}**: {tool.setting} "
        f"([documentation]({tool.documentation}))"
        for tool in tools
    ]
    lines += [f"- **{name}**: no figures. {why}" for name, why in kept.get("absent", {}).items()]
    return "### Tools and settings\n\n" + "\n".join(lines)


def spreads(kept: Kept, tool: str, profile: str, part: str) -> dict[float, Spread | None]:
    """Errors of one tool under one load, by length of window."""
    rows = kept["accuracy"].get(f"{tool} {profile}", {}).get("rows", [])
    return {length: spread(errors(rows, part, length)) for length in LENGTHS_S}


def accuracy(kept: Kept, tools: Sequence[Tool], part: str) -> str:
    """Errors of one part, a table a load."""
    lines = [f"### Error of the joules: {PARTS[part]}", "", "Median / RMS of the error, in %."]
    for profile in PROFILES:
        if not any(f"{tool.name} {profile}" in kept["accuracy"] for tool in tools):
            continue
        rows = []
        for tool in tools:
            found = spreads(kept, tool.name, profile, part).values()
            rows.append([tool.name, *map(cell, found)])
        lines += ["", table([profile, *map(length_name, LENGTHS_S)], rows)]
    return "\n".join(lines) + _withheld(kept, tools, part)


def cell(found: Spread | None) -> str:
    """Median and RMS of errors, in %."""
    return f"{percent(found.median)} / {percent(found.rms)}" if found else "-"


def _withheld(kept: Kept, tools: Sequence[Tool], part: str) -> str:
    """A sentence on windows for which a tool gave no figure, of tools that have the part."""
    sentences = []
    for tool in tools:
        counted = dict.fromkeys(LENGTHS_S, 0)
        given = dict.fromkeys(LENGTHS_S, 0)
        for profile in PROFILES:
            rows = kept["accuracy"].get(f"{tool.name} {profile}", {}).get("rows", [])
            for length in LENGTHS_S:
                counted[length] += sum(row["length"] == length for row in rows)
                given[length] += len(errors(rows, part, length))
        short = [
            f"{counted[length] - given[length]} of {counted[length]} windows of "
            f"{length_name(length)}"
            for length in LENGTHS_S
            if given[length] < counted[length]
        ]
        if short and any(given.values()):
            sentences.append(f"{tool.name} gave no figure for {', '.join(short)}.")
    return "\n\n" + " ".join(sentences) if sentences else ""


def coverage(kept: Kept) -> str:
    """How often greenai's intervals held the truth."""
    rows = []
    runs = [kept["accuracy"].get(f"{GREENAI} {p}", {}).get("rows", []) for p in PROFILES]
    pooled = [row for run in runs for row in run]
    for part, title in PARTS.items():
        for length in LENGTHS_S:
            found = held(pooled, part, length)
            if found is None:
                continue
            shares = [f"{found.repeat:.0%}", f"{found.total:.0%}", f"{found.half_width:.1%}"]
            rows.append([f"{title}, {length_name(length)}", str(found.count), *shares])
    if not rows:
        return ""
    head = ["", "windows", "held", "held, gain included", "half-width"]
    return (
        "### Intervals\n\nOnly greenai gives any. How often its 95 % interval held the truth, all "
        "loads together; without and with the uncertainty of the sensor's gain, which these "
        "simulated sensors do not use up. The half-width is the median, without the gain.\n\n"
        + table(head, rows)
    )


def first(kept: Kept, tools: Sequence[Tool]) -> str:
    """The first window after the start."""
    rows = []
    for tool in tools:
        found = kept["first"].get(tool.name, {}).get("rows", [])
        both = [spread(errors(found, part, FIRST_S)) for part in PARTS]
        rows.append([tool.name, *map(cell, both)])
    return (
        f"### The first window\n\n{length_name(FIRST_S)} right after the start, a fresh process "
        "each, under the square load. Median / RMS of the error, in %.\n\n"
        + table(["", *PARTS.values()], rows)
    )


def costs(kept: Kept, tools: Sequence[Tool]) -> str:
    """What each tool takes."""
    rows = []
    for tool in tools:
        found = kept["costs"].get(tool.name, {}).get("costs", {})
        cells = [
            "-" if found.get(key) is None else f"{amount(found[key] * factor)} {unit}"
            for key, _, factor, unit in COSTS
        ]
        rows.append([tool.name, *cells])
    return "### Costs\n\n" + table(["", *(title for _, title, *_ in COSTS)], rows)


def amount(value: float) -> str:
    """A number in two or three digits; whole above 100."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}" if value < 1 else f"{value:.3g}"


def behaviours(kept: Kept, tools: Sequence[Tool]) -> str:
    """What becomes of a window where a sensor is not as it should be."""
    if not kept["behaviours"]:
        return ""
    lines = ["### Where a sensor is not as it should be"]
    for group in (CASES[:3], CASES[3:5], CASES[5:]):
        rows = []
        for tool in tools:
            found = kept["behaviours"].get(tool.name, {})
            outcomes = [found.get(case.name, {}).get("outcome", "-") for case in group]
            rows.append([tool.name, *outcomes])
        lines += ["", table(["", *(case.title for case in group)], rows)]
    return "\n".join(lines)


def others_better(kept: Kept, tools: Sequence[Tool]) -> str:
    """Every figure in which another tool is better than greenai, found by rule."""
    found = [
        *_better_errors(kept, tools),
        *_better_costs(kept, tools),
        *_better_behaviours(kept, tools),
    ]
    listed = "\n".join(f"- {line}" for line in found) or "- In none of these figures."
    return (
        "### Where others are better\n\nFound in the tables by rule: an RMS error below 80 % of "
        "greenai's and lower by more than 0.2 percentage points, a cost below 80 % of greenai's, "
        f"*right* where greenai is not.\n\n{listed}"
    )


def _better_errors(kept: Kept, tools: Sequence[Tool]) -> Iterator[str]:
    for part, title in PARTS.items():
        for profile in PROFILES:
            ours = spreads(kept, GREENAI, profile, part)
            for length, own in ours.items():
                theirs = [
                    (s.rms, tool.name)
                    for tool in tools
                    if tool.name != GREENAI
                    and own is not None
                    and (s := spreads(kept, tool.name, profile, part)[length]) is not None
                    and better(own, s)
                ]
                if own is not None and theirs:
                    names = ", ".join(f"{name} {percent(rms)} %" for rms, name in sorted(theirs))
                    where = f"{title}, {profile}, {length_name(length)}"
                    yield f"{where}: {names}; greenai {percent(own.rms)} %"


def _better_costs(kept: Kept, tools: Sequence[Tool]) -> Iterator[str]:
    every = {tool.name: kept["costs"].get(tool.name, {}).get("costs", {}) for tool in tools}
    for key, title, factor, unit in COSTS:
        own = every.get(GREENAI, {}).get(key)
        if own is None:
            continue
        theirs = sorted(
            (costs[key], name)
            for name, costs in every.items()
            if costs.get(key) is not None and costs[key] < 0.8 * own
        )
        if theirs:
            names = ", ".join(f"{name} {amount(value * factor)}" for value, name in theirs)
            yield f"{title}: {names} {unit}; greenai {amount(own * factor)} {unit}"


def _better_behaviours(kept: Kept, tools: Sequence[Tool]) -> Iterator[str]:
    every = kept["behaviours"]
    for case in CASES:
        own = every.get(GREENAI, {}).get(case.name, {}).get("outcome")
        theirs = [
            tool.name
            for tool in tools
            if every.get(tool.name, {}).get(case.name, {}).get("outcome") == "right"
        ]
        if own is not None and own != "right" and theirs:
            yield f"{case.title}: {', '.join(theirs)} right; greenai: {own}"
