"""``greenai train --epochs``: tables, reports, and what is kept when training ends early."""

from __future__ import annotations

import json
import signal
import time

import numpy as np
import pytest

from greenai_core.cli import exit_codes


@pytest.fixture
def arrays(simulated):
    rng = np.random.default_rng(0)

    def save(name, count=10, low=0.0):
        x = rng.random((count, 2), np.float32)
        np.savez(simulated / name, x=x, y=low + rng.random((count, 3), np.float32))
        return name

    return save


def test_epochs_with_validation(greenai, tiny, arrays, simulated):
    args = ("--data", arrays("a.npz"), "--validation", arrays("b.npz", 4), "--epochs", "3")
    done = greenai(
        "train", tiny(seconds=0.02), *args, "--batch-size", "4", "--save", "out.tiny", "-p", "sim",
        "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    (result,) = done.json["results"]
    assert [(e["number"], e["steps"], e["samples"]) for e in result["epochs"]] == [
        (1, 3, 10), (2, 3, 10), (3, 3, 10),
    ]  # fmt: skip
    assert all(e["complete"] for e in result["epochs"])
    assert result["epochs"][-1]["loss"] < result["epochs"][0]["loss"]
    for epoch in result["epochs"]:
        assert epoch["training"]["energy_j"] == pytest.approx(10 * epoch["duration_s"], rel=0.1)
        assert epoch["validation"]["energy_j"] > 0
        assert epoch["validation_accuracy"] == 0.75
    assert result["energy_of_run_j"]["value"] > result["energy_per_epoch_j"]["value"] * 3
    assert 0 <= result["data_wait"]["share"] < 0.5
    assert done.json["settings"]["epochs"] == 3
    assert (simulated / "out.tiny").exists()


def test_epochs_are_shown_in_a_table(greenai, tiny, arrays):
    args = ("--data", arrays("a.npz"), "--validation", arrays("b.npz", 4), "--epochs", "2")
    done = greenai("train", tiny(seconds=0.01), *args, "-p", "sim")
    assert done.code == 0, done.err
    for word in ("epoch", "waiting", "val. loss", "The whole run", "Waiting for data", "75 %"):
        assert word in " ".join(done.out.split())
    assert max(map(len, done.out.splitlines())) <= 80


def test_a_loss_that_is_no_number_keeps_the_figures_and_saves_nothing(greenai, tiny, simulated):
    """A rate this large throws the weights out of what float32 can hold."""
    x = np.full((64, 2), 1e3, np.float32)
    np.savez(simulated / "a.npz", x=x, y=np.zeros((64, 3), np.float32))
    done = greenai(
        "train", tiny(seconds=0.01), "--data", "a.npz", "--epochs", "2", "--batch-size", "2",
        "--lr", "1e3", "--save", "out.tiny", "-p", "sim", "--json",
    )  # fmt: skip
    assert done.code == exit_codes.MODEL
    (result,) = done.json["results"]
    assert "training was stopped" in result["warnings"][0]
    assert result["epochs"][-1]["complete"] is False
    assert result["steps"] > 0
    assert "not written" in done.err
    assert not (simulated / "out.tiny").exists()


def test_memory_that_runs_out_keeps_the_epochs_before(greenai, tiny, arrays, simulated):
    args = ("--data", arrays("a.npz"), "--epochs", "5", "--batch-size", "5", "-p", "sim")
    done = greenai("train", tiny(fail_at=6), *args, "--save", "out.tiny", "--json")
    assert done.code == exit_codes.MODEL
    assert "--batch-size" in done.errors[0]
    (result,) = done.json["results"]
    assert [e["complete"] for e in result["epochs"]] == [True, True, False]
    assert (simulated / "out.tiny").exists()
    on_disk = json.loads((simulated / "greenai-report" / "report.json").read_text())
    assert on_disk["results"][0]["steps"] == 5


def test_ctrl_c_in_an_epoch_keeps_what_was_measured(spawn, tiny, arrays, simulated):
    running = simulated / "running"
    process = spawn(
        "train", tiny(seconds=0.01, marker=str(running)), "--data", arrays("a.npz"), "-p", "sim",
        "--epochs", "100000", "--save", "out.tiny",
    )  # fmt: skip
    until = time.monotonic() + 60
    while not running.exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    report = json.loads((simulated / "greenai-report" / "report.json").read_text())
    assert report["complete"] is False
    (result,) = report["results"]
    assert result["steps"] > 0
    assert "interrupted" in result["warnings"][0]
    assert (simulated / "out.tiny").exists()
    assert "epoch" in out


def test_the_order_is_the_seeds(greenai, tiny, arrays):
    data = arrays("a.npz", 64)

    def losses(*args):
        common = ("--data", data, "--epochs", "2", "--batch-size", "4", "--lr", "0.5", "-p", "sim")
        return greenai("train", tiny(), *common, *args, "--json").json["results"][0]["losses"]

    assert losses("--seed", "1") == losses("--seed", "1")
    assert losses("--seed", "1") != losses("--seed", "2")
    assert losses("--no-shuffle") == losses("--no-shuffle")
    assert losses("--no-shuffle") != losses("--seed", "1")


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("--epochs", "2", "--steps", "3"), exit_codes.USAGE, "exclude each other"),
        (("--validation", "a.npz"), exit_codes.USAGE, "give --epochs"),
        (("--epochs", "0"), exit_codes.USAGE, "0"),
        (("--epochs", "1", "--validation", "no.npz"), exit_codes.MODEL, "no data file no.npz"),
        (("--epochs", "1", "--batch-size", "99"), exit_codes.MODEL, "no batch of 99"),
        (("--epochs", "1", "--normalise", "loud"), exit_codes.USAGE, "--normalise loud"),
    ],
)
def test_what_makes_no_sense_is_one_line(greenai, tiny, arrays, args, code, said):
    done = greenai("train", tiny(), "--data", arrays("a.npz"), *args, "-p", "sim")
    assert done.code == code
    assert said in done.err


def test_a_folder_without_classes_is_told(greenai, tiny, simulated):
    (simulated / "photos").mkdir()
    done = greenai("train", tiny(), "--data", "photos", "--epochs", "1", "-p", "sim")
    assert done.code == exit_codes.MODEL
    assert "photos has no folders" in done.errors[0]


def test_data_can_be_preprocessed(greenai, tiny, simulated):
    """The function turns three columns into the two that the model takes."""
    np.savez(simulated / "a.npz", x=np.ones((8, 3), np.float32), y=np.zeros((8, 3), np.float32))
    (simulated / "narrow.py").write_text("def two(x):\n    return x[:, :2]\n")
    args = ("train", tiny(seconds=0.01), "--data", "a.npz", "--epochs", "1", "-p", "sim", "--json")
    assert greenai(*args).code == exit_codes.MODEL
    done = greenai(*args, "--preprocess", "narrow:two")
    assert done.code == 0, done.err
    assert done.json["settings"]["preprocess"] == "narrow:two"
