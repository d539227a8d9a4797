"""The recorder with its own process, on a powercap tree that moves in real time."""

from __future__ import annotations

import contextlib
import csv
import datetime
import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from greenai_core import (
    ConfigError,
    LifecycleError,
    MeasurementError,
    PluginUnavailable,
    Recorder,
    read_recording,
)
from greenai_core.clock import SYSTEM_CLOCK
from greenai_core.testing import PowercapTree


@pytest.fixture
def tree(tmp_path):
    """A server of one socket: 150 W and 20 W, moving in real time."""
    with PowercapTree.xeon(tmp_path / "powercap", sockets=1) as tree:
        ticker = tree.drive(SYSTEM_CLOCK)
        yield tree
        ticker.cancel()


@pytest.fixture
def recorder(tree, tmp_path):
    """``recorder("run.csv", 0.01, ...) -> Recorder`` of that tree; ended with the test."""
    made = []

    def make(name="run.csv", interval_s=0.01, **more):
        options = {"rapl": {"root": str(tree.root)}}
        made.append(Recorder(tmp_path / name, interval_s, "rapl", options, **more))
        return made[-1]

    yield make
    for one in made:
        if one.running:
            with contextlib.suppress(OSError, MeasurementError):
                one.stop()


def wait_for_rows(path, count, patience_s=20.0):
    """Return when a file has so many lines."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if path.exists() and path.read_bytes().count(b"\n") >= count:
            return
        time.sleep(0.01)
    raise AssertionError(f"{path} has no {count} lines after {patience_s} s")


def state(pid):
    """``S`` of a process that sleeps, ``T`` of one that is stopped, ``X`` where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "X"


def gone(pid):
    """Whether a process has ended."""
    return state(pid) in "ZX"


def wait_until(happened, patience_s=20.0):
    deadline = time.monotonic() + patience_s
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_recording_has_the_energy_of_what_happened(recorder, tmp_path):
    with recorder(interval_s=0.05) as running:
        begin = running.time_s
        time.sleep(0.5)
        end = running.time_s
        wait_until(lambda: read_recording(tmp_path / "run.csv").times[-1] > end)
    recorded = read_recording(tmp_path / "run.csv")
    window = recorded.window(begin, end)
    # The tree moves by a thread of this process, which a busy machine holds up.
    assert window.energy_j == pytest.approx(170 * (end - begin), rel=0.15)
    assert window.contains == ("cpu:0/package", "cpu:0/dram")
    whole = {c.id: c.energy_j for c in recorded.window().channels}
    told = {c.id: c.energy_j for c in running.summary.energy.channels}
    assert whole == pytest.approx(told, rel=1e-3)
    assert recorded.meta.end.reason == "it was stopped"


def test_instants_of_other_processes_and_of_the_wall_clock(recorder, tmp_path):
    with recorder() as running:
        before = running.time_s
        monotonic, wall = time.monotonic(), datetime.datetime.now(datetime.timezone.utc)
        after = running.time_s
    recorded = read_recording(tmp_path / "run.csv")
    assert before <= recorded.at_monotonic(monotonic) <= after
    # Two clocks are read one after the other for each row: a busy machine comes in between.
    assert before - 0.1 <= recorded.time_of(wall) <= after + 0.1
    assert recorded.time_of(wall.replace(tzinfo=None)) == recorded.time_of(wall)


def test_any_reader_of_csv_reads_it(recorder, tmp_path):
    with recorder():
        wait_for_rows(tmp_path / "run.csv", 12)
    with (tmp_path / "run.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:4] == ["time_s", "utc", "tick", "read_s"]
    assert {"cpu:0/package [J]", "cpu:0/dram [J]", "notes"} <= set(rows[0])
    assert (tmp_path / "run.csv").read_bytes().isascii()
    assert float(rows[-1]["cpu:0/package [J]"]) > 0


def test_every_line_of_jsonl_is_json(recorder, tmp_path):
    with recorder("run.jsonl"):
        wait_for_rows(tmp_path / "run.jsonl", 12)
    first, *rows, last = map(json.loads, (tmp_path / "run.jsonl").read_text().splitlines())
    assert first["greenai_recording"] == 1
    assert last["end"]["end"]["rows"] == len(rows)
    assert rows[1]["cpu:0/package [J]"] > 0


def test_the_older_habit(tree, tmp_path):
    """``start(1)``: the interval is told when it begins."""
    recorder = Recorder(
        tmp_path / "out.csv", profilers="rapl", options={"rapl": {"root": str(tree.root)}}
    )
    recorder.start(0.02)
    wait_for_rows(tmp_path / "out.csv", 5)
    summary = recorder.stop()
    assert summary.rows >= 4
    assert read_recording(tmp_path / "out.csv").meta.interval_s == 0.02


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_kill_loses_one_row_at_most(recorder, tmp_path, suffix):
    """Killed at random instants at 1000 rows a second: the rows before it are all there."""
    draw = random.Random(3)
    for attempt in range(2):
        path = tmp_path / f"run{attempt}.{suffix}"
        running = recorder(path.name, 0.001)
        started = running.start()
        wait_for_rows(path, 20)
        time.sleep(draw.uniform(0.0, 0.02))
        before = path.read_bytes().count(b"\n")
        os.kill(started.pid, signal.SIGKILL)
        with pytest.raises(MeasurementError, match="SIGKILL"):
            running.stop()
        dead_s = time.monotonic() - started.start_monotonic_s
        recorded = read_recording(path)
        heads = 1  # of CSV, or the first line of JSON lines
        assert len(recorded.times) >= before - heads
        ticks = recorded.column("tick")
        assert len(ticks) + recorded.missed == ticks[-1] + 1
        assert any("no end" in remark for remark in recorded.remarks)
        assert recorded.times[-1] <= dead_s


def test_a_recorder_that_was_held_up_counts_what_it_missed(recorder, tmp_path):
    running = recorder()
    pid = running.start().pid
    path = tmp_path / "run.csv"
    wait_for_rows(path, 5)
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: state(pid) == "T")
    lines = path.read_bytes().count(b"\n")
    time.sleep(0.3)
    assert path.read_bytes().count(b"\n") == lines
    os.kill(pid, signal.SIGCONT)
    wait_for_rows(path, lines + 3)
    summary = running.stop()
    recorded = read_recording(path)
    assert summary.missed == recorded.missed >= 25
    ticks = recorded.column("tick")
    assert len(ticks) + recorded.missed == ticks[-1] + 1
    # The counters counted on: nothing is lost but when.
    assert recorded.window().energy_j == pytest.approx(170 * summary.duration_s, rel=0.15)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_a_last_row(recorder, tmp_path, number):
    running = recorder(interval_s=10.0)
    pid = running.start().pid
    os.kill(pid, number)
    summary = running.wait()
    assert summary.rows == 2
    assert number.name in summary.ended_by
    assert len(read_recording(tmp_path / "run.csv").times) == 2
    assert not running.running


def test_it_ends_with_the_process_that_started_it(tree, tmp_path):
    """Even when that is killed and leaves a child that holds its pipes open."""
    code = f"""
import os, time
from greenai_core import Recorder
recorder = Recorder("{tmp_path}/run.csv", 0.02, "rapl", {{"rapl": {{"root": "{tree.root}"}}}})
print(recorder.start().pid, flush=True)
if os.fork() == 0:
    time.sleep(30)
    os._exit(0)
time.sleep(30)
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        pid = int(parent.stdout.readline())
        wait_for_rows(tmp_path / "run.csv", 4)
        parent.kill()
        parent.wait()
        wait_until(lambda: gone(pid))
    finally:
        os.killpg(parent.pid, signal.SIGKILL)
        parent.stdout.close()
    recorded = read_recording(tmp_path / "run.csv")
    assert "started it ended" in recorded.meta.end.reason
    assert recorded.remarks == ()


def test_a_full_disk_ends_it_and_says_so(recorder, tmp_path):
    """A limit on the size of files stands for the disk: the row that does not fit is cut off."""
    running = recorder()
    pid = running.start().pid
    path = tmp_path / "run.csv"
    wait_for_rows(path, 5)
    size = path.stat().st_size + 1000
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, size))
    wait_until(lambda: gone(pid))
    with pytest.raises(OSError, match="Free some space"):
        running.stop()
    summary = running.summary
    assert str(path) in summary.failure
    assert summary.errno
    recorded = read_recording(path)
    assert len(recorded.times) == summary.rows > 5
    assert not any("half" in remark for remark in recorded.remarks)


def test_a_device_without_space_is_told_at_once(recorder, tree):
    running = Recorder("/dev/full", 0.1, "rapl", {"rapl": {"root": str(tree.root)}}, format="csv")
    with pytest.raises(OSError, match="No space left"):
        running.start()
    assert not running.running


def test_a_file_that_is_deleted_is_told(recorder, tmp_path):
    running = recorder()
    running.start()
    (tmp_path / "run.csv").unlink()
    summary = running.wait()
    assert "was deleted" in summary.failure


def test_it_follows_a_process_with_its_children_and_ends_with_it(recorder, tmp_path):
    code = """
import subprocess, sys
print("up", flush=True)
sys.stdin.readline()
work = "import sys, time\\nwhile time.process_time() < 0.2: pass\\nsys.stdin.readline()"
subprocess.run([sys.executable, "-c", work])
sys.stdin.readline()
"""
    work = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        work.stdout.readline()
        running = recorder(interval_s=0.02, pid=work.pid)
        running.start()
        work.stdin.write("\n")
        work.stdin.flush()
        path = tmp_path / "run.csv"

        def used(column):
            known = read_recording(path).column(f"tree {column}")
            return known[np.isfinite(known)][-1:].sum()  # the newest, once there is one

        wait_until(lambda: used("processes") == 2 and used("cpu_time [s]") > 0.2)
        work.stdin.write("\n")
        work.stdin.flush()
        wait_until(lambda: used("processes") == 1)
        work.communicate("\n", timeout=20)
        summary = running.wait()
    finally:
        work.kill()
        work.wait()
    assert summary.ended_by == f"the process {work.pid} ended"
    recorded = read_recording(path)
    cpu = recorded.column("tree cpu_time [s]")
    cpu = cpu[np.isfinite(cpu)]
    assert (np.diff(cpu) >= 0).all()
    assert cpu[-1] > 0.2  # the child's is kept, though it has ended
    assert np.nanmax(recorded.column("tree rss [B]")) > 2**20


def test_utilisation_and_memory_stand_beside_the_joules(recorder, tmp_path):
    with recorder(interval_s=0.1):
        time.sleep(0.35)
    recorded = read_recording(tmp_path / "run.csv")
    busy = recorded.column("host utilisation [%]")
    assert np.isfinite(busy).any()
    memory = recorded.column("host memory_used [B]")
    assert np.isfinite(memory).any()
    assert (memory[np.isfinite(memory)] > 2**20).all()


def test_a_profiler_that_does_not_work_is_told_with_its_remedy(tmp_path):
    running = Recorder(
        tmp_path / "run.csv", 0.1, ["rapl"], {"rapl": {"root": str(tmp_path / "nothing")}}
    )
    with pytest.raises(PluginUnavailable, match="modprobe") as caught:
        running.start()
    assert caught.value.hint
    assert not (tmp_path / "run.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"interval_s": 0.0001}, "interval"),
        ({"interval_s": float("nan")}, "interval"),
        ({"interval_s": 4000.0}, "interval"),
        ({"rotate_rows": 0}, "rotate_rows"),
        ({"duration_s": -1.0}, "duration_s"),
        ({"profilers": [object()]}, "another process"),
    ],
)
def test_values_that_cannot_be_used(tmp_path, arguments, said):
    with pytest.raises(ConfigError, match=said):
        Recorder(tmp_path / "run.csv", **arguments)


def test_a_name_that_tells_no_format(tmp_path):
    with pytest.raises(ConfigError, match=r"\.csv or \.jsonl"):
        Recorder(tmp_path / "run.txt")
    Recorder(tmp_path / "run.txt", format="csv")


def test_a_process_that_is_not_there(recorder):
    running = recorder(pid=2**22 + 1)
    with pytest.raises(ConfigError, match="no process"):
        running.start()


def test_start_and_stop_in_a_wrong_order(recorder):
    running = recorder()
    with pytest.raises(LifecycleError):
        running.stop()
    with pytest.raises(LifecycleError):
        _ = running.time_s
    running.start()
    with pytest.raises(LifecycleError):
        running.start()
    with pytest.raises(LifecycleError, match="tree=True"):
        running.follow(os.getpid())
    running.stop()


def test_the_snippet_for_those_who_come_from_an_older_tool(tmp_path):
    """It runs as it stands in the document, on whatever this machine has."""
    text = (Path(__file__).parents[2] / "docs" / "migrating.md").read_text()
    (snippet,) = re.findall(r"```python\n([^`]*Recorder\([^`]*)```", text)
    path = tmp_path / "out.csv"
    snippet = snippet.replace("test_asynchronous_measurement_tool.csv", str(path))
    names = {"num_epochs": 1, "train": lambda: None, "test": lambda: None}
    exec(snippet.replace("start(1)", "start(0.05)"), names)
    recorded = read_recording(path)
    assert len(recorded.times) == names["recorder"].summary.rows >= 2
    assert any(name.endswith(("[J]", "[W]")) for name in recorded.names)
