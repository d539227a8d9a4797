"""``greenai measure --by-process``: who used the energy, as a model beside the total."""

import json
import math
import sys
from pathlib import Path

import jsonschema
import pytest

SIM = ("measure", "-p", "sim", "--by-process")
SCHEMA = Path(__file__).parents[2] / "docs/schema/report-1.json"
BUSY = "import time\nwhile time.process_time() < 0.4: pass"


def busy(*words):
    return ("--", sys.executable, "-c", BUSY, *words)


@pytest.fixture
def measured(greenai):
    done = greenai(*SIM, "--json", *busy())
    assert done.code == 0
    jsonschema.validate(done.json, json.loads(SCHEMA.read_text()))
    return done.json["results"][0]


def test_the_shares_of_a_report_add_up_and_are_called_modelled(measured):
    (cpu,) = measured["gross"]["by_process"]
    assert cpu["channels"] == ["cpu:0/package"]
    assert math.fsum(s["energy_j"] for s in cpu["shares"]) == pytest.approx(cpu["energy_j"])
    assert {s["method"] for s in cpu["shares"]} == {"modelled"}
    assert measured["gross"]["method"] != "modelled", "the total is still measured"
    assert measured["gross"]["energy_j"] == pytest.approx(cpu["energy_j"])


def test_the_command_has_its_cpu_time(measured):
    shares = measured["gross"]["by_process"][0]["shares"]
    inside = [share for share in shares if share["in_tree"]]
    assert 0.38 <= sum(share["busy_s"] for share in inside) <= 0.7
    assert inside[0]["command"].startswith(sys.executable)
    assert all(share["command"] == "" for share in shares if not share["in_tree"])


def test_what_a_script_starts_belongs_to_the_command(greenai):
    script = f"for i in 1 2; do {sys.executable} -c '{BUSY.replace('0.4', '0.2')}'; done"
    done = greenai(*SIM, "--json", "--", "sh", "-c", script)
    shares = done.json["results"][0]["gross"]["by_process"][0]["shares"]
    assert 0.38 <= sum(share["busy_s"] for share in shares if share["in_tree"]) <= 0.8


def test_the_table_fits_80_columns(greenai):
    done = greenai(*SIM, *busy("x" * 100))
    assert done.code == 0
    assert "by process" in done.err
    assert "modelled: split by CPU time" in done.err
    assert "idle" in done.err
    assert Path(sys.executable).name in done.err
    assert max(map(len, done.err.splitlines())) <= 80


def test_nothing_is_split_unless_it_is_asked_for(greenai):
    done = greenai("measure", "-p", "sim", "--json", "--", "true")
    assert done.json["results"][0]["gross"]["by_process"] == []


def test_the_exit_code_stays_the_commands(greenai):
    assert greenai(*SIM, "--", "sh", "-c", "exit 7").code == 7
    assert greenai(*SIM, "--", "no-such-command").code == 127


def test_a_report_with_shares_is_still_explained(greenai, simulated):
    assert greenai(*SIM, "--raw", "--out", "m.json", *busy()).code == 0
    assert greenai("explain", "m.json").code == 0
    data = json.loads((simulated / "m.json").read_text())
    data["results"][0]["gross"]["by_process"][0]["shares"][0]["energy_j"] *= 2
    (simulated / "m.json").write_text(json.dumps(data))
    done = greenai("explain", "m.json")
    assert done.code != 0
    assert "its shares add up to" in done.out + done.err


def test_a_process_cannot_steer_the_terminal_by_its_name():
    """Everybody on the machine chooses the names of their processes."""
    from greenai_core.cli import process_table
    from greenai_core.results import EnergySplit, ProcessShare

    share = ProcessShare("process", 1.0, 0.5, 1.5, 1.0, pid=7, name="evil\x1b]0;owned\x07\u202e")
    found = EnergySplit("cpu", ("cpu:0/package",), 1.0, 0.9, 1.1, "modelled", (share,))
    lines = process_table.text([found])
    assert any("evil?]0;owned??" in line for line in lines)
    assert all(line.replace("\n", "").isprintable() for line in lines)
