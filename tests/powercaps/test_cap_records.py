"""Records and locks that somebody damaged, put there, or holds elsewhere."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import subprocess
import sys
import threading

import pytest

from greenai_core import (
    PowerCapError,
    power_cap,
    reset_power_cap,
    restore_power_caps,
    set_power_cap,
)
from greenai_core.cli.main import main
from greenai_core.power_caps import leftover
from greenai_core.testing.nvml_board import SimulatedBoard

BOARD = SimulatedBoard(low_w=100.0, default_w=400.0, high_w=500.0)

HOLDER = """
import os, sys, time
from greenai_core import power_cap
with power_cap(0, 250.0):
    if sys.argv[1:] and os.fork() == 0:
        time.sleep(60)
    print("on", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def locks(monkeypatch, tmp_path):
    """The folder in which programs of all users lock."""
    made = tmp_path / "locks"
    made.mkdir()
    made.chmod(0o1777)
    monkeypatch.setenv("GREENAI_LOCK_FOLDER", str(made))
    return made


@pytest.fixture
def somebody(tmp_path):
    """Start a program of a user with a state folder of his own, under a cap."""
    started = []

    def start(*args):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, *args],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "XDG_STATE_HOME": str(tmp_path / "his")},
            start_new_session=True,
        )
        started.append(process)
        assert process.stdout.readline() == "on\n"
        return process

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()
        process.stdout.close()


# The lock of the machine


def test_another_user_with_records_of_his_own_keeps_the_board_to_himself(
    machine, locks, somebody, until, folder
):
    simulator = machine(BOARD, BOARD)
    process = somebody()
    with (
        pytest.raises(
            PowerCapError, match=rf"process {process.pid}, of the user .*not in {folder}\) is"
        ),
        power_cap(0, 300),
    ):
        pass
    assert simulator.limit_w(0) == 250.0
    with power_cap(1, 300):
        assert simulator.limit_w(1) == 300.0
    process.kill()
    process.wait()
    until(lambda: simulator.limit_w(0) == 400.0, 2.0)
    with power_cap(0, 300):
        assert simulator.limit_w(0) == 300.0


def test_forked_children_that_live_on_do_not_keep_the_lock_of_the_machine(
    machine, locks, somebody, until
):
    simulator = machine()
    process = somebody("fork")
    process.kill()
    process.wait()
    until(lambda: simulator.limit_w(0) == 400.0, 2.0)
    with power_cap(0, 300):
        assert simulator.limit_w(0) == 300.0


def test_the_lock_of_the_machine_can_be_opened_by_every_user(machine, locks):
    machine()
    before = os.umask(0o077)
    try:
        with power_cap(0, 300):
            pass
    finally:
        os.umask(before)
    (lock,) = locks.iterdir()
    assert stat.S_IMODE(lock.stat().st_mode) == 0o644
    assert lock.stat().st_size == 0


def _link(path, precious):
    path.symlink_to(precious)


def _hard_link(path, precious):
    path.hardlink_to(precious)


def _folder(path, precious):
    path.mkdir()


def _pipe(path, precious):
    os.mkfifo(path)


TRAPS = (_link, _hard_link, _folder, _pipe)


@pytest.mark.parametrize("trap", TRAPS)
@pytest.mark.parametrize("where", ["locks", "records"])
def test_what_strangers_put_in_place_of_a_lock_is_neither_followed_nor_written(
    machine, locks, folder, tmp_path, trap, where
):
    """Root may be led into a folder of somebody else by `sudo -E`."""
    simulator = machine()
    precious = tmp_path / "passwd"
    precious.write_text("precious")
    name = f"gpu_{simulator.uuid(0)}.lock"
    folder.mkdir(parents=True)
    path = locks / f"greenai-powercap-{name}" if where == "locks" else folder / name
    trap(path, precious)
    with pytest.raises(PowerCapError, match=rf"cannot be locked: {path}: .*\. "), power_cap(0, 300):
        pass
    assert precious.read_text() == "precious"
    assert simulator.limit_w(0) == 400.0


def test_a_plain_file_of_a_stranger_serves_as_a_lock(machine, locks):
    if os.geteuid():
        pytest.skip("only root can give files away")
    simulator = machine()
    file = locks / f"greenai-powercap-gpu_{simulator.uuid(0)}.lock"
    file.write_text("mine")
    os.chown(file, 12345, 12345)
    with power_cap(0, 300):
        assert simulator.limit_w(0) == 300.0
    assert file.read_text() == "mine"


@pytest.mark.parametrize("mode", [None, 0o777, 0o1777], ids=["missing", "no sticky bit", "link"])
def test_a_folder_of_locks_that_is_not_to_be_trusted_is_not_used(machine, locks, tmp_path, mode):
    simulator = machine()
    locks.rmdir()
    if mode == 0o1777:
        (tmp_path / "elsewhere").mkdir(mode=mode)
        locks.symlink_to(tmp_path / "elsewhere")
    elif mode:
        locks.mkdir()
        locks.chmod(mode)
    with power_cap(0, 300):
        assert simulator.limit_w(0) == 300.0
    assert not locks.is_dir() or list(locks.iterdir()) == []


def test_whoever_only_looks_whether_a_board_is_held_keeps_nobody_out(machine, folder):
    """The lock is signed by a program that lives, but holds nothing any more."""
    simulator = machine()
    with power_cap(0, 300):
        pass
    set_power_cap(0, 300, keep=True)
    stop = threading.Event()

    def look():
        while not stop.is_set():
            leftover()

    thread = threading.Thread(target=look)
    thread.start()
    try:
        for _ in range(5):
            with power_cap(0, 250):
                assert simulator.limit_w(0) == 250.0
    finally:
        stop.set()
        thread.join()


# Records


DAMAGE = {
    "empty": b"",
    "truncated": b'{"device": "gpu:GPU-1", "unit"',
    "no JSON": b"400 W\n",
    "binary": bytes(range(256)),
    "list": b"[]",
    "number": b"400",
    "deep": b"[" * 50_000,
    "huge": b" " * (1 << 17),
    "nothing in it": b"{}",
}


@pytest.fixture
def damaged(machine, folder):
    """A board whose limit was set to stay, and the damaged record of that."""

    def make(content):
        simulator = machine()
        set_power_cap(0, 300, keep=True)
        (path,) = folder.glob("*.json")
        path.write_bytes(content)
        return simulator, path

    return make


@pytest.mark.parametrize("lasting", ["held", "kept"])
@pytest.mark.parametrize("kind", DAMAGE)
def test_show_tells_of_a_damaged_record_and_reset_gets_rid_of_it(damaged, capfd, kind, lasting):
    simulator, path = damaged(DAMAGE[kind])
    path = path.rename(path.with_name(path.name.replace("kept", lasting)))
    device = f"gpu:{simulator.uuid(0)}"
    assert main(["powercap", "show"]) == 0
    err = capfd.readouterr().err
    assert str(path) in err
    assert f"`greenai powercap reset --gpu {device}`" in err
    assert main(["powercap", "show", "--json"]) == 0
    (told,) = json.loads(capfd.readouterr().out)["damaged"]
    assert str(path) in told
    assert main(["powercap", "restore"]) == 5
    assert str(path) in capfd.readouterr().err
    assert simulator.limit_w(0) == 300.0
    assert main(["powercap", "reset", "--gpu", device]) == 0
    assert simulator.limit_w(0) == 400.0
    assert not path.exists()
    capfd.readouterr()
    assert main(["powercap", "show"]) == 0
    assert "greenai: error" not in capfd.readouterr().err


@pytest.mark.parametrize("trap", TRAPS)
def test_what_stands_in_place_of_a_record_is_told_and_nothing_waits_for_it(
    machine, folder, tmp_path, trap
):
    simulator = machine()
    precious = tmp_path / "passwd"
    precious.write_text("precious")
    folder.mkdir(parents=True)
    path = folder / f"gpu_{simulator.uuid(0)}.W.kept.json"
    trap(path, precious)
    done, (failed,) = restore_power_caps()
    assert done == []
    assert f"{path} should say" in failed
    assert precious.read_text() == "precious"


def test_a_record_is_never_written_through_a_link(machine, folder, tmp_path):
    simulator = machine()
    precious = tmp_path / "passwd"
    precious.write_text("precious")
    folder.mkdir(parents=True)
    name = f"gpu_{simulator.uuid(0)}.W.held.json"
    (folder / f".{name}.{os.getpid()}").symlink_to(precious)
    (folder / f".{name}.1").write_text("of a program that was killed while it wrote")
    with power_cap(0, 300):
        assert simulator.limit_w(0) == 300.0
    assert precious.read_text() == "precious"
    assert [path.suffix for path in folder.iterdir()] == [".lock"]


def test_a_board_that_is_gone_keeps_its_record_and_is_named(machine, folder):
    simulator = machine(BOARD, BOARD)
    set_power_cap([0, 1], 300, keep=True)
    simulator.lose(0)
    done, (failed,) = restore_power_caps()
    assert "400 W again" in done[0]
    assert simulator.uuid(0) in failed
    (path,) = folder.glob("*.json")
    assert str(path) in failed
    assert "remove" in failed


def test_what_was_before_a_restart_waits_for_nobody(machine, folder, capfd):
    machine()
    set_power_cap(0, 300, keep=True)
    (path,) = folder.glob("*.json")
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "boot": "another"}))
    assert leftover() == []
    assert main(["powercap", "show"]) == 0
    assert "gives it back" not in capfd.readouterr().err
    assert main(["powercap", "restore"]) == 0
    assert not path.exists()


def test_a_record_of_another_version_says_so_whatever_its_fields(machine, folder):
    machine()
    folder.mkdir(parents=True)
    (folder / "gpu_GPU-1.W.kept.json").write_text(json.dumps({"version": 2, "new": 1}))
    _, (failed,) = restore_power_caps()
    assert "of another version of greenai" in failed


def test_reset_of_a_board_leaves_the_records_of_the_others(machine, folder):
    simulator = machine(BOARD, BOARD)
    set_power_cap([0, 1], 300, keep=True)
    reset_power_cap(0)
    assert [simulator.limit_w(0), simulator.limit_w(1)] == [400.0, 300.0]
    assert len(list(folder.glob("*.json"))) == 1
