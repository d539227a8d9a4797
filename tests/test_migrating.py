"""The snippets of docs/migrating.md run as they stand; only the paths in them are changed."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
import time
import types
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pyJoules.device import rapl_device

from greenai_core import ReadingError

ROOT = Path(__file__).parents[1]
SNIPPETS = re.findall(
    r"^```python\n(.*?)^```", (ROOT / "docs/migrating.md").read_text(), re.M | re.S
)


def snippet(word, **paths):
    """The one snippet that holds ``word``, its placeholder paths replaced."""
    (text,) = [text for text in SNIPPETS if word in text]
    for placeholder, path in paths.values():
        assert placeholder in text
        text = text.replace(placeholder, str(path))
    return compile(text, "docs/migrating.md", "exec")


def test_count_and_run(tmp_path):
    image = tmp_path / "photo.png"
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(image)
    names = {}
    code = snippet(
        "path/to/an/image",
        model=("path/to/the/model.onnx", ROOT / "examples/models/small_cnn.onnx"),
        image=("path/to/an/image", image),
    )
    exec(code, names)
    assert names["n"] == 53_626
    assert names["output"]["logits"].shape == (1, 10)


def test_measure_a_function(tmp_path, monkeypatch):
    """pyJoules reads a tree of plain files, whose counter stands still: said, never 0 J."""
    zone = tmp_path / "intel-rapl:0"
    zone.mkdir()
    (zone / "name").write_text("package-0\n")
    (zone / "energy_uj").write_text("1000000\n")
    (zone / "max_energy_range_uj").write_text("262143328850\n")
    monkeypatch.setattr(rapl_device, "RAPL_API_DIR", str(tmp_path))
    with pytest.raises(ReadingError, match="package"):
        exec(snippet("PyJoulesProfiler"), {})


def test_measure_a_function_that_uses_energy(tmp_path, monkeypatch):
    zone = tmp_path / "intel-rapl:0"
    zone.mkdir()
    (zone / "name").write_text("package-0\n")
    counter = zone / "energy_uj"
    counter.write_text("1000000\n")
    (zone / "max_energy_range_uj").write_text("262143328850\n")
    monkeypatch.setattr(rapl_device, "RAPL_API_DIR", str(tmp_path))
    (text,) = [text for text in SNIPPETS if "PyJoulesProfiler" in text]
    burn = "    counter.write_text('6000000\\n')\n    return a\n"
    assert "    return a\n" in text
    names = {"counter": counter}
    exec(text.replace("    return a\n", burn), names)
    assert names["energy_consumed"] == pytest.approx(5.0)
    assert names["total_time"] > 0
    assert names["profiler"].get_unit() == "J"


def test_a_format_of_ones_own(tmp_path):
    path = tmp_path / "model.custom_extension"
    path.write_text("1 2 3")
    names = {}
    exec(snippet("MyCustomModelClass", path=("path/to/the/model.custom_extension", path)), names)
    model = names["model"]
    assert model.get_number_of_parameters() == 3
    assert model.run(np.ones((2, 3)))["y"].tolist() == [[1, 2, 3], [1, 2, 3]]


@pytest.mark.torch
def test_the_study_of_alexnet(tmp_path, monkeypatch, capsys):
    """torchvision has no build for this machine; our AlexNet stands in for its own."""
    networks = ROOT / "examples/studies/networks/alexnet.py"
    monkeypatch.syspath_prepend(str(networks.parent))
    spec = importlib.util.spec_from_file_location("alexnet_of_the_study", networks)
    alexnet = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(alexnet)
    torchvision, models = types.ModuleType("torchvision"), types.ModuleType("torchvision.models")
    torchvision.models = models
    models.alexnet = alexnet.AlexNet
    monkeypatch.setitem(sys.modules, "torchvision", torchvision)
    monkeypatch.setitem(sys.modules, "torchvision.models", models)
    monkeypatch.chdir(tmp_path)
    exec(snippet("input_sizes", iters=("int(20 / (u + 1))", "3")), {})
    for size in (112, 224):
        for run in range(2):
            folder = tmp_path / f"input_{size}" / f"run_{run}"
            assert (folder / "power_metrics.json").exists()
            assert len(np.loadtxt(folder / "latency.csv")) == 3
            card = json.loads((folder / "model_summary.json").read_text())
            assert card["total_params"] == 61_100_840
    assert card["total_mult_adds"] == pytest.approx(0.714e9, rel=0.01)
    assert "EXPERIMENT SUMMARY" in capsys.readouterr().out


@pytest.mark.parametrize("tool", ["EnergyMeasurementTool(", "AsynchronousMeasurementTool("])
def test_the_measuring_tools(tmp_path, monkeypatch, tool):
    """This machine may have no sensor: then only the time is in the files."""
    monkeypatch.chdir(tmp_path)
    names = {"num_epochs": 2, "train": lambda: time.sleep(0.05), "test": lambda: None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        exec(snippet(tool), names)
    (file,) = tmp_path.glob("test_*_tool.csv")
    rows = [line.split(",") for line in file.read_text().splitlines()]
    assert len(rows) >= 1
    assert {len(row) for row in rows} == {3 if tool.startswith("Energy") else 8}
    assert float(rows[-1][0]) > 0.04


@pytest.mark.torch
def test_the_tool_for_layers(tmp_path, monkeypatch):
    """This machine may have no sensor: then the energies are empty, and it is said."""
    import torch

    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU())
    before = [parameter.detach().clone() for parameter in model.parameters()]
    monkeypatch.chdir(tmp_path)
    names = {
        "model": model,
        "num_epochs": 2,
        "train": lambda: model(torch.rand(2, 4)).sum().backward(),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        exec(snippet("LayerwiseMeasurementTool("), names)
    lines = (tmp_path / "test_layerwise_measurement_tool.csv").read_text().splitlines()
    rows = [line.split(",") for line in lines]
    assert [row[0] for row in rows] == ["Linear", "ReLU"]
    assert all(row[1] == "" or float(row[1]) >= 0 for row in rows)
    assert all(map(torch.equal, before, model.parameters()))


@pytest.mark.torch
def test_the_power_cap_profiler(tmp_path, monkeypatch):
    """A small network, and short probes, on a simulated board."""
    import torch

    from greenai_core import SearchSettings
    from greenai_core.testing import NvmlSimulator, SimulatedBoard
    from greenai_core.testing.c_library import compiler
    from greenai_core.testing.nvml import build_library
    from greenai_plugins.compat import profiler

    if compiler() is None:
        pytest.skip("the NVML simulator needs a C compiler: sudo apt install gcc")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("LD_LIBRARY_PATH", str(build_library().parent))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.chdir(tmp_path)
    short = SearchSettings(probe_s=0.05, settle_s=0.0, grid=3, adaptive=0, quads=0)
    search = profiler.optimise_power_cap

    def shorter(*given, **options):
        return search(*given, **{**options, "settings": short})

    monkeypatch.setattr(profiler, "optimise_power_cap", shorter)
    seen = []
    board = SimulatedBoard(watts=350.0, low_w=100.0, default_w=400.0, high_w=500.0)
    with NvmlSimulator([board]) as simulator, simulator.installed():
        names = {
            "nn": torch.nn,
            "optim": torch.optim,
            "ResNet18": lambda: torch.nn.Linear(4, 3),
            "trainloader": [(torch.rand(2, 4), torch.tensor([0, 1]))],
            "train": lambda: seen.append(simulator.limit_w(0)),
        }
        exec(snippet("power_cap_profiler("), names)
        assert seen == [names["optimal_cap"]]
        assert simulator.limit_w(0) == 400.0
    rows = (tmp_path / "test_power_cap_profiler.csv").read_text().splitlines()
    assert 3 <= len(rows) <= 5  # two caps of the grid may be one
    assert {len(row.split(",")) for row in rows} == {5}
