"""``greenai report``: pages and pictures of what other commands wrote."""

from __future__ import annotations

import json

import pytest

from greenai_core import write_report
from greenai_core.cli import exit_codes
from greenai_core.cli.report_sources import short_names
from greenai_core.testing.sample_reports import sample_report


@pytest.fixture
def reports(simulated):
    """A folder with a report for each kind."""
    for kind in ("bench", "train", "measure", "grade", "compare", "study"):
        write_report(sample_report(kind), simulated / kind / "report.json")
    return simulated


@pytest.fixture
def recording(greenai, simulated):
    done = greenai(
        "record", "--out", "run.csv", "-p", "sim", "--interval", "0.01", "--duration", "0.3"
    )
    assert done.code == 0, done.err
    return simulated / "run.csv"


@pytest.mark.parametrize("kind", ["bench", "train", "measure", "grade", "compare", "study"])
def test_every_kind_becomes_a_page(greenai, reports, kind):
    done = greenai("report", kind)
    assert done.code == 0, done.err
    assert done.out == ""
    assert "report.html" in done.err
    assert (reports / "report.html").read_text().startswith("<!DOCTYPE html>")


def test_several_outputs_of_one_reading(greenai, reports):
    done = greenai(
        "report", "bench", "train/report.json", "-o", "a.html", "-o", "b.md", "--pictures", "pics"
    )
    assert done.code == 0, done.err
    page = (reports / "a.html").read_text()
    assert "bench" in page
    assert "train" in page
    text = (reports / "b.md").read_text()
    assert text.startswith("# Energy of inference")
    assert "![energy](pics/energy.svg)" in text
    assert (reports / "pics" / "energy.svg").read_bytes().startswith(b"<svg")


def test_a_recording_becomes_power_over_time(greenai, simulated, recording):
    done = greenai("report", recording.name, "-o", "power.svg", "-o", "page.html")
    assert done.code == 0, done.err
    assert "Power over time" in (simulated / "power.svg").read_text()
    assert "Summary of the recording" in (simulated / "page.html").read_text()


def test_the_name_of_a_file_tells_its_picture(greenai, reports):
    assert greenai("report", "study", "-o", "latency.svg").code == 0
    assert "Latency against energy" in (reports / "latency.svg").read_text()
    assert greenai("report", "study", "-o", "x.svg").code == 0
    assert "Energy against size" in (reports / "x.svg").read_text()
    assert greenai("report", "study", "-o", "x.svg", "--picture", "spearman").code == 0
    assert "Spearman" in (reports / "x.svg").read_text()


def test_png_too(greenai, reports):
    done = greenai("report", "bench", "--pictures", "pics", "--pictures-as", "png")
    assert done.code == 0, done.err
    assert (reports / "pics" / "energy.png").read_bytes().startswith(b"\x89PNG")
    assert not (reports / "report.html").exists()


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("none",), exit_codes.REPORT, "none"),
        (("empty",), exit_codes.REPORT, "empty"),
        (("bench", "-o", "x.pdf"), exit_codes.USAGE, ".html"),
        (("study", "-o", "x.svg", "--picture", "nope"), exit_codes.REPORT, "pearson"),
        (("measure", "-o", "x.svg"), exit_codes.REPORT, "nothing to draw"),
        (("bench", "train", "-o", "x.json"), exit_codes.REPORT, "one report a file"),
        (("text.csv",), exit_codes.REPORT, "text.csv"),
        ((), exit_codes.USAGE, "Missing argument"),
    ],
)
def test_what_cannot_be_shown_is_one_line(greenai, reports, args, code, said):
    (reports / "empty").mkdir()
    (reports / "text.csv").write_text("a text")
    done = greenai("report", *args)
    assert done.code == code, done.err
    assert len(done.errors) == 1
    assert said in done.errors[0]
    assert "Traceback" not in done.err


def test_nothing_is_written_over_what_is_shown(greenai, reports, recording):
    for args in (
        ("bench", "-o", "bench/report.json"),
        ("bench/report.json", "-o", "./bench/report.json"),
        (recording.name, "--to", "csv", "-o", recording.name),
    ):
        before = (reports / args[-1]).read_bytes()
        done = greenai("report", *args)
        assert done.code == exit_codes.USAGE, done.err
        assert "would be lost" in done.errors[0]
        assert (reports / args[-1]).read_bytes() == before


def test_a_page_without_pictures_is_a_page(greenai, reports):
    """One command alone has nothing to draw; --pictures alone has then nothing to do."""
    done = greenai("report", "measure", "-o", "page.html", "--pictures", "pics")
    assert done.code == 0, done.err
    assert "no pictures: there is nothing to draw in measure" in done.err
    assert (reports / "page.html").exists()
    assert not (reports / "pics").exists()
    done = greenai("report", "measure", "--pictures", "pics")
    assert done.code == exit_codes.REPORT
    assert "nothing to draw" in done.errors[0]


def test_names_are_as_short_as_tells_them_apart(tmp_path):
    made = [tmp_path / name for name in ("a/old/report.json", "a/new", "b/old")]
    assert short_names(made) == ["a/old", "a/new", "b/old"]
    assert short_names(made[:2]) == ["old", "new"]
    assert short_names([made[0], made[0]]) == ["old", "old"]


def test_csv_and_json_of_a_study_are_for_machines(greenai, reports):
    done = greenai("export", "study", "--to", "csv")
    assert done.out.splitlines()[0].startswith("model,pixels,batch_size,runs")
    assert json.loads(greenai("export", "study", "--to", "json").out)["kind"] == "study"
