"""What a hostile service can take: time and memory have an end, whatever it does."""

from __future__ import annotations

import socket
import threading
import time
import tracemalloc
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from greenai_core import ServiceFailed, ServiceUnreachable, submit
from greenai_core.testing import GradingServer
from greenai_plugins.graders.web_adapter import Patience
from greenai_plugins.graders.web_client import GradingService

CERTIFICATE = Path(__file__).parents[1] / "data" / "loopback.pem"
GOOD = b'{"calification": "C", "min_C1": "0.0", "max_C1": "9.0"}'


@contextmanager
def answering(pieces):
    """A server of sockets alone that writes these pieces to each who asks; gives its address."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def talk(connection):
            with connection:
                try:
                    connection.recv(65536)
                    for piece in pieces(ended):
                        connection.sendall(piece)
                except OSError:
                    pass

        def serve():
            while True:
                connection, _ = listening.accept()
                if ended.is_set():
                    connection.close()
                    return
                threading.Thread(target=talk, args=(connection,), daemon=True).start()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        ended.set()
        with socket.create_connection(listening.getsockname()):
            pass
        thread.join(5)


def slowly(piece):
    """The same bytes again and again, each before silence would be noticed."""

    def pieces(ended):
        while not ended.wait(0.02):
            yield piece

    return pieces


def threads():
    return [t for t in threading.enumerate() if t.name == "greenai-send" and t.is_alive()]


# Time


@pytest.mark.parametrize("fault", ["drip", "drip-head"])
def test_a_call_ends_though_silence_never_comes(server, fault):
    """Each byte ends the silence that a timeout of the socket waits for."""
    server.drip_s = 0.02
    server.keep_failing(fault)
    service = GradingService(server.url, total_s=0.4)
    began = time.monotonic()
    for call in (service.get_cpus, lambda: service.get_grade(0.5)):
        with pytest.raises(ServiceUnreachable, match=r"did not finish within 0\.4 s"):
            call()
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "first",
    [b"HTTP/1.1 100 Continue\r\n\r\n", b"H", b"1\r\n \r\n"],
    ids=["continue", "status line", "chunks"],
)
def test_every_phase_of_an_answer_has_an_end(first):
    def pieces(ended):
        if first.startswith(b"1"):
            yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        yield from slowly(first)(ended)

    with answering(pieces) as url, pytest.raises(ServiceUnreachable, match="did not finish"):
        GradingService(url, total_s=0.4).get_grade(0.5)


def test_a_handshake_has_an_end(spool, run):
    """A server that sends the records of a handshake a byte at a time."""

    def pieces(ended):
        yield b"\x16\x03\x03\x40\x00"
        yield from slowly(b"\x00")(ended)

    with answering(pieces) as url:
        service = GradingService(url.replace("http", "https"), total_s=0.4)
        outcome = submit(run, service, spool)
    assert outcome.state == "kept"
    assert "did not finish within 0.4 s" in outcome.problem


def test_a_good_answer_without_a_length_that_the_deadline_cut_is_none():
    """The end of the time must not pass for the end of the body."""

    def pieces(ended):
        yield b"HTTP/1.1 200 OK\r\n\r\n" + GOOD
        yield from slowly(b" ")(ended)

    with answering(pieces) as url, pytest.raises(ServiceUnreachable, match="did not finish"):
        GradingService(url, total_s=0.4).get_grade(0.5)


def test_all_questions_of_a_run_share_the_time(server, run):
    """Six that are nearly silent must not take six times as long."""
    usual, asked = server.answer, []

    def late(received):
        asked.append(received)
        server.closed.wait(0.15)
        return usual(received)

    server.answer = late
    with pytest.raises(ServiceUnreachable, match="did not finish"):
        GradingService(server.url, total_s=0.5).send(run)
    assert 2 <= len(asked) < 6


def test_who_gave_up_leaves_nobody_asking_on(server, spool, run):
    """The thread that asked ends too; it must not come back with a try in the background."""
    server.drip_s = 0.02
    server.keep_failing("drip")
    outcome = submit(run, GradingService(server.url, total_s=0.3), spool, deadline_s=0.3)
    assert outcome.state == "kept"
    for thread in threads():
        thread.join(5)
    assert not threads()
    assert len(server.requests) == 1


def test_a_connection_that_never_comes_about(patience, spool, run, waits):
    """The queue of who listens is full, so nothing is said at all."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listening, ExitStack() as stack:
        for _ in range(8):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        outcome = submit(run, GradingService(url, patience=patience), spool)
    assert outcome.state == "kept"
    assert "no connection within 0.3 s" in outcome.problem
    assert len(waits) == 3
    assert [entry.run for entry in spool.waiting()[0]] == [run]


def test_nobody_waits_for_two_minutes():
    """The usual time in all is one that a person at a terminal accepts."""
    assert 10 <= Patience().total_s <= 30


# Memory


def most_bytes(call):
    """The most memory that a call held at once."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def saying(answer):
    """A server that says this to each who asks; gives its address."""
    return answering(lambda _: [answer])


def refused(url, match):
    def call():
        with pytest.raises(ServiceFailed, match=match):
            GradingService(url, total_s=10, patience=Patience(sleep=lambda _: None)).get_grade(0.5)

    return call


def test_a_few_bytes_that_unpack_to_many_are_not_unpacked(server):
    server.keep_failing("gzip")
    refused(server.url, "compressed")()  # what is imported on the way is not counted
    server.keep_failing("gzip")
    with answering(
        lambda _: [b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip, gzip, br\r\n\r\n"]
    ) as url:
        assert most_bytes(refused(url, "compressed")) < 4e6


@pytest.mark.parametrize("status", [b"200 OK", b"503 Busy", b"302 Found\r\nLocation: /a"])
def test_a_body_without_end_is_not_read_to_the_end(status):
    """Nor that of an answer after which the next try begins, or a redirection."""

    def pieces(ended):
        yield b"HTTP/1.1 " + status + b"\r\n\r\n"
        while not ended.is_set():
            yield b" " * 65536

    with answering(pieces) as url:
        began = time.monotonic()
        assert most_bytes(refused(url, "without end|busy or down")) < 8e6
        assert time.monotonic() - began < 8


def test_a_line_without_end_in_a_chunked_body():
    def pieces(ended):
        yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        while not ended.is_set():
            yield b"0" * 65536

    with answering(pieces) as url:
        assert most_bytes(refused(url, "broke off|no HTTP")) < 8e6


def test_a_chunked_body_is_read():
    half = len(GOOD) // 2
    parts = [b"%x\r\n%s\r\n" % (len(part), part) for part in (GOOD[:half], GOOD[half:], b"")]
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    with answering(lambda _: [head, *parts]) as url:
        assert GradingService(url).get_grade(0.5).letter == "C"


# What is said


@pytest.mark.parametrize(
    "letter",
    ["A+; rm -rf", "\x1b[31m", "$(id)", "AB", "ABCDEFG", "\u202eA", "", " ", "<b>", "Ａ", "A\n"],
)
def test_a_letter_that_is_none(letter, patience):
    """Not even a part of the row of all letters, and nothing that a terminal would heed."""
    row = {"calification": letter, "number_metrics": "1", "min_C1": "0", "max_C1": "9"}
    with GradingServer([row]) as server:
        service = GradingService(server.url, patience=patience)
        if letter.strip() == "A":
            assert service.get_grade(0.5).letter == "A"
            return
        with pytest.raises(ServiceFailed) as failed:
            service.get_grade(0.5)
    assert str(failed.value).isprintable()


def test_a_name_that_stands_there_twice_is_no_answer(patience):
    """Else the reader's habit would decide between two letters."""
    body = GOOD[:-1] + b', "calification": "A"}'
    with (
        saying(b"HTTP/1.1 200 OK\r\n\r\n" + body) as url,
        pytest.raises(ServiceFailed, match="not JSON"),
    ):
        GradingService(url, patience=patience).get_grade(0.5)


@pytest.mark.parametrize("kind", ["text/html", "image/png", "", "application/json; charset=utf-16"])
def test_the_content_type_decides_nothing(kind, patience):
    """Old services said text/html of JSON; what counts is whether it is JSON."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n\r\n".encode()
    with answering(lambda _: [head + GOOD]) as url:
        assert GradingService(url, patience=patience).get_grade(0.5).letter == "C"


# Redirections


@pytest.mark.parametrize(
    "location",
    [b"/a\x1b[31mb/", b"/" + b"a" * 50_000, b"//127.0.0.2/", b"/%zz", b"/\xe2\x80\xae"],
)
def test_where_it_redirects_to_steers_no_terminal(location, patience):
    with (
        saying(b"HTTP/1.1 302 Found\r\nLocation: " + location + b"\r\n\r\n") as url,
        pytest.raises(ServiceFailed) as failed,
    ):
        GradingService(url, patience=patience).get_grade(0.5)
    assert str(failed.value).isprintable()
    assert len(str(failed.value)) < 600


def test_a_redirection_cannot_put_a_password_in_the_place_of_the_token(monkeypatch, patience):
    monkeypatch.setenv("GREENAI_TOKEN", "s3cret")
    with GradingServer() as server:
        server.elsewhere = server.url.replace("//", "//me:mine@") + "/classificationDataC/1/0.5/"
        server.fail("moved")
        with pytest.raises(ServiceFailed, match="password"):
            GradingService(server.url, patience=patience).get_grade(0.5)
        assert len(server.requests) == 1


def test_https_is_not_left_for_http(monkeypatch, patience, spool, run):
    monkeypatch.setenv("GREENAI_TOKEN", "s3cret")
    with GradingServer() as plain, GradingServer(certificate=CERTIFICATE) as server:
        server.elsewhere = f"{plain.url}/classificationDataC/1/0.5/"
        server.keep_failing("moved")
        service = GradingService(server.url, ca_file=CERTIFICATE, patience=patience)
        outcome = submit(run, service, spool)
        assert outcome.state == "kept"
        assert "another host" in outcome.problem
        assert not plain.requests
        same_port = server.url.replace("https", "http") + "/"
        server.elsewhere = same_port
        assert "another host" in submit(run, service, spool).problem


def test_see_other_is_asked_for_and_not_told_again(server, patience):
    """A device is told once; the page that the service names is only looked at."""
    usual = server.answer

    def answer(received):
        done = usual(received)
        if received.method != "POST":
            return done
        return type(done)(303, headers={"Location": "/cpus/GPU/"})

    server.answer = answer
    GradingService(server.url, patience=patience).post_new_device("Board 7", "GPU", 250)
    assert [one.method for one in server.requests] == ["POST", "GET"]
    assert server.requests[1].body == b""
