"""Locked clocks of simulated boards, through the real nvidia-ml-py."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from greenai_core import PluginUnavailable, PowerCapError, PowerCapForbidden, power_cap
from greenai_core.testing.c_library import compiler
from greenai_core.testing.conformance import Conformance, check
from greenai_core.testing.nvml import NvmlSimulator, build_library
from greenai_core.testing.nvml_board import NOT_SUPPORTED, SimulatedBoard
from greenai_plugins.limiters.nvml_clocks import NvmlClockLimiter

pytest.importorskip("pynvml")
pytestmark = pytest.mark.skipif(
    compiler() is None, reason="the NVML simulator needs a C compiler: sudo apt install gcc"
)

BOARD = SimulatedBoard(clock_mhz=1980)


@pytest.fixture
def simulator(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with NvmlSimulator([BOARD, BOARD]) as made, made.installed():
        monkeypatch.setenv("LD_LIBRARY_PATH", str(build_library().parent))
        yield made


class TestNvmlClockLimiter(Conformance):
    """What the conformance suite asks of power limiters, as far as clocks have it."""

    @check
    def test_the_range_is_that_of_the_board(self, simulator):
        limiter = NvmlClockLimiter()
        limiter.open()
        first, _ = limiter.limits()
        limiter.close()
        assert (first.device, first.index) == (f"gpu:{simulator.uuid(0)}", 0)
        assert (first.low_mhz, first.high_mhz) == (210, 1980)

    @check
    def test_a_clock_is_locked_at_the_next_step(self, simulator):
        limiter = NvmlClockLimiter()
        limiter.open()
        assert limiter.set_limit(f"gpu:{simulator.uuid(1)}", 1000.0) == 1005.0
        assert [simulator.locked_mhz(n) for n in (0, 1)] == [0, 1005]
        limiter.reset(f"gpu:{simulator.uuid(1)}")
        assert simulator.locked_mhz(1) == 0
        for mhz in (209.0, 1981.0, float("nan")):
            with pytest.raises(PowerCapError, match="out of the range"):
                limiter.set_limit(f"gpu:{simulator.uuid(1)}", mhz)
        with pytest.raises(PowerCapError, match="no-such-board"):
            limiter.set_limit("gpu:no-such-board", 1000.0)
        limiter.close()
        limiter.close()
        assert simulator.initialised == 0


def test_the_same_guard_stands_over_clocks(simulator):
    with power_cap([0, 1], 1000, limiter="nvml-clocks") as caps:
        assert [(cap.value, cap.unit) for cap in caps] == [(1005.0, "MHz")] * 2
        assert "keeps 1005 MHz" in caps[0].note
        assert [simulator.locked_mhz(n) for n in (0, 1)] == [1005, 1005]
    assert [simulator.locked_mhz(n) for n in (0, 1)] == [0, 0]


def test_a_killed_program_leaves_the_clocks_free(simulator):
    code = (
        "import time\nfrom greenai_core import power_cap\n"
        "with power_cap(0, 1005, limiter='nvml-clocks'):\n"
        "    print('on', flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "on\n"
    assert simulator.locked_mhz(0) == 1005
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    ends = time.monotonic() + 2.0
    while simulator.locked_mhz(0):
        assert time.monotonic() < ends, "not given back within 2 s"
        time.sleep(0.01)


def test_without_permission_the_error_has_the_command(simulator):
    simulator.forbid(0)
    with (
        pytest.raises(PowerCapForbidden) as caught,
        power_cap(0, 1005, limiter="nvml-clocks"),
    ):
        pass
    assert caught.value.by_hand == f"nvidia-smi -i {simulator.uuid(0)} -lgc 210,1005"


def test_boards_without_such_clocks_are_unavailable():
    old = SimulatedBoard(faults={"nvmlDeviceGetSupportedMemoryClocks": NOT_SUPPORTED})
    with (
        NvmlSimulator([old]) as made,
        made.installed(),
        pytest.raises(PluginUnavailable, match="no board here has clocks"),
    ):
        NvmlClockLimiter().check_available()
