"""AIPowerMeter's classes: what they write, what they read, and that neither lies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from greenai_core.clock import SYSTEM_CLOCK
from greenai_core.testing import PowercapTree
from greenai_plugins.compat import __main__ as wrapper
from greenai_plugins.compat import experiment, parsers

CPU_W, DRAM_W = 150.0, 20.0


@pytest.fixture
def options(tmp_path):
    """A socket with memory, in real time."""
    with PowercapTree.xeon(tmp_path / "powercap", sockets=1) as tree:
        ticker = tree.drive(SYSTEM_CLOCK)
        yield {"rapl": {"root": str(tree.root)}}
        ticker.cancel()


def record(folder, options, seconds=0.5, period=0.1, **more):
    """One recording; seconds that it took."""
    driver = parsers.JsonParser(folder)
    exp = experiment.Experiment(driver, profilers=["rapl"], options=options, **more)
    began = time.perf_counter()
    p, q = exp.measure_yourself(period=period)
    time.sleep(seconds)
    q.put("something else")
    assert p.is_alive()
    q.put(experiment.STOP_MESSAGE)
    took = time.perf_counter() - began
    p.join(10)
    assert not p.is_alive()
    q.put(experiment.STOP_MESSAGE)  # once more does nothing
    return took


def test_totals_are_the_joules_that_were_used(options, tmp_path):
    record(tmp_path / "out", options)
    results = experiment.ExpResults(parsers.JsonParser(tmp_path / "out"))
    duration, first, last = results.get_exp_duration()
    assert duration == pytest.approx(last - first, rel=0.05)
    assert results.total_("intel_power") == pytest.approx(CPU_W * duration, rel=0.05)
    assert results.average_("total_dram_power") == pytest.approx(DRAM_W, rel=0.05)
    assert results.max_("intel_power") == pytest.approx(CPU_W, rel=0.3)
    assert results.total_power_draw() == results.total_("intel_power")
    (segment,) = results.get_curve("intel_power")
    assert len(segment) >= 2
    assert segment[0]["date"] < segment[-1]["date"]
    assert results.get_curve("psys_power") is None, "there is none: not -1, not 0"
    assert results.total_("nvidia_power") is None


def test_several_runs_in_one_folder_add_up(options, tmp_path):
    driver = parsers.JsonParser(tmp_path / "out")
    record(tmp_path / "out", options)
    one = experiment.ExpResults(driver).total_("intel_power")
    time.sleep(0.3)  # belongs to neither
    record(tmp_path / "out", options, cont=True)
    both = experiment.ExpResults(driver)
    assert len(both.get_curve("intel_power")) == 2
    assert len(driver.get_segments()) == 1
    assert both.total_("intel_power") == pytest.approx(CPU_W * both.get_exp_duration()[0], rel=0.05)
    assert both.total_("intel_power") > 1.5 * one
    assert len(driver.windows()) == 2


def test_beginning_anew_deletes_recordings_only(options, tmp_path):
    folder = tmp_path / "out"
    record(folder, options, seconds=0.2)
    (folder / "thesis.tex").write_text("years of work")
    (folder / "latency.csv").write_text("1\n")
    lines = len((folder / "power_metrics.json").read_text().splitlines())
    record(folder, options, seconds=0.0)
    assert (folder / "thesis.tex").read_text() == "years of work"
    assert len((folder / "power_metrics.json").read_text().splitlines()) <= lines
    assert len(parsers.JsonParser(folder).windows()) == 1


def test_what_is_printed_has_an_interval_and_says_what_it_is_of(options, tmp_path, capsys):
    driver = parsers.JsonParser(tmp_path / "out", meta_data="a test of mine")
    driver.save_exp_metrics({"accuracy": 0.9})
    record(tmp_path / "out", options, cont=True)
    results = experiment.ExpResults(driver)
    results.print()
    printed = capsys.readouterr().out
    assert "a test of mine" in printed
    assert "CPU packages: " in printed
    assert "recording 1: " in printed
    assert "counter: cpu:0/package, cpu:0/dram" in printed
    assert "accuracy" in str(results)
    assert results.average_("accuracy") == 0.9
    window = driver.windows()[0]
    assert window["low_j"] < window["energy_j"] < window["high_j"]


def test_modelled_joules_have_a_name_of_their_own(tmp_path, capsys):
    driver = parsers.JsonParser(tmp_path / "out")
    _, q = experiment.Experiment(driver, profilers=["modelled"]).measure_yourself(period=0.1)
    sum(range(10**6))
    time.sleep(0.3)
    q.put(experiment.STOP_MESSAGE)
    results = experiment.ExpResults(driver)
    assert "intel_power" not in results.cpu_metrics
    assert "modelled_cpu_power" in results.cpu_metrics
    with pytest.raises(LookupError, match="neither"):
        results.total_power_draw()
    results.print()
    assert "measured: nothing" in capsys.readouterr().out


def test_a_kill_loses_the_last_sample_only(options, tmp_path):
    script = f"""
        import time
        from greenai_plugins.compat import experiment, parsers
        driver = parsers.JsonParser('out')
        exp = experiment.Experiment(driver, profilers=['rapl'], options={options!r})
        exp.measure_yourself(period=0.05)
        print('ready', flush=True)
        time.sleep(60)
        """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], cwd=tmp_path, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        file = tmp_path / "out/power_metrics.json"
        deadline = time.monotonic() + 30
        while not (file.exists() and file.read_bytes().count(b"\n") >= 3):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    with file.open("ab") as cut:
        cut.write(b'{"date": "2026-01-')
    results = experiment.ExpResults(parsers.JsonParser(tmp_path / "out"))
    assert results.average_("intel_power") == pytest.approx(CPU_W, rel=0.2)


def test_the_end_of_a_program_ends_its_recording(options, tmp_path):
    script = f"""
        import time
        from greenai_plugins.compat import experiment, parsers
        exp = experiment.Experiment(
            parsers.JsonParser('out'), profilers=['rapl'], options={options!r})
        exp.measure_yourself(period=2)
        time.sleep(0.3)
        raise ValueError('of the training')
        """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "of the training" in done.stderr
    driver = parsers.JsonParser(tmp_path / "out")
    results = experiment.ExpResults(driver)
    assert results.total_("intel_power") > 0.25 * CPU_W
    assert len(driver.windows()) == 1


def test_a_recording_of_AIPowerMeter(tmp_path):
    """Keys and dates as its releases of 2022 wrote them; ends are joined by straight lines."""
    lines = [
        {
            "date": f"2022-03-01 12:00:0{second}.500000",
            "metrics": {
                "cpu": {"intel_power": watts, "per_process_cpu_uses": {"1": 0.25, "7": 0.5}},
                "gpu": {"nvidia_draw_absolute": 100.0, "per_gpu_power_draw": {"0": 60, "1": 40}},
            },
        }
        for second, watts in ((1, 10.0), (3, 30.0), (5, 30.0))
    ]
    tmp_path.joinpath("power_metrics.json").write_text("\n".join(map(json.dumps, lines)))
    results = experiment.ExpResults(parsers.JsonParser(tmp_path))
    assert results.total_("intel_power") == 2 * 20 + 2 * 30
    assert results.total_("nvidia_power") == 400
    assert results.total_("per_gpu_nvidia_power") == {"0": 240, "1": 160}
    assert results.average_("per_process_cpu_uses") == 0.75
    start = results.get_curve("intel_power")[0][1]["date"]
    assert results.total_("intel_power", start=start) == 60
    assert results.get_exp_duration()[0] == 4


def test_a_log_of_the_wattmeter_beside_it(tmp_path):
    tmp_path.joinpath("omegawatt.csv").write_text(
        "Version 2.1\n#timestamp,#frame_is_ok,#activepow1\n"
        "10.0,true,100\n11.0,false,9999\n12.0,true,200\n13.0,true,30"
    )
    results = experiment.ExpResults(parsers.JsonParser(tmp_path))
    assert results.total_("#activepow1") == 300, "bad frames and the cut line are left out"


def test_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no recording"):
        experiment.ExpResults(parsers.JsonParser(tmp_path))
    assert experiment.main(["--output_folder", str(tmp_path)]) == 1


@pytest.mark.torch
def test_the_card_leaves_the_network_as_it_was(tmp_path):
    import torch

    net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU())
    net[1].weight.requires_grad_(False)
    net[2].eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    driver = parsers.JsonParser(tmp_path)
    experiment.Experiment(driver, model=net, input_size=(2, 3, 10, 10))
    card = driver.get_model_card()
    assert card["total_params"] == 3 * 8 * 9 + 8 + 16
    assert card["trainable_params"] == card["total_params"] - 8
    assert card["total_mult_adds"] == 2 * 8 * 8 * 8 * 27
    assert [m.training for m in net] == [True, True, False]
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())
    experiment.Experiment(driver, model=net, input_size=(2, 4, 10, 10))
    card = driver.get_model_card()
    assert card["total_mult_adds"] is None
    assert "cannot run" in card["mult_adds_reason"]


@pytest.mark.parametrize(("command", "code"), [("exit 3", 3), ("kill -9 $$", 137), ("true", 0)])
def test_a_command_keeps_its_exit_code(tmp_path, command, code):
    assert wrapper.main(["--cmd", command, "--output_folder", str(tmp_path / "out")]) == code


def test_commands_accumulate_when_asked(tmp_path, capsys):
    base = ["--output_folder", str(tmp_path / "out"), "--cmd", "sleep 0.2", "--cont"]
    for cont in ("True", "True", "False"):
        wrapper.main([*base, cont])
    printed = capsys.readouterr().out
    assert "recording 2" in printed
    assert "recording 2" not in printed.rpartition("SUMMARY")[2]
    with pytest.raises(SystemExit):
        wrapper.main([*base, "perhaps"])


def test_curves_are_drawn(options, tmp_path):
    pytest.importorskip("matplotlib").use("Agg")
    record(tmp_path / "out", options, seconds=0.3)
    results = experiment.ExpResults(parsers.JsonParser(tmp_path / "out"))
    picture = tmp_path / "curves.png"
    results.display_curves(["intel_power", "no_such"], saveto=os.fspath(picture))
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_what_numpy_writes_beside_it_stays(options, tmp_path):
    """The last lines of the document's script."""
    record(tmp_path / "out", options, seconds=0.2)
    np.savetxt(Path(tmp_path / "out/latency.csv"), np.array([0.1, 0.2]))
    parsers.JsonParser(tmp_path / "out")
    assert np.loadtxt(tmp_path / "out/latency.csv").tolist() == [0.1, 0.2]
