"""A service that fails in every way: the run is on the disk, and nothing is raised."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import socket
import stat
import sys
import threading
import time
from pathlib import Path

import pytest

from greenai_core import (
    Answer,
    Bounds,
    ConfigError,
    Sender,
    ServiceError,
    ServiceFailed,
    ServiceRefused,
    ServiceUnreachable,
    ServiceUntrusted,
    Spool,
    submit,
)
from greenai_core.testing import GradingServer
from greenai_plugins.graders.web_client import GradingService
from greenai_plugins.graders.web_http import Patience

CERTIFICATE = Path(__file__).parents[1] / "data" / "loopback.pem"


@pytest.fixture
def closed_port():
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    return f"http://127.0.0.1:{port}"


def kept(spool, run):
    """The run as the spool holds it."""
    entries, problems = spool.waiting()
    assert not problems
    assert [entry.run for entry in entries] == [run]
    return entries[0]


# Every fault


@pytest.mark.parametrize(
    ("fault", "tries", "kind"),
    [
        ("hang", 1, ServiceUnreachable),
        ("reset", 4, ServiceUnreachable),
        ("late", 4, ServiceUnreachable),
        ("500", 1, ServiceFailed),
        ("503", 4, ServiceFailed),
        ("429", 4, ServiceFailed),
        ("moved", 1, ServiceFailed),
        ("loop", 4, ServiceFailed),
        ("html", 1, ServiceFailed),
        ("wrong", 1, ServiceFailed),
        ("list", 1, ServiceFailed),
        ("half", 1, ServiceFailed),
        ("short", 1, ServiceFailed),
    ],
)
def test_whatever_the_service_does_the_run_is_kept(service, server, spool, run, fault, tries, kind):
    server.keep_failing(fault)
    outcome = submit(run, service, spool)
    assert outcome.state == "kept"
    assert outcome.path == kept(spool, run).path
    assert server.url in outcome.problem
    assert "greenai sync" in outcome.problem
    assert len(server.requests) == tries
    with pytest.raises(kind):
        service.send(run)


def test_a_service_that_drips_is_given_up(service, server, spool, run):
    """Each byte ends the silence, so no timeout of the socket ever comes."""
    server.drip_s = 0.01
    server.keep_failing("drip")
    outcome = submit(run, service, spool, deadline_s=0.5)
    assert outcome.state == "kept"
    assert "did not finish within 0.5 s" in outcome.problem
    kept(spool, run)


def test_nobody_listens(closed_port, patience, spool, run, waits):
    service = GradingService(closed_port, patience=patience)
    outcome = submit(run, service, spool)
    assert outcome.state == "kept"
    assert "refused" in outcome.problem
    assert len(waits) == 3, "a connection is tried four times"
    kept(spool, run)


@pytest.mark.parametrize("trusted", [False, True])
def test_a_certificate_that_nobody_vouches_for(patience, spool, run, trusted):
    with GradingServer(certificate=CERTIFICATE) as server:
        ca_file = CERTIFICATE if trusted else None
        service = GradingService(server.url, ca_file=ca_file, patience=patience)
        outcome = submit(run, service, spool)
        if trusted:
            assert outcome.state == "sent"
            return
        with pytest.raises(ServiceUntrusted):
            service.get_cpus()
    assert outcome.state == "kept"
    assert "certificate" in outcome.problem
    assert not server.requests, "nothing may be said to a stranger"
    kept(spool, run)


def test_a_certificate_of_another_host(patience, spool, run):
    """Trusted, but made for 127.0.0.1 and not for localhost."""
    with GradingServer(certificate=CERTIFICATE) as server:
        url = server.url.replace("127.0.0.1", "localhost")
        service = GradingService(url, ca_file=CERTIFICATE, patience=patience)
        assert submit(run, service, spool).state == "kept"
        with pytest.raises(ServiceUntrusted):
            service.get_cpus()
    assert not server.requests


def test_a_fault_in_the_middle_keeps_the_run_whole(service, server, spool, run):
    """One of several questions was answered; all are asked again later."""
    server.next_fault = iter(["", "500"]).__next__
    assert submit(run, service, spool).state == "kept"
    kept(spool, run)


ODD = [
    b"",
    b"\x00\xff\x16\x03",
    b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 abc\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{}",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\nnone",
    b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
    b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 200_000,
    b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 2_000_000,
    b"HTTP/1.1 200 OK\r\n\r\nnull",
    b"HTTP/1.1 200 OK\r\n\r\n\xff\xfe",
    b'HTTP/1.1 200 OK\r\n\r\n{"calification": "C", "min_C1": NaN, "max_C1": "9"}',
    b'HTTP/1.1 200 OK\r\n\r\n{"calification": "C", "min_C1": "nan", "max_C1": "9"}',
    b'HTTP/1.1 200 OK\r\n\r\n{"calification": "C", "min_C1": "9", "max_C1": "1"}',
    b'HTTP/1.1 200 OK\r\n\r\n{"calification": "\\u001b[31m", "min_C1": "0", "max_C1": "9"}',
    b'HTTP/1.1 200 OK\r\n\r\n{"calification": 3, "min_C1": "0", "max_C1": "9"}',
    b'HTTP/1.1 200 OK\r\n\r\n{"calification": "C", "min_C1": 1' + b"0" * 9999 + b"}",
    b"HTTP/1.1 302 Found\r\nLocation: http://[bad\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:99999/\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: \xff\xfe\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation:\r\n\r\n",
    b"HTTP/1.1 302 Found\r\n\r\n",
    b"HTTP/1.1 503 Busy\r\nRetry-After: \r\n\r\n",
]


@pytest.mark.parametrize("answer", ODD, ids=range(len(ODD)))
def test_whatever_bytes_come_the_error_is_one_of_ours(answer, patience, spool, run):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

        def serve():
            while True:
                connection, _ = listening.accept()
                with connection:
                    if not connection.recv(65536):
                        return
                    with contextlib.suppress(OSError):
                        connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        service = GradingService(f"http://127.0.0.1:{port}", patience=patience)
        with pytest.raises(ServiceError) as error:
            service.get_grade(0.5)
        assert str(error.value).isprintable()
        assert len(str(error.value)) < 400
        assert submit(run, service, spool).state == "kept"
        kept(spool, run)
        with socket.create_connection(("127.0.0.1", port)):
            pass
        thread.join(5)


# What works


def test_a_good_answer_empties_the_spool(service, spool, run):
    outcome = submit(run, service, spool)
    assert outcome.state == "sent"
    assert outcome.path is None
    assert outcome.answer.service == "127.0.0.1"
    assert outcome.answer.lines == (
        "not meaningful for energy: efficiency is a power (kW above idle, doubled), optimisation "
        "a degree of use",
        "efficiency: C (0.12)",
        "optimisation: D (0.3)",
    )
    assert spool.waiting() == ([], [])


def test_the_run_is_on_the_disk_before_anything_is_sent(spool, run):
    class Watching(Sender):
        grader = "web"
        url = "http://127.0.0.1"

        def send(self, run):
            entry = kept(spool, run)
            assert stat.S_IMODE(entry.path.stat().st_mode) == 0o600
            return Answer("127.0.0.1", {}, ())

        def dry_run(self, run):
            return b""

    assert submit(run, Watching(), spool).state == "sent"


def test_a_spool_that_cannot_be_written_sends_nothing(service, server, run, tmp_path):
    (tmp_path / "file").write_text("in the way")
    outcome = submit(run, service, Spool(tmp_path / "file" / "spool"))
    assert outcome.state == "lost"
    assert "cannot be kept" in outcome.problem
    assert not server.requests


def test_a_run_that_is_no_number_is_not_sent(service, server, spool, run):
    outcome = submit(
        dataclasses.replace(run, net_energy_j=Bounds(float("nan"), 0, 1)), service, spool
    )
    assert outcome.state == "lost"
    assert not server.requests


def test_a_fault_of_a_plugin_is_not_raised_either(spool, run):
    class Broken(Sender):
        grader = "broken"
        url = "http://127.0.0.1"

        def send(self, run):
            raise ZeroDivisionError("by design")

        def dry_run(self, run):
            return b""

    outcome = submit(run, Broken(), spool)
    assert outcome.state == "kept"
    assert "ZeroDivisionError" in outcome.problem


# Refusals


def test_what_no_class_holds_is_put_aside(patience, spool, run):
    with GradingServer(classes=[]) as server:
        outcome = submit(run, GradingService(server.url, patience=patience), spool)
    assert outcome.state == "rejected"
    assert spool.waiting() == ([], [])
    entries, problems = spool.rejected()
    assert not problems
    assert [entry.run for entry in entries] == [run]
    assert "no class" in entries[0].why
    assert outcome.path == entries[0].path
    assert outcome.path.parent.name == "rejected"


def test_an_energy_below_zero_is_put_aside_unsent(service, server, spool, run):
    below = dataclasses.replace(run, net_energy_j=Bounds(-1.0, -2.0, 0.5))
    outcome = submit(below, service, spool)
    assert outcome.state == "rejected"
    assert "noise floor" in outcome.problem
    assert not server.requests


# Trying again


def test_it_is_asked_four_times_and_waited_for_longer_each_time(service, server, waits):
    server.fail("503", "reset", "429")
    assert service.get_grade(0.5).letter == "E"
    assert waits == [0.5, 1.0, 2.0]


def test_waits_are_jittered():
    lucky, unlucky = (Patience(chance=lambda value=value: value) for value in (0.0, 1.0))
    assert [lucky.wait_s(n, None) for n in (1, 2, 3)] == [0.25, 0.5, 1.0]
    assert [unlucky.wait_s(n, None) for n in (1, 2, 3)] == [0.5, 1.0, 2.0]


@pytest.mark.parametrize(
    ("header", "waited"),
    [
        ("2", 2.0),
        ("0", 0.0),
        ("86400", 30.0),
        ("soon", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Wed, 21 Oct 9015 07:28:00 GMT", 30.0),
    ],
)
def test_retry_after_is_heeded_but_not_for_ever(service, server, waits, header, waited):
    """What is no time is not waited for; the usual wait is taken."""
    server.retry_after = header
    server.fail("503")
    assert service.get_grade(0.5).letter == "E"
    assert waits == [0.5 if waited is None else waited]


def test_a_retry_after_that_no_number_holds(service, server, waits):
    """Python refuses to read so many digits; that must not end the tries."""
    server.retry_after = "9" * 5000
    server.fail("503")
    assert service.get_grade(0.5).letter == "E"
    assert len(waits) == 1


def test_what_would_fail_again_is_not_tried_again(service, server, waits):
    server.fail("500")
    with pytest.raises(ServiceFailed):
        service.get_grade(0.5)
    assert len(server.requests) == 1
    assert not waits


# Secrets, and where they go


def with_token(monkeypatch, token="s3cret-t0ken"):
    monkeypatch.setenv("GREENAI_TOKEN", token)
    return token


def test_a_token_opens_what_needs_one(monkeypatch, patience):
    with GradingServer(token="s3cret-t0ken") as server:
        with pytest.raises(ServiceRefused, match="GREENAI_TOKEN"):
            GradingService(server.url, patience=patience).post_new_device("Board", "GPU", 1)
        with_token(monkeypatch)
        GradingService(server.url, patience=patience).post_new_device("Board", "GPU", 1)
        assert len(server.devices) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("call", ["get", "post"])
def test_nothing_goes_to_another_host(monkeypatch, patience, spool, run, host, call):
    """Neither the token nor the figures: a redirection elsewhere is not followed."""
    with_token(monkeypatch)
    with GradingServer() as stranger:
        elsewhere = stranger.url.replace("127.0.0.1", host) + "/classificationDataC/1/0.12/"
        with GradingServer(elsewhere=elsewhere) as server:
            server.keep_failing("moved")
            service = GradingService(server.url, patience=patience)
            if call == "get":
                outcome = submit(run, service, spool)
                assert "another host" in outcome.problem
                kept(spool, run)
            else:
                with pytest.raises(ServiceFailed, match="another host"):
                    service.post_new_device("Board", "GPU", 1)
        assert not stranger.requests


def test_a_token_is_shown_nowhere(monkeypatch, patience, spool, run, caplog):
    caplog.set_level("DEBUG")
    token = with_token(monkeypatch)
    shown = []
    for fault in ("503", "html", "moved", "reset", ""):
        with GradingServer() as server:
            if fault:
                server.keep_failing(fault)
            service = GradingService(server.url, patience=patience)
            outcome = submit(run, service, spool)
            assert server.requests[0].headers["Authorization"] == f"Bearer {token}"
            shown += [repr(service), repr(vars(service)), repr(outcome), service.dry_run(run)]
    shown += [path.read_text() for path in spool.folder.rglob("*.json")]
    assert token not in caplog.text
    assert token not in repr(shown)


def test_a_token_in_a_file(tmp_path, patience, server):
    file = tmp_path / "token"
    file.write_text("fr0m-file\n")
    file.chmod(0o600)
    GradingService(server.url, token_file=file, patience=patience).get_cpus()
    assert server.requests[-1].headers["Authorization"] == "Bearer fr0m-file"
    file.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        GradingService(server.url, token_file=file)
    with pytest.raises(ConfigError, match="cannot be read"):
        GradingService(server.url, token_file=tmp_path / "none")


def test_a_token_in_the_usual_file(tmp_path, monkeypatch, patience, server):
    file = tmp_path / "config" / "greenai" / "token"
    file.parent.mkdir(parents=True)
    file.touch(0o600)
    file.write_text("usual")
    GradingService(server.url, patience=patience).get_cpus()
    assert server.requests[-1].headers["Authorization"] == "Bearer usual"
    with_token(monkeypatch, "first")
    GradingService(server.url, patience=patience).get_cpus()
    assert server.requests[-1].headers["Authorization"] == "Bearer first"


@pytest.mark.parametrize("token", ["two\r\nX-Evil: 1", "a b", "ä"])
def test_a_token_that_would_be_a_header_of_its_own(monkeypatch, server, token):
    monkeypatch.setenv("GREENAI_TOKEN", token)
    with pytest.raises(ConfigError) as refused:
        GradingService(server.url)
    assert token not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://grades.example",
        "http://192.0.2.7",
        "http://127.0.0.1.example",
        "ftp://127.0.0.1",
        "https://user:password@grades.example",
        "https://grades.example/?token=1",
        "https://",
        "grades.example",
        "https://grades.example:none",
        "https://grades example",
        "https://grades.example/../up",
        "https://grades.example/%2e%2e/",
        "https://grädes.example",
        "https://[::1",
    ],
)
def test_addresses_that_are_refused(url):
    with pytest.raises(ConfigError) as refused:
        GradingService(url)
    assert "password@" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://127.0.0.1:1", "http://127.0.0.1:1"),
        ("http://[::1]:1/", "http://[::1]:1"),
        ("http://localhost", "http://localhost"),
        ("HTTPS://Grades.Example:443/Legacy/v0/", "https://grades.example:443/Legacy/v0"),
        ("https://a.example//", "https://a.example"),
    ],
)
def test_addresses_that_are_taken(url, base, run):
    service = GradingService(url)
    assert service.url == base
    assert service.dry_run(run).startswith(b"GET /")


def test_proxies_and_netrc_of_the_environment_are_left_alone(
    monkeypatch, tmp_path, service, server
):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    service.get_cpus()
    assert "Authorization" not in server.requests[0].headers


@pytest.mark.parametrize("option", ["connect_s", "read_s"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_timeouts_are_positive(option, value):
    with pytest.raises(ConfigError, match=option):
        GradingService("https://grades.example", **{option: value})


def test_timeouts_are_settings(server, spool, run):
    server.keep_failing("hang")
    outcome = submit(run, GradingService(server.url, read_s=0.2), spool)
    assert "silent for 0.2 s" in outcome.problem


# Offline

SOCKETS = []
"""Sockets that were opened while ``WATCHING`` was on; an audit hook cannot be removed."""
WATCHING = []


def _hook(event, arguments):
    if WATCHING and event.startswith("socket."):
        SOCKETS.append(event)


def test_offline_opens_no_socket(service, server, spool, run):
    sys.addaudithook(_hook)
    WATCHING.append(True)
    try:
        outcome = submit(run, service, spool, offline=True)
        service.dry_run(run)
        assert not SOCKETS
        submit(run, service, spool)
        assert SOCKETS, "the test would see a socket"
    finally:
        WATCHING.clear()
    assert outcome.state == "kept"
    assert "offline" in outcome.problem


def test_a_run_costs_little_where_the_service_is_silent(service, server, spool, run):
    server.keep_failing("hang")
    began = time.monotonic()
    submit(run, service, spool)
    assert time.monotonic() - began < 5


def test_the_spool_is_read_by_json_alone(spool, run, service):
    outcome = submit(run, service, spool, offline=True)
    content = json.loads(outcome.path.read_text())
    assert set(content) == {"schema_version", "grader", "url", "why", "run"}
    assert content["url"] == service.url
