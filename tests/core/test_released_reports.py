"""Files that a release wrote stay readable; they are never edited, only added to."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from greenai_core import dump, read_report

ROOT = Path(__file__).parents[2]
RELEASED = sorted((ROOT / "tests/data").glob("report-*.json"))


def test_every_kind_of_report_is_kept():
    kinds = {json.loads(path.read_text())["kind"] for path in RELEASED}
    assert kinds == {
        "bench", "train", "measure", "grade", "compare", "study", "layers", "powercap",
    }  # fmt: skip


@pytest.mark.parametrize("path", RELEASED, ids=lambda path: path.name)
def test_a_released_report_is_read(path):
    report = read_report(path)
    assert report.results
    assert holds(json.loads(dump(report)), json.loads(path.read_text()))


@pytest.mark.parametrize("path", RELEASED, ids=lambda path: path.name)
def test_a_released_report_follows_its_schema(path):
    schema = json.loads((ROOT / "docs/schema/report-1.json").read_text())
    jsonschema.validate(json.loads(path.read_text()), schema)


def holds(new, old):
    """Whether everything that stood in the old file is in the new one; keys may have come."""
    if isinstance(old, dict):
        return old.keys() <= new.keys() and all(holds(new[key], old[key]) for key in old)
    if isinstance(old, list):
        return len(new) == len(old) and all(map(holds, new, old))
    return new == old
