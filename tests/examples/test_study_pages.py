"""docs/studies says what the studies in docs/studies/data say, and no more."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from greenai_core import read_report, summarise

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "studies"
MODELS = ("alexnet", "bert", "detector", "overview", "resnet50", "vit")
STUDIES = [name for name in MODELS if (PAGES / "data" / name).exists()]


def test_tables_are_those_of_the_studies() -> None:
    """To write them anew: python tools/study_tables.py."""
    command = [sys.executable, str(ROOT / "tools" / "study_tables.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", STUDIES)
def test_studies_are_whole_and_small(name: str) -> None:
    folder = PAGES / "data" / name
    assert all(file.stat().st_size < 200_000 for file in folder.iterdir())
    (reported,) = read_report(folder / "report.json").results
    study = summarise(folder)
    assert reported.rows == study.rows
    assert study.missing_cells == 0
    assert not any(row.failures for row in study.rows)
    assert all("random weights" in model.note for model in study.models)


@pytest.mark.parametrize("name", STUDIES)
def test_what_is_not_measured_is_called_so(name: str) -> None:
    """All joules are modelled, and each page that shows some says it."""
    for row in summarise(PAGES / "data" / name).rows:
        joules = [metric for metric in row.metrics if metric.name.startswith("energy_")]
        assert joules
        assert {metric.method for metric in joules} == {"modelled"}
    pages = [page.read_text() for page in PAGES.glob("*.md")]
    shown = [text for text in pages if re.search(rf"<!-- \w+: {name}\b", text)]
    assert shown
    assert all("energy **modelled**" in text for text in shown)


@pytest.mark.parametrize("name", STUDIES)
def test_no_page_and_no_file_names_a_folder_of_the_machine(name: str) -> None:
    for file in (PAGES / "data" / name).iterdir():
        text = file.read_text()
        assert not re.search(r"/(work|home|root|Users)/", text), file
    json.loads((PAGES / "data" / name / "report.json").read_text())


def test_figures_of_the_documentation() -> None:
    """The summary table of AIPowerMeter's documentation, in its order."""
    text = (PAGES / "overview.md").read_text()
    for row in (
        "| Joules | 0.61 | 0.27 | 0.94 | 0.07 |",
        "| Batch size | 32 | 128 | 64 | 128 |",
        "| % GPU SM used | 91 % | 60 % | 92 % | 76 % |",
        "| GPU memory used | 11.3 GB | 23.2 GB | 18.8 GB | 1.7 GB |",
    ):
        assert row in text


@pytest.mark.parametrize("name", ["alexnet", "bert", "detector", "overview", "resnet", "vit"])
def test_the_first_page_tells_what_is_not_measured_yet(name: str) -> None:
    (row,) = (
        line
        for line in (PAGES / "README.md").read_text().splitlines()
        if line.startswith(f"| [{name}.md]")
    )
    missing = "Not measured yet" in (PAGES / f"{name}.md").read_text()
    assert ("not measured yet" in row) == missing
    assert ("modelled" in row) != missing
