"""``greenai sync``: what waits is sent, and the exit code says whether all of it was."""

from __future__ import annotations

import json
import signal
import threading

import pytest

from greenai_core import Bounds, Run, Spool, new_key
from greenai_core.cli import exit_codes
from greenai_core.testing import GradingServer


@pytest.fixture(autouse=True)
def state(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def server():
    with GradingServer() as running:
        yield running


@pytest.fixture
def keep():
    """Put a run of so many joules above idle in 10 s into the spool."""

    def put(url, joules=600.0, grader="web"):
        bounds = Bounds(joules, joules - 1, joules + 1)
        run = Run(new_key(), "2024-05-01T10:00:00+00:00", 10.0, bounds, None)
        return Spool().put(run, grader, url)

    return put


def test_nothing_waits(greenai):
    done = greenai("sync")
    assert done.code == 0
    assert "nothing waits" in done.out


def test_what_waits_is_sent(greenai, server, keep):
    keep(server.url)
    keep(server.url, 700.0)
    done = greenai("sync", "--json")
    assert done.code == 0
    assert [run["state"] for run in done.json["runs"]] == ["sent", "sent"]
    assert any("efficiency: C (0.12)" in run["lines"] for run in done.json["runs"])
    assert Spool().waiting() == ([], [])


def test_for_people(greenai, server, keep):
    keep(server.url)
    done = greenai("sync")
    assert done.code == 0
    assert "sent" in done.out
    assert "efficiency: C (0.12)" in done.out
    assert "not meaningful for energy" in done.out


@pytest.mark.parametrize("fault", ["500", "html", "moved", "half"])
def test_what_cannot_be_sent_stays(greenai, server, keep, fault):
    entry = keep(server.url)
    server.keep_failing(fault)
    done = greenai("sync", "--json")
    assert done.code == exit_codes.SERVICE == 9
    (run,) = done.json["runs"]
    assert (run["state"], run["key"]) == ("kept", entry.run.key)
    assert run["problem"]
    assert entry.path.exists()
    server.heal()
    assert greenai("sync").code == 0


def test_one_that_is_refused_does_not_stop_the_others(greenai, server, keep):
    bad, good = keep(server.url, 1e9), keep(server.url)
    done = greenai("sync", "--json")
    assert done.code == exit_codes.SERVICE
    states = {run["key"]: run["state"] for run in done.json["runs"]}
    assert states == {bad.run.key: "rejected", good.run.key: "sent"}
    assert greenai("sync").code == 0, "it does not wait any more"
    server.classes.append(
        {"calification": "G", "number_metrics": "1", "min_C1": "1000", "max_C1": "1e9"}
    )
    again = greenai("sync", "--rejected", "--json")
    assert again.code == 0
    assert [run["state"] for run in again.json["runs"]] == ["sent"]
    assert Spool().rejected() == ([], [])


def test_offline_only_tells(greenai, server, keep):
    entry = keep(server.url)
    done = greenai("sync", "--offline", "--json")
    assert done.code == 0
    assert [run["state"] for run in done.json["runs"]] == ["waiting"]
    assert not server.requests
    assert entry.path.exists()


def test_a_dry_run_prints_the_bytes(greenai, server, keep):
    keep(server.url)
    done = greenai("sync", "--dry-run")
    assert done.code == 0
    assert done.out.startswith("GET /classificationDataC/1/0.12/ HTTP/1.1\r\nHost: 127.0.0.1:")
    assert not server.requests
    assert len(Spool().waiting()[0]) == 1


def test_a_service_that_has_moved(greenai, server, keep):
    keep("https://gone.invalid/old/")
    keep("https://gone.invalid/old/")
    done = greenai("sync", "--moved-to", server.url, "--json")
    assert done.code == 0
    assert {run["url"] for run in done.json["runs"]} == {server.url}
    assert Spool().waiting() == ([], [])


def test_several_services_are_not_mixed(greenai, server, keep):
    keep(server.url)
    other = keep("https://gone.invalid")
    done = greenai("sync")
    assert done.code == exit_codes.USAGE
    assert "--url" in done.err
    assert not server.requests
    assert greenai("sync", "--offline").code == 0
    assert other.url in greenai("sync", "--url", "https://another.example").err
    assert greenai("sync", "--url", server.url + "/").code == 0
    assert [entry.path for entry in Spool().waiting()[0]] == [other.path]


@pytest.mark.parametrize("flag", ["--moved-to", "--url"])
def test_an_address_that_is_none(greenai, server, keep, flag):
    keep(server.url)
    done = greenai("sync", flag, "http://grades.example")
    assert done.code == (exit_codes.USAGE if flag == "--moved-to" else 0)
    assert not server.requests


@pytest.mark.parametrize("value", ["0", "-1", "nan", "long"])
def test_a_timeout_that_is_none(greenai, server, keep, value):
    keep(server.url)
    done = greenai("sync", "--timeout", value)
    assert done.code == exit_codes.USAGE
    assert not server.requests


def test_silence_is_given_up(greenai, server, keep):
    keep(server.url)
    server.keep_failing("hang")
    done = greenai("sync", "--timeout", "0.2", "--json")
    assert done.code == exit_codes.SERVICE
    assert "did not finish within 0.2 s" in done.json["runs"][0]["problem"]


def test_a_service_that_is_silent_is_not_waited_for_again_and_again(greenai, server, keep):
    for _ in range(3):
        keep(server.url)
    server.keep_failing("hang")
    done = greenai("sync", "--timeout", "0.3", "--json")
    assert done.code == exit_codes.SERVICE
    assert [run["state"] for run in done.json["runs"]] == ["kept"] * 3
    assert [("not tried" in run["problem"]) for run in done.json["runs"]] == [False, True, True]
    assert len(server.requests) == 1
    server.heal()
    assert greenai("sync").code == 0


def test_how_long_it_waits_is_a_setting(greenai, server, keep, monkeypatch):
    keep(server.url)
    server.keep_failing("hang")
    monkeypatch.setenv("GREENAI_GRADING_TIMEOUT", "0.3")
    done = greenai("sync", "--json")
    assert "did not finish within 0.3 s" in done.json["runs"][0]["problem"]


def test_two_at_once_send_each_run_once(greenai, spawn, server, keep):
    """The second finds the run taken; it neither sends it nor calls it a failure."""
    entry = keep(server.url)
    asked, go_on, usual = threading.Event(), threading.Event(), server.answer

    def answer(received):
        asked.set()
        go_on.wait(30)
        return usual(received)

    server.answer = answer
    first = spawn("sync", "--json")
    assert asked.wait(30)
    second = greenai("sync", "--json")
    assert second.code == 0
    assert [run["state"] for run in second.json["runs"]] == ["taken"]
    assert entry.path.exists()
    go_on.set()
    out, err = first.communicate(timeout=30)
    assert first.returncode == 0, err
    assert [run["state"] for run in json.loads(out)["runs"]] == ["sent"]
    assert len(server.requests) == 3, "one figure and the two ends of its interval"
    assert Spool().waiting() == ([], [])


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_one_that_is_ended_midway_loses_nothing(greenai, spawn, server, keep, how):
    """What was sent is gone and was told; the others wait as they did."""
    for number in range(3):
        keep(server.url, 600.0 + number)
    asked, usual = threading.Event(), server.answer

    def answer(received):
        if len(server.requests) > 3:
            asked.set()
            server.closed.wait()
        return usual(received)

    server.answer = answer
    first = spawn("sync")
    assert asked.wait(30)
    first.send_signal(how)
    out, _ = first.communicate(timeout=30)
    assert first.returncode != 0
    if how is signal.SIGINT:
        assert out.count("efficiency: C") == 1, "the letter of the first is kept nowhere else"
    assert len(Spool().waiting()[0]) == 2
    server.answer = usual
    assert greenai("sync").code == 0
    assert Spool().waiting() == ([], [])


def test_what_a_file_says_steers_no_terminal(greenai, server, keep):
    entry = keep(server.url)
    content = json.loads(entry.path.read_text())
    content["run"]["created"] = content["url"] = "\x1b[2J\x1b]0;evil\x07"
    entry.path.write_text(json.dumps(content))
    done = greenai("sync")
    assert done.code == exit_codes.SERVICE
    assert "\x1b" not in done.out + done.err
    assert "\x07" not in done.out + done.err


def test_a_grader_that_is_gone(greenai, server, keep):
    entry = keep(server.url, grader="gone")
    done = greenai("sync", "--json")
    assert done.code == exit_codes.SERVICE
    assert "gone" in done.json["runs"][0]["problem"]
    assert entry.path.exists()


def test_a_grader_that_sends_nothing(greenai, server, keep):
    keep(server.url, grader="scale")
    done = greenai("sync", "--json")
    assert done.code == exit_codes.SERVICE
    assert "sends nothing" in done.json["runs"][0]["problem"]


def test_a_broken_file_is_told(greenai, server, keep):
    keep(server.url)
    broken = Spool().folder / "broken.json"
    broken.write_text("{")
    done = greenai("sync")
    assert done.code == exit_codes.SERVICE
    assert "broken.json" in done.err.replace("\n", "")
    assert broken.exists()
    assert not Spool().waiting()[0]


def test_a_token_comes_from_a_file(greenai, server, keep, tmp_path):
    keep(server.url)
    file = tmp_path / "token"
    file.touch(0o600)
    file.write_text("s3cret")
    done = greenai("sync", "--token-file", file)
    assert done.code == 0
    assert server.requests[0].headers["Authorization"] == "Bearer s3cret"
    assert "s3cret" not in done.out + done.err
