"""The NVML limiter on simulated boards, through the real nvidia-ml-py."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from greenai_core import LifecycleError, PluginUnavailable, PowerCapError
from greenai_core.testing.c_library import compiler
from greenai_core.testing.limiter_suite import LimiterConformance
from greenai_core.testing.nvml import NvmlSimulator
from greenai_core.testing.nvml_board import SimulatedBoard
from greenai_plugins.limiters.nvml import NvmlLimiter, may_administer

pynvml = pytest.importorskip("pynvml")
pytestmark = pytest.mark.skipif(
    compiler() is None, reason="the NVML simulator needs a C compiler: sudo apt install gcc"
)

BOARD = SimulatedBoard(low_w=100.0, default_w=400.0, high_w=500.0)


@contextmanager
def limiter_of(*boards: SimulatedBoard) -> Iterator[tuple[NvmlLimiter, NvmlSimulator]]:
    with NvmlSimulator(boards) as simulator, simulator.installed():
        limiter = NvmlLimiter()
        limiter.open()
        try:
            yield limiter, simulator
        finally:
            limiter.close()


def test_limits_are_those_of_each_board() -> None:
    with limiter_of(BOARD, SimulatedBoard(low_w=50, default_w=75, high_w=75)) as (limiter, sim):
        first, second = limiter.limits()
    assert first.device == f"gpu:{sim.uuid(0)}"
    assert (first.low_w, first.current_w, first.default_w, first.high_w) == (100, 400, 400, 500)
    assert (second.low_w, second.current_w, second.default_w, second.high_w) == (50, 75, 75, 75)


def test_a_limit_that_was_set_is_in_force() -> None:
    with limiter_of(BOARD, BOARD) as (limiter, simulator):
        limiter.set_limit(f"gpu:{simulator.uuid(1)}", 250.5)
        assert [simulator.limit_w(0), simulator.limit_w(1)] == [400.0, 250.5]
        assert [limit.current_w for limit in limiter.limits()] == [400.0, 250.5]
        assert limiter.limits()[1].default_w == 400.0


@pytest.mark.parametrize("watts", [99.9, 500.1, -1.0, 0.0, float("nan"), float("inf")])
def test_out_of_range_is_refused_with_the_range(watts: float) -> None:
    """It is not clamped: what was asked for would not be in force."""
    with limiter_of(BOARD) as (limiter, simulator):
        with pytest.raises(PowerCapError, match=r"out of the range of GPU 0 .*100 to 500 W"):
            limiter.set_limit(f"gpu:{simulator.uuid(0)}", watts)
        assert simulator.limit_w(0) == 400.0


def test_both_ends_of_the_range_can_be_set() -> None:
    with limiter_of(BOARD) as (limiter, simulator):
        for watts in (100.0, 500.0):
            limiter.set_limit(f"gpu:{simulator.uuid(0)}", watts)
            assert simulator.limit_w(0) == watts


def test_without_permission_the_remedy_is_the_command() -> None:
    with limiter_of(BOARD) as (limiter, simulator):
        simulator.forbid(0)
        with pytest.raises(PowerCapError, match="needs root") as caught:
            limiter.set_limit(f"gpu:{simulator.uuid(0)}", 300.0)
        assert f"sudo nvidia-smi -i {simulator.uuid(0)} -pl 300" in str(caught.value)
        assert simulator.limit_w(0) == 400.0


def test_a_board_that_keeps_its_limit_is_an_error() -> None:
    with limiter_of(BOARD) as (limiter, simulator):
        simulator.make_stubborn(0)
        with pytest.raises(PowerCapError, match=r"asked for a limit of 300 W.*keeps 400 W"):
            limiter.set_limit(f"gpu:{simulator.uuid(0)}", 300.0)


def test_a_board_split_by_mig_is_left_alone() -> None:
    board = SimulatedBoard(mig_instances=("MIG-1",))
    with limiter_of(board) as (limiter, simulator):
        assert not limiter.limits()[0].settable
        with pytest.raises(PowerCapError, match="split by MIG"):
            limiter.set_limit(f"gpu:{simulator.uuid(0)}", 300.0)
        assert simulator.limit_w(0) == 700.0


def test_a_lost_board_is_named() -> None:
    with limiter_of(BOARD, BOARD) as (limiter, simulator):
        simulator.lose(1)
        with pytest.raises(PowerCapError, match=r"cannot be read.*GPU 1 .*GPU is lost"):
            limiter.limits()
        limiter.set_limit(f"gpu:{simulator.uuid(0)}", 200.0)


def test_visible_devices_of_cuda_do_not_hide_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit that must be restored is reached from any process."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with limiter_of(BOARD) as (limiter, _):
        assert len(limiter.limits()) == 1


def test_boards_without_a_limit_are_left_out() -> None:
    call = "nvmlDeviceGetPowerManagementLimitConstraints"
    fixed = SimulatedBoard(name="Laptop", faults={call: pynvml.NVML_ERROR_NOT_SUPPORTED})
    with limiter_of(fixed, BOARD) as (limiter, simulator):
        assert [limit.device for limit in limiter.limits()] == [f"gpu:{simulator.uuid(1)}"]
        with pytest.raises(PowerCapError, match="no device"):
            limiter.set_limit(f"gpu:{simulator.uuid(0)}", 300.0)
    with NvmlSimulator([fixed]) as simulator, simulator.installed():
        with pytest.raises(PluginUnavailable, match="Laptop"):
            NvmlLimiter().check_available()
        assert simulator.initialised == 0


def test_nvml_is_initialised_only_while_open() -> None:
    with NvmlSimulator([BOARD]) as simulator, simulator.installed():
        limiter = NvmlLimiter()
        limiter.check_available()
        assert simulator.initialised == 0
        limiter.open()
        assert simulator.initialised == 1
        with pytest.raises(LifecycleError):
            limiter.open()
        limiter.close()
        limiter.close()
        assert simulator.initialised == 0
        with pytest.raises(LifecycleError):
            limiter.limits()


def test_a_limit_set_by_another_process_is_seen() -> None:
    """The limit belongs to the board, not to the process."""
    code = (
        "from greenai_plugins.limiters.nvml import NvmlLimiter; l = NvmlLimiter(); l.open(); "
        "l.set_limit(l.limits()[0].device, 222.0); l.close()"
    )
    with limiter_of(BOARD) as (limiter, simulator):
        subprocess.run([sys.executable, "-c", code], env=simulator.environment(), check=True)
        assert limiter.limits()[0].current_w == 222.0


@pytest.mark.parametrize(
    ("capabilities", "permitted"),
    [
        ("000001ffffffffff", True),
        ("0000000000200000", True),
        ("00000000a80425fb", False),  # root in a container with the usual capabilities
        ("0000000000000000", False),
    ],
)
def test_permission_is_a_capability(tmp_path: Path, capabilities: str, permitted: bool) -> None:
    status = tmp_path / "status"
    status.write_text(f"Name:\tpython\nCapPrm:\t{'f' * 16}\nCapEff:\t{capabilities}\n")
    assert may_administer(status) is permitted


class TestNvmlLimiter(LimiterConformance):
    simulator: NvmlSimulator

    @pytest.fixture(autouse=True)
    def _close(self) -> Iterator[None]:
        self.stack = ExitStack()
        yield
        self.stack.close()

    def install(self, simulator: NvmlSimulator) -> None:
        self.stack.close()
        self.simulator = self.stack.enter_context(simulator)
        self.stack.enter_context(simulator.installed())

    def make_hardware(self) -> None:
        self.install(NvmlSimulator([BOARD, BOARD]))

    def make_limiter(self) -> NvmlLimiter:
        return NvmlLimiter()

    def make_absent(self) -> NvmlLimiter:
        self.install(NvmlSimulator(faults={"nvmlInitWithFlags": pynvml.NVML_ERROR_UNKNOWN}))
        return NvmlLimiter()

    def true_limit(self, device: str) -> float:
        uuids = [self.simulator.uuid(0), self.simulator.uuid(1)]
        return self.simulator.limit_w(uuids.index(device.removeprefix("gpu:")))

    def forbid(self) -> None:
        self.simulator.forbid(0)
        self.simulator.forbid(1)

    def make_stubborn(self) -> None:
        self.simulator.make_stubborn(0)
        self.simulator.make_stubborn(1)
