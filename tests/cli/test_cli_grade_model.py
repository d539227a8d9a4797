"""``greenai grade MODEL``: one inference, measured as ``bench`` does."""

import json
import sys

import pytest

from greenai_core import read_report, scale_fingerprint
from greenai_core.cli import watcher
from greenai_core.scales import FACTORS

GRADE = ("grade", "-p", "sim", "--precision", "90%", "--min-time", "0.1", "--idle-time", "0.3")


@pytest.fixture(autouse=True)
def state(simulated, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(simulated / "state"))


def test_options_may_follow_a_model(greenai, tiny, simulated):
    done = greenai(*GRADE, tiny(seconds=0.002), "--task", "image-classification", "--out", "m.json")
    assert done.code == 0, done.err
    report = read_report(simulated / "m.json")
    assert report.kind == "bench"
    (result,) = report.results
    assert result.energy_per_inference_j.value == pytest.approx(
        10 * result.latency_s.value, rel=0.1
    )
    assert result.grade.unit == "image"
    assert result.grade.letter is None
    text = " ".join(done.out.split())
    assert "scales for image-classification: task/image-classification" in text
    assert result.footprint.sci_gco2e_per_unit.value == pytest.approx(
        result.energy_per_inference_j.value * 473 / 3.6e6, rel=0.02
    )


def test_one_inference_is_one_unit_unless_named_otherwise(greenai, tiny):
    (result,) = greenai(*GRADE, tiny(), "--json").json["results"]
    assert result["grade"]["unit"] == "inference"
    assert "no reference" in " ".join(result["grade"]["reasons"])


def test_a_scale_gives_its_unit(greenai, tiny, simulated):
    """10 W before, during and after: nothing is above idle, so there is no letter, and why."""
    content = {
        "id": "mine/2026.1",
        "unit": "picture",
        "scope": "cpu",
        "reference": 0.01,
        "n": 9,
        "sources": ["invented"],
        "thresholds": dict(FACTORS),
    }
    content["sha256"] = scale_fingerprint(content)
    (simulated / "mine.json").write_text(json.dumps(content))
    done = greenai(*GRADE, "--scale", "mine.json", tiny(seconds=0.002), "--json")
    (result,) = done.json["results"]
    assert result["grade"]["unit"] == "picture"
    assert result["grade"]["scale"] == "mine/2026.1"
    assert result["grade"]["letter"] is None
    assert "net energy" in " ".join(result["grade"]["reasons"])


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("broken.tiny",), 4, "broken.tiny"),
        (("gone.tiny",), 4, "gone.tiny"),
        (("a.tiny", "b.tiny"), 125, "one model at a time"),
        (("a.tiny", "--bogus"), 125, "--bogus"),
        (("a.tiny", "--task", "juggling"), 2, "juggling"),
        (("a.tiny", "--grader", "web", "--url", "http://127.0.0.1:1"), 2, "script"),
        (("--format", "nosuch", "a.tiny"), 3, "nosuch"),
    ],
)
def test_failures_have_the_exit_codes_of_bench(greenai, tiny, simulated, args, code, said):
    tiny("a.tiny")
    tiny("b.tiny")
    (simulated / "broken.tiny").write_text("{")
    done = greenai(*GRADE, *args)
    assert done.code == code, done.err
    assert said in done.errors[0]
    assert not done.out


def test_a_model_without_a_known_ending_is_named_by_its_format(greenai, tiny):
    tiny("a.dat")
    assert greenai(*GRADE, "--format", "tiny", "a.dat", "--json").code == 0


def test_a_label_and_a_badge_of_a_model(greenai, tiny, simulated):
    done = greenai(*GRADE, tiny(seconds=0.002), "--label", "l.svg", "--badge", "b.svg")
    assert done.code == 0, done.err
    assert "not an official EU label" in (simulated / "l.svg").read_text()
    assert (simulated / "b.svg").read_text().startswith("<")


def test_the_summary_goes_to_stdout(greenai, tiny):
    done = greenai(*GRADE, tiny(seconds=0.002))
    assert "ungraded" in done.out
    assert "carbon of " in done.out
    assert max(map(len, done.out.splitlines())) <= 80


def test_a_crash_of_the_library_is_told_like_any_error(spawn, tiny):
    """Native code that aborts takes its process along: greenai still answers, as bench does."""
    process = spawn(*GRADE, tiny("bad.tiny", abort=True))
    out, err = process.communicate(timeout=60)
    assert process.returncode == 4
    assert out == ""
    (line,) = [line for line in err.splitlines() if "error:" in line]
    assert "the library crashed" in line
    assert "SIGABRT" in line


@pytest.mark.skipif(sys.platform != "linux", reason="the work is forked on Linux only")
@pytest.mark.parametrize(
    ("words", "watched"),
    [
        (["--units", "3", "--unit", "image", "a.tiny"], True),
        (["a.tiny", "--device", "cpu"], True),
        (["script.py", "a.tiny"], False),
        (["-m", "module", "a.tiny"], False),
        (["--", "cat", "a.tiny"], False),
        (["--units"], False),
        ([], False),
    ],
)
def test_only_models_are_watched(tiny, words, watched, monkeypatch):
    """A script is a process of its own already, and its parent is the command itself."""
    tiny()
    # Nothing is watched where threads run; other tests may have left some here.
    monkeypatch.setattr(watcher.threading, "active_count", lambda: 1)
    assert watcher.wanted(["grade", *words]) == watched
    assert watcher.wanted(["--debug", "grade", *words]) == watched
