"""Telemetry beside the joules, in text and in JSON."""

from __future__ import annotations

import sys

import pytest

from greenai_core.cli import beside
from greenai_core.results import Observed
from greenai_core.testing.sample_reports import sample_report

BUSY = ("--", sys.executable, "-c", "import time; time.sleep(1.0)")
UUID = "gpu:GPU-5151abcd-1111-2222-3333-444455556666"


def told(device, **figures):
    units = {"utilisation": "%", "memory_used": "B", "temperature": "°C", "clock": "MHz"}
    return [
        Observed(device, name, units[name], 5, mean, mean / 2, most)
        for name, (mean, most) in figures.items()
    ]


def test_measure_tells_how_the_host_was(greenai):
    done = greenai("measure", "-p", "sim", "--json", *BUSY)
    (result,) = done.json["results"]
    seen = {(o["device"], o["quantity"]): o for o in result["gross"]["observations"]}
    busy = seen["host", "utilisation"]
    assert busy["unit"] == "%"
    assert 2 <= busy["looks"] <= 6
    assert 0 <= busy["least"] <= busy["mean"] <= busy["most"] <= 100
    assert seen["host", "memory_used"]["mean"] > 2**20
    assert "watts" not in str(seen)


def test_measure_shows_it_as_a_table(greenai):
    lines = greenai("measure", "-p", "sim", *BUSY).err.splitlines()
    (head,) = (index for index, line in enumerate(lines) if "utilisation" in line)
    assert lines[head].split()[:4] == ["device", "utilisation", "memory", "hottest"]
    assert lines[head + 1].split()[0] == "host"
    assert all(len(line) <= 80 for line in lines)


def test_a_command_too_short_to_look_shows_no_table(greenai):
    done = greenai("measure", "-p", "sim", "--", "true")
    assert "utilisation" not in done.err


def test_the_table_has_what_matters_and_fits():
    seen = [
        *told("host", utilisation=(37.2, 90.0), memory_used=(5.1e9, 5.25e9)),
        *told(UUID, utilisation=(98.4, 100.0), temperature=(80.0, 83.0), clock=(1710.0, 1980.0)),
        Observed(UUID, "throttling", "bits", 5, reasons=("power cap", "power brake"), bits=0x84),
    ]
    head, host, board, *more = beside.table(seen).splitlines()
    assert all(len(line) <= 80 for line in (head, host, board, *more))
    assert host.split() == ["host", "37", "%", "5.25", "GB"]
    text = " ".join(" ".join([board, *more]).split())
    assert text == "gpu:GPU-5151abcd 98 % 83 °C 1.71 GHz power cap, power brake"


def test_nothing_seen_is_no_table():
    assert beside.table(()) == ""


@pytest.mark.parametrize("kind", ["bench", "train"])
def test_reports_of_models_show_it(kind):
    report = sample_report(kind)
    (table,) = beside.text(report, ["net"])
    assert "gpu:GPU-1" in table
    assert "power cap" in table
    assert "model" not in table, "of one model the name is in the table above"
    (both,) = beside.text(type(report)(**{**vars(report), "results": report.results * 2}), "ab")
    assert both.split()[0] == "model"
