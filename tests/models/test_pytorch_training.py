"""Training and layers of networks saved by torch.save."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from greenai_core import (
    ModelError,
    ModelInputError,
    ModelLoadError,
)
from greenai_plugins.models.pytorch_format import PytorchModel

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

CLASS = "their_networks:SmallNet"
TRAINABLE, STATISTICS = 108 + 4 + 8 + 720 + 5, 8


# Training


def test_training_learns_and_saves(saved: Path, tmp_path: Path, image: Any) -> None:
    for optimizer in ("sgd", "adam"):
        model = PytorchModel(
            saved, model_class=CLASS, device="cpu", optimizer=optimizer, learning_rate="0.01"
        )
        trainable = model.as_trainable()
        with pytest.raises(ModelError, match="no loss yet"):
            trainable.loss()
        batch = trainable.prepare_batch({"image": image}, np.array([0, 4], np.int32))
        losses = []
        for _ in range(20):
            trainable.step(batch)
            trainable.synchronize()
            losses.append(trainable.loss())
        assert losses[-1] < losses[0] / 2
        trainable.save(tmp_path / "trained.pt")
        again = PytorchModel(tmp_path / "trained.pt", model_class=CLASS, device="cpu")
        np.testing.assert_array_equal(again.run(image)["output"], model.run(image)["output"])
        assert not list(tmp_path.glob(".*"))


def test_floats_are_regressed(saved: Path, image: Any) -> None:
    trainable = PytorchModel(saved, model_class=CLASS, device="cpu").as_trainable()
    trainable.step(trainable.prepare_batch({"image": image}, np.zeros((2, 5), np.float32)))
    assert trainable.loss() > 0
    wrong = trainable.prepare_batch({"image": image}, np.zeros((2, 3), np.float32))
    with pytest.raises(ModelInputError, match=r"\(2, 3\)"):
        trainable.step(wrong)


def test_batches_that_do_not_fit(saved: Path, image: Any) -> None:
    trainable = PytorchModel(saved, model_class=CLASS, device="cpu").as_trainable()
    with pytest.raises(ModelInputError, match="2 samples of image and 3 targets"):
        trainable.prepare_batch({"image": image}, np.zeros(3, np.int64))
    with pytest.raises(ModelInputError, match="classes or floats"):
        trainable.prepare_batch({"image": image}, np.array(["a", "b"]))
    with pytest.raises(ModelInputError, match="out of bounds"):
        trainable.step(trainable.prepare_batch({"image": image}, np.array([0, 99])))


def test_failed_save_leaves_nothing(saved: Path, tmp_path: Path) -> None:
    trainable = PytorchModel(saved, model_class=CLASS, device="cpu").as_trainable()
    (tmp_path / "taken").mkdir()
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ModelError, match="taken"):
        trainable.save(tmp_path / "taken")
    with pytest.raises(ModelError, match="nowhere"):
        trainable.save(tmp_path / "nowhere" / "a.pt")
    assert sorted(tmp_path.iterdir()) == before


def test_training_options(saved: Path) -> None:
    for options in ({"optimizer": "lbfgs"}, {"learning_rate": "fast"}, {"learning_rate": -1}):
        model = PytorchModel(saved, model_class=CLASS, device="cpu", **options)
        with pytest.raises(ModelLoadError, match=next(iter(options))):
            model.as_trainable()


# Layers


def hooks(module: Any) -> int:
    return sum(
        len(inner._forward_hooks) + len(inner._forward_pre_hooks) for inner in module.modules()
    )


def test_layers_and_their_calls(saved: Path, image: Any) -> None:
    model = PytorchModel(saved, model_class=CLASS, device="cpu")
    layered = model.as_layered()
    assert [(layer.name, layer.type, layer.parameters) for layer in layered.layers()] == [
        ("conv", "Conv2d", 112),
        ("norm", "BatchNorm2d", 8),
        ("act", "ReLU", 0),
        ("head", "Linear", 725),
    ]
    calls = layered.calls(model.prepare({"image": image}))
    assert [(call.layer, call.index) for call in calls] == [
        (name, 0) for name in ("conv", "norm", "act", "head")
    ]
    for _ in range(2):
        np.testing.assert_array_equal(calls[-1].replay(), model.run(image)["output"])


def test_replay_sees_what_the_layer_saw(tmp_path: Path) -> None:
    """An activation that works in place neither spoils its neighbour's input nor its own."""
    net = torch.nn.Sequential(torch.nn.Identity(), torch.nn.SiLU(inplace=True))
    torch.save(net, tmp_path / "net.pt")
    model = PytorchModel(tmp_path / "net.pt", trust=True, device="cpu")
    first, second = model.as_layered().calls(model.prepare({"input": -np.ones((1, 4), np.float32)}))
    for _ in range(3):
        expected = torch.nn.functional.silu(-torch.ones(1, 4))
        torch.testing.assert_close(second.replay(), expected)
    torch.testing.assert_close(first.replay(), -torch.ones(1, 4))


def test_shared_nested_and_whole_layers(tmp_path: Path) -> None:
    """A module used twice has two calls; attention, which calls no child, is one layer."""

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Tanh())
            self.attention = torch.nn.MultiheadAttention(4, 2, batch_first=True)

        def forward(self, x: Any) -> Any:
            x = self.block(self.block(x))
            return self.attention(x, x, value=x)[0]

    torch.save(Net().state_dict(), tmp_path / "net.pt")
    model = PytorchModel(tmp_path / "net.pt", model_class=Net, device="cpu")
    layered = model.as_layered()
    parents = {layer.name: layer.parent for layer in layered.layers()}
    assert (parents["block"], parents["block.0"]) == (None, "block")
    calls = layered.calls(model.prepare({"x": np.ones((1, 3, 4), np.float32)}))
    assert [(call.layer, call.index) for call in calls] == [
        ("block.0", 0), ("block.1", 0), ("block.0", 1), ("block.1", 1), ("attention", 0),
    ]  # fmt: skip
    for call in calls:
        call.replay()


def test_hooks_go_away_also_after_an_error(saved: Path, image: Any) -> None:
    model = PytorchModel(saved, model_class=CLASS, device="cpu")
    layered = model.as_layered()
    layered.calls(model.prepare({"image": image}))
    assert hooks(model._module) == 0
    with pytest.raises(ModelInputError):
        layered.calls(model.prepare({"image": image[:, :2]}))
    assert hooks(model._module) == 0
