"""``greenai bench``: figures, reports, and what survives a failure."""

import json
import os
import signal
import time

import numpy as np
import pytest

from greenai_core import read_report
from greenai_core.cli import exit_codes


def report_of(folder):
    return json.loads((folder / "report.json").read_text())


def wait_for(condition, process, seconds=60):
    """Poll until the condition holds; the process must not end before."""
    until = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.01)


def test_the_json_has_the_public_keys_and_true_figures(greenai, tiny, quick):
    done = greenai("bench", tiny(seconds=0.002), "-O", "sim.gain=0.03", *quick, "--json")
    assert done.code == 0, done.err
    assert set(done.json) >= {"schema_version", "environment", "results", "complete", "settings"}
    (result,) = done.json["results"]
    assert result["model"]["path"] == "a.tiny"
    assert result["parameters"]["total"] == 6
    energy = result["energy_per_inference_j"]
    assert set(energy) >= {"value", "low", "high", "repeat_low", "repeat_high", "method"}
    latency = result["latency_s"]["value"]
    assert energy["value"] == pytest.approx(latency * 10, rel=0.2)
    assert energy["low"] < energy["repeat_low"] <= energy["value"]
    assert result["power_w"]["value"] == pytest.approx(10, rel=0.2)
    (channel,) = result["channels"]
    assert channel["id"] == "cpu:0/package"
    assert channel["component"] == "cpu"
    assert channel["method"] == "counter"
    assert channel["energy_per_inference_j"]["value"] > 0
    assert len(result["repetitions"]) >= 2
    assert result["inferences"] > 0
    assert result["target_met"] is True


def test_the_report_on_disk_is_the_one_that_is_printed(greenai, tiny, quick, simulated):
    done = greenai("bench", tiny(), *quick, "--out", "deep/er", "--json")
    assert report_of(simulated / "deep" / "er") == done.json
    assert done.json["complete"]
    assert "deep/er/report.json" in done.err
    assert read_report(simulated / "deep" / "er" / "report.json").results[0].model.format == "tiny"


def test_several_models_stand_side_by_side_in_80_columns(greenai, tiny, quick):
    names = [
        tiny("a.tiny", seconds=0.001),
        tiny("a_model_with_a_name_that_is_much_longer_than_any_column.tiny", seconds=0.001),
    ]
    done = greenai("bench", *names, "--batch-size", "3", *quick)
    assert done.code == 0, done.err
    assert max(map(len, done.out.splitlines())) <= 80
    for word in ("one inference", "95 % interval", "±90%?", "cpu:0/package", "one sample", "yes"):
        assert word in done.out
    assert "modelled" not in done.out


def test_models_of_one_name_are_told_apart(greenai, tiny, quick, simulated):
    for folder in ("one", "two"):
        (simulated / folder).mkdir()
        tiny(f"{folder}/a.tiny", seconds=0.001)
    done = greenai("bench", "one/a.tiny", "two/a.tiny", *quick)
    assert "one/a.tiny" in done.out
    assert "two/a.tiny" in done.out


def test_modelled_joules_are_labelled(greenai, tiny, quick):
    """Nobody may take them for a measurement."""
    done = greenai("bench", tiny(seconds=0.001), *quick[2:], "-p", "sim-model")
    assert done.code == 0
    assert "modelled" in done.out.split("channel")[0]
    assert "not measured" in " ".join(done.out.split())
    mixed = greenai("bench", tiny(seconds=0.001), *quick[2:], "--max-time", "1")
    assert "profilers not used (`greenai devices` tells why)" in mixed.err


def test_a_model_that_fails_does_not_stop_the_others(greenai, tiny, quick):
    done = greenai(
        "bench", "nope.tiny", tiny("crash.tiny", crash="out of cheese"), tiny(), *quick, "--json"
    )
    assert done.code == exit_codes.MODEL
    assert len(done.errors) == 2
    assert [r["model"]["path"] for r in done.json["results"]] == ["a.tiny"]
    assert len(done.json["warnings"]) == 2


def test_an_unmet_precision_is_said_but_no_failure(greenai, tiny):
    args = ("-p", "sim", "--precision", "0.01%", "--max-time", "0.4")
    done = greenai("bench", tiny(seconds=0.001), *args)
    assert done.code == 0
    assert "  no" in done.out
    assert "Allow more with --max-time" in done.out
    assert "target not met" in done.err


def test_a_sensor_that_is_dead_at_opening_is_told_before_any_work(greenai, tiny, simulated):
    """Nobody waits for a run that can have no joules."""
    gone = simulated / "gone"
    gone.touch()
    began = time.monotonic()
    lost = ("-p", "sim", "-O", f"sim.lost_file={gone}")
    done = greenai("bench", tiny(seconds=0.01), "--min-time", "60", *lost, "--json")
    assert done.code == exit_codes.MEASUREMENT
    assert done.out == ""
    assert len(done.errors) == 1
    assert "'sim'" in done.errors[0]
    assert "unplugged" in done.errors[0]
    assert "greenai devices" in done.errors[0]
    assert time.monotonic() - began < 30


def test_a_sensor_that_vanishes_in_the_middle_is_told(spawn, tiny, simulated):
    gone = simulated / "gone"
    report = simulated / "greenai-report" / "report.json"
    process = spawn(
        "bench", tiny("a.tiny", seconds=0.001), tiny("b.tiny", seconds=0.001), "-p", "sim",
        "--precision", "90%", "--min-time", "0.5", "-O", f"sim.lost_file={gone}",
    )  # fmt: skip
    wait_for(report.exists, process)
    gone.touch()
    out, err = process.communicate(timeout=60)
    assert process.returncode == exit_codes.MEASUREMENT, err
    first, second = report_of(report.parent)["results"]
    assert first["energy_per_inference_j"]["value"] > 0
    assert second["energy_per_inference_j"] is None
    assert second["missing"][0]["id"] == "cpu:0/package"
    assert "unplugged" in second["missing"][0]["reason"]
    assert second["latency_s"]["value"] > 0
    assert "b.tiny: no total: cpu:0/package was lost" in err
    assert "unknown" in out


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["-p", "sim-absent"], exit_codes.PLUGIN, "Plug one into slot 7"),
        (["-p", "nosuch"], exit_codes.PLUGIN, "nosuch"),
        (["-p", "sim-broken"], exit_codes.PLUGIN, "greenai_simulated_nowhere"),
        (["-p", "sim", "-O", "sim.volts=3"], exit_codes.USAGE, "volts (its options: "),
        (["-O", "sim.volts=3"], exit_codes.USAGE, "volts"),
        (["--tdp", "0"], exit_codes.USAGE, "--tdp"),
        (["-p", "sim", "-O", "sim.watts=many"], exit_codes.USAGE, "watts"),
        (["--precision", "200%"], exit_codes.USAGE, "--precision"),
    ],
)
def test_a_bad_profiler_or_option_is_one_line(greenai, tiny, simulated, args, code, said):
    done = greenai("bench", tiny(), *args)
    assert done.code == code, done.err
    assert len(done.errors) == 1
    assert said in done.errors[0]
    assert not (simulated / "greenai-report" / "report.json").exists()


@pytest.mark.parametrize("command", ["bench", "train"])
@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("file", "file/report.json cannot be written: a part of its path is a file"),
        ("file/x", "file/x/report.json"),
        ("taken", "taken/report.json is a folder"),
        ("/proc/x", "--out: /proc/x/report.json cannot be written"),
    ],
)
def test_a_folder_that_cannot_be_written_is_found_out_before_measuring(
    greenai, tiny, simulated, command, place, said
):
    (simulated / "file").write_text("")
    (simulated / "taken" / "report.json").mkdir(parents=True)
    np.savez(simulated / "d.npz", x=np.zeros((4, 2), np.float32), y=np.zeros((4, 3), np.float32))
    data = ["--data", "d.npz"] if command == "train" else []
    began = time.monotonic()
    done = greenai(command, tiny(), *data, "-p", "sim", "--min-time", "30", "--out", place)
    assert time.monotonic() - began < 10
    assert done.code == exit_codes.USAGE
    assert len(done.errors) == 1
    assert said in done.errors[0]


def test_a_disk_that_is_full_before_measuring_is_no_usage_error(greenai, tiny, monkeypatch):
    def full(**options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.NamedTemporaryFile", full)
    done = greenai("bench", tiny(), "-p", "sim", "--min-time", "30")
    assert done.code == exit_codes.OUTPUT
    assert "No space left" in done.errors[0]
    assert not done.out


def test_figures_that_cannot_be_written_are_still_printed(greenai, tiny, quick, monkeypatch):
    """As when the disk fills up in the middle."""

    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("greenai_core.report_files.write_atomically", full)
    done = greenai("bench", tiny(), *quick, "--json")
    assert done.code == exit_codes.OUTPUT
    assert len(done.errors) == 1
    assert "No space left" in done.errors[0]
    assert len(done.json["results"]) == 1
    assert "report written" not in done.err


def test_an_older_report_stays_when_nothing_could_be_measured(greenai, tiny, quick, simulated):
    greenai("bench", tiny(), *quick)
    before = report_of(simulated / "greenai-report")
    greenai("bench", tiny("crash.tiny", crash="x"), *quick)
    assert report_of(simulated / "greenai-report") == before


def test_the_report_holds_no_secret(greenai, tiny, quick, simulated):
    greenai("bench", tiny(), *quick, "-O", "sim.password=hunter2")
    assert "hunter2" not in (simulated / "greenai-report" / "report.json").read_text()


def test_a_project_file_chooses_the_profiler(greenai, tiny, simulated):
    (simulated / "greenai.toml").write_text(
        'profilers = ["sim"]\nprecision = 0.5\nmin_time = 0.1\nmax_time = 2\nout = "here"\n'
        "[profiler.sim]\nwatts = 3\n"
    )
    done = greenai("bench", tiny(seconds=0.001), "--json")
    assert done.json["results"][0]["power_w"]["value"] == pytest.approx(3, rel=0.2)
    assert (simulated / "here" / "report.json").is_file()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_keeps_finished_models_and_what_was_measured(spawn, tiny, simulated, number, code):
    running = simulated / "running"
    models = tiny("a.tiny", seconds=0.001), tiny("b.tiny", seconds=0.001, marker=str(running))
    process = spawn(
        "bench", *models, "-p", "sim", "--precision", "90%", "--min-time", "1", "--idle", "0",
        "--json",
    )  # fmt: skip
    wait_for(running.exists, process)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    on_disk = report_of(simulated / "greenai-report")
    assert on_disk["complete"] is False
    assert json.loads(out) == on_disk
    finished, interrupted = on_disk["results"]
    assert finished["target_met"] is True
    assert interrupted["model"]["path"] == "b.tiny"
    assert interrupted["target_met"] is False
    assert interrupted["inferences"] > 0
    assert "Traceback" not in err
    assert err.endswith("greenai: interrupted\n")


def test_a_signal_before_anything_was_measured_leaves_no_report(spawn, tiny, simulated):
    process = spawn("bench", tiny(hang="loading"), "-p", "sim")
    wait_for((simulated / "loading").exists, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert not (simulated / "greenai-report" / "report.json").exists()
    assert "Traceback" not in err


def test_a_progress_bar_only_on_a_terminal(spawn, tiny, quick):
    master, slave = os.openpty()
    environment = {**os.environ, "TERM": "xterm"}
    process = spawn("bench", tiny(seconds=0.001), *quick, stderr=slave, env=environment)
    os.close(slave)
    shown = b""
    try:
        while chunk := os.read(master, 65536):
            shown += chunk
    except OSError:
        pass  # the terminal hangs up when its last user has gone
    os.close(master)
    assert process.wait(30) == 0
    assert b"a.tiny" in shown
    assert b"[-" in shown
    quiet = spawn("bench", "a.tiny", *quick)
    assert "\r" not in quiet.communicate(timeout=30)[1]
