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
    Sender,
    ServiceError,
    ServiceFailed,
    ServiceUnreachable,
    ServiceUntrusted,
    Spool,
    submit,
)
from greenai_core.testing import GradingServer
from greenai_plugins.graders.web_client import GradingService

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
        ("garbage", 4, ServiceUnreachable),
        ("stall", 1, ServiceUnreachable),
        ("endless", 1, ServiceFailed),
        ("gzip", 1, ServiceFailed),
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


GOOD = b'{"calification": "C", "min_C1": "0.0", "max_C1": "9.0"}'
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
    b"HTTP/1.1 200 OK\r\n\r\n" + GOOD + b" " * 2_000_000,
    b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + GOOD,
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


# urllib3 drops a connection without closing it where Content-Length is no number.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
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


def test_an_interval_that_reaches_below_zero_is_asked_about_from_zero_up(
    service, server, spool, run
):
    wide = dataclasses.replace(run, net_energy_j=Bounds(600.0, -50.0, 610.0))
    assert submit(wide, service, spool).state == "sent"
    asked = [received.path.split("/")[3] for received in server.requests]
    assert asked == ["0.12", "0.0", "0.122", *asked[3:]]
    assert not any("-" in figure for figure in asked)


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
    assert "greenai sync --rejected" in outcome.problem
    assert outcome.path == entries[0].path
    assert outcome.path.parent.name == "rejected"


def test_an_energy_below_zero_is_put_aside_unsent(service, server, spool, run):
    below = dataclasses.replace(run, net_energy_j=Bounds(-1.0, -2.0, 0.5))
    outcome = submit(below, service, spool)
    assert outcome.state == "rejected"
    assert "noise floor" in outcome.problem
    assert "--rejected" not in outcome.problem, "to try again would change nothing"
    assert not server.requests


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
