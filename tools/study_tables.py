"""Write the figures in docs/studies from the studies in docs/studies/data.

    python tools/study_tables.py [--check]

A page holds lines such as ``<!-- table: NAME -->``, and later ``<!-- end -->``; what is between
them is made from the study docs/studies/data/NAME:

- ``table: NAME``: a row for each input size;
- ``overview: NAME``: a column for each model;
- ``fit: NAME METRIC``: what ``greenai study fit`` says of the growth of that metric.

A report.json of a study there whose rows are not what its cells come to is written anew.

--check writes nothing and fails where a page says something else.
"""

from __future__ import annotations

import argparse
import re
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

from greenai_core import (
    StudyMetric,
    StudyResult,
    StudyRow,
    dump,
    fit_study,
    read_report,
    summarise,
)

PAGES = Path(__file__).parent.parent / "docs" / "studies"
PLACE = re.compile(r"(<!-- (table|overview|fit): (\w+) ?(\w*) -->\n).*?(<!-- end -->)", re.DOTALL)
UNKNOWN = "not known"


def main() -> int:
    """Write the pages, or tell which differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    differing = []
    for page in sorted(PAGES.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        made = PLACE.sub(filled, text)
        if made != text:
            differing.append(page.name)
            if not check:
                page.write_text(made, encoding="utf-8")
    for folder in sorted((PAGES / "data").glob("*/cells.jsonl")):
        if not check:
            refresh(folder.parent)
    sys.stdout.write(f"pages that differ from their studies: {', '.join(differing) or 'none'}\n")
    return int(check and bool(differing))


def refresh(folder: Path) -> None:
    """Bring the table in a study's report up to its cells."""
    report = read_report(folder / "report.json")
    study = summarise(folder)
    (reported,) = report.results
    assert isinstance(reported, StudyResult)
    if reported.rows != study.rows:
        results = (replace(reported, rows=study.rows),)
        (folder / "report.json").write_text(dump(replace(report, results=results)))


def filled(place: re.Match[str]) -> str:
    """The place in a page with what its study says."""
    start, kind, name, metric, end = place.groups()
    folder = PAGES / "data" / name
    if not folder.exists():
        return f"{start}Not measured yet.\n{end}"
    study = summarise(folder)
    if kind == "fit":
        return f"{start}{growth(study, metric)}{end}"
    return f"{start}{by_size(study) if kind == 'table' else by_model(study)}{end}"


def growth(study: StudyResult, metric: str) -> str:
    """How the only model of a study grows with size."""
    (model,) = study.models
    fit = fit_study(study, model.name, 1, metric)
    sentence = f"{fit.sentence[0].upper()}{fit.sentence[1:]}."
    return textwrap.fill(f"> {sentence}", 96, subsequent_indent="> ") + "\n"


def by_size(study: StudyResult) -> str:
    """A row for each input size."""
    lines = [
        f"| {study.size_name.capitalize()} | Energy, modelled | Time | Power, modelled | Runs |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.size} | {energy(row, 'energy_total_j')} | {time(row)} | {power(row)} "
        f"| {row.runs} |"
        for row in study.rows
    ]
    return "\n".join(lines) + "\n"


def by_model(study: StudyResult) -> str:
    """A column for each model."""
    parameters = {
        model.name: f"{model.parameters.total / 1e6:.1f} M" if model.parameters else UNKNOWN
        for model in study.models
    }
    rows = {
        "": [row.model for row in study.rows],
        "Joules of one sample, modelled": [
            energy(row, "energy_per_sample_j") for row in study.rows
        ],
        "Batch size": [str(row.batch_size) for row in study.rows],
        "Input size": [str(row.size) for row in study.rows],
        "Time of a batch": [time(row) for row in study.rows],
        "% GPU SM used": [observed(row.metric("sm_percent"), 1, "%") for row in study.rows],
        "GPU memory used": [observed(row.metric("gpu_memory_b"), 1e9, "GB") for row in study.rows],
        "Parameters and statistics": [parameters[row.model] for row in study.rows],
        "Runs": [str(row.runs) for row in study.rows],
    }
    head, *lines = (f"| {title} | {' | '.join(cells)} |" for title, cells in rows.items())
    return "\n".join([head, "|---" * (len(study.rows) + 1) + "|", *lines]) + "\n"


def energy(row: StudyRow, name: str) -> str:
    """Joules with the total interval; never a figure that was not modelled, as the title says."""
    metric = row.metric(name)
    if metric is None:
        return UNKNOWN
    assert metric.method == "modelled", f"{row.model}: {name} is {metric.method}"
    if metric.low is None or metric.high is None:
        return f"{metric.value:.3g} J"
    return f"{metric.value:.3g} J ({metric.low:.2g} … {metric.high:.2g})"


def time(row: StudyRow) -> str:
    """Of one inference of the batch, with its half-width from run to run."""
    metric = row.metric("latency_s")
    if metric is None:
        return UNKNOWN
    value = f"{metric.value * 1e3:.3g} ms" if metric.value < 1 else f"{metric.value:.3g} s"
    if metric.repeat_half is None or metric.repeat_high is None:
        return value
    if metric.repeat_low == 0:
        return f"{value} (0 … {metric.repeat_high:.2g} s)"
    return f"{value} ± {100 * metric.repeat_half / metric.value:.2g} %"


def power(row: StudyRow) -> str:
    """Mean watts."""
    return observed(row.metric("power_w"), 1, "W")


def observed(metric: StudyMetric | None, unit: float, word: str) -> str:
    """A figure with three digits."""
    return UNKNOWN if metric is None else f"{metric.value / unit:.3g} {word}"


if __name__ == "__main__":
    sys.exit(main())
