"""What leaves the machine: two numbers with their intervals, and nothing else."""

from __future__ import annotations

import dataclasses
import getpass
import os
import platform
import re
import socket
import threading
from pathlib import Path

import pytest

from greenai_core import (
    CommandResult,
    DevicePower,
    Run,
    new_key,
    read_report,
    run_of,
    submit,
    to_json,
)
from greenai_core.testing import GradingServer
from greenai_plugins.graders.web_client import GradingService

REPORT = Path(__file__).parents[1] / "data" / "report-1-grade-0.1.0.json"
CANARY = "canary"

ALLOWED_HEADERS = {"Host", "User-Agent", "Accept", "Accept-Encoding"}
ROW = b'{"calification": "C", "min_C1": "0.0", "max_C1": "1000.0"}'


class Listener:
    """A server of sockets alone: it keeps every byte, and answers all with one class."""

    def __enter__(self):
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.received = b""
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        # Closing alone would not wake the thread that accepts.
        with socket.create_connection(self._listening.getsockname()):
            pass
        self._thread.join(5)
        self._listening.close()

    def _serve(self):
        while True:
            connection, _ = self._listening.accept()
            with connection:
                request = b""
                while b"\r\n\r\n" not in request:
                    got = connection.recv(65536)
                    if not got:
                        return
                    request += got
                self.received += request
                head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(ROW)}\r\nConnection: close\r\n\r\n"
                connection.sendall(head.encode() + ROW)


def spoilt(value):
    """The same with every text replaced by a canary that says where it stood."""
    if isinstance(value, str):
        return f"/home/{CANARY}/{value}"
    if isinstance(value, tuple):
        return tuple(map(spoilt, value))
    if dataclasses.is_dataclass(value):
        changes = {
            field.name: spoilt(getattr(value, field.name))
            for field in dataclasses.fields(value)
            if field.init
        }
        return dataclasses.replace(value, **changes)
    return value


@pytest.fixture
def result():
    """A real result, in which each and every text is a canary."""
    (found,) = read_report(REPORT).results
    assert isinstance(found, CommandResult)
    made = spoilt(found)
    assert CANARY in repr(to_json(made))
    joules = dataclasses.replace(made.gross, duration_s=10.0)
    net = dataclasses.replace(made.net_energy_j, value=600.0, low=590.0, high=610.0)
    return dataclasses.replace(made, gross=joules, net_energy_j=net)


@pytest.fixture
def run(result):
    devices = [DevicePower("CPU", "Example 9", 100.0)]
    return run_of(result, key=new_key(), devices=devices, memory_gb=16.0)


def test_nothing_but_two_numbers_leaves(monkeypatch, spool, run, patience):
    """Every byte that reaches the other side is accounted for."""
    monkeypatch.setenv("USER", CANARY)
    monkeypatch.setenv("TZ", CANARY)
    with Listener() as listener:
        outcome = submit(run, GradingService(listener.url, patience=patience), spool)
    assert outcome.state == "sent"
    requests = listener.received.decode("ascii").split("\r\n\r\n")[:-1]
    assert len(requests) == 6
    for request in requests:
        first, *headers = request.split("\r\n")
        assert re.fullmatch(r"GET /classificationDataC/1/[0-9]+\.[0-9]+/ HTTP/1\.1", first)
        told = dict(header.split(": ", 1) for header in headers)
        assert set(told) == ALLOWED_HEADERS
        assert re.fullmatch(r"greenai/[0-9.]+\S*", told["User-Agent"])
        assert told["Host"] == listener.url.removeprefix("http://")


def test_a_dry_run_is_what_is_sent_to_the_byte(spool, run, patience):
    with Listener() as listener:
        service = GradingService(listener.url, patience=patience)
        told = service.dry_run(run)
        assert not listener.received
        submit(run, service, spool)
    assert listener.received == told
    assert CANARY.encode() not in told


def test_a_dry_run_shows_no_token(monkeypatch, run):
    monkeypatch.setenv("GREENAI_TOKEN", "s3cret")
    told = GradingService("https://grades.example/legacy/v0", patience=None).dry_run(run)
    assert b"s3cret" not in told
    assert told.count(b"Authorization: Bearer TOKEN\r\n") == 6
    assert told.startswith(b"GET /legacy/v0/classificationDataC/1/0.12/ HTTP/1.1\r\nHost: grades")


def test_what_waits_on_the_disk_holds_no_more(spool, run, patience):
    with GradingServer() as server:
        outcome = submit(run, GradingService(server.url), spool, offline=True)
    text = outcome.path.read_text()
    mine = (CANARY, socket.gethostname(), platform.node(), str(Path.cwd()), str(Path.home()))
    for secret in (*mine, os.environ.get("USER") or getpass.getuser()):
        # Short names such as "root" or "vm" stand in other words by chance.
        assert secret not in text or len(secret) < 6


def test_a_run_has_no_field_for_more():
    """Whoever adds one must think about what may leave."""
    assert {field.name for field in dataclasses.fields(Run)} == {
        "key", "created", "duration_s", "net_energy_j", "gross_energy_j", "units", "unit", "tier",
        "components", "missing", "devices", "memory_gb", "greenai",
    }  # fmt: skip


def test_a_run_says_what_was_measured():
    (result,) = read_report(REPORT).results
    made = run_of(result, key=new_key())
    assert made.duration_s == result.gross.duration_s
    assert made.net_energy_j.value == result.net_energy_j.value
    assert made.gross_energy_j.high == result.gross.high_j
    assert (made.unit, made.units) == (result.unit, result.units)
    assert made.components == tuple(
        dict.fromkeys(c.component for c in result.gross.channels if c.in_total)
    )


@pytest.mark.parametrize("unit", ["/home/me/photo", "https://a.example", "x" * 33, "bild\n", ""])
def test_a_unit_that_is_no_word_stays_here(unit):
    (result,) = read_report(REPORT).results
    made = run_of(dataclasses.replace(result, units=5.0, unit=unit), key=new_key())
    assert (made.unit, made.units) == (None, None)


def test_unknown_joules_are_not_zero():
    (result,) = read_report(REPORT).results
    gross = dataclasses.replace(result.gross, energy_j=None, low_j=None, high_j=None)
    made = run_of(dataclasses.replace(result, gross=gross, net_energy_j=None), key=new_key())
    assert made.gross_energy_j is None
    assert made.net_energy_j is None


def test_the_key_tells_nothing_of_the_machine():
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(re.fullmatch("[0-9a-f]{32}", key) and key[12] == "4" for key in keys)
