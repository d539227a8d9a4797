"""``greenai measure``: the command notices nothing."""

import json
import os
import pty
import signal
import sys
import threading
from pathlib import Path

import pytest

from greenai_core.cli import exit_codes

SIM = ("measure", "-p", "sim")


def python(code):
    return ("--", sys.executable, "-c", code)


def test_the_report_has_the_energy_of_the_command(greenai):
    done = greenai(*SIM, "--json", *python("import time; time.sleep(0.3)"))
    assert done.code == 0
    assert done.json["kind"] == "measure"
    (result,) = done.json["results"]
    gross = result["gross"]
    assert gross["duration_s"] >= 0.3
    assert gross["energy_j"] == pytest.approx(gross["duration_s"] * 10, rel=0.05)
    assert gross["low_j"] <= gross["energy_j"] <= gross["high_j"]
    assert gross["channels"][0]["id"] == "cpu:0/package"
    assert result["exit_code"] == 0
    assert result["command"][0] == sys.executable
    assert result["net_energy_j"] is None


@pytest.mark.parametrize("code", [0, 1, 3, 255])
def test_the_exit_code_is_the_commands(greenai, code):
    assert greenai(*SIM, *python(f"raise SystemExit({code})")).code == code


def test_a_command_that_a_signal_ends_gives_128_plus_n(greenai):
    done = greenai(*SIM, *python("import os; os.kill(os.getpid(), 9)"))
    assert done.code == 137


def test_the_streams_are_the_commands(spawn):
    code = "import sys; print(sys.stdin.read().upper(), end=''); print('e', file=sys.stderr)"
    process = spawn(*SIM, *python(code), stdin=-1)
    out, err = process.communicate("hello", timeout=30)
    assert out == "HELLO"
    assert err.startswith("e\n")
    assert "greenai:" in err


def test_options_of_the_command_are_not_ours(greenai):
    done = greenai(*SIM, "--", "echo", "--json", "-p", "--", "x")
    assert done.out == "--json -p -- x\n"
    assert greenai(*SIM, "echo", "--json").out == "--json\n"


def test_inherited_file_descriptors_stay_open(spawn):
    """As in ``diff <(a) <(b)``."""
    read, write = os.pipe()
    os.write(write, b"through a pipe")
    os.close(write)
    process = spawn(*SIM, "--", "cat", f"/dev/fd/{read}", pass_fds=(read,))
    os.close(read)
    assert process.communicate(timeout=30)[0] == "through a pipe"


def test_out_keeps_the_report_apart_from_what_the_command_prints(greenai, simulated):
    done = greenai(*SIM, "--json", "--out", "m.json", "--", "echo", "text")
    assert done.out == "text\n"
    assert json.loads((simulated / "m.json").read_text())["results"][0]["exit_code"] == 0
    assert "cpu:0/package" in done.err


def test_without_json_the_summary_goes_to_stderr(greenai):
    done = greenai(*SIM, "--", "sleep", "0.1")
    assert done.out == ""
    assert "W in " in done.err
    assert "cpu:0/package" in done.err


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("-p", "sim", "--", "no-such-command"), 127, "no-such-command"),
        (("-p", "sim", "--", "./plain"), 126, "./plain"),
        (("-p", "sim", "--", "."), 126, "cannot be executed"),
        (("-p", "sim-absent", "--", "touch", "ran"), 125, "slot 7"),
        (("-p", "nosuch", "--", "touch", "ran"), 125, "nosuch"),
        (("--bogus", "--", "touch", "ran"), 125, "--bogus"),
        ((), 125, "COMMAND"),
    ],
)
def test_a_command_that_cannot_start_has_the_code_of_a_shell(greenai, simulated, args, code, said):
    (simulated / "plain").write_text("not a program")
    done = greenai("measure", *args)
    assert done.code == code
    assert len(done.errors) == 1
    assert said in done.errors[0]
    assert not (simulated / "ran").exists()


def test_a_broken_configuration_is_our_own_failure(greenai, simulated):
    (simulated / "greenai.toml").write_text("bogus = 1")
    assert greenai("measure", "--", "true").code == exit_codes.WRAPPER_FAILED


def test_a_failing_sensor_does_not_change_the_exit_code(greenai, simulated):
    gone = simulated / "gone"
    done = greenai(
        *SIM, "-O", f"sim.lost_file={gone}", "--json", "--", "sh", "-c", "touch gone; exit 3"
    )
    assert done.code == 3
    (result,) = done.json["results"]
    assert result["gross"]["energy_j"] is None
    assert "unplugged" in result["gross"]["missing"][0]["reason"]


def test_a_sensor_that_is_dead_at_opening_is_told_before_the_command_starts(greenai, simulated):
    gone = simulated / "gone"
    gone.touch()
    done = greenai(*SIM, "-O", f"sim.lost_file={gone}", "--json", "--", "touch", "began")
    assert done.code == 125
    assert done.out == ""
    (error,) = done.errors
    assert "unplugged" in error
    assert not (simulated / "began").exists()


def test_a_report_that_cannot_be_written_does_not_change_the_exit_code(greenai):
    done = greenai(*SIM, "--out", "/dev/full", "--", "true")
    assert done.code == 0
    assert len(done.errors) == 1
    assert "No space left" in done.errors[0]
    assert done.json["complete"]
    assert done.json["results"][0]["command"] == ["true"]


@pytest.mark.parametrize("place", [".", "new/", "plain/x.json", "/proc/x.json", ""])
def test_a_place_that_takes_no_report_is_found_out_before_the_command(greenai, simulated, place):
    (simulated / "plain").write_text("")
    done = greenai(*SIM, "--out", place, "--", "touch", "ran")
    assert done.code == exit_codes.WRAPPER_FAILED
    assert len(done.errors) == 1
    assert "--out" in done.errors[0]
    assert not (simulated / "ran").exists()


def test_a_folder_for_the_report_is_made(greenai, simulated):
    assert greenai(*SIM, "--out", "new/deep/r.json", "--", "true").code == 0
    assert (simulated / "new" / "deep" / "r.json").is_file()


def test_a_device_is_written_to_and_not_replaced(greenai):
    assert greenai(*SIM, "--out", "/dev/null", "--", "true").code == 0
    assert Path("/dev/null").is_char_device()


# Signals. A script says on stdout that it listens, and then what came.

LISTENER = """
import signal, sys, time
def tell(number, frame):
    print("got", signal.Signals(number).name, flush=True)
    count.append(number)
count = []
for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"):
    signal.signal(getattr(signal, name), tell)
print("ready", flush=True)
until = time.monotonic() + 20
while not count and time.monotonic() < until:
    time.sleep(0.01)
time.sleep(0.2)
sys.exit(40 + len(count))
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"])
def test_a_signal_to_us_reaches_the_command_once(spawn, name):
    process = spawn(*SIM, *python(LISTENER), start_new_session=True)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(getattr(signal, name))
    out, err = process.communicate(timeout=30)
    assert out == f"got {name}\n"
    assert process.returncode == 41
    assert "W in " in err


def test_a_command_that_dies_of_our_sigterm_gives_143_and_a_summary(spawn):
    process = spawn(*SIM, *python("print('ready', flush=True); import time; time.sleep(20)"))
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    _, err = process.communicate(timeout=30)
    assert process.returncode == 143
    assert "W in " in err


def test_ctrl_c_on_a_terminal_reaches_the_command_exactly_once():
    """The terminal sends it to both of us; handing it on as well would double it."""
    pid, terminal = pty.fork()
    if pid == 0:
        command = [sys.executable, "-m", "greenai_core", *SIM, *python(LISTENER)]
        os.execv(sys.executable, command)
    watchdog = threading.Timer(40, os.kill, (pid, signal.SIGKILL))
    watchdog.start()
    shown, sent = b"", False
    try:
        while True:
            try:
                chunk = os.read(terminal, 4096)
            except OSError:
                break  # the terminal hangs up when its last user has gone
            if not chunk:
                break
            shown += chunk
            if b"ready" in shown and not sent:
                os.write(terminal, b"\x03")
                sent = True
    finally:
        watchdog.cancel()
        os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 41, shown
    assert shown.count(b"got SIGINT") == 1
