"""A distribution of its own, installed beside greenai, extends the command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "greenai-plugin-example"
WATTS = 50.0

BROKEN = {
    "pyproject.toml": """
        [build-system]
        requires = ["setuptools>=68"]
        build-backend = "setuptools.build_meta"
        [project]
        name = "a-broken-plugin"
        version = "0.3"
        [project.entry-points."greenai.profilers"]
        torn = "a_broken_plugin:Torn"
        [project.entry-points."greenai.models"]
        torn = "a_broken_plugin:TornFormat"
    """,
    "a_broken_plugin.py": "import a_library_that_nobody_has\n",
}


def install(target, *sources):
    """With pip, as a user does, but offline: what is needed to build is here."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    command += ["--no-build-isolation", "--disable-pip-version-check", "--target", str(target)]
    subprocess.run([*command, *map(str, sources)], check=True, capture_output=True, text=True)


def copy_of_the_checkout(folder):
    """Building leaves traces in the sources; these may."""
    skip = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("greenai_core", "plugins"):
        shutil.copytree(ROOT / name, folder / name, ignore=skip)
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder that holds greenai-core, the example and a broken plugin, installed."""
    sources = tmp_path_factory.mktemp("sources")
    (sources / "core").mkdir()
    core = copy_of_the_checkout(sources / "core")
    example = shutil.copytree(EXAMPLE, sources / "example")
    broken = sources / "broken"
    broken.mkdir()
    for name, text in BROKEN.items():
        lines = [line.removeprefix(" " * 8) for line in text.splitlines()]
        (broken / name).write_text("\n".join(lines) + "\n")
    target = tmp_path_factory.mktemp("installed")
    install(target, core, example, broken)
    return target


@pytest.fixture
def greenai(installed, tmp_path):
    """Runs the command from an empty folder, with nothing of the checkout on the path."""

    def run(*arguments, expect=0, **variables):
        environment = {**os.environ, "PYTHONPATH": str(installed), "HOME": str(tmp_path)}
        environment.pop("KETTLE_FILE", None)
        answer = subprocess.run(
            [sys.executable, "-P", "-m", "greenai_core", *map(str, arguments)]
            if sys.version_info >= (3, 11)
            else [sys.executable, "-m", "greenai_core", *map(str, arguments)],
            cwd=tmp_path,
            env={**environment, **variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert answer.returncode == expect, answer.stderr + answer.stdout
        return answer

    return run


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "small.npznet"
    rng = np.random.default_rng(3)
    weights = {"w0": rng.random((64, 256)), "b0": rng.random(256), "w1": rng.random((256, 8))}
    with path.open("wb") as file:
        np.savez(file, npznet=1, **weights, b1=rng.random(8))
    return path


@pytest.fixture
def kettle(tmp_path):
    """A file of joules that rises by ``WATTS`` joules a second."""
    path, stop = tmp_path / "joules", threading.Event()

    def write():
        while not stop.is_set():
            beside = path.with_suffix(".new")
            beside.write_text(f"{WATTS * time.perf_counter():.3f}\n")
            beside.replace(path)
            stop.wait(0.005)

    thread = threading.Thread(target=write)
    thread.start()
    while not path.exists():
        time.sleep(0.001)
    yield path
    stop.set()
    thread.join()


def test_the_installed_greenai_is_what_runs(greenai, installed):
    """Otherwise the tests below would tell nothing."""
    code = (
        "import greenai_core, greenai_plugin_example as e; print(greenai_core.__file__, e.__file__)"
    )
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    answer = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd="/", capture_output=True, text=True
    )
    assert answer.stdout.count(str(installed)) == 2, answer


def test_plugins_are_listed_with_distribution_and_version(greenai):
    plugins = json.loads(greenai("plugins", "--json").stdout)
    mine = {
        (plugin["group"], plugin["name"]): (plugin["version"], plugin["state"])
        for plugin in plugins
        if plugin["distribution"] == "greenai-plugin-example"
    }
    assert mine == {
        ("greenai.models", "npznet"): ("0.1.0", "ok"),
        ("greenai.profilers", "kettle"): ("0.1.0", "ok"),
    }


def test_a_broken_plugin_is_listed_with_its_cause_and_hides_nothing(greenai):
    plugins = json.loads(greenai("plugins", "--json").stdout)
    torn = [plugin for plugin in plugins if plugin["distribution"] == "a-broken-plugin"]
    assert {plugin["group"] for plugin in torn} == {"greenai.models", "greenai.profilers"}
    for plugin in torn:
        assert plugin["version"] == "0.3"
        assert plugin["state"] != "ok"
        assert "a_library_that_nobody_has" in plugin["reason"]
    fine = {plugin["name"] for plugin in plugins if plugin["state"] == "ok"}
    assert {"onnx", "rapl", "nvml", "scale", "json", "npznet", "kettle"} <= fine


def test_the_format_is_counted(greenai, model):
    (counted,) = json.loads(greenai("params", model, "--json").stdout)
    elements = 64 * 256 + 256 + 256 * 8 + 8
    assert counted == {
        "path": str(model),
        "format": "npznet",
        "trainable": elements,
        "non_trainable": 0,
        "total": elements,
        "bytes": 8 * elements,
    }


def test_the_format_runs(greenai, model, tmp_path):
    greenai("run", model, "--output", tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz") as outputs:
        assert outputs["y"].shape == (1, 8)


def test_the_profiler_is_a_device(greenai, kettle):
    devices = json.loads(greenai("devices", "--json", KETTLE_FILE=str(kettle)).stdout)
    (found,) = [one for one in devices["profilers"] if one["name"] == "kettle"]
    assert [channel["id"] for channel in found["channels"]] == ["wall:kettle"]
    assert found["channels"][0]["method"] == "counter"


def test_without_its_file_the_profiler_tells_the_remedy(greenai):
    devices = json.loads(greenai("devices", "--json").stdout)
    (found,) = [one for one in devices["profilers"] if one["name"] == "kettle"]
    assert found["channels"] == []
    assert "KETTLE_FILE" in found["remedy"]


def test_a_bench_uses_both(greenai, model, kettle):
    """Joules of one inference of the new format on the new sensor."""
    asked = ("--profiler", "kettle", "-O", f"kettle.file={kettle}")
    limits = ("--precision", "20%", "--max-time", "6", "--json")
    report = json.loads(greenai("bench", model, *asked, *limits).stdout)
    (result,) = report["results"]
    assert result["model"]["format"] == "npznet"
    (channel,) = result["channels"]
    assert (channel["id"], channel["method"]) == ("wall:kettle", "counter")
    joules = result["energy_per_inference_j"]
    assert joules["low"] <= WATTS * result["latency_s"]["value"] <= joules["high"]
    assert joules["value"] == pytest.approx(WATTS * result["latency_s"]["value"], rel=0.2)


def test_a_requested_profiler_that_is_not_there_is_an_error(greenai, model):
    answer = greenai("bench", model, "--profiler", "kettle", expect=3)
    assert "KETTLE_FILE" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_its_own_tests_pass(installed, tmp_path):
    """They subclass the conformance suites, in the environment of a plugin's author."""
    answer = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(EXAMPLE / "tests")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout
