"""Simulated boards for this process and for those that it starts."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import pytest

from greenai_core.testing.c_library import compiler
from greenai_core.testing.nvml import NvmlSimulator, build_library
from greenai_core.testing.nvml_board import SimulatedBoard

BOARD = SimulatedBoard(low_w=100.0, default_w=400.0, high_w=500.0)


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Let this process and its children see boards: ``machine(board, …) -> simulator``."""
    if compiler() is None:
        pytest.skip("the NVML simulator needs a C compiler: sudo apt install gcc")
    pytest.importorskip("pynvml")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with contextlib.ExitStack() as stack:

        def start(*boards: SimulatedBoard) -> NvmlSimulator:
            simulator = stack.enter_context(NvmlSimulator(boards or (BOARD,)))
            monkeypatch.setenv("LD_LIBRARY_PATH", str(build_library().parent))
            stack.enter_context(simulator.installed())
            return simulator

        yield start


@pytest.fixture
def folder(tmp_path):
    """Where the records are."""
    return tmp_path / "state" / "greenai" / "powercap"


def until(condition: Callable[[], bool], seconds: float) -> float:
    """How long it took until something held; an error if it did not."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds:
            raise AssertionError(f"not within {seconds} s")
        time.sleep(0.005)
    return time.monotonic() - began


@pytest.fixture(name="until")
def _until():
    return until
