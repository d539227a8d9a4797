"""The simulated hardware itself: profiles integrate to what they say, sensors show it."""

import errno
import math

import numpy as np
import pytest

from greenai_core import PluginUnavailable, PowerCapError, ReadingError
from greenai_core.clock import SYSTEM_CLOCK
from greenai_core.testing import (
    Bursts,
    Constant,
    DrivenPower,
    Fails,
    Gives,
    Latch,
    PowercapTree,
    Ramp,
    Resets,
    SimulatedLimiter,
    SimulatedTelemetry,
    SimulatedWork,
    Sine,
    Slow,
    SquareWave,
    Step,
    Sticks,
    Sum,
    VirtualClock,
    power_gauge,
    rapl_counter,
)


def driven():
    power = DrivenPower(10.0)
    for t, watts in ((0.5, 90.0), (1.25, 10.0), (2.0, 40.0)):
        power.set(t, watts)
    return power


PROFILES = [
    Constant(42.0),
    Step(10.0, 70.0, 1.1),
    SquareWave(5.0, 80.0, 0.3, duty=0.25, phase_s=0.07),
    Sine(50.0, 20.0, 0.4, phase_s=0.1),
    Ramp(10.0, 90.0, 0.5, 1.7),
    Bursts.at_random(10.0, 90.0, 3.0, 0.1, 0.2, seed=1),
    Sum((Constant(5.0), Step(1.0, 2.0, 1.0))),
    driven(),
]


@pytest.mark.parametrize("profile", PROFILES, ids=lambda p: type(p).__name__)
@pytest.mark.parametrize(("start", "end"), [(0.0, 3.0), (0.33, 0.34), (0.61, 2.77), (1.0, 1.0)])
def test_energy_is_the_integral_of_power(profile, start, end):
    n = 50_000
    middles = start + (np.arange(n) + 0.5) * (end - start) / n
    numerical = sum(map(profile.power, middles.tolist())) * (end - start) / n
    assert profile.energy(start, end) == pytest.approx(numerical, rel=1e-3, abs=1e-9)


def test_driven_power_does_not_go_back():
    with pytest.raises(ValueError, match="already set"):
        driven().set(1.0, 5.0)


def test_latch_jitters_without_drifting():
    latch = Latch(0.1, jitter=0.2, phase_s=0.03, seed=4)
    updates = sorted({latch.before(t / 1000) for t in range(100_000)})
    gaps = np.diff(updates)
    assert 0.08 <= gaps.min() < 0.09
    assert 0.11 < gaps.max() <= 0.12
    assert updates[-1] - updates[0] == pytest.approx((len(updates) - 1) * 0.1, abs=0.02)
    assert all(latch.before(t) <= t for t in (0.0, 0.05, 1.0, 7.77))


def test_counter_shows_the_energy_at_its_latest_update_in_whole_steps():
    counter = rapl_counter(Constant(100.0), gain=1.05)
    for t in (0.0005, 0.0015, 1.2345, 100.0001):
        steps = math.floor(1.05 * 100.0 * math.floor(t * 1000 + 1e-9) / 1000 / 61.035e-6 + 1e-9)
        assert counter.count(t) == math.floor(steps * 61.035)


def test_counter_wraps():
    counter = rapl_counter(Constant(100.0), wraps_at=1_000_000)
    assert counter.count(1.0) < 1_000_000
    assert counter.count(1.0) == rapl_counter(Constant(100.0), wraps_at=None).count(1.0) % 1_000_000


def test_faults_of_counters():
    clock = VirtualClock(start_s=2.0)

    def shows(*faults):
        return rapl_counter(Constant(10.0), faults=faults).read(clock)

    plain = rapl_counter(Constant(10.0))
    for number in (errno.EIO, errno.EACCES, errno.ENODEV):
        with pytest.raises(OSError, match="simulated") as caught:
            shows(Fails(1.0, number=number))
        assert caught.value.errno == number
    assert shows(Fails(0.0, 1.0)) == shows() == plain.count(2.0)
    assert shows(Sticks(1.0)) == plain.count(1.0)
    assert shows(Resets(1.5)) == pytest.approx(plain.count(0.5), abs=62)
    assert [shows(Gives(value=-7)), shows(Gives())] == [-7, 0]
    before = clock.now()
    shows(Slow(seconds=0.2))
    assert clock.now() == before + 0.2


def test_gauge_gives_nan():
    gauge = power_gauge(Constant(10.0), faults=(Gives(value=math.nan),))
    assert math.isnan(gauge.read(VirtualClock()))


def test_work_takes_its_time_and_drives_the_power():
    clock, power = VirtualClock(), DrivenPower(20.0)
    work = SimulatedWork(clock, 0.01, power=power, busy_w=120.0)
    for _ in range(10):
        work()
    clock.sleep(0.4)
    assert clock.now() == pytest.approx(0.5)
    assert power.energy(0.0, 0.5) == pytest.approx(0.1 * 120 + 0.4 * 20)


def test_work_varies_and_warms_up_as_told():
    clock = VirtualClock()
    work = SimulatedWork(clock, 0.01, cv=0.05, warm_up=0.5, warm_up_calls=10, seed=3)
    lengths = []
    for _ in range(2000):
        before = clock.now()
        work("any", argument=True)
        lengths.append(clock.now() - before)
    late = np.array(lengths[200:])
    assert late.mean() == pytest.approx(0.01, rel=0.01)
    assert late.std() / late.mean() == pytest.approx(0.05, rel=0.15)
    assert np.mean(lengths[:5]) > 1.25 * late.mean()


def test_limiter_obeys_within_its_range():
    told = []
    limiter = SimulatedLimiter(on_set=lambda device, watts: told.append((device, watts)))
    with pytest.raises(PowerCapError, match="not open"):
        limiter.limits()
    limiter.open()
    limiter.set_limit("gpu:GPU-0", 250.0)
    assert limiter.limits()[0].current_w == 250.0
    assert told == [("gpu:GPU-0", 250.0)]
    with pytest.raises(PowerCapError, match="100 W to 400 W"):
        limiter.set_limit("gpu:GPU-0", 50.0)
    with pytest.raises(PowerCapError, match="no device"):
        limiter.set_limit("gpu:GPU-1", 250.0)
    with pytest.raises(PluginUnavailable):
        SimulatedLimiter(present=False).open()
    stubborn = SimulatedLimiter(stubborn_w=300.0)
    stubborn.open()
    with pytest.raises(PowerCapError, match="kept 300 W"):
        stubborn.set_limit("gpu:GPU-0", 250.0)


def test_telemetry_tells_functions_of_time():
    clock = VirtualClock(start_s=3.0)
    telemetry = SimulatedTelemetry(clock, {"temperature": (lambda t: 40 + t, "°C")})
    assert [(o.quantity, o.value, o.unit) for o in telemetry.observe()] == [
        ("temperature", 43.0, "°C")
    ]
    with pytest.raises(ReadingError):
        SimulatedTelemetry(clock, {"clock": (lambda t: math.nan, "MHz")}).observe()


def test_powercap_tree_looks_like_the_kernels(tmp_path):
    with PowercapTree.xeon(tmp_path / "powercap", package=100.0) as tree:
        flat, nested = tree.root / "intel-rapl:1:0", tree.root / "intel-rapl/intel-rapl:1"
        assert flat.is_symlink()
        assert (flat / "name").read_text() == "dram\n"
        assert (nested / "intel-rapl:1:0/name").read_text() == "dram\n"
        assert (nested / "max_energy_range_uj").read_text() == "262143328850\n"
        assert (nested / "constraint_0_power_limit_uw").read_text() == "205000000\n"
        before = int((nested / "energy_uj").read_text())
        tree.update(2.0)
        assert int((nested / "energy_uj").read_text()) - before == pytest.approx(200e6, abs=62)
        assert tree.energy("intel-rapl:1", 0.0, 2.0) == 200.0


def test_powercap_tree_follows_real_time(tmp_path):
    """A daemon thread moves the counters, for readers in other processes."""
    with PowercapTree.desktop(tmp_path / "powercap", package=100.0) as tree:
        start = SYSTEM_CLOCK.now()
        ticker = tree.drive(SYSTEM_CLOCK)
        before = int(tree.energy_file("intel-rapl:0").read_text())
        while int(tree.energy_file("intel-rapl:0").read_text()) - before < 1e6:
            assert SYSTEM_CLOCK.now() - start < 20, "the counter does not move"
            SYSTEM_CLOCK.sleep(1e-3)
        ticker.cancel()
        assert SYSTEM_CLOCK.now() - start >= 0.009
