"""The page, the table and the pictures of a search for the best cap."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from greenai_core import ReportSource, SchemaError, read_report
from greenai_core.cap_results import CapInForce, CapRatio
from greenai_core.testing.sample_reports import sample_report
from greenai_plugins.exporters.badge import BadgeExporter
from greenai_plugins.exporters.csv_exporter import CsvExporter
from greenai_plugins.exporters.html_exporter import HtmlExporter
from greenai_plugins.exporters.label import LabelExporter
from greenai_plugins.exporters.markdown import MarkdownExporter
from greenai_plugins.exporters.pages.blocks import Pictures, Table
from greenai_plugins.exporters.pages.page import page_of
from greenai_plugins.exporters.picture_exporters import SvgExporter
from greenai_plugins.exporters.powercap_csv import COLUMNS

RELEASED = Path(__file__).parents[1] / "data/report-1-powercap-0.1.0.json"
SVG = "{http://www.w3.org/2000/svg}"


def changed(**more):
    report = sample_report("powercap")
    return replace(report, results=(replace(report.results[0], **more),))


def page(report):
    return page_of([ReportSource("r", report)])


def section(report, number=0):
    return [s for s in page(report).sections if s.title.startswith("The best")][number]


def tables(report):
    return {b.caption.split(",")[0]: b for b in section(report).blocks if isinstance(b, Table)}


# Words and tables


def test_the_finding_tells_saving_and_slowdown_with_intervals():
    found = page(sample_report("powercap"))
    assert found.title == "The best cap"
    assert found.finding == (
        "A cap of 250 W instead of 400 W saves 20 % (18 % … 22 %) of the energy of a step, which "
        "takes 10 % (9 % … 11 %) longer."
    )


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"energy": None, "time": None, "score": None}, "promises most; that was not confirmed"),
        ({"kept_original": True, "chosen": 400.0, "reason": "it saves nothing"}, "400 W stays: it"),
        ({"outcome": "dry run"}, "setting a limit is not permitted"),
        ({"unit": "MHz"}, "A clock limit of 250 MHz instead of 400 MHz saves"),
    ],
)
def test_other_ends_have_other_findings(more, said):
    assert said in page(changed(**more)).finding


def test_an_interrupted_search_is_said_before_its_probes():
    report = replace(sample_report("powercap", known=False), complete=False)
    found = page(report)
    assert "interrupted after 4 probes" in found.finding
    assert any("incomplete" in text for text in found.cautions)
    assert len(tables(report)["Probes"].rows) == 4


def test_each_probe_has_a_row_with_what_was_asked_for_and_what_was_in_force():
    table = tables(sample_report("powercap"))["Probes"]
    assert table.head[2:4] == ("asked for, W", "in force, W")
    assert [row[:4] for row in table.rows][:2] == [
        ("1", "pilot", "400", "400"),
        ("2", "first round", "80", "100"),
    ]
    assert table.rows[1][-1] == "it keeps | 100 W"
    time, energy = table.rows[0][5], table.rows[0][6]
    assert (time.value, time.low, time.high) == pytest.approx((0.1, 0.095, 0.105))
    assert energy.low < energy.value < energy.high


def test_devices_with_different_caps_are_told_apart():
    (result,) = sample_report("powercap").results
    first, *others = result.probes
    both = (CapInForce("gpu:a", 400.0), CapInForce("gpu:b", 350.0))
    probes = (replace(first, in_force=both), *others)
    table = tables(changed(devices=("gpu:a", "gpu:b"), probes=probes))["Probes"]
    assert table.rows[0][3] == "gpu:a: 400, gpu:b: 350"
    assert table.rows[1][3] == "100"


def test_a_clock_that_ran_freely_is_free():
    (result,) = sample_report("powercap").results
    free = replace(result.limits[0], original=None, default=None, also={"short_term": 300})
    table = tables(changed(unit="MHz", limits=(free,)))["What was limited"]
    cells = dict(zip(table.head, table.rows[0], strict=True))
    assert cells["before"] == "free"
    assert cells["range"] == "100 to 500 MHz"
    assert cells["changed with it"] == "short term 300 MHz"
    assert "the maker's" not in cells


def test_the_confirmation_is_told_as_ratios_with_intervals():
    table = tables(sample_report("powercap"))["The candidate against the limit of before"]
    names = [row[0] for row in table.rows]
    assert names == ["400 W", "250 W", "250 W over 400 W", "175 W over 400 W"]
    assert "× 0.800 (0.780 … 0.820)" in table.rows[2]
    assert table.rows[3][1] == "× 1.200 (1.190 … 1.210)"


def test_a_dry_run_has_the_commands_of_root_and_no_picture():
    report = read_report(RELEASED)
    found = section(report, 1).blocks
    assert not any(isinstance(block, Pictures) for block in found)
    (commands,) = [b for b in found if isinstance(b, Table) and "root" in b.caption]
    assert commands.rows[0][0].text == "nvidia-smi -i GPU-simulated -pl 100"
    assert "nvidia-smi" in HtmlExporter().export(report).decode()


def test_modelled_joules_are_said_and_hollow():
    (result,) = sample_report("powercap").results
    probes = tuple(
        replace(one, energy_j=replace(one.energy_j, method="counter+modelled"))
        for one in result.probes
    )
    report = changed(probes=probes)
    assert any("modelled" in text for text in page(report).cautions)
    curves, front = page(report).pictures
    assert (curves.modelled, front.modelled) == ("partly modelled", "modelled")


def test_names_are_no_markup():
    report = changed(command=("<b>run", "|"), devices=("<i>gpu",), limits=(), reason="<u>why")
    html = HtmlExporter().export(report).decode()
    for tag in ("<b>run", "<i>gpu", "<u>why"):
        assert tag not in html
    assert b"<b>run" not in SvgExporter().export(report)
    assert "&lt;b>" in MarkdownExporter().export(report).decode() or "\\<b" in (
        MarkdownExporter().export(report).decode()
    )


# Pictures


def curves(report):
    return ElementTree.fromstring(SvgExporter().export(report))


def ticks(drawing):
    """Texts of the axes, as figures."""
    found = [one.text or "" for one in drawing.iter(f"{SVG}text")]
    return [
        text.replace("\N{THIN SPACE}", "") for text in found if re.fullmatch(r"[\d.\u2009]+", text)
    ]


def test_ticks_are_round():
    found = ticks(curves(read_report(RELEASED)))
    assert len(found) >= 12
    for tick in found:
        assert len(tick.strip("0").replace(".", "").lstrip("0")) <= 3, tick
        assert float(tick) % 0.25 == 0, tick
    assert {"100", "200", "300", "400", "500"} <= set(found)


def test_both_curves_the_front_and_the_chosen_cap_are_drawn():
    drawing = curves(sample_report("powercap"))
    assert len(drawing.findall(f".//{SVG}path[@class='f']")) == 2
    assert len(drawing.findall(f".//{SVG}path[@class='w']")) == 2
    said = [one.get("aria-label") for one in drawing.iter(f"{SVG}g") if one.get("aria-label")]
    assert sum("250 W: chosen" in text for text in said) == 2
    assert sum("grid probe" in text for text in said) == 4
    assert any("0.500 J (0.475 … 0.525)" in text for text in said)
    legend = [one.text for one in drawing.iter(f"{SVG}text")]
    assert {"Pareto front", "400 W, as before", "250 W, chosen"} <= set(legend)


def test_the_picture_follows_light_and_dark():
    style = next(curves(sample_report("powercap")).iter(f"{SVG}style")).text
    assert "prefers-color-scheme:dark" in style
    assert not [
        one
        for one in curves(sample_report("powercap")).iter()
        if one.get("fill") or one.get("stroke")
    ]


def test_the_front_is_a_picture_of_its_own():
    parts = SvgExporter().export_parts([ReportSource("r", sample_report("powercap"))])
    assert set(parts) == {"cap-curves", "cap-front"}


def test_an_interrupted_search_shows_its_probes_without_a_curve():
    drawing = curves(sample_report("powercap", known=False))
    assert not drawing.findall(f".//{SVG}path[@class='f']")
    assert len(drawing.findall(f".//{SVG}path[@class='m']")) >= 8


def test_a_search_that_ended_after_its_pilot_has_no_picture():
    (result,) = sample_report("powercap").results
    report = changed(probes=result.probes[:1], curve=(), pareto=(), chosen_point=None)
    assert page(report).pictures == ()
    with pytest.raises(SchemaError, match="nothing to draw"):
        SvgExporter().export(report)


# Beside others


def test_several_kinds_stand_on_one_page():
    sources = [
        ReportSource(kind, sample_report(kind)) for kind in ("powercap", "bench", "layers", "study")
    ]
    sources.append(ReportSource("again", sample_report("powercap")))
    found = page_of(sources)
    titles = [s.title for s in found.sections if s.title.startswith("The best cap")]
    assert len(set(titles)) == 2
    assert len({picture.name for picture in found.pictures}) == len(found.pictures)
    html = HtmlExporter().export_several(sources).decode()
    assert "Layers: " in html


@pytest.mark.parametrize("exporter", [LabelExporter, BadgeExporter])
def test_there_is_no_label_of_a_search(exporter):
    with pytest.raises(SchemaError, match="report of powercap"):
        exporter().export(sample_report("powercap"))


# The table


def rows(report):
    return list(csv.DictReader(io.StringIO(CsvExporter().export(report).decode())))


def test_the_table_has_a_row_for_each_probe_with_all_digits():
    report = sample_report("powercap")
    (result,) = report.results
    found = rows(report)
    assert [row["role"] for row in found] == ["pilot", "grid", "grid", "adaptive"]
    assert [row["order"] for row in found] == ["1", "2", "3", "4"]
    for row, probe in zip(found, result.probes, strict=True):
        assert float(row["asked"]) == probe.asked
        assert float(row["cap"]) == probe.cap
        assert row["clamped"] == str(probe.clamped).lower()
        assert float(row["energy_j"]) == probe.energy_j.value
        assert float(row["energy_repeat_low_j"]) == probe.energy_j.repeat_low
        assert float(row["power_high_w"]) == probe.power_w.high
        assert float(row["seconds_s"]) == probe.seconds_s.value
    assert found[1]["in_force"] == "gpu:GPU-1 100"
    assert found[1]["note"] == "it keeps | 100 W"


def test_a_report_without_probes_is_a_head():
    (result,) = sample_report("powercap").results
    report = changed(probes=())
    assert result.probes
    assert CsvExporter().export(report).decode().strip() == ",".join(COLUMNS)


def test_saving_and_slowdown_follow_from_the_ratios():
    (result,) = changed(energy=CapRatio(0.7, 0.6, 0.75)).results
    saving = result.saving
    assert (saving.value, saving.low, saving.high) == pytest.approx((0.3, 0.25, 0.4))
