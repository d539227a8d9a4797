"""AMD boards of known power behind the real package amdsmi."""

from __future__ import annotations

import importlib.util
import sys

import pytest

from greenai_core import PluginUnavailable, ReadingError, Session
from greenai_core.testing import (
    AmdSmiSimulator,
    CounterConformance,
    PowerConformance,
    SimulatedAmdBoard,
    Sine,
    Step,
    TelemetryConformance,
    VirtualClock,
)
from greenai_core.testing.amdsmi import NO_PERMISSION, NOT_FOUND
from greenai_core.testing.c_library import compiler
from greenai_plugins import amd_boards
from greenai_plugins.amd_boards import STEP_J, joules_and_step, watts_of
from greenai_plugins.profilers import amdsmi as amdsmi_profilers
from greenai_plugins.profilers.amdsmi import AmdSmiPowerProfiler, AmdSmiProfiler

pytestmark = [
    pytest.mark.skipif(
        compiler() is None, reason="the simulator needs a C compiler: sudo apt install gcc"
    ),
    pytest.mark.skipif(
        importlib.util.find_spec("amdsmi") is None, reason="needs the package amdsmi"
    ),
]

C1, C6 = "gpu:0000:c1:00.0", "gpu:0000:c6:00.0"


class OnSimulator:
    """Two boards under loads that change slowly."""

    settle_s = 0.5
    window_s = 10.0

    def make_hardware(self):
        self.clock = VirtualClock(1000.0)
        self.simulator.clock = self.clock

    @pytest.fixture(autouse=True)
    def _boards(self):
        boards = [
            SimulatedAmdBoard(Sine(300, 100, 40)),
            SimulatedAmdBoard(Sine(500, 100, 30), address="0000:c6:00.0"),
        ]
        self.clock = VirtualClock(1000.0)
        self.simulator = AmdSmiSimulator(boards, clock=self.clock)
        with self.simulator.installed():
            yield
            assert self.simulator.initialised == 0, "each amdsmi_init is undone"

    def make_absent(self):
        return type(self.make_profiler())(gpus="9")

    def true_energy(self, start, end, channel):
        return self.simulator.energy_j([C1, C6].index(channel), start, end)

    def break_sensor(self, channel):
        self.simulator.boards[[C1, C6].index(channel)].fault = NOT_FOUND


class TestCounter(OnSimulator, CounterConformance):
    """The energy counter."""

    def make_profiler(self):
        return AmdSmiProfiler()


class TestPower(OnSimulator, PowerConformance):
    """The power, sampled."""

    def make_profiler(self):
        return AmdSmiPowerProfiler()


class TestTelemetry(OnSimulator, TelemetryConformance):
    """What boards tell beside energy."""

    @pytest.fixture(autouse=True)
    def _profiler(self, _boards):
        self.profiler = AmdSmiPowerProfiler()
        self.profiler.open(self.clock)
        yield
        self.profiler.close()

    def make_telemetry(self):
        return self.profiler

    def truth(self):
        figures = {"utilisation": 87.0, "memory_used": 1024.0 * 2**20, "temperature": 61.0}
        return {(id, name): value for id in (C1, C6) for name, value in figures.items()}

    def break_sensor(self):
        for board in self.simulator.boards:
            board.fault = NOT_FOUND


@pytest.fixture
def clock():
    return VirtualClock(1000.0)


def joules(profiler, boards, clock, seconds=10.0):
    """Window of that length over the boards -> the session's result and channels."""
    machine = AmdSmiSimulator(boards, clock=clock)
    with machine.installed(), Session([profiler], clock=clock) as session:
        with session.window() as window:
            clock.sleep(seconds)
        return window.result, session.channels, session.notes()


def test_the_step_is_not_the_rounded_one_that_is_told(clock):
    """15.3 µJ instead of 2^-16 J would be 0.27 % too much."""
    result, [channel], _ = joules(AmdSmiProfiler(), [SimulatedAmdBoard(400.0)], clock, 100.0)
    assert channel.resolution_j == STEP_J
    assert result.energy_j == pytest.approx(40_000.0, rel=5e-4)


def test_partitions_are_one_board(clock):
    """Each of the eight would tell the power of all."""
    board = SimulatedAmdBoard(400.0, partitions=8)
    result, [channel], _ = joules(AmdSmiProfiler(), [board], clock)
    assert result.energy_j == pytest.approx(4000.0, rel=0.02)
    assert "divided into 8 devices" in channel.description


@pytest.mark.parametrize("profiler", [AmdSmiProfiler, AmdSmiPowerProfiler])
def test_the_second_die_of_a_card_that_tells_nothing_is_left_out(profiler, clock):
    """As on MI250, whose first die tells the power of both (ml-energy/zeus pull 203)."""
    boards = [
        SimulatedAmdBoard(400.0, name="AMD Instinct MI250X", power="average"),
        SimulatedAmdBoard(
            0.0, name="AMD Instinct MI250X", address="0000:c6:00.0", power="zero", counter="stuck"
        ),
    ]
    result, [channel], _ = joules(profiler(), boards, clock, 20.0)
    assert channel.id == C1
    assert "both dies" in channel.description
    assert result.energy_j == pytest.approx(8000.0, rel=0.02)


def test_a_counter_that_stands_still_gives_way_to_the_power(clock):
    """As on some MI100 (github.com/ROCm/amdsmi/issues/22)."""
    board = SimulatedAmdBoard(250.0, counter="stuck", power="average")
    with AmdSmiSimulator([board], clock=clock).installed():
        profiler = AmdSmiProfiler()
        with pytest.raises(PluginUnavailable, match="does not move") as found:
            profiler.open(clock)
        assert "amdsmi-power" in found.value.hint
        assert not profiler.is_open
    result, [channel], _ = joules(AmdSmiPowerProfiler(), [board], clock, 20.0)
    assert channel.method == "sampled"
    assert channel.update_period_s == 1.0
    assert result.energy_j == pytest.approx(5000.0, rel=0.01)


def test_an_interrupt_while_counters_are_waited_for_shuts_amd_smi_down(clock, monkeypatch):
    board = SimulatedAmdBoard(250.0, counter="stuck", power="average")
    simulator = AmdSmiSimulator([board], clock=clock)
    with simulator.installed():
        profiler = AmdSmiProfiler()
        monkeypatch.setattr(
            clock, "sleep", lambda seconds: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
            profiler.open(clock)
        assert simulator.initialised == 0


def test_a_counter_whose_step_changes_is_not_read_on(clock, monkeypatch):
    """Its counts times the old step would be joules of nobody."""
    with AmdSmiSimulator([SimulatedAmdBoard(250.0)], clock=clock).installed():
        profiler = AmdSmiProfiler()
        profiler.open(clock)
        [channel] = profiler.channels
        assert profiler.read(channel) > 0
        monkeypatch.setattr(amdsmi_profilers, "joules_and_step", lambda told: (5, 2 * STEP_J))
        with pytest.raises(ReadingError, match="step of its counter has changed"):
            profiler.read(channel)
        monkeypatch.undo()
        profiler.close()


@pytest.mark.parametrize("kind", [AmdSmiProfiler, AmdSmiPowerProfiler])
def test_a_board_that_fails_beside_another_is_told(clock, kind):
    """The total goes on without it: not in silence."""
    boards = [
        SimulatedAmdBoard(250.0),
        SimulatedAmdBoard(300.0, address="0000:c6:00.0", fault=NO_PERMISSION),
    ]
    with AmdSmiSimulator(boards, clock=clock).installed():
        profiler = kind()
        profiler.open(clock)
        assert [channel.id for channel in profiler.channels] == [C1]
        assert any("0000:c6:00.0" in note and "left out" in note for note in profiler.notes())
        profiler.close()


def test_a_counter_of_another_pace_widens_the_interval(clock):
    """github.com/ROCm/amdsmi/issues/38"""
    board = SimulatedAmdBoard(400.0, counted=0.5)
    result, [channel], notes = joules(AmdSmiProfiler(), [board], clock)
    assert result.low_j < 4000.0 < result.high_j
    assert "0.50" in channel.gain_source
    assert any("which is right is not known" in note for note in notes)


def test_a_board_without_a_counter_is_measured_by_its_power_beside_one_that_has(clock):
    boards = [SimulatedAmdBoard(300.0)]
    boards += [SimulatedAmdBoard(200.0, address="0000:c6:00.0", counter="none", power="average")]
    with AmdSmiSimulator(boards, clock=clock).installed():
        both = [AmdSmiProfiler(), AmdSmiPowerProfiler()]
        with Session(both, clock=clock) as session:
            methods = {channel.id: channel.method for channel in session.channels}
            assert methods == {C1: "counter", C6: "sampled"}
            with session.window() as window:
                clock.sleep(20.0)
        assert window.energy_j == pytest.approx(10_000.0, rel=0.01)


@pytest.mark.parametrize(
    ("variables", "left"),
    [
        ({}, [C1, C6]),
        ({"ROCR_VISIBLE_DEVICES": "1"}, [C6]),
        ({"ROCR_VISIBLE_DEVICES": "1,0", "HIP_VISIBLE_DEVICES": "0"}, [C6]),
        ({"HIP_VISIBLE_DEVICES": "0,7,1"}, [C1]),
        ({"ROCR_VISIBLE_DEVICES": "GPU-12ab"}, [C1, C6]),
    ],
)
def test_what_rocm_leaves_visible(variables, left, clock, monkeypatch):
    for name in ("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    boards = [SimulatedAmdBoard(), SimulatedAmdBoard(address="0000:c6:00.0")]
    _, channels, _ = joules(AmdSmiProfiler(), boards, clock)
    assert [channel.id for channel in channels] == left


@pytest.mark.parametrize("fact", ["device", "hwmon/hwmon3/in1_label"])
def test_a_processor_with_graphics_is_not_counted_as_a_board(fact, clock, monkeypatch, tmp_path):
    """RAPL counts its cores already."""
    file = tmp_path / "0000:c1:00.0" / fact
    file.parent.mkdir(parents=True)
    file.write_text("0x74a0\n" if fact == "device" else "vddnb\n")
    monkeypatch.setattr(amd_boards, "PCI_DEVICES", tmp_path)
    boards = [SimulatedAmdBoard(), SimulatedAmdBoard(address="0000:c6:00.0")]
    _, [channel], _ = joules(AmdSmiPowerProfiler(), boards, clock)
    assert channel.id == C6
    machine = AmdSmiSimulator(boards[:1], clock=clock)
    with machine.installed(), pytest.raises(PluginUnavailable, match="profiler hwmon"):
        AmdSmiProfiler().check_available()


def test_none_visible_is_none(clock, monkeypatch):
    monkeypatch.setenv("ROCR_VISIBLE_DEVICES", "")
    machine = AmdSmiSimulator([SimulatedAmdBoard()], clock=clock)
    with machine.installed(), pytest.raises(PluginUnavailable, match="leave no AMD board"):
        AmdSmiProfiler().check_available()


@pytest.mark.parametrize("gpus", ["1", "0000:C6:00.0"])
def test_boards_by_number_or_address(gpus, clock):
    boards = [SimulatedAmdBoard(), SimulatedAmdBoard(address="0000:c6:00.0")]
    _, [channel], _ = joules(AmdSmiProfiler(gpus=gpus), boards, clock)
    assert channel.id == C6


def test_missing_permission_names_the_groups(clock):
    simulator = AmdSmiSimulator([SimulatedAmdBoard()], clock=clock)
    simulator.refusal = NO_PERMISSION
    with simulator.installed(), pytest.raises(PluginUnavailable, match="NO_PERM") as found:
        AmdSmiProfiler().check_available()
    assert "render,video" in found.value.hint


def test_no_boards(clock):
    machine = AmdSmiSimulator([], clock=clock)
    with machine.installed(), pytest.raises(PluginUnavailable, match="no AMD board"):
        AmdSmiPowerProfiler().check_available()


def test_without_its_library_the_package_is_a_clear_error(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("ROCM_HOME", str(tmp_path))
    for name in [name for name in sys.modules if name.partition(".")[0] == "amdsmi"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(PluginUnavailable, match=r"libamd_smi\.so") as found:
        AmdSmiProfiler().check_available()
    assert "amd-smi-lib" in found.value.hint
    assert capsys.readouterr().out == ""


def test_the_power_that_is_told_now_goes_before_an_average(clock):
    result, _, _ = joules(AmdSmiPowerProfiler(), [SimulatedAmdBoard(Step(100, 300, 1005))], clock)
    assert result.energy_j == pytest.approx(2000.0, rel=0.02)


@pytest.mark.parametrize(
    ("told", "watts"),
    [
        ({"current_socket_power": 750, "average_socket_power": "N/A"}, (750.0, False)),
        ({"current_socket_power": "N/A", "average_socket_power": 210}, (210.0, True)),
        ({"current_socket_power": 0xFFFF, "average_socket_power": 33}, (33.0, True)),
        ({"socket_power": 85, "average_socket_power": 0xFFFFFFFF}, (85.0, True)),
    ],
)
def test_power_of_all_releases(told, watts):
    assert watts_of(told) == watts


@pytest.mark.parametrize("told", [{}, {"current_socket_power": 0}, {"socket_power": 0xFFFFFFFF}])
def test_no_power_is_not_zero(told):
    with pytest.raises(ValueError, match="no power"):
        watts_of(told)


def test_counts_of_all_releases():
    assert joules_and_step({"power": 10, "counter_resolution": 15.300000190734863}) == (10, STEP_J)
    count, step = joules_and_step({"energy_accumulator": 10, "counter_resolution": 1.0})
    assert (count, step) == (10, pytest.approx(1e-6))
    with pytest.raises(ValueError, match="no energy"):
        joules_and_step({"energy_accumulator": "N/A", "counter_resolution": 15.3})
