"""``greenai grade --grader web``: both letters, and what a service's failure does not change.

The simulated machine draws 10 W, and 30 W for half a second from when the script makes
the file ``busy``: 10 J above idle.
"""

import json
import re
import signal
import time

import psutil
import pytest

from greenai_core import Session, Spool, read_report
from greenai_core.cli import services
from greenai_core.testing import GradingServer
from greenai_plugins.graders import web_client

GRADE = ("grade", "-p", "sim", "-O", "sim.busy_file=busy", "--idle-time", "0.3", "--out", "g.json")
SCRIPT = """
import sys, time
open('busy', 'w').close()
time.sleep(0.6)
print('secret output')
sys.exit(3)
"""
UNITS = ("--units", "10", "--unit", "image")


@pytest.fixture(autouse=True)
def script(simulated, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(simulated / "state"))
    (simulated / "s.py").write_text(SCRIPT)


@pytest.fixture
def server():
    with GradingServer() as started:
        yield started


def graded(greenai, *args):
    done = greenai(*GRADE, "--grader", "web", *args, "s.py", "--password", "hunter2")
    assert done.code == 3, done.err
    assert done.out == "secret output\n"
    (result,) = read_report("g.json").results
    return done, result


def test_both_letters_and_figures_of_the_old_script(greenai, server):
    """Efficiency is the power above idle in kW, doubled; optimisation its share of the most."""
    done, result = graded(greenai, "--url", server.url, "--tdp", "100", *UNITS)
    watts = result.net_energy_j.value / result.gross.duration_s
    most = 100 + psutil.virtual_memory().total / 2**30 * 0.3725
    reasons = " ".join(result.grade.reasons)
    found = dict(re.findall(r"(efficiency|optimisation): [A-G] \(([\d.]+)", reasons))
    assert float(found["efficiency"]) == pytest.approx(watts * 2 * 0.001, rel=0.01)
    assert float(found["optimisation"]) == pytest.approx(watts / most, rel=0.01)
    assert result.grade.letter in "ABC"
    assert result.grade.scale == "legacy/127.0.0.1"
    text = " ".join(done.err.split())
    assert f"efficiency: A ({found['efficiency']}" in text
    assert "not meaningful for energy" in text
    assert Spool().waiting() == ([], [])


def test_without_the_power_of_the_processors_it_is_told_how_to_give_it(
    greenai, server, monkeypatch
):
    monkeypatch.setattr(services, "package_limits", lambda powercap: [])
    done, result = graded(greenai, "--url", server.url, *UNITS)
    assert result.grade.letter is None
    assert "--tdp WATTS" in " ".join(done.err.split())


def test_limits_in_force_of_all_packages_are_added(tmp_path):
    for number, microwatts in enumerate((95_000_000, 95_000_000)):
        zone = tmp_path / f"intel-rapl:{number}"
        zone.mkdir()
        (zone / "name").write_text(f"package-{number}\n")
        (zone / "constraint_0_power_limit_uw").write_text(f"{microwatts}\n")
    with Session("sim") as session:
        (cpu,) = services.devices(session, None, tmp_path)
        assert (cpu.type, cpu.max_power_w) == ("CPU", 190.0)
        (given,) = services.devices(session, 65.0, tmp_path)
        assert given.max_power_w == 65.0
        (tmp_path / "intel-rapl:1" / "constraint_0_power_limit_uw").write_text("0\n")
        assert services.devices(session, None, tmp_path) == []
        # A board that lifts its limits: the design power, as the modelled joules take it.
        for number in range(2):
            zone = tmp_path / f"intel-rapl:{number}"
            (zone / "constraint_0_power_limit_uw").write_text("4095875000\n")
            (zone / "constraint_0_max_power_uw").write_text("125000000\n")
        (lifted,) = services.devices(session, None, tmp_path)
        assert lifted.max_power_w == 250.0


def test_nothing_of_the_script_leaves(greenai, server):
    graded(greenai, "--url", server.url, *UNITS)
    wire = b"".join(request.wire for request in server.requests)
    assert server.requests
    for private in (b"hunter2", b"password", b"s.py", b"secret", b"image"):
        assert private not in wire


def test_without_units_both_letters_are_shown_and_none_is_given(greenai, server):
    done, result = graded(greenai, "--url", server.url, "--tdp", "100")
    assert result.grade.letter is None
    text = " ".join(done.err.split())
    assert re.search(r"efficiency: [A-G] \(", text)
    assert re.search(r"optimisation: [A-G] \(", text)


@pytest.mark.parametrize("fault", ["500", "503", "reset", "html", "half", "moved"])
def test_a_failing_service_leaves_exit_code_and_figures_alone(greenai, server, fault):
    server.retry_after = "0"
    server.keep_failing(fault)
    _, result = graded(greenai, "--url", server.url, *UNITS)
    assert result.net_energy_j.value == pytest.approx(10, abs=0.5)
    assert result.grade.letter is None
    assert any(server.url in warning for warning in result.warnings)
    waiting, rejected = Spool().waiting()[0], Spool().rejected()[0]
    (entry,) = waiting + rejected
    assert entry.run.net_energy_j.value == result.net_energy_j.value
    server.heal()
    synced = greenai("sync", *(["--rejected"] if rejected else []))
    assert synced.code == 0, synced.err
    assert "efficiency: A" in synced.out


def test_ctrl_c_while_a_service_hangs_keeps_run_report_and_exit_code(spawn, server):
    server.keep_failing("hang")
    process = spawn(*GRADE, "--grader", "web", "--url", server.url, *UNITS, "s.py")
    until = time.monotonic() + 60
    while not server.requests and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 3, err
    (result,) = read_report("g.json").results
    assert result.net_energy_j.value == pytest.approx(10, abs=0.5)
    assert "`greenai sync` sends the run" in " ".join(err.split())
    assert len(Spool().waiting()[0]) == 1


def test_a_service_that_is_not_there(greenai, simulated):
    with GradingServer() as gone:
        url = gone.url
    done, _ = graded(greenai, "--url", url, "--offline", *UNITS)
    assert "greenai sync" in done.err
    (entry,) = Spool().waiting()[0]
    assert entry.url == url


def test_offline_opens_no_socket(greenai, server):
    _, result = graded(greenai, "--url", server.url, "--offline", *UNITS)
    assert not server.requests
    assert result.grade.letter is None


def test_a_dry_run_shows_the_bytes_and_sends_and_keeps_nothing(greenai, server):
    done, _ = graded(greenai, "--url", server.url, "--dry-run", "--tdp", "100", *UNITS)
    assert not server.requests
    assert Spool().waiting() == ([], [])
    assert "GET /classificationDataC/1/0." in done.err
    assert f"would send to {server.url}" in done.err


def test_the_bytes_of_a_dry_run_are_those_that_are_sent(greenai, server):
    """The spool keeps the run, so that the very same one is shown and sent."""
    graded(greenai, "--url", server.url, "--offline", *UNITS)
    shown = greenai("sync", "--dry-run").out
    assert greenai("sync").code == 0
    sent = "".join(request.wire.decode() for request in server.requests)
    assert shown.splitlines() == sent.splitlines()


def test_the_address_is_a_setting_and_asks_nobody_by_itself(
    greenai, server, simulated, monkeypatch
):
    monkeypatch.setenv("GREENAI_GRADING_URL", server.url)
    done = greenai(*GRADE, *UNITS, "s.py")
    assert done.code == 3
    assert not server.requests
    (simulated / "busy").unlink()
    _, result = graded(greenai, *UNITS)
    assert server.requests
    assert result.grade.grader == "web"


def test_the_address_may_stand_in_the_settings_of_the_user(greenai, server, simulated, tmp_path):
    folder = tmp_path / "config" / "greenai"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(f'grading_url = "{server.url}"\n')
    done = greenai(*GRADE, *UNITS, "s.py")
    assert done.code == 3
    assert not server.requests, "a setting is no request"
    (simulated / "busy").unlink()
    _, result = graded(greenai, *UNITS)
    assert server.requests
    assert result.grade.scale == "legacy/127.0.0.1"


@pytest.mark.parametrize("fault", ["hang", "drip", "drip-head", "stall"])
def test_who_waits_is_told_for_how_long_and_waits_no_longer(greenai, server, fault, monkeypatch):
    monkeypatch.setenv("GREENAI_GRADING_TIMEOUT", "0.4")
    server.keep_failing(fault)
    _, result = graded(greenai, "--url", server.url, *UNITS)
    assert any("did not finish within 0.4 s" in warning for warning in result.warnings)
    (entry,) = Spool().waiting()[0]
    assert entry.run.net_energy_j.value == result.net_energy_j.value


def test_the_flag_decides_how_long_before_the_setting(greenai, server, monkeypatch):
    monkeypatch.setenv("GREENAI_GRADING_TIMEOUT", "500")
    server.keep_failing("hang")
    done, _ = graded(greenai, "--url", server.url, "--timeout", "0.4", *UNITS)
    assert "for 0.4 s at most" in " ".join(done.err.split())


def test_a_timeout_without_a_service_is_refused(greenai):
    done = greenai("grade", "-p", "sim", "--timeout", "5", "s.py")
    assert done.code == 125
    assert "--timeout is for a grader that asks a service" in done.err
    assert greenai("grade", "-p", "sim", "--timeout", "0", "s.py").code == 125


def test_a_driver_at_fault_costs_no_run(greenai, server, monkeypatch):
    """Power limits are asked for after the script: nothing that they do may lose its figures."""

    def faulty():
        raise ZeroDivisionError("by design")

    monkeypatch.setattr(services, "board_limits", faulty)
    _, result = graded(greenai, "--url", server.url, "--tdp", "100", *UNITS, "--offline")
    (entry,) = Spool().waiting()[0]
    assert entry.run.net_energy_j.value == result.net_energy_j.value
    assert [device.type for device in entry.run.devices] == ["CPU"]


@pytest.mark.parametrize("watts", [0.0, -1.0, float("nan")])
def test_a_limit_that_is_none_makes_no_device(monkeypatch, watts):
    with Session("sim") as session:
        ids = [channel.id for channel in session.channels]
        monkeypatch.setattr(services, "board_limits", lambda: [(ids[0], watts)])
        assert services.devices(session, 65.0)[1:] == []
        monkeypatch.setattr(services, "board_limits", lambda: [(ids[0], 250.0)])
        assert [one.max_power_w for one in services.devices(session, 65.0)] == [65.0, 250.0]


def test_a_grader_that_ends_the_program_does_not(greenai, server, monkeypatch):
    """The exit code is the script's, and the run is kept."""

    def send(self, run):
        raise SystemExit(77)

    monkeypatch.setattr(web_client.GradingService, "send", send)
    graded(greenai, "--url", server.url, *UNITS)
    assert len(Spool().waiting()[0]) == 1


def test_the_spool_cannot_be_written(greenai, server, simulated):
    (simulated / "state").write_text("a file")
    done, result = graded(greenai, "--url", server.url, *UNITS)
    assert not server.requests
    assert "cannot be kept" in " ".join(done.err.split())
    assert json.loads((simulated / "g.json").read_text())["results"]
    assert result.grade.letter is None
