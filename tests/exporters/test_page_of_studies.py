"""Pages of studies: intervals that can be true, and units that keep figures short."""

from __future__ import annotations

from dataclasses import replace

import pytest

from greenai_core.study_results import StudyMetric, StudyRow
from greenai_core.testing.sample_reports import sample_report
from greenai_plugins.exporters.csv_exporter import CsvExporter
from greenai_plugins.exporters.html_exporter import HtmlExporter
from greenai_plugins.exporters.quantities import Quantity, written


def metric(name, value, half):
    return StudyMetric(
        name, value, value - half, value + half, value - half, value + half, "counter", 2
    )


def old_report():
    """Of two runs that scatter, as it was written before intervals were cut at 0."""
    report = sample_report("study")
    (study,) = report.results
    rows = tuple(
        StudyRow(
            "net", 10 * size, 1, 2, None, (),
            (metric("energy_total_j", 1.0, 3.25), metric("latency_s", 1.0, 4.5),
             metric("energy_net_j", 1.0, 2.75)),
        )
        for size in range(1, 7)
    )  # fmt: skip
    return replace(report, results=(replace(study, rows=rows),))


def test_no_page_shows_negative_energies_of_an_old_report():
    page = HtmlExporter().export(old_report()).decode()
    assert "0.0 … 4.2" in page or "0.0 … 4.3" in page
    assert "\N{MINUS SIGN}2.2" not in page
    assert "\N{MINUS SIGN}3.5" not in page
    assert "\N{MINUS SIGN}1.8" in page or "\N{MINUS SIGN}1.75" in page, "above idle it may be"


def test_no_table_does():
    head, first, *_ = CsvExporter().export(old_report()).decode().splitlines()
    found = dict(zip(head.split(","), first.split(","), strict=True))
    assert float(found["energy_total_j_low"]) == float(found["latency_s_repeat_low"]) == 0
    assert float(found["energy_net_j_low"]) == -1.75


@pytest.mark.parametrize(
    ("value", "text"),
    [(2e-12, "2.00 pJ"), (4.5e-15, "4.50 fJ"), (2.5e12, "2.50 TJ"), (0.27, "0.270 J")],
)
def test_figures_have_a_unit_that_keeps_them_short(value, text):
    assert written(Quantity(value)) == text
