"""`greenai powercap`, on simulated NVML boards and on a board in a file."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

from greenai_core import registry
from greenai_core.cli.main import main

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
        *("--csv", "probes.csv", "--picture", "curves.svg", "--out", "result.json"),
        *("--", *WORK, "1500"),
    )
    assert code == 0, err
    document = json.loads(out)
    result = document["result"]
    assert document["kind"] == "powercap"
    assert result["chosen"] < 130.0  # energy is least at 100 W
    assert json.loads((tmp_path / "result.json").read_text()) == document
    rows = list(csv.DictReader((tmp_path / "probes.csv").open()))
    assert [row["role"] for row in rows] == [probe["role"] for probe in result["probes"]]
    picture = ElementTree.parse(tmp_path / "curves.svg").getroot()
    assert len(picture.findall(".//{*}polyline")) == 4
    assert cap_of(capsim) == 300.0
    assert "step 1499" in err


def test_a_command_that_ends_too_early_is_an_error_and_its_probes_are_kept(
    capsim, greenai, tmp_path
):
    code, _, err = greenai(
        *("powercap", "optimise", "--steps", "step", "-p", "capsim", "--limiter", "capsim"),
        *("--probe", "0.2", "--csv", "probes.csv", "--", *WORK, "200"),
    )
    assert code == 5
    assert "ended after 200 steps" in err
    assert len((tmp_path / "probes.csv").read_text().splitlines()) >= 2
    assert cap_of(capsim) == 300.0


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
    assert out.splitlines() == [f"capsim {cap}" for cap in (100, 150, 200, 250, 300)]
    assert "nothing was changed" in err


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
