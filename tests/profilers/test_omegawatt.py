"""The live OmegaWatt profiler: on simulated time, and on a real pseudo-terminal."""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from pathlib import Path

import pytest

from greenai_core import ConfigError, PluginUnavailable, Session
from greenai_core.testing import Sine, VirtualClock
from greenai_core.testing.omegawatt import (
    MAGIC,
    SimulatedOmegawatt,
    interference,
    sealed,
    wired,
)
from greenai_core.testing.profiler_suite import StreamConformance
from greenai_core.testing.profiles import SquareWave
from greenai_plugins.profilers.omegawatt import OmegawattProfiler
from greenai_plugins.profilers.omegawatt_clock import MeterClock
from greenai_plugins.profilers.omegawatt_means import Means

pytest.importorskip("serial")


class TestConformance(StreamConformance):
    """One plug under a load that changes."""

    window_s = 4.0

    def make_hardware(self):
        self.clock = VirtualClock(100.0)
        self.meter = SimulatedOmegawatt(Sine(200, 80, 0.7), clock=self.clock, jitter_s=0.015)

    def make_profiler(self):
        return OmegawattProfiler(port="ttyFake", plugs=1, open_port=self.meter.open_port)

    def make_absent(self):
        return OmegawattProfiler(port="/dev/nowhere", plugs=1)

    def true_energy(self, start, end, channel):
        return self.meter.energy_j(start, end)

    def break_sensor(self, channel):
        self.meter.unplugged = True


@pytest.fixture
def clock():
    return VirtualClock(100.0)


def profiler_of(meter, **options):
    return OmegawattProfiler(
        **{"port": "ttyFake", "plugs": 1, "open_port": meter.open_port, **options}
    )


def measured(meter, clock, seconds, **options):
    """One window: its result, and the true joules of the first plug."""
    with Session([profiler_of(meter, **options)], clock=clock) as session:
        clock.sleep(0.3)
        start = clock.now()
        with session.window() as window:
            clock.sleep(seconds)
        result = window.result
        return result, meter.energy_j(start, start + result.duration_s), session.notes()


@pytest.mark.parametrize("jitter_s", [0.0, 0.016, 0.04])
@pytest.mark.parametrize("drift", [0.0, 1e-4, -1e-4])
def test_frames_are_put_where_they_belong_in_time(drift, jitter_s, clock):
    """A step of power inside a long window would show an error of the stamps as energy."""
    meter = SimulatedOmegawatt(
        SquareWave(100, 500, 1.3), clock=clock, drift=drift, jitter_s=jitter_s
    )
    with Session([profiler_of(meter)], clock=clock) as session:
        clock.sleep(40)
        for _ in range(20):
            clock.sleep(0.0717)
            start = clock.now()
            with session.window() as window:
                clock.sleep(0.5)
            truth = meter.energy_j(start, start + window.result.duration_s)
            # 400 W × 12 ms: half a sample, and what the alignment leaves.
            assert window.result.energy_j == pytest.approx(truth, abs=400 * 0.012)


def test_a_meter_that_does_not_tell_its_pace(clock):
    """Its delta is how long a frame waited; the pace is learnt from the arrivals alone."""
    meter = SimulatedOmegawatt(SquareWave(100, 500, 1.3), clock=clock, jitter_s=0.016)
    waited = round(0.002 * 2**32).to_bytes(4, "little")
    meter.harm = lambda n, content: sealed(content[6:8] + waited + content[12:-1])
    with Session([profiler_of(meter)], clock=clock) as session:
        for pause_s in (0.2, 1.1, 2.3, 40.0):
            clock.sleep(pause_s)
            start = clock.now()
            with session.window() as window:
                clock.sleep(0.5)
            truth = meter.energy_j(start, start + window.result.duration_s)
            assert window.result.energy_j == pytest.approx(truth, abs=400 * 0.02)


def test_lost_frames_do_not_shift_those_after_them(clock):
    meter = SimulatedOmegawatt(Sine(200, 80, 0.7), clock=clock)
    meter.harm = lambda n, content: b"" if n % 7 == 3 else content
    result, truth, notes = measured(meter, clock, 30.0)
    assert result.energy_j == pytest.approx(truth, rel=2e-3)
    assert "frames" in notes[0]
    assert "lost or damaged" in notes[0]


@pytest.mark.parametrize("fraction", [0.01, 0.1])
def test_bits_that_turn_over_cost_frames_and_nothing_else(fraction, clock):
    meter = SimulatedOmegawatt(Sine(200, 80, 0.7), clock=clock)
    meter.harm = interference(fraction)
    result, truth, notes = measured(meter, clock, 20.0)
    assert result.energy_j == pytest.approx(truth, rel=2e-3)
    assert "wrong checksums" in notes[0]


def test_a_meter_whose_ids_do_not_count(clock):
    """Then the bytes of damaged frames tell how many were lost."""
    meter = SimulatedOmegawatt(Sine(200, 80, 0.7), clock=clock)

    def harm(n, content):
        if n % 50 == 20:
            return bytes(len(content))
        return sealed((42).to_bytes(2, "little") + content[8:-1])

    meter.harm = harm
    result, truth, notes = measured(meter, clock, 20.0)
    assert result.energy_j == pytest.approx(truth, rel=2e-3)
    assert "40 were lost" in notes[0] or "41 were lost" in notes[0]


def test_a_hole_is_told_with_the_number_of_frames(clock):
    meter = SimulatedOmegawatt(100.0, clock=clock)
    with Session([profiler_of(meter)], clock=clock) as session, session.window() as window:
        clock.sleep(1.0)
        meter.harm = lambda n, content: b""
        clock.sleep(0.25)
        meter.harm = lambda n, content: content
        clock.sleep(1.0)
    (missing,) = window.result.missing
    assert "gave no power for 0.3 s" in missing.reason
    assert "frames of 10 ms lost" in missing.reason
    assert "ttyFake" in missing.reason


def test_frames_from_before_the_opening_are_thrown_away(clock):
    """The adapter keeps old ones; they would be dated as new."""
    meter = SimulatedOmegawatt([1000.0], clock=clock)
    clock.sleep(5.0)
    meter.plugs[0] = Sine(100, 0, 1)
    profiler = profiler_of(meter)
    profiler.open(clock)
    clock.sleep(0.5)
    assert max(profiler.series[0].watts) < 101
    assert profiler.notes() == []
    profiler.close()


def test_energy_that_is_given_back_for_a_moment_counts(clock):
    """Half cycles of −50 W among those of 150 W: the mean is what was used."""
    meter = SimulatedOmegawatt(SquareWave(-50, 150, 0.08), clock=clock)
    result, truth, _ = measured(meter, clock, 10.0)
    assert result.energy_j == pytest.approx(truth, rel=0.01)


def test_means_keep_the_energy_and_never_give_a_negative_power():
    means = Means("wall:x", 0.01)
    watts = [50, 60, -80, -10, 20, 100, 70, 60]
    found = [one for n, w in enumerate(watts) for one in means.add(n / 100, w)]
    assert sum(w for _, w in found) * 2 == pytest.approx(sum(watts))
    assert min(w for _, w in found) >= 0
    assert [t for t, _ in found] == pytest.approx([0.005, 0.025, 0.045, 0.065])


def test_plugs_are_added_or_told_apart(clock):
    meter = SimulatedOmegawatt([100.0, 50.0, 7.0], clock=clock)
    result, _, _ = measured(meter, clock, 2.0, plugs="1+2", label="server")
    assert result.energy_j == pytest.approx(300, rel=1e-3)
    assert result.contains == ("wall:server",)
    result, _, _ = measured(meter, clock, 2.0, plugs="psu1=1,psu2=3", part_of="server")
    assert result.energy_j == pytest.approx(214, rel=1e-3)
    assert result.contains == ("wall:psu1", "wall:psu2")


def test_a_plug_that_is_not_named_is_asked_for_with_what_each_shows(clock):
    meter = SimulatedOmegawatt([231.0, 0.0, 12.0], clock=clock)
    with pytest.raises(
        PluginUnavailable, match="plug 1: 231 W, plug 2: 0 W, plug 3: 12 W"
    ) as caught:
        profiler_of(meter, plugs="").open(clock)
    assert "omegawatt.plugs=1" in caught.value.hint
    with pytest.raises(ConfigError, match="no plug 7"):
        profiler_of(meter, plugs=7).open(clock)


def test_the_error_of_the_full_scale_weighs_more_at_low_power(clock):
    gains = []
    for watts in (20.0, 2000.0):
        profiler = profiler_of(SimulatedOmegawatt(watts, clock=clock))
        profiler.open(clock)
        clock.sleep(2)
        gains.append(profiler.revised(profiler.channels[0]).gain_uncertainty)
        profiler.close()
    assert gains[0] == pytest.approx(math.hypot(0.015, 0.0002 * 11000 / 20) / math.sqrt(3))
    assert gains[1] == pytest.approx(0.015 / math.sqrt(3), rel=0.01)
    profiler = profiler_of(SimulatedOmegawatt(20.0, clock=clock), gain=0.002)
    profiler.open(clock)
    clock.sleep(2)
    assert profiler.revised(profiler.channels[0]).gain_uncertainty == 0.002
    profiler.close()


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda n, content: b"", "sends nothing"),
        (lambda n, content: b"hello world", "holds no frame"),
        (lambda n, content: content[:-1] + b"\x00", "wrong checksums"),
        (lambda n, content: MAGIC + b"\xff\xff" + content, "bytes outside of frames"),
    ],
)
def test_what_is_no_meter_is_refused_when_opened(harm, reason, clock):
    meter = SimulatedOmegawatt(100.0, clock=clock)
    meter.harm = harm
    profiler = profiler_of(meter)
    if reason == "bytes outside of frames":
        profiler.open(clock)  # good frames among rubbish are found
        profiler.close()
        return
    with pytest.raises(PluginUnavailable, match=reason):
        profiler.open(clock)
    assert not profiler.is_open


def test_a_meter_that_is_unplugged_while_it_is_opened(clock):
    """A real port says so with an error of its own, which is no OSError."""
    import termios

    meter = SimulatedOmegawatt(100.0, clock=clock)

    def gone():
        raise termios.error(5, "Input/output error")

    meter.reset_input_buffer = gone
    with pytest.raises(PluginUnavailable, match=r"ttyFake fails: .*Input/output error"):
        profiler_of(meter).open(clock)


def test_another_number_of_modules_than_told_is_refused(clock):
    with pytest.raises(PluginUnavailable) as caught:
        profiler_of(SimulatedOmegawatt(100.0, clock=clock), modules=2).open(clock)
    assert "impossible lengths" in caught.value.reason
    assert "modules=2" in caught.value.hint


@pytest.mark.parametrize(
    "options",
    [
        {"plugs": "one"},
        {"plugs": "1,2"},
        {"plugs": "1+1"},
        {"plugs": "0"},
        {"plugs": "a/b=1"},
        {"plugs": "=1"},
        {"label": "a/b"},
        {"gain": -1},
        {"modules": 0},
        {"part_of": "x y"},
    ],
)
def test_options_that_cannot_be_used(options):
    with pytest.raises(ConfigError):
        OmegawattProfiler(**options)


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (PermissionError(13, "Permission denied"), "usermod -aG"),
        (FileNotFoundError(2, "No such file or directory"), "Plug the meter in"),
        (OSError(16, "Device or resource busy"), "omegawatt-log"),
    ],
)
def test_a_port_that_cannot_be_opened_has_its_remedy(error, hint):
    def refuse(name):
        raise error

    with pytest.raises(PluginUnavailable) as caught:
        OmegawattProfiler(port="/dev/ttyUSB9", plugs=1, open_port=refuse).check_available()
    assert hint in caught.value.hint
    assert "/dev/ttyUSB9" in caught.value.reason


# The line from the meter's samples to our clock


def test_the_quickest_arrivals_carry_the_line():
    import random

    delays = random.Random(3)
    clock = MeterClock(0.0100, True, 0, 5.0)
    for tick in range(1, 3000):
        clock.see(tick, 5.0 + tick * 0.01001 + delays.uniform(0, 0.03))
    assert clock.at(3000) == pytest.approx(5.0 + 3000 * 0.01001, abs=0.004)
    assert clock.realigned == 0


def test_a_clock_that_stood_still_makes_the_line_begin_again():
    clock = MeterClock(0.01, True, 0, 5.0)
    for tick in range(1, 300):
        clock.see(tick, 5.0 + tick * 0.01)
    for tick in range(300, 600):
        clock.see(tick, 7.0 + tick * 0.01)
    assert clock.realigned == 1
    assert clock.at(600) == pytest.approx(13.0, abs=0.01)
    for tick in range(600, 700):
        clock.see(tick, 5.0 + tick * 0.01)
    assert clock.realigned == 2
    assert clock.at(700) == pytest.approx(12.0, abs=0.01)


# On a real pseudo-terminal, in real time


def test_live_on_a_pseudo_terminal():
    """pyserial, the kernel's line discipline and real arrival times are in the way."""
    meter = SimulatedOmegawatt(SquareWave(100, 300, 0.8), clock=_RealClock())
    with wired(meter) as port:
        profiler = OmegawattProfiler(port=str(port), plugs=1)
        profiler.check_available()
        with Session([profiler]) as session:
            start = time.perf_counter()
            with session.window() as window:
                time.sleep(1.0)
            result = window.result
            truth = meter.energy_j(start, start + result.duration_s)
    assert result.energy_j is not None, result.missing
    assert result.energy_j == pytest.approx(truth, abs=200 * 0.03 + 0.01 * truth)


def test_a_process_that_cannot_keep_up_says_how_much_it_lost():
    """The kernel keeps 64 KiB; what follows is lost, and the frame at its end is cut."""
    plugs = [SquareWave(100, 300, 0.8), *[0.0] * 95]  # 16 modules: 80 kB/s
    meter = SimulatedOmegawatt(plugs, clock=_RealClock())
    with wired(meter) as port, Session([OmegawattProfiler(port=str(port), plugs=1)]) as session:
        profiler = session.sources[0].profiler
        with session.window() as outer:
            time.sleep(0.2)
            with profiler.lock:  # what a process that is stopped looks like from here
                time.sleep(1.8)
            time.sleep(0.3)
        start = time.perf_counter()
        with session.window() as after:
            time.sleep(0.8)
        truth = meter.energy_j(start, start + after.result.duration_s)
        assert outer.result.energy_j is None
        assert "frames of 10 ms lost" in outer.result.missing[0].reason
        assert after.result.energy_j == pytest.approx(truth, abs=200 * 0.03 + 0.01 * truth)
        assert "lost or damaged" in session.notes()[0]


def test_a_port_that_another_program_reads_is_refused():
    meter = SimulatedOmegawatt(100.0, clock=_RealClock())
    with wired(meter) as port:
        first = OmegawattProfiler(port=str(port), plugs=1)
        first.open()
        with pytest.raises(PluginUnavailable, match=str(port)) as caught:
            OmegawattProfiler(port=str(port), plugs=1).check_available()
        assert "omegawatt-log" in caught.value.hint
        first.close()


def test_the_port_is_given_back():
    meter = SimulatedOmegawatt(100.0, clock=_RealClock())
    with wired(meter) as port:
        before = open_files(port)
        profiler = OmegawattProfiler(port=str(port), plugs="")
        with pytest.raises(PluginUnavailable):
            profiler.open()
        assert open_files(port) == before


def open_files(port):
    """How often this process has the port open; what else it has open is closed at any time."""
    links = (str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink())
    return Counter(links)[os.path.realpath(port)]


class _RealClock:
    now = staticmethod(time.perf_counter)
    sleep = staticmethod(time.sleep)
