"""Boards without a power reading, estimated by how busy they are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from simulated_boards import LIMIT_W, machine, old_board

from greenai_core import (
    PluginUnavailable,
    ProcessShares,
    ReadingError,
    Session,
    of_tree,
    registry,
)
from greenai_core.testing import (
    Constant,
    NvmlSimulator,
    PowercapTree,
    PowerConformance,
    SimulatedBoard,
    TelemetryConformance,
    VirtualClock,
    rapl_counter,
)
from greenai_core.testing import SimulatedCounterProfiler as Simulated
from greenai_core.testing.c_library import compiler
from greenai_plugins.profilers.gpu_model import ERROR, IDLE_SHARE, GpuModelProfiler
from greenai_plugins.profilers.gpu_table import BOARDS, find_board
from greenai_plugins.profilers.modelled import ModelledProfiler
from greenai_plugins.profilers.nvml import NvmlPowerProfiler, NvmlProfiler
from greenai_plugins.profilers.rapl import RaplProfiler

pynvml = pytest.importorskip("pynvml")
pytestmark = pytest.mark.skipif(
    compiler() is None, reason="the NVML simulator needs a C compiler: sudo apt install gcc"
)

NOT_SUPPORTED = 3
NO_LIMIT = {
    "nvmlDeviceGetEnforcedPowerLimit": NOT_SUPPORTED,
    "nvmlDeviceGetPowerManagementDefaultLimit": NOT_SUPPORTED,
}


def watts(utilisation: float, limit: float = LIMIT_W) -> float:
    return limit * (IDLE_SHARE + (1 - IDLE_SHARE) * utilisation)


def described(profiler: GpuModelProfiler, clock: VirtualClock) -> list[str]:
    profiler.open(clock)
    try:
        return [channel.description for channel in profiler.channels]
    finally:
        profiler.close()


@pytest.mark.parametrize("percent", [0, 40, 100])
def test_energy_follows_the_utilisation(percent: int) -> None:
    with machine(old_board()) as (simulator, clock, utilisation):
        utilisation.percent = percent
        with Session([GpuModelProfiler()], clock=clock) as session, session.window() as window:
            clock.sleep(30.0)
    assert window.energy_j == pytest.approx(watts(percent / 100) * 30.0, rel=1e-3)
    assert window.result.method == "modelled"
    assert window.result.contains == (f"gpu:{simulator.uuid(0)}",)
    assert window.result.low_j <= (1 - ERROR) * window.energy_j * 1.001
    assert window.result.high_j >= (1 + ERROR) * window.energy_j * 0.999


def test_utilisation_that_changes_is_integrated() -> None:
    with (
        machine(old_board()) as (_, clock, utilisation),
        Session([GpuModelProfiler()], clock=clock) as session,
        session.window() as window,
    ):
        for percent in (100, 0, 50):
            utilisation.percent = percent
            clock.sleep(20.0)
    assert window.energy_j == pytest.approx(60.0 * watts(0.5), rel=0.02)


@pytest.mark.parametrize(
    ("options", "limit", "basis"),
    [
        ({}, LIMIT_W, "power limit of 75 W in force"),
        (
            {"faults": {"nvmlDeviceGetEnforcedPowerLimit": NOT_SUPPORTED}},
            LIMIT_W,
            "power limit of 75 W by default",
        ),
        ({"faults": NO_LIMIT}, 75.0, "75 W of thermal design power"),
        ({"default_w": 0.0}, 75.0, "75 W of thermal design power"),
        ({"faults": NO_LIMIT, "name": "GeForce GT 1030"}, 30.0, "30 W of thermal design power"),
    ],
)
def test_what_full_power_is(options: dict, limit: float, basis: str) -> None:
    with machine(old_board(**options)) as (_, clock, _):
        (text,) = described(GpuModelProfiler(), clock)
    assert basis in text
    assert f"{limit:.3g} W busy" in text
    assert "modelled, ±60%" in text


@pytest.mark.parametrize(
    ("board", "reason"),
    [
        (old_board(faults=NO_LIMIT, name="GeForce GT 730"), "its power is not listed"),
        (
            old_board(faults={"nvmlDeviceGetUtilizationRates": NOT_SUPPORTED}),
            "neither its power nor how busy",
        ),
        (SimulatedBoard(), "no model is needed"),
        (old_board(power_usage="average"), "no model is needed"),
        (old_board(energy_counter=True), "no model is needed"),
        (
            SimulatedBoard(faults={"nvmlDeviceGetTotalEnergyConsumption": 999}),
            "no model is needed",
        ),
    ],
    ids=["unlisted", "silent", "measured", "tells power", "tells energy", "fails now"],
)
def test_boards_that_are_not_modelled(board: SimulatedBoard, reason: str) -> None:
    with machine(board) as (_, clock, _):
        with pytest.raises(PluginUnavailable, match=reason) as caught:
            GpuModelProfiler().check_available()
        assert caught.value.hint
        with pytest.raises(PluginUnavailable):
            GpuModelProfiler().open(clock)


def test_a_board_that_is_named_is_modelled_beside_its_sensor() -> None:
    """So that the model can be compared with it."""
    with machine(SimulatedBoard(watts=300.0)) as (_, clock, _):
        (text,) = described(GpuModelProfiler(gpus="0"), clock)
    assert "700 W in force" in text


def test_the_table_has_a_source_for_each_board() -> None:
    assert all(board.source.startswith("https://") for board in BOARDS)
    assert find_board("NVIDIA GeForce GTX 1050 Ti").power_w == 75
    assert find_board("GeForce GTX 1050").power_w == 75
    assert find_board("NVIDIA GeForce RTX 4090") is None


# Among other profilers


def only(monkeypatch: pytest.MonkeyPatch, **profilers: type) -> None:
    """What is installed, for ``auto``."""
    named = {name.replace("_", "-"): cls for name, cls in profilers.items()}
    monkeypatch.setattr(registry, "load_all", lambda group: (named, {}))
    monkeypatch.setattr(registry, "load", lambda group, name: named[name])


@pytest.fixture
def rapl(tmp_path: Path) -> Iterator[type]:
    with PowercapTree.xeon(tmp_path / "powercap") as tree:

        class Rapl(RaplProfiler):
            def __init__(self) -> None:
                super().__init__(root=tree.root, cpuinfo=tree.cpuinfo)

            def connect(self):
                tree.drive(self.clock)
                return super().connect()

        yield Rapl


def test_measured_processors_and_a_modelled_board(
    rapl: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RAPL beside a board that tells no power: each is told for what it is."""
    only(
        monkeypatch,
        rapl=rapl,
        nvml=NvmlProfiler,
        nvml_power=NvmlPowerProfiler,
        modelled=ModelledProfiler,
        gpu_model=GpuModelProfiler,
    )
    with machine(old_board()) as (simulator, clock, _), Session(clock=clock) as session:
        with session.window() as window:
            clock.sleep(20.0)
        used = [source.profiler.name for source in session.sources]
        skipped = {one.profiler for one in session.skipped}
    assert used == ["rapl", "gpu-model"]
    assert {"nvml", "nvml-power", "modelled"} <= skipped
    assert window.result.method == "counter+modelled", "modelled in part"
    methods = {c.id: (c.method, c.in_total) for c in window.channels}
    assert methods[f"gpu:{simulator.uuid(0)}"] == ("modelled", True)
    assert methods["cpu:0/package"] == ("counter", True)
    assert "model:cpu" not in methods


def test_a_measured_board_beside_one_that_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that is modelled is listed, and stays out of the total of measured ones."""
    only(monkeypatch, nvml=NvmlProfiler, gpu_model=GpuModelProfiler)
    with machine(SimulatedBoard(watts=150.0), old_board()) as (simulator, clock, _):
        measured, modelled = (f"gpu:{simulator.uuid(n)}" for n in (0, 1))
        with Session(clock=clock) as session:
            with session.window() as window:
                clock.sleep(20.0)
            assert [s.profiler.name for s in session.sources] == ["nvml", "gpu-model"]
        assert window.result.contains == (measured,)
        assert window.result.method == "counter"
        assert {c.id for c in window.channels} == {measured, modelled}
        in_use = Session(clock=clock, accelerators=[modelled])
        with in_use as session, session.window() as window:
            clock.sleep(20.0)
        assert window.result.contains == (modelled,), "it is the one in use"


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_what_is_measured_wins_in_whichever_order_it_is_named(order: list[int]) -> None:
    with machine(SimulatedBoard(watts=150.0)) as (_, clock, _):
        both = [NvmlProfiler(), GpuModelProfiler(gpus="all")]
        with Session([both[n] for n in order], clock=clock) as session:
            assert [s.profiler.name for s in session.sources] == ["nvml"]
            assert [one.profiler for one in session.skipped] == ["gpu-model"]


def test_without_any_sensor_all_is_modelled(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, modelled=ModelledProfiler, gpu_model=GpuModelProfiler)
    with machine(old_board()) as (simulator, clock, _), Session(clock=clock) as session:
        assert session.contains == (f"gpu:{simulator.uuid(0)}", "model:cpu", "model:dram")


def test_a_modelled_processor_yields_by_component_and_a_board_by_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Package(Simulated):
        name = "package"
        automatic = True

        def __init__(self) -> None:
            super().__init__(counters=[rapl_counter(Constant(50.0), "cpu:0/package")])

    only(monkeypatch, package=Package, modelled=ModelledProfiler, gpu_model=GpuModelProfiler)
    with machine(old_board()) as (simulator, clock, _), Session(clock=clock) as session:
        assert set(session.contains) == {
            "cpu:0/package", "model:dram", f"gpu:{simulator.uuid(0)}",
        }  # fmt: skip


def test_a_board_tells_which_process_used_it() -> None:
    """NVML's own figures of processes, split by the core: measured joules, modelled shares."""
    board = SimulatedBoard(watts=200.0, process_shares={os.getpid(): 60, 4_000_001: 20})
    with machine(board) as (simulator, clock, _), Session([NvmlProfiler()], clock=clock) as session:
        with ProcessShares(session) as shares:
            clock.sleep(10.0)
        (split,) = shares.result.by_process
    assert split.channels == (f"gpu:{simulator.uuid(0)}",)
    own = of_tree(split)
    assert own is not None
    assert own.energy_j == pytest.approx(0.6 * split.energy_j, rel=0.05)
    assert {share.method for share in split.shares} == {"modelled"}


# The rules of all profilers


class Boards:
    """Two boards without power readings, gone after each check."""

    @pytest.fixture(autouse=True)
    def _close(self) -> Iterator[None]:
        self.stack = ExitStack()
        yield
        self.stack.close()

    def make_hardware(self) -> None:
        self.stack.close()
        boards = old_board(utilisation=80), old_board(utilisation=10, name="GeForce GTX 1050")
        self.simulator, self.clock, self.utilisation = self.stack.enter_context(machine(*boards))

    def make_profiler(self) -> GpuModelProfiler:
        return GpuModelProfiler()

    def make_absent(self) -> GpuModelProfiler:
        self.stack.close()
        self.clock = VirtualClock(1000.0)
        broken = NvmlSimulator(faults={"nvmlInitWithFlags": pynvml.NVML_ERROR_UNKNOWN})
        self.stack.enter_context(broken)
        self.stack.enter_context(broken.installed())
        return GpuModelProfiler()

    def board(self, channel: str) -> int:
        return [f"gpu:{self.simulator.uuid(n)}" for n in (0, 1)].index(channel)

    def break_sensor(self, channel: str = "") -> None:
        for index in (0, 1):
            if not channel or self.board(channel) == index:
                self.simulator.lose(index)


class TestGpuModel(Boards, PowerConformance):
    modelled = True

    def true_energy(self, start: float, end: float, channel: str) -> float:
        return watts((0.8, 0.1)[self.board(channel)]) * (end - start)


class TestGpuModelTelemetry(Boards, TelemetryConformance):
    def make_telemetry(self) -> GpuModelProfiler:
        self.make_hardware()
        profiler = GpuModelProfiler()
        profiler.open(self.clock)
        self.stack.callback(profiler.close)
        return profiler

    def truth(self) -> dict[tuple[str, str], float]:
        return {
            (f"gpu:{self.simulator.uuid(n)}", "utilisation"): value
            for n, value in enumerate((80.0, 10.0))
        }

    def wait(self) -> None:
        self.clock.sleep(1.0)


def test_telemetry_of_all_boards_lost() -> None:
    with machine(old_board()) as (simulator, clock, _):
        profiler = GpuModelProfiler()
        profiler.open(clock)
        simulator.lose(0)
        with pytest.raises(ReadingError, match="lost"):
            profiler.observe()
        profiler.close()
