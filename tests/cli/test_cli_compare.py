"""``greenai compare``: verdicts in words, reports, exit codes, and what survives a failure."""

import csv
import json
import os
import signal

import pytest

from greenai_core import read_report
from greenai_core.cli import exit_codes
from greenai_core.cli.progress import Progress

SHORT = ("-p", "sim", "--quads", "6", "--max-time", "0.5")


def report_of(folder):
    return json.loads((folder / "report.json").read_text())


@pytest.fixture
def pair(tiny):
    """A quick model and one that takes far longer."""
    return tiny("a.tiny", seconds=0.002), tiny("b.tiny", seconds=0.05)


def test_the_dearer_model_is_named_in_words(greenai, pair):
    done = greenai("compare", *pair, *SHORT)
    assert done.code == 0, done.err
    text = " ".join(done.out.split())
    assert "B (b.tiny) uses" in text
    assert "energy than A (a.tiny)" in text or "as much as A (a.tiny)" in text
    assert "worse" in text
    assert max(map(len, done.out.splitlines())) <= 80


def test_the_json_has_the_quads_behind_the_ratio(greenai, pair, simulated):
    done = greenai("compare", *pair, *SHORT, "--json")
    assert done.code == 0, done.err
    assert report_of(simulated / "greenai-report") == done.json
    assert done.json["kind"] == "compare"
    assert done.json["complete"]
    (result,) = done.json["results"]
    assert [model["model"]["path"] for model in result["models"]] == ["a.tiny", "b.tiny"]
    (ratio,) = result["ratios"]
    assert ratio["low"] < ratio["value"] < ratio["high"]
    assert ratio["verdict"] == "worse"
    assert len(result["quads"]) == 6
    assert {quad["order"] for quad in result["quads"]} <= {"ABBA", "BAAB"}
    assert read_report(simulated / "greenai-report" / "report.json").results[0].unit == "inference"


def test_worse_is_an_exit_code_only_where_it_is_asked_for(greenai, pair):
    assert greenai("compare", *pair, *SHORT, "--fail-if-worse").code == exit_codes.WORSE
    assert greenai("compare", *reversed(pair), *SHORT, "--fail-if-worse").code == 0


def test_the_exporters_show_a_comparison(greenai, pair):
    greenai("compare", *pair, *SHORT)
    markdown = greenai("export", "greenai-report", "--to", "markdown").out
    assert "# Energy compared" in markdown
    assert "| worse |" in markdown
    table = greenai("export", "greenai-report", "--to", "csv").out.splitlines()
    first, other = csv.DictReader(table)
    assert (first["verdict"], first["ratio"]) == ("", "")
    assert other["verdict"] == "worse"
    assert float(other["ratio_low"]) < float(other["ratio"]) < float(other["ratio_high"])


def test_a_third_model_that_fails_does_not_stop_the_others(greenai, pair, tiny):
    done = greenai(
        "compare", pair[0], tiny("crash.tiny", crash="out of cheese"), pair[1], *SHORT, "--json"
    )
    assert done.code == exit_codes.MODEL
    (result,) = done.json["results"]
    assert [model["energy_j"] is None for model in result["models"]] == [False, True, False]
    (ratio,) = result["ratios"]
    assert (ratio["label"], ratio["verdict"]) == ("C", "worse")
    assert "out of cheese" in result["failed"][0]["reason"]


def test_without_the_first_model_nothing_is_compared(greenai, pair, simulated):
    """The second must not become what the others are compared with."""
    done = greenai("compare", "nope.tiny", *pair, *SHORT)
    assert done.code == exit_codes.MODEL
    assert done.out == ""
    assert not (simulated / "greenai-report" / "report.json").exists()


def test_modelled_joules_are_labelled(greenai, pair):
    done = greenai("compare", *pair, *SHORT[2:], "-p", "sim-model")
    assert done.code == 0, done.err
    assert "modelled" in done.out
    assert "not measured" in " ".join(done.out.split())


def test_a_sensor_that_vanishes_gives_no_ratio(greenai, pair, simulated, monkeypatch):
    gone = simulated / "gone"

    class Unplugged(Progress):
        def __call__(self, share, text):
            if text.startswith("2 of"):
                gone.touch()

    monkeypatch.setattr("greenai_core.cli.compare.Progress", Unplugged)
    done = greenai("compare", *pair, *SHORT, "-O", f"sim.lost_file={gone}", "--json")
    assert done.code == exit_codes.MEASUREMENT
    (result,) = done.json["results"]
    assert result["ratios"] == []
    assert result["missing"][0]["id"] == "cpu:0/package"
    assert "no ratio" in done.err


def test_ctrl_c_keeps_the_quads_measured(greenai, pair, simulated, monkeypatch):
    class Pressed(Progress):
        def __call__(self, share, text):
            if text.startswith("2 of"):
                os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("greenai_core.cli.compare.Progress", Pressed)
    done = greenai("compare", *pair, *SHORT, "--json")
    assert done.code == 130, done.err
    assert done.json["complete"] is False
    assert done.json == report_of(simulated / "greenai-report")
    (result,) = done.json["results"]
    assert len(result["quads"]) == 2
    assert result["ratios"][0]["verdict"] == "undecided"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["a.tiny"], "two models"),
        (["a.tiny", "b.tiny", "--quads", "5"], "--quads"),
        (["a.tiny", "b.tiny", "--equivalent", "a lot"], "--equivalent a lot"),
        (["a.tiny", "b.tiny", "--equivalent", "150%"], "--equivalent 150%"),
        (["a.tiny", "b.json"], "cannot be mixed"),
    ],
)
def test_a_wrong_use_is_one_line(greenai, pair, args, said):
    done = greenai("compare", *args)
    assert done.code == exit_codes.USAGE
    assert len(done.errors) == 1
    assert said in done.errors[0]


# Reports


@pytest.fixture
def benched(greenai, pair, quick):
    """Two folders with a report of one model each."""
    for folder, model in zip(("one", "two"), pair, strict=True):
        assert greenai("bench", model, *quick, "--out", folder).code == 0
    return "one", "two"


def test_two_reports_are_compared_with_a_warning(greenai, benched, simulated):
    before = [report_of(simulated / folder) for folder in benched]
    done = greenai("compare", *benched)
    assert done.code == 0, done.err
    assert "made apart" in done.err
    assert "against A" in done.out
    assert "one" in done.out
    assert [report_of(simulated / folder) for folder in benched] == before
    assert not (simulated / "greenai-report").exists()


def test_files_do_as_well_as_folders_and_can_be_kept(greenai, benched, simulated):
    done = greenai("compare", "one/report.json", "two/report.json", "--out", "both", "--json")
    assert done.code == 0, done.err
    assert report_of(simulated / "both") == done.json
    assert done.json["results"][0]["design"] == "reports"


def test_a_report_that_is_compared_is_never_replaced(greenai, benched, simulated):
    before = report_of(simulated / "one")
    done = greenai("compare", *benched, "--out", "one")
    assert done.code == exit_codes.USAGE
    assert "would replace" in done.errors[0]
    assert report_of(simulated / "one") == before


def test_reports_that_mean_different_things_are_refused(greenai, benched, pair, quick):
    greenai("bench", pair[1], *quick[2:], "-p", "sim-model", "--out", "modelled")
    done = greenai("compare", "one", "modelled")
    assert done.code == exit_codes.REPORT
    assert "modelled" in done.errors[0]


def test_a_report_that_is_not_there_is_told(greenai, benched):
    done = greenai("compare", "one", "three.json")
    assert done.code == exit_codes.REPORT
    assert "three.json" in done.errors[0]
