"""The reference server keeps the habits of the old service."""

from __future__ import annotations

import json

import pytest
import requests

from greenai_core.testing import GradingServer

DEVICE = {
    "object": "Sistema software",
    "object_type": "GPU",
    "value_type": "Board 7",
    "value1": "250",
    "value2": "0.0",
    "value3": "0.0",
}
OWN = "softwareCalculationData/Sistema software/GPU/Board 7/"


@pytest.fixture
def server():
    with GradingServer() as running:
        yield running


def ask(server, method, path, **more):
    return requests.request(method, f"{server.url}/{path}", timeout=5, **more)


def test_no_device_is_404_one_is_an_object_several_are_a_list(server):
    assert ask(server, "GET", "cpus/GPU/").status_code == 404
    assert ask(server, "POST", "calculationData/", data=DEVICE).status_code == 201
    assert ask(server, "GET", "cpus/GPU/").json()["value1"] == "250.00"
    ask(server, "POST", "calculationData/", json={**DEVICE, "value_type": "Board 8"})
    assert [row["value_type"] for row in ask(server, "GET", "cpus/GPU/").json()] == [
        "Board 7",
        "Board 8",
    ]


@pytest.mark.parametrize("wrong", [{"value1": "many"}, {"value_type": ""}, {"value2": "NaN"}])
def test_a_device_that_is_none_or_twice_is_404(server, wrong):
    assert ask(server, "POST", "calculationData/", data={**DEVICE, **wrong}).status_code == 404
    assert ask(server, "POST", "calculationData/", data=DEVICE).status_code == 201
    assert ask(server, "POST", "calculationData/", data=DEVICE).status_code == 404


def test_one_device(server):
    assert [ask(server, m, OWN).status_code for m in ("GET", "PUT", "DELETE")] == [404] * 3
    ask(server, "POST", "calculationData/", data=DEVICE)
    changed = ask(server, "PUT", OWN, json={**DEVICE, "value1": "300"})
    assert (changed.status_code, changed.json()["value1"]) == (200, "300.00")
    assert ask(server, "PUT", OWN, json=[]).status_code == 400
    assert ask(server, "DELETE", OWN).status_code == 204
    assert ask(server, "GET", OWN).status_code == 404


@pytest.mark.parametrize("figure", ["5", "5e-05", "-0.01", "nan", ""])
def test_figures_that_the_address_does_not_take(server, figure):
    assert ask(server, "GET", f"classificationDataC/1/{figure}/").status_code == 404


def test_classes(server):
    row = {"calification": "X", "number_metrics": "2", "min_C1": "0", "max_C1": "1"}
    assert ask(server, "GET", "classificationDataC/2/0.5/").status_code == 404
    assert ask(server, "POST", "classificationData/", data=row).status_code == 201
    answer = ask(server, "GET", "classificationDataC/2/0.0/")
    assert (answer.json()["calification"], answer.json()["max_C1"]) == ("X", "1.000000")
    assert ask(server, "GET", "classificationDataC/2/1.0/").status_code == 404
    assert ask(server, "POST", "classificationData/", data={}).status_code == 404
    ask(server, "POST", "classificationData/", data={**row, "calification": "Y"})
    crashed = ask(server, "GET", "classificationDataC/2/0.5/")
    assert crashed.status_code == 500
    assert b"<h1>" in crashed.content


def test_slashes(server):
    assert len(ask(server, "GET", "classificationDataC/1/0.5").history) == 1
    with GradingServer(slashes="both") as both:
        assert not ask(both, "GET", "classificationDataC/1/0.5").history
    with GradingServer(slashes="without") as without:
        assert ask(without, "GET", "classificationDataC/1/0.5").ok
        assert ask(without, "GET", "classificationDataC/1/0.5/").status_code == 404


def test_writing_may_need_a_token():
    with GradingServer(token="secret") as server:
        assert ask(server, "POST", "calculationData/", data=DEVICE).status_code == 401
        headers = {"Authorization": "Bearer secret"}
        done = ask(server, "POST", "calculationData/", data=DEVICE, headers=headers)
        assert done.status_code == 201
        assert ask(server, "GET", "cpus/GPU/").ok


def test_faults_come_once_or_last(server):
    path = "classificationDataC/1/0.5/"
    server.fail("500", "html")
    assert ask(server, "GET", path).status_code == 500
    with pytest.raises(json.JSONDecodeError):
        ask(server, "GET", path).json()
    assert ask(server, "GET", path).ok
    server.keep_failing("503")
    assert [ask(server, "GET", path).status_code for _ in range(2)] == [503, 503]
    server.heal()
    assert ask(server, "GET", path).ok
    with pytest.raises(ValueError, match="none of"):
        server.fail("flood")
    with pytest.raises(ValueError, match="none of"):
        GradingServer(slashes="perhaps")
