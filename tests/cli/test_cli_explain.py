"""``greenai explain``: where figures come from, and ``--raw`` of the commands that measure."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from greenai_core.cli import exit_codes


@pytest.fixture
def arrays(simulated):
    rng = np.random.default_rng(0)
    np.savez(
        simulated / "a.npz", x=rng.random((10, 2), np.float32), y=rng.random((10, 3), np.float32)
    )
    return ("--data", "a.npz", "--batch-size", "4")


@pytest.fixture
def benched(greenai, tiny, quick, simulated):
    """A report with raw readings."""
    done = greenai("bench", tiny(), "-O", "sim.gain=0.03", *quick, "--raw", "--out", "r")
    assert done.code == 0, done.err
    assert "raw readings written to r/report.raw-1.npz" in done.err
    return simulated / "r" / "report.json"


def edit(path, change):
    data = json.loads(path.read_text())
    change(data["results"][0])
    path.write_text(json.dumps(data))


def test_figures_and_their_budgets_in_80_columns(greenai, benched):
    done = greenai("explain", "r")
    assert done.code == 0, done.err
    assert "every figure was derived again from the raw readings: nothing differs" in done.out
    for text in ("energy per inference", "latency", "repetition", "gain", "simulated", "together"):
        assert text in done.out
    assert "NOT" not in done.out
    assert max(map(len, done.out.splitlines())) <= 80


def test_json_has_every_term_and_its_share(greenai, benched):
    done = greenai("explain", benched, "--json")
    assert done.code == 0
    assert done.json["agrees"]
    (result,) = done.json["results"]
    assert result["origin"] == "raw"
    figure = next(f for f in result["figures"] if f["path"] == "results[0].energy_per_inference_j")
    assert figure["again"] == figure["value"]
    assert figure["unit"] == "J"
    assert sum(term["share_of_variance"] for term in figure["budget"]) == pytest.approx(1)
    total = figure["factor"] * figure["u"]
    assert figure["high"] - figure["value"] == pytest.approx(total, rel=1e-6)


def test_an_edited_figure_is_an_error(greenai, benched):
    edit(benched, lambda result: result["latency_s"].update(value=1e-9))
    done = greenai("explain", benched)
    assert done.code == exit_codes.REPORT
    assert "NOT TRACED" in done.out
    assert any("results[0].latency_s.value is 1e-09" in line for line in done.errors)


def test_many_changes_are_counted(greenai, benched):
    def change(result):
        for repetition in result["repetitions"]:
            repetition["work_s"] *= 2

    edit(benched, change)
    done = greenai("explain", benched)
    assert done.code == exit_codes.REPORT
    assert "more problems in results[0]" in done.err
    assert len(done.errors) <= 11
    assert len(greenai("explain", benched, "--json").json["results"][0]["problems"]) > 11


def test_a_damaged_raw_file_is_an_error(greenai, benched):
    raw = benched.with_name("report.raw-1.npz")
    raw.write_bytes(raw.read_bytes()[:-50])
    done = greenai("explain", benched)
    assert done.code == exit_codes.REPORT
    assert "report.raw-1.npz does not belong to the report" in done.errors[0]


def test_without_raw_readings_the_repetitions_are_used(greenai, tiny, quick):
    assert greenai("bench", tiny(), *quick).code == 0
    done = greenai("explain", "greenai-report")
    assert done.code == 0, done.err
    assert "from the repetitions in the report" in " ".join(done.out.split())
    assert "measure with --raw" in done.err


def test_each_model_has_its_raw_file(greenai, tiny, quick, simulated):
    done = greenai("bench", tiny("a.tiny"), tiny("b.tiny"), *quick, "--raw", "--out", "r", "--json")
    assert [result["raw"]["name"] for result in done.json["results"]] == [
        "report.raw-1.npz",
        "report.raw-2.npz",
    ]
    assert greenai("explain", "r").code == 0


def test_without_the_flag_nothing_is_kept(greenai, tiny, quick, simulated):
    assert greenai("bench", tiny(), *quick, "--json").json["results"][0]["raw"] is None
    assert not list(simulated.rglob("*.npz"))


def test_a_comparison_is_not_said_to_be_derived(greenai, tiny, simulated):
    models = (tiny("a.tiny"), tiny("b.tiny"))
    assert greenai("compare", *models, "-p", "sim", "--max-time", 2, "--out", "c").code == 0
    done = greenai("explain", "c")
    assert done.code == 0, done.err
    assert "the ratios of a comparison are not derived again" in done.out
    assert "nothing differs" not in done.out
    assert "ComparisonResult" not in done.out + done.err
    assert "--raw" not in done.err


def test_measure_keeps_its_window(greenai, simulated):
    args = ("--raw", "--out", "job.json", "--", sys.executable, "-c", "import time; time.sleep(.3)")
    assert greenai("measure", "-p", "sim", *args).code == 0
    done = greenai("explain", "job.json")
    assert done.code == 0, done.err
    assert "job.raw-1.npz" in done.out
    assert "latch before" in done.out
    edit(simulated / "job.json", lambda result: result["gross"].update(duration_s=9.0))
    assert greenai("explain", "job.json").code == exit_codes.REPORT


def test_measure_needs_a_place_for_raw_readings(greenai):
    done = greenai("measure", "-p", "sim", "--raw", "--", "true")
    assert done.code == exit_codes.WRAPPER_FAILED
    assert "--out FILE" in done.errors[0]


@pytest.mark.parametrize("how", [("--steps", "80"), ("--epochs", "2", "--validation", "a.npz")])
def test_training_is_traced(how, greenai, tiny, arrays, simulated):
    seconds = 0.002 if "--steps" in how else 0.05
    args = ("train", tiny(seconds=seconds), *arrays, *how, "--raw", "--out", "r", "-p", "sim")
    assert greenai(*args).code == 0
    done = greenai("explain", "r")
    assert done.code == 0, done.err
    assert "from the raw readings" in " ".join(done.out.split())
    edit(
        simulated / "r" / "report.json",
        lambda result: result["energy_per_epoch_j"].update(value=1.0),
    )
    assert greenai("explain", "r").code == exit_codes.REPORT


def test_a_grade_is_explained(greenai, simulated):
    (simulated / "job.py").write_text("import time; time.sleep(0.5)")
    args = ("grade", "-p", "sim", "--idle-time", "0.5", "--out", "g.json", "--json", "job.py")
    done = greenai(*args)
    assert done.code == 0, done.err
    done = greenai("explain", "g.json")
    assert done.code == 0, done.err
    assert "idle drift" in done.out or "idle before" in done.out


def test_a_report_that_is_none(greenai, simulated):
    assert greenai("explain", "nowhere").code == exit_codes.REPORT
    (simulated / "x.json").write_text("{}")
    assert greenai("explain", "x.json").code == exit_codes.REPORT
