"""``greenai study``: the cells, the files, what goes wrong, and going on after it."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from greenai_core import PlannedModel, StudyPlan, read_cells, read_report, read_study_plan
from greenai_core.cli.study_progress import Told
from greenai_core.study_cells import CellRecord

SIM = ("-p", "sim", "--seconds", "0.1")
HERE = ("--one-process",)


@pytest.fixture
def image(tiny):
    """A model whose input is an image of any size: N x h x w x 3."""

    def write(name="net.tiny", **more):
        return tiny(name, [[1.0]] * 3, axes=["h", "w"], **{"seconds": 0.0005, **more})

    return write


def cells(folder="greenai-study"):
    return list(read_cells(Path(folder)))


def test_a_study_measures_every_cell_and_leaves_the_files_of_the_protocol(greenai, image):
    done = greenai("study", image(), "--sizes", "8,4", "--runs", "2", *SIM, *HERE)
    assert done.code == 0, done.err
    found = cells()
    assert sorted((c.key.size, c.key.run, c.state) for c in found) == [
        (4, 0, "done"), (4, 1, "done"), (8, 0, "done"), (8, 1, "done"),
    ]  # fmt: skip
    assert [c.key.run for c in found] == [0, 0, 1, 1]
    for cell in found:
        folder = Path("greenai-study") / cell.folder
        assert folder == Path(f"greenai-study/input_{cell.key.size}/run_{cell.key.run}")
        lines = [json.loads(line) for line in (folder / "power_metrics.json").open()]
        assert len(lines) >= 2
        assert all(line["metrics"]["cpu"]["intel_power"] == pytest.approx(10, rel=0.3)
                   for line in lines)  # fmt: skip
        assert all(line["date"][10] == " " for line in lines)
        latencies = np.loadtxt(folder / "latency.csv")
        assert latencies.size == cell.inferences
        assert np.median(latencies) == pytest.approx(cell.latency_s.value, rel=0.8)
        bench = read_report(folder / "report.json")
        assert bench.kind == "bench"
        assert bench.results[0].model.inputs == (f"x 1x{cell.key.size}x{cell.key.size}x3 float32",)
    report = read_report("greenai-study/report.json")
    (study,) = report.results
    assert report.complete
    assert (study.cells, study.missing_cells) == (4, 0)
    assert [(row.size, row.runs) for row in study.rows] == [(4, 2), (8, 2)]
    assert study.rows[0].metric("energy_package_j") is not None
    assert study.models[0].parameters.total == 3


def test_several_models_and_batches_have_folders_of_their_own(greenai, tiny):
    names = [tiny(f"{name}.tiny", axes=["seq"]) for name in "ab"]
    done = greenai("study", *names, "--tokens", "5", "--batch-sizes", "1,3", "--runs", "1",
                   "--seconds", "0.1", "-p", "sim", *HERE)  # fmt: skip
    assert done.code == 0, done.err
    assert sorted(c.folder for c in cells()) == [
        f"{name}/batch_{batch}/input_5/run_0" for name in "ab" for batch in (1, 3)
    ]
    report = read_report("greenai-study/a/batch_3/input_5/run_0/report.json")
    assert report.results[0].model.inputs == ("x 3x5x2 float32",)
    assert all(c.target_met is None for c in cells()), "no precision was asked for"
    assert read_report("greenai-study/report.json").results[0].size_name == "tokens"


def test_a_cell_whose_process_is_killed_is_recorded_and_the_rest_goes_on(greenai, image):
    """Each of them has a process of its own."""
    name = image(pids="pids", kill_at=2)
    done = greenai("study", name, "--sizes", "4,8,16", "--runs", "1", *SIM)
    assert done.code == 4
    loaded = set(Path("pids").read_text().split())
    assert len(loaded) == 3
    assert str(os.getpid()) not in loaded
    assert [c.state for c in cells()] == ["done", "failed", "done"]
    assert "memory" in cells()[1].reason
    assert "SIGKILL" in cells()[1].reason
    row = next(r for r in read_report("greenai-study/report.json").results[0].rows if r.failures)
    assert row.runs == 0
    assert "SIGKILL" in row.failures[0].reason


def test_a_cell_that_raises_is_recorded(greenai, image):
    done = greenai("study", image(crash="CUDA out of memory"), "--sizes", "4", "--runs", "2",
                   *SIM, *HERE)  # fmt: skip
    assert done.code == 4
    assert [c.state for c in cells()] == ["failed"] * 2
    assert "CUDA out of memory" in cells()[0].reason
    assert len(done.errors) == 2
    assert "size 4" in done.errors[0]


def test_sizes_that_the_model_does_not_take_are_failed_cells_or_refused(greenai, tiny):
    name = tiny("fixed.tiny", [[1.0]] * 3, axes=[8, 8])
    done = greenai("study", name, "--sizes", "16,32", "--runs", "1", *SIM)
    assert done.code == 4
    assert "none of its sizes" in done.errors[0]
    assert "only 8" in done.errors[0]
    assert not Path("greenai-study").exists()
    done = greenai("study", name, "--sizes", "8,16", "--runs", "1", *SIM, *HERE)
    assert done.code == 4
    assert {c.key.size: c.state for c in cells()} == {8: "done", 16: "failed"}


def test_results_of_something_else_are_not_overwritten(greenai, image):
    Path("old/input_4/run_0").mkdir(parents=True)
    Path("old/input_4/run_0/power_metrics.json").write_text("history")
    done = greenai("study", image(), "--sizes", "4", "--out", "old", *SIM)
    assert done.code == 2
    assert "input_4" in done.errors[0]
    assert Path("old/input_4/run_0/power_metrics.json").read_text() == "history"
    assert not Path("old/study.toml").exists()


def run_until_killed(spawn, arguments, count, how, folder="greenai-study"):
    """Start a study, and end it by its own handle once so many cells are in the journal."""
    process = spawn(*arguments)
    journal = Path(folder) / "cells.jsonl"
    deadline = time.monotonic() + 60
    while not journal.exists() or journal.read_bytes().count(b'"state"') < count:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(how)
    return process, process.wait(timeout=30)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_study_that_was_ended_goes_on_where_it_stopped(greenai, image, spawn, how):
    arguments = ("study", image(), "--sizes", "2,3,4", "--runs", "2", "--seed", "3",
                 "--seconds", "0.05", "-p", "sim", *HERE)  # fmt: skip
    process, code = run_until_killed(spawn, arguments, 2, how)
    assert code == (-9 if how == signal.SIGKILL else 128 + how)
    if how != signal.SIGKILL:
        told = process.stderr.read()
        assert "greenai study --resume --out greenai-study" in told
        report = read_report("greenai-study/report.json")
        assert not report.complete
    before = cells()
    done = greenai("study", "--resume", "--out", "greenai-study", "-p", "sim")
    assert done.code == 0, done.err
    after = cells()
    assert after[: len(before)] == before, "what was measured is as it was"
    order = read_study_plan("greenai-study/study.toml").cells()
    assert tuple(c.key for c in after) == order, "each once, in the order of the plan"
    assert read_report("greenai-study/report.json").complete
    assert not any(item.name.startswith(".report") for item in Path("greenai-study").iterdir())


CODE = """
from greenai_core import StudyWork
import helper

def make(size, batch_size, device):
    if size == 3:
        raise RuntimeError(f"{size} x {batch_size} on {device} is too much")
    made = bytearray(size)
    def step():
        for _ in range(200 * size):
            made[0] = 1
    if size == 2:
        return step
    return StudyWork(step, parameters=12, macs=34, close=helper.closed, note="random weights")
"""


def test_a_python_function_as_the_work_and_a_file_that_describes_it_all(greenai, simulated):
    Path("code").mkdir()
    Path("code/work.py").write_text(CODE)
    Path("code/helper.py").write_text("def closed(): open('closed', 'a').write('x')")
    Path("code/s.toml").write_text(
        'name = "of functions"\nruns = 1\nseconds = 0.05\nfresh_process = false\n'
        'profilers = ["sim"]\nsizes = [1, 2, 3]\nsize_name = "words"\n\n[[models]]\n'
        'callable = "work.py:make"\nnote = "of the plan"\n'
    )
    done = greenai("study", "code/s.toml", "--out", "out")
    assert done.code == 4
    states = {cell.key.size: cell.state for cell in cells("out")}
    assert states == {1: "done", 2: "done", 3: "failed"}
    failed = next(cell for cell in cells("out") if not cell.done)
    assert "make(size=3, batch_size=1, device='cpu') failed (RuntimeError: 3 x 1 on cpu" in (
        failed.reason
    )
    (study,) = read_report("out/report.json").results
    assert (study.name, study.size_name) == ("of functions", "words")
    assert (study.models[0].macs, study.models[0].note) == (34, "random weights")
    assert Path("closed").read_text() == "x"
    kept = Path("out/study.toml").read_text()
    assert 'callable = "../code/work.py:make"' in kept
    assert '# name = "of functions"' in kept
    done = greenai("study", "code/s.toml", "--out", "out", "--resume")
    assert done.code == 4, "as when it failed"
    assert len(cells("out")) == 3


HANGS = """
import os, subprocess, sys
from pathlib import Path

def make(size, batch_size, device):
    if size == 2 and not Path("free").exists():
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        Path("pids").write_text(f"{os.getpid()} {child.pid}")
        child.wait()
    return lambda: None
"""


def test_a_cell_that_hangs_is_given_up_and_can_be_tried_again(greenai, simulated):
    """What it started is ended too."""
    Path("work.py").write_text(HANGS)
    Path("s.toml").write_text(
        'runs = 1\nseconds = 0.05\nwarm_up_s = 0\nprofilers = ["sim"]\nsizes = [1, 2]\n'
        '[[models]]\ncallable = "work.py:make"\n'
    )
    done = greenai("study", "s.toml", "--out", "out", "--cell-timeout", "5")
    assert done.code == 4, done.err
    states = {cell.key.size: cell for cell in cells("out")}
    assert (states[1].state, states[2].state) == ("done", "failed")
    assert "had not ended after 5 s (--cell-timeout)" in states[2].reason
    assert "at: loading" in states[2].reason
    assert not any(alive(int(pid)) for pid in Path("pids").read_text().split())
    Path("free").touch()
    again = greenai("study", "--resume", "--retry-failed", "--out", "out")
    assert again.code == 0, again.err
    (study,) = read_report("out/report.json").results
    assert [(row.size, row.runs, len(row.failures)) for row in study.rows] == [(1, 1, 0), (2, 1, 0)]


def test_retrying_needs_a_study_that_is_gone_on_with(greenai, image):
    done = greenai("study", image(), "--sizes", "2", "--retry-failed")
    assert done.code == 2
    assert "goes with --resume" in done.err


def test_a_time_limit_below_the_time_of_measuring_is_refused(greenai, image):
    done = greenai("study", image(), "--sizes", "2", "--seconds", "9", "--cell-timeout", "9")
    assert done.code == 2
    assert "may take 9.5 s" in done.err


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("def other(): pass", "has no function make: it defines other"),
        ("1 / 0", "cannot be run (ZeroDivisionError"),
        (None, "there is no file"),
    ],
)
def test_a_function_that_is_not_there_is_refused_at_once(greenai, simulated, code, told):
    if code is not None:
        Path("work.py").write_text(code)
    Path("s.toml").write_text('sizes = 1\n[[models]]\ncallable = "work.py:make"\n')
    done = greenai("study", "s.toml", "-p", "sim")
    assert done.code == 4
    assert told in done.errors[0]
    assert not Path("greenai-study").exists()


def test_resume_refuses_another_plan_and_another_model(greenai, image):
    arguments = ("study", image(), "--sizes", "4", "--seconds", "0.05", "-p", "sim", *HERE)
    assert greenai(*arguments, "--runs", "1").code == 0
    done = greenai(*arguments, "--runs", "2", "--resume")
    assert done.code == 2
    assert "runs is 2, was 1" in done.errors[0]
    image(seconds=0.001)
    done = greenai(*arguments, "--runs", "1", "--resume")
    assert done.code == 2
    assert "net changed" in done.errors[0]


def test_resume_without_a_study_is_told(greenai, image):
    done = greenai("study", "--resume", "--out", "nowhere")
    assert done.code == 2
    assert "nowhere holds no study" in done.errors[0]
    done = greenai("study", image(), "--sizes", "4", "--resume", "--out", "nowhere", *SIM)
    assert done.code == 2
    assert not Path("nowhere").exists()


def test_two_studies_do_not_write_into_one_folder(greenai, image, spawn):
    name = image(hang="hanging")
    process = spawn("study", name, "--sizes", "4", "--seconds", "9", "-p", "sim")
    deadline = time.monotonic() + 60
    while not Path("hanging").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    done = greenai("study", "--resume", "--out", "greenai-study", "-p", "sim")
    assert done.code == 2
    assert f"(process {process.pid})" in done.errors[0]
    assert "--out" in done.errors[0]
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 143


def test_the_process_of_a_cell_ends_with_the_study(image, spawn):
    name = image(hang="hanging", pids="pids")
    process = spawn("study", name, "--sizes", "4", "-p", "sim")
    deadline = time.monotonic() + 60
    while not Path("hanging").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.kill()
    process.wait()
    while any(alive(int(pid)) for pid in children):
        assert time.monotonic() < deadline, "it goes on measuring for nobody"
        time.sleep(0.02)
    assert children


def alive(pid):
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


FULL = """
import resource, sys
sys.argv[1:] = {arguments!r}
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from greenai_core.study_files import Journal
append = Journal.append
def limited(self, data):
    if data.get("run") == 1:
        size = self.path.stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 50, resource.RLIM_INFINITY))
    append(self, data)
Journal.append = limited
from greenai_core.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def test_a_full_disk_is_told_and_what_was_measured_is_safe(greenai, image, tmp_path):
    """Files may grow no more: the second line of the journal is written halfway."""
    import subprocess
    import sys

    arguments = ["study", image(), "--sizes", "4", "--runs", "3", "--seconds", "0.05", "-p", "sim",
                 *HERE]  # fmt: skip
    ended = subprocess.run(
        [sys.executable, "-c", FULL.format(arguments=arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 6, ended.stderr
    assert "cells.jsonl cannot be written" in ended.stderr
    assert "1 of 3 cells are in greenai-study" in ended.stderr
    assert [c.key.run for c in cells()] == [0]
    assert Path("greenai-study/cells.jsonl").read_bytes().endswith(b"\n")
    assert greenai("study", "--resume", "--out", "greenai-study", "-p", "sim").code == 0
    assert [c.key.run for c in cells()] == [0, 1, 2]


def test_what_a_study_is_of_has_to_be_said(greenai, image):
    assert greenai("study").code == 2
    done = greenai("study", image())
    assert done.code == 2
    assert "--sizes" in done.errors[0]
    for spare in (("--tokens", "4"), ("--seconds", "1", "--precision", "2%")):
        done = greenai("study", image(), "--sizes", "4", *spare)
        assert done.code == 2
        assert "exclude each other" in done.errors[0]
    assert greenai("study", image(), "--sizes", "4,x").code == 2
    assert greenai("study", image(), "--sizes", "4,4").code == 2
    done = greenai("study", "gone.onnx", "--sizes", "4", "-p", "sim")
    assert done.code == 4
    assert "gone.onnx" in done.errors[0]
    assert not Path("greenai-study").exists()


def test_json_is_the_report(greenai, image):
    done = greenai("study", image(), "--sizes", "4", "--runs", "1", *SIM, *HERE, "--json")
    assert done.code == 0
    assert done.json["kind"] == "study"
    assert done.json == json.loads(Path("greenai-study/report.json").read_text())


def test_summary_is_a_sub_command_and_a_file_of_that_name_is_not(greenai, image):
    assert greenai("study", image(), "--sizes", "4", "--runs", "1", *SIM, *HERE).code == 0
    done = greenai("study", "summary", "greenai-study")
    assert done.code == 0
    assert "net" in done.out
    assert "summary" in greenai("study", "--help").out
    done = greenai("study", "./summary", "--sizes", "4", "-p", "sim", "--out", "other")
    assert done.code == 4
    assert "there is no" in done.errors[0]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_time_left_is_told_in_80_columns(monkeypatch, tmp_path):
    """Whatever the names of the models are."""
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    model = PlannedModel("a_vision_transformer_of_some_size", file="a", sizes=(112, 2240))
    plan = StudyPlan("s", (model,), runs=10, seconds=40, seed=1)
    one, other = plan.cells()[:2]
    told = Told(tmp_path, quiet=False)
    told.begun(plan, 20, 20)
    told.cell(one)
    told.ended(CellRecord(one, "failed", "why", "", "", ""), None)
    told.cell(other)
    line = terminal.getvalue().rpartition("\r")[2]
    assert re.search(r"\] +0% \d+ (s|min|h) left, a_vision", line)
    assert len(line.removeprefix("\x1b[K")) < 80
