"""``greenai calibrate``: a wattmeter on loopback, a simulated part, and a load command."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from greenai_core import calibration_files
from greenai_core.calibration import Stair
from greenai_core.cli import exit_codes
from greenai_core.environment import machine_identity
from greenai_core.testing import FakeWattmeter, PowerProfile
from greenai_plugins.profilers import wattmeter

GAIN, OFFSET_W = 1.06, 1.5
"""What the simulated sensor tells over what is true; see greenai_simulated_part."""

SENSOR, METER = "cpu:9/package", "wall:riser"
LOAD = "sh -c 'echo {level} > level; trap \"rm -f level; exit\" TERM; sleep 60 & wait'"


class Followed(PowerProfile):
    """The part's true power, as the load file has it now."""

    def power(self, t):
        from greenai_simulated_part import true_power

        return true_power("level")

    def energy(self, start, end):
        raise NotImplementedError


@pytest.fixture(autouse=True)
def machine(monkeypatch, tmp_path):
    """A data folder of its own, a machine with an identity, and a quick meter."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr(calibration_files, "machine_identity", lambda root: "0123456789abcdef")
    monkeypatch.setattr(wattmeter, "UPDATE_PERIOD_S", 0.05)
    monkeypatch.setattr(wattmeter.WattmeterProfiler, "sample_period_s", 0.05)
    return tmp_path / "data" / "greenai" / "calibrations" / "0123456789abcdef.json"


@pytest.fixture
def meter():
    with FakeWattmeter("shelly2", Followed()) as fake:
        yield fake


@pytest.fixture
def part(meter):
    """Options that bring in the simulated part and the meter."""
    return (
        *("-p", "sim-part", "-p", "wattmeter"),
        *("-O", "sim-part.level_file=level", "-O", f"wattmeter.url={meter.url}"),
        *("-O", "wattmeter.label=riser", "-O", "wattmeter.gain=0.004"),
    )


QUICKLY = ("--load", LOAD, "--levels", 4, "--passes", 1, "--settle", 0.2)
SIM = ("-p", "sim-part", "-O", "sim-part.level_file=level")


def test_calibrated_figures_say_so_and_are_right(greenai, part, machine, tiny):
    """From the staircase on a loopback meter to a bench whose gain is known."""
    done = greenai("calibrate", SENSOR, METER, "--scope", "part", *QUICKLY, *part, "--json")
    assert done.code == 0, done.err
    made = done.json
    assert made["line"]["gain"] == pytest.approx(1 / GAIN, rel=0.02)
    assert made["line"]["offset_w"] == pytest.approx(-OFFSET_W / GAIN, abs=1.0)
    assert (made["channel"], made["meter"], made["scope"]) == (SENSOR, METER, "part")
    assert len(made["stairs"]) == 4
    assert made["u_meter"] == 0.004
    assert json.loads(machine.read_text())["calibrations"][0]["channel"] == SENSOR

    listed = greenai("calibrate", "list", "--json")
    assert [entry["channel"] for entry in listed.json] == [SENSOR]
    assert "0 days" in greenai("calibrate", "list").out

    name = tiny(seconds=0.002)
    limits = ("--min-time", 0.5, "--precision", "3%", "--max-time", 5, "--json")
    before = greenai("bench", name, *SIM, *limits, "--no-calibration")
    after = greenai("bench", name, *SIM, *limits)
    raw, good = (done.json["results"][0] for done in (before, after))
    power = [result["power_w"] for result in (raw, good)]
    assert power[0]["value"] == pytest.approx(GAIN * 20 + OFFSET_W, rel=0.03)
    assert power[1]["value"] == pytest.approx(20.0, rel=0.03)
    assert power[1]["low"] < 20.0 < power[1]["high"]
    widths = [(p["high"] - p["low"]) / p["value"] for p in power]
    assert widths[0] > 0.2
    assert widths[1] < 0.12
    assert before.json["calibrations"] == []
    assert after.json["calibrations"][0]["meter"] == METER
    assert "calibrated on 20" in good["energy_per_inference_j"]["provenance"]
    assert "calibrated against wall:riser" not in before.err
    assert f"{SENSOR} is calibrated on" in after.err

    devices = greenai("devices", *SIM)
    assert "calibrated against wall:riser" in " ".join(devices.out.split())

    window = greenai("measure", *SIM, "--json", "--", "sleep", "1").json
    assert window["calibrations"][0]["channel"] == SENSOR
    gross = window["results"][0]["gross"]
    assert gross["energy_j"] / gross["duration_s"] == pytest.approx(20.0, rel=0.05)

    assert greenai("calibrate", "remove", SENSOR).code == 0
    assert greenai("calibrate", "list").out.strip() == "No calibration is kept for this machine."


def test_a_meter_at_the_wall_needs_the_scope(greenai, part):
    done = greenai("calibrate", SENSOR, METER, *QUICKLY, *part)
    assert done.code == exit_codes.USAGE
    assert "--scope wall" in done.err
    assert "--scope part" in done.err


@pytest.mark.parametrize(
    ("pair", "more", "said"),
    [
        ((SENSOR, SENSOR), (), "against itself"),
        ((SENSOR, "model:cpu"), ("-p", "sim-model"), "modelled"),
        ((SENSOR, "wall:other"), (), "no channel wall:other"),
        ((METER, SENSOR), (), "no part"),
    ],
)
def test_a_pair_that_cannot_be_compared_is_refused(greenai, part, machine, pair, more, said):
    done = greenai("calibrate", *pair, "--scope", "part", *QUICKLY, *part, *more)
    assert done.code == exit_codes.MEASUREMENT
    assert said in done.err
    assert not machine.exists()


def test_a_sensor_that_does_not_follow_is_stuck(greenai, part, machine):
    done = greenai(
        *("calibrate", SENSOR, METER, "--scope", "part", *QUICKLY, *part),
        *("-O", "sim-part.stuck=true"),
    )
    assert done.code == exit_codes.MEASUREMENT
    assert "stuck" in done.err
    assert not machine.exists()


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("sleep 60", "{level}"),
        ("sh -c 'exit {level}'", "ended with exit code"),
        ("no-such-program {level}", "cannot be started"),
        ("sh -c '{level}", "no command line"),
    ],
)
def test_a_load_that_is_none_is_told(greenai, part, template, said):
    done = greenai(
        *("calibrate", SENSOR, METER, "--scope", "part", *part),
        *("--load", template, "--levels", 4, "--passes", 1, "--settle", 0),
    )
    assert done.code == exit_codes.MEASUREMENT
    assert said in done.err


def test_a_gpu_without_a_load_asks_for_one(greenai, part):
    gpu = ("-O", "sim-part.gpu=true")
    done = greenai("calibrate", "gpu:GPU-part", METER, "--scope", "part", *part, *gpu)
    assert done.code == exit_codes.USAGE
    assert "--load" in done.err


@pytest.mark.parametrize("share", ["0", "150%", "much"])
def test_a_wrong_uncertainty_of_the_meter_is_refused(greenai, part, share):
    done = greenai("calibrate", SENSOR, METER, "--meter-uncertainty", share, *part)
    assert done.code == exit_codes.USAGE
    assert "1% or 0.01" in done.err


@pytest.mark.skipif(machine_identity() is None, reason="this machine has no identity")
def test_ctrl_c_ends_the_load_and_keeps_nothing(spawn, part, simulated, machine):
    """Not every load was held."""
    process = spawn(
        *("calibrate", SENSOR, METER, "--scope", "part", *part, "--settle", 30),
        *("--load", "sh -c 'echo $$ > pid; exec sleep 60 {level}'", "--levels", 4),
    )
    while "stairs, about" not in (line := process.stderr.readline()):
        assert line, "it ended before the first stair"
    pid = simulated / "pid"
    deadline = time.monotonic() + 2
    # Where the idle stair comes first nothing is started, and nothing is to be ended.
    while not (pid.exists() and pid.read_text().strip()) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "nothing was kept" in err
    assert not machine.parent.exists()
    assert not pid.exists() or not alive(int(pid.read_text()))


@pytest.mark.parametrize(("held", "kept"), [(5, True), (3, False)])
def test_ctrl_c_keeps_what_holds_every_load_once(greenai, part, machine, monkeypatch, held, kept):
    def broken_off(load, sources, sensor, meter, rest, clock, stairs, progress):
        for level in stairs.levels[:held]:
            yield Stair(level, 1.0, 20 + 100 * level, 21 + 95 * level, 0.1, 0.1)
        raise KeyboardInterrupt

    monkeypatch.setattr("greenai_core.cli.calibrate.climb", broken_off)
    options = ("--scope", "part", "--load", LOAD, "--levels", 4, "--passes", 2, "--json")
    done = greenai("calibrate", SENSOR, METER, *options, *part)
    assert done.code == 130
    assert machine.exists() == kept
    assert ("interrupted: 5 stairs" in done.err) == kept
    if kept:
        assert done.json["complete"] is False


def test_ctrl_c_never_replaces_a_complete_calibration(greenai, part, machine, monkeypatch):
    ends = {"held": 8}

    def broken_off(load, sources, sensor, meter, rest, clock, stairs, progress):
        for level in stairs.levels[: ends["held"]]:
            yield Stair(level, 1.0, 20 + 100 * level, 21 + 95 * level, 0.1, 0.1)
        if ends["held"] < 8:
            raise KeyboardInterrupt

    monkeypatch.setattr("greenai_core.cli.calibrate.climb", broken_off)
    options = ("--scope", "part", "--load", LOAD, "--levels", 4, "--passes", 2)
    ends["held"] = 5
    assert greenai("calibrate", SENSOR, METER, *options, *part).code == 130
    assert "incomplete" in greenai("calibrate", "list").out
    shown = greenai("calibrate", "show", SENSOR).out
    assert "Incomplete: it was interrupted after 5 stairs" in shown
    ends["held"] = 8
    assert greenai("calibrate", SENSOR, METER, *options, *part).code == 0
    before = machine.read_bytes()
    ends["held"] = 5
    done = greenai("calibrate", SENSOR, METER, *options, *part)
    assert done.code == 130
    assert "the complete calibration of cpu:9/package" in done.err
    assert machine.read_bytes() == before
    assert "incomplete" not in greenai("calibrate", "list").out


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "Expecting"),
        (b"[]", "no calibrations"),
        (b'{"schema_version": 7, "machine": "0123456789abcdef", "calibrations": []}', "7"),
        (b'{"schema_version": 1, "machine": "other", "calibrations": []}', "another machine"),
        (b'{"schema_version": 1, "machine": "0123456789abcdef", "calibrations": [{}]}', "missing"),
    ],
)
def test_a_broken_or_foreign_file_is_warned_of_and_not_used(
    greenai, machine, content, said, tiny, quick
):
    machine.parent.mkdir(parents=True)
    machine.write_bytes(content)
    done = greenai("bench", tiny(), *quick)
    assert done.code == 0
    assert "are not used" in done.err
    assert said in done.err
    assert greenai("calibrate", "list").code == exit_codes.MEASUREMENT
    assert "are not used" not in greenai("bench", tiny(), *quick, "--no-calibration").err


def test_the_setting_can_leave_calibrations_out_or_name_their_folder(
    greenai, monkeypatch, tmp_path
):
    monkeypatch.setenv("GREENAI_CALIBRATIONS", "none")
    shown = greenai("config", "show", "--json").json["settings"]["calibrations"]
    assert shown == {"value": "none", "origin": "GREENAI_CALIBRATIONS"}
    monkeypatch.setenv("GREENAI_CALIBRATIONS", str(tmp_path / "elsewhere"))
    assert greenai("calibrate", "list").code == 0


def test_removing_what_is_not_there_names_what_is(greenai):
    done = greenai("calibrate", "remove", SENSOR)
    assert done.code == exit_codes.MEASUREMENT
    assert "kept: none" in done.err


def test_help_says_what_the_figures_mean(greenai):
    done = greenai("calibrate", "--help")
    assert done.code == 0
    assert "power supply" in " ".join(done.out.split())
    assert "--meter-uncertainty" in greenai("calibrate", "run", "--help").out
