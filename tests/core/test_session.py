"""Sessions on simulated hardware: which profilers, which totals, which windows."""

from __future__ import annotations

import math

import numpy as np
import pytest

from greenai_core import (
    Channel,
    ConfigError,
    CounterProfiler,
    DLLibrary,
    LifecycleError,
    MeasurementInterrupted,
    NoSensorError,
    ParameterCount,
    PluginNotFound,
    PluginUnavailable,
    Session,
    TensorSpec,
    measure,
    registry,
    to_json,
)
from greenai_core.channels import contents
from greenai_core.loop import LoopSettings
from greenai_core.testing import (
    Constant,
    DrivenPower,
    SimulatedCounterProfiler,
    SimulatedPowerProfiler,
    SimulatedWindowProfiler,
    Slow,
    VirtualClock,
    nvml_counter,
    power_gauge,
    rapl_counter,
    vanishes,
)


def channel(id, component, method="counter", inside=None):
    return Channel(id, component, method, contained_in=inside)


PACKAGE = channel("cpu:0/package", "cpu")
CORE = channel("cpu:0/core", "core", inside="cpu:0/package")
DRAM = channel("cpu:0/dram", "dram")
PSYS = channel("psys", "psys")
GPU0, GPU1 = channel("gpu:GPU-0", "gpu"), channel("gpu:GPU-1", "gpu")
WALL = channel("wall:plug", "wall", "sampled")
MODEL_CPU = channel("model:cpu", "cpu", "modelled")
MODEL_DRAM = channel("model:dram", "dram", "modelled")


@pytest.mark.parametrize(
    ("channels", "accelerators", "expected"),
    [
        ([PACKAGE, CORE, DRAM], None, ("cpu:0/package", "cpu:0/dram")),
        ([PSYS, PACKAGE, CORE, DRAM], None, ("cpu:0/package", "cpu:0/dram")),
        ([PACKAGE, GPU0, GPU1], None, ("cpu:0/package", "gpu:GPU-0", "gpu:GPU-1")),
        ([PACKAGE, GPU0, GPU1], {"gpu:GPU-1"}, ("cpu:0/package", "gpu:GPU-1")),
        ([PACKAGE, GPU0], set(), ("cpu:0/package",)),
        ([PACKAGE, WALL], None, ("cpu:0/package",)),
        ([MODEL_CPU, MODEL_DRAM], None, ("model:cpu", "model:dram")),
        ([PACKAGE, MODEL_CPU, MODEL_DRAM], None, ("cpu:0/package", "model:dram")),
        ([MODEL_CPU, GPU0], None, ("model:cpu", "gpu:GPU-0")),
        ([WALL, MODEL_CPU, MODEL_DRAM], None, ("wall:plug",)),
        ([PSYS, WALL], None, ("wall:plug",)),
        ([PSYS, MODEL_CPU], None, ("psys",)),
        ([], None, ()),
    ],
)
def test_what_a_total_contains(channels, accelerators, expected):
    """Nothing twice, nothing modelled beside what is measured, supersets only alone."""
    assert contents(channels, accelerators) == expected


def two_sockets():
    return SimulatedCounterProfiler(
        counters=[
            rapl_counter(Constant(80.0), "cpu:0/package"),
            rapl_counter(Constant(40.0), "cpu:1/package"),
            rapl_counter(Constant(10.0), "cpu:0/dram", "dram"),
        ]
    )


def test_a_window_adds_up_its_channels():
    clock = VirtualClock()
    with Session([two_sockets()], clock=clock) as session, session.window("epoch") as window:
        clock.advance(1.0)
    assert window.name == "epoch"
    assert window.duration_s == pytest.approx(1.0)
    assert window.energy_j == pytest.approx(130.0, rel=0.005)
    assert window.result.low_j <= 130.0 <= window.result.high_j
    assert {c.id: c.component for c in window.channels} == {
        "cpu:0/package": "cpu",
        "cpu:1/package": "cpu",
        "cpu:0/dram": "dram",
    }
    assert all(c.low_j <= c.energy_j <= c.high_j for c in window.channels)
    assert math.fsum(c.energy_j for c in window.channels) == pytest.approx(window.energy_j)


def test_windows_nest_and_overlap():
    clock = VirtualClock()
    with Session([two_sockets()], clock=clock) as session:
        outer, first, second = session.window("outer"), session.window("1"), session.window("2")
        with outer:
            first.__enter__()
            clock.advance(1.0)
            second.__enter__()
            clock.advance(2.0)
            first.__exit__(None, None, None)
            clock.advance(3.0)
            second.__exit__(None, None, None)
        joules = [w.energy_j for w in (first, second, outer)]
    assert joules == pytest.approx([390.0, 650.0, 780.0], rel=0.005)


def test_a_window_can_be_used_again():
    clock = VirtualClock()
    with Session([two_sockets()], clock=clock) as session:
        window = session.window("epoch")
        joules = []
        for seconds in (1.0, 2.0):
            with window:
                clock.advance(seconds)
            joules.append(window.energy_j)
    assert joules == pytest.approx([130.0, 260.0], rel=0.005)


def test_a_window_that_has_not_ended_has_no_figures():
    clock = VirtualClock()
    with Session([two_sockets()], clock=clock) as session:
        window = session.window()
        with pytest.raises(LifecycleError, match="not ended"):
            _ = window.energy_j


def test_a_closed_session_measures_nothing():
    session = Session([two_sockets()], clock=VirtualClock())
    with pytest.raises(LifecycleError, match="not open"), session.window():
        pass


def test_a_lost_channel_takes_the_total_with_it_and_leaves_the_others():
    clock = VirtualClock()
    profiler = SimulatedCounterProfiler(
        counters=[
            rapl_counter(Constant(80.0)),
            nvml_counter(Constant(300.0), "gpu:GPU-1", faults=(vanishes(0.5),)),
        ]
    )
    with Session([profiler], clock=clock) as session, session.window() as window:
        clock.advance(2.0)
    assert window.energy_j is None
    assert window.result.low_j is None
    assert [m.id for m in window.missing] == ["gpu:GPU-1"]
    assert window.missing[0].reason
    assert [c.id for c in window.channels] == ["cpu:0/package"]
    assert window.channels[0].energy_j == pytest.approx(160.0, rel=0.005)


def test_a_wall_meter_stands_beside_the_total():
    clock = VirtualClock()
    wall = SimulatedPowerProfiler(gauges=[power_gauge(Constant(250.0))])
    with Session([two_sockets(), wall], clock=clock) as session, session.window() as window:
        clock.advance(10.0)
    by_id = {c.id: c for c in window.channels}
    assert window.energy_j == pytest.approx(1300.0, rel=0.005)
    assert by_id["wall:simulated"].energy_j == pytest.approx(2500.0, rel=0.01)
    assert not by_id["wall:simulated"].in_total


def test_two_profilers_of_one_channel_are_counted_once():
    clock = VirtualClock()
    twin = SimulatedCounterProfiler(counters=[rapl_counter(Constant(80.0), "cpu:0/package")])
    with Session([two_sockets(), twin], clock=clock) as session:
        assert len(session.channels) == 3
        assert "cpu:0/package is measured by" in session.skipped[0].reason
        with session.window() as window:
            clock.advance(1.0)
    assert window.energy_j == pytest.approx(130.0, rel=0.005)


def test_a_profiler_that_cannot_nest_refuses_by_name():
    clock = VirtualClock()
    profiler = SimulatedWindowProfiler(counters=[rapl_counter(Constant(80.0))])
    with Session([profiler], clock=clock) as session, session.window() as outer:
        with pytest.raises(LifecycleError, match="simulated-window"), session.window():
            pass
        clock.advance(1.0)
    assert outer.energy_j == pytest.approx(80.0, rel=0.005)


class Absent(CounterProfiler):
    name = "absent"

    def check_available(self):
        raise PluginUnavailable("no such sensor here", "buy one")

    def connect(self):
        raise AssertionError("must not be opened")

    def disconnect(self):
        raise AssertionError("was never opened")

    def read(self, channel):
        raise AssertionError("was never opened")


def test_a_requested_profiler_must_work():
    with pytest.raises(PluginUnavailable, match="buy one"), Session([Absent()]):
        pass


def test_a_requested_profiler_must_exist():
    with pytest.raises(PluginNotFound, match="crystal-ball"), Session("crystal-ball"):
        pass


def test_an_unknown_option_of_a_profiler_is_refused():
    with (
        pytest.raises(PluginUnavailable, match="colour"),
        Session(["modelled"], options={"modelled": {"colour": "red"}}),
    ):
        pass


def test_profilers_opened_before_a_failing_one_are_closed():
    first = two_sockets()
    with pytest.raises(PluginUnavailable), Session([first, Absent()], clock=VirtualClock()):
        pass
    assert not first.is_open


def test_no_profiler_at_all_is_an_error_that_says_why():
    with pytest.raises(NoSensorError, match="none is installed"), Session([]):
        pass


@pytest.mark.parametrize("profilers", [["auto"], ("auto",), iter(["auto"])])
def test_auto_in_a_list_is_auto(profilers):
    with Session("auto") as plain, Session(profilers) as listed:
        assert [c.id for c in listed.channels] == [c.id for c in plain.channels]


@pytest.mark.parametrize("other", ["modelled", "nvml"])
def test_auto_beside_others_is_refused(other):
    with pytest.raises(ConfigError, match="'auto' alone, or names without it"):
        Session(["auto", other])


def test_auto_tells_why_it_skipped_what():
    with Session() as session:
        assert session.channels
        skipped = {s.profiler: s for s in session.skipped}
    for entry in skipped.values():
        assert entry.reason


class Sleeper(DLLibrary):
    """A model whose inference sleeps on the virtual clock of its option."""

    format = "sleeper"
    option_names = {"clock": "virtual clock", "power": "driven power", "device_ids": "boards"}

    @classmethod
    def recognises(cls, path):
        return True

    def count_parameters(self):
        return ParameterCount(12, 3, 60)

    def load_weights(self):
        self.ran = 0

    def signature(self):
        return (TensorSpec("x", (None, 4)),)

    def prepare(self, inputs):
        return inputs["x"]

    def predict(self, prepared):
        clock, power = self.options["clock"], self.options["power"]
        power.set(clock.now(), 200.0)
        clock.sleep(0.01)
        power.set(clock.now(), power.idle_w)
        self.ran += 1
        return prepared

    def synchronize(self):
        pass

    def fetch(self, outputs):
        return {"y": outputs}

    def accelerators(self):
        return self.options.get("device_ids", ())


@pytest.fixture
def model_file(tmp_path):
    path = tmp_path / "model.sleeper"
    path.write_text("z")
    return path


def test_an_inference_costs_what_it_costs(model_file):
    clock, power = VirtualClock(), DrivenPower(20.0)
    profiler = SimulatedCounterProfiler(counters=[rapl_counter(power)])
    model = Sleeper(model_file, clock=clock, power=power)
    with Session([profiler], clock=clock) as session:
        assert session.count_parameters(model).total == 15
        assert session.infer(model, np.ones((2, 4)))["y"].shape == (2, 4)
        result = session.evaluate_inference(model, batch_size=4)
    assert result.energy_per_inference_j.value == pytest.approx(2.0, rel=0.005)
    assert result.energy_per_sample_j.value == pytest.approx(0.5, rel=0.005)
    assert result.latency_s.value == pytest.approx(0.01)
    assert result.power_w.value == pytest.approx(200.0, rel=0.005)
    assert result.target_met
    assert result.contains == ("cpu:0/package",)
    assert result.model.batch_size == 4
    assert sum(r.iterations for r in result.repetitions) == result.inferences
    figure = result.energy_per_inference_j
    assert figure.low <= figure.repeat_low <= figure.value <= figure.repeat_high <= figure.high
    assert {"value", "low", "high", "repeat_low", "repeat_high"} <= set(to_json(figure))


def test_the_summary_follows_from_the_repetitions(model_file):
    """Raw repetitions are the truth: whoever has them finds the same joules."""
    clock, power = VirtualClock(), DrivenPower(20.0)
    profiler = SimulatedCounterProfiler(counters=[rapl_counter(power)])
    with Session([profiler], clock=clock) as session:
        result = session.evaluate_inference(Sleeper(model_file, clock=clock, power=power))
    values = [
        r.channels[0].energy_j / r.duration_s * r.work_s / r.iterations for r in result.repetitions
    ]
    assert np.mean(values) == pytest.approx(result.energy_per_inference_j.value)


def test_a_total_holds_the_boards_that_the_model_uses(model_file):
    clock, power = VirtualClock(), DrivenPower(20.0)
    profiler = SimulatedCounterProfiler(
        counters=[
            rapl_counter(Constant(50.0)),
            nvml_counter(power, "gpu:GPU-a"),
            nvml_counter(Constant(60.0), "gpu:GPU-b"),
        ]
    )
    model = Sleeper(model_file, clock=clock, power=power, device_ids=("gpu:GPU-a",))
    with Session([profiler], clock=clock) as session:
        result = session.evaluate_inference(model)
    assert result.contains == ("cpu:0/package", "gpu:GPU-a")
    listed = {c.id: c.in_total for c in result.channels}
    assert listed == {"cpu:0/package": True, "gpu:GPU-a": True, "gpu:GPU-b": False}
    assert result.energy_per_inference_j.value == pytest.approx(2.5, rel=0.01)


def test_a_sensor_lost_in_the_middle_leaves_no_total(model_file):
    clock, power = VirtualClock(), DrivenPower(20.0)
    profiler = SimulatedCounterProfiler(
        counters=[rapl_counter(power), nvml_counter(power, "gpu:GPU-a", faults=(vanishes(8.0),))]
    )
    model = Sleeper(model_file, clock=clock, power=power, device_ids=("gpu:GPU-a",))
    with Session([profiler], clock=clock) as session:
        result = session.evaluate_inference(model)
    assert result.energy_per_inference_j is None
    assert result.energy_per_sample_j is None
    assert result.power_w is None
    assert [m.id for m in result.missing] == ["gpu:GPU-a"]
    assert not result.target_met
    assert any("gpu:GPU-a was lost" in warning for warning in result.warnings)
    assert [c.id for c in result.channels] == ["cpu:0/package"]


def test_an_interrupted_run_carries_its_result(model_file):
    clock, power = VirtualClock(), DrivenPower(20.0)
    profiler = SimulatedCounterProfiler(counters=[rapl_counter(power)])
    model = Sleeper(model_file, clock=clock, power=power)
    plain = model.synchronize

    def interrupt():
        plain()
        if model.ran == 300:
            raise KeyboardInterrupt

    model.synchronize = interrupt
    settings = LoopSettings(precision=1e-9)
    with Session([profiler], clock=clock) as session, pytest.raises(MeasurementInterrupted) as end:
        session.evaluate_inference(model, settings=settings)
    result = end.value.result
    assert not result.target_met
    assert result.energy_per_inference_j.value == pytest.approx(2.0, rel=0.02)
    assert any("interrupted" in warning for warning in result.warnings)


def test_a_gain_beyond_the_target_is_said(model_file):
    clock, power = VirtualClock(), DrivenPower(20.0)
    counter = rapl_counter(power, gain_uncertainty=0.05)
    with Session([SimulatedCounterProfiler(counters=[counter])], clock=clock) as session:
        result = session.evaluate_inference(Sleeper(model_file, clock=clock, power=power))
    figure = result.energy_per_inference_j
    assert (figure.high - figure.value) / figure.value == pytest.approx(0.098, rel=0.05)
    assert (figure.repeat_high - figure.value) / figure.value < 0.02
    assert any("repetition cannot help" in warning for warning in result.warnings)


def test_idle_power():
    clock = VirtualClock()
    with Session([two_sockets()], clock=clock) as session:
        figure = session.idle(2.0)
    assert figure.value == pytest.approx(130.0, rel=0.005)
    assert figure.low <= 130.0 <= figure.high


def test_measure_keeps_the_result_of_the_latest_call():
    clock = VirtualClock()
    seen = []

    @measure(profilers=[two_sockets()], on_result=seen.append)
    def work(a, b=1):
        """Docstring."""
        return a + b

    assert work.last is None
    assert work(2, b=3) == 5
    assert work.__doc__ == "Docstring."
    assert work.last is seen[0]
    assert clock.now() == 0.0


class Clumsy(CounterProfiler):
    name = "clumsy"
    priority = 99

    def connect(self):
        raise RuntimeError("off by one")

    def disconnect(self):
        pass

    def read(self, channel):
        return 0


class Steady(SimulatedCounterProfiler):
    name = "steady"
    automatic = True


def test_a_strangers_faulty_profiler_hides_no_other(monkeypatch):
    loaded = {"clumsy": Clumsy, "nothing": object(), "steady": Steady}
    monkeypatch.setattr(registry, "load_all", lambda group: (dict(loaded), {}))
    monkeypatch.setattr(registry, "load", lambda group, name: loaded[name])
    with Session(clock=VirtualClock()) as session:
        assert [c.id for c in session.channels] == ["cpu:0/package"]
        reasons = {s.profiler: s.reason for s in session.skipped}
    assert "RuntimeError: off by one" in reasons["clumsy"]
    assert "is no Profiler" in reasons["nothing"]


def test_a_sensor_slower_than_the_run_has_no_figure(model_file):
    """A wattmeter of 1 s beside a run of 1 s: its blocks look alike, ±0 % would be a lie."""
    clock, power = VirtualClock(), DrivenPower(20.0)
    profilers = [
        SimulatedCounterProfiler(counters=[rapl_counter(power)]),
        SimulatedPowerProfiler(gauges=[power_gauge(Constant(90.0))], sample_period_s=1.0),
    ]
    model = Sleeper(model_file, clock=clock, power=power)
    with Session(profilers, clock=clock) as session:
        short = session.evaluate_inference(model)
        long = session.evaluate_inference(model, settings=LoopSettings(min_time_s=15.0))
    assert short.energy_per_inference_j is not None
    assert [c.id for c in short.channels] == ["cpu:0/package"]
    (missing,) = short.missing
    assert "Measure for at least 8 s" in missing.reason
    assert [c.id for c in long.channels] == ["cpu:0/package", "wall:simulated"]


def test_the_total_interval_allows_for_the_power_while_sensors_are_read(model_file):
    """Reads of 1 ms at idle power dilute the figure by 0.2 %; its blocks differ by less."""
    clock, power = VirtualClock(), DrivenPower(0.0)
    counter = rapl_counter(power, faults=(Slow(seconds=1e-3),))
    model = Sleeper(model_file, clock=clock, power=power)
    with Session([SimulatedCounterProfiler(counters=[counter])], clock=clock) as session:
        result = session.evaluate_inference(model)
    figure = result.energy_per_inference_j
    assert figure.low <= 2.0 <= figure.high
