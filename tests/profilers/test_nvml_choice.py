"""Which boards the NVML profilers follow, on simulated boards."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from greenai_core import (
    PluginUnavailable,
    Profiler,
)
from greenai_core.testing import VirtualClock
from greenai_core.testing.c_library import compiler
from greenai_core.testing.nvml import NvmlSimulator
from greenai_core.testing.nvml_board import SimulatedBoard
from greenai_plugins import nvml_boards
from greenai_plugins.profilers.nvml import NvmlPowerProfiler, NvmlProfiler

pytest.importorskip("pynvml")
pytestmark = pytest.mark.skipif(
    compiler() is None, reason="the NVML simulator needs a C compiler: sudo apt install gcc"
)

MODES = [NvmlProfiler, NvmlPowerProfiler]


@contextmanager
def machine(*boards: SimulatedBoard, **options) -> Iterator[tuple[NvmlSimulator, VirtualClock]]:
    """A machine with these boards, on a clock that takes no time."""
    clock = VirtualClock(start_s=1000.0)
    with NvmlSimulator(boards, clock=clock, **options) as simulator, simulator.installed():
        yield simulator, clock


@contextmanager
def opened(profiler: Profiler, clock: VirtualClock) -> Iterator[Profiler]:
    profiler.open(clock)
    try:
        yield profiler
    finally:
        profiler.close()


def boards_of(profiler: Profiler, simulator: NvmlSimulator) -> list[int]:
    """Which of the simulated boards the channels are."""
    ids = [f"gpu:{simulator.uuid(index)}" for index in range(len(simulator.boards))]
    return [ids.index(channel.id) for channel in profiler.channels]


A, B, C = "GPU-aaaa1111-0", "GPU-aaaa2222-0", "GPU-bbbb3333-0"
ALIKE = (
    SimulatedBoard(uuid=A),
    SimulatedBoard(uuid=B, mig_instances=("MIG-77771111-0", "MIG-77772222-0")),
    SimulatedBoard(uuid=C),
)


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        (None, [0, 1, 2]),
        ("0", [0]),
        ("2,0", [2, 0]),
        (" 1 , 2", [1, 2]),
        ("0,2,-1,1", [0, 2]),
        ("0,7,1", [0]),
        ("+1", [1]),
        ("1st,2nd", [1, 2]),
        (A, [0]),
        ("GPU-bbbb", [2]),
        ("GPU-bbbb,0", [2]),
        (f"GPU-bbbb,{A}", [2, 0]),
        ("GPU-bbbb,MIG-7777111", [2]),
        ("0,GPU-aaaa,2", [0]),
        ("MIG-77772222-0", [1]),
        ("MIG-7777111", [1]),
        ("MIG-77771111-0,MIG-77772222-0", [1]),
        (f"MIG-{C}/1/0", [2]),
        (f"MIG-{C}/1/0,MIG-{C}/2/0,MIG-{A}/1/0", [2, 0]),
        ("MIG-77771111-0,GPU-bbbb", [1]),
    ],
)
@pytest.mark.parametrize("mode", MODES)
def test_cuda_visible_devices(
    mode: type[Profiler],
    variable: str | None,
    expected: Sequence[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Read as CUDA reads it: it stops at the first entry that it cannot find."""
    if variable is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    with machine(*ALIKE) as (simulator, clock), opened(mode(), clock) as profiler:
        assert boards_of(profiler, simulator) == expected


@pytest.mark.parametrize("variable", [
    "", "-1", "NoDevFiles", "7", "GPU-cccc", "GPU-aaaa", "MIG-0",
    "1,1", "1,0,1", "GPU-bbbb,GPU-bbbb", f"GPU-bbbb,{C}", "MIG-77771111-0,MIG-77771111-0",
])  # fmt: skip
def test_cuda_visible_devices_that_leave_none(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    with machine(*ALIKE) as (simulator, _):
        with pytest.raises(PluginUnavailable, match=r"CUDA_VISIBLE_DEVICES='.*' leaves"):
            NvmlProfiler().check_available()
        with pytest.raises(PluginUnavailable):
            NvmlProfiler().open()
        assert simulator.initialised == 0


def test_board_ten_is_not_board_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with machine(*[SimulatedBoard()] * 11) as (simulator, clock):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "10")
        with opened(NvmlProfiler(), clock) as profiler:
            assert boards_of(profiler, simulator) == [10]
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
        with opened(NvmlProfiler(), clock) as profiler:
            assert boards_of(profiler, simulator) == [1]
        with opened(NvmlProfiler(gpus="10"), clock) as profiler:
            assert boards_of(profiler, simulator) == [10]


def test_numbers_of_unlike_boards_need_an_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA sorts them by speed, NVML by bus: a guess would measure the wrong board."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with machine(SimulatedBoard(name="Small"), SimulatedBoard(name="Big")) as (simulator, clock):
        with pytest.raises(PluginUnavailable, match=r"Small.*Big.*CUDA_DEVICE_ORDER=PCI_BUS_ID"):
            NvmlProfiler().check_available()
        monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
        with opened(NvmlProfiler(), clock) as profiler:
            assert boards_of(profiler, simulator) == [0]
        monkeypatch.delenv("CUDA_DEVICE_ORDER")
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
        NvmlProfiler().check_available()


@pytest.mark.parametrize(
    ("gpus", "expected"),
    [
        ("1", [1]),
        ("2, 0", [2, 0]),
        ("GPU-bbbb", [2]),
        (f"gpu:{A}", [0]),
        ("MIG-7777", [1]),
        ("all", [0, 1, 2]),
    ],
)
def test_the_option_comes_before_the_variable(
    gpus: str, expected: Sequence[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with machine(*ALIKE) as (simulator, clock), opened(NvmlProfiler(gpus=gpus), clock) as profiler:
        assert boards_of(profiler, simulator) == expected


@pytest.mark.parametrize(
    ("gpus", "message"),
    [
        ("7", "asks for '7', which is no board.*GPU 0 .*GPU-bbbb3333-0"),
        ("0,,1", "asks for '', which is no board"),
        ("GPU-aaaa", "asks for 'GPU-aaaa', which is 2 boards"),
        ("-1", "no board"),
        ("bbbb3333", "no board"),
    ],
)
def test_a_board_that_is_not_there_is_refused(gpus: str, message: str) -> None:
    with machine(*ALIKE), pytest.raises(PluginUnavailable, match=message):
        NvmlProfiler(gpus=gpus).check_available()


def test_a_uuid_is_cut_at_its_beginning_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """``lstrip("MIG-")`` would eat the G of what follows, and any of its letters."""
    uuid = "GPU-GIMM-0001"
    with machine(SimulatedBoard(), SimulatedBoard(uuid=uuid)) as (simulator, clock):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", f"MIG-{uuid}/3/0")
        with opened(NvmlProfiler(), clock) as profiler:
            assert boards_of(profiler, simulator) == [1]
        with opened(NvmlProfiler(gpus=f"gpu:{uuid}"), clock) as profiler:
            assert boards_of(profiler, simulator) == [1]


@pytest.mark.parametrize("variable", ["ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"])
def test_variables_of_amd_are_not_ours(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "1")
    with machine(*ALIKE) as (simulator, clock), opened(NvmlProfiler(), clock) as profiler:
        assert boards_of(profiler, simulator) == [0, 1, 2]


def test_a_board_split_into_instances_is_measured_whole_and_says_so() -> None:
    with machine(*ALIKE) as (_, clock), opened(NvmlPowerProfiler(), clock) as profiler:
        told = ["with all its instances" in channel.description for channel in profiler.channels]
    assert told == [False, True, False]


@pytest.mark.torch
def test_entries_are_read_as_pytorch_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch has its own reading of CUDA's variable, tried against the driver."""
    cuda = pytest.importorskip("torch.cuda")
    draw = random.Random(5)
    parts = ["0", "1", "10", "2x", "+3", "-1", "x", "", " 4", "GPU-a", "GPU-b", "MIG-a", "MIG-b"]
    for _ in range(500):
        variable = ",".join(draw.choice(parts) for _ in range(draw.randint(1, 4)))
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
        assert nvml_boards._entries(variable) == cuda._parse_visible_devices(), variable
