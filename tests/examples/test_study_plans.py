"""The studies of examples/studies: each plan can be read, and measures what it says."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from greenai_core import read_study_plan, summarise

STUDIES = Path(__file__).parents[2] / "examples" / "studies"
MODELS = ("alexnet", "bert", "detector", "overview", "resnet50", "vit")


@pytest.mark.parametrize("kind", ["laptop", "document"])
@pytest.mark.parametrize("study", MODELS)
def test_plans_are_valid_and_their_functions_exist(study: str, kind: str) -> None:
    plan = read_study_plan(STUDIES / study / f"{kind}.toml")
    assert plan.device == {"laptop": "cpu", "document": "cuda"}[kind]
    for model in plan.models:
        assert model.callable is not None
        file, _, name = model.callable.rpartition(":")
        tree = ast.parse(Path(file).read_text())
        functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
        arguments = [argument.arg for argument in functions[name].args.args]
        assert arguments == ["size", "batch_size", "device"]


@pytest.mark.parametrize("study", MODELS)
def test_small_settings_take_minutes(study: str) -> None:
    """Six seconds for a process, its libraries and its weights come to what is measured."""
    plan = read_study_plan(STUDIES / study / "laptop.toml")
    assert plan.seconds is not None
    assert plan.runs >= 3
    cells = len(plan.seeded().cells())
    assert cells * (plan.seconds + 6) < 5 * 60


@pytest.mark.parametrize(
    ("study", "sizes", "seconds"),
    [
        ("alexnet", [112 * (k + 1) for k in range(20)], 40),
        ("resnet50", [8, 32, 64, 128, 256, 512, 1024, 2048, 4096], 40),
        ("bert", list(range(50, 501, 50)), 20),
    ],
)
def test_sizes_and_times_are_those_of_the_documentation(
    study: str, sizes: list[int], seconds: float
) -> None:
    """AIPowerMeter's: ten runs, a look at the sensors every two seconds, one sample at a time."""
    plan = read_study_plan(STUDIES / study / "document.toml")
    (model,) = plan.models
    assert list(model.sizes) == sizes
    assert model.batch_sizes == (1,)
    assert (plan.seconds, plan.runs, plan.period_s) == (seconds, 10, 2)
    assert model.size_name == ("tokens" if study == "bert" else "pixels")


def test_batch_sizes_of_the_summary_are_those_of_the_documentation() -> None:
    plan = read_study_plan(STUDIES / "overview" / "document.toml")
    batches = {model.name: model.batch_sizes for model in plan.models}
    assert batches == {"detector": (32,), "resnet50": (128,), "vit_b_16": (64,), "bert": (128,)}
    for study, name in (("vit", "vit_b_16"), ("detector", "detector")):
        (alone,) = read_study_plan(STUDIES / study / "document.toml").models
        assert (alone.batch_sizes, alone.sizes) == (batches[name], plan.model(name).sizes)


@pytest.mark.torch
def test_a_small_setting_cut_short(tmp_path: Path) -> None:
    """By the command that the documents name, from another folder."""
    pytest.importorskip("torch")
    plan = STUDIES / "alexnet" / "laptop.toml"
    command = [sys.executable, "-m", "greenai_core.cli", "study", str(plan), "--sizes", "112"]
    command += ["--runs", "1", "--seconds", "0.1", "--profiler", "modelled", "--out", "out"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    study = summarise(tmp_path / "out")
    (model,) = study.models
    assert model.note == "random weights"
    assert model.parameters is not None
    assert (model.parameters.total, model.macs) == (61_100_840, 204_446_912)
    (row,) = study.rows
    assert (row.size, row.runs, row.failures) == (112, 1, ())


@pytest.fixture
def without_torch(tmp_path, monkeypatch):
    (tmp_path / "torch.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    "script",
    ["deep_rewiring/train.py", "pruning/snip.py", "pruning/force.py", "pruning/execution.py"],
)
def test_scripts_without_pytorch_say_what_to_install(without_torch: Path, script: str) -> None:
    command = [sys.executable, str(STUDIES / script), "--small"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "pip install torch" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_study_without_pytorch_says_what_to_install(without_torch: Path) -> None:
    plan = str(STUDIES / "alexnet" / "laptop.toml")
    out = str(without_torch / "out")
    command = [sys.executable, "-m", "greenai_core", "study", plan, "--out", out]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0
    assert "pip install torch" in done.stderr
    assert "Traceback" not in done.stderr
