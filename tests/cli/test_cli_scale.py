"""``greenai scale``."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from greenai_core import read_scale, write_report
from greenai_core.cli import exit_codes
from greenai_core.testing.sample_reports import figure, sample_report

SHIPPED = "task/image-classification/x86-vcpu-modelled/2026.1"


def test_the_shipped_scales_are_listed(greenai):
    done = greenai("scale", "list")
    assert done.code == 0
    assert SHIPPED[:40] in done.out
    assert "estimated" in done.out
    assert SHIPPED in [scale["id"] for scale in greenai("scale", "list", "--json").json]


def test_only_those_of_a_task_are_listed(greenai):
    assert greenai("scale", "list", "--task", "chess", "--json").json == []
    assert (
        "no scale is shipped for the task 'chess'"
        in greenai("scale", "list", "--task", "chess").out
    )
    assert greenai("scale", "list", "--task", "image-classification", "--json").json


def test_a_scale_is_shown_with_its_references(greenai):
    done = greenai("scale", "show", SHIPPED)
    assert done.code == 0
    for told in (
        "image-classification",
        "cpu + dram",
        "median of 9",
        "squeezenet",
        "A ≤ ",
        "sha256",
    ):
        assert told in done.out
    shown = greenai("scale", "show", SHIPPED, "--json").json
    assert (shown["n"], shown["tier"]) == (9, "estimated")


def measured(folder, count=3):
    """The report of so many models that need 1 J, 2 J, … above idle."""
    report = sample_report("bench")
    (one,) = report.results
    results = tuple(
        replace(
            one,
            model=replace(one.model, path=f"m{i}.onnx"),
            net_energy_per_inference_j=figure(1.0 + i),
        )
        for i in range(count)
    )
    write_report(replace(report, results=results), folder / "report.json")


def test_a_scale_is_built_of_reports_and_graded_with(greenai, simulated):
    measured(simulated / "refs")
    words = ("--id", "mine/2026.1", "--unit", "image", "--source", "a test", "--note", "small")
    done = greenai("scale", "build", "refs", *words, "--measured-by", "make", "--out", "mine.json")
    assert done.code == 0, done.err
    assert done.out == ""
    assert "median of 3" in done.err
    assert "provisional" in done.err
    made = read_scale((simulated / "mine.json").read_text())
    assert (made.id, made.n, made.command, made.notes) == ("mine/2026.1", 3, "make", ("small",))
    assert "provisional" in greenai("scale", "show", "mine.json").out
    (simulated / "job.py").write_text("sum(range(1000))\n")
    graded = greenai(
        "grade", "-p", "sim", "--idle-time", "0.3", "--units", "10", "--unit", "image",
        "--scale", "mine.json", "--json", "job.py",
    )  # fmt: skip
    assert graded.json["results"][0]["grade"]["scale"] == "mine/2026.1"


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("show", "nothing.json"), exit_codes.REPORT, "built-in"),
        (("show", "broken.json"), exit_codes.REPORT, "was changed"),
        (
            ("build", "nothing.json", "--id", "a", "--unit", "b", "--out", "c.json"),
            7,
            "nothing.json",
        ),
        (("build", "--id", "a", "--unit", "b", "--out", "c.json"), exit_codes.USAGE, "REPORT"),
        (("build", "x", "--unit", "b", "--out", "c.json"), exit_codes.USAGE, "--id"),
    ],
)
def test_what_cannot_be_done_is_one_line(greenai, simulated, args, code, said):
    shipped = json.loads(greenai("scale", "show", SHIPPED, "--json").out)
    broken = {
        "id": shipped["id"], "unit": "image", "scope": "cpu+dram", "reference": 1.0, "n": 9,
        "sources": shipped["sources"], "sha256": shipped["sha256"],
        "thresholds": dict(zip("ABCDEF", shipped["limits"], strict=True)),
    }  # fmt: skip
    (simulated / "broken.json").write_text(json.dumps(broken))
    done = greenai("scale", *args)
    assert done.code == code, done.err
    assert len(done.errors) == 1
    assert said in done.errors[0]


def test_a_report_without_idle_makes_no_scale(greenai, tiny, quick, simulated):
    assert greenai("bench", tiny(), *quick, "--idle", "0", "--out", "refs").code == 0
    done = greenai("scale", "build", "refs", "--id", "a", "--unit", "image", "--out", "c.json")
    assert done.code == exit_codes.REPORT
    assert "--idle" in done.errors[0]
    assert not (simulated / "c.json").exists()
