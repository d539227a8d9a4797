"""Telemetry beside the joules: windows, loops and epochs tell how their devices were."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from greenai_core import Session, dump
from greenai_core.blocks import Source
from greenai_core.conditions import LOOK_S, MOST_LOOKS, Observer, Series, observer
from greenai_core.errors import ReadingError
from greenai_core.figures import Observed
from greenai_core.loop import LoopSettings, run_loop
from greenai_core.observed import (
    BACKGROUND_SHARE,
    BackgroundObserver,
    joined,
    summarised,
    throttle_reasons,
)
from greenai_core.profiler import Observation, Telemetry
from greenai_core.raw_files import read_raw, write_raw
from greenai_core.run_costs import run_costs, sensors_of
from greenai_core.testing import (
    Constant,
    SimulatedCounterProfiler,
    SimulatedTelemetry,
    VirtualClock,
    rapl_counter,
)

GPU = "gpu:GPU-1"


class Board(SimulatedCounterProfiler, Telemetry):
    """A counter whose device is hotter each second, and slowed down from the fifth on."""

    lost = False

    def observe(self):
        t = self.clock.now()
        if self.lost:
            raise ReadingError("the board is lost")
        bits = 0x1 if t < 5 else 0x4 | 0x40
        return [
            Observation(GPU, "temperature", t, "°C"),
            Observation(GPU, "throttling", float(bits), "bits"),
        ]


def board():
    return Board(counters=[rapl_counter(Constant(50.0))])


def seen_of(observations):
    return {(one.device, one.quantity): one for one in observations}


def test_a_window_tells_how_its_devices_were_meanwhile():
    clock = VirtualClock()
    with Session([board()], clock=clock, observe=True) as session:
        clock.sleep(2.0)
        with session.window() as window:
            clock.sleep(2.0)
        with session.window() as later:
            clock.sleep(2.0)
    first, second = (seen_of(w.result.observations) for w in (window, later))
    heat = first[GPU, "temperature"]
    assert heat.unit == "°C"
    assert heat.looks == pytest.approx(2.0 / LOOK_S, abs=1.1)
    assert (heat.least, heat.mean, heat.most) == pytest.approx((2.1, 3.0, 3.95), abs=0.15)
    assert first[GPU, "throttling"].reasons == (), "idle slows nothing down"
    assert first[GPU, "throttling"].mean is None
    assert second[GPU, "throttling"].reasons == ("power cap", "thermal slowdown by hardware")
    assert second[GPU, "throttling"].bits == 0x1 | 0x4 | 0x40


def test_observations_change_no_joules_and_are_part_of_no_sum():
    results = []
    for observe in (False, True):
        clock = VirtualClock()
        with Session([board()], clock=clock, observe=observe) as session:
            with session.window() as window:
                clock.sleep(3.0)
            results.append(window.result)
    bare, watched = results
    assert bare.observations == ()
    assert watched.observations
    assert watched.energy_j == bare.energy_j == pytest.approx(150.0, abs=1e-2)


def test_a_window_pays_only_when_it_is_asked(monkeypatch):
    """To begin and end one never touches what was seen; its result takes it, once."""
    clock, taken = VirtualClock(), []
    between = BackgroundObserver.between
    monkeypatch.setattr(
        BackgroundObserver, "between", lambda *args: [taken.append(args), between(*args)][1]
    )
    with Session([board()], clock=clock, observe=True) as session:
        windows = [session.window() for _ in range(50)]
        for window in windows:
            with window:
                clock.sleep(0.1)
        assert not taken
        assert windows[0].result is windows[0].result
        assert len(taken) == 1


def test_a_window_too_short_to_look_tells_nothing():
    clock = VirtualClock()
    with Session([board()], clock=clock, observe=True) as session:
        clock.sleep(1.05)
        with session.window() as window:
            clock.sleep(0.01)
    assert window.result.observations == ()


def test_a_board_that_is_lost_takes_nothing_of_what_was_seen_before():
    clock, profiler = VirtualClock(), board()
    with Session([profiler], clock=clock, observe=True) as session, session.window() as window:
        clock.sleep(2.0)
        profiler.lost = True
        clock.sleep(2.0)
    heat = seen_of(window.result.observations)[GPU, "temperature"]
    assert heat.most <= 2.01
    assert window.result.energy_j == pytest.approx(200.0, abs=1e-2)


def test_whatever_a_telemetry_raises_ends_no_measurement():
    clock = VirtualClock()

    class Broken(Board):
        def observe(self):
            if self.clock.now() > 1:
                raise RuntimeError("a bug of the plugin")
            return super().observe()

    broken = Broken(counters=[rapl_counter(Constant(50.0))])
    with Session([broken], clock=clock, observe=True) as session, session.window() as window:
        clock.sleep(3.0)
    assert window.result.energy_j == pytest.approx(150.0, abs=1e-2)


def test_the_observer_ends_with_the_session():
    clock, profiler = VirtualClock(), board()
    with Session([profiler], clock=clock, observe=True) as session:
        looker = session._observer
        clock.sleep(1.0)
    assert looker._ticker is None
    clock.sleep(1.0)
    assert looker.between(1.0, 2.0) == ()


def test_an_interrupt_of_the_first_look_leaves_nothing_open():
    class Interrupted(Board):
        def observe(self):
            raise KeyboardInterrupt

    profiler = Interrupted(counters=[rapl_counter(Constant(50.0))])
    session = Session([profiler], clock=VirtualClock(), observe=True)
    with pytest.raises(KeyboardInterrupt):
        session.open()
    assert not profiler.is_open


def test_a_session_that_observes_not_starts_nothing():
    with Session([board()], clock=VirtualClock()) as session:
        assert session._observer is None


# Repeated work


def run(profiler, clock):
    profiler.open(clock)
    sources = [Source(profiler, profiler.channels)]
    ids = [channel.id for channel in profiler.channels]
    settings = LoopSettings(max_time_s=8.0, min_time_s=7.0)
    watcher = observer([profiler], clock)
    made = run_loop(lambda: clock.sleep(0.01), sources, ids, clock, settings, observer=watcher)
    return made, run_costs(made, sensors_of(sources, made.blocks), ids, settings)


def test_repeated_work_tells_how_its_devices_were():
    clock, profiler = VirtualClock(), board()
    made, costs = run(profiler, clock)
    profiler.close()
    heat, throttling = costs.observations
    begun, ended = made.readings.begun_s, made.readings.before[-1]
    assert (heat.device, heat.quantity) == (GPU, "temperature")
    assert begun < heat.least < heat.most <= ended
    assert heat.mean == pytest.approx((begun + ended) / 2, abs=2 * LOOK_S)
    assert throttling.reasons == ("power cap", "thermal slowdown by hardware")


def test_what_was_seen_is_kept_with_the_raw_readings(tmp_path):
    clock = VirtualClock()
    with Session([board()], clock=clock, observe=True) as session, session.window() as window:
        clock.sleep(2.0)
    from greenai_core.kept_windows import KeptWindows

    write_raw(KeptWindows((window.kept,)), tmp_path / "raw.npz")
    (again,) = read_raw(tmp_path / "raw.npz").windows
    assert again.result() == window.result
    assert again.result().observations


# The background


def test_looks_that_are_dear_become_rarer():
    clock = VirtualClock()
    dear = SimulatedTelemetry(clock, {"clock": (lambda t: 1.0, "MHz")})
    ask = dear.observe
    dear.observe = lambda: [clock.lapse(0.001), *ask()][1:]
    looker = BackgroundObserver([dear], clock)
    looker.open()
    clock.sleep(60.0)
    looker.close()
    (series,) = looker.between(0.0, 60.0)
    assert 0.001 < series.took.sum() / 60 <= 1.1 * BACKGROUND_SHARE


def test_days_of_looks_take_bounded_memory():
    clock = VirtualClock()
    watcher = Observer(
        (),
        clock,
        telemetry=[SimulatedTelemetry(clock, {"clock": (lambda t: t, "MHz")}).observe],
        telemetry_s=LOOK_S,
    )
    for _ in range(2 * MOST_LOOKS):
        clock.lapse(LOOK_S)
        watcher.look(clock.now())
    (series,) = watcher.between(0.0, clock.now())
    assert len(series.values) <= MOST_LOOKS
    assert np.all(series.values == series.instants)
    assert np.all(np.diff(series.instants) > 0)
    found = summarised((series,), 0.0, clock.now())[0]
    assert found.mean == pytest.approx(clock.now() / 2, rel=0.001), "old looks stand for longer"


# Figures


def series(quantity, instants, values):
    return Series(GPU, quantity, np.array(instants), np.array(values), np.zeros(len(values)), "%")


def test_a_mean_is_over_time_not_over_looks():
    """30 % for 1 s, then 90 % for 9 s: looks that came late count for the time they stand for."""
    (found,) = summarised([series("utilisation", [1.0, 10.0], [30.0, 90.0])], 0.0, 10.0)
    assert (found.mean, found.least, found.most, found.looks) == (84.0, 30.0, 90.0, 2)


def test_only_looks_inside_count():
    one = series("utilisation", [0.0, 1.0, 2.0, 3.0], [1.0, 2.0, 3.0, 4.0])
    (found,) = summarised([one], 0.0, 2.0)
    assert (found.least, found.most) == (2.0, 3.0)
    assert summarised([one], 3.0, 9.0) == ()


def test_reasons_have_names_and_unknown_bits_keep_their_number():
    assert throttle_reasons(0) == throttle_reasons(0x1) == ()
    assert throttle_reasons(0x24) == ("power cap", "thermal slowdown")
    assert throttle_reasons(0x1004) == ("power cap", "unknown reason 0x1000")


def test_stretches_are_joined_by_their_looks():
    a = Observed("host", "clock", "MHz", 1, 100.0, 50.0, 150.0)
    b = Observed("host", "clock", "MHz", 3, 200.0, 180.0, 220.0)
    hot = [Observed(GPU, "throttling", "bits", 1, reasons=("x",), bits=bit) for bit in (0x4, 0x40)]
    clock, throttling = joined([(a, hot[0]), (b, hot[1])])
    assert (clock.looks, clock.mean, clock.least, clock.most) == (4, 175.0, 50.0, 220.0)
    assert throttling.reasons == ("power cap", "thermal slowdown by hardware")
    assert joined([]) == joined([(), ()]) == ()


def test_means_stay_within_their_bounds():
    """Whatever rounding does: the schema promises least <= mean <= most."""
    for value, count in itertools.product((0.1, 1e9 / 3, 99.999), (1, 3, 7)):
        at = np.cumsum(np.full(count, 0.1))
        (found,) = summarised([series("clock", at, [value] * count)], 0.0, 1e9)
        assert found.least <= found.mean <= found.most


def test_sample_reports_show_them():
    from greenai_core.testing.sample_reports import sample_report

    assert '"power cap"' in dump(sample_report("measure"))
