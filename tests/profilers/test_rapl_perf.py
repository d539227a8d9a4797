"""RAPL through perf_event, on machines whose counters are simulated in this process.

The files in sysfs and the arguments of each system call are those of Linux:
arch/x86/events/rapl.c, drivers/powercap/intel_rapl_common.c (TPMI), and
Documentation/ABI/testing/sysfs-bus-event_source-devices-events. What opens the
counters for real is tried in test_rapl_perf_syscall.py.
"""

from __future__ import annotations

import errno
import re
from typing import ClassVar

import pytest

from greenai_core import PluginUnavailable, Session
from greenai_core.testing import (
    CounterConformance,
    PmuMeter,
    PowercapTree,
    PowerPmu,
    Sine,
    SquareWave,
    VirtualClock,
)
from greenai_core.testing.power_pmu import INTEL_UNIT_J
from greenai_plugins.profilers.rapl import RaplProfiler
from greenai_plugins.profilers.rapl_perf import RaplPerfProfiler
from greenai_plugins.profilers.rapl_perf_event import refusal


def profiler_on(pmu, **options):
    return RaplPerfProfiler(root=pmu.root, cpuinfo=pmu.cpuinfo, opener=pmu.open_event, **options)


class OnPmu(CounterConformance):
    """A kernel that counts on a virtual clock."""

    settle_s = 0.1
    window_s = 2.0

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path):
        self.folder = tmp_path / "sys"

    def make_hardware(self):
        self.clock = VirtualClock(50.0)
        self.pmu = self.build()
        self.pmu.drive(self.clock)

    def make_profiler(self):
        return profiler_on(self.pmu)

    def make_absent(self):
        return RaplPerfProfiler(root=self.folder / "nowhere")

    def true_energy(self, start, end, channel):
        return self.pmu.energy(self.meters[channel], start, end)

    def break_sensor(self, channel):
        self.pmu.fail(self.meters[channel])


class TestRaplPerfServer(OnPmu):
    """Two sockets, and DRAM on top of them."""

    meters: ClassVar = {
        f"cpu:{n}/{part}": f"{event}@{16 * n}"
        for n in (0, 1)
        for part, event in (("package", "energy-pkg"), ("dram", "energy-ram"))
    }

    def build(self):
        return PowerPmu.xeon(self.folder, package=Sine(150, 50, 0.7), dram=20.0)


class TestRaplPerfLaptop(OnPmu):
    """A package with parts inside a counter of the whole platform."""

    meters: ClassVar = {
        "cpu:0/package": "energy-pkg@0",
        "cpu:0/core": "energy-cores@0",
        "cpu:0/uncore": "energy-gpu@0",
        "cpu:0/dram": "energy-ram@0",
        "psys": "energy-psys@0",
    }

    def build(self):
        return PowerPmu.laptop(self.folder)


def measured(pmu, seconds=10.0, profilers=None, harm=lambda: None, **options):
    """Total power of a machine, that of each channel, and what is said of them."""
    clock = VirtualClock()
    pmu.drive(clock)
    profiler = profiler_on(pmu, **options)
    with Session(profilers or [profiler], clock=clock) as session:
        with session.window() as window:
            clock.sleep(seconds / 2)
            harm()
            clock.sleep(seconds / 2)
        said = profiler.channels[0].description if profiler.is_open else ""
        result = window.result
    powers = {c.id: round(c.energy_j / seconds, 1) for c in result.channels}
    total = None if result.energy_j is None else round(result.energy_j / seconds, 1)
    return total, powers, said


@pytest.mark.parametrize("machine", ["xeon", "laptop"])
def test_channels_are_those_of_powercap(tmp_path, machine):
    """The same ids, so that no session reads a counter by both, and calibrations hold for both."""
    clock = VirtualClock()
    pmu = getattr(PowerPmu, machine)(tmp_path / "sys")
    pmu.drive(clock)
    with getattr(PowercapTree, machine)(tmp_path / "powercap") as tree:
        tree.drive(clock)
        files, events = RaplProfiler(root=tree.root, cpuinfo=tree.cpuinfo), profiler_on(pmu)
        files.open(clock)
        events.open(clock)
        facts = [
            {
                (c.id, c.component, c.contained_in, c.gain_uncertainty, c.gain_source)
                for c in profiler.channels
            }
            for profiler in (files, events)
        ]
        assert facts[0] == facts[1]
        assert all(c.wraps_at is None and c.resolution_j == 2**-32 for c in events.channels)
        files.close()
        events.close()
    assert pmu.still_open == 0


def test_it_is_preferred_to_powercap_which_fills_no_gap_twice(tmp_path):
    with PowercapTree.xeon(tmp_path / "powercap") as tree:
        clock = VirtualClock()
        tree.drive(clock)
        pmu = PowerPmu.xeon(tmp_path / "sys")
        pmu.drive(clock)
        assert RaplPerfProfiler.priority > RaplProfiler.priority
        both = [profiler_on(pmu), RaplProfiler(root=tree.root, cpuinfo=tree.cpuinfo)]
        with Session(both, clock=clock) as session:
            assert [source.profiler.name for source in session.sources] == ["rapl-perf"]


def test_changing_power_is_followed(tmp_path):
    load = SquareWave(10.0, 150.0, 0.8, duty=0.3)
    pmu = PowerPmu.xeon(tmp_path / "sys", package=load, sockets=1)
    clock = VirtualClock()
    pmu.drive(clock)
    with Session([profiler_on(pmu)], clock=clock) as session:
        for seconds in (0.5, 1.0, 1.7):
            start = clock.now()
            with session.window() as window:
                clock.sleep(seconds)
            truth = pmu.energy("energy-pkg@0", start, clock.now())
            found = {c.id: c.energy_j for c in window.channels}["cpu:0/package"]
            assert found == pytest.approx(truth, rel=0.005)


# Machines


@pytest.mark.parametrize("scale", [b"", b"x", b"nan", b"0", b"-2.3e-10", b"1e999", b"\xff"])
def test_a_scale_that_cannot_be_is_refused_with_its_file(tmp_path, scale):
    """Of 0 all joules would be 0."""
    pmu = PowerPmu.xeon(tmp_path / "sys")
    events = pmu.root / "bus/event_source/devices/power/events"
    (events / "energy-pkg.scale").write_bytes(scale)
    with pytest.raises(PluginUnavailable, match="no part of a joule") as caught:
        profiler_on(pmu).check_available()
    assert caught.value.hint


def test_memory_whose_counter_does_not_work_is_told(tmp_path):
    """The total goes on without it, and nobody reads the descriptions of channels."""
    pmu = PowerPmu.xeon(tmp_path / "sys", sockets=1)
    clock = VirtualClock()
    pmu.drive(clock)
    profiler = profiler_on(pmu)
    profiler.open(clock)
    assert profiler.notes() == []
    profiler.close()
    pmu.stick("energy-ram@0")
    profiler.open(clock)
    assert [channel.id for channel in profiler.channels] == ["cpu:0/package"]
    [note] = profiler.notes()
    assert "no total holds that memory" in note
    profiler.close()


@pytest.mark.parametrize("dies", [1, 4])
def test_amd_has_one_counter_a_package(tmp_path, dies):
    """Linux 6.10 names a CPU of each die in the cpumask; all read the package's counter."""
    pmu = PowerPmu.epyc(tmp_path / "sys", sockets=2, dies=dies)
    total, powers, said = measured(pmu)
    assert total == 360.0
    assert powers == {"cpu:0/package": 180.0, "cpu:1/package": 180.0}
    assert ("CPU 3 shows the counters of package 0 again" in said) == (dies == 4)


@pytest.mark.parametrize(
    ("vendor", "family", "model"), [("AuthenticAMD", 23, 1), ("HygonGenuine", 24, 0)]
)
def test_dies_of_the_first_zen_are_not_guessed_about(tmp_path, vendor, family, model):
    """Taken for one or for four, the figure could be off four times: powercap shows the counts."""
    pmu = PowerPmu.epyc(tmp_path / "sys", dies=4)
    pmu.cpuinfo.write_text(f"vendor_id\t: {vendor}\ncpu family\t: {family}\nmodel\t\t: {model}\n")
    with pytest.raises(PluginUnavailable, match="a counter for each die") as caught:
        profiler_on(pmu).check_available()
    assert "profiler rapl" in caught.value.hint
    assert measured(PowerPmu.epyc(tmp_path / "one", dies=1))[0] == 180.0


def test_cores_of_amd_are_counted_each_when_asked_for(tmp_path):
    pmu = PowerPmu.epyc(tmp_path / "sys", package=20.0, core=3.0)
    total, powers, _ = measured(pmu, cores=True)
    assert total == 20.0, "the cores are inside the package"
    assert powers == {"cpu:0/package": 20.0} | {f"cpu:0/core-{n}": 3.0 for n in range(4)}


def test_an_older_core_event_of_amd_counts_one_core_and_is_left_out(tmp_path):
    meters = [PmuMeter("energy-pkg", 0, 90.0), PmuMeter("energy-cores", 0, 2.0)]
    pmu = PowerPmu(tmp_path / "sys", meters, {0: (0, 0)}, "AuthenticAMD")
    _, powers, said = measured(pmu)
    assert powers == {"cpu:0/package": 90.0}
    assert "energy-cores/ counts one single core on AMD" in said


def test_dies_of_intel_count_apart(tmp_path):
    """Cascade Lake AP: the cpumask names a CPU of each die."""
    places = {0: (0, 0), 24: (0, 1), 48: (1, 0), 72: (1, 1)}
    meters = [PmuMeter("energy-pkg", cpu, 100.0 + n) for n, cpu in enumerate(places)]
    total, powers, _ = measured(PowerPmu(tmp_path / "sys", meters, places))
    assert total == 406.0
    assert set(powers) == {f"cpu:{s}-die-{d}/package" for s in (0, 1) for d in (0, 1)}


def test_the_platform_counts_on_the_master_package_alone(tmp_path):
    """The other package announces the event too, and shows 0."""
    meters = [
        PmuMeter("energy-pkg", 0, 100.0),
        PmuMeter("energy-pkg", 16, 110.0),
        PmuMeter("energy-psys", 0, 0.0),
        PmuMeter("energy-psys", 16, 400.0, unit_j=1.0),
    ]
    pmu = PowerPmu(tmp_path / "sys", meters, {0: (0, 0), 16: (1, 0)})
    total, powers, said = measured(pmu)
    assert total == 210.0
    assert powers["psys"] == pytest.approx(400.0, abs=0.2)
    assert "energy-psys/ on CPU 0 does not move and is left out" in said


def test_a_platform_that_two_packages_show_is_counted_once(tmp_path):
    meters = [PmuMeter(e, c, 100.0) for c in (0, 16) for e in ("energy-pkg", "energy-psys")]
    pmu = PowerPmu(tmp_path / "sys", meters, {0: (0, 0), 16: (1, 0)})
    _, powers, said = measured(pmu)
    assert sorted(powers) == ["cpu:0/package", "cpu:1/package", "psys"]
    assert "energy-psys/ on CPU 16 is a second platform counter" in said


def test_dram_that_is_not_there_is_left_out_and_the_total_stays(tmp_path):
    pmu = PowerPmu.xeon(tmp_path / "sys", dram=0.0, sockets=1)
    total, powers, said = measured(pmu)
    assert (total, set(powers)) == (150.0, {"cpu:0/package"})
    assert "energy-ram/ on CPU 0 does not move and is left out" in said


# TPMI


@pytest.mark.parametrize(
    "place", ["module/intel_rapl_tpmi", "bus/auxiliary/drivers/intel_rapl_tpmi"]
)
def test_a_wrap_behind_tpmi_costs_no_joule(tmp_path, place):
    """Its driver does not unwrap the register: the kernel's count falls, even below 0."""
    # The driver takes 2^-14 J for 61,035 nJ, and a step for so many whole counts of 2^-32 J.
    counts = 61_035 * 2**32 // 10**9
    unit_j, range_j = counts * 2.0**-32, float(counts)
    meter = PmuMeter("energy-pkg", 0, 300.0, unit_j, range_j - 1500.0, falls_by_j=range_j)
    pmu = PowerPmu(tmp_path / "sys", [meter], {0: (0, 0)})
    (pmu.root / place).mkdir(parents=True)
    assert meter.count(0.0, 10.0) < 0, "the simulated count falls"
    assert measured(pmu)[0] == 300.0


def test_a_fall_where_none_is_known_is_no_energy(tmp_path):
    meter = PmuMeter("energy-pkg", 0, 300.0, start_j=2**32 * INTEL_UNIT_J - 1500.0,
                     falls_by_j=2**32 * INTEL_UNIT_J)  # fmt: skip
    total, powers, _ = measured(PowerPmu(tmp_path / "sys", [meter], {0: (0, 0)}))
    assert (total, powers) == (None, {})


# CPUs that come and go


def test_counters_outlive_the_cpu_that_reads_them(tmp_path):
    """Another CPU of the package takes over: the open counter goes on, sysfs names the other."""
    pmu = PowerPmu.xeon(tmp_path / "sys")
    assert measured(pmu, harm=lambda: pmu.migrate(16, 17))[0] == 340.0
    assert "0,17" in (pmu.root / "bus/event_source/devices/power/cpumask").read_text()
    assert measured(pmu)[1]["cpu:1/package"] == 150.0


def test_a_package_without_cpus_is_missing_with_its_reason(tmp_path):
    pmu = PowerPmu.xeon(tmp_path / "sys")

    def unplug():
        pmu.stick("energy-pkg@16")
        pmu.stick("energy-ram@16")

    total, powers, _ = measured(pmu, harm=unplug)
    assert total is None
    assert set(powers) == {"cpu:0/package", "cpu:0/dram"}


# Unavailable


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda power: (power / "type").write_text("\n"), "type holds no number"),
        (lambda power: (power / "cpumask").write_text("0-\n"), "no list of CPUs"),
        (lambda power: (power / "events/energy-pkg.unit").write_text("Wh\n"), "counts 'Wh'"),
        (lambda power: (power / "events/energy-pkg").write_text("umask=1\n"), "not understand"),
        (lambda power: (power / "events/energy-pkg").unlink(), "announces none"),
    ],
)
def test_what_sysfs_does_not_say_is_not_guessed(tmp_path, damage, reason):
    pmu = PowerPmu.xeon(tmp_path / "sys")
    damage(pmu.root / "bus/event_source/devices/power")
    with pytest.raises(PluginUnavailable, match=reason):
        profiler_on(pmu).check_available()
    assert pmu.events == []


def procfs(folder, paranoid="2", seccomp="0"):
    (folder / "sys/kernel").mkdir(parents=True)
    (folder / "sys/kernel/perf_event_paranoid").write_text(f"{paranoid}\n")
    (folder / "self").mkdir()
    (folder / "self/status").write_text(f"Name:\tpython\nSeccomp:\t{seccomp}\n")
    return folder


@pytest.mark.parametrize(
    ("code", "facts", "reason", "hint"),
    [
        (errno.EACCES, {"paranoid": "2"}, "perf_event_paranoid is 2; .* 0 or less, or CAP_PERFMON",
         r"kernel.perf_event_paranoid=0 > /etc/sysctl.d/60-greenai.conf.*setcap cap_perfmon\+ep /"),
        (errno.EACCES, {"paranoid": "4"}, "perf_event_paranoid is 4", "sysctl -p"),
        (errno.EACCES, {"paranoid": "0"}, "although .* is 0: a security module", "ausearch"),
        (errno.EPERM, {"seccomp": "2"}, "seccomp filter, of a container", "--cap-add PERFMON"),
        (errno.EPERM, {}, "the kernel refuses perf_event_open", "CAP_PERFMON"),
        (errno.ENOSYS, {}, "no perf_event_open", "CONFIG_PERF_EVENTS"),
        (errno.ENOSYS, {"seccomp": "2"}, "seccomp filter", "seccomp profile"),
        (errno.ENODEV, {}, "went offline", "again"),
        (errno.EMFILE, {}, "too many files", "ulimit"),
        (errno.EINVAL, {}, "Invalid argument", "perf stat"),
    ],
)  # fmt: skip
def test_what_keeps_a_counter_from_being_opened_is_told_apart(tmp_path, code, facts, reason, hint):
    proc = procfs(tmp_path / "proc", **facts)
    pmu = PowerPmu.xeon(tmp_path / "sys")
    pmu.refuse(code)
    with pytest.raises(PluginUnavailable, match=reason) as caught:
        profiler_on(pmu, proc=proc).check_available()
    assert "energy-pkg cannot be opened" in caught.value.reason
    assert re.search(hint, caught.value.hint)
    assert pmu.still_open == 0


def test_a_part_that_the_kernel_refuses_is_left_out_with_a_word(tmp_path):
    """A counter in sysfs that the kernel then knows nothing of."""
    pmu = PowerPmu.laptop(tmp_path / "sys")
    (pmu.root / "bus/event_source/devices/power/events/energy-gpu").write_text("event=0x09\n")
    _, powers, said = measured(pmu)
    assert "cpu:0/uncore" not in powers
    assert "energy-gpu/ on CPU 0 is left out: Invalid argument" in said


def test_the_default_level_is_taken_where_procfs_is_hidden(tmp_path):
    error = refusal(PermissionError(errno.EACCES, "Permission denied"), "e", tmp_path / "nowhere")
    assert "is 2" in error.reason
