"""What the pages say of sparse networks is what their data say."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

PAGES = Path(__file__).parents[3] / "docs" / "studies"
FILES = {
    "deep-rewiring": ("deep-rewiring/steps", "deep-rewiring/execution"),
    "pruning": (
        "pruning/snip-steps",
        "pruning/snip-execution",
        "pruning/force-execution",
        "pruning/full-size-vgg-d",
        "pruning/full-size-vgg-19",
    ),
}


def rows(name):
    with (PAGES / "data" / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(("page", "name"), [(p, n) for p, names in FILES.items() for n in names])
def test_every_ratio_of_the_data_is_on_the_page(page, name):
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
    for row in rows(name):
        if row["ratio"]:
            ratio, low, high = (float(row[key]) for key in ("ratio", "ratio_low", "ratio_high"))
            told = f"| {ratio:.2f} ({low:.2f} to {high:.2f}) | {row['verdict']} |"
            assert any(
                f"| {row['variant']} |" in line and told in line for line in text.split("\n")
            )


DATA = sorted(path for page in FILES for path in (PAGES / "data" / page).glob("*.json"))


@pytest.mark.parametrize("path", DATA, ids=lambda path: path.stem)
def test_data_say_how_their_joules_came_about(path):
    held = json.loads(path.read_text(encoding="utf-8"))
    assert held["rows"]
    assert "modelled" in held["joules"]
    assert all("made-up" in source for source in held["data"].values())


def test_the_recorded_deep_r_kept_its_connections():
    for row in rows("deep-rewiring/training"):
        if row["variant"] in ("deep-r", "deep-r-global"):
            assert row["first"] == row["least"] == row["most"] == row["weights"] == "3552"
        if row["variant"] == "deep-r":
            assert row["layers"] == row["layers_first"]
