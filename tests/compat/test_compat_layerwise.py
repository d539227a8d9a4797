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
    import sys, time, torch
    from greenai_plugins.compat.measurement import LayerwiseMeasurementTool
    torch.set_num_threads(1)
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Tanh())
    options = {"rapl": {"root": sys.argv[1]}}
    tool = LayerwiseMeasurementTool("layers.csv", 0, profilers="rapl", options=options)
    model = tool.start(model)
    began = time.perf_counter()
    while True:
        loss = model(torch.rand(2, 4)).sum()
        if time.perf_counter() - began > 0.3:  # long enough for the sensor to move
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


def encoder():
    """Attention calls no layer of its own; in inference the whole runs as one operation."""
    return nn.Sequential(
        nn.Linear(4, 8),
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
        nn.utils.parametrizations.weight_norm(nn.Linear(8, 2)),
        nn.ModuleDict({"unused": nn.Linear(2, 2)}),
    )


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.all = encoder()

    def forward(self, x):
        return self.all[2](self.all[1](self.all[0](x)))


@pytest.mark.parametrize("training", [True, False])
def test_no_layer_that_did_something_is_left_out_and_none_is_zero(tmp_path, training):
    file = tmp_path / "layers.csv"
    tool = LayerwiseMeasurementTool(file, profilers=[SimulatedCounterProfiler()])
    model = tool.start(Encoder().train(training))
    for _ in range(20):
        with torch.set_grad_enabled(training):
            output = model(torch.rand(3, 5, 4))
        if training:
            output.sum().backward()
    tool.stop()
    rows = table(file)
    types = [row[0] for row in rows]
    assert types[0] == "Linear"
    assert types[-2:] == ["ParametrizedLinear", "Linear"]
    inside = types[1:-2]
    if training:
        assert inside[0] == "MultiheadAttention"
        assert "NonDynamicallyQuantizableLinear" not in types
    else:
        assert inside == ["TransformerEncoderLayer"]
    joules = dict(zip(range(len(rows)), [row[1] for row in rows], strict=True))
    assert joules.pop(len(rows) - 1) == "", "it was not called: nothing is known of it"
    assert float(joules[1]) > 0
    assert float(joules[len(rows) - 2]) > 0


def test_a_warning_leads_to_the_line_of_the_user(tmp_path):
    tool = LayerwiseMeasurementTool(tmp_path / "a.csv", profilers="modelled")
    train(tool.start(network()), 1)
    with pytest.warns(RuntimeWarning, match="stays empty") as found:
        tool.stop()
    assert [warning.filename for warning in found] == [__file__]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks on this system")
def test_a_fork_of_the_program_ends_nothing(tmp_path):
    """Its end is not the end of what is measured, which would write rows twice."""
    script = """
    import os, sys
    import warnings; warnings.simplefilter("ignore")
    from greenai_plugins.compat.measurement import (
        AsynchronousMeasurementTool, EnergyMeasurementTool, LayerwiseMeasurementTool,
    )
    import torch
    torch.set_num_threads(1)
    tools = [
        EnergyMeasurementTool("energy.csv", profilers="modelled"),
        AsynchronousMeasurementTool("readings.csv", profilers="modelled"),
        LayerwiseMeasurementTool("layers.csv", profilers="modelled"),
    ]
    model = torch.nn.Linear(2, 2)
    tools[0].start(), tools[1].start(0.1), tools[2].start(model)
    model(torch.rand(1, 2))
    child = os.fork()
    if not child:
        sys.exit()
    assert os.waitpid(child, 0)[1] == 0
    print([len(open(name).readlines()) for name in ("energy.csv", "readings.csv", "layers.csv")])
    for tool in tools:
        tool.stop()
    print([len(open(name).readlines()) for name in ("energy.csv", "layers.csv")])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.splitlines() == ["[0, 0, 0]", "[1, 1]"], done.stderr
