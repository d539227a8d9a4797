"""Reports as pages: what they show, what they never show, what they never load."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace

import pytest
from page_reading import downloads, everything, loaded, read_page, rows_of

from greenai_core import ReportSource, SchemaError
from greenai_core.results import Repetition
from greenai_core.study_results import StudyMetric, StudyResult, StudyRow
from greenai_core.testing.exporter_suite import ExporterConformance
from greenai_core.testing.sample_reports import SAMPLE_ENERGY_J, figure, sample_report
from greenai_plugins.exporters.html_exporter import HtmlExporter
from greenai_plugins.exporters.quantities import Quantity, written

HOSTILE = (
    '</script><script>alert(1)</script><img src="http://evil/x" onerror=a>\u2028\u202e]]>&<!--'
)

SHOWN = ("bench", "compare", "grade", "measure", "powercap", "study", "train")
KINDS = pytest.mark.parametrize("kind", SHOWN)


class TestHtmlConformance(ExporterConformance):
    precision = 1e-2

    def make_exporter(self):
        return HtmlExporter()

    def read_energies(self, content):
        """From the column of the summary that has the word energy."""
        head, *body = rows_of(summary(read_page(content)))
        column = next(i for i, cell in enumerate(head) if cell.startswith("energy"))
        unit = head[column].partition(", ")[2].split(" ")[0]
        return [joules(row[column], unit) for row in body]


def joules(cell, unit):
    if cell.startswith("unknown"):
        return None
    value, *rest = cell.split()
    unit = unit or rest[0]
    return float(value) * {"J": 1, "mJ": 1e-3, "µJ": 1e-6, "kJ": 1e3}[unit]


def summary(root):
    section = next(s for s in root.all("section") if s.all("h2")[0].text == "Summary")
    return section.all("table")[0]


def page(*sources):
    named = [ReportSource(f"report {i}", content) for i, content in enumerate(sources, 1)]
    return HtmlExporter().export_several(named)


def study(sizes=6, models=("a",), method="counter", batches=(1,)):
    rows = tuple(
        StudyRow(model, 64 * (i + 1), batch, 3, True, ("gpu:0",), metrics(i + 1, method))
        for model in models
        for batch in batches
        for i in range(sizes)
    )
    result = StudyResult("s", "pixels", (), rows, "greenai", 3 * len(rows), 0)
    return replace(sample_report("bench"), kind="study", results=(result,))


def metrics(i, method):
    values = {
        "energy_total_j": 0.2 * i,
        "energy_per_sample_j": 0.2 * i,
        "energy_package_j": 0.05 * i,
        "energy_dram_j": 0.01 * i,
        "energy_gpu0_j": 0.14 * i + 0.001 * i * i,
        "latency_s": 0.002 * i,
        "power_w": 100.0 + i % 3,
        "sm_percent": 40.0 + 2 * i,
        "gpu_memory_b": 1e9 + 1e8 * i * i,
    }
    return tuple(
        StudyMetric(n, v, 0.9 * v, 1.1 * v, 0.95 * v, 1.05 * v, method, 3, (v, 0.98 * v, 1.03 * v))
        for n, v in values.items()
    )


def hostile(value):
    """The same with every text in it hostile."""
    if isinstance(value, str):
        return HOSTILE
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return tuple(map(hostile, value))
    if isinstance(value, dict):
        return {HOSTILE + key: hostile(item) for key, item in value.items()}
    if hasattr(value, "__dataclass_fields__"):
        kept = ("kind", "method", "letter", "best_letter", "name") if is_metric(value) else KEPT
        changed = {
            name: hostile(getattr(value, name))
            for name in value.__dataclass_fields__
            if name not in kept and value.__dataclass_fields__[name].init
        }
        return replace(value, **changed)
    return value


KEPT = ("kind", "method", "letter", "best_letter", "verdict", "label", "design")


def is_metric(value):
    return isinstance(value, StudyMetric)


@KINDS
def test_a_page_of_each_kind_has_tables_and_downloads(kind):
    root = read_page(page(sample_report(kind)))
    assert root.all("h1")[0].text
    assert len(root.all("table")) >= 2
    files = downloads(root)
    assert sorted(name.rpartition(".")[2] for name in files) == ["csv", "json"]
    content = json.loads(next(files[name] for name in files if name.endswith("json")))
    assert content["kind"] == kind


@KINDS
@pytest.mark.parametrize("known", [True, False])
def test_nothing_is_loaded(kind, known):
    root = read_page(page(sample_report(kind, known=known)))
    for tag, name, value in loaded(root):
        assert tag == "a", (tag, name, value[:40])
        assert value.startswith(("#", "data:text/csv;base64,", "data:application/json;base64,"))
    assert not root.all("link")
    assert not root.all("iframe")
    assert not re.search(rb"url\(|@import", page(sample_report(kind, known=known)))


def test_the_policy_allows_its_own_script_and_style_only():
    root = read_page(page(sample_report("bench")))
    policy = next(
        m.attributes["content"]
        for m in root.all("meta")
        if m.attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for tag, rule in (("script", "script-src"), ("style", "style-src")):
        (one,) = root.all(tag)
        found = base64.b64encode(hashlib.sha256(one.text.encode()).digest()).decode()
        assert f"{rule} 'sha256-{found}'" in policy
    assert not [one for one in everything(root) if "style" in one.attributes]
    assert not [n for one in everything(root) for n in one.attributes if n.startswith("on")]


@KINDS
def test_texts_of_reports_are_no_markup(kind):
    content = page(hostile(sample_report(kind)))
    root = read_page(content)
    assert len(root.all("script")) == 1
    assert not root.all("img")
    assert "\u202e" not in content.decode()
    assert "\u2028" not in content.decode()
    for tag, _, value in loaded(root):
        assert tag == "a"
        assert value.startswith(("#", "data:"))
    assert "alert(1)" in root.words()  # it is shown, as text


@KINDS
def test_ids_are_there_once(kind):
    root = read_page(page(sample_report(kind), sample_report(kind)))
    ids = [one.attributes["id"] for one in everything(root) if "id" in one.attributes]
    assert len(ids) == len(set(ids))
    for link in root.all("a"):
        if link.attributes["href"].startswith("#"):
            assert link.attributes["href"][1:] in ids


@KINDS
def test_every_picture_has_a_name_words_and_its_figures(kind):
    for one in read_page(page(sample_report(kind), sample_report(kind))).all("figure"):
        drawings = [svg for svg in one.all("svg") if svg.attributes.get("role") == "group"]
        assert drawings
        assert all(svg.attributes["aria-label"] for svg in drawings)
        assert one.all("figcaption")[0].text
        assert one.all("details")[0].all("table")
        assert [g for g in drawings[0].all("g") if g.attributes.get("class") == "p"]


def test_a_figure_is_written_with_its_interval():
    assert written(Quantity(0.27, 0.25, 0.29)) == "0.270 J (0.250 … 0.290)"
    assert written(Quantity(0.0154, 0.0121, 0.0187)) == "15.4 mJ (12.1 … 18.7)"
    assert written(Quantity(256.0, unit="W")) == "256 W"
    assert written(Quantity(None)) == "unknown"
    assert written(Quantity(-0.5, -0.9, -0.1)) == "−0.50 J (−0.90 … −0.10)"
    assert written(Quantity(0.0)) == "0 J"
    assert written(Quantity(1.4e10, unit="B")) == "14.0 GB"


def test_what_is_modelled_says_so():
    (one,) = sample_report("bench").results
    modelled = replace(one, energy_per_inference_j=figure(SAMPLE_ENERGY_J, "modelled"))
    told = read_page(page(replace(sample_report("bench"), results=(modelled,))))
    assert "Modelled, not measured" in told.all("header")[0].words()
    assert "modelled" in rows_of(summary(told))[0][1]
    assert 'class="m h"' in page(replace(sample_report("bench"), results=(modelled,))).decode()
    mixed = read_page(page(replace(sample_report("bench"), results=(one, modelled))))
    first, second = rows_of(summary(mixed))[1:]
    assert "modelled" not in first[1]
    assert "modelled" in second[1]
    measured = read_page(page(sample_report("bench")))
    assert "odelled" not in measured.all("header")[0].words()


def test_a_picture_of_modelled_figures_is_tagged():
    headings = read_page(page(study(method="modelled"))).all("h3")
    energy = next(one for one in headings if one.text.startswith("Energy against size"))
    assert [tag.text for tag in energy.all("span")] == ["modelled"]
    counted = read_page(page(study(method="counter"))).all("h3")
    assert not [tag for one in counted for tag in one.all("span")]


def test_sizes_without_a_unit_and_machines_without_a_name_read_well():
    """As of a folder of AIPowerMeter, which tells neither."""
    known = study(6)
    result = replace(known.results[0], size_name="size")
    root = read_page(page(replace(known, created="", environment={}, results=(result,))))
    words = root.words()
    assert " at size 64 and " in words
    assert "size, size" not in words
    made = next(row for table in root.all("table") for row in rows_of(table) if row[0] == "made")
    assert made == ["made", "unknown"]


def test_an_undecided_finding_begins_with_a_capital():
    report = sample_report("compare")
    undecided = replace(
        report.results[0],
        ratios=tuple(replace(one, verdict="undecided") for one in report.results[0].ratios),
    )
    root = read_page(page(replace(report, results=(undecided,))))
    finding = next(one for one in root.all("p") if one.attributes.get("class") == "finding")
    assert finding.text.startswith("Whether ")


def test_unknown_is_no_zero():
    root = read_page(page(sample_report("bench", known=False)))
    row = rows_of(summary(root))[1]
    assert "unknown" in row[1]
    assert "the sensor vanished" in root.words()
    (picture,) = root.all("figure")
    assert "unknown" in picture.all("svg")[-1].words()


def test_two_reports_stand_beside_each_other_with_verdicts():
    first = sample_report("bench")
    (one,) = first.results
    half = replace(
        one,
        energy_per_inference_j=figure(SAMPLE_ENERGY_J / 2),
        channels=tuple(
            replace(c, energy_per_inference_j=figure(SAMPLE_ENERGY_J / 2)) for c in one.channels
        ),
    )
    root = read_page(page(first, replace(first, results=(half,))))
    head, before, after = rows_of(root.all("table")[0])
    assert head[-1] == "verdict"
    assert before[-1] == "the first"
    assert after[-1] == "better"
    assert "less energy" in root.all("header")[0].words()
    machines = next(t for t in root.all("table") if t.all("caption")[0].text == "Machine")
    assert rows_of(machines)[0] == ["", "report 1", "report 2"]


def test_reports_that_cannot_be_compared_say_why():
    root = read_page(page(sample_report("bench"), sample_report("train")))
    assert "an inference and a training step are different things" in root.words()


def test_unknown_kinds_and_nothing_are_refused():
    with pytest.raises(SchemaError, match="no such kind"):
        page(replace(sample_report("bench"), kind="no such kind"))
    with pytest.raises(SchemaError, match="no report"):
        HtmlExporter().export_several([])


def test_a_study_shows_growth_relations_and_failures():
    root = read_page(page(study(8)))
    pictures = {one.attributes["id"] for one in root.all("figure")}
    assert pictures >= {
        f"picture-{name}"
        for name in ("energy", "channels", "cpu-gpu", "latency", "pearson", "spearman")
    }
    titles = [h.text for h in root.all("h2")]
    assert "How it grows" in titles
    failed = read_page(page(sample_report("study")))
    assert "out | of memory" in failed.words()
    assert "it was | warm" in failed.words()


def test_studies_beside_each_other_are_told_apart():
    root = read_page(page(study(5), study(5, method="modelled")))
    (energy,) = [f for f in root.all("figure") if f.attributes["id"] == "picture-energy"]
    names = [b.words() for b in energy.all("button") if b.attributes["class"] == "series"]
    assert names == ["a · report 1", "a · report 2 (modelled)"]


def test_a_study_without_any_figure_is_a_page():
    empty = StudyResult("s", "pixels", (), (), "greenai", 10, 10)
    content = page(replace(study(), results=(empty,)))
    assert "No energy is known" in read_page(content).words()


def test_200_cells_stay_small():
    content = page(study(20, tuple("abcde"), batches=(1, 8)))
    assert len(content) < 3_000_000


def test_a_page_of_long_runs_stays_small_and_offers_what_fits():
    (one,) = sample_report("bench").results
    blocks = tuple(
        Repetition(i * 0.1, 0.1, 0.1, 10, one.repetitions[0].channels) for i in range(30_000)
    )
    content = page(replace(sample_report("bench"), results=(replace(one, repetitions=blocks),)))
    root = read_page(content)
    assert len(content) < 3_000_000
    assert [name for name in downloads(root) if name.endswith(".csv")]
    assert not [name for name in downloads(root) if name.endswith(".json")]
    assert "too large for a page" in root.words()


def test_names_that_are_no_utf8_are_written():
    (one,) = sample_report("bench").results
    odd = replace(one, model=replace(one.model, path="b\udcffd.onnx"))
    content = page(replace(sample_report("bench"), results=(odd,)))
    assert "b\ufffdd.onnx" in content.decode()


def test_columns_share_a_unit_unless_figures_are_far_apart():
    (one,) = sample_report("bench").results
    small = replace(one, energy_per_inference_j=figure(1e-6))
    near = replace(one, energy_per_inference_j=figure(0.9))
    far = rows_of(summary(read_page(page(replace(sample_report("bench"), results=(one, small))))))
    assert [row[1].split(" (")[0] for row in far] == ["energy", "0.500 J", "1.00 µJ"]
    close = rows_of(summary(read_page(page(replace(sample_report("bench"), results=(one, near))))))
    assert [row[1].split(" (")[0] for row in close] == ["energy, J", "0.500", "0.900"]
