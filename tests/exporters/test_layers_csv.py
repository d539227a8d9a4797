"""Energy by layer as CSV."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import pytest

from greenai_core.testing.sample_reports import SAMPLE_ENERGY_J, sample_report
from greenai_plugins.exporters.csv_exporter import CsvExporter
from greenai_plugins.exporters.layers_csv import COLUMNS


def table(report):
    return list(csv.DictReader(io.StringIO(CsvExporter().export(report).decode())))


def test_each_layer_has_a_row_and_they_add_up():
    rows = table(sample_report("layers"))
    assert [row["row"] for row in rows] == [
        "total", "residual", "unattributed", "overhead", "layer", "layer", "layer",
    ]  # fmt: skip
    parts = [float(row["energy_j"]) for row in rows[2:]]
    assert sum(parts) == pytest.approx(SAMPLE_ENERGY_J)
    conv = rows[5]
    assert conv["layer"] == "block.conv|1"
    assert conv["parent"] == "block"
    assert conv["layer_method"] == "context"
    assert conv["energy_method"] == "counter"
    assert float(conv["joules_per_mac"]) == pytest.approx(0.6 * SAMPLE_ENERGY_J / 1000)
    assert rows[6]["energy_method"] == "modelled"
    assert float(rows[0]["low_j"]) == pytest.approx(0.9 * SAMPLE_ENERGY_J)


def test_what_is_not_known_is_an_empty_cell():
    rows = table(sample_report("layers", known=False))
    assert {row["energy_j"] for row in rows} == {""}
    assert rows[5]["seconds"] == str(0.1 * 0.6)


def test_results_stand_below_each_other_and_none_gives_the_head():
    one = sample_report("layers")
    (result,) = one.results
    both = replace(one, results=(result, replace(result, phase="training")))
    rows = table(both)
    assert {(row["result"], row["phase"]) for row in rows} == {
        ("0", "inference"),
        ("1", "training"),
    }
    assert CsvExporter().export(replace(one, results=())).decode().strip() == ",".join(COLUMNS)
