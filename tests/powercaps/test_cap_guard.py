"""Power caps on simulated boards: set, held, and always given back."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading

import pytest

from greenai_core import (
    PowerCapError,
    PowerCapForbidden,
    PowerLimit,
    power_cap,
    reset_power_cap,
    restore_power_caps,
    set_power_cap,
)
from greenai_core.proc_files import descendants
from greenai_core.testing import SimulatedLimiter
from greenai_core.testing.nvml_board import SimulatedBoard

BOARD = SimulatedBoard(low_w=100.0, default_w=400.0, high_w=500.0)

HOLDER = """
import sys, time
from greenai_core import power_cap
with power_cap([int(n) for n in sys.argv[1].split(",")], 250.0):
    print("on", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder():
    """Start a program that caps boards and waits: ``holder("0,1") -> process``."""
    started = []

    def start(boards="0", **options):
        command = [sys.executable, "-c", HOLDER, boards]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)
        started.append(process)
        assert process.stdout.readline() == "on\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def records(folder):
    return sorted(path.name for path in folder.glob("*.json"))


def test_a_cap_holds_in_the_block_and_not_after_it(machine, folder):
    simulator = machine()
    with power_cap(0, 250) as (cap,):
        assert simulator.limit_w(0) == 250.0
        assert (cap.value, cap.unit, cap.note) == (250.0, "W", "")
        (name,) = records(folder)
        record = json.loads((folder / name).read_text())
        assert (record["original"], record["default"], record["pid"]) == (400.0, 400.0, os.getpid())
    assert simulator.limit_w(0) == 400.0
    assert records(folder) == []


def test_what_was_in_force_comes_back_and_not_the_makers_limit(machine):
    simulator = machine()
    set_power_cap(0, 300, keep=True)
    with power_cap(0, 250):
        pass
    assert simulator.limit_w(0) == 300.0


def test_an_exception_gives_the_old_limit_back(machine):
    simulator = machine()
    with pytest.raises(ZeroDivisionError), power_cap(0, 250):
        1 / 0  # noqa: B018
    assert simulator.limit_w(0) == 400.0


@pytest.mark.parametrize("name", ["index", "uuid", "beginning", "channel", "cuda"])
def test_a_board_has_several_names(machine, monkeypatch, name):
    simulator = machine(BOARD, BOARD)
    uuid = simulator.uuid(1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    spelt = {"index": 1, "uuid": uuid, "beginning": uuid[:12], "channel": f"gpu:{uuid}"}
    with power_cap(spelt.get(name, "cuda:0"), 250):
        assert [simulator.limit_w(0), simulator.limit_w(1)] == [400.0, 250.0]


def test_a_number_does_not_reach_a_board_that_this_process_must_not_use(machine, monkeypatch):
    simulator = machine(BOARD, BOARD)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    with pytest.raises(PowerCapError, match="CUDA_VISIBLE_DEVICES=1 hides"), power_cap(0, 250):
        pass
    assert simulator.limit_w(0) == 400.0


def test_a_board_that_is_not_there_is_an_error_that_lists_them(machine):
    machine()
    with pytest.raises(PowerCapError, match=r"'7' is no device.*Simulated"), power_cap(7, 250):
        pass


def test_several_boards_with_one_cap_or_one_each(machine):
    simulator = machine(BOARD, BOARD)
    with power_cap([0, 1], 250):
        assert [simulator.limit_w(0), simulator.limit_w(1)] == [250.0, 250.0]
    with power_cap({0: 250, 1: 300}):
        assert [simulator.limit_w(0), simulator.limit_w(1)] == [250.0, 300.0]
    assert [simulator.limit_w(0), simulator.limit_w(1)] == [400.0, 400.0]
    with pytest.raises(PowerCapError, match="3 caps are given for 2"), power_cap([0, 1], [1, 2, 3]):
        pass


def test_beyond_the_range_is_clamped_and_said(machine):
    simulator = machine()
    with power_cap(0, 50) as (cap,):
        assert (cap.asked, cap.value, simulator.limit_w(0)) == (50.0, 100.0, 100.0)
        assert "takes 100 to 500 W, not 50" in cap.note


def test_a_driver_that_clamps_is_said_and_used_as_it_is(machine):
    simulator = machine()
    simulator.clamp(0, 200.0)
    with power_cap(0, 150) as (cap,):
        assert cap.value == simulator.limit_w(0) == 200.0
        assert "asked for 150 W and keeps 200 W" in cap.note
    assert simulator.limit_w(0) == 400.0


def test_a_board_that_keeps_its_limit_is_an_error(machine, folder):
    simulator = machine()
    simulator.make_stubborn(0)
    with pytest.raises(PowerCapError, match="keeps 400 W"), power_cap(0, 250):
        pass
    assert records(folder) == []


@pytest.mark.parametrize("watts", [0.0, -1.0, float("nan")])
def test_what_is_no_cap_is_refused(machine, watts):
    simulator = machine()
    with pytest.raises(PowerCapError, match="is no limit"), power_cap(0, watts):
        pass
    assert simulator.limit_w(0) == 400.0


def test_without_permission_the_error_has_the_command(machine, folder):
    simulator = machine()
    simulator.forbid(0)
    with pytest.raises(PowerCapForbidden) as caught, power_cap(0, 250):
        pass
    assert caught.value.by_hand == f"nvidia-smi -i {simulator.uuid(0)} -pl 250"
    assert records(folder) == []


def test_a_board_split_by_mig_is_refused(machine):
    machine(SimulatedBoard(mig_instances=("MIG-1",)))
    with pytest.raises(PowerCapError, match="split by MIG"), power_cap(0, 300):
        pass


def test_a_board_that_others_use_is_refused_and_they_are_named(machine):
    stranger = os.getppid()  # a child would be our own
    simulator = machine(SimulatedBoard(process=stranger, low_w=100, default_w=400))
    with pytest.raises(PowerCapError, match=rf"others use it: process {stranger} \("):
        set_power_cap(0, 250)
    assert simulator.limit_w(0) == 400.0
    with power_cap(0, 250, shared=True):
        assert simulator.limit_w(0) == 250.0


def test_this_process_and_its_children_are_no_strangers(machine):
    child = subprocess.Popen(["sleep", "60"])
    try:
        simulator = machine(
            SimulatedBoard(process=os.getpid(), low_w=100),
            SimulatedBoard(process=child.pid, low_w=100),
        )
        with power_cap([0, 1], 250):
            assert simulator.limit_w(1) == 250.0
    finally:
        child.kill()
        child.wait()


def test_a_second_program_is_refused_while_the_first_holds_the_board(machine, holder):
    simulator = machine(BOARD, BOARD)
    first = holder("0")
    with (
        pytest.raises(PowerCapError, match=rf"another greenai \(process {first.pid}\)"),
        power_cap([1, 0], 300),
    ):
        pass
    assert [simulator.limit_w(0), simulator.limit_w(1)] == [250.0, 400.0]
    with power_cap(1, 300):
        assert simulator.limit_w(1) == 300.0


def test_a_second_block_within_the_first_is_refused(machine):
    simulator = machine()
    with power_cap(0, 250):
        with (
            pytest.raises(PowerCapError, match=r"this process changes the limit of .* already"),
            power_cap(0, 200),
        ):
            pass
        assert simulator.limit_w(0) == 250.0


def test_a_board_that_disappears_does_not_keep_the_others_from_being_restored(machine, folder):
    simulator = machine(BOARD, BOARD)
    with (
        pytest.raises(PowerCapError, match=r"GPU 0 .*GPU is lost.*powercap restore"),
        power_cap([0, 1], 250),
    ):
        simulator.lose(0)
    assert simulator.limit_w(1) == 400.0
    assert len(records(folder)) == 1  # that of the lost board: it may come back
    simulator._put("@d", 0, 0, float("inf"))
    done, failed = restore_power_caps()
    assert failed == []
    assert "400 W again" in done[0]
    assert simulator.limit_w(0) == 400.0


def test_a_board_that_cannot_be_set_gives_the_first_one_back(machine):
    simulator = machine(BOARD, BOARD)
    simulator.forbid(1)
    with pytest.raises(PowerCapForbidden), power_cap([0, 1], 250):
        pass
    assert simulator.limit_w(0) == 400.0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_signals_give_the_old_limit_back(machine, holder, until, folder, number):
    simulator = machine(BOARD, BOARD)
    process = holder("0,1")
    assert [simulator.limit_w(0), simulator.limit_w(1)] == [250.0, 250.0]
    process.send_signal(number)
    until(lambda: simulator.limit_w(0) == simulator.limit_w(1) == 400.0, 2.0)
    # `-signal.SIGINT`: Python dies of Ctrl-C as a shell expects.
    assert process.wait() == -number
    until(lambda: records(folder) == [], 5.0)


def test_the_watchdog_outlives_the_whole_group_of_its_program(machine, holder, until):
    """Closing a terminal, or `kill -9 -PGID`, reaches every process of the group."""
    simulator = machine()
    process = holder("0", process_group=0) if sys.version_info >= (3, 11) else None
    if process is None:
        pytest.skip("Popen has process_group from Python 3.11 on")
    os.killpg(process.pid, signal.SIGHUP)
    os.killpg(process.pid, signal.SIGKILL)
    until(lambda: simulator.limit_w(0) == 400.0, 2.0)


def test_forked_children_that_live_on_do_not_keep_the_cap(machine, until, tmp_path):
    """Workers of a DataLoader are forks: they hold the pipe to the watchdog open."""
    simulator = machine()
    code = (
        "import os, time\nfrom greenai_core import power_cap\n"
        "with power_cap(0, 250):\n"
        "    child = os.fork()\n"
        "    if child: print(child, flush=True)\n"
        "    time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    child = int(process.stdout.readline())
    try:
        process.kill()
        process.wait()
        until(lambda: simulator.limit_w(0) == 400.0, 2.0)
        with power_cap(0, 300):  # and the lock is free
            assert simulator.limit_w(0) == 300.0
    finally:
        os.kill(child, signal.SIGKILL)
        process.stdout.close()


def test_a_forked_child_that_ends_leaves_the_cap_to_its_parent(machine):
    simulator = machine()
    with power_cap(0, 250):
        child = os.fork()
        if not child:
            try:
                sys.exit(0)  # runs the handlers of `atexit` of this process as well
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert simulator.limit_w(0) == 250.0


def test_what_a_killed_watchdog_left_is_given_back_by_the_next_one(machine, folder, holder):
    simulator = machine()
    process = holder("0")
    (watchdog,) = descendants(process.pid)
    os.kill(watchdog, signal.SIGKILL)
    process.kill()
    process.wait()
    assert simulator.limit_w(0) == 250.0
    assert len(records(folder)) == 1
    with power_cap(0, 300):
        pass
    assert simulator.limit_w(0) == 400.0  # not 250
    assert restore_power_caps() == ([], [])


def test_restore_gives_back_what_was_there_before_the_first_of_two_caps(machine, folder):
    simulator = machine()
    set_power_cap(0, 300, keep=True)
    set_power_cap(0, 200, keep=True)
    assert simulator.limit_w(0) == 200.0
    done, failed = restore_power_caps()
    assert (len(done), failed) == (1, [])
    assert simulator.limit_w(0) == 400.0
    assert records(folder) == []


def test_a_record_of_before_a_reboot_changes_nothing(machine, folder):
    simulator = machine()
    set_power_cap(0, 300, keep=True)
    (name,) = records(folder)
    record = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({**record, "boot": "another", "original": 123.0}))
    assert restore_power_caps()[1] == []
    assert simulator.limit_w(0) == 300.0
    assert records(folder) == []


def test_a_record_that_cannot_be_read_is_an_error_and_stays(machine, folder):
    machine()
    folder.mkdir(parents=True)
    broken = folder / "gpu_GPU-1.W.held.json"
    broken.write_text("{")
    done, failed = restore_power_caps()
    assert done == []
    assert "cannot be read" in failed[0]
    assert broken.exists()


def test_nothing_is_changed_where_nothing_can_be_written_down(machine, tmp_path, monkeypatch):
    simulator = machine()
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(PowerCapError, match="cannot be locked"), power_cap(0, 250, folder=file):
        pass
    assert simulator.limit_w(0) == 400.0


def test_a_record_of_another_user_is_not_obeyed(machine, folder):
    """It names a class to be imported, and root may be the one who restores."""
    if os.geteuid():
        pytest.skip("only root can give files away")
    simulator = machine()
    set_power_cap(0, 300, keep=True)
    (name,) = records(folder)
    os.chown(folder / name, 12345, 12345)
    done, failed = restore_power_caps()
    assert done == []
    assert "belongs to another user (12345)" in failed[0]
    assert simulator.limit_w(0) == 300.0


def test_restore_leaves_a_running_program_its_cap(machine, holder):
    simulator = machine()
    process = holder("0")
    done, failed = restore_power_caps()
    assert failed == []
    assert f"left to process {process.pid}" in done[0]
    assert simulator.limit_w(0) == 250.0


def test_without_a_watchdog_nothing_is_changed(machine, monkeypatch, folder):
    simulator = machine()
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(PowerCapError, match=r"watchdog.*cannot be started"), power_cap(0, 250):
        pass
    assert simulator.limit_w(0) == 400.0
    assert records(folder) == []


def test_a_watchdog_that_was_killed_is_replaced_before_the_next_change(machine, until):
    simulator = machine()
    code = (
        "import os, signal, sys, time\n"
        "from greenai_core.cap_devices import opened\n"
        "from greenai_core.cap_guard import CapGuard\n"
        "from greenai_core.proc_files import descendants\n"
        "with opened(0) as (knob, (one,)), CapGuard(knob, [one.device]) as guard:\n"
        "    guard.set(one.device, 300)\n"
        "    (first,) = descendants(os.getpid())\n"
        "    os.kill(first, signal.SIGKILL)\n"
        "    while guard._watchdog.alive: time.sleep(0.01)\n"
        "    guard.set(one.device, 250)\n"
        "    print('on', flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "on\n"
        assert simulator.limit_w(0) == 250.0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    until(lambda: simulator.limit_w(0) == 400.0, 2.0)


def test_set_holds_until_reset(machine):
    simulator = machine(BOARD, BOARD)
    set_power_cap([0, 1], [250, 300])
    assert [simulator.limit_w(0), simulator.limit_w(1)] == [250.0, 300.0]
    set_power_cap(0, 260)
    assert simulator.limit_w(0) == 260.0
    (now,) = reset_power_cap(0)
    assert now.value == simulator.limit_w(0) == 400.0
    assert simulator.limit_w(1) == 300.0
    reset_power_cap(1)
    assert simulator.limit_w(1) == 400.0


def test_set_ends_with_its_process(machine):
    simulator = machine()
    code = "from greenai_core import set_power_cap; print(set_power_cap(0, 250)[0].value)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "250.0\n"
    assert simulator.limit_w(0) == 400.0


def test_reset_without_set_gives_the_makers_limit(machine, folder):
    simulator = machine()
    set_power_cap(0, 300, keep=True)
    reset_power_cap(0)
    assert simulator.limit_w(0) == 400.0
    assert records(folder) == []


def test_on_a_full_disk_nothing_is_changed_and_the_lock_is_free_again(machine):
    """No file can grow, as where the disk is full: not that of the lock, nor the record."""
    simulator = machine()
    code = (
        "import resource\nfrom greenai_core import PowerCapError, power_cap\n"
        "limits = resource.getrlimit(resource.RLIMIT_FSIZE)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))\n"
        "try:\n"
        "    with power_cap(0, 250): print('capped')\n"
        "except PowerCapError as error: print('cannot be locked' in str(error))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, limits)\n"
        "with power_cap(0, 250): print('free')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "True\nfree\n", done.stderr
    assert simulator.limit_w(0) == 400.0


@pytest.mark.parametrize(
    "damage",
    [
        {"original": "400"},
        {"also": 3},
        {"options": []},
        {"device": 7},
        {"target": ""},
        {"target": ":"},
        {"target": "os:path"},
    ],
)
def test_a_damaged_record_is_an_error_and_the_others_are_restored(machine, folder, damage):
    simulator = machine(BOARD, BOARD)
    set_power_cap([0, 1], 300, keep=True)
    path = folder / records(folder)[0]
    path.write_text(json.dumps({**json.loads(path.read_text()), **damage}))
    done, failed = restore_power_caps()
    assert (len(done), len(failed)) == (1, 1)
    assert sorted([simulator.limit_w(0), simulator.limit_w(1)]) == [300.0, 400.0]
    assert path.exists()


def test_a_forked_child_does_not_believe_that_it_reset_the_cap_of_its_parent(machine):
    simulator = machine()
    set_power_cap(0, 250)
    child = os.fork()
    if not child:
        code = 1
        try:
            reset_power_cap(0)
        except PowerCapError:
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert simulator.limit_w(0) == 250.0
    reset_power_cap(0)
    assert simulator.limit_w(0) == 400.0


def test_caps_that_are_to_stay_are_set_on_all_boards_or_on_none(machine, folder):
    simulator = machine(BOARD, BOARD)
    simulator.forbid(1)
    with pytest.raises(PowerCapForbidden):
        set_power_cap([0, 1], 250, keep=True)
    assert simulator.limit_w(0) == 400.0
    assert records(folder) == []


def test_a_watchdog_that_was_stopped_restores_when_it_goes_on(machine, holder, until):
    simulator = machine()
    process = holder("0")
    (watchdog,) = descendants(process.pid)
    os.kill(watchdog, signal.SIGSTOP)
    process.kill()
    process.wait()
    assert simulator.limit_w(0) == 250.0
    os.kill(watchdog, signal.SIGCONT)
    until(lambda: simulator.limit_w(0) == 400.0, 2.0)


class Interrupted(SimulatedLimiter):
    """Somebody presses Ctrl-C, or the limiter fails, while the first of two limits is restored."""

    def __init__(self, error):
        limits = [
            PowerLimit(f"gpu:GPU-{n}", 400.0, 400.0, 100.0, 400.0, settable=True) for n in (0, 1)
        ]
        super().__init__(limits=limits)
        self.error = error
        self.armed = False

    def restore(self, device, watts, also):
        armed, self.armed = self.armed, False
        if armed:
            raise self.error
        super().restore(device, watts, also)


def test_ctrl_c_while_limits_are_restored_does_not_keep_them_from_it(folder):
    limiter = Interrupted(KeyboardInterrupt())
    with (
        pytest.raises(KeyboardInterrupt),
        power_cap(["gpu:GPU-0", "gpu:GPU-1"], 250, limiter=limiter, folder=folder),
    ):
        limiter.armed = True
    limiter.open()
    assert [limit.current_w for limit in limiter.limits()] == [400.0, 400.0]
    assert records(folder) == []
    with power_cap("gpu:GPU-0", 250, limiter=Interrupted(None), folder=folder):
        pass  # the lock is free


def test_a_limiter_that_fails_in_its_own_way_does_not_keep_the_others_capped(folder):
    limiter = Interrupted(RuntimeError("a bug"))
    with (
        pytest.raises(PowerCapError, match=r"GPU-0 could not .*: a bug.*on record"),
        power_cap(["gpu:GPU-0", "gpu:GPU-1"], 250, limiter=limiter, folder=folder),
    ):
        limiter.armed = True
    limiter.open()
    assert [limit.current_w for limit in limiter.limits()] == [250.0, 400.0]
    assert len(records(folder)) == 1


def test_permission_that_is_lost_meanwhile_is_an_error_and_the_limit_stays_on_record(
    machine, folder
):
    simulator = machine()
    with (
        pytest.raises(PowerCapError, match=r"could not be given back.*needs root"),
        power_cap(0, 250),
    ):
        simulator.forbid(0)
    assert simulator.limit_w(0) == 250.0
    assert len(records(folder)) == 1


def test_a_block_in_a_generator_ends_with_it(machine):
    simulator = machine()

    def capped():
        with power_cap(0, 250):
            yield simulator.limit_w(0)

    work = capped()
    assert next(work) == 250.0
    work.close()
    assert simulator.limit_w(0) == 400.0


def test_a_generator_that_is_never_finished_ends_with_its_program(machine):
    simulator = machine()
    code = (
        "from greenai_core import power_cap\n"
        "def capped():\n"
        "    with power_cap(0, 250) as (cap,): yield cap.value\n"
        "work = capped()\nprint(next(work))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "250.0\n", done.stderr
    assert simulator.limit_w(0) == 400.0


def test_a_block_in_a_thread(machine):
    simulator = machine()
    seen = []

    def work():
        with power_cap(0, 250):
            seen.append(simulator.limit_w(0))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [250.0]
    assert simulator.limit_w(0) == 400.0


def test_a_thread_that_outlives_the_main_one_gives_the_limit_back(machine):
    simulator = machine()
    code = (
        "import threading, time\nfrom greenai_core import power_cap\n"
        "on = threading.Event()\n"
        "def work():\n"
        "    with power_cap(0, 250): on.set(); time.sleep(60)\n"
        "threading.Thread(target=work, daemon=True).start()\non.wait()\nprint('on')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "on\n", done.stderr
    assert simulator.limit_w(0) == 400.0


def test_a_spawned_child_neither_holds_the_cap_nor_ends_it(machine):
    simulator = machine()
    with power_cap(0, 250):
        subprocess.run([sys.executable, "-c", "import greenai_core"], check=True, close_fds=False)
        context = multiprocessing.get_context("spawn")
        child = context.Process(target=os.getpid)
        child.start()
        child.join()
        assert simulator.limit_w(0) == 250.0
    assert simulator.limit_w(0) == 400.0
