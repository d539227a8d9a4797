"""The nine architectures inside the package onnx, measured by one command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    out = tmp_path_factory.mktemp("report")
    models = sorted(str(path) for path in LIGHT.glob("*.onnx"))
    assert len(models) == 9
    command = [sys.executable, "-m", "greenai_core.cli", "bench", *models]
    command += ["--max-time", "1.5", "--json", "--out", str(out), "--profiler", "modelled"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    written = json.loads((out / "report.json").read_text())
    assert written == json.loads(done.stdout)
    return written


def test_all_nine_have_joules_and_an_interval(report):
    assert len(report["results"]) == 9
    for result in report["results"]:
        figure = result["energy_per_inference_j"]
        assert figure["low"] <= figure["repeat_low"] <= figure["value"]
        assert figure["value"] <= figure["repeat_high"] <= figure["high"]
        assert figure["value"] > 0
        assert figure["method"] == "modelled"
        assert result["inferences"] >= 2
        assert result["channels"]


def test_their_parameters_are_those_of_the_architectures(report):
    """Weights that the files generate by ConstantOfShape are counted by their shapes."""
    totals = {Path(r["model"]["path"]).stem: r["parameters"]["total"] for r in report["results"]}
    assert totals["light_bvlc_alexnet"] == 60_965_224
    assert totals["light_vgg19"] == 143_667_240
    assert totals["light_squeezenet"] == 1_235_496


def test_a_larger_network_costs_more(report):
    joules = {
        Path(r["model"]["path"]).stem: r["energy_per_inference_j"]["value"]
        for r in report["results"]
    }
    assert joules["light_vgg19"] > 3 * joules["light_squeezenet"]
