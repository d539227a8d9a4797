"""``greenai record``: a file of rows, a command that notices nothing, windows read back."""

import json
import os
import pty
import signal
import sys

import numpy as np
import pytest

from greenai_core import read_recording

SIM = ("record", "-p", "sim", "--interval", "0.02")


def python(code):
    return ("--", sys.executable, "-c", code)


def test_a_command_is_recorded_from_its_beginning_to_its_end(greenai, simulated):
    done = greenai(*SIM, "--out", "run.csv", *python("import time; print('hi'); time.sleep(0.3)"))
    assert done.code == 0
    assert done.out == "hi\n"
    recorded = read_recording(simulated / "run.csv")
    assert recorded.times[-1] >= 0.3
    window = recorded.window()
    assert window.energy_j == pytest.approx(window.duration_s * 10, rel=0.05)
    assert "rows in" in done.err
    assert "ticks missed" in done.err
    assert "cpu:0/package" in done.err
    assert "ended because the command ended" in done.err
    assert recorded.meta.end.reason == "the command ended"


@pytest.mark.parametrize("code", [0, 3])
def test_the_exit_code_is_the_commands(greenai, code):
    assert greenai(*SIM, "--out", "run.csv", *python(f"raise SystemExit({code})")).code == code


def test_what_the_command_uses_is_recorded_when_asked(greenai, simulated):
    work = "import time; x = bytearray(10**7); sum(range(10**6)); time.sleep(0.3)"
    greenai(*SIM, "--tree", "--out", "run.jsonl", *python(work))
    recorded = read_recording(simulated / "run.jsonl")
    assert np.nanmax(recorded.column("tree rss [B]")) > 10**7
    assert recorded.meta.end.reason


def test_json_tells_what_became_of_it(greenai):
    done = greenai(*SIM, "--out", "run.csv", "--duration", "0.2", "--json")
    assert done.code == 0
    told = done.json["recording"]
    assert told["files"] == ["run.csv"]
    assert told["rows"] >= 5
    assert told["energy"]["energy_j"] == pytest.approx(told["duration_s"] * 10, rel=0.1)
    assert "duration" in told["ended_by"]


def test_a_window_is_read_back(greenai):
    greenai(*SIM, "--out", "run.csv", "--duration", "0.5")
    done = greenai("record", "--read", "run.csv", "--from", "0.1", "--to", "0.4", "--json")
    assert done.code == 0
    window = done.json["window"]
    assert window["duration_s"] == pytest.approx(0.3)
    assert window["energy_j"] == pytest.approx(3.0, rel=0.05)
    assert window["low_j"] < window["energy_j"] < window["high_j"]
    text = greenai("record", "--read", "run.csv", "--from", "0.1", "--to", "0.4")
    assert "cpu:0/package" in text.out
    assert "300 ms" in text.out


def test_a_window_by_the_wall_clock(greenai, simulated):
    greenai(*SIM, "--out", "run.csv", "--duration", "0.5")
    rows = (simulated / "run.csv").read_text().splitlines()[1:]
    begin, end = rows[3].split(",")[:2], rows[-3].split(",")[:2]
    done = greenai("record", "--read", "run.csv", "--from", begin[1], "--to", end[1], "--json")
    assert done.json["window"]["duration_s"] == pytest.approx(float(end[0]) - float(begin[0]))


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        ((), 2, "--out"),
        (("--out", "run.txt"), 2, ".csv"),
        (("--out", "new/"), 2, "folder"),
        (("--out", "run.csv", "--interval", "0"), 2, "--interval"),
        (("--out", "run.csv", "-p", "nosuch"), 3, "nosuch"),
        (("--out", "run.csv", "-p", "sim-absent"), 3, "slot 7"),
        (("--out", "run.csv", "-O", "sim.bogus=1", "-p", "sim"), 2, "bogus"),
        (("--out", "run.csv", "--pid", "4194305", "-p", "sim"), 2, "no process"),
        (("--out", "run.csv", "--tree"), 2, "--tree"),
        (("--read", "run.csv"), 2, "run.csv"),
        (("--read", "run.csv", "--out", "b.csv"), 2, "--out"),
        (("--read", "run.csv", "--duration", "1", "--rotate-rows", "5"), 2, "--rotate-rows"),
        (("--read", "run.csv", "-p", "sim"), 2, "--profiler"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(greenai, simulated, args, code, said):
    done = greenai("record", *args)
    assert done.code == code
    assert len(done.errors) == 1
    assert said in done.errors[0]
    assert not (simulated / "run.csv").exists()


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("-p", "sim-absent", "--out", "run.csv", "--", "touch", "ran"), 125, "slot 7"),
        (("-p", "sim", "--out", "new/", "--", "touch", "ran"), 125, "folder"),
        (("--bogus", "--", "touch", "ran"), 125, "--bogus"),
        (("--read", "run.csv", "--", "touch", "ran"), 125, "COMMAND"),
        (("-p", "sim", "--out", "run.csv", "--", "no-such-command"), 127, "no-such-command"),
        (("-p", "sim", "--out", "run.csv", "--", "."), 126, "cannot be executed"),
    ],
)
def test_a_command_that_cannot_start_has_the_code_of_a_shell(greenai, simulated, args, code, said):
    done = greenai("record", *args)
    assert done.code == code
    assert len(done.errors) == 1
    assert said in done.errors[0]
    assert not (simulated / "ran").exists()


def test_a_file_that_is_there_is_kept_unless_it_is_continued(greenai, simulated):
    assert greenai(*SIM, "--out", "run.csv", "--duration", "0.1").code == 0
    content = (simulated / "run.csv").read_bytes()
    refused = greenai(*SIM, "--out", "run.csv", "--duration", "0.1")
    assert refused.code == 2
    assert "--append" in refused.errors[0]
    assert (simulated / "run.csv").read_bytes() == content
    assert greenai(*SIM, "--out", "run.csv", "--duration", "0.1", "--append").code == 0
    assert (simulated / "run.csv").read_bytes().startswith(content)


def test_a_recording_that_breaks_off_does_not_disturb_the_command(greenai, simulated):
    """It deletes its own recording; the exit code stays that of the command."""
    work = "import os, time; os.unlink('run.csv'); time.sleep(1.5); raise SystemExit(7)"
    done = greenai(*SIM, "--out", "run.csv", *python(work))
    assert done.code == 7
    assert len(done.errors) == 1
    assert "was deleted" in done.errors[0]


def test_a_recording_that_breaks_off_alone_is_6(greenai):
    done = greenai(*SIM, "--out", "/dev/full", "--format", "csv", "--duration", "1")
    assert done.code == 6
    assert "No space left" in done.errors[0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_without_a_command_a_signal_is_a_good_end(spawn, simulated, number):
    process = spawn(*SIM, "--out", "run.csv", "--json")
    while "recording" not in process.stderr.readline():
        pass
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert json.loads(out)["recording"]["rows"] >= 2
    assert read_recording(simulated / "run.csv").meta.end.reason == "it was stopped"


def test_a_signal_reaches_the_command(spawn, simulated):
    listener = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(41))\n"
        "print('ready', flush=True); time.sleep(20)"
    )
    process = spawn(*SIM, "--out", "run.csv", *python(listener))
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 41
    assert read_recording(simulated / "run.csv").meta.end is not None


def test_ctrl_c_on_a_terminal_ends_it_well_and_shows_how_far_it_was(simulated):
    """The terminal sends it to the whole group; the recording process is not in it."""
    pid, terminal = pty.fork()
    if pid == 0:
        command = [sys.executable, "-m", "greenai_core", *SIM, "--out", "run.csv"]
        os.execv(sys.executable, command)
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
            if b" W" in shown and not sent:
                os.write(terminal, b"\x03")
                sent = True
    finally:
        os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, shown
    assert b"recording: " in shown
    assert b"rows in" in shown
