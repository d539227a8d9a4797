"""`greenai powercap`, on simulated NVML boards and on a board in a file."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest

from greenai_core import dump, read_report, registry
from greenai_core.cli.main import main
from greenai_core.cli.powercap_report import text_of
from greenai_core.cli.powercap_work import RepeatedCommand
from greenai_core.testing.sample_reports import sample_report

SIMULATED = Path(__file__).parent / "simulated"


@pytest.fixture
def greenai(capfd):
    """Run the command in this process: ``greenai("powercap", "show") -> (code, out, err)``."""

    def run(*args):
        capfd.readouterr()
        code = main([str(arg) for arg in args])
        sys.stdout.flush()
        out, err = capfd.readouterr()
        return code, out, err

    return run


@pytest.fixture
def capsim(monkeypatch, tmp_path):
    """A board in a file; the file is returned."""
    monkeypatch.syspath_prepend(str(SIMULATED))
    monkeypatch.setenv("PYTHONPATH", str(SIMULATED))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.chdir(tmp_path)
    board = tmp_path / "board.json"
    monkeypatch.setenv("GREENAI_CAPSIM_FILE", str(board))
    board.write_text(json.dumps({"cap": 300.0, "t": time.perf_counter(), "joules": 0.0}))
    registry.forget()
    yield board
    registry.forget()


def cap_of(board):
    return json.loads(board.read_text())["cap"]


WORK = (sys.executable, "-m", "greenai_capsim")


# Show, set, reset, restore


def test_show_tells_every_limit(machine, greenai):
    simulator = machine()
    code, out, _ = greenai("powercap", "show", "--json")
    shown = json.loads(out)
    (first,) = [row for row in shown["limits"] if row["limiter"] == "nvml"]
    assert code == 0
    assert (first["device"], first["current"], first["low"]) == (
        f"gpu:{simulator.uuid(0)}",
        400.0,
        100.0,
    )
    assert {row["limiter"] for row in shown["limits"]} >= {"nvml", "nvml-clocks"}
    assert shown["on_record"] == []


def test_set_stays_and_restore_gives_the_old_cap_back(machine, greenai):
    simulator = machine()
    assert greenai("powercap", "set", 250)[0] == 0
    assert simulator.limit_w(0) == 250.0
    _, _, err = greenai("powercap", "show")
    assert "had 400 W before" in err
    code, out, _ = greenai("powercap", "restore")
    assert code == 0
    assert "400 W again" in out
    assert simulator.limit_w(0) == 400.0
    assert "nothing is on record" in greenai("powercap", "restore")[1]


def test_reset_gives_the_makers_cap(machine, greenai):
    simulator = machine()
    greenai("powercap", "set", 250)
    code, out, _ = greenai("powercap", "reset")
    assert (code, simulator.limit_w(0)) == (0, 400.0)
    assert "400 W" in out
    assert "nothing is on record" in greenai("powercap", "restore")[1]


def test_a_clamped_cap_is_said(machine, greenai):
    simulator = machine()
    code, out, err = greenai("powercap", "set", 50)
    assert (code, simulator.limit_w(0)) == (0, 100.0)
    assert "100 W" in out
    assert "takes 100 to 500 W, not 50" in err


def test_without_permission_what_root_would_type_is_printed(machine, greenai, folder):
    simulator = machine()
    simulator.forbid(0)
    code, out, err = greenai("powercap", "set", 250)
    assert code == 5
    assert out == f"nvidia-smi -i {simulator.uuid(0)} -pl 250\n"
    assert "nothing was changed" in err
    assert list(folder.glob("*.json")) == []


def test_a_dry_run_changes_nothing(machine, greenai):
    simulator = machine()
    code, out, _ = greenai("powercap", "set", 250, "--dry-run")
    assert (code, simulator.limit_w(0)) == (0, 400.0)
    assert out == f"nvidia-smi -i {simulator.uuid(0)} -pl 250\n"


@pytest.mark.parametrize("dry", [True, False], ids=["dry run", "refused"])
def test_what_root_would_type_is_json_where_that_is_asked_for(machine, greenai, dry):
    """And a cap that the board does not take is no command that works."""
    simulator = machine()
    simulator.forbid(0)
    code, out, _ = greenai("powercap", "set", 50, "--json", *(["--dry-run"] if dry else []))
    assert code == (0 if dry else 5)
    assert json.loads(out) == {"by_hand": [f"nvidia-smi -i {simulator.uuid(0)} -pl 100"]}


@pytest.mark.parametrize("watts", ["0", "-5", "nan", "much"])
def test_what_is_no_cap_is_a_usage_error(greenai, watts):
    assert greenai("powercap", "set", "--", watts)[0] == 2


# Optimise


def test_a_long_command_is_followed_and_goes_on_under_the_best_cap(capsim, greenai, tmp_path):
    code, out, err = greenai(
        *("powercap", "optimise", "--objective", "energy", "--steps", r"step \d+"),
        *("-p", "capsim", "--limiter", "capsim", "--probe", "0.2", "--no-confirm", "--json"),
        *("--csv", "more.csv", "--picture", "more.svg", "--out", "found"),
        *("--", *WORK, "1500"),
    )
    assert code == 0, err
    report = read_report(tmp_path / "found" / "report.json")
    assert json.loads(out) == json.loads(dump(report))
    (result,) = report.results
    schema = Path(__file__).parents[2] / "docs/schema/report-1.json"
    jsonschema.validate(json.loads(out), json.loads(schema.read_text()))
    assert report.kind == "powercap"
    assert result.outcome == "unconfirmed"
    assert result.chosen < 130.0  # energy is least at 100 W
    assert result.command == (*WORK, "1500")
    assert result.step_pattern == r"step \d+"
    assert report.settings["search"]["probe_s"] == 0.2
    content = (tmp_path / "found" / "probes.csv").read_bytes()
    assert (tmp_path / "more.csv").read_bytes() == content
    rows = list(csv.DictReader(content.decode().splitlines()))
    assert [row["role"] for row in rows] == [probe.role for probe in result.probes]
    drawn = (tmp_path / "found" / "curves.svg").read_bytes()
    assert (tmp_path / "more.svg").read_bytes() == drawn
    picture = ElementTree.fromstring(drawn)
    assert len(picture.findall(".//{*}path[@class='f']")) == 2  # both curves
    assert len(picture.findall(".//{*}path[@class='w']")) == 2  # the Pareto front on both
    assert cap_of(capsim) == 300.0
    assert "step 1499" in err


def test_a_picture_of_an_earlier_search_does_not_stay(capsim, greenai, tmp_path):
    """Work that fails under any other cap: one cap was measured, so nothing is drawn."""
    folder = tmp_path / "greenai-report"
    folder.mkdir()
    (folder / "curves.svg").write_text("an earlier one")
    code, _, err = greenai(
        *("powercap", "optimise", "-p", "capsim", "--limiter", "capsim", "--probe", "0.05"),
        *("--", "grep", "-q", '"cap": 300', capsim),
    )
    assert code == 5, err
    assert "there is no picture: too little was measured" in err
    (result,) = read_report(folder / "report.json").results
    assert result.outcome == "failed"
    assert {probe.cap for probe in result.probes} == {300.0}
    assert not (folder / "curves.svg").exists()


def test_what_is_shown_fits_80_columns_and_says_how_to_set_it(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    (found,) = sample_report("powercap").results
    text = text_of(found, "greenai powercap set 250 --gpu 0")
    assert max(map(len, text.splitlines())) <= 80
    assert "energy saved  20 % (18 % to 22 %)" in text
    assert "slower by     10 % (9.0 % to 11 %)" in text
    assert "set it with `greenai powercap set 250 --gpu 0`" in text
    assert "100 W*" in text
    assert "* another cap was asked for" in text
    assert "modelled" not in text
    probes = tuple(
        replace(probe, energy_j=replace(probe.energy_j, method="counter+modelled"))
        for probe in found.probes
    )
    assert "a part of them is modelled" in text_of(replace(found, probes=probes))


def test_table_and_picture_are_not_the_same_file(capsim, greenai):
    code, _, err = greenai(
        *("powercap", "optimise", "--csv", "x.svg", "--picture", "x.svg", "--", "true")
    )
    assert code == 2
    assert "give each its own file" in err


def test_a_command_that_ends_too_early_is_an_error_and_its_probes_are_kept(
    capsim, greenai, tmp_path
):
    code, _, err = greenai(
        *("powercap", "optimise", "--steps", "step", "-p", "capsim", "--limiter", "capsim"),
        *("--probe", "0.2", "--csv", "probes.csv", "--", *WORK, "200"),
    )
    assert code == 5
    assert "ended with exit code 0 after 200 steps" in err
    report = read_report(tmp_path / "greenai-report" / "report.json")
    (result,) = report.results
    assert not report.complete
    assert (result.outcome, result.chosen) == ("failed", 300.0)
    assert "after 200 steps" in result.reason
    lines = (tmp_path / "probes.csv").read_text().splitlines()
    assert len(lines) == 1 + len(result.probes) >= 2
    assert cap_of(capsim) == 300.0


def test_ctrl_c_keeps_what_was_measured_and_gives_the_cap_back(capsim, greenai, tmp_path, until):
    command = [sys.executable, "-m", "greenai_core", "powercap", "optimise", "--steps", "step"]
    command += ["-p", "capsim", "--limiter", "capsim", "--probe", "0.2", "--", *WORK, "2000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as search:
        caps = set()

        def under_a_third_cap():
            with contextlib.suppress(ValueError):  # half written
                caps.add(cap_of(capsim))
            return len(caps) > 2

        until(under_a_third_cap, 30)
        search.send_signal(signal.SIGINT)
        out, err = search.communicate(timeout=30)
    assert search.returncode == 130, err
    assert b"interrupted after" in out
    assert cap_of(capsim) == 300.0
    report = read_report(tmp_path / "greenai-report" / "report.json")
    (result,) = report.results
    assert not report.complete
    assert not result.complete
    assert (result.outcome, result.chosen) == ("interrupted", 300.0)
    assert "no cap was chosen" in result.reason
    assert 1 <= len(result.probes) < 8
    rows = list(csv.DictReader((tmp_path / "greenai-report" / "probes.csv").open()))
    assert len(rows) == len(result.probes)


def test_a_short_command_is_run_again_and_again(capsim, greenai):
    code, out, err = greenai(
        *("powercap", "optimise", "-p", "capsim", "--limiter", "capsim", "--probe", "0.05"),
        *("--no-confirm", "--", "sleep", "0.01"),
    )
    assert code == 0, err
    assert "pilot" in out
    assert cap_of(capsim) == 300.0


def test_a_command_that_fails_ends_the_search(capsim, greenai):
    code, _, err = greenai(
        *("powercap", "optimise", "-p", "capsim", "--limiter", "capsim", "--", "false")
    )
    assert code == 5
    assert "'false' ended with exit code 1" in err
    assert cap_of(capsim) == 300.0


def test_a_command_that_is_not_there_is_127(capsim, greenai):
    code, _, err = greenai(
        *("powercap", "optimise", "-p", "capsim", "--limiter", "capsim", "--", "no-such-command")
    )
    assert code == 127
    assert "no-such-command" in err


def test_optimising_without_permission_prints_what_would_be_tried(capsim, greenai, monkeypatch):
    monkeypatch.setenv("GREENAI_CAPSIM_FORBIDDEN", "1")
    code, out, err = greenai(
        *("powercap", "optimise", "-p", "capsim", "--limiter", "capsim", "--", "false")
    )
    assert code == 5
    lines = [f"capsim {cap}" for cap in (100, 150, 200, 250, 300)]
    assert out.splitlines() == lines
    assert "nothing was changed" in err
    code, out, _ = greenai(
        *("powercap", "optimise", "-p", "capsim", "--limiter", "capsim", "--json", "--", "false")
    )
    (result,) = json.loads(out)["results"]
    assert code == 5
    assert (result["outcome"], result["by_hand"]) == ("dry run", lines)
    assert (result["probes"], result["limits"][0]["original"]) == ([], 300.0)


def test_a_dry_run_keeps_the_report_of_before_unless_a_folder_is_named(
    capsim, greenai, monkeypatch, tmp_path
):
    monkeypatch.setenv("GREENAI_CAPSIM_FORBIDDEN", "1")
    search = ("powercap", "optimise", "-p", "capsim", "--limiter", "capsim", "--json")
    greenai(*search, "--", "false")
    assert not (tmp_path / "greenai-report" / "report.json").exists()
    greenai(*search, "--out", "named", "--", "false")
    report = read_report(tmp_path / "named" / "report.json")
    assert report.results[0].outcome == "dry run"
    code, _, err = greenai("report", "named", "-o", "dry.html")
    assert code == 0, err
    assert "capsim 150" in (tmp_path / "dry.html").read_text()


def test_an_unknown_objective_is_a_usage_error(capsim, greenai):
    code, _, err = greenai("powercap", "optimise", "--objective", "speed", "--", "true")
    assert code == 2
    assert "Choose energy" in err


def test_two_optimisers_at_once_the_second_is_refused(capsim, greenai):
    command = [sys.executable, "-m", "greenai_core", "powercap", "optimise", "--steps", "step"]
    command += ["-p", "capsim", "--limiter", "capsim", "--", *WORK, "100000"]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as first:
        try:
            while "step" not in first.stderr.readline():
                pass
            code, _, err = greenai(
                *("powercap", "optimise", "-p", "capsim", "--limiter", "capsim", "--", "true")
            )
            assert code == 5
            assert f"another greenai (process {first.pid})" in err
        finally:
            os.system(f"kill -9 $(cat /proc/{first.pid}/task/*/children) 2>/dev/null")
            first.kill()


def optimising(*args, **options):
    """`greenai powercap optimise` in a process of its own."""
    command = [sys.executable, "-m", "greenai_core", "powercap", "optimise", "-p", "capsim"]
    command += ["--limiter", "capsim", *args]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_followed_command_too(capsim, number):
    """It would go on for hours, and greenai wait for it, until a batch system kills both."""
    with optimising("--steps", "step", "--", *WORK, "20000", text=True) as process:
        try:
            while "step 9" not in process.stderr.readline():
                pass
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
            (command,) = [
                pid
                for pid in children.split()
                if b"-m\0greenai_capsim\0" in Path(f"/proc/{pid}/cmdline").read_bytes()
            ]
            process.send_signal(number)
            process.communicate(timeout=20)
        finally:
            process.kill()
        assert process.returncode == 128 + number
        assert not Path(f"/proc/{command}").exists()
    assert cap_of(capsim) == 300.0


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("exit 7", "'sh' ended with exit code 7"),
        ("kill -9 $$", "'sh' was ended by SIGKILL"),
    ],
)
def test_how_a_repeated_command_failed_is_told(capsim, greenai, script, said):
    code, _, err = greenai(
        *("powercap", "optimise", "-p", "capsim", "--limiter", "capsim", "--", "sh", "-c", script)
    )
    assert code == 5
    assert said in err


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("exit 7", "ended with exit code 7 after 0 steps, .* 'step' was found in no line"),
        ("echo step; kill -9 $$", "was ended by SIGKILL after 1 steps, .* Let it work"),
        # What it leaves behind holds its stdout.
        ("echo step; sleep 60 & echo step", "ended with exit code 0 after 2 steps"),
    ],
)
def test_how_a_followed_command_ended_is_told(capsim, greenai, monkeypatch, script, said):
    monkeypatch.setattr("greenai_core.cli.powercap_work.SILENT_S", 0.3)
    code, _, err = greenai(
        *("powercap", "optimise", "-p", "capsim", "--limiter", "capsim", "--steps", "step"),
        *("--", "sh", "-c", script),
    )
    assert code == 5
    assert re.search(said, err.replace("\n", " ")), err
    assert cap_of(capsim) == 300.0


@pytest.mark.parametrize("how", ["sleep 60 &", "setsid sleep 60 > /dev/null 2>&1 &"])
def test_a_command_that_leaves_work_running_is_warned_of(greenai, capfd, how):
    """A service that goes into the background is not what the steps measure."""
    work = RepeatedCommand(["sh", "-c", how])
    try:
        work.step()
        err = capfd.readouterr().err
        (pid,) = re.findall(r"left processes running: (\d+) \(sleep\)", err)
    finally:
        os.kill(int(pid), signal.SIGKILL)
    os.waitpid(int(pid), 0)  # it became our child
    RepeatedCommand(["sh", "-c", "sleep 0 & wait"]).step()
    assert "left" not in capfd.readouterr().err
