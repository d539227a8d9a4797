"""Pictures of reports as files."""

from __future__ import annotations

import io
import re
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from greenai_core import PluginUnavailable, ReportSource, SchemaError, read_report
from greenai_core.testing.exporter_suite import ExporterConformance
from greenai_core.testing.sample_reports import sample_report
from greenai_plugins.exporters.picture_exporters import PngExporter, SvgExporter
from greenai_plugins.exporters.pictures.axes import linear, logarithmic
from greenai_plugins.exporters.pictures.chart import Chart, Point, Scaled, Series, drawn
from greenai_plugins.exporters.pictures.picture import standalone
from greenai_plugins.exporters.svg_text import width

DATA = Path(__file__).parents[1] / "data"

SVG = "{http://www.w3.org/2000/svg}"


def sources(*kinds):
    return [ReportSource(kind, sample_report(kind)) for kind in kinds]


class TestSvgConformance(ExporterConformance):
    precision = 1e-2

    def make_exporter(self):
        return SvgExporter()

    def read_energies(self, content):
        tips = [g.get("aria-label") for g in ET.fromstring(content).iter(f"{SVG}g")]
        return [energy_in(tip) for tip in tips if tip and "\n" in tip]


class TestPngConformance(ExporterConformance):
    precision = 1e-2

    def make_exporter(self):
        return PngExporter()

    def read_energies(self, content):
        described = Image.open(io.BytesIO(content)).text["Description"]
        return [energy_in(line) for line in described.splitlines() if "; " in line]


def energy_in(tip):
    if "unknown" in tip:
        return None
    value, unit = re.search(r"([\d.]+) (m?J) \(", tip).groups()
    return float(value) * {"J": 1, "mJ": 1e-3}[unit]


def test_every_picture_has_a_file():
    parts = SvgExporter().export_parts(sources("study"))
    assert {"energy", "energy-log", "cpu-gpu", "latency", "pearson", "spearman"} <= set(parts)
    for name, content in parts.items():
        root = ET.fromstring(content)
        assert root.get("aria-label"), name
        width, height = float(root.get("width")), float(root.get("height"))
        assert root.get("viewBox") == f"0 0 {width:g} {height:g}"
        assert "script" not in content.decode()


def test_marks_lie_on_the_paper():
    """Also with intervals far beyond the figures, and below zero on a logarithmic axis."""
    (one,) = sample_report("study").results
    wide = tuple(
        replace(
            row, metrics=tuple(replace(m, low=-m.value, high=90 * m.value) for m in row.metrics)
        )
        for row in one.rows
    )
    report = replace(sample_report("study"), results=(replace(one, rows=wide),))
    for name, content in SvgExporter().export_parts([ReportSource("wide", report)]).items():
        root = ET.fromstring(content)
        across, down = float(root.get("width")), float(root.get("height"))
        for path in root.iter(f"{SVG}path"):
            if path.get("transform"):
                x, y = map(float, re.findall(r"-?[\d.]+", path.get("transform")))
                assert 0 <= x <= across, name
                assert 0 <= y <= down, name


def test_png_is_as_large_as_its_drawing_twice():
    drawing = ET.fromstring(SvgExporter().export_several(sources("bench")))
    image = Image.open(io.BytesIO(PngExporter().export_several(sources("bench"))))
    assert image.width == round(2 * float(drawing.get("width")))
    assert image.getpixel((2, 2))[:3] == (255, 255, 255)
    assert len(image.convert("RGB").getcolors(100_000)) > 10


def test_png_without_its_library_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    with pytest.raises(PluginUnavailable, match="pip install vl-convert-python"):
        PngExporter().export_several(sources("bench"))


def points(*modelled):
    return tuple(Point(i, i + 1.0, f"p\n{i}", modelled=m) for i, m in enumerate(modelled))


def texts(content):
    return [one.text or "" for one in ET.fromstring(content).iter(f"{SVG}text")]


@pytest.mark.parametrize(
    ("modelled", "said"),
    [
        ((False, False), []),
        ((True, True), ["Modelled figures: not measured, or not wholly"]),
        ((True, False), ["What is hollow or pale is modelled: not measured, or not wholly"]),
    ],
)
def test_a_picture_by_itself_says_that_it_is_modelled(modelled, said):
    """A hollow mark alone tells nothing in somebody's slides."""
    chart = Chart("c", "t", "", Scaled("x"), Scaled("y", "J"), (Series("a", points(*modelled)),))
    shown = [text for text in texts(standalone(drawn(chart))) if "odelled" in text]
    assert shown == said


@pytest.mark.parametrize("kind", ["bench", "compare", "layers", "study", "train"])
def test_modelled_reports_have_no_picture_that_hides_it(kind):
    """But those of correlations and of what is counted by a clock alone."""
    said = "is modelled", "Modelled figures"
    for name, content in SvgExporter().export_parts([modelled_sample(kind)]).items():
        clock = name.startswith(("pearson", "spearman", "size-latency", "size-sm", "size-gpu"))
        assert clock or any(word in text for text in texts(content) for word in said), name


def test_layers_without_a_sensor_are_all_hollow():
    content = SvgExporter().export_parts([modelled_sample("layers")])["layers"].decode()
    drawn_marks = re.findall(r'class="(m[ h]*)"', content.partition('font-size="12"')[2])
    bars = [one for one in drawn_marks if one == "m h"]
    assert len(bars) >= 9
    assert "Modelled figures" in content


def modelled_sample(kind):
    """A report of that kind that was made without a sensor."""
    released = DATA / f"report-1-{kind}-0.1.0.json"
    measured = DATA.parents[1] / "docs" / "studies" / "data" / "alexnet" / "report.json"
    return ReportSource(kind, read_report(measured if kind == "study" else released))


def test_long_names_stay_on_the_paper():
    name = "a_long_name/" * 30
    series = (Series(name, points(False, False)), Series(name + "b", points(False, False)))
    chart = Chart("c", f"Energy of {name}", "", Scaled("x"), Scaled("y", "J"), series)
    content = standalone(drawn(chart))
    across = float(ET.fromstring(content).get("width"))
    for one in ET.fromstring(content).iter(f"{SVG}text"):
        if not one.get("text-anchor"):
            size = float(one.get("font-size")) * 0.9  # widths are told rather too wide
            assert float(one.get("x")) + width(one.text or "", size) <= across


def test_where_nothing_can_be_drawn_is_an_error():
    empty = replace(sample_report("bench"), results=())
    with pytest.raises(SchemaError, match="nothing to draw"):
        SvgExporter().export(empty)


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (0.3, 0.31), (112, 2240), (1e-9, 5e-9), (5, 5), (0, 0), (-3, 2)]
)
@pytest.mark.parametrize("zero", [True, False])
def test_linear_axes_hold_their_values_and_a_few_ticks(low, high, zero):
    axis = linear([low, high], (0.0, 100.0), "J", zero=zero)
    assert axis.low <= low <= high <= axis.high
    assert 2 <= len(axis.ticks) <= 12
    assert axis.at(axis.low) == 0
    assert axis.at(axis.high) == 100
    labels = [axis.label(tick) for tick in axis.ticks]
    assert len(set(labels)) == len(labels)


@pytest.mark.parametrize(("low", "high"), [(1, 1000), (0.5, 3), (112, 2240), (1e-6, 1e4), (7, 9)])
def test_logarithmic_axes_hold_their_values_and_a_few_ticks(low, high):
    axis = logarithmic([low, high], (0.0, 100.0), "J")
    assert axis.low < low < high < axis.high
    assert 2 <= len(axis.ticks) <= 12
    middle = (low * high) ** 0.5
    assert axis.at(middle) == pytest.approx(50, abs=0.1)
