"""The scripts run, and what they write is what they measured."""

from __future__ import annotations

import csv
import json
import time

import pytest

torch = pytest.importorskip("torch")

from sparsity import data, energy  # noqa: E402  # after the skip

from greenai_core import read_report  # noqa: E402

pytestmark = pytest.mark.torch

COMMON = ["--small", "--profiler", "own-cpu", "--threads", "1", "--max-time", "0.01"]


@pytest.fixture(autouse=True)
def no_files(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "USUAL_FOLDERS", (tmp_path / "absent",))


def written(folder, name):
    held = json.loads((folder / f"{name}.json").read_text())
    with (folder / f"{name}.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == len(held["rows"])
    assert "modelled" in held["joules"]
    assert all("made-up" in source for source in held["data"].values())
    return held


def check_compared(folder, rows, baseline):
    """The rows are those of a report that greenai reads."""
    report = read_report(folder / "report.json")
    assert report.kind == "compare"
    assert {row["verdict"] for row in rows} <= {
        "baseline", "better", "worse", "equivalent", "undecided",
    }  # fmt: skip
    for row in rows:
        assert row["energy_low_j"] < row["energy_j"] < row["energy_high_j"]
        assert (row["ratio"] is None) == (row["variant"] == baseline)
    return report


def test_deep_rewiring(script, tmp_path, monkeypatch, capsys):
    module = script("deep_rewiring/train.py")
    monkeypatch.setattr(module, "INFERENCE_BATCHES", (2,))
    words = ["--samples", "100", "--epochs", "1", "--seeds", "0", "--out", str(tmp_path)]
    module.main([*COMMON, *words])
    rows = {row["variant"]: row for row in written(tmp_path, "training")["rows"]}
    assert list(rows) == ["dense", "deep-r", "deep-r-global", "soft-deep-r"]
    assert rows["dense"]["weights"] == 266_200
    for variant in ("deep-r", "deep-r-global"):
        assert {rows[variant][key] for key in ("weights", "first", "least", "most")} == {3552}
        assert rows[variant]["rewired"] > 0
    assert rows["deep-r"]["layers"] == rows["deep-r"]["layers_first"] == "2352/900/300"
    soft = rows["soft-deep-r"]
    assert soft["least"] <= soft["weights"] <= soft["most"]
    assert all(row["energy_low_j"] < row["energy_j"] for row in rows.values())
    report = check_compared(tmp_path, written(tmp_path, "execution")["rows"], "unpruned")
    assert [result.unit for result in report.results] == ["step", *["inference"] * 3]
    assert "deep-r-global" in capsys.readouterr().out


def test_snip(script, tmp_path, monkeypatch, capsys):
    module = script("pruning/snip.py")
    monkeypatch.setattr(module, "INFERENCE_BATCHES", (2,))
    words = ["--network", "lenet-5-caffe", "--samples", "100", "--epochs", "1", "--seeds", "0", "1"]
    words += ["--batch-size", "10"]
    module.main([*COMMON, *words, "--out", str(tmp_path)])
    held = written(tmp_path, "training")
    assert [row["weights"] for row in held["rows"]] == [430_500, 8_610] * 2
    assert held["counts"][1]["weights"] == 15_239_872
    assert held["counts"][1]["kept"] == 761_994
    assert all(row["pruning_j"] > 0 for row in held["rows"] if row["pruned"])
    rows = written(tmp_path, "execution")["rows"]
    check_compared(tmp_path, rows, "unpruned")
    assert {row["variant"] for row in rows} == {"unpruned", "masked", "csr", "csr-linear", "shrunk"}
    assert all(row["difference"] < 1e-4 for row in rows if row["difference"] is not None)
    by_way = {row["variant"]: row for row in rows}
    assert by_way["csr"]["weights"] == 8_610
    assert by_way["csr"]["macs"] < by_way["shrunk"]["macs"] <= by_way["masked"]["macs"]


def test_force(script, tmp_path, monkeypatch, capsys):
    module = script("pruning/force.py")
    monkeypatch.setattr(module, "INFERENCE_BATCHES", (2,))
    words = ["--samples", "100", "--epochs", "1", "--seeds", "0", "--width", "0.05", "--steps", "3"]
    module.main([*COMMON, *words, "--sparsity", "0.9", "--out", str(tmp_path)])
    held = written(tmp_path, "training")
    dense, pruned = held["rows"]
    assert pruned["weights"] == pytest.approx(dense["weights"] / 10, abs=1)
    assert dense["came_back"] is None
    assert pruned["came_back"] >= 0
    check_compared(tmp_path, written(tmp_path, "execution")["rows"], "unpruned")


def test_execution_of_untrained_networks(script, tmp_path, capsys):
    main = script("pruning/execution.py").main
    main([*COMMON, "--network", "lenet-5-caffe", "--out", str(tmp_path)])
    rows = written(tmp_path, "full-size")["rows"]
    assert {row["samples"] for row in rows} == {1}
    check_compared(tmp_path, rows, "unpruned")
    assert next(row["weights"] for row in rows if row["variant"] == "csr") == 8_610


@pytest.mark.parametrize("kept", [5, 100])
@pytest.mark.parametrize("way", ["masked", "csr", "shrunk"])
def test_the_work_of_the_study_of_inference(script, way, kept):
    function = getattr(script("pruning/inference.py"), f"lenet_300_{way}")
    made = function(size=kept, batch_size=2, device="cpu")
    assert made.step().shape == (2, 10)
    expected = 266_200 * kept // 100
    assert made.parameters >= expected
    if way == "csr":
        assert made.parameters == expected + 410
        assert made.macs == 2 * expected
    if way == "masked":
        assert made.parameters == 266_610


def test_joules_of_own_cpu_are_cpu_time_times_design_power():
    with energy.session(energy.OWN_CPU) as session:
        (channel,) = session.channels
        watts = channel.resolution_j * 1e9
        before = time.process_time()
        with session.window("busy") as window:
            while time.process_time() - before < 0.2:
                pass
        spent = time.process_time() - before
    assert channel.method == "modelled"
    assert window.result.method == "modelled"
    assert window.result.energy_j == pytest.approx(watts * spent, rel=0.1)
    assert window.result.low_j < 0.5 * window.result.energy_j
