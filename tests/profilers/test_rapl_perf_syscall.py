"""RAPL through the real perf_event_open: the system call itself is simulated, or the kernel's.

Child processes run on a library that LD_PRELOAD puts before libc. It refuses what Linux
refuses (kernel/events/core.c, perf_event_open(2)), so an attribute, a pid or a flag
that is wrong here would be wrong there.
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time

import pytest

from greenai_core.testing import PerfEventSimulator, PowerPmu
from greenai_core.testing.c_library import compiler
from greenai_plugins.profilers.rapl_perf_event import ATTR, count, open_event

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or compiler() is None, reason="needs Linux and a C compiler"
)

CHILD = """
import json, sys, time
from greenai_core import GreenAIError, PluginUnavailable, Session
from greenai_plugins.profilers.rapl_perf import RaplPerfProfiler

def told(window):
    result = window.result
    return {
        "seconds": result.duration_s,
        "joules": result.energy_j,
        "channels": {c.id: c.energy_j for c in result.channels},
        "missing": {m.id: m.reason for m in result.missing},
    }

def step():
    print("next", flush=True)
    sys.stdin.readline()

root = sys.argv[1]
profiler = RaplPerfProfiler(root=root, cpuinfo=root + "/cpuinfo", proc=sys.argv[2])
try:
    with Session([profiler]) as session:
        for _ in range(int(sys.argv[3])):
            with session.window() as window:
                time.sleep(0.25)
                step()
                time.sleep(0.25)
            print(json.dumps(told(window)), flush=True)
            step()
except PluginUnavailable as error:
    print(json.dumps({"reason": error.reason, "hint": error.hint}), flush=True)
"""


def run(pmu, kernel, harms=(), proc="/proc", heal=lambda: None):
    """What a child tells of each window, in the middle of which something happens."""
    happens = [call for harm in harms for call in (harm, heal)]
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(pmu.root), str(proc), str(max(len(happens) // 2, 1))],
        env=kernel.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        told = []
        for line in child.stdout:
            if line == "next\n":
                (happens.pop(0) if happens else heal)()
                child.stdin.write("\n")
                child.stdin.flush()
            else:
                told.append(json.loads(line))
        assert child.wait() == 0
    return told


def test_joules_follow_the_power(tmp_path):
    """Two windows; in the middle of the second the power of one socket doubles."""
    pmu = PowerPmu.xeon(tmp_path / "sys")
    with PerfEventSimulator(pmu) as kernel:
        even, step = run(
            pmu, kernel, [lambda: None, lambda: kernel.set_power("energy-pkg@0", 300.0)]
        )
        calls = kernel.calls
    assert even["joules"] == pytest.approx(340.0 * even["seconds"], rel=0.1)
    assert even["channels"]["cpu:1/dram"] == pytest.approx(20.0 * even["seconds"], rel=0.1)
    assert step["channels"]["cpu:1/package"] == pytest.approx(150.0 * step["seconds"], rel=0.1)
    mean_w = step["channels"]["cpu:0/package"] / step["seconds"]
    assert 160.0 < mean_w < 290.0
    assert calls["opened"] == calls["closed"] == 8, "four to see that they may be, four to count"
    assert calls["refused"] == 0


def test_faults_below_the_system_call(tmp_path):
    sick = "cpu:0/package"
    pmu = PowerPmu.xeon(tmp_path / "sys")
    with PerfEventSimulator(pmu) as kernel:
        name = "energy-pkg@0"
        harms = {
            "Input/output error": lambda: kernel.fail(name, errno.EIO),
            "No such device": lambda: kernel.fail(name, errno.ENODEV),
            "0 bytes instead of 8": lambda: kernel.cut(name, 0),
            "5 bytes instead of 8": lambda: kernel.cut(name, 5),
            "reset": lambda: kernel.reset(name),
        }

        def heal():
            kernel.fail(name, 0)
            kernel.cut(name, 8)

        told_of = run(pmu, kernel, harms.values(), heal=heal)
        for reason, told in zip(harms, told_of, strict=True):
            assert reason in told["missing"][sick]
            assert told["joules"] is None
            assert told["channels"]["cpu:1/package"] == pytest.approx(
                150.0 * told["seconds"], rel=0.1
            )


@pytest.mark.parametrize(
    ("paranoid", "capable", "works"),
    [(-1, False, True), (0, False, True), (1, False, False), (2, False, False), (2, True, True)],
)
def test_who_may_count_a_package(tmp_path, paranoid, capable, works):
    proc = tmp_path / "proc/sys/kernel"
    proc.mkdir(parents=True)
    (proc / "perf_event_paranoid").write_text(f"{paranoid}\n")
    pmu = PowerPmu.xeon(tmp_path / "sys", sockets=1)
    with PerfEventSimulator(pmu, paranoid=paranoid, capable=capable) as kernel:
        (told,) = run(pmu, kernel, proc=tmp_path / "proc")
    if works:
        assert told["joules"] == pytest.approx(170.0 * told["seconds"], rel=0.1)
    else:
        assert f"perf_event_paranoid is {paranoid}" in told["reason"]
        assert "cap_perfmon+ep" in told["hint"]


def test_a_seccomp_filter_is_named(tmp_path):
    proc = tmp_path / "proc/self"
    proc.mkdir(parents=True)
    (proc / "status").write_text("Name:\tpython\nSeccomp:\t2\n")
    pmu = PowerPmu.xeon(tmp_path / "sys")
    with PerfEventSimulator(pmu) as kernel:
        kernel.refuse(errno.EPERM)
        (told,) = run(pmu, kernel, proc=tmp_path / "proc")
    assert "seccomp" in told["reason"]
    assert "--cap-add PERFMON" in told["hint"]


def test_cores_of_amd(tmp_path):
    code = """
import os, sys, time
from greenai_plugins.profilers.rapl_perf import RaplPerfProfiler
root = sys.argv[1]
profiler = RaplPerfProfiler(root=root, cpuinfo=root + "/cpuinfo", cores=True)
profiler.open()
kept = [fd for fd in range(3, 64) if os.path.exists(f"/proc/self/fd/{fd}")]
assert len(kept) >= 5 and not any(map(os.get_inheritable, kept)), "a child would inherit them"
print(profiler.evaluate(time.sleep, 0.3).energy_j / profiler.last.duration_s)
print(*sorted(c.id for c in profiler.last.channels))
"""
    pmu = PowerPmu.epyc(tmp_path / "sys")
    with PerfEventSimulator(pmu) as kernel:
        done = subprocess.run(
            [sys.executable, "-c", code, str(pmu.root)],
            env=kernel.environment(), capture_output=True, text=True, check=True,
        )  # fmt: skip
    watts, ids = done.stdout.splitlines()
    assert float(watts) == pytest.approx(180.0, rel=0.05)
    assert ids == "cpu:0/core-0 cpu:0/core-1 cpu:0/core-2 cpu:0/core-3 cpu:0/package"


CALLS = """
import ctypes, errno, os, struct, sys
from greenai_plugins.profilers import rapl_perf_event as module

call = ctypes.CDLL(None, use_errno=True).syscall
def tried(pid=-1, cpu=0, group=-1, flags=8, size=64, read_format=0, bits=0, type=23, config=2,
          period=0):
    attr = module.ATTR.pack(type, size, config, period, 0, read_format, bits, 0, 0, 0)
    fd = call(ctypes.c_long(module._number()), attr, ctypes.c_long(pid), ctypes.c_long(cpu),
              ctypes.c_long(group), ctypes.c_ulong(flags))
    if fd < 0:
        return errno.errorcode[ctypes.get_errno()]
    inherited = os.get_inheritable(fd)
    os.close(fd)
    return "inherited" if inherited else "opened"

print(tried(), tried(pid=0), tried(cpu=-1), tried(cpu=5), tried(flags=1 << 9), tried(flags=0),
      tried(size=32), tried(bits=1 << 5), tried(type=99), tried(config=9), tried(period=1000))
"""


def test_the_simulated_kernel_refuses_what_linux_refuses(tmp_path):
    """Otherwise the tests above would prove nothing about the arguments."""
    pmu = PowerPmu.xeon(tmp_path / "sys", sockets=1)
    with PerfEventSimulator(pmu) as kernel:
        done = subprocess.run(
            [sys.executable, "-c", CALLS], env=kernel.environment(), capture_output=True, text=True,
            check=True,
        )  # fmt: skip
    assert done.stdout.split() == [
        "opened", "EINVAL", "EINVAL", "ENODEV", "EINVAL", "inherited",
        "E2BIG", "EINVAL", "ENOENT", "EINVAL", "EINVAL",
    ]  # fmt: skip


def test_other_calls_and_reads_go_to_libc(tmp_path):
    code = (
        "import ctypes, os; libc = ctypes.CDLL(None);"
        "print(libc.syscall(ctypes.c_long(39)) == os.getpid(), open('/proc/self/comm').read()[:6])"
        if os.uname().machine == "x86_64"
        else "print(True, open('/proc/self/comm').read()[:6])"
    )
    pmu = PowerPmu.xeon(tmp_path / "sys")
    with PerfEventSimulator(pmu) as kernel:
        done = subprocess.run(
            [sys.executable, "-c", code], env=kernel.environment(), capture_output=True, text=True,
            check=True,
        )  # fmt: skip
    assert done.stdout.startswith("True python")


# The kernel of this machine

SOFTWARE, CPU_CLOCK = 1, 0
"""A PMU that every kernel has, which counts nanoseconds of a CPU for whoever may count it."""


@pytest.fixture
def event():
    cpu = min(os.sched_getaffinity(0))
    try:
        event = open_event(SOFTWARE, CPU_CLOCK, cpu)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.ENOSYS):
            pytest.skip(f"this kernel lets this user count no CPU: {error.strerror}")
        raise
    yield event
    event.close()


def test_linux_takes_what_we_ask_and_its_count_moves(event):
    outer_began = time.perf_counter_ns()
    before = count(event.read())
    began = time.perf_counter_ns()
    time.sleep(0.05)
    ended = time.perf_counter_ns()
    after = count(event.read())
    outer_ended = time.perf_counter_ns()
    assert 0.99 * (ended - began) < after - before < 1.01 * (outer_ended - outer_began)
    assert not os.get_inheritable(event.fd)


def test_linux_allows_no_pread_and_no_smaller_read(event):
    """Why the product reads eight bytes with read(2); the simulated kernel does alike."""
    with pytest.raises(OSError, match="seek"):
        os.pread(event.fd, 8, 0)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        os.read(event.fd, 4)


@pytest.mark.usefixtures("event")
def test_linux_says_no_such_file_for_a_pmu_that_is_not_there():
    with pytest.raises(FileNotFoundError):
        open_event(2**30, 0, 0)


def test_the_attribute_has_the_size_that_its_field_says():
    assert ATTR.size == 64


# What a session takes by itself

AUTO = """
import json, sys
from greenai_core import Session
from greenai_core.clock import SYSTEM_CLOCK
from greenai_core.testing import PowercapTree
from pathlib import Path

with PowercapTree.xeon(Path(sys.argv[2])) as tree:
    ticker = tree.drive(SYSTEM_CLOCK)
    options = {"rapl-perf": {"root": sys.argv[1]}, "rapl": {"root": str(tree.root)}}
    with Session(options=options) as session:
        used = {c.id: s.profiler.name for s in session.sources for c in s.channels}
        print(json.dumps([used, {s.profiler: s.reason for s in session.skipped}]))
    ticker.cancel()
"""


@pytest.mark.parametrize(("code", "taken"), [(0, "rapl-perf"), (errno.EACCES, "rapl")])
def test_a_session_prefers_perf_event_and_falls_back_to_powercap(tmp_path, code, taken):
    pmu = PowerPmu.xeon(tmp_path / "sys")
    with PerfEventSimulator(pmu) as kernel:
        kernel.refuse(code)
        done = subprocess.run(
            [sys.executable, "-c", AUTO, str(pmu.root), str(tmp_path / "powercap")],
            env=kernel.environment(), cwd=tmp_path, capture_output=True, text=True, check=True,
        )  # fmt: skip
    used, skipped = json.loads(done.stdout)
    parts = [f"cpu:{n}/{part}" for n in (0, 1) for part in ("package", "dram")]
    assert {id: used[id] for id in parts} == dict.fromkeys(parts, taken)
    other = "rapl" if taken == "rapl-perf" else "rapl-perf"
    why = "is measured by rapl-perf" if taken == "rapl-perf" else "cannot be opened"
    assert why in skipped[other]
