"""A convolutional network without a signature: the first usual shape that it takes, as a guess."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from greenai_core import InputOptions, ModelInputError, Session
from greenai_core.loop import LoopSettings
from greenai_plugins.models.pytorch_format import PytorchModel
from greenai_plugins.models.torchscript_format import TorchscriptModel

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")]
torch = pytest.importorskip("torch")


def network(channels: int, size: int, *, norm: bool = True) -> Any:
    """It takes images of one size only, as its last layer does."""
    return torch.nn.Sequential(
        torch.nn.Conv2d(channels, 2, 3, padding=1),
        *([torch.nn.BatchNorm2d(2)] if norm else []),
        torch.nn.Flatten(),
        torch.nn.Linear(2 * size * size, 3),
    ).eval()


def saved(module: Any, path: Path, how: str = "scripted") -> Path:
    compiled = torch.jit.script(module)
    if how == "frozen":
        compiled = torch.jit.freeze(compiled)
    compiled.save(path)
    return path


@pytest.mark.parametrize(
    ("channels", "size"), [(3, 224), (3, 32), (1, 28), (3, 64), (1, 32), (4, 224)]
)
def test_the_usual_shapes_are_found(tmp_path: Path, channels: int, size: int) -> None:
    with TorchscriptModel(saved(network(channels, size), tmp_path / "n.pt"), device="cpu") as model:
        (array,) = model.make_inputs().values()
        assert array.shape == (1, channels, size, size)
        assert f"Nx{channels}x{size}x{size} was assumed" in model.assumptions()[0]
        assert model.input_specs[0].shape is None  # a guess is no fact of the file
        assert model.run()["output"].shape == (1, 3)


def test_a_frozen_program_has_no_layers_but_convolves(tmp_path: Path) -> None:
    path = saved(network(3, 32), tmp_path / "n.pt", "frozen")
    with TorchscriptModel(path, device="cpu") as model:
        assert model.run()["output"].shape == (1, 3)


def test_a_state_dict_with_its_class_is_probed_too(tmp_path: Path) -> None:
    path = tmp_path / "n.pt"
    torch.save(network(3, 32).state_dict(), path)
    options = {"model_class": lambda: network(3, 32), "device": "cpu"}
    with PytorchModel(path, **options) as model:
        out = model.run(options=InputOptions(batch_size=4))
        assert out["output"].shape == (4, 3)


def test_probing_leaves_the_statistics_alone(tmp_path: Path) -> None:
    with TorchscriptModel(saved(network(3, 32), tmp_path / "n.pt"), device="cpu") as model:
        image = np.ones((1, 3, 32, 32), np.float32)
        before = model.run(image)["output"]
        model.make_inputs()
        assert np.array_equal(model.run(image)["output"], before)


def test_an_image_is_resized_to_the_shape_that_was_found(tmp_path: Path) -> None:
    Image.new("L", (9, 7), 255).save(tmp_path / "digit.png")
    with TorchscriptModel(saved(network(1, 28), tmp_path / "n.pt"), device="cpu") as model:
        array = model.make_inputs(tmp_path / "digit.png")["input"]
        assert array.shape == (1, 1, 28, 28)
        assert model.assumptions()


def test_given_shapes_and_data_are_not_second_guessed(tmp_path: Path) -> None:
    path = saved(network(3, 16), tmp_path / "n.pt")
    with TorchscriptModel(path, device="cpu", input_shapes=(2, 3, 16, 16)) as model:
        assert model.run()["output"].shape == (2, 3)
        assert not model.assumptions()
    with TorchscriptModel(path, device="cpu") as model:
        assert model.run(np.ones((1, 3, 16, 16)))["output"].shape == (1, 3)
        assert not model.assumptions()


def test_a_measurement_warns_of_the_assumption(tmp_path: Path) -> None:
    path = saved(network(3, 32), tmp_path / "n.pt")
    options = {"modelled": {"tdp_w": 10.0}}
    settings = LoopSettings(max_time_s=0.3, min_time_s=0.05)
    with (
        Session(["modelled"], options=options) as session,
        TorchscriptModel(path, device="cpu") as model,
    ):
        result = session.evaluate_inference(model, batch_size=2, settings=settings)
    assert result.model.inputs == ("input 2x3x32x32 float32",)
    assert any("was assumed" in warning for warning in result.warnings)


@pytest.mark.parametrize("kind", ["unusual", "no convolution"])
def test_what_cannot_be_found_must_be_given(tmp_path: Path, kind: str) -> None:
    module = network(3, 17) if kind == "unusual" else torch.nn.Linear(3, 2)
    with (
        TorchscriptModel(saved(module, tmp_path / "n.pt"), device="cpu") as model,
        pytest.raises(ModelInputError, match="--input-shape"),
    ):
        model.run()


def test_channels_come_first_whatever_the_sizes_look_like(tmp_path: Path) -> None:
    """8 x 3 images of 3 channels: the sizes alone would not tell."""
    module = torch.nn.Conv2d(3, 1, 1)
    Image.new("RGB", (3, 8), (255, 0, 0)).save(tmp_path / "red.png")
    path = saved(module, tmp_path / "n.pt")
    with TorchscriptModel(path, device="cpu", input_shapes=(1, 3, 8, 3)) as model:
        assert model.input_specs[0].layout == "NCHW"
        array = model.make_inputs(tmp_path / "red.png")["input"]
        assert array[0, 0].min() == 1.0
        assert array[0, 1].max() == 0.0
