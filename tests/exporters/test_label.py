"""Labels and badges: what stands in them, and that names cannot break them."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenai_core import SchemaError, to_json
from greenai_core.results import Figure, Grade
from greenai_core.testing.exporter_suite import ExporterConformance
from greenai_core.testing.sample_reports import figure, sample_report
from greenai_plugins.exporters.badge import BadgeExporter
from greenai_plugins.exporters.label import WIDTH, LabelExporter
from greenai_plugins.exporters.svg_text import clean, lines, width

SVG = "{http://www.w3.org/2000/svg}"
EACH = pytest.mark.parametrize("kind", [LabelExporter, BadgeExporter])

ENERGY = Figure(0.284, 0.21, 0.36, 0.28, 0.29, "counter", "cpu:0/package")
GRADE = Grade(
    "scale", "task/x/laptop/2024.1", "C", "B", False, "measured", ("0.284 J/image",), "B needs",
    per_unit_j=ENERGY, unit="image", pue=1.0, hardware_class="laptop",
)  # fmt: skip


def report(command=("folder/train.py", "--token", "secret"), grade=GRADE, **changes):
    made = sample_report("grade")
    (one,) = made.results
    return replace(made, results=(replace(one, command=command, grade=grade, **changes),))


def svg(kind, made):
    return ET.fromstring(kind().export(made))


def texts(root):
    return [element.text or "" for element in root.iter(f"{SVG}text")]


def joined(root):
    return " ".join(texts(root))


def about(root):
    return " ".join(element.text or "" for element in root.iter(f"{SVG}desc"))


class _Suite(ExporterConformance):
    precision = 1e-5

    def read_energies(self, content):
        found = re.findall(r"Gross energy of [a-z ]+: (?:([\d.e+-]+) J|unknown)", content.decode())
        return [float(number) if number else None for number in found]


class TestLabelConformance(_Suite):
    def make_exporter(self):
        return LabelExporter()


class TestBadgeConformance(_Suite):
    def make_exporter(self):
        return BadgeExporter()


def test_a_label_tells_everything_that_a_letter_is_of():
    told = joined(svg(LabelExporter, report()))
    assert "train.py" in told
    assert "284 mJ per image" in told
    assert "210 to 360 mJ (95 %), above idle" in told
    assert "cpu (counter)" in told
    assert "laptop" in told
    assert "task/x/laptop/2024.1" in told
    assert "2024-05-06" in told
    assert "self-declared, not an official EU label" in told
    assert "reaches from B to C: the worse letter counts" in told
    assert [text for text in texts(svg(LabelExporter, report())) if len(text) == 1].count("C") == 2


@EACH
def test_arguments_and_folders_stay_out(kind):
    for command in (("folder/train.py", "--token", "secret"), ("python3", "a/b/c.py", "secret")):
        text = kind().export(report(command)).decode()
        assert "secret" not in text
        assert "folder" not in text
        assert "a/b" not in text


@EACH
def test_boards_are_counted_and_not_named(kind):
    made = report()
    (one,) = made.results
    (cpu,) = one.gross.channels
    boards = tuple(replace(cpu, id=f"gpu:GPU-{i}", component="gpu") for i in range(4))
    beside = replace(cpu, id="wall:my kitchen", component="wall", in_total=False)
    gross = replace(one.gross, channels=(cpu, *boards, beside))
    root = svg(kind, replace(made, results=(replace(one, gross=gross),)))
    assert "cpu (counter), 4 × gpu (counter)" in about(root)
    assert "GPU-" not in about(root) + joined(root)
    assert "kitchen" not in about(root) + joined(root)


@pytest.mark.parametrize(
    "grade",
    [
        None,
        Grade("scale", None, None, None, False, "measured", ("ungraded: no reference",), ""),
    ],
)
def test_without_a_letter_there_are_no_bars(grade):
    root = svg(LabelExporter, report(grade=grade))
    assert "ungraded" in joined(root)
    assert not [text for text in texts(root) if len(text) == 1 and text in "ABCDEFG"]
    assert "no reference" in joined(root) or "nobody asked" in joined(root)
    assert "ungraded" in joined(svg(BadgeExporter, report(grade=grade)))


@EACH
def test_unknown_energy_is_no_zero(kind):
    root = svg(kind, sample_report("grade", known=False))
    assert "0 J" not in joined(root)
    assert "unknown" in about(root)


def test_a_provisional_scale_shows_a_and_g_faded():
    root = svg(LabelExporter, report(grade=replace(GRADE, provisional=True)))
    faded = [path for path in root.iter(f"{SVG}path") if path.get("opacity")]
    assert len(faded) == 2
    assert "provisional" in joined(root)


def test_what_is_modelled_is_called_so():
    root = svg(LabelExporter, report(grade=replace(GRADE, tier="estimated")))
    assert "estimated: modelled, not measured" in joined(root)
    assert "≈" in joined(svg(BadgeExporter, report(grade=replace(GRADE, tier="estimated"))))


def test_a_change_against_a_baseline_stands_where_the_letter_would():
    share = Figure(-0.2, -0.22, -0.18, -0.22, -0.18, "counter", "x")
    grade = replace(GRADE, letter=None, best_letter=None, scale="self/1", change=share)
    assert "−20.0 % against a baseline" in joined(svg(LabelExporter, report(grade=grade)))
    assert "284 mJ/image, −20.0 %" in joined(svg(BadgeExporter, report(grade=grade)))


@EACH
def test_a_change_stands_beside_a_letter(kind):
    share = Figure(-0.2, -0.22, -0.18, -0.22, -0.18, "counter", "x")
    against = replace(GRADE, letter=None, best_letter=None, scale="self/1", change=share)
    root = svg(kind, report(against_baseline=against))
    assert "−20.0 % (−22.0 % to −18.0 %) against a baseline" in about(root)
    assert "C (B–C)" in root.get("aria-label")
    if kind is LabelExporter:
        assert "−20.0 % (−22.0 % to" in joined(root)


def test_the_pue_is_told():
    root = svg(LabelExporter, report(grade=replace(GRADE, pue=1.58)))
    assert "above idle × PUE 1.58" in joined(root)


def test_a_graded_model_has_a_label():
    made = sample_report("bench")
    (one,) = made.results
    root = svg(LabelExporter, replace(made, results=(replace(one, grade=GRADE),)))
    assert "284 mJ per image" in joined(root)
    root = svg(LabelExporter, made)
    assert "200 mJ per inference" in joined(root)
    gross = replace(one, net_energy_per_inference_j=None)
    root = svg(LabelExporter, replace(made, results=(gross,)))
    assert "500 mJ per inference" in joined(root)
    assert "gross" in joined(root)


def test_the_badge_is_a_line():
    root = svg(BadgeExporter, report())
    assert joined(root) == "energy C (B–C) 284 mJ/image"
    assert float(root.get("height")) == 20


@EACH
def test_who_cannot_see_it_is_told_it(kind):
    root = svg(kind, report())
    assert root.get("role") == "img"
    assert "C (B–C)" in root.get("aria-label")
    assert root.find(f"{SVG}title").text == root.get("aria-label")
    assert "not an official EU label" in root.find(f"{SVG}desc").text


@EACH
def test_several_results_make_a_sheet(kind):
    made = report()
    root = svg(kind, replace(made, results=made.results * 3))
    groups = root.findall(f"{SVG}g")
    assert len(groups) == 3
    assert len({group.get("transform") for group in groups}) == 3
    assert all(group.find(f"{SVG}desc") is not None for group in groups)


@EACH
@pytest.mark.parametrize("kind_of_report", ["train", "compare"])
def test_there_is_no_label_of_other_reports(kind, kind_of_report):
    with pytest.raises(SchemaError, match="no label for a report"):
        kind().export(sample_report(kind_of_report))


# Hostile names


NASTY = "\"><script>alert('x')</script>&amp; \x1b[31m\x00 \u202egnp.exe \udcff \ufffe ]]> 日本語"


def everywhere(words):
    """A report in which every name is one text."""
    grade = replace(
        GRADE, scale=words, unit=words, hardware_class=words, reasons=(words,), tier="measured"
    )
    made = report((words,), grade)
    (one,) = made.results
    (channel,) = one.gross.channels
    gross = replace(one.gross, channels=(replace(channel, component=words, method=words),) * 2)
    return replace(made, created=words, results=(replace(one, gross=gross),))


@EACH
@settings(deadline=None)
@given(st.text() | st.just(NASTY) | st.just("") | st.just("x" * 5000))
def test_no_name_breaks_out(kind, words):
    root = svg(kind, everywhere(words))
    allowed = {"svg", "title", "desc", "style", "rect", "path", "text"}
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= allowed
    content = kind().export(everywhere(words)).decode()
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00-\x09\x0b-\x1f]", content)
    assert float(root.get("width")) <= WIDTH
    assert float(root.get("height")) < 1000


@EACH
def test_nothing_comes_from_elsewhere(kind):
    content = kind().export(everywhere(NASTY)).decode()
    assert content.count("http") == 1, "the name space alone"
    for word in ("<script", "<image", "<use", "href", "url(", "@import", "onload"):
        assert word not in content
    assert "prefers-color-scheme:dark" in content


@pytest.mark.parametrize(
    "words",
    [
        "x" * 300,
        "task/" + "image-classification-" * 4 + "/2026.1",
        "W" * 200,
        "語" * 120,
        "a b " * 99,
    ],
)
def test_long_names_stay_inside(words):
    """Every line, in the font that systems fall back on, ends before the edge."""
    root = svg(LabelExporter, everywhere(words))
    for element in root.iter(f"{SVG}text"):
        if element.get("text-anchor") != "middle":
            right = float(element.get("x")) + width(
                element.text or "", float(element.get("font-size"))
            )
            assert right <= WIDTH, element.text


@given(st.text(min_size=1), st.integers(1, 4), st.floats(20, 400))
def test_lines_fit(words, most, room):
    found = lines(words, 11, room, most)
    assert len(found) <= most
    assert all(width(line, 11) <= room or len(line) <= 1 for line in found)


def test_what_does_not_fit_loses_its_middle():
    (line,) = lines("begin" + "x" * 100 + "end", 10, 120, 1)
    assert line.startswith("begin")
    assert line.endswith("end")
    assert "…" in line


def test_short_names_are_left_alone():
    assert lines("resnet50.onnx", 15, 320, 2) == ["resnet50.onnx"]
    assert clean("a\tb\n c") == "a b c"


def test_the_samples_are_not_changed_by_being_labelled():
    made = report()
    before = to_json(made)
    LabelExporter().export(made)
    assert to_json(made) == before


def test_very_small_and_very_large_energies_are_readable():
    for joules, told in ((2.5e-7, "250 nJ"), (3.6e6, "3.60 MJ"), (-0.5, "−500 mJ")):
        grade = replace(GRADE, per_unit_j=figure(joules))
        assert f"{told} per image" in joined(svg(LabelExporter, report(grade=grade)))


def test_three_digits_whatever_the_size():
    """What rounds up takes the next unit, and very small is not written with many zeros."""
    for joules, told in (
        (0.9997, "1.00 J"),
        (9.996, "10.0 J"),
        (3.2e-13, "320 fJ"),
        (3.2e13, "32.0 TJ"),
    ):
        grade = replace(GRADE, per_unit_j=figure(joules), tier="measured")
        assert f" {told} per image" in f" {joined(svg(LabelExporter, report(grade=grade)))}"


@pytest.mark.parametrize("letter", ["C", None])
def test_what_is_modelled_is_called_so_at_first_sight(letter):
    """With a letter or without: nobody takes an estimate for a measurement."""
    grade = replace(GRADE, letter=letter, best_letter=letter, tier="estimated")
    badge = joined(svg(BadgeExporter, report(grade=grade)))
    assert "≈ 284 mJ/image" in badge
    assert badge.endswith("estimated")
    label = joined(svg(LabelExporter, report(grade=grade)))
    assert "ESTIMATED" in label
    assert "≈ 284 mJ per image" in label
    measured = report(grade=replace(grade, tier="measured"))
    for kind in (BadgeExporter, LabelExporter):
        assert "ESTIMATED" not in joined(svg(kind, measured)).upper()


@EACH
def test_a_module_is_called_by_its_name(kind):
    text = kind().export(report(("-m", "package.evaluate", "--token", "secret"))).decode()
    assert "package.evaluate" in text
    assert "secret" not in text


def test_scripts_keep_what_joins_their_letters():
    """Persian is misspelt without U+200C, and joined emoji fall apart without U+200D."""
    assert clean("می\u200cروم") == "می\u200cروم"
    assert clean("👩\u200d👧") == "👩\u200d👧"
    assert clean("a\u202eb\u200b") == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}"
