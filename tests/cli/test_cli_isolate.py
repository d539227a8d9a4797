"""``bench --isolate`` with real worker processes, and idle in ``bench`` and ``train``."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from greenai_core.explanation import explain
from greenai_core.report_files import read_report

SMALL_CNN = Path(__file__).parents[2] / "examples/models/small_cnn.onnx"
ISOLATED = ("--isolate", "--processes", "5", "--idle", "0")


def written():
    """The report in the current folder, whose figures all follow from it."""
    path = Path("greenai-report/report.json")
    report = read_report(path)
    assert [r.problems for r in explain(report, path.parent)] == [()] * len(report.results)
    return report


def test_each_repetition_is_a_process_of_its_own_that_is_told_everything(greenai, tiny, quick):
    """The model writes down its processes; sensor options, gain and inputs show in the figures."""
    model = tiny(pids="pids.txt", seconds=0.001, chatty=True)
    np.save("x.npy", np.ones((4, 2), dtype=np.float32))
    done = greenai(
        "bench", model, *quick, "--isolate", "--processes", "5", "--idle", "0.1", "--json",
        "-O", "sim.watts=40", "-O", "sim.gain=0.05", "--input", "x.npy", "--batch-size", "4",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "a library that prints" not in done.out + done.err
    (result,) = done.json["results"]
    pids = set(Path("pids.txt").read_text().split())
    assert len(pids) == len(result["processes"]) == 5
    assert str(os.getpid()) not in pids
    assert sum(p["repetitions"] for p in result["processes"]) == len(result["repetitions"])
    assert done.json["settings"]["processes"] == 5
    assert result["process_spread"]["within"] > 0
    assert result["model"]["batch_size"] == 4
    assert result["power_w"]["value"] == pytest.approx(40, rel=0.05)
    energy, net = result["energy_per_inference_j"], result["net_energy_per_inference_j"]
    assert energy["high"] - energy["value"] > 1.9 * 0.05 * energy["value"]
    assert energy["provenance"].startswith("mean of 5 processes")
    assert net["provenance"].startswith("mean of 5 processes")
    own = [process["idle_power_w"]["value"] for process in result["processes"]]
    assert result["idle_power_w"]["value"] == pytest.approx(np.mean(own))
    written()


def test_a_model_that_crashes_is_named(greenai, tiny, quick):
    done = greenai("bench", tiny("bad.tiny", abort=True), *quick, *ISOLATED)
    assert done.code == 4
    (error,) = done.errors
    assert "bad.tiny" in error
    assert "SIGABRT" in error


def test_a_process_that_is_killed_is_told_and_the_rest_count(greenai, tiny, quick):
    """As when memory runs out in one of them."""
    model = tiny(pids="pids.txt", kill_at=2, seconds=0.001)
    done = greenai("bench", model, *quick, *ISOLATED)
    assert done.code == 0, done.err
    assert "those of 4 processes; process 2 failed: its process was killed (SIGKILL)" in done.err


def test_an_error_in_a_process_keeps_its_exit_code(greenai, quick):
    Path("bad.tiny").write_text('{"tiny": oops')
    done = greenai("bench", "bad.tiny", *quick, *ISOLATED)
    assert done.code == 4
    assert len(done.errors) == 1


@pytest.mark.parametrize(
    "flags", [("--processes", "5"), ("--isolate", "--raw"), ("--isolate", "--processes", "4")]
)
def test_flags_that_do_not_fit_are_refused(greenai, tiny, flags):
    assert greenai("bench", tiny(), *flags).code == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_the_process_and_keeps_the_others(spawn, tiny, quick, number):
    """The third process hangs while it loads; it is gone when the command has ended."""
    model = tiny(pids="pids.txt", hang_at=3, seconds=0.001)
    process = spawn("bench", model, *quick, *ISOLATED)
    until = time.monotonic() + 60
    while not Path("hanging").exists():
        assert time.monotonic() < until
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 128 + number, err
    assert "mean of 2 fresh processes" in out
    hanging = int(Path("hanging").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(hanging, 0)
    (result,) = written().results
    assert not result.target_met
    assert "interrupted" in result.warnings[0]


def test_a_real_model_in_real_processes(greenai):
    pytest.importorskip("onnxruntime")
    done = greenai(
        "bench", SMALL_CNN, "-p", "modelled", *ISOLATED,
        "--max-time", "2", "--min-time", "0.2", "--precision", "90%", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    (result,) = done.json["results"]
    assert len(result["processes"]) == 5
    assert result["energy_per_inference_j"]["method"] == "modelled"
    written()


# Idle


def test_bench_tells_gross_idle_and_net(greenai, tiny, quick):
    """The simulated machine draws 10 W whatever it does: nothing is left above idle."""
    done = greenai("bench", tiny(seconds=0.001), *quick, "--json")
    assert done.code == 0, done.err
    (result,) = done.json["results"]
    assert result["idle_power_w"]["value"] == pytest.approx(10, rel=0.02)
    net = result["net_energy_per_inference_j"]
    assert abs(net["value"]) < 0.05 * result["energy_per_inference_j"]["value"]
    assert "model loaded, device open" in net["provenance"]
    assert [window["name"] for window in result["idle"]] == ["idle before", "idle after"]
    written()


def test_a_table_tells_which_idle_it_is(greenai, tiny, quick):
    done = greenai("bench", tiny(seconds=0.001), *quick)
    assert "above idle" in done.out
    assert "model loaded, device open" in " ".join(done.out.split())


def test_idle_can_be_left_out(greenai, tiny, quick):
    done = greenai("bench", tiny(seconds=0.001), *quick, "--idle", "0", "--json")
    assert done.json["results"][0]["idle_power_w"] is None
    assert done.json["results"][0]["idle"] == []


def test_figures_above_idle_follow_from_the_raw_readings(greenai, tiny, quick):
    assert greenai("bench", tiny(seconds=0.001), *quick, "--raw").code == 0
    path = Path("greenai-report/report.json")
    (result,) = read_report(path).results
    assert result.net_energy_per_inference_j is not None
    done = greenai("explain", path)
    assert done.code == 0, done.err
    data = json.loads(path.read_text())
    data["results"][0]["net_energy_per_inference_j"]["value"] *= 1.5
    path.write_text(json.dumps(data))
    assert greenai("explain", path).code == 7


def test_train_tells_net_of_repeated_steps(greenai, tiny, quick):
    np.savez("data.npz", x=np.ones((8, 2), np.float32), y=np.ones((8, 3), np.float32))
    done = greenai("train", tiny(seconds=0.001), "--data", "data.npz", *quick, "--json")
    assert done.code == 0, done.err
    (result,) = done.json["results"]
    assert result["idle_power_w"]["value"] == pytest.approx(10, rel=0.02)
    assert result["net_energy_per_step_j"] is not None
    written()
