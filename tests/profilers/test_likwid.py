"""The adapter of ``likwid-powermeter``, with a program that behaves like it."""

from __future__ import annotations

import os
import resource
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_programs import World, alive

from greenai_core import ConfigError, PluginUnavailable, Session
from greenai_core.testing import WindowConformance
from greenai_plugins.profilers.likwid import LikwidProfiler, parse

# After the dump of two sockets in https://github.com/RRZE-HPC/likwid/issues/617
TWO_SOCKETS = """--------------------------------------------------------------------------------
CPU name:\tIntel(R) Xeon(R) Silver 4114 CPU @ 2.20GHz
CPU type:\tIntel Skylake SP processor
CPU clock:\t2.20 GHz
--------------------------------------------------------------------------------
--------------------------------------------------------------------------------
Runtime: 100.139 s
Measure for socket 0 on CPU 0
Domain PKG:
Energy consumed: 3364.62 Joules
Power consumed: 33.5996 Watt
Domain PP0:
Energy consumed: 0 Joules
Power consumed: 0 Watt
Domain DRAM:
Energy consumed: 1378.37 Joules
Power consumed: 13.7646 Watt

Measure for socket 1 on CPU 10
Domain PKG:
Energy consumed: 1.23457e+06 Joules
Power consumed: 50.615 Watt
Domain DRAM:
Energy consumed: -nan Joules
Power consumed: 6.05144 Watt
--------------------------------------------------------------------------------
"""

WATTS = {"0/PKG": 60.0, "1/PKG": 40.0, "0/DRAM": 5.0, "1/DRAM": 4.0}
IDS = {
    "cpu:0/package": "0/PKG", "cpu:1/package": "1/PKG",
    "cpu:0/dram": "0/DRAM", "cpu:1/dram": "1/DRAM",
}  # fmt: skip


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path / "world", dict(WATTS))
    # What it takes to start its program is measured too.
    world.startup_s = 0.2
    world.tell()
    return world


def likwid(world, **options):
    return LikwidProfiler(program=world.likwid, **{"patience_s": 60.0} | options)


class TestConformance(WindowConformance):
    """Two sockets, as likwid tells them, without what it takes to start."""

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path):
        self.tmp_path = tmp_path

    def make_hardware(self):
        self.clock = World(self.tmp_path / "world", dict(WATTS))
        # So that the short window of ``open`` holds joules.
        self.clock.startup_s = 1e-9
        self.clock.tell()

    def make_profiler(self):
        return likwid(self.clock)

    def make_absent(self):
        return LikwidProfiler(program="likwid-that-is-not-there")

    def true_energy(self, start, end, channel):
        return WATTS[IDS[channel]] * (end - start)

    def break_sensor(self, channel):
        self.clock.show(IDS[channel], "-nan")


def test_what_likwid_prints():
    figures = parse(TWO_SOCKETS)
    assert figures.runtime_s == 100.139
    assert figures.joules == {
        (0, "PKG"): 3364.62,
        (0, "PP0"): 0.0,
        (0, "DRAM"): 1378.37,
        (1, "PKG"): 1.23457e6,
        (1, "DRAM"): "told as '-nan', which is no number of joules",
    }


@given(st.text(max_size=300))
def test_any_text_is_parsed(text):
    parse(text)


@given(cut=st.integers(0, len(TWO_SOCKETS)))
def test_output_that_is_cut_gives_whole_figures_or_none(cut):
    figures = parse(TWO_SOCKETS[:cut])
    assert figures.joules.items() <= parse(TWO_SOCKETS).joules.items()
    assert figures.runtime_s in (None, 100.139)


@given(st.lists(st.sampled_from(TWO_SOCKETS.splitlines()), max_size=30))
def test_lines_in_any_order_give_no_figure_without_its_socket_and_domain(lines):
    for (socket, domain), _ in parse("\n".join(lines)).joules.items():
        assert socket in (0, 1)
        assert f"Domain {domain}:" in lines


def test_domains_that_are_not_there_are_no_channels(world):
    profiler = likwid(world)
    profiler.open(world)
    found = {c.id: (c.component, c.contained_in) for c in profiler.channels}
    profiler.close()
    assert found == {
        "cpu:0/package": ("cpu", None),
        "cpu:0/dram": ("dram", None),
        "cpu:1/package": ("cpu", None),
        "cpu:1/dram": ("dram", None),
    }


def test_the_time_that_it_measured_beside_the_window_is_in_the_interval(world):
    with Session([likwid(world)], clock=world) as session, session.window() as window:
        world.sleep(3.0)
    package = next(c for c in window.channels if c.id == "cpu:0/package")
    assert package.energy_j == pytest.approx(3.2 * 60.0, rel=1e-3)
    assert package.repeat_low_j < 3.0 * 60.0
    (term,) = [t for t in package.budget if t.name == "outside"]
    assert term.u == pytest.approx(0.2 * 60.0, rel=1e-2)


def test_blocks_are_of_their_own_time(world):
    """Repeated work is not told with the joules of each start of the program."""
    profiler = likwid(world)
    profiler.open(world)
    recording = profiler.record()
    instants = []
    for _ in range(5):
        instants.append(world.now())
        recording.tick()
        world.sleep(1.0)
    energies = dict(recording.energies(list(range(5)), instants))
    recording.close()
    profiler.close()
    package = next(c for c in energies if c.id == "cpu:0/package")
    assert list(energies[package]) == pytest.approx([60.0] * 4, rel=1e-2)


def test_the_access_mode_is_handed_on(world):
    likwid(world, access_mode="0").check_available()
    assert world.calls()[-1][:2] == ["-M", "0"]
    likwid(world).check_available()
    assert world.calls()[-1][0] == "sed"


def test_without_the_program_the_remedy_installs_it():
    with pytest.raises(PluginUnavailable) as caught:
        LikwidProfiler(program="no-such-likwid").check_available()
    assert "no program 'no-such-likwid'" in caught.value.reason
    assert "apt install likwid" in caught.value.hint


@pytest.mark.parametrize(
    ("printed", "reason", "hint"),
    [
        # src/access_x86_msr.c
        (
            "ERROR - [./src/access_x86_msr.c:125] Cannot access MSR device file /dev/cpu/0/msr: "
            "Permission denied.\n",
            "may not read", "modprobe msr",
        ),
        # likwid 5.2.2 of Debian in a virtual machine
        (
            "Cannot gather values from unit register 0xC0010299, deactivating RAPL support\n"
            "The AMD K19 (Zen3) architecture does not support reading power data or access is "
            "locked\n",
            "may not read", "virtual machine has none",
        ),
        # src/access_client.c
        ("ERROR - Failed to find the daemon '/usr/sbin/likwid-accessD'\n", "may not", "chmod u+s"),
        ("Measuring power is not supported on this machine\n", "no energy registers", "host"),
        ("lua: bad argument\n", "likwid-powermeter fails", "likwid-powermeter -s 1s"),
    ],
)  # fmt: skip
def test_a_refusal_tells_its_remedy(world, printed, reason, hint):
    world.break_with(refuse=printed)
    with pytest.raises(PluginUnavailable) as caught:
        likwid(world).check_available()
    assert reason in caught.value.reason
    assert hint in caught.value.hint


def test_packages_without_joules_are_no_sensor(world):
    for name in WATTS:
        world.show(name, "0")
    with pytest.raises(PluginUnavailable, match="no joules of any package"):
        likwid(world).check_available()


def test_one_that_hangs_when_asked_is_ended(world):
    world.break_with(mute=True)
    with pytest.raises(PluginUnavailable, match="it hangs"):
        likwid(world, patience_s=1.5).check_available()
    assert not alive(world.pid)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("exec yes nonsense", "prints without end"),
        ('"$@"; exec yes nonsense', "prints without end"),
        ("exec yes nonsense >&2", "prints without end"),
        ("while :; do echo nonsense; sleep 0.05; done", "it hangs"),
    ],
)
def test_a_program_that_prints_for_ever_is_ended(tmp_path, script, reason):
    program = tmp_path / "likwid-powermeter"
    program.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\n{script}\n")
    program.chmod(0o755)
    with pytest.raises(PluginUnavailable, match=reason):
        LikwidProfiler(program=str(program), patience_s=1.0).check_available()
    assert not alive(int((tmp_path / "pid").read_text()))


def test_a_program_with_many_open_files_can_use_it(world):
    """As one that loads data in many workers."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2000:
        pytest.skip("so many files may not be opened here")
    files = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2000), hard))
    try:
        files += [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
        likwid(world).check_available()
    finally:
        for file in files:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_socket_that_stands_still_is_missed_not_left_out(world):
    """The total of the other socket alone would pass for that of the machine."""
    world.show("1/PKG", "0")
    with Session([likwid(world)], clock=world) as session, session.window() as window:
        world.sleep(5.0)
    assert [missing.id for missing in window.missing] == ["cpu:1/package"]
    assert window.energy_j is None


def test_a_window_in_which_a_wrap_could_hide_has_no_figure(world):
    """65 kJ at 500 W: after 131 s the difference says nothing any more."""
    with Session([likwid(world)], clock=world) as session, session.window() as window:
        world.sleep(140.0)
    assert all("may have wrapped unseen" in m.reason for m in window.missing)
    assert window.energy_j is None


def test_a_quick_function_is_not_held_up_by_the_delay(world):
    """The trap of old: a window lasted a multiple of the delay."""
    profiler = likwid(world, delay=5.0)
    profiler.open(world)
    began = time.perf_counter()
    seconds, _, result = profiler.evaluate(lambda: world.sleep(0.057) or "done")
    assert time.perf_counter() - began < 4.5
    assert (seconds, result) == (pytest.approx(0.057), "done")
    profiler.close()


@pytest.mark.parametrize(
    "options", [{"delay": -1}, {"delay": "soon"}, {"access_mode": 2}, {"access_mode": "daemon"}]
)
def test_options_that_cannot_be(options):
    with pytest.raises(ConfigError):
        LikwidProfiler(**options)
