"""The load of an NVIDIA board: which program, and that it obeys; PyTorch is played."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from greenai_core import Channel
from greenai_core.loads import BurnerLoad
from greenai_plugins.profilers.nvml import NvmlProfiler

BOARD = "GPU-00000000-1111-2222-3333-444444444444"
CHANNEL = Channel(f"gpu:{BOARD}", "gpu", "counter")

TORCH = """
import os, pathlib, types
__version__ = "0"
float16 = None
cuda = types.SimpleNamespace(is_available=lambda: {available}, synchronize=lambda: None)
def randn(*sizes, **more): return sizes
def mm(a, b):
    pathlib.Path("products").write_text(os.environ["CUDA_VISIBLE_DEVICES"])
"""


@pytest.fixture
def played(tmp_path, monkeypatch):
    """A module torch of a few lines, for programs started in this folder."""

    def write(available=True):
        (tmp_path / "torch.py").write_text(TORCH.format(available=available))

    monkeypatch.chdir(tmp_path)
    paths = [str(tmp_path), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    return write


def test_the_program_is_told_the_board_and_obeys(played, tmp_path):
    played()
    command = NvmlProfiler().load_command(CHANNEL)
    assert command == [sys.executable, "-m", "greenai_plugins.cuda_load", BOARD]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdout.readline() == b"ready\n"
        assert not (tmp_path / "products").exists()
        program.stdin.write(b"0.1\n")
        program.stdin.flush()
        while not (tmp_path / "products").exists():
            assert program.poll() is None
        program.stdin.close()
        assert program.wait(10) == 0
    assert Path("products").read_text() == BOARD


def test_a_board_that_pytorch_cannot_use_is_told(played):
    from greenai_core import CalibrationError

    played(available=False)
    with pytest.raises(CalibrationError, match=f"cannot use the board {BOARD}"):
        BurnerLoad([NvmlProfiler().load_command(CHANNEL)])


def test_without_pytorch_there_is_no_load(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert NvmlProfiler().load_command(CHANNEL) is None
