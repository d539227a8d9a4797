"""The adapter of pyJoules, which reads a powercap tree of plain files and a mocked NVML."""

from __future__ import annotations

import errno
import math
import time

import pytest

from greenai_core import ConfigError, LifecycleError, PluginUnavailable, ReadingError

pytest.importorskip("pyJoules")

import pynvml
from pyJoules.device import rapl_device

from greenai_core.testing.clock import VirtualClock
from greenai_core.testing.profiler_suite import WindowConformance
from greenai_plugins.profilers.pyjoules_adapter import PyJoulesProfiler

# pyJoules never closes the files that it reads.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")


class Powercap:
    """A tree of the files that pyJoules reads."""

    def __init__(self, root):
        self.root = root

    def add(self, name, *zone, uj=1_000_000, range_uj=262_143_328_850):
        folder = self.root
        for depth in range(len(zone)):
            folder = folder / ("intel-rapl:" + ":".join(map(str, zone[: depth + 1])))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "name").write_text(f"{name}\n")
        (folder / "max_energy_range_uj").write_text(f"{range_uj}\n")
        (folder / "energy_uj").write_text(f"{uj}\n")
        return folder / "energy_uj"


@pytest.fixture
def powercap(tmp_path, monkeypatch):
    root = tmp_path / "intel-rapl"
    monkeypatch.setattr(rapl_device, "RAPL_API_DIR", str(root))
    monkeypatch.setattr(pynvml, "nvmlInit", no_nvml)
    return Powercap(root)


def no_nvml():
    raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)


@pytest.fixture
def gpus(monkeypatch):
    """Two GPUs: millijoules by index, or an error to raise."""
    counts = {0: 5_000, 1: 7_000}
    uses = {"init": 0, "shutdown": 0}

    def energy(handle):
        if isinstance(counts[handle], Exception):
            raise counts[handle]
        return counts[handle]

    monkeypatch.setattr(pynvml, "nvmlInit", lambda: uses.update(init=uses["init"] + 1))
    monkeypatch.setattr(pynvml, "nvmlShutdown", lambda: uses.update(shutdown=uses["shutdown"] + 1))
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: 2)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda index: index)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetUUID", lambda handle: f"GPU-{handle:04d}")
    monkeypatch.setattr(pynvml, "nvmlDeviceGetTotalEnergyConsumption", energy)
    yield counts
    assert uses["init"] == uses["shutdown"]


def opened(clock=None):
    profiler = PyJoulesProfiler()
    profiler.open(clock or VirtualClock())
    return profiler


class TestConformance(WindowConformance):
    """One socket at 30 W with its memory at 5 W."""

    @pytest.fixture(autouse=True)
    def _tree(self, powercap, monkeypatch):
        self.powercap, self.monkeypatch = powercap, monkeypatch

    def make_hardware(self):
        self.clock = VirtualClock()
        self.files = {
            "cpu:0/package": (30.0, self.powercap.add("package-0", 0)),
            "cpu:0/dram": (5.0, self.powercap.add("dram", 0, 0)),
        }

    def make_profiler(self):
        return PyJoulesProfiler()

    def make_absent(self):
        self.monkeypatch.setattr(rapl_device, "RAPL_API_DIR", "/nowhere")
        return PyJoulesProfiler()

    def advance(self, seconds):
        self.clock.sleep(seconds)
        for watts, file in self.files.values():
            if file.exists():
                file.write_text(f"{round(watts * self.clock.now() * 1e6)}\n")

    def true_energy(self, start, end, channel):
        return self.files[channel][0] * (end - start)

    def break_sensor(self, channel):
        self.files[channel][1].unlink()


def test_the_call_of_older_scripts(powercap):
    file = powercap.add("package-0", 0, uj=1_000_000)

    def work(n, show_every_step=False):
        file.write_text("3500000\n")
        return n, show_every_step

    profiler = PyJoulesProfiler(0.1)
    seconds, joules, result = profiler.evaluate(work, 5, show_every_step=True)
    assert result == (5, True)
    assert joules == pytest.approx(2.5)
    assert profiler.get_unit() == "J"
    assert seconds < 0.1


def test_a_quick_function_is_not_held_up_by_the_delay(powercap):
    """The trap of old: a window lasted a multiple of the delay."""
    file = powercap.add("package-0", 0, uj=1_000_000)

    def work():
        time.sleep(0.057)
        file.write_text("3500000\n")

    began = time.perf_counter()
    seconds, joules, _ = PyJoulesProfiler(delay=5.0).evaluate(work)
    assert time.perf_counter() - began < 4.5
    assert 0.057 <= seconds < 1.0
    assert joules == pytest.approx(2.5)


def test_channels_are_those_of_the_profiler_rapl(powercap):
    for socket in (0, 1):
        powercap.add(f"package-{socket}", socket)
        powercap.add("core", socket, 0)
        powercap.add("dram", socket, 1)
    profiler = opened()
    found = {c.id: (c.component, c.contained_in) for c in profiler.channels}
    assert found == {
        "cpu:0/package": ("cpu", None),
        "cpu:1/package": ("cpu", None),
        "cpu:0/dram": ("dram", None),
        "cpu:1/dram": ("dram", None),
        "cpu:0/core": ("core", "cpu:0/package"),
        "cpu:1/core": ("core", "cpu:1/package"),
    }
    assert all(c.gain_uncertainty > 0 and c.gain_source for c in profiler.channels)


def test_dram_adds_to_the_package_and_core_does_not(powercap):
    files = [powercap.add("package-0", 0), powercap.add("core", 0, 0), powercap.add("dram", 0, 1)]

    def work():
        for file in files:
            file.write_text("2000000\n")

    assert PyJoulesProfiler().evaluate(work).energy_j == pytest.approx(2.0)


def test_a_wrapped_counter_is_an_error_and_never_negative_joules(powercap):
    file = powercap.add("package-0", 0, uj=262_143_000_000)
    with pytest.raises(ReadingError, match=r"cpu:0/package went back.*wrapped"):
        PyJoulesProfiler().evaluate(lambda: file.write_text("5000000\n"))


def test_a_wrap_of_one_socket_leaves_the_others_their_joules(powercap):
    wrapped, fine = powercap.add("package-0", 0), powercap.add("package-1", 1)
    profiler = opened()
    profiler.start()
    wrapped.write_text("3\n")
    fine.write_text("4000000\n")
    window = profiler.stop()
    assert window.energy_j is None
    assert [(c.id, c.energy_j) for c in window.channels] == [("cpu:1/package", pytest.approx(3.0))]
    assert [m.id for m in window.missing] == ["cpu:0/package"]


@pytest.mark.parametrize(
    ("range_uj", "seconds", "known"), [(10**9, 1.9, True), (10**9, 2.1, False)]
)
def test_a_window_in_which_a_wrap_could_hide_has_no_figure(powercap, range_uj, seconds, known):
    """1000 J at 500 W: after 2 s the difference says nothing any more."""
    file = powercap.add("package-0", 0, range_uj=range_uj)
    profiler = opened(clock := VirtualClock())
    profiler.start()
    clock.sleep(seconds)
    file.write_text("9000000\n")
    window = profiler.stop()
    assert (window.energy_j is not None) == known
    assert known or "rapl" in window.missing[0].reason


def test_dram_has_its_own_range(powercap):
    powercap.add("package-0", 0)
    file = powercap.add("dram", 0, 0, range_uj=10**9)
    profiler = opened(clock := VirtualClock())
    profiler.start()
    clock.sleep(3)
    file.write_text("9000000\n")
    reasons = {m.id: m.reason for m in profiler.stop().missing}
    assert "may have wrapped" in reasons["cpu:0/dram"]


def test_a_counter_that_stands_still_is_stuck(powercap):
    """The constant zero of virtual machines must not become 0 J."""
    powercap.add("package-0", 0, uj=0)
    profiler = opened(clock := VirtualClock())
    profiler.start()
    clock.sleep(1.5)
    window = profiler.stop()
    assert window.energy_j is None
    assert "did not move" in window.missing[0].reason


@pytest.mark.parametrize("when", ["start", "stop"])
@pytest.mark.parametrize("harm", ["gone", "empty", "garbage"])
def test_a_failed_read_is_an_error_with_its_cause(powercap, when, harm):
    file = powercap.add("package-0", 0)
    profiler = opened()

    def damage():
        file.unlink() if harm == "gone" else file.write_text("" if harm == "empty" else "abc\n")

    if when == "start":
        damage()
    profiler.start()
    if when == "stop":
        damage()
    else:
        file.write_text("99000000\n")
    window = profiler.stop()
    assert window.energy_j is None
    assert "pyJoules could not read cpu:0/package" in window.missing[0].reason


def test_a_machine_that_was_suspended_has_no_figure(powercap):
    """The tool counts on meanwhile, and the clock stands still."""
    file = powercap.add("package-0", 0)
    profiler = opened(clock := VirtualClock())
    profiler.start()
    clock.sleep(5.0)
    clock.suspend(9.0)
    file.write_text("99000000\n")
    window = profiler.stop()
    assert window.energy_j is None
    assert "suspended for 9.0 s while pyjoules measured" in window.missing[0].reason


def test_no_device_at_all(powercap):
    with pytest.raises(PluginUnavailable) as caught:
        PyJoulesProfiler().check_available()
    assert "neither Intel RAPL" in caught.value.reason
    assert "modprobe" in caught.value.hint


def test_no_permission_tells_the_rule_to_add(powercap, monkeypatch):
    file = powercap.add("package-0", 0)

    def refuse(self):
        raise PermissionError(errno.EACCES, "Permission denied", str(file))

    monkeypatch.setattr(rapl_device.RaplDevice, "get_energy", refuse)
    with pytest.raises(PluginUnavailable) as caught:
        PyJoulesProfiler().check_available()
    assert str(file) in caught.value.reason
    assert "tmpfiles" in caught.value.hint


def test_gpus_by_uuid_in_joules(powercap, gpus):
    profiler = opened()
    assert [c.id for c in profiler.channels] == ["gpu:GPU-0000", "gpu:GPU-0001"]
    profiler.start()
    gpus[0] += 1_500
    gpus[1] += 250
    assert profiler.stop().energy_j == pytest.approx(1.75)
    profiler.close()


def test_a_gpu_without_counter_is_absent(powercap, gpus):
    gpus[0] = pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
    profiler = opened()
    assert [c.id for c in profiler.channels] == ["gpu:GPU-0001"]
    profiler.close()


def test_a_gpu_that_is_lost_fails_alone(powercap, gpus):
    profiler = opened()
    profiler.start()
    gpus[0] = pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
    gpus[1] += 1_000
    window = profiler.stop()
    assert [m.id for m in window.missing] == ["gpu:GPU-0000"]
    assert window.energy_j is None
    profiler.close()


def test_windows_cannot_nest(powercap):
    powercap.add("package-0", 0)
    profiler = opened()
    profiler.begin()
    with pytest.raises(LifecycleError, match="cannot nest"):
        profiler.begin()
    profiler.close()


def test_repeated_work_adds_up(powercap):
    file = powercap.add("package-0", 0, uj=0)
    profiler = opened(clock := VirtualClock())
    recording = profiler.record()
    for step in range(5):
        file.write_text(f"{step * 2_000_000}\n")
        recording.tick()
        clock.sleep(0.5)
    ((channel, joules),) = recording.energies([0, 2, 4], [0.0, 1.0, 2.0])
    assert channel.id == "cpu:0/package"
    assert list(joules) == pytest.approx([4.0, 4.0])
    recording.close()
    profiler.close()


@pytest.mark.parametrize("delay", [-1, math.nan, math.inf, "soon", []])
def test_a_delay_that_is_no_time(delay):
    with pytest.raises(ConfigError, match="delay"):
        PyJoulesProfiler(delay)


def test_auto_prefers_our_own():
    assert PyJoulesProfiler.priority < 50
