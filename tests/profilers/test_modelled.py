"""The model of last resort, on machines that a test describes."""

import re
import time

import pytest

from greenai_core import (
    ConfigError,
    LifecycleError,
    PackageLimit,
    PluginUnavailable,
    ReadingError,
    Telemetry,
    package_limits,
)
from greenai_core.clock import SYSTEM_CLOCK
from greenai_core.testing import PowercapTree, VirtualClock
from greenai_plugins.profilers.cpu_table import DESIGNS, find_design
from greenai_plugins.profilers.host import Machine, busy_seconds, cpu_quota, look, memory_limit
from greenai_plugins.profilers.modelled import (
    ERROR,
    FALLBACK_ERROR,
    IDLE_SHARE,
    IDLE_W,
    MAX_W,
    MEMORY_W_PER_GIB,
    ModelledProfiler,
    power_model,
)

GIB = 2**30
UNKNOWN = Machine("Any CPU", 8, 8.0, 1, False, 16 * GIB)
EPYC = Machine("AMD EPYC 7763 64-Core Processor", 256, 256.0, 2, False, 512 * GIB)
CLOUD = Machine("AMD EPYC 7763 64-Core Processor", 4, 4.0, 1, True, 16 * GIB)


class Load:
    """CPU time that a test spends, in whole jiffies."""

    def __init__(self, clock):
        self.clock = clock
        self.utilisation, self.cpus = 0.0, 8.0
        self.seconds, self.since = 1000.0, clock.now()

    def set(self, utilisation):
        self()
        self.utilisation = utilisation

    def __call__(self, machine=None):
        now = self.clock.now()
        self.seconds += self.utilisation * self.cpus * (now - self.since)
        self.since = now
        return int(self.seconds * 100 + 1e-6) / 100


def opened(machine=UNKNOWN, **options):
    clock = VirtualClock()
    load = Load(clock)
    load.cpus = machine.cpus
    profiler = ModelledProfiler(
        machine=lambda: machine, busy=load, powercap="/nonexistent", **options
    )
    profiler.open(clock)
    return profiler, clock, load


@pytest.mark.parametrize("utilisation", [0.0, 0.25, 1.0])
def test_energy_follows_the_utilisation(utilisation):
    profiler, clock, load = opened(tdp_w=100)
    load.set(utilisation)
    seconds, joules, _ = profiler.evaluate(clock.sleep, 10.0)
    cpu = 100 * (IDLE_SHARE + (1 - IDLE_SHARE) * utilisation)
    assert joules == pytest.approx((cpu + 16 * MEMORY_W_PER_GIB) * seconds, rel=2e-3)
    assert profiler.get_unit() == "J"


def test_it_is_called_modelled_with_a_wide_interval():
    profiler, clock, load = opened(tdp_w=100)
    load.set(0.5)
    profiler.start()
    clock.sleep(10.0)
    window = profiler.stop()
    assert window.method == "modelled"
    assert window.contains == ("model:cpu", "model:dram")
    assert window.low_j <= 0.6 * window.energy_j
    assert window.high_j >= 1.4 * window.energy_j
    assert all(not channel.measured for channel in profiler.channels)
    assert [c.component for c in profiler.channels] == ["cpu", "dram"]


def test_it_gives_way_to_every_other_profiler():
    from greenai_plugins.profilers.rapl import RaplProfiler

    assert ModelledProfiler.priority < RaplProfiler.priority
    assert ModelledProfiler.priority == 0


def test_cpu_time_that_steps_back_is_not_energy():
    clock, times = VirtualClock(), [100.0]
    profiler = ModelledProfiler(
        machine=lambda: UNKNOWN, busy=lambda machine: times[-1], powercap="/nonexistent"
    )
    profiler.open(clock)
    begun = profiler.begin()
    for seconds in (101.0, 100.9, 101.0):
        times.append(seconds)
        clock.sleep(1.0)
        profiler.mark()
    cpu, _ = profiler.end(begun)
    assert cpu.energy_j == pytest.approx(3 * 8 * IDLE_W + (MAX_W - IDLE_W) * 1.0, rel=1e-3)


# Which model


def limits(*watts):
    return [PackageLimit(power, "power limit in force") for power in watts]


def test_given_power_goes_first():
    model = power_model(EPYC, tdp_w=50.0, limits=limits(200.0))
    assert (model.max_w, model.idle_w, model.error) == (50.0, 50.0 * IDLE_SHARE, ERROR)
    assert "as given" in model.basis


def test_limits_in_force_go_before_the_data_sheet():
    model = power_model(EPYC, limits=limits(240.0, 240.0))
    assert model.max_w == 480.0
    assert "power limit" in model.basis


@pytest.mark.parametrize("limit", [0.0, 4095.9])
def test_limits_that_mean_no_limit_are_not_believed(limit):
    assert power_model(EPYC, limits=limits(limit, limit)).max_w == 560.0


def test_data_sheet_counts_for_each_socket():
    model = power_model(EPYC)
    assert model.max_w == 2 * 280.0
    assert "TDP of 280 W" in model.basis


def test_virtual_machine_gets_its_share_and_says_so():
    model = power_model(CLOUD, limits=limits(240.0))
    assert model.max_w == pytest.approx(280.0 / 128 * 4)
    assert "4 virtual CPUs" in model.basis
    assert model.error == ERROR


def test_container_gets_its_share_and_says_so():
    limited = Machine("AMD EPYC 7763", 128, 16.0, 1, False, GIB)
    model = power_model(limited)
    assert model.max_w == pytest.approx(280.0 / 8)
    assert "16 in use here" in model.basis


def test_unlisted_cpu_has_the_widest_interval():
    model = power_model(UNKNOWN)
    assert (model.idle_w, model.max_w) == (8 * IDLE_W, 8 * MAX_W)
    assert model.error == FALLBACK_ERROR
    profiler, _, _ = opened(UNKNOWN)
    assert "±60%" in profiler.channels[0].description
    assert profiler.channels[0].gain_uncertainty > 0.3


@pytest.mark.parametrize(
    ("name", "watts", "threads"),
    [
        ("Intel(R) Xeon(R) Platinum 8380 CPU @ 2.30GHz", 270, 80),
        ("Intel(R) Xeon(R) Platinum 8480+", 350, 112),
        ("Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz", 120, 28),
        ("Intel(R) Core(TM) i7-8700 CPU @ 3.20GHz", 65, 12),
        ("13th Gen Intel(R) Core(TM) i9-13900K", 125, 32),
        ("AMD EPYC 7742 64-Core Processor", 225, 128),
        ("AMD Ryzen 9 5950X 16-Core Processor", 105, 32),
    ],
)
def test_data_sheets_are_found_by_the_kernels_name(name, watts, threads):
    design = find_design(name)
    assert (design.tdp_w, design.threads) == (watts, threads)


@pytest.mark.parametrize(
    "name",
    ["AMD EPYC", "Intel(R) Core(TM) i7-8700K CPU @ 3.70GHz", "Intel(R) Xeon(R) Platinum 8481C", ""],
)
def test_relatives_are_not_taken_for_the_listed_ones(name):
    assert find_design(name) is None


def test_each_cpu_is_listed_once_with_its_source():
    assert len({design.pattern for design in DESIGNS}) == len(DESIGNS)
    assert all(re.fullmatch(r"Intel ARK \d+|AMD, .*", design.source) for design in DESIGNS)


def test_memory_is_known_less_well_than_the_cpu():
    profiler, _, _ = opened()
    assert "±80%" in profiler.channels[1].description


@pytest.mark.parametrize("tdp", ["sixty", 0, -5, "nan", float("inf")])
def test_power_that_is_none_is_refused(tdp):
    with pytest.raises(ConfigError, match="tdp_w"):
        ModelledProfiler(tdp_w=tdp)


def test_power_may_come_as_text():
    profiler, _, _ = opened(tdp_w="65")
    assert "65 W at full load" in profiler.channels[0].description


# What the machine tells


def test_limits_are_read_from_the_powercap_tree(tmp_path):
    with PowercapTree.xeon(tmp_path / "powercap") as tree:
        assert package_limits(tree.root) == limits(205.0, 205.0)
    with PowercapTree.laptop(tmp_path / "laptop") as tree:
        assert package_limits(tree.root) == limits(28.0)
    with PowercapTree.epyc(tmp_path / "epyc") as tree:
        assert package_limits(tree.root) == [], "AMD's packages tell none"
    assert package_limits(tmp_path / "nothing") == []


def zone(root, number, **files):
    """A package as Documentation/power/powercap/powercap.rst of Linux describes it."""
    folder = root / f"intel-rapl:{number}"
    folder.mkdir(parents=True)
    for name, content in {"name": f"package-{number}", "enabled": 1, **files}.items():
        (folder / name).write_text(f"{content}\n")


@pytest.mark.parametrize(
    ("told", "found"),
    [
        # A desktop board that lifts the limit: 4095.875 W is the largest that fits.
        ({"power_limit": 4095_875_000, "max_power": 125_000_000}, 125.0),
        ({"power_limit": 0, "max_power": 125_000_000}, 125.0),
        ({"power_limit": 253_000_000, "max_power": 125_000_000}, 253.0),
        ({"power_limit": 253_000_000, "max_power": 125_000_000, "enabled": 0}, 125.0),
        ({"power_limit": 4095_875_000, "max_power": 0}, None),
        ({"power_limit": 4095_875_000}, None),
        ({"power_limit": "nonsense"}, None),
    ],
)
def test_a_limit_that_is_none_gives_way_to_the_design_power(tmp_path, told, found):
    names = {key: f"constraint_0_{key}_uw" for key in ("power_limit", "max_power")}
    zone(tmp_path, 0, **{names.get(key, key): value for key, value in told.items()})
    assert [limit.power_w for limit in package_limits(tmp_path)] == (
        [] if found is None else [found]
    )
    model = power_model(UNKNOWN, limits=package_limits(tmp_path))
    if found is None:
        assert model.error == FALLBACK_ERROR
    else:
        assert model.max_w == found
        kind = "power limit in force" if found == 253.0 else "thermal design power"
        assert kind in model.basis


def test_one_package_that_tells_nothing_spoils_the_sum(tmp_path):
    zone(tmp_path, 0, constraint_0_power_limit_uw=200_000_000)
    zone(tmp_path, 1)
    assert package_limits(tmp_path) == []


CPUINFO = """processor\t: {n}
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R) Platinum 8380 CPU @ 2.30GHz
physical id\t: {n}
flags\t\t: fpu vme sse2{extra}

"""


@pytest.mark.parametrize(("extra", "virtual"), [("", False), (" hypervisor lahf_lm", True)])
def test_cpuinfo(tmp_path, extra, virtual):
    file = tmp_path / "cpuinfo"
    file.write_text("".join(CPUINFO.format(n=n, extra=extra) for n in range(2)))
    machine = look(file, tmp_path)
    assert machine.cpu == "Intel(R) Xeon(R) Platinum 8380 CPU @ 2.30GHz"
    assert (machine.sockets, machine.virtual) == (2, virtual)
    assert machine.cpus == machine.threads > 0
    assert (machine.note, machine.cgroup) == ("", None)


def write(folder, **files):
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def test_limits_of_a_container(tmp_path):
    write(tmp_path, cpu_dot_max="50000 100000\n", memory_dot_max="1073741824\n")
    write(tmp_path, cpu_dot_stat="usage_usec 1500000\nuser_usec 1000000\n")
    machine = look(tmp_path / "no-cpuinfo", tmp_path)
    assert (machine.cpus, machine.memory_bytes) == (0.5, GIB)
    assert "may use 0.5 of" in machine.note
    assert "limit of this container" in machine.memory_note
    assert busy_seconds(machine) == 1.5, "the container's own CPU time, not the host's"


def test_limits_of_cgroups(tmp_path):
    assert (cpu_quota(tmp_path), memory_limit(tmp_path)) == (None, None)
    write(tmp_path, cpu_dot_max="max 100000\n", memory_dot_max="max\n")
    assert (cpu_quota(tmp_path), memory_limit(tmp_path)) == (None, None)
    old = tmp_path / "v1"
    write(old, cpu__cpu_dot_cfs_quota_us="-1\n", cpu__cpu_dot_cfs_period_us="100000\n")
    assert cpu_quota(old) is None
    write(old, cpu__cpu_dot_cfs_quota_us="300000\n", memory__memory_dot_limit_in_bytes="4096\n")
    assert (cpu_quota(old), memory_limit(old)) == (3.0, 4096)


def test_this_machine():
    """Real CPU time on the real clock: busy costs more than idle, and it is all there."""
    profiler = ModelledProfiler(tdp_w=100)
    profiler.check_available()

    def spin(seconds):
        end = time.process_time() + seconds
        while time.process_time() < end:
            pass

    profiler.open()
    profiler.evaluate(spin, 0.3)
    cpu = next(c for c in profiler.last.channels if c.id == "model:cpu")
    assert cpu.energy_j > 100 * IDLE_SHARE * profiler.last.duration_s * 1.02
    profiler.close()


# Telemetry


def test_utilisation_is_the_mean_since_the_call_before():
    profiler, clock, load = opened()
    assert isinstance(profiler, Telemetry)

    def utilisation():
        return [o.value for o in profiler.observe() if o.quantity == "utilisation"]

    assert utilisation() == [], "no time has passed: it is not known, and not zero"
    load.set(0.75)
    clock.sleep(10.0)
    assert utilisation() == pytest.approx([75.0], abs=0.2)
    load.set(0.0)
    clock.sleep(5.0)
    assert utilisation() == [0.0]


def test_observations_have_units():
    profiler, clock, _ = opened()
    clock.sleep(1.0)
    units = {o.quantity: o.unit for o in profiler.observe()}
    assert units["utilisation"] == "%"
    assert units["memory_used"] == "B"
    assert units.get("temperature", "°C") == "°C"
    assert units.get("clock", "MHz") == "MHz"


def test_observing_what_is_not_open():
    with pytest.raises(LifecycleError):
        ModelledProfiler().observe()


# Failures


def silent(machine):
    raise OSError("no /proc/stat")


def test_system_that_does_not_tell():
    with pytest.raises(PluginUnavailable, match="/proc"):
        ModelledProfiler(machine=lambda: UNKNOWN, busy=silent).check_available()


def test_system_that_stops_telling():
    profiler, clock, _ = opened()
    profiler._busy = silent
    clock.sleep(1.0)
    with pytest.raises(ReadingError):
        profiler.evaluate(clock.sleep, 1.0)
    with pytest.raises(ReadingError):
        profiler.observe()


def test_system_clock_is_the_default():
    assert ModelledProfiler().clock is SYSTEM_CLOCK
