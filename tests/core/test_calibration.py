"""Calibration: the line, what it does to figures, and how it is kept."""

from __future__ import annotations

import datetime
import json
import math
import os
import random
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from greenai_core import CalibrationError, Channel, Session, stored_calibrations
from greenai_core.calibration import (
    Calibration,
    Stair,
    calibrated,
    check_pair,
    chi2_quantile_99,
    fit_line,
    slope_of_rest,
)
from greenai_core.calibration_files import default_folder, doubts, keep, read_shelf, without
from greenai_core.environment import machine_identity
from greenai_core.loads import BurnerLoad, cpu_commands
from greenai_core.loop import LoopSettings
from greenai_core.staircase import climb, plan
from greenai_core.testing import (
    Constant,
    DrivenPower,
    Gives,
    Latch,
    SimulatedCounterProfiler,
    SimulatedPowerProfiler,
    VirtualClock,
    nvml_counter,
    power_gauge,
    rapl_counter,
)

GPU, METER = "gpu:GPU-sim", "wall:riser"
NVML_GAIN, METER_GAIN = 0.056, 0.005
NOW = datetime.datetime(2026, 11, 22, 12, tzinfo=datetime.timezone.utc)


def stairs(gain=0.95, offset=3.0, noise=0.0, powers=(20, 60, 110, 150, 200, 260), seed=1):
    """Points on the line meter = gain · sensor + offset, with errors in both directions."""
    draw = random.Random(seed)
    found = []
    for level, sensor_w in enumerate(powers):
        ux, uy = noise * sensor_w + 0.1, noise * sensor_w / 2 + 0.1
        x = sensor_w + (draw.gauss(0, ux) if noise else 0.0)
        y = gain * sensor_w + offset + (draw.gauss(0, uy) if noise else 0.0)
        found.append(Stair(level / 10, 20.0, x, y, ux, uy))
    return tuple(found)


def calibration(points=None, channel=GPU, scope="part", u_meter=METER_GAIN, **more):
    points = points or stairs()
    return Calibration(
        channel=channel,
        profiler="sim",
        meter=METER,
        scope=scope,
        date=NOW.isoformat(),
        line=fit_line(points),
        u_meter=u_meter,
        u_rest=slope_of_rest(points) if scope == "wall" else 0.0,
        stairs=points,
        software="0",
        **more,
    )


# The line


def test_a_straight_line_without_errors_is_found_exactly():
    line = fit_line(stairs(0.93, -4.0))
    assert (line.gain, line.offset_w) == pytest.approx((0.93, -4.0))
    assert line.straight
    assert line.lack_w == 0.0


@pytest.mark.parametrize("seed", range(5))
def test_the_line_and_its_covariance_are_those_of_orthogonal_distance_regression(seed):
    """An implementation of others: ODRPACK, through SciPy."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        odr = pytest.importorskip("scipy.odr")
    points = stairs(noise=0.01, seed=seed)
    x, y, ux, uy = (
        [getattr(p, n) for p in points] for n in ("sensor_w", "meter_w", "u_sensor_w", "u_meter_w")
    )
    model = odr.Model(lambda beta, x: beta[0] * x + beta[1])
    other = odr.ODR(odr.RealData(x, y, ux, uy), model, [1.0, 0.0]).run()
    line = fit_line(points)
    assert (line.gain, line.offset_w) == pytest.approx(tuple(other.beta), rel=1e-5, abs=1e-4)
    assert line.chi2_per_nu == pytest.approx(other.res_var, rel=1e-4)
    if line.chi2_per_nu < 1:
        assert line.u_gain == pytest.approx(math.sqrt(other.cov_beta[0, 0]), rel=0.01)
        assert line.u_offset_w == pytest.approx(math.sqrt(other.cov_beta[1, 1]), rel=0.01)
        assert line.covariance_w == pytest.approx(other.cov_beta[0, 1], rel=0.02)


def test_errors_that_sensor_and_meter_share_are_none_of_the_line():
    """A load that is not steady moves both; told of it, the fit is not fooled."""
    plain = fit_line(stairs(0.95, 3.0))
    shared = tuple(replace(s, u_sensor_w=5.0, u_meter_w=5.0 * 0.95) for s in stairs(0.95, 3.0))
    known = fit_line([replace(s, correlation=0.9) for s in shared])
    assert known.gain == pytest.approx(plain.gain)
    assert known.u_gain == pytest.approx(math.sqrt(0.1) * fit_line(shared).u_gain, rel=0.05)


def test_the_interval_of_the_gain_holds_it_in_95_of_100_draws():
    """500 draws: 93 % at least; more than 95 %, since scatter widens and never narrows."""
    inside = 0
    for seed in range(500):
        powers = np.linspace(20, 300, 12)
        line = fit_line(stairs(0.95, 3.0, noise=0.01, powers=powers, seed=seed))
        inside += abs(line.gain - 0.95) <= 1.96 * line.u_gain
    assert 465 <= inside <= 492


def test_stairs_that_do_not_lie_on_a_line_widen_and_say_so():
    """A sensor that saturates: wherever the line is used it is off by as much as a stair was."""
    bent = [replace(s, meter_w=s.meter_w + 4e-4 * (s.sensor_w - 140) ** 2) for s in stairs()]
    line = fit_line(bent)
    assert not line.straight
    assert line.chi2_per_nu > 10
    assert line.lack_w > 1.0
    made = calibration(tuple(bent))
    for stair in bent:
        off = abs(made.watts(stair.sensor_w) - stair.meter_w)
        assert off <= 1.96 * made.relative_u(stair.sensor_w) * made.watts(stair.sensor_w)


def test_the_quantile_of_the_residual_test_is_that_of_scipy():
    stats = pytest.importorskip("scipy.stats")
    for nu in (2, 4, 10, 40):
        assert chi2_quantile_99(nu) == pytest.approx(stats.chi2.ppf(0.99, nu), rel=0.02)


@pytest.mark.parametrize(
    ("points", "said"),
    [
        (stairs()[:3], "too few"),
        (stairs(powers=(100, 101, 102, 103)), "spans only"),
        (stairs(powers=(180, 190, 200, 210)), "spans only"),
        (tuple(replace(s, sensor_w=50.0) for s in stairs()), "stuck"),
        (tuple(replace(s, meter_w=300 - s.meter_w) for s in stairs()), "does not follow"),
        (tuple(replace(s, meter_w=100.0) for s in stairs()), "spans only"),
    ],
)
def test_what_gives_no_line_is_refused(points, said):
    with pytest.raises(CalibrationError, match=said):
        fit_line(points)


@pytest.mark.parametrize(
    ("sensor", "meter", "same", "u", "said"),
    [
        (("gpu:1", "gpu"), ("gpu:1", "gpu"), False, 0.01, "against itself"),
        (("gpu:1", "gpu"), ("wall:a", "wall", "modelled"), False, 0.01, "wall:a is modelled"),
        (("m:1", "gpu", "modelled"), ("wall:a", "wall"), False, 0.01, "m:1 is modelled"),
        (("gpu:1", "gpu"), ("psys", "psys"), True, 0.01, "same profiler"),
        (("psys", "psys"), ("wall:a", "wall"), False, 0.01, "no part"),
        (("gpu:1", "gpu"), ("wall:a", "wall"), False, None, "--meter-uncertainty"),
    ],
)
def test_a_meter_that_is_none_is_refused(sensor, meter, same, u, said):
    pair = [Channel(c[0], c[1], c[2] if len(c) > 2 else "sampled") for c in (sensor, meter)]
    with pytest.raises(CalibrationError, match=said):
        check_pair(*pair, same, u)


# The use


def test_the_uncertainty_at_a_power_is_that_of_gain_and_offset_together():
    """u² = (P·u_g)² + u_o² + 2·P·cov + (P'·u_meter)²; each term counts."""
    made = calibration(stairs(noise=0.005), u_meter=0.01)
    line = made.line
    for watts in (25.0, 140.0, 260.0):
        fitted = (watts * line.u_gain) ** 2 + line.u_offset_w**2 + 2 * watts * line.covariance_w
        shown = line.gain * watts + line.offset_w
        u = math.sqrt(fitted + (0.01 * shown) ** 2) / shown
        assert made.relative_u(watts) == pytest.approx(u)
    assert line.covariance_w < 0


def test_outside_of_the_calibrated_powers_the_sensor_is_no_better_than_it_was():
    made = calibration(stairs(powers=(60, 110, 150, 200, 260)))
    bare = Channel(GPU, "gpu", "counter", gain_uncertainty=NVML_GAIN)
    assert calibrated(bare, made, 150.0).gain_uncertainty < 0.01
    assert calibrated(bare, made, 500.0).gain_uncertainty == NVML_GAIN
    assert calibrated(bare, made, 20.0).gain_uncertainty == NVML_GAIN


def test_what_depends_on_the_load_stays():
    """No staircase of steady loads shows what a part-time sensor does not see."""
    bare = Channel(GPU, "gpu", "sampled", gain_uncertainty=0.075, load_uncertainty=0.05)
    assert 0.05 < calibrated(bare, calibration(), 150.0).gain_uncertainty < 0.055


def test_without_a_power_the_worst_of_the_stairs_counts():
    made, bare = calibration(), Channel(GPU, "gpu", "counter")
    anywhere = calibrated(bare, made, None).gain_uncertainty
    at_stairs = [made.relative_u(s.sensor_w) for s in made.stairs]
    assert anywhere >= max(*at_stairs, made.u_gain)


def one_gpu(watts=150.0, gain=1.0, offset=0.0, clock=None, calibrations=(), **more):
    counter = nvml_counter(Constant(gain * watts + offset), GPU, **more)
    counter = replace(counter, channel=replace(counter.channel, gain_uncertainty=NVML_GAIN))
    clock = clock or VirtualClock()
    profiler = SimulatedCounterProfiler(counters=[counter])
    return Session([profiler], clock=clock, calibrations=calibrations), clock


def test_a_window_is_corrected_once_and_says_so():
    made = calibration(stairs(0.95, 3.0))
    session, clock = one_gpu(150.0, calibrations=[made])
    with session, session.window() as window:
        clock.advance(20.0)
    assert window.energy_j == pytest.approx((0.95 * 150 + 3) * 20, rel=0.005)
    assert "calibrated on 2026-11-22 against wall:riser (gain 0.950 ±" in str(made)
    with session:
        assert session.calibrations == (made,)
        channel = session.channels[0]
    assert channel.calibration == str(made)
    assert channel.gain_kind == "calibrated against wall:riser"


def test_repeated_work_is_corrected_the_same(path):
    """Blocks and windows agree, and the provenance names the calibration."""
    made = calibration(stairs(0.95, 3.0))
    session, clock = one_gpu(150.0, calibrations=[made])
    with session:
        result = bench(session, clock, path)
    assert result.power_w.value == pytest.approx(0.95 * 150 + 3, rel=1e-3)
    assert str(made) in result.energy_per_inference_j.provenance
    joules = sum(r.channels[0].energy_j for r in result.repetitions)
    seconds = sum(r.duration_s for r in result.repetitions)
    assert joules / seconds == pytest.approx(0.95 * 150 + 3, rel=1e-3)


@pytest.fixture
def path(tmp_path):
    """A model file; nobody looks into it."""
    (tmp_path / "a.slow").touch()
    return tmp_path / "a.slow"


def bench(session, clock, path):
    """One inference of 0.05 s, again and again, on the simulated machine."""
    from greenai_core import DLLibrary, ParameterCount, TensorSpec

    class Slow(DLLibrary):
        format = "slow"

        @classmethod
        def recognises(cls, path):
            return False

        def load_weights(self):
            pass

        def count_parameters(self):
            return ParameterCount(1, 0, 4)

        def signature(self):
            return (TensorSpec("x", (1,), "float32"),)

        def prepare(self, inputs):
            return inputs

        def predict(self, prepared):
            clock.sleep(0.05)

        def synchronize(self):
            pass

        def fetch(self, outputs):
            return {}

        def accelerators(self):
            return (GPU,)

    return session.evaluate_inference(
        Slow(path), settings=LoopSettings(precision=0.03, max_time_s=120)
    )


def test_more_repetition_helps_again_once_the_sensor_is_calibrated(path):
    """Before, the total is known to ±11 % and the report says that repeating is no use."""
    session, clock = one_gpu(150.0)
    with session:
        before = bench(session, clock, path)
    session, clock = one_gpu(150.0, calibrations=[calibration()])
    with session:
        after = bench(session, clock, path)
    assert any("more repetition cannot help" in text for text in before.warnings)
    assert not any("more repetition cannot help" in text for text in after.warnings)
    widths = [
        (r.energy_per_inference_j.high / r.energy_per_inference_j.value - 1)
        for r in (before, after)
    ]
    assert widths[0] == pytest.approx(0.11, abs=0.01)
    assert widths[1] <= 0.03


def test_a_line_that_ends_below_zero_gives_no_figure():
    made = calibration(stairs(1.0, -15.0))
    session, clock = one_gpu(5.0, calibrations=[made])
    with session, session.window() as window:
        clock.advance(20.0)
    assert window.energy_j is None
    assert "less than 0 W" in window.missing[0].reason


def test_two_sensors_calibrated_with_one_meter_err_alike():
    """The meter's gain is in both, so their terms add and do not average out."""
    made = [calibration(channel=id, u_meter=0.02) for id in ("cpu:0/package", "cpu:1/package")]
    counters = [rapl_counter(Constant(150.0), c.channel) for c in made]
    clock = VirtualClock()
    profilers = [SimulatedCounterProfiler(counters=counters)]
    with Session(profilers, clock=clock, calibrations=made) as session, session.window() as window:
        clock.advance(20.0)
    assert window.result.high_j / window.energy_j - 1 >= 1.96 * 0.02


# What the wall sees


def test_a_calibration_at_the_wall_leaves_out_the_constant_part():
    made = calibration(stairs(1.15, 60.0), scope="wall")
    session, clock = one_gpu(150.0, calibrations=[made])
    with session, session.window() as window:
        clock.advance(20.0)
    assert window.energy_j == pytest.approx(1.15 * 150 * 20, rel=0.005)
    assert "as seen at the wall, without the constant part" in str(made)


def test_what_the_wall_sees_is_not_added_to_what_goes_into_a_part():
    """Either every part of the total is calibrated at the wall, or none is."""
    at_wall = calibration(stairs(1.15, 60.0), scope="wall")
    counters = [nvml_counter(Constant(150.0), GPU), rapl_counter(Constant(50.0))]
    clock = VirtualClock()
    profilers = [SimulatedCounterProfiler(counters=counters)]
    with Session(profilers, clock=clock, calibrations=[at_wall]) as session:
        assert session.calibrations == ()
        assert "cpu:0/package" in session.unused_calibrations[0]
        with session.window() as window:
            clock.advance(20.0)
    assert window.energy_j == pytest.approx(200 * 20, rel=0.005)
    both = [at_wall, replace(at_wall, channel="cpu:0/package")]
    profilers = [SimulatedCounterProfiler(counters=counters)]
    with Session(profilers, clock=clock, calibrations=both) as session:
        assert session.calibrations == (at_wall, both[1])
        assert session.unused_calibrations == ()


def test_a_machine_that_follows_the_load_widens_or_refuses():
    following = tuple(replace(s, rest_w=30 + 0.08 * s.sensor_w) for s in stairs())
    assert slope_of_rest(following) == pytest.approx(0.08)
    made = calibration(following, scope="wall")
    assert made.u_gain >= 0.08
    with pytest.raises(CalibrationError, match="not constant"):
        slope_of_rest(tuple(replace(s, rest_w=30 + 0.5 * s.sensor_w) for s in stairs()))


# The staircase, on simulated hardware


class SimulatedLoad:
    """Sets the power of a simulated part."""

    def __init__(self, power, clock, most_w=300.0):
        self.power, self.clock, self.most_w = power, clock, most_w
        self.levels = []

    def set(self, level):
        self.levels.append(level)
        idle = self.power.idle_w
        self.power.set(self.clock.now(), idle + level * (self.most_w - idle))

    def check(self):
        pass

    def close(self):
        self.set(0.0)


def climbed(seed, gain=1.0, meter_gain=1.0, offset_w=0.0, faults=()):
    """Eight stairs of a counter that moves each 0.1 s beside a meter that does too."""
    draw = random.Random(seed)
    clock, truth = VirtualClock(), DrivenPower(20.0)
    counter = nvml_counter(
        Shifted(truth, offset_w), GPU, latch=Latch(0.1, 0.1, 0.1 * draw.random(), seed), gain=gain
    )
    gauge = power_gauge(truth, METER, latch=Latch(0.1, 0.0, 0.1 * draw.random()), gain=meter_gain)
    profilers = [
        SimulatedCounterProfiler(counters=[replace(counter, faults=faults)]),
        SimulatedPowerProfiler(gauges=[gauge], sample_period_s=0.1),
    ]
    load = SimulatedLoad(truth, clock)
    with Session(profilers, clock=clock) as session:
        steps = plan(0.1, 0.1, levels=4, passes=2, draw=draw)
        steps = replace(steps, poll_s=0.02)
        found = tuple(climb(load, session.sources, GPU, METER, (), clock, steps))
    assert sorted(load.levels) == sorted(2 * [0.0, 1 / 3, 2 / 3, 1.0])
    return found


class Shifted(DrivenPower):
    """The power of another profile and a constant."""

    def __init__(self, power, by_w):
        super().__init__(by_w)
        self.under, self.by_w = power, by_w

    def power(self, t):
        return self.under.power(t) + self.by_w

    def energy(self, start, end):
        return self.under.energy(start, end) + self.by_w * (end - start)


def test_calibrated_totals_hold_the_truth():
    """400 sensors of unknown gain and offset, each calibrated with a meter of its own gain.

    A sensor's gain scales all that it tells, so ten staircases do for all of them.
    """
    climbs = [climbed(seed) for seed in range(10)]
    draw = random.Random(7)
    inside = wide = 0
    for number in range(400):
        gain, meter_gain = draw.gauss(1, NVML_GAIN), draw.gauss(1, METER_GAIN)
        offset = draw.uniform(-3, 3)
        points = tuple(
            replace(
                s,
                sensor_w=gain * s.sensor_w + offset,
                u_sensor_w=gain * s.u_sensor_w,
                meter_w=meter_gain * s.meter_w,
                u_meter_w=meter_gain * s.u_meter_w,
            )
            for s in climbs[number % 10]
        )
        made = calibration(points)
        watts = draw.uniform(30, 290)
        # A quick counter: what is looked at is the calibration, not the window's ends.
        latch = Latch(0.001, 0.1, 0.001 * draw.random(), number)
        session, clock = one_gpu(watts, gain, offset, calibrations=[made], latch=latch)
        with session, session.window() as window:
            clock.advance(4.0)
        result = window.result
        inside += result.low_j <= 4 * watts <= result.high_j
        wide += result.high_j / result.energy_j - 1 > 0.03
    # Binomial limits of 95 % of 400 draws (93 to 97 %), and more where uncertainty is bounded.
    assert inside >= 372
    assert wide == 0


@pytest.mark.parametrize("seed", range(6))
def test_a_staircase_finds_gain_and_offset(seed):
    draw = random.Random(seed)
    gain, offset = draw.gauss(1, NVML_GAIN), draw.uniform(-3, 3)
    line = fit_line(climbed(seed + 100, gain, offset_w=offset))
    assert abs(line.gain - 1 / gain) < 3 * line.u_gain
    assert abs(line.offset_w + offset) < 3 * line.u_offset_w
    assert line.u_gain < 0.01


def test_a_stuck_sensor_ends_the_staircase_with_its_reason():
    with pytest.raises(CalibrationError, match=rf"{GPU} has no power at load \d+%: .*did not move"):
        climbed(1, faults=(Gives(value=0),))


def test_each_pass_holds_every_level_in_another_order():
    steps = plan(0.1, 1.0, levels=6, passes=3, draw=random.Random(3))
    passes = [steps.levels[i : i + 6] for i in (0, 6, 12)]
    assert all(sorted(p) == [0, 0.2, 0.4, 0.6, 0.8, 1.0] for p in passes)
    assert len(set(passes)) == 3
    assert steps.stair_s == 20.0


# The loads


def test_the_load_of_the_cpu_follows_its_level_and_ends():
    """One worker: its CPU time over three quarters of a second, at half and at no load."""
    load = BurnerLoad(cpu_commands()[:1])
    pid = load._programs[0].pid
    try:
        load.set(0.5)
        load.check()
        busy = cpu_seconds(pid, 0.75)
        load.set(0.0)
        time.sleep(0.1)
        idle = cpu_seconds(pid, 0.3)
    finally:
        load.close()
    assert 0.1 < busy < 0.6
    assert idle < 0.05
    assert not Path(f"/proc/{pid}").exists()


def cpu_seconds(pid, seconds):
    def used():
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    began = used()
    time.sleep(seconds)
    return used() - began


def test_a_load_program_ends_with_whoever_started_it():
    """Its stdin closes when the parent is killed, and that is its end."""
    program = subprocess.Popen(
        cpu_commands()[0], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with program:
        assert program.stdout.readline() == b"ready\n"
        program.stdin.write(b"0.2\n")
        program.stdin.close()
        assert program.wait(10) == 0


def test_a_load_program_that_dies_tells_why():
    with pytest.raises(CalibrationError, match="no such device"):
        BurnerLoad([[sys.executable, "-c", "raise SystemExit('no such device')"]])


# How it is kept


@pytest.fixture
def root(tmp_path):
    """The files that tell which machine this is."""
    return machine(tmp_path / "root")


def machine(root, id="0123", cpu="Simulated CPU", board="SIM-1"):
    for path, text in {
        "etc/machine-id": id,
        "proc/cpuinfo": f"model name\t: {cpu}\n",
        "sys/class/dmi/id/board_name": board,
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


def test_what_is_kept_is_found_again_whole(tmp_path, root):
    folder = tmp_path / "kept"
    made = calibration(stairs(noise=0.01), driver="560.35")
    keep(read_shelf(folder, root), made)
    other = replace(made, channel="cpu:0/package")
    keep(read_shelf(folder, root), other)
    assert read_shelf(folder, root).calibrations == (made, other)
    newer = replace(made, meter="wall:better")
    keep(read_shelf(folder, root), newer)
    assert read_shelf(folder, root).of(GPU) == newer
    without(read_shelf(folder, root), GPU)
    assert read_shelf(folder, root).calibrations == (other,)
    assert [path.suffix for path in folder.iterdir()] == [".json"]


def test_a_machine_is_told_by_its_installation_its_processor_and_its_board(tmp_path, root):
    identity = machine_identity(root)
    assert "0123" not in identity
    assert machine_identity(machine(tmp_path / "same")) == identity
    for number, other in enumerate(({"id": "99"}, {"cpu": "Another"}, {"board": "SIM-2"})):
        assert machine_identity(machine(tmp_path / str(number), **other)) != identity
    (root / "etc/machine-id").write_text("")
    assert machine_identity(root) is None
    with pytest.raises(CalibrationError, match="machine-id"):
        keep(read_shelf(tmp_path, root), calibration())


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda data: data["calibrations"][0]["line"].update(gain=-1.0), "cannot be true"),
        (lambda data: data["calibrations"][0]["line"].update(u_gain=0), "cannot be true"),
        (lambda data: data["calibrations"][0].update(scope="moon"), "unknown scope"),
        (lambda data: data["calibrations"][0].update(date="yesterday"), "yesterday"),
        (lambda data: data["calibrations"][0].pop("meter"), "meter is missing"),
        (lambda data: data["calibrations"][0].update(u_meter="1%"), "u_meter"),
        (lambda data: data.update(machine="f" * 16), "another machine"),
        (lambda data: data.update(schema_version=2), "schema_version"),
        (lambda data: data["calibrations"].append(data["calibrations"][0]), "two calibrations"),
    ],
)
def test_a_file_that_cannot_be_trusted_is_not_used(tmp_path, root, damage, said):
    shelf = keep(read_shelf(tmp_path, root), calibration())
    data = json.loads(shelf.path.read_text())
    damage(data)
    shelf.path.write_text(json.dumps(data))
    broken = read_shelf(tmp_path, root)
    assert broken.calibrations == ()
    assert said in broken.problem
    assert str(shelf.path) in broken.problem
    with pytest.raises(CalibrationError, match="not used"):
        keep(broken, calibration())


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[" * 100_000, b'{"calibrations": [NaN]}'])
def test_rubbish_is_told_and_not_used(tmp_path, root, content):
    (tmp_path / f"{machine_identity(root)}.json").write_bytes(content)
    broken = read_shelf(tmp_path, root)
    assert broken.calibrations == ()
    assert "not used" in broken.problem


def test_doubts_grow_with_age_and_with_another_driver():
    made = calibration(driver="560.35")
    assert doubts(made, NOW + datetime.timedelta(days=300), "560.35") == ()
    old, new = doubts(made, NOW + datetime.timedelta(days=400), "570.1")
    assert "400 days" in old
    assert "560.35" in new
    assert "570.1" in new


def test_scripts_ask_for_what_is_kept(tmp_path, monkeypatch, root):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr(
        "greenai_core.calibration_files.machine_identity", lambda _: machine_identity(root)
    )
    assert default_folder() == tmp_path / "greenai" / "calibrations"
    assert stored_calibrations() == ()
    today = datetime.datetime.now(datetime.timezone.utc).isoformat()
    made = replace(calibration(), channel="cpu:0/package", date=today)
    keep(read_shelf(), made)
    assert stored_calibrations() == (made,)
    read_shelf().path.write_text("{")
    with pytest.warns(UserWarning, match="not used"):
        assert stored_calibrations() == ()
