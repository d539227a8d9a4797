"""What is seen of outside load, throttling, clocks, swapping and power supply."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import numpy as np
import pytest

from greenai_core.advice import advice, gain_advice
from greenai_core.channels import Channel
from greenai_core.clock import SYSTEM_CLOCK
from greenai_core.conditions import (
    FEWEST_LOOKS,
    LOOK_S,
    Conditions,
    Observer,
    Series,
    device_probe,
    observer,
)
from greenai_core.host_conditions import (
    Clocks,
    Family,
    OutsideLoad,
    Throttles,
    standing,
    swapped_bytes,
)
from greenai_core.profiler import Observation
from greenai_core.testing import SimulatedTelemetry, VirtualClock

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc and /sys")

JIFFY = 1 / os.sysconf("SC_CLK_TCK")
TWO_LINES = 160
"""Columns of two lines of a terminal."""


def write(root, **files):
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(text))


def stat(root, user=0, steal=0):
    write(root, proc__stat=f"cpu  {user} 0 0 500 7 0 0 {steal} 0 0\ncpu0 1 2 3\n")


def cpu0(root):
    cpu = min(os.sched_getaffinity(0))
    return root / f"sys/devices/system/cpu/cpu{cpu}"


# The host


def test_outside_load_is_what_others_use(tmp_path):
    """2 s later: 3 s of CPU time in all, 1 s of it our own, 0.5 s stolen."""
    now, own = [10.0], [5.0]
    stat(tmp_path, user=1000, steal=50)
    load = OutsideLoad(lambda: now[0], tmp_path, lambda: own[0])
    assert [seen.value for seen in load.look()] == [0.0, 0.0]
    now[0], own[0] = 12.0, 6.0
    stat(tmp_path, user=1000 + round(3 / JIFFY), steal=50 + round(0.5 / JIFFY))
    outside, stolen = load.look()
    assert (outside.quantity, outside.value) == ("outside_load", pytest.approx(1.0))
    assert (stolen.quantity, stolen.value) == ("stolen", pytest.approx(0.25))


def test_own_time_beyond_the_kernel_s_steps_is_no_negative_load(tmp_path):
    now, own = [0.0], [0.0]
    stat(tmp_path)
    load = OutsideLoad(lambda: now[0], tmp_path, lambda: own[0])
    load.look()
    now[0], own[0] = 1.0, 0.5
    assert load.look()[0].value == 0.0


def test_the_family_s_time_contains_children_living_and_ended():
    """0.3 s of CPU time in a child: seen while it lives, and once, not twice, when it has ended."""
    code = (
        "import sys, time\nwhile time.process_time() < 0.3: pass\n"
        "print(time.process_time(), flush=True)\nsys.stdin.read()"
    )
    before = Family(time.perf_counter).cpu_s()
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        spent = float(child.stdout.readline())
        family = Family(time.perf_counter)
        living = family.cpu_s() - before
        child.stdin.close()
        child.wait()
        ended = family.cpu_s() - before
    assert spent <= living + 2 * JIFFY
    assert living < spent + 0.3
    assert living - 2 * JIFFY <= ended < living + 0.3


def test_throttling_is_counted_since_the_look_before(tmp_path):
    folder = cpu0(tmp_path) / "thermal_throttle"
    folder.mkdir(parents=True)
    (folder / "core_throttle_count").write_text("41\n")
    throttles = Throttles(tmp_path)
    assert [seen.value for seen in throttles.look()] == [0.0]
    (folder / "core_throttle_count").write_text("44\n")
    assert [seen.value for seen in throttles.look()] == [3.0]


def test_the_clock_is_in_megahertz(tmp_path):
    folder = cpu0(tmp_path) / "cpufreq"
    folder.mkdir(parents=True)
    (folder / "scaling_cur_freq").write_text("2400000\n")
    (seen,) = Clocks(tmp_path).look()
    assert (seen.value, seen.unit) == (2400.0, "MHz")


def test_a_machine_that_tells_nothing_disturbs_nothing(tmp_path):
    assert OutsideLoad(time.perf_counter, tmp_path).look() == []
    assert Throttles(tmp_path).look() == []
    assert Clocks(tmp_path).look() == []
    assert swapped_bytes(tmp_path) == 0
    assert standing(tmp_path) == ()


def test_swapping_is_counted_in_both_directions(tmp_path):
    write(tmp_path, proc__vmstat="pgpgin 99\npswpin 3\npswpout 4\n")
    assert swapped_bytes(tmp_path) == 7 * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(("driver", "told"), [("acpi-cpufreq", True), ("intel_pstate", False)])
def test_powersave_is_told_where_it_holds_the_clock_down(driver, told, tmp_path):
    folder = cpu0(tmp_path) / "cpufreq"
    folder.mkdir(parents=True)
    (folder / "scaling_governor").write_text("powersave\n")
    (folder / "scaling_driver").write_text(f"{driver}\n")
    assert any("powersave" in text for text in standing(tmp_path)) is told


@pytest.mark.parametrize(
    ("kind", "status", "scope", "told"),
    [
        ("Battery", "Discharging", "System", True),
        ("Battery", "Charging", "System", False),
        ("Battery", "Discharging", "Device", False),
        ("Mains", "Discharging", "System", False),
    ],
)
def test_a_machine_on_its_battery_is_told(kind, status, scope, told, tmp_path):
    supply = "sys__class__power_supply__X__"
    write(tmp_path, **{supply + "type": kind, supply + "status": status, supply + "scope": scope})
    assert any("battery" in text for text in standing(tmp_path)) is told


# The observer


def test_on_a_clock_of_its_own_nobody_looks():
    """The load of the machine that simulates is no condition of the simulated one."""
    assert observer([], VirtualClock()) is None
    assert observer([], SYSTEM_CLOCK) is not None


def test_looks_are_rare_and_stamped():
    clock = VirtualClock()
    watcher = Observer([SimulatedTelemetry(clock, {"clock": (lambda t: t, "MHz")}).observe], clock)
    for _ in range(1000):
        clock.sleep(0.01)
        watcher.look(clock.now())
    (series,) = watcher.seen().series
    np.testing.assert_allclose(series.values, series.instants)
    assert np.diff(series.instants).min() >= LOOK_S - 1e-9
    assert len(series.instants) == pytest.approx(10 / LOOK_S, abs=5)


def test_a_dear_look_becomes_rarer():
    clock = VirtualClock()

    def probe():
        clock.lapse(0.005)
        return [Observation("host", "clock", 1.0, "MHz")]

    watcher = Observer([probe], clock)
    begun = clock.now()
    while clock.now() < begun + 100:
        clock.sleep(0.01)
        watcher.look(clock.now())
    assert 0.0005 < watcher.seen().spent_s(begun) / 100 <= 0.001


def test_a_probe_that_fails_does_not_disturb_the_others():
    clock = VirtualClock()
    broken = SimulatedTelemetry(clock, {"clock": (lambda t: 1.0 if t < 1 else float("nan"), "MHz")})
    well = SimulatedTelemetry(clock, {"outside_load": (lambda t: 0.1, "CPUs")})
    watcher = Observer([broken.observe, well.observe], clock)
    for _ in range(100):
        clock.sleep(0.1)
        watcher.look(clock.now())
    lengths = {one.quantity: len(one.values) for one in watcher.seen().series}
    assert lengths["outside_load"] >= 40


@pytest.mark.parametrize(("bits", "slowed"), [(0, 0), (1, 0), (2, 0), (4, 1), (0x20, 1), (0x41, 1)])
def test_idle_and_set_clocks_are_no_throttling(bits, slowed):
    clock = VirtualClock()
    board = SimulatedTelemetry(
        clock, {"throttling": (lambda t: float(bits), "bits")}, device="gpu:0"
    )
    watcher = Observer([device_probe(board)], clock)
    clock.sleep(1.0)
    watcher.look(clock.now())
    (series,) = watcher.seen().series
    assert (series.device, series.values.tolist()) == ("gpu:0", [slowed])


def series(quantity, values, step_s=1.0):
    values = np.asarray(values, dtype=float)
    instants = step_s * (np.arange(len(values)) + 1.0)
    return Series("gpu:0", quantity, instants, values, np.zeros(len(values)))


def test_a_mean_belongs_to_the_time_before_its_look():
    starts = np.arange(0.0, 10.0, 0.5)
    causes = series("outside_load", [0, 0, 0, 0, 1, 0, 0, 0, 0, 0]).disturbed(starts, starts + 0.5)
    assert [s for s, cause in zip(starts, causes, strict=True) if cause] == [4.0, 4.5]


def test_an_instant_belongs_to_both_sides_of_its_look():
    starts = np.arange(0.0, 10.0, 0.5)
    causes = series("throttling", [0, 0, 0, 0, 1, 0, 0, 0, 0, 0]).disturbed(starts, starts + 0.5)
    found = [s for s, cause in zip(starts, causes, strict=True) if cause]
    assert found == [4.0, 4.5, 5.0, 5.5]


def test_what_is_always_so_is_no_cause():
    starts = np.arange(0.0, 10.0)
    for quantity in ("outside_load", "throttling"):
        assert not any(series(quantity, [1.0] * 10).disturbed(starts, starts + 1))


def test_this_machine_is_looked_at_for_little():
    """The real probes: nothing fails, and a look takes well below a thousandth of its period."""
    watcher = observer([], SYSTEM_CLOCK)
    end = time.perf_counter() + (FEWEST_LOOKS + 2) * LOOK_S
    began = time.perf_counter()
    while time.perf_counter() < end:
        time.sleep(0.02)
        watcher.look(time.perf_counter())
    seen = watcher.seen()
    quantities = {one.quantity for one in seen.series}
    assert {"outside_load", "stolen"} <= quantities
    assert all(np.isfinite(one.values).all() for one in seen.series)
    took = np.concatenate([one.took for one in seen.series])
    assert np.median(took[took > 0]) < 0.002
    assert seen.spent_s(began) >= 0


# Advice


def test_each_condition_has_its_advice():
    seen = Conditions(
        (
            series("outside_load", [0.6] * 10),
            series("stolen", [0.1] * 10),
            series("throttled", [0, 0, 2, 0, 0, 0, 0, 0, 0, 0]),
            series("throttling", [0, 1] * 5),
            series("clock", [1000.0] * 10),
        ),
        cpus=2,
        swapped_bytes=5_000_000,
        standing=("the machine runs on its battery: connect it",),
    )
    told = list(advice(seen, 0.0, 10.0))
    for word in ("30%", "hypervisor", "heat", "50% of the run", "5 MB were swapped", "battery"):
        assert any(word in text for text in told), word
    for text in told:
        assert len(text) <= TWO_LINES - len("greenai: warning: resnet50.onnx: ")
    assert len(told) == 6


def test_a_quiet_machine_needs_no_advice():
    quiet = Conditions((series("outside_load", [0.05] * 10), series("throttling", [0.0] * 10)), 2)
    assert not list(advice(quiet, 0.0, 10.0))


def channel(u, calibration="", method="counter"):
    return Channel(
        "gpu:0", "gpu", method, gain_uncertainty=u, gain_source="x", calibration=calibration
    )


def test_a_gain_wider_than_the_target_asks_for_a_calibration():
    told = gain_advice([(channel(0.056), 3.0)], 0.02)
    assert "more repetition cannot help" in told
    assert "5.6%" in told
    assert "greenai calibrate" in told
    assert len(told) <= TWO_LINES - len("greenai: warning: resnet50.onnx: ")


@pytest.mark.parametrize(
    "known", [channel(0.056, "2024 against a meter"), channel(0.2, method="modelled"), channel(0.0)]
)
def test_no_calibration_is_asked_for_where_it_was_made_or_cannot_be(known):
    assert not gain_advice([(known, 3.0)], 0.02)
