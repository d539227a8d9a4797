"""Runs on the disk: whole or not at all, and found again."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from dataclasses import replace

import pytest

from greenai_core import Bounds, ConfigError, Run, Spool, new_key
from greenai_core.spool import default_folder

URL = "https://grades.example"


def a_run(**changes):
    made = Run(new_key(), "2024-05-01T10:00:00+00:00", 10.0, Bounds(6.0, 5.0, 7.0), None)
    return replace(made, **changes)


@pytest.fixture
def spool(tmp_path):
    return Spool(tmp_path / "state" / "spool")


def test_what_is_kept_is_found_again(spool):
    later, sooner = (
        a_run(created="2024-05-02T10:00:00+00:00"),
        a_run(missing=1, components=("cpu",)),
    )
    for run in (later, sooner):
        spool.put(run, "web", URL)
    entries, problems = Spool(spool.folder).waiting()
    assert [entry.run for entry in entries] == [sooner, later]
    assert {(entry.grader, entry.url, entry.why) for entry in entries} == {("web", URL, "")}
    assert not problems
    spool.remove(entries[0])
    spool.remove(entries[0])
    assert [entry.run for entry in spool.waiting()[0]] == [later]


def test_only_its_owner_may_read_it(spool):
    old = os.umask(0)
    try:
        entry = spool.put(a_run(), "web", URL)
    finally:
        os.umask(old)
    assert stat.S_IMODE(entry.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(spool.folder.stat().st_mode) == 0o700


def test_a_refused_run_lies_apart_with_the_reason(spool):
    entry = spool.put(a_run(), "web", URL)
    moved = spool.reject(entry, "no class")
    assert spool.waiting() == ([], [])
    assert spool.rejected() == ([moved], [])
    assert spool.reject(moved, "still none").path == moved.path
    assert [one.why for one in spool.rejected()[0]] == ["still none"]


def test_the_same_key_is_the_same_file(spool):
    run = a_run()
    spool.put(run, "web", URL)
    spool.put(run, "web", URL)
    assert len(spool.waiting()[0]) == 1


@pytest.mark.parametrize("key", ["", "../../etc/passwd", "a/b/c/d/e/f", "x" * 65, "....json"])
def test_a_key_cannot_lead_elsewhere(spool, key):
    with pytest.raises(ConfigError):
        spool.put(a_run(key=key), "web", URL)
    assert not spool.folder.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b'{"schema_version": 2}',
        b'{"schema_version": 1, "grader": 1, "url": "", "why": "", "run": {}}',
        b'{"schema_version": 1, "grader": "web", "url": "", "why": "", "run": {"key": "x"}}',
        b'{"schema_version": 1, "grader": "web", "url": "", "why": "", "run": {"duration_s": NaN}}',
        b"[" * 100_000,
    ],
)
def test_a_file_that_is_no_run_is_named_and_left(spool, content):
    spool.put(a_run(), "web", URL)
    (spool.folder / "broken.json").write_bytes(content)
    entries, problems = spool.waiting()
    assert len(entries) == 1
    assert len(problems) == 1
    assert "broken.json" in problems[0]
    assert (spool.folder / "broken.json").exists()


def test_a_device_in_a_file_is_checked_like_any_other(spool):
    entry = spool.put(a_run(), "web", URL)
    content = json.loads(entry.path.read_text())
    content["run"]["devices"] = [{"type": "CPU", "name": "x", "max_power_w": -1}]
    entry.path.write_text(json.dumps(content))
    assert len(spool.waiting()[1]) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [("duration_s", "1e999"), ("key", '"../../x"'), ("key", '"X-Evil: 1"'), ("unit", '"\\ud800"')],
)
def test_what_could_not_have_been_kept_is_no_run(spool, name, value):
    """A number past all, a key that is a path or a header, half a letter."""
    entry = spool.put(a_run(units=1.0, unit="image"), "web", URL)
    content = json.loads(entry.path.read_text())
    content["run"][name] = "PLACE"
    entry.path.write_text(json.dumps(content).replace('"PLACE"', value))
    entries, problems = spool.waiting()
    assert (entries, len(problems)) == ([], 1)


# Files of others


def in_the_way(spool, make):
    """A run, and beside it a file that ``make`` makes of the path of another."""
    mine = spool.put(a_run(), "web", URL)
    make(spool.folder / "deadbeefdeadbeef.json")
    entries, (problem,) = spool.waiting()
    assert [entry.path for entry in entries] == [mine.path]
    assert "deadbeefdeadbeef.json" in problem
    return problem


def copied(spool, path):
    others = (other for other in spool.folder.glob("*.json") if other != path)
    path.write_bytes(next(others).read_bytes())


def test_a_link_is_not_followed(spool, tmp_path):
    (tmp_path / "secret").write_text("secret")
    assert "it is a link" in in_the_way(spool, lambda p: p.symlink_to(tmp_path / "secret"))


def test_a_pipe_is_not_waited_for(spool):
    assert "no regular file" in in_the_way(spool, os.mkfifo)


def test_a_folder_is_no_run(spool):
    in_the_way(spool, lambda path: path.mkdir())


def test_a_file_too_long_is_not_read(spool):
    def sparse(path):
        with path.open("wb") as file:
            file.truncate(2**40)

    assert "too long" in in_the_way(spool, sparse)


def test_a_file_that_others_may_write_is_not_sent(spool):
    """They could name the service that the token goes to."""

    def make(path):
        copied(spool, path)
        path.chmod(0o666)

    assert "others may write it" in in_the_way(spool, make)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_of_another_user_is_not_sent(spool):
    def make(path):
        copied(spool, path)
        os.chown(path, 12345, 12345)

    assert "belongs to another user" in in_the_way(spool, make)


def test_a_run_from_another_machine_is_sent_like_any_other(spool, tmp_path):
    """Copied with the permissions that a copy gets."""
    entry = spool.put(a_run(), "web", URL)
    other = Spool(tmp_path / "copied")
    other.folder.mkdir()
    (other.folder / entry.path.name).write_bytes(entry.path.read_bytes())
    (other.folder / entry.path.name).chmod(0o644)
    assert [one.run for one in other.waiting()[0]] == [entry.run]


def test_a_spool_that_cannot_be_read_is_not_an_empty_one(tmp_path):
    (tmp_path / "file").touch()
    entries, (problem,) = Spool(tmp_path / "file").waiting()
    assert not entries
    assert "Nothing is known" in problem


# Two at once


CLAIMED = """
import sys, time
from pathlib import Path
from greenai_core import Spool
spool = Spool(Path(sys.argv[1]))
(entry,), _ = spool.waiting()
with spool.claim(entry) as mine:
    print(mine, flush=True)
    sys.stdin.read()
"""


def test_one_run_is_sent_by_one_process_at_a_time(spool):
    entry = spool.put(a_run(), "web", URL)
    command = [sys.executable, "-c", CLAIMED, str(spool.folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as other:
        assert other.stdout.readline() == "True\n"
        with spool.claim(entry) as mine:
            assert not mine
        other.kill()
    with spool.claim(entry) as mine:
        assert mine, "the claim ends with the process, however that ends"
    with spool.claim(entry) as mine:
        spool.remove(entry)
    with spool.claim(entry) as mine:
        assert not mine, "somebody has sent it"


def test_what_cannot_be_written_leaves_nothing(spool, monkeypatch):
    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        spool.put(a_run(), "web", URL)
    assert list(spool.folder.iterdir()) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from greenai_core import Bounds, Run, Spool, new_key
run = Run(new_key(), "2024-05-01T10:00:00+00:00", 10.0, Bounds(6.0, 5.0, 7.0), None)
if sys.argv[2] == "before":
    os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)
Spool(Path(sys.argv[1])).put(run, "web", "https://grades.example")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(("when", "there"), [("before", 0), ("after", 1)])
def test_a_kill_leaves_a_whole_run_or_none(spool, when, there):
    command = [sys.executable, "-c", KILLED, str(spool.folder), when]
    done = subprocess.run(command, check=False)
    assert done.returncode == -signal.SIGKILL
    entries, problems = spool.waiting()
    assert (len(entries), problems) == (there, [])


def test_where_it_is(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "greenai" / "spool"
    monkeypatch.setenv("XDG_STATE_HOME", "not/absolute")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder() == tmp_path / ".local" / "state" / "greenai" / "spool"
