"""When a client tries again, and how long it waits for that."""

from __future__ import annotations

import pytest

from greenai_core import ConfigError, ServiceFailed, submit
from greenai_plugins.graders.web_adapter import Patience
from greenai_plugins.graders.web_client import GradingService


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
        ("19", 19.0),
        ("soon", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
    ],
)
def test_retry_after_is_heeded(service, server, waits, header, waited):
    """What is no time is not waited for; the usual wait is taken."""
    server.retry_after = header
    server.fail("503")
    assert service.get_grade(0.5).letter == "E"
    assert waits == [0.5 if waited is None else waited]


@pytest.mark.parametrize("fault", ["503", "429"])
@pytest.mark.parametrize("header", ["31", "315360000", "Wed, 21 Oct 9015 07:28:00 GMT"])
def test_who_asks_for_more_time_than_there_is_is_left_alone(
    service, server, spool, run, waits, fault, header
):
    """Asking sooner would not heed it, and to wait so long nobody would accept."""
    server.retry_after = header
    server.keep_failing(fault)
    outcome = submit(run, service, spool)
    assert outcome.state == "kept"
    assert "asks to be left alone for longer" in outcome.problem
    assert f"status {fault}" in outcome.problem
    assert len(server.requests) == 1
    assert not waits


def test_a_wait_beyond_the_time_of_the_call_is_not_begun(server, waits):
    server.retry_after = "2"
    server.keep_failing("503")
    service = GradingService(server.url, patience=Patience(total_s=1.5, sleep=waits.append))
    with pytest.raises(ServiceFailed, match="left alone"):
        service.get_grade(0.5)
    assert not waits


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


@pytest.mark.parametrize("option", ["connect_s", "read_s"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_timeouts_are_positive(option, value):
    with pytest.raises(ConfigError, match=option):
        GradingService("https://grades.example", **{option: value})


def test_timeouts_are_settings(server, spool, run):
    server.keep_failing("hang")
    outcome = submit(run, GradingService(server.url, read_s=0.2), spool)
    assert "silent for 0.2 s" in outcome.problem
