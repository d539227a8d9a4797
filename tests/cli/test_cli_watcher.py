"""A library that crashes, or is killed, is told in one line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the work is forked on Linux only")

PROGRAM = """
import os, signal, sys, time
from greenai_core.cli import main as module

def work(arguments):
    {body}

signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start jobs without it
module._run = work
sys.argv[1:] = ["run", "model.onnx"]
sys.exit(module.main())
"""


def start(body: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(body=body)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS])
def test_a_crash_is_a_model_error_in_one_line(number):
    process = start(f"os.kill(os.getpid(), {int(number)})")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 4
    (line,) = err.splitlines()
    assert line.startswith("greenai: error: the library crashed")
    assert number.name in line


def test_the_exit_code_and_the_streams_are_those_of_the_work():
    process = start("print('answer'); return 7")
    assert process.communicate(timeout=60) == ("answer\n", "")
    assert process.returncode == 7


def test_killed_for_memory_is_told():
    process = start("os.kill(os.getpid(), 9)")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 137
    assert "memory" in err


def test_signals_reach_the_work_and_nothing_is_left_behind():
    """SIGTERM ends the work in order; after SIGKILL of the watcher the work ends too."""
    for number, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)):
        process = start("print(os.getpid(), flush=True); time.sleep(60)")
        assert process.stdout is not None
        worker = int(process.stdout.readline())
        assert worker != process.pid
        process.send_signal(number)
        assert process.wait(timeout=30) == code
        process.communicate()
        deadline = time.monotonic() + 30
        while _alive(worker) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not _alive(worker)


def _alive(worker: int) -> bool:
    try:
        os.kill(worker, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[0]
    return state != "Z"
