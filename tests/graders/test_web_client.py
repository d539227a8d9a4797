"""The calls of the old protocol, against the reference server with its habits."""

from __future__ import annotations

import json
import urllib.request

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenai_core import (
    ConfigError,
    DevicePower,
    GradeError,
    ServiceFailed,
    ServiceRefused,
    ServiceUnreachable,
)
from greenai_core.testing import GradingServer
from greenai_core.testing.grading_server import FIGURE
from greenai_plugins.graders.web_client import GradingService
from greenai_plugins.graders.web_figures import (
    efficiency,
    fixed,
    max_of,
    optimisation,
    power_max_w,
    utilisation_percentage,
)


@pytest.mark.parametrize("slashes", ["redirects", "both", "without"])
def test_the_old_calls_work_with_or_without_a_slash(patience, slashes):
    with GradingServer(slashes=slashes) as server:
        service = GradingService(server.url + "/", patience=patience)
        assert service.get_cpus() == []
        service.post_new_device("Xeon Gold 6130 @ 2.10GHz", "CPU", 125)
        assert service.get_cpus() == [DevicePower("CPU", "Xeon Gold 6130 @ 2.10GHz", 125.0)]
        service.post_new_device("Core i7", "CPU", 45.5)
        assert [cpu.max_power_w for cpu in service.get_cpus()] == [125.0, 45.5]
        assert service.get_gpus() == []
        service.delete_device_with_wrong_specs("Core i7", "CPU")
        assert len(service.get_cpus()) == 1
        with pytest.raises(ServiceRefused) as refused:
            service.delete_device_with_wrong_specs("Core i7", "CPU")
        assert refused.value.status == 404


def test_a_device_is_sent_as_the_old_script_sent_it(service, server):
    service.post_new_device("Board 7", "GPU", 250)
    assert server.devices == [
        {
            "object": "Sistema software",
            "object_type": "GPU",
            "value_type": "Board 7",
            "value1": "250.00",
            "value2": "0.00",
            "value3": "0.00",
        }
    ]


def test_a_device_that_is_known_already_is_fine_unless_its_power_cap_differs(service):
    service.post_new_device("Board 7", "GPU", 250)
    service.post_new_device("Board 7", "GPU", 250)
    with pytest.raises(ServiceRefused):
        service.post_new_device("Board 7", "GPU", 300)


def test_a_device_whose_answer_was_lost_is_not_there_twice(service, server):
    server.fail("late")
    service.post_new_device("Board 7", "GPU", 250)
    assert len(server.devices) == 1
    posts = [one for one in server.requests if one.method == "POST"]
    assert len(posts) >= 2
    assert len({one.headers["Idempotency-Key"] for one in posts}) == 1


def test_a_key_may_be_made_before_the_run(service, server):
    service.post_new_device("Board 7", "GPU", 250, key="0123456789abcdef")
    assert server.requests[0].headers["Idempotency-Key"] == "0123456789abcdef"


def test_grades(service):
    grade = service.get_grade(0.07)
    assert (grade.letter, grade.low, grade.high) == ("B", 0.05, 0.1)
    assert "not meaningful for energy" in grade.note
    assert service.get_grade(0).letter == "A"
    assert service.get_grade(0.05).letter == "B", "a class holds its lower end"
    assert service.get_grade(5).letter == "G"
    assert service.get_grade(5e-05).letter == "A"


def test_no_class_is_told(service):
    with pytest.raises(ServiceRefused, match="no class that holds 1000"):
        service.get_grade(1000)


@pytest.mark.parametrize("value", [-0.01, float("nan"), float("inf")])
def test_what_the_old_service_cannot_take_is_refused_before_sending(service, server, value):
    with pytest.raises(GradeError):
        service.get_grade(value)
    assert not server.requests


def test_overlapping_classes_are_a_fault_of_the_service(patience):
    row = {"number_metrics": "1", "min_C1": "0", "max_C1": "1"}
    rows = [{**row, "calification": letter} for letter in "AB"]
    with GradingServer(rows) as server, pytest.raises(ServiceFailed, match="status 500"):
        GradingService(server.url, patience=patience).get_grade(0.5)


@pytest.mark.parametrize("fault", ["html", "wrong", "list", "half", "short"])
@pytest.mark.parametrize("call", ["get_cpus", "get_grade"])
def test_answers_that_are_none(service, server, fault, call):
    server.post = service.post_new_device("Example 9", "CPU", 65)
    server.keep_failing(fault)
    asked = (0.5,) if call == "get_grade" else ()
    if (fault, call) == ("list", "get_cpus"):
        assert service.get_cpus() == []
        return
    with pytest.raises(ServiceFailed):
        getattr(service, call)(*asked)


def test_offline_asks_nobody(server):
    service = GradingService(server.url, offline=True)
    with pytest.raises(ServiceUnreachable, match="offline"):
        service.get_cpus()
    with pytest.raises(ServiceUnreachable, match="offline"):
        service.post_new_device("Board 7", "GPU", 250)
    assert not server.requests


@pytest.mark.parametrize(
    ("name", "kind", "watts"),
    [
        ("", "CPU", 1),
        ("x", "TPU", 1),
        ("x", "CPU", 0),
        ("x", "CPU", float("nan")),
        ("a\nb", "CPU", 1),
    ],
)
def test_devices_that_are_none_are_refused_before_sending(service, server, name, kind, watts):
    with pytest.raises(ConfigError):
        service.post_new_device(name, kind, watts)
    assert not server.requests


def test_a_slash_in_a_name_has_no_address(service, server):
    with pytest.raises(GradeError, match="slash"):
        service.delete_device_with_wrong_specs("RX 6800/6800 XT", "GPU")
    assert not server.requests


# The script of old


def old_script(get, run_w, idle_w, cpu_w, gpu_w, ram_gb):
    """What the old script did with its powers, written anew; its two values and letters."""
    values = (
        (run_w - idle_w) * 2 * 0.001,
        (run_w - idle_w) / (cpu_w + gpu_w + ram_gb * 0.3725),
    )
    return values, tuple(get(value) for value in values)


def test_the_old_script_gives_the_same_figures_and_letters(service, server):
    """The old script put ``str(value)`` into the address; these values survive that."""

    def as_then(value):
        with urllib.request.urlopen(f"{server.url}/classificationDataC/1/{value}") as answer:
            return json.load(answer)["calification"]

    powers = (187.25, 61.5, 125.0, 250.0, 64)
    values, letters = old_script(as_then, *powers)
    run_w, idle_w, cpu_w, gpu_w, ram_gb = powers
    now = (
        efficiency(run_w, idle_w),
        optimisation(run_w, idle_w, power_max_w(cpu_w, gpu_w, ram_gb)),
    )
    assert now == values
    assert tuple(service.get_grade(value).letter for value in now) == letters


def test_figures_of_the_method():
    assert efficiency(160.0, 100.0) == pytest.approx(0.12)
    devices = (DevicePower("CPU", "c", 100.0), DevicePower("GPU", "g", 94.04))
    assert max_of(devices, 16.0) == pytest.approx(200.0)
    assert max_of(devices, None) is None, "memory that nobody knows is not zero"
    assert max_of(devices[1:], 16.0) is None, "nor is a processor"
    assert utilisation_percentage(500.0, 10.0, 200.0) == 25.0
    for wrong in ((500.0, 0.0, 200.0), (500.0, 10.0, 0.0)):
        with pytest.raises(GradeError):
            utilisation_percentage(*wrong)


@pytest.mark.parametrize(
    ("value", "text"), [(5, "5.0"), (5e-05, "0.00005"), (0.0, "0.0"), (-0.0, "0.0"), (1e22, None)]
)
def test_numbers_are_written_with_a_point(value, text):
    assert fixed(value) == (text or "1" + "0" * 22 + ".0")


@given(st.floats(min_value=0, allow_infinity=False, allow_nan=False))
def test_every_figure_is_written_as_the_old_address_takes_it(value):
    assert FIGURE.fullmatch(fixed(value))
    assert float(fixed(value)) == value
