"""A user without a home folder, as in containers that run as a number: defaults, not a crash."""

import os
import pwd
from pathlib import Path

import pytest

from greenai_core.cli import exit_codes


@pytest.fixture(autouse=True)
def no_home(monkeypatch):
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)

    def unknown(uid):
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    with pytest.raises(RuntimeError, match="home"):
        Path.home()


@pytest.mark.parametrize(
    "words",
    [
        ("config", "show"),
        ("devices",),
        ("plugins",),
        ("scale", "list"),
        ("calibrate", "list"),
        ("measure", "-p", "sim", "--", "true"),
        ("sync",),
        ("sync", "--offline", "--json"),
    ],
)
def test_commands_work_with_defaults(greenai, words):
    done = greenai(*words)
    assert "unexpected" not in done.err
    assert done.code == 0, done.err


def test_a_benchmark_works(greenai, tiny, quick):
    done = greenai("bench", tiny(), *quick)
    assert done.code == 0, done.err


def test_a_baseline_cannot_be_kept_and_that_is_told(greenai, simulated):
    done = greenai("grade", "-p", "sim", "--idle-time", "0.1", "--baseline", "save", "--", "true")
    assert done.code == 0, done.err
    assert "no baseline was kept" in done.err


def test_asking_for_a_baseline_tells_what_to_set(greenai):
    done = greenai("grade", "--baseline", "compare", "--", "true")
    assert "no home folder" in done.err
    assert "XDG_STATE_HOME" in done.err


def test_calibrations_of_a_home_folder_are_refused(greenai, monkeypatch):
    monkeypatch.setenv("GREENAI_CALIBRATIONS", "~/calibrations")
    done = greenai("measure", "-p", "sim", "--", "true")
    assert "there is no home folder to find ~/calibrations in" in done.err
    assert "unexpected" not in done.err


def test_a_run_for_a_service_is_lost_and_that_is_told(greenai):
    done = greenai(
        "grade", "-p", "sim", "--idle-time", "0.1", "--grader", "web", "--offline",
        "--url", "http://127.0.0.1:9", "--", "true",
    )  # fmt: skip
    assert "cannot be kept: there is no home folder" in " ".join(done.err.split())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look everywhere")
def test_a_closed_home_is_like_none(greenai, monkeypatch, tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    monkeypatch.setenv("HOME", str(closed))
    assert greenai("config", "show").code == exit_codes.OK
