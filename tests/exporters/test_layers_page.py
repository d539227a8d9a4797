"""The page of a report of layers: residual first, bars, and a flame graph that adds up."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from greenai_core import ReportSource, read_report
from greenai_core.testing.sample_reports import figure, sample_report
from greenai_plugins.exporters.html_exporter import HtmlExporter
from greenai_plugins.exporters.markdown import MarkdownExporter
from greenai_plugins.exporters.pages.blocks import Notes, Pictures, Table
from greenai_plugins.exporters.pages.page import page_of
from greenai_plugins.exporters.pictures.icicle import ACROSS, Piece, icicle

RELEASED = Path(__file__).parents[1] / "data/report-1-layers-0.1.0.json"


def section(report, number=0):
    found = [s for s in page_of([ReportSource("r", report)]).sections if "Layers" in s.title]
    return found[number]


def test_the_residual_stands_before_the_figures():
    report = sample_report("layers")
    first, pictures, table = section(report).blocks
    assert isinstance(first, Notes)
    assert "2 % less than the whole" in first.lines[0]
    assert first.tone == "plain"
    assert isinstance(pictures, Pictures)
    assert [row[0] for row in table.rows][-3:] == ["unattributed", "overhead", "sum"]
    (one,) = report.results
    flagged = replace(one, residual_flagged=True)
    assert section(replace(report, results=(flagged,))).blocks[0].tone == "warning"


def test_the_finding_names_the_largest_layer():
    page = page_of([ReportSource("r", sample_report("layers"))])
    assert page.finding.startswith("block.conv|1 takes 60 % of the energy of one inference of")
    assert page.title == "Energy by layer"


def test_unknown_energy_has_a_table_of_times_and_no_picture():
    found = section(sample_report("layers", known=False)).blocks
    assert not any(isinstance(block, Pictures) for block in found)
    (table,) = [block for block in found if isinstance(block, Table)]
    assert table.rows[0][6].value is None
    assert table.rows[0][5].value == pytest.approx(60.0)


def test_what_goes_by_its_time_is_said():
    (table,) = [b for b in section(sample_report("layers")).blocks if isinstance(b, Table)]
    how = {row[0].text: row[8] for row in table.rows[:-3]}
    assert how["block.conv|1"] == "repeated in the pass"
    assert how["block.norm"] == "by its time (modelled)"


def test_both_phases_of_a_released_report_stand_apart():
    report = read_report(RELEASED)
    inference, training = section(report, 0), section(report, 1)
    assert inference.title != training.title
    html = HtmlExporter().export(report).decode()
    assert "backward" in html
    assert "(optimiser)" in html
    text = MarkdownExporter().export(report).decode()
    assert "# Energy by layer" in text
    assert "blocks.0.shared" in text
    (table,) = [block for block in training.blocks if isinstance(block, Table)]
    rows = {getattr(row[0], "text", row[0]): row for row in table.rows}
    assert rows["blocks.0.shared"][9] == "repeated by itself"
    assert {rows["blocks.0.shared"][at].value > 0 for at in (7, 8)} == {True}
    assert rows["(optimiser)"][7:9] == ("", "")
    sums = sum(row[6].value for name, row in rows.items() if name != "sum")
    assert sums == pytest.approx(rows["sum"][6].value, rel=1e-6)


def boxes(picture):
    (_, drawing) = picture.variants[0]
    found = re.findall(r'x="([\d.]+)" y="([\d.]+)" width="([\d.]+)"', drawing.body)
    return [tuple(map(float, box)) for box in found]


def test_parts_of_a_flame_graph_are_as_wide_as_their_shares():
    inner = (Piece("a", 3.0, "a"), Piece("b", 1.0, "b", inside=(Piece("c", 0.5, "c"),)))
    whole = Piece("all", 4.0, "all", inside=inner)
    all_of_it, a, b, c = boxes(icicle(("flame", "t", "d"), whole, ()))
    assert all_of_it == (0.0, 0.0, ACROSS)
    assert a[2] == pytest.approx(0.75 * ACROSS, abs=0.1)
    assert b[:2] == (pytest.approx(0.75 * ACROSS, abs=0.1), a[1])
    assert c[0] == b[0]
    assert c[2] == pytest.approx(b[2] / 2, abs=0.1)


def test_parts_below_nothing_take_no_room_and_none_leaves_the_paper():
    inner = (Piece("a", 5.0, "a"), Piece("b", -1.0, "b"), Piece("c", 0.0, "c"))
    found = boxes(icicle(("flame", "t", "d"), Piece("all", 4.0, "all", inside=inner), ()))
    assert found == [(0.0, 0.0, ACROSS), (0.0, 24.0, ACROSS)]


def test_names_are_no_markup():
    (one,) = sample_report("layers").results
    odd = tuple(replace(layer, name="<b>" + layer.name, parent=None) for layer in one.layers)
    report = replace(
        sample_report("layers"),
        results=(replace(one, layers=odd, residual_j=figure(0.01)),),
    )
    assert "<b>block" not in HtmlExporter().export(report).decode()


def with_layers(change):
    report = sample_report("layers")
    (one,) = report.results
    return replace(report, results=(replace(one, layers=tuple(map(change, one.layers))),))


def table_of(report):
    (table,) = [block for block in section(report).blocks if isinstance(block, Table)]
    return table


def test_a_row_of_no_joules_is_below_all_others():
    """Its share of the time is no number of joules."""
    nothing = replace(figure(0.0), low=0.0, high=0.0, repeat_low=0.0, repeat_high=0.0)
    report = with_layers(
        lambda layer: (
            replace(layer, energy_j=nothing, time_share=0.99)
            if layer.name == "block.norm"
            else layer
        )
    )
    names = [getattr(row[0], "text", row[0]) for row in table_of(report).rows[:-3]]
    assert names[-1] == "block.norm"


def test_what_drowns_in_noise_has_no_joules_of_a_mac():
    noisy = replace(figure(0.01), low=0.0, high=0.2)
    report = with_layers(
        lambda layer: replace(layer, energy_j=noisy) if layer.name == "block.conv|1" else layer
    )
    cells = {getattr(row[0], "text", row[0]): row[7] for row in table_of(report).rows}
    assert cells["block.conv|1"] == ""
    full = {getattr(r[0], "text", r[0]): r[7] for r in table_of(sample_report("layers")).rows}
    assert full["block.conv|1"] != ""


def test_what_goes_by_its_time_is_marked_without_colour_in_both_pictures():
    (pictures,) = [b for b in section(sample_report("layers")).blocks if isinstance(b, Pictures)]
    bars, flame = pictures.pictures
    for picture in (bars, flame):
        body = picture.variants[0][1].body
        assert "~ " in body
        assert "~" in picture.about
    assert "~ block.conv" not in bars.variants[0][1].body


def test_hostile_names_are_text():
    report = with_layers(
        lambda layer: (
            replace(layer, name="<script>alert(1)</script>" + "x" * 300)
            if layer.name == "block.norm"
            else layer
        )
    )
    html = HtmlExporter().export(report).decode()
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert" in html
