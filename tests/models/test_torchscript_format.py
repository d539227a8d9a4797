"""The format torchscript: compiled programs, also frozen and quantised ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from greenai_core import (
    ModelError,
    ModelInputError,
    ModelLoadError,
    ModelUnrecognised,
    factory,
)
from greenai_plugins.models.torchscript_format import TorchscriptModel

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")]
torch = pytest.importorskip("torch")

TRAINABLE, STATISTICS = 108 + 4 + 8 + 720 + 5, 8


@pytest.fixture(params=["scripted", "traced"])
def program(request: pytest.FixtureRequest, small: Any, image: Any, tmp_path: Path) -> Path:
    path = tmp_path / "program.pt"
    if request.param == "scripted":
        torch.jit.script(small).save(path)
    else:
        torch.jit.trace(small, torch.tensor(image)).save(path)
    return path


def test_recognised_and_counted(program: Path) -> None:
    assert factory.get_model(program) is TorchscriptModel
    lying = program.rename(program.with_name("program.onnx"))
    assert factory.get_model(lying) is TorchscriptModel
    found = factory.load(lying).count_parameters()
    assert (found.trainable, found.non_trainable) == (TRAINABLE, STATISTICS)
    assert found.bytes == 4 * found.total


def test_recognising_imports_no_torch(program: Path) -> None:
    code = (
        "import sys; from pathlib import Path; "
        "from greenai_plugins.models.torchscript_format import TorchscriptModel; "
        f"assert TorchscriptModel.recognises(Path({str(program)!r})); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_runs_in_evaluation_mode(small: Any, image: Any, tmp_path: Path) -> None:
    """Though it was saved in training mode; twice the same, as statistics stand still."""
    expected = small(torch.tensor(image)).detach().numpy()
    torch.jit.script(small.train()).save(tmp_path / "training.pt")
    with factory.load(tmp_path / "training.pt", device="cpu") as model:
        for _ in range(2):
            np.testing.assert_allclose(model.run(image)["output"], expected, rtol=1e-5)


def test_names_of_inputs_and_outputs(networks: Any, tmp_path: Path) -> None:
    class Pair(torch.nn.Module):
        def forward(self, left: torch.Tensor, right: torch.Tensor, offset: int = 2) -> Any:
            return {"sum": left + right + offset}

    torch.jit.trace(Pair(), (torch.ones(1, 2), torch.ones(1, 2)), strict=False).save(
        tmp_path / "pair.pt"
    )
    shapes = {"left": (1, 2), "right": (1, 2)}
    model = TorchscriptModel(tmp_path / "pair.pt", device="cpu", input_shapes=shapes)
    assert [(spec.name, spec.shape, spec.dtype) for spec in model.input_specs] == [
        ("left", (1, 2), "float32"),
        ("right", (1, 2), "float32"),
    ]
    output = model.run({"right": np.ones((1, 2)), "left": np.zeros((1, 2))})
    np.testing.assert_array_equal(output["sum"], [[3, 3]])


def test_shape_is_asked_for(program: Path) -> None:
    with pytest.raises(ModelInputError, match="--input-shape"):
        TorchscriptModel(program, device="cpu").run()
    model = TorchscriptModel(program, device="cpu", input_shapes=(1, 3, 8, 8))
    assert model.run()["output"].shape == (1, 5)


def test_input_that_does_not_fit(program: Path) -> None:
    with pytest.raises(ModelInputError, match="channels") as caught:
        TorchscriptModel(program, device="cpu").run(np.zeros((1, 4, 8, 8), np.float32))
    assert "\n" not in str(caught.value)


def test_inputs_that_are_no_tensors(tmp_path: Path) -> None:
    path = tmp_path / "listed.pt"
    program = torch.jit.CompilationUnit(
        "def total(self, xs: List[Tensor]) -> Tensor:\n    return torch.stack(xs).sum()\n"
    )
    assert program is not None
    module = torch.jit.ScriptModule()
    module.define("def forward(self, xs: List[Tensor]):\n    return torch.stack(xs)\n")
    module.save(path)
    model = TorchscriptModel(path, device="cpu")
    assert model.count_parameters().total == 0
    with pytest.raises(ModelLoadError, match=r"xs is a List\[Tensor\]"):
        model.run(np.zeros(3))


# Frozen, quantised


def test_frozen_program_is_counted_by_its_constants(small: Any, image: Any, tmp_path: Path) -> None:
    """Freezing folds the 16 numbers of batch normalisation into the convolution."""
    path = tmp_path / "frozen.pt"
    torch.jit.freeze(torch.jit.script(small)).save(path)
    with factory.load(path, device="cpu") as model:
        found = model.count_parameters()
        output = model.run(image)["output"]
    assert (found.trainable, found.non_trainable) == (0, TRAINABLE + STATISTICS - 16)
    expected = small(torch.tensor(image)).detach().numpy()
    np.testing.assert_allclose(output, expected, rtol=1e-4)
    train = model.abilities()["train"]
    assert not train.possible
    assert "frozen" in train.reason
    with pytest.raises(ModelError, match="frozen"):
        model.as_trainable()


def test_quantised_program(tmp_path: Path) -> None:
    """Packed weights are taken out; 8-bit weights take a byte each."""
    quantized = torch.ao.nn.quantized
    net = torch.nn.Sequential(
        quantized.Quantize(0.1, 0, torch.quint8), quantized.Conv2d(3, 4, 3),
        torch.nn.Flatten(), quantized.Linear(144, 5),
    )  # fmt: skip
    scales = 1  # of Quantize; its zero point is an integer
    torch.jit.script(net).save(tmp_path / "quantised.pt")
    found = TorchscriptModel(tmp_path / "quantised.pt").count_parameters()
    assert found.total == 108 + 4 + 720 + 5 + scales
    assert found.bytes == 108 + 720 + 4 * (4 + 5 + scales)
    torch.jit.freeze(torch.jit.script(net.eval())).save(tmp_path / "both.pt")
    frozen = TorchscriptModel(tmp_path / "both.pt").count_parameters()
    assert frozen.total == 108 + 4 + 720 + 5  # the scale has become a scalar constant


# Training


def test_trains_and_saves_a_program(program: Path, tmp_path: Path, image: Any) -> None:
    model = TorchscriptModel(program, device="cpu", learning_rate=0.01)
    assert model.abilities()["train"].possible
    trainable = model.as_trainable()
    name = model.input_specs[0].name
    batch = trainable.prepare_batch({name: image}, np.array([0, 4]))
    losses = []
    for _ in range(20):
        trainable.step(batch)
        losses.append(trainable.loss())
    assert losses[-1] < losses[0]
    trainable.save(tmp_path / "trained.pt")
    again = factory.load(tmp_path / "trained.pt", device="cpu")
    assert isinstance(again, TorchscriptModel)
    np.testing.assert_allclose(again.run(image)["output"], model.run(image)["output"], rtol=1e-5)


def test_layers_are_those_that_the_graph_calls(program: Path) -> None:
    model = TorchscriptModel(program, device="cpu")
    assert model.abilities()["layers"].possible
    assert sum(layer.parameters for layer in model.as_layered().layers()) > 0


def test_truncated_program(program: Path) -> None:
    content = program.read_bytes()
    for share in (0.3, 0.9, 0.999):
        program.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(ModelUnrecognised, match="truncated"):
            factory.load(program)
        with pytest.raises(ModelLoadError, match="truncated") as caught:
            TorchscriptModel(program).count_parameters()
        assert "\n" not in str(caught.value)


def test_no_warnings_reach_the_user(program: Path) -> None:
    code = (
        "from greenai_core import factory; "
        f"factory.load({str(program)!r}, device='cpu', input_shapes=(1, 3, 8, 8)).run()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
