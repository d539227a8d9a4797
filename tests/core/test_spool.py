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
