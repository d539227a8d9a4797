"""When a client tries again, and how long it waits for that."""

from __future__ import annotations

import pytest

from greenai_core import ConfigError, ServiceFailed, submit
from greenai_plugins.graders.web_client import GradingService
from greenai_plugins.graders.web_http import Patience


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


@pytest.mark.parametrize("option", ["connect_s", "read_s"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_timeouts_are_positive(option, value):
    with pytest.raises(ConfigError, match=option):
        GradingService("https://grades.example", **{option: value})


def test_timeouts_are_settings(server, spool, run):
    server.keep_failing("hang")
    outcome = submit(run, GradingService(server.url, read_s=0.2), spool)
    assert "silent for 0.2 s" in outcome.problem
