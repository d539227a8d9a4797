"""No profiler and no fault is left out of the tables, and the document shows them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from fault_tables import FAULTS, Case, Impossible, Table

from greenai_core import registry

HERE = Path(__file__).parent
DOCUMENT = HERE.parents[1] / "docs" / "sensors.md"
BUILT_IN = sorted(
    plugin.name
    for plugin in registry.plugins("greenai.profilers")
    if plugin.distribution == "greenai-core"
)


def table_of(profiler: str) -> Table:
    path = HERE / f"test_faults_{profiler.replace('-', '_')}.py"
    assert path.is_file(), f"{profiler} has no fault table: {path.name}"
    spec = importlib.util.spec_from_file_location(f"table_of_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.TABLE


def row_of(profiler: str) -> str:
    """The line of the document about a profiler."""
    table = table_of(profiler)
    cells = [table[fault].shown for fault in FAULTS]
    return f"| `{profiler}` | " + " | ".join(cells) + " |"


@pytest.mark.parametrize("profiler", BUILT_IN)
def test_a_profiler_has_an_outcome_for_each_fault(profiler):
    table = table_of(profiler)
    assert set(table) == set(FAULTS)
    assert all(isinstance(row, Case) or row.why for row in table.values())
    possible = [fault for fault, row in table.items() if isinstance(row, Case)]
    assert len(possible) >= 3, "a sensor that hardly anything can happen to is not believed"


@pytest.mark.parametrize("profiler", BUILT_IN)
def test_every_case_is_tried(profiler):
    """The table is what its file's tests run through, not a list beside them."""
    path = HERE / f"test_faults_{profiler.replace('-', '_')}.py"
    source = path.read_text(encoding="utf-8")
    assert "cases(TABLE)" in source
    assert "told(" in source


@pytest.mark.parametrize("profiler", BUILT_IN)
def test_the_document_shows_the_outcomes(profiler):
    """`python tests/profilers/test_every_fault.py` writes them into it."""
    assert row_of(profiler) in DOCUMENT.read_text(encoding="utf-8")


def test_the_document_names_the_faults():
    assert HEAD in DOCUMENT.read_text(encoding="utf-8")


def test_a_fault_that_cannot_be_has_a_reason():
    assert Impossible("no HTTP").shown == "–"


HEAD = "| profiler | " + " | ".join(FAULTS) + " |"


def main() -> None:
    """Write the table into the document."""
    text = DOCUMENT.read_text(encoding="utf-8")
    before = text[: text.index(HEAD)]
    lines = [HEAD, "| --- " * (len(FAULTS) + 1) + "|", *map(row_of, BUILT_IN)]
    DOCUMENT.write_text(before + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
