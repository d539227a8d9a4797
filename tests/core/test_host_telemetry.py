"""How busy, full, hot and fast the machine is: from real files, against known truth."""

from __future__ import annotations

import os
import sys
import time

import pytest

from greenai_core import HostTelemetry, ReadingError, Session
from greenai_core.testing import SimulatedCounterProfiler, VirtualClock

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc and /sys")

JIFFY = 1 / os.sysconf("SC_CLK_TCK")


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def busy(root, seconds):
    """CPU time of all, s: a quarter as user, nice, system, irq each; idle, iowait, steal beside."""
    part = round(seconds / JIFFY / 4)
    write(root, {"proc/stat": f"cpu  {part} {part} {part} 99999 88888 {part} 0 7777 55 66\n"})


def told(telemetry):
    return {one.quantity: one.value for one in telemetry.observe()}


def test_utilisation_is_the_mean_since_the_call_before(tmp_path):
    now = [100.0]
    busy(tmp_path, 0.0)
    telemetry = HostTelemetry(now=lambda: now[0], root=tmp_path, cpus=4)
    assert "utilisation" not in told(telemetry), "no time has passed: not known, and not zero"
    now[0] = 110.0
    busy(tmp_path, 30.0)
    assert told(telemetry)["utilisation"] == pytest.approx(75.0)
    now[0] = 120.0
    assert told(telemetry)["utilisation"] == 0.0
    now[0] = 121.0
    busy(tmp_path, 29.96)
    assert told(telemetry)["utilisation"] == 0.0, "the kernel's figures may step back"
    now[0] = 122.0
    busy(tmp_path, 60.0)
    assert told(telemetry)["utilisation"] == 100.0


def test_memory_used_is_what_is_not_available(tmp_path):
    busy(tmp_path, 0.0)
    meminfo = "MemTotal:  1000 kB\nMemFree:  100 kB\nMemAvailable:  300 kB\nCached: 500 kB\n"
    write(tmp_path, {"proc/meminfo": meminfo})
    assert told(HostTelemetry(root=tmp_path))["memory_used"] == 700 * 1024


# Names, labels and units as in Documentation/hwmon/coretemp.rst and k10temp.rst of Linux
# (https://docs.kernel.org/hwmon/coretemp.html, https://docs.kernel.org/hwmon/k10temp.html).
@pytest.mark.parametrize(
    ("chip", "parts", "degrees"),
    [
        ("coretemp", {"Package id 0": 61000, "Core 0": 99000}, 61.0),
        ("k10temp", {"Tctl": 88500, "Tdie": 61500, "Tccd1": 60000}, 61.5),
        ("k10temp", {"Tctl": 55000}, 55.0),
        ("cpu_thermal", {"": 48312}, 48.312),
        ("nvme", {"Composite": 71000}, None),
    ],
)
def test_the_temperature_is_that_of_the_hottest_part_of_the_cpu(chip, parts, degrees, tmp_path):
    """Cores are left alone where the package tells: reading them would wake them up."""
    busy(tmp_path, 0.0)
    folder = "sys/class/hwmon/hwmon3"
    write(tmp_path, {f"{folder}/name": f"{chip}\n"})
    for number, (label, value) in enumerate(parts.items(), 1):
        write(tmp_path, {f"{folder}/temp{number}_input": f"{value}\n"})
        if label:
            write(tmp_path, {f"{folder}/temp{number}_label": f"{label}\n"})
    assert told(HostTelemetry(root=tmp_path)).get("temperature") == degrees


def test_two_packages_tell_the_hotter_one(tmp_path):
    busy(tmp_path, 0.0)
    for number, value in ((0, 40000), (1, 73000)):
        folder = f"sys/class/hwmon/hwmon{number}"
        write(tmp_path, {f"{folder}/name": "coretemp\n", f"{folder}/temp1_input": f"{value}\n",
                         f"{folder}/temp1_label": f"Package id {number}\n"})  # fmt: skip
    assert told(HostTelemetry(root=tmp_path))["temperature"] == 73.0


def test_the_clock_without_cpufreq_is_that_of_cpuinfo(tmp_path):
    busy(tmp_path, 0.0)
    write(tmp_path, {"proc/cpuinfo": "cpu MHz\t\t: 2000.0\n\ncpu MHz\t\t: 3000.0\nflags\t: x\n"})
    assert told(HostTelemetry(root=tmp_path))["clock"] == 2500.0
    cpu = min(os.sched_getaffinity(0))
    write(tmp_path, {f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_cur_freq": "1800000\n"})
    assert told(HostTelemetry(root=tmp_path))["clock"] == 1800.0


@pytest.mark.parametrize("stat", [None, "", "intr 1 2 3\n", "cpu  one two\n"])
def test_a_system_that_does_not_tell_is_an_error(stat, tmp_path):
    if stat is not None:
        write(tmp_path, {"proc/stat": stat})
    with pytest.raises(ReadingError, match="CPU time"):
        HostTelemetry(root=tmp_path).observe()


def test_this_machine():
    telemetry = HostTelemetry()
    time.sleep(3 * JIFFY)
    seen = told(telemetry)
    assert 0 <= seen["utilisation"] <= 100
    assert 2**20 < seen["memory_used"] < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_a_session_tells_of_the_host_once_whatever_measures():
    """With no profiler that is telemetry, and with one that tells of the host itself."""
    for profilers in ([SimulatedCounterProfiler()], "modelled"):
        with Session(profilers) as session:
            time.sleep(3 * JIFFY)
            seen = [(o.device, o.quantity) for o in session.observe()]
            assert ("host", "utilisation") in seen
            assert len(set(seen)) == len(seen)


def test_a_simulated_machine_is_not_this_one():
    with Session([SimulatedCounterProfiler()], clock=VirtualClock()) as session:
        session.clock.sleep(1.0)
        assert session.observe() == ()
