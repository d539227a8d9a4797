"""The adapter of ``perf stat``, with a program that behaves like it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_programs import World, alive, power_pmu

from greenai_core import ConfigError, PluginUnavailable, Session
from greenai_core.testing import WindowConformance
from greenai_plugins.profilers import perf_stat as perf_stat_module
from greenai_plugins.profilers.perf_stat import PerfStatProfiler, parse
from greenai_plugins.profilers.wrapped_program import WrappedProgram

# The form of perf's CSV: man perf-stat, "CSV FORMAT"; a dump with sockets at
# https://github.com/torvalds/linux/blob/v6.1/tools/perf/tests/shell/stat%2Bcsv_output.sh
# and of these events in https://github.com/ocaml-bench/sandmark/issues/378
TWO_SOCKETS = """Events disabled
Events enabled
S0;1;43.26;Joules;power/energy-pkg/;1001041336;100.00;;
S1;1;40.11;Joules;power/energy-pkg/;1001041336;100.00;;
S0;1;3.05;Joules;power/energy-ram/;1001041336;100.00;;
S1;0;<not counted>;Joules;power/energy-ram/;0;100.00;;
S0;1;<not supported>;Joules;power/energy-psys/;0;100.00;;

"""

WATTS = {"0/energy-pkg": 60.0, "1/energy-pkg": 40.0, "0/energy-ram": 5.0, "1/energy-ram": 4.0}
IDS = {
    "cpu:0/package": "0/energy-pkg", "cpu:1/package": "1/energy-pkg",
    "cpu:0/dram": "0/energy-ram", "cpu:1/dram": "1/energy-ram",
}  # fmt: skip


@pytest.fixture
def world(tmp_path):
    power_pmu(tmp_path / "devices", "energy-pkg", "energy-ram")
    return World(tmp_path / "world", dict(WATTS))


def perf_stat(world, **options):
    options = {"patience_s": 60.0, "devices": world.folder.parent / "devices"} | options
    return PerfStatProfiler(perf=world.perf, **options)


class TestConformance(WindowConformance):
    """Two sockets, as perf tells them."""

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path, monkeypatch):
        self.tmp_path = tmp_path
        power_pmu(tmp_path / "devices", "energy-pkg", "energy-ram")

    def make_hardware(self):
        self.clock = World(self.tmp_path / "world", dict(WATTS))

    def make_profiler(self):
        return perf_stat(self.clock)

    def make_absent(self):
        return PerfStatProfiler(perf="perf-that-is-not-there")

    def true_energy(self, start, end, channel):
        return WATTS[IDS[channel]] * (end - start)

    def break_sensor(self, channel):
        self.clock.show(IDS[channel], "<not counted>")


def test_what_perf_prints():
    assert parse(TWO_SOCKETS) == {
        (0, "energy-pkg"): 43.26,
        (1, "energy-pkg"): 40.11,
        (0, "energy-ram"): 3.05,
        (1, "energy-ram"): "not counted",
        (0, "energy-psys"): "not supported",
    }


@pytest.mark.parametrize(
    "line",
    [
        "S0;1;43,26;Joules;power/energy-pkg/;1001041336;100,00;;",  # a decimal comma
        "S0;1;nan;Joules;power/energy-pkg/;1;100.00;;",
        "S0;1;-3.00;Joules;power/energy-pkg/;1;100.00;;",
        "S0;1;43;;power/energy-pkg/;1;100.00;;",  # raw counts, as of a kernel without a scale
    ],
)
def test_what_is_no_number_of_joules_is_told_in_words(line):
    (told,) = parse(line).values()
    assert isinstance(told, str)


@given(st.text(max_size=300))
def test_any_text_is_parsed(text):
    assert all(isinstance(told, str) or told >= 0 for told in parse(text).values())


@given(cut=st.integers(0, len(TWO_SOCKETS)))
def test_output_that_is_cut_gives_whole_figures_or_none(cut):
    whole = parse(TWO_SOCKETS)
    assert parse(TWO_SOCKETS[:cut]).items() <= whole.items()


@given(cut=st.integers(0, len(TWO_SOCKETS)), noise=st.text(max_size=20))
def test_other_lines_between_do_no_harm(cut, noise):
    lines = TWO_SOCKETS.splitlines()
    mixed = "\n".join(part for line in lines for part in (line, f"Events {noise.strip()}"))
    assert parse(TWO_SOCKETS).items() <= parse(mixed).items()


def test_channels_are_those_of_rapl(world):
    profiler = perf_stat(world)
    profiler.open(world)
    found = {c.id: (c.component, c.contained_in, c.method) for c in profiler.channels}
    profiler.close()
    assert found == {
        "cpu:0/package": ("cpu", None, "counter"),
        "cpu:1/package": ("cpu", None, "counter"),
        "cpu:0/dram": ("dram", None, "counter"),
        "cpu:1/dram": ("dram", None, "counter"),
    }


def test_the_platform_holds_the_packages_and_a_second_one_is_left_out(tmp_path):
    events = ("energy-pkg", "energy-cores", "energy-gpu", "energy-psys")
    power_pmu(tmp_path / "devices", *events)
    watts = {f"{socket}/{event}": 10.0 for socket in (0, 1) for event in events}
    world = World(tmp_path / "world", watts)
    profiler = perf_stat(world)
    profiler.open(world)
    inside = {c.id: c.contained_in for c in profiler.channels}
    profiler.close()
    assert inside["cpu:1/package"] == "psys"
    assert inside["cpu:0/core"] == inside["cpu:0/uncore"] == "cpu:0/package"
    assert list(inside).count("psys") == 1


def test_a_window_has_the_joules_of_its_own_time(world):
    with Session([perf_stat(world)], clock=world) as session:
        world.sleep(7.0)
        with session.window() as window:
            world.sleep(3.0)
        world.sleep(7.0)
    assert window.energy_j == pytest.approx(3.0 * sum(WATTS.values()), rel=1e-3)


def test_what_takes_time_to_begin_and_end_is_in_the_interval(world, monkeypatch):
    """Between the order to count and the answer nobody knows whether it counts."""
    profiler = perf_stat(world)
    profiler.open(world)
    order = perf_stat_module._Run._order

    def slowly(run, what):
        order(run, what)
        world.sleep(0.5)

    monkeypatch.setattr(perf_stat_module._Run, "_order", slowly)
    profiler.start()
    world.sleep(10.0)
    window = profiler.stop()
    profiler.close()
    (package, *_) = window.channels
    (outside,) = [t for t in window.budget if t.name == "outside" and "cpu:0/package" in t.detail]
    # 0.5 s at the beginning; at the end it was disabled before the 0.5 s passed.
    assert outside.u == pytest.approx(60.0 * 1.0, rel=0.1)
    assert package.repeat_low_j < 600.0 < package.repeat_high_j


def test_without_the_program_the_remedy_installs_it():
    with pytest.raises(PluginUnavailable) as caught:
        PerfStatProfiler(perf="no-such-perf").check_available()
    assert "no program 'no-such-perf'" in caught.value.reason
    assert "apt install linux-perf" in caught.value.hint


def test_without_the_events_it_says_so(world, tmp_path):
    with pytest.raises(PluginUnavailable) as caught:
        perf_stat(world, devices=tmp_path / "none").check_available()
    assert "energy-pkg" in caught.value.reason
    assert world.calls() == []


@pytest.mark.parametrize(
    ("printed", "reason", "hint"),
    [
        # tools/perf/util/evsel.c, evsel__open_strerror
        (
            "Error:\nAccess to performance monitoring and observability operations is limited.\n",
            "may not count",
            "perf_event_paranoid=0",
        ),
        ("  Error: unknown option `control'\n", "cannot be told when", "5.10"),
        (
            "WARNING: perf not found for kernel 6.8.0-45\n\n  You may need to install the "
            "following packages for this specific kernel:\n    linux-tools-6.8.0-45-generic\n"
            "    linux-cloud-tools-6.8.0-45-generic\n\n  You may also want to install one of the "
            "following packages to keep up to date:\n    linux-tools-generic\n"
            "    linux-cloud-tools-generic\n",
            "no perf for this kernel",
            "linux-tools-$(uname -r)",
        ),
        ("Segmentation fault\n", "does not count", "perf stat -a"),
    ],
)
def test_a_refusal_tells_its_remedy(world, printed, reason, hint):
    world.break_with(refuse=printed)
    with pytest.raises(PluginUnavailable) as caught:
        perf_stat(world).check_available()
    assert reason in caught.value.reason
    assert printed.split()[0] in caught.value.reason
    assert hint in caught.value.hint


def test_events_that_are_not_supported_anywhere_are_no_channels(world):
    for name in WATTS:
        if "ram" in name:
            world.show(name, "<not supported>")
    profiler = perf_stat(world)
    profiler.open(world)
    assert [c.id for c in profiler.channels] == ["cpu:0/package", "cpu:1/package"]
    profiler.close()
    for name in WATTS:
        world.show(name, "<not supported>")
    with pytest.raises(PluginUnavailable, match="energy-pkg is not supported"):
        perf_stat(world).check_available()


def test_a_refusal_at_the_beginning_of_a_window_is_a_reason(world):
    with Session([perf_stat(world)], clock=world) as session:
        world.break_with(refuse="perf_event_paranoid setting is 4\n")
        with session.window() as window:
            world.sleep(3.0)
    assert window.energy_j is None
    assert all("perf_event_paranoid setting is 4" in m.reason for m in window.missing)


def test_closing_inside_a_window_leaves_no_process(world):
    profiler = perf_stat(world)
    profiler.open(world)
    profiler.start()
    pid = world.pid
    assert alive(pid)
    profiler.close()
    assert not alive(pid)


def test_nothing_is_left_running_when_greenai_is_killed(world, tmp_path):
    """SIGKILL gives no chance to tidy up: the program ends as its input does."""
    script = tmp_path / "victim.py"
    script.write_text(
        "import os, signal\n"
        "from greenai_plugins.profilers.perf_stat import PerfStatProfiler\n"
        f"p = PerfStatProfiler(perf={world.perf!r}, devices={str(tmp_path / 'devices')!r})\n"
        "p.open(); p.start()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, str(script)], check=False)
    assert killed.returncode == -signal.SIGKILL
    pid = world.pid
    deadline = time.monotonic() + 10.0
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not alive(pid)


def test_a_forked_worker_that_outlives_the_window_does_not_hold_it_up(world):
    """A DataLoader's workers inherit our end of the pipe; closing it would end nothing."""
    profiler = perf_stat(world)
    profiler.open(world)
    profiler.start()
    worker = os.fork()
    if worker == 0:
        time.sleep(60)
        os._exit(0)
    try:
        world.sleep(3.0)
        assert profiler.stop().energy_j == pytest.approx(3.0 * sum(WATTS.values()), rel=1e-3)
    finally:
        os.kill(worker, signal.SIGKILL)
        os.waitpid(worker, 0)
        profiler.close()


def test_a_quick_function_is_not_held_up_by_the_delay(world):
    """The trap of old: a window lasted a multiple of the delay."""
    profiler = perf_stat(world, delay=5.0)
    profiler.open(world)
    began = time.perf_counter()
    seconds, _, result = profiler.evaluate(lambda: world.sleep(0.5) or "done")
    assert time.perf_counter() - began < 4.5
    assert (seconds, result) == (pytest.approx(0.5), "done")
    profiler.close()


@pytest.mark.parametrize("delay", [-1, float("nan"), "soon"])
def test_a_delay_that_is_no_time(delay):
    with pytest.raises(ConfigError, match="delay"):
        PerfStatProfiler(delay)


@pytest.mark.system
def test_the_real_perf_obeys_orders():
    """With an event that any machine has: there is no RAPL where the tests run."""
    perf = shutil.which("perf")
    if perf is None:
        pytest.skip("perf is not installed: sudo apt install linux-perf")
    orders_in, orders = os.pipe()
    answers, answers_out = os.pipe()
    command = [perf, "stat", "-a", "-x;", "--per-socket", "-e", "cpu-clock", "-D", "-1"]
    command += ["--control", f"fd:{orders_in},{answers_out}", "--"]
    program = WrappedProgram(command, patience_s=10.0, pass_fds=(orders_in, answers_out))
    try:
        for order in (b"disable\n", b"enable\n", b"disable\n"):
            os.write(orders, order)
            assert program.hear(answers).startswith(b"ack")
        printed = program.end().stderr
    finally:
        program.kill()
        for fd in (orders_in, orders, answers, answers_out):
            os.close(fd)
    assert "S0;" in printed
    assert "cpu-clock" in printed
