"""RAPL on powercap trees of known power."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from greenai_core import PluginUnavailable, ReadingError
from greenai_core.clock import SYSTEM_CLOCK
from greenai_core.testing import PowercapTree, SquareWave, VirtualClock, Zone
from greenai_plugins.profilers.rapl import RaplProfiler

MACHINES = ["desktop", "xeon", "epyc", "laptop"]


@pytest.fixture
def opened(tmp_path):
    """A function that builds a tree, drives it, and opens a profiler on it."""
    trees, profilers = [], []

    def build(machine="desktop", period_s=1e-3, prepare=lambda tree: None, **loads):
        root = tmp_path / f"powercap{len(trees)}"
        make = getattr(PowercapTree, machine) if isinstance(machine, str) else PowercapTree
        tree = make(root, **loads) if isinstance(machine, str) else make(root, machine)
        trees.append(tree)
        prepare(tree)
        clock = VirtualClock()
        tree.drive(clock, period_s)
        profiler = RaplProfiler(root=root, cpuinfo=tree.cpuinfo)
        profilers.append(profiler)
        profiler.open(clock)
        return tree, profiler, clock

    yield build
    for profiler in profilers:
        profiler.close()
    for tree in trees:
        tree.close()


def joules(profiler, seconds):
    begun = profiler.begin()
    profiler.clock.sleep(seconds)
    return {reading.channel.id: reading.energy_j for reading in profiler.end(begun)}


CHANNELS = {
    "desktop": {
        "cpu:0/package": ("cpu", None),
        "cpu:0/core": ("core", "cpu:0/package"),
        "cpu:0/uncore": ("uncore", "cpu:0/package"),
    },
    "xeon": {
        "cpu:0/package": ("cpu", None),
        "cpu:0/dram": ("dram", None),
        "cpu:1/package": ("cpu", None),
        "cpu:1/dram": ("dram", None),
    },
    "epyc": {"cpu:0/package": ("cpu", None)},
    "laptop": {
        "cpu:0/package": ("cpu", "psys"),
        "cpu:0/core": ("core", "cpu:0/package"),
        "cpu:0/uncore": ("uncore", "cpu:0/package"),
        "cpu:0/dram": ("dram", "psys"),
        "psys": ("psys", None),
    },
}


@pytest.mark.parametrize("machine", MACHINES)
def test_channels_of_a_machine(opened, machine):
    _, profiler, _ = opened(machine)
    found = {c.id: (c.component, c.contained_in) for c in profiler.channels}
    assert found == CHANNELS[machine]
    for channel in profiler.channels:
        assert channel.method == "counter"
        assert channel.resolution_j == 1e-6
        assert channel.gain_uncertainty == (0.10 if machine == "epyc" else 0.03)
        assert "assumed" in channel.gain_source


@pytest.mark.parametrize(
    ("machine", "watts", "contains"),
    [
        ("desktop", 40.0, {"cpu:0/package"}),
        ("xeon", 340.0, {"cpu:0/package", "cpu:0/dram", "cpu:1/package", "cpu:1/dram"}),
        ("epyc", 180.0, {"cpu:0/package"}),
        ("laptop", 13.5, {"cpu:0/package", "cpu:0/dram"}),
    ],
)
def test_total_counts_nothing_twice_and_dram_on_top(opened, machine, watts, contains):
    """Parts of the package and mmio duplicates stay out; dram, nested or not, is added."""
    _, profiler, clock = opened(machine)
    seconds, energy, _ = profiler.evaluate(clock.sleep, 2.0)
    assert energy == pytest.approx(watts * seconds, rel=3e-3)
    assert set(profiler.last.contains) == contains


def test_changing_power_is_followed(opened):
    load = SquareWave(10.0, 150.0, 0.8, duty=0.3)
    tree, profiler, clock = opened("desktop", package=load)
    for seconds in (0.5, 1.0, 1.7):
        start = clock.now()
        found = joules(profiler, seconds)["cpu:0/package"]
        truth = tree.energy("intel-rapl:0", start, clock.now())
        assert found == pytest.approx(truth, rel=0.005)


@pytest.mark.parametrize("machine", ["xeon", "epyc"])
def test_wraps_are_exact(opened, machine):
    """Four wraps (Intel) and sixteen (AMD) in one window, and not one step is lost."""
    _, profiler, _ = opened(machine, package=3000.0, period_s=0.02)
    found = joules(profiler, 360.0)
    # The window is a whole number of updates long: both ends hide the same energy.
    assert found["cpu:0/package"] == pytest.approx(3000.0 * 360, abs=1.5 * 61e-6)


def test_dies_are_channels_of_their_own(opened):
    zones = [
        Zone("intel-rapl:0", "package-0-die-0", 30.0),
        Zone("intel-rapl:1", "package-0-die-1", 31.0, start_uj=98_765_432_000),
        Zone("intel-rapl:1:0", "dram", 5.0),
    ]
    _, profiler, clock = opened(zones)
    assert [c.id for c in profiler.channels] == [
        "cpu:0-die-0/package", "cpu:0-die-1/package", "cpu:0-die-1/dram",
    ]  # fmt: skip
    assert profiler.evaluate(clock.sleep, 1.0).energy_j == pytest.approx(66.0, rel=3e-3)


def test_sockets_are_named_after_the_package_not_the_zone(opened):
    """The kernel may number the zones otherwise than the sockets."""
    zones = [Zone("intel-rapl:0", "package-1", 10.0), Zone("intel-rapl:1", "package-0", 20.0)]
    _, profiler, _ = opened(zones)
    found = joules(profiler, 1.0)
    assert found["cpu:1/package"] == pytest.approx(10.0, rel=3e-3)
    assert found["cpu:0/package"] == pytest.approx(20.0, rel=3e-3)


def test_mmio_alone_is_used(opened):
    _, profiler, _ = opened([Zone("intel-rapl-mmio:0", "package-0", 15.0)])
    assert joules(profiler, 1.0) == {"cpu:0/package": pytest.approx(15.0, rel=3e-3)}


def test_second_psys_is_left_out_with_a_word(opened):
    zones = [
        Zone("intel-rapl:0", "package-0", 50.0),
        Zone("intel-rapl:1", "psys", 90.0),
        Zone("intel-rapl:2", "psys-1", 3.0),
    ]
    _, profiler, _ = opened(zones)
    assert [c.id for c in profiler.channels] == ["cpu:0/package", "psys"]
    assert "psys-1" in profiler.channels[0].description


def test_slave_psys_that_reads_zero_gives_way(opened):
    zones = [
        Zone("intel-rapl:0", "package-0", 50.0),
        Zone("intel-rapl:1", "psys", 0.0, start_uj=0),
        Zone("intel-rapl:2", "psys-1", 90.0),
    ]
    _, profiler, _ = opened(zones)
    assert joules(profiler, 1.0)["psys"] == pytest.approx(90.0, rel=3e-3)


def test_constant_zero_dram_is_left_out_with_a_word(opened):
    zones = [
        Zone("intel-rapl:0", "package-0", 50.0),
        Zone("intel-rapl:0:0", "dram", 0.0, start_uj=0),
    ]
    _, profiler, _ = opened(zones)
    assert [c.id for c in profiler.channels] == ["cpu:0/package"]
    assert "dram (intel-rapl:0:0) reads a constant 0" in profiler.channels[0].description


def test_part_that_cannot_be_read_is_left_out_with_a_word(opened):
    _, profiler, _ = opened("xeon", prepare=lambda tree: tree.fail("intel-rapl:1:0"))
    assert "cpu:1/dram" not in {c.id for c in profiler.channels}
    assert "intel-rapl:1:0) cannot be read" in profiler.channels[0].description


# Unavailable


def refused(root, **options):
    profiler = RaplProfiler(root=root, **options)
    with pytest.raises(PluginUnavailable) as caught:
        profiler.check_available()
    with pytest.raises(PluginUnavailable):
        profiler.open(VirtualClock())
    assert not profiler.is_open
    return caught.value


@pytest.mark.parametrize("prepare", [lambda root: None, lambda root: root.mkdir()])
def test_without_a_tree(tmp_path, prepare):
    prepare(tmp_path / "powercap")
    error = refused(tmp_path / "powercap")
    assert "no RAPL here" in error.reason
    assert "virtual machine" in error.reason
    assert "modprobe intel_rapl_msr" in error.hint


@pytest.mark.parametrize("zone", ["intel-rapl:0", "intel-rapl:1:0"])
def test_missing_permission_names_the_file_and_the_remedy(tmp_path, zone):
    """One file of four: all or none, never three channels without a word."""
    with PowercapTree.xeon(tmp_path / "powercap") as tree:
        tree.deny(zone)
        error = refused(tree.root)
    assert str(tree.energy_file(zone)) in error.reason
    assert "permission" in error.reason
    assert "/etc/tmpfiles.d/greenai-rapl.conf" in error.hint
    assert "intel-rapl/intel-rapl:*/energy_uj" in error.hint


def test_the_remedy_is_a_command_that_writes_both_lines(tmp_path):
    with PowercapTree.xeon(tmp_path / "powercap") as tree:
        tree.deny("intel-rapl:0")
        hint = refused(tree.root).hint
    command = re.search(r"printf .*?(?=>)", hint)[0]
    lines = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout
    folder = "/sys/devices/virtual/powercap/intel-rapl"
    assert lines.splitlines() == [
        f"z {folder}/intel-rapl:*/energy_uj 0440 root rapl",
        f"z {folder}/intel-rapl:*/intel-rapl:*/energy_uj 0440 root rapl",
    ]


def test_package_that_cannot_be_read(tmp_path):
    with PowercapTree.desktop(tmp_path / "powercap") as tree:
        tree.fail("intel-rapl:0")
        assert str(tree.energy_file("intel-rapl:0")) in refused(tree.root).reason


def test_virtual_machine_that_shows_a_constant_zero(tmp_path):
    with PowercapTree.virtual_machine(tmp_path / "powercap") as tree:
        error = refused(tree.root)
    assert "constant 0" in error.reason
    assert "virtual machine" in error.reason
    assert error.hint


def test_counters_that_do_not_move(tmp_path):
    """A constant above zero looks like a count, until it is read twice."""
    with PowercapTree.desktop(tmp_path / "powercap") as tree:
        profiler = RaplProfiler(root=tree.root)
        with pytest.raises(PluginUnavailable, match="do not move"):
            profiler.open(VirtualClock())
        assert not profiler.is_open


def test_one_socket_that_does_not_move(tmp_path):
    with PowercapTree.xeon(tmp_path / "powercap") as tree:
        clock = VirtualClock()
        tree.drive(clock)
        tree.stick("intel-rapl:1")
        with pytest.raises(PluginUnavailable, match=r"intel-rapl:1/energy_uj does not move"):
            RaplProfiler(root=tree.root).open(clock)


# Failures while it runs


@pytest.mark.parametrize("content", ["", "garbage\n", "-5\n", "12.5\n"])
def test_content_that_is_no_count_is_an_error(opened, content):
    tree, profiler, clock = opened("xeon")
    begun = profiler.begin()
    clock.sleep(1.0)
    tree.write("intel-rapl:0", content)
    readings = {r.channel.id: r for r in profiler.end(begun)}
    assert readings["cpu:0/package"].energy_j is None
    assert "cpu:0/package" in readings["cpu:0/package"].reason
    assert readings["cpu:1/package"].energy_j == pytest.approx(150.0, rel=2e-3)


def test_failing_read_names_the_file(opened):
    tree, profiler, _ = opened("desktop")
    os.close(profiler._fds["cpu:0/core"])
    profiler._fds["cpu:0/core"] = os.open(tree.root, os.O_RDONLY)
    core = next(c for c in profiler.channels if c.id == "cpu:0/core")
    with pytest.raises(ReadingError, match=r"intel-rapl:0:0/energy_uj could not be read \(Is a"):
        profiler.read(core)


def test_reset_and_standstill_while_running(opened):
    tree, profiler, clock = opened("xeon")
    begun = profiler.begin()
    clock.sleep(1.0)
    tree.reset("intel-rapl:0", clock.now())
    tree.stick("intel-rapl:1:0")
    clock.sleep(1.5)
    second = profiler.begin()
    clock.sleep(1.5)
    first = {r.channel.id: r for r in profiler.end(begun)}
    assert "reset" in first["cpu:0/package"].reason
    assert first["cpu:1/package"].energy_j == pytest.approx(600.0, rel=3e-3)
    after = {r.channel.id: r for r in profiler.end(second)}
    assert "did not move" in after["cpu:1/dram"].reason


def test_files_are_closed(opened):
    tree, profiler, _ = opened("laptop")
    assert open_below(tree.root)
    profiler.close()
    tree.close()
    assert not open_below(tree.root)


def open_below(folder):
    """What this process has open in a folder; other files come and go at any time."""
    links = [path.readlink() for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    return [link for link in links if link.is_relative_to(Path(folder).resolve())]


def test_real_time(tmp_path):
    """On the machine's clock, with a thread that moves the counters."""
    with PowercapTree.xeon(tmp_path / "powercap") as tree:
        ticker = tree.drive(SYSTEM_CLOCK)
        profiler = RaplProfiler(root=tree.root, cpuinfo=tree.cpuinfo)
        profiler.check_available()
        try:
            seconds, energy, _ = profiler.evaluate(SYSTEM_CLOCK.sleep, 0.3)
        finally:
            ticker.cancel()
        # The machine of the tests may be busy: half a period late is no news there.
        assert energy == pytest.approx(340.0 * seconds, rel=0.25)


@pytest.mark.parametrize("content", ["0", "-5", "x", "", "9" * 400])
def test_a_range_that_cannot_be_is_refused_with_its_file(tmp_path, content):
    """With a range below 0 the modulus would be too, and so might be joules."""
    with PowercapTree.desktop(tmp_path) as tree:
        clock = VirtualClock()
        tree.drive(clock)
        (tmp_path / "intel-rapl:0" / "max_energy_range_uj").write_text(content)
        profiler = RaplProfiler(root=tmp_path, cpuinfo=tree.cpuinfo)
        with pytest.raises(PluginUnavailable, match="max_energy_range_uj") as caught:
            profiler.open(clock)
        assert caught.value.hint


def test_a_name_that_is_no_text_is_no_zone(tmp_path):
    with PowercapTree.desktop(tmp_path) as tree:
        (tmp_path / "intel-rapl:0" / "name").write_bytes(b"\xff\xfe")
        (tmp_path / "intel-rapl-mmio:0" / "name").write_bytes(b"\xff")
        with pytest.raises(PluginUnavailable, match="no package zone"):
            RaplProfiler(root=tmp_path, cpuinfo=tree.cpuinfo).check_available()


@pytest.mark.parametrize("dead", ["0", ""])
def test_memory_whose_counter_does_not_work_is_told(tmp_path, dead):
    """The total goes on without it, and nobody reads the descriptions of channels."""
    with PowercapTree.xeon(tmp_path, sockets=1) as tree:
        clock = VirtualClock()
        tree.drive(clock)
        profiler = RaplProfiler(root=tmp_path, cpuinfo=tree.cpuinfo)
        profiler.open(clock)
        assert profiler.notes() == []
        profiler.close()
        tree.stick("intel-rapl:0:0")
        (tmp_path / "intel-rapl:0:0" / "energy_uj").write_text(dead)
        profiler.open(clock)
        assert [channel.id for channel in profiler.channels] == ["cpu:0/package"]
        [note] = profiler.notes()
        assert "intel-rapl:0:0" in note
        assert "no total holds that memory" in note
        profiler.close()
