"""``LayerwiseMeasurementTool``: a row a layer, of what sensors measured."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import textwrap

import pytest

from greenai_core import LifecycleError, ModelError
from greenai_core.clock import SYSTEM_CLOCK
from greenai_core.testing import PowercapTree, SimulatedCounterProfiler
from greenai_plugins.compat.layerwise import LAYER_COLUMNS
from greenai_plugins.compat.measurement import LayerwiseMeasurementTool

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
nn = torch.nn


def network():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.Sequential(nn.ReLU(), nn.Flatten()), nn.Linear(144, 2)
    )


def train(model, steps=3):
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(steps):
        optimiser.zero_grad()
        model(torch.rand(2, 3, 8, 8)).sum().backward()
        optimiser.step()


def table(file):
    return list(csv.reader(file.open()))


def test_a_row_for_each_layer_in_its_order(tmp_path):
    """Containers have none; joules are of one step, forward and backward together."""
    file = tmp_path / "layers.csv"
    tool = LayerwiseMeasurementTool(file, 0, header=True, profilers=[SimulatedCounterProfiler()])
    assert table(file) == [list(LAYER_COLUMNS)]
    model = network()
    assert tool.start(model) is model
    train(model)
    tool.stop()
    head, *rows = table(file)
    assert head == list(LAYER_COLUMNS)
    assert [row[0] for row in rows] == ["Conv2d", "ReLU", "Flatten", "Linear"]
    joules = [float(row[1]) for row in rows]
    assert all(value >= 0 for value in joules)
    assert joules[0] > 0
    assert not model[0]._forward_hooks
    tool.start(model)
    with torch.no_grad():
        model(torch.rand(2, 3, 8, 8))
    tool.stop()
    again = table(file)
    assert len(again) == 5
    assert again != [head, *rows], "the second loop replaces the first"


def test_training_and_inference_are_not_mixed(tmp_path):
    file = tmp_path / "layers.csv"
    tool = LayerwiseMeasurementTool(file, profilers=[SimulatedCounterProfiler()])
    model = tool.start(network())
    train(model, 1)
    with torch.no_grad():
        model(torch.rand(2, 3, 8, 8))
    with pytest.raises(ModelError, match="mixed"):
        tool.stop()
    assert table(file) == []
    assert not model[0]._forward_hooks


def test_what_is_not_measured_is_empty_and_said(tmp_path):
    file = tmp_path / "layers.csv"
    tool = LayerwiseMeasurementTool(file, profilers="modelled")
    model = tool.start(network())
    train(model, 1)
    with pytest.warns(RuntimeWarning, match="column stays empty"):
        tool.stop()
    assert table(file) == [["Conv2d", ""], ["ReLU", ""], ["Flatten", ""], ["Linear", ""]]


def test_it_says_what_is_done_in_the_wrong_order(tmp_path):
    tool = LayerwiseMeasurementTool(tmp_path / "a.csv", profilers=[SimulatedCounterProfiler()])
    with pytest.raises(LifecycleError, match="start"):
        tool.stop()
    tool.start(network())
    with pytest.raises(LifecycleError, match="already"):
        tool.start(network())
    with pytest.raises(LifecycleError, match="not called"):
        tool.stop()


def test_results_are_written_after_an_exception(tmp_path):
    """Also when it comes between the forward and the backward pass."""
    script = """
    import sys, torch
    from greenai_plugins.compat.measurement import LayerwiseMeasurementTool
    torch.set_num_threads(1)
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Tanh())
    options = {"rapl": {"root": sys.argv[1]}}
    tool = LayerwiseMeasurementTool("layers.csv", 0, profilers="rapl", options=options)
    model = tool.start(model)
    for step in range(3):
        loss = model(torch.rand(2, 4)).sum()
        if step == 2:
            raise RuntimeError("the user's own")
        loss.backward()
    """
    with PowercapTree.xeon(tmp_path / "powercap", sockets=1) as tree:
        ticker = tree.drive(SYSTEM_CLOCK)
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script), str(tree.root)],
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        ticker.cancel()
    assert done.returncode == 1
    assert "the user's own" in done.stderr
    rows = table(tmp_path / "layers.csv")
    assert [row[0] for row in rows] == ["Linear", "Tanh"]
    assert all(float(row[1]) > 0 for row in rows), done.stderr
