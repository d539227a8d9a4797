"""PyTorch and TorchScript networks taught in epochs: from images to a file that knows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from greenai_core import ModelError, ModelInputError, Scored, Session
from greenai_core.testing import SimulatedCounterProfiler
from greenai_plugins.models.pytorch_format import PytorchModel
from greenai_plugins.models.torchscript_format import TorchscriptModel

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

NETWORKS = '''
import torch
from torch import nn


class Shades(nn.Module):
    """Tells two classes apart by batch-normalised means of colour."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.head = nn.Linear(3, 2)

    def forward(self, image):
        return self.head(self.norm(image.mean((2, 3))))


class Greedy(Shades):
    def forward(self, image):
        if self.training and len(image) > 4:
            torch.empty(2**55)
        return super().forward(image)


class Full(Shades):
    def forward(self, image):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
'''


@pytest.fixture
def network(tmp_path: Path, monkeypatch: Any) -> Any:
    """``network("Shades")``: a state dict of it, opened."""
    (tmp_path / "shades.py").write_text(NETWORKS)
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(name: str = "Shades", **options: Any) -> PytorchModel:
        import shades

        torch.manual_seed(1)
        path = tmp_path / f"{name}.pt"
        torch.save(getattr(shades, name)().state_dict(), path)
        return PytorchModel(
            path,
            model_class=f"shades:{name}",
            device="cpu",
            input_shapes=(1, 3, 4, 4),
            **{"optimizer": "adam", "learning_rate": 0.2, **options},
        )

    return make


@pytest.fixture
def photos(tmp_path: Path) -> Any:
    image = pytest.importorskip("PIL.Image")

    def make(name: str, count: int) -> Path:
        for kind, shade in (("bright", 160), ("dark", 20)):
            folder = tmp_path / name / kind
            folder.mkdir(parents=True)
            for index in range(count):
                image.new("RGB", (4, 4), (shade + index, shade, shade)).save(
                    folder / f"{index}.png"
                )
        return tmp_path / name

    return make


def test_images_by_class_are_learnt_and_kept(network: Any, photos: Any, tmp_path: Path) -> None:
    with network() as model:
        epochs = model.train(
            photos("train", 10),
            validation=photos("val", 4),
            epochs=8,
            batch_size=5,
            save=tmp_path / "trained.pt",
        )
        assert epochs[-1].validation_accuracy == 1.0
        assert epochs[-1].validation_loss < epochs[0].validation_loss
        assert epochs[-1].steps == 4
    trained = PytorchModel(
        tmp_path / "trained.pt",
        model_class="shades:Shades",
        device="cpu",
        input_shapes=(1, 3, 4, 4),
    )
    answers = [
        trained.run(tmp_path / "val" / kind / "0.png")["output"].argmax()
        for kind in ("bright", "dark")
    ]
    assert answers == [0, 1]


def test_torchscript_is_learnt_and_saved_ready_for_use(network: Any, tmp_path: Path) -> None:
    import shades

    network()
    torch.jit.script(shades.Shades()).save(tmp_path / "net.ts")
    x = np.random.default_rng(0).random((20, 3, 4, 4), dtype=np.float32)
    y = (x.mean((1, 2, 3)) > 0.5).astype(np.int64)
    model = TorchscriptModel(
        tmp_path / "net.ts", device="cpu", input_shapes=(1, 3, 4, 4), learning_rate=0.5
    )
    epochs = model.train((x, y), epochs=6, batch_size=10, save=tmp_path / "out.ts")
    assert epochs[-1].loss < epochs[0].loss
    assert not torch.jit.load(tmp_path / "out.ts").training


def test_a_data_loader_gives_measured_epochs(network: Any) -> None:
    data = torch.utils.data.TensorDataset(torch.rand(10, 3, 4, 4), torch.arange(10) % 2)
    loader = torch.utils.data.DataLoader(data, batch_size=4)
    with Session([SimulatedCounterProfiler()]) as session, network() as model:
        result = session.evaluate_training(model, loader, validation=loader, epochs=2)
    assert [epoch.samples for epoch in result.epochs] == [10, 10]
    assert result.steps == 6
    assert all(0 <= epoch.accuracy <= 1 for epoch in result.epochs)
    assert 0 < result.data_wait.share < 1


def test_a_score_is_of_evaluation_mode_and_changes_nothing(network: Any) -> None:
    model = network()
    trainable = model.as_trainable()
    assert isinstance(trainable, Scored)
    assert trainable.accuracy() is None
    x = np.random.default_rng(0).random((6, 3, 4, 4), dtype=np.float32)
    y = np.array([0, 1, 0, 1, 0, 1])
    batch = trainable.prepare_batch({"image": x}, y)
    trainable.step(batch)
    before = {k: v.clone() for k, v in model._module.state_dict().items()}
    score = trainable.score(batch)
    assert all(torch.equal(before[k], v) for k, v in model._module.state_dict().items())
    answers = torch.tensor(model.fetch(model.predict(model.prepare({"image": x})))["output"])
    assert score.accuracy == pytest.approx((answers.argmax(1).numpy() == y).mean())
    expected = torch.nn.functional.cross_entropy(answers, torch.tensor(y))
    assert score.loss == pytest.approx(float(expected), rel=1e-5)


def test_values_have_a_loss_and_no_accuracy(network: Any) -> None:
    x = np.ones((4, 3, 4, 4), np.float32)
    (epoch,) = network().train((x, np.zeros((4, 2), np.float32)), validation=(x, np.zeros((4, 2))))
    assert epoch.accuracy is None
    assert epoch.validation_accuracy is None
    assert epoch.validation_loss >= 0


@pytest.mark.parametrize("name", ["Greedy", "Full"])
def test_memory_that_runs_out_advises_smaller_batches(network: Any, name: str) -> None:
    x, y = np.ones((6, 3, 4, 4), np.float32), np.zeros(6, np.int64)
    with pytest.raises(ModelError, match=r"batch of 6 samples .*--batch-size") as caught:
        network(name).train((x, y))
    assert not isinstance(caught.value, ModelInputError)


def test_a_loss_that_is_no_number_ends_training(network: Any, tmp_path: Path) -> None:
    x = np.full((8, 3, 4, 4), 1e30, np.float32)
    x[::2] *= -1
    model = network("Shades", optimizer="sgd", learning_rate=1e30)
    epochs = model.train(
        (x, np.zeros((8, 2), np.float32)), epochs=4, batch_size=2, save=tmp_path / "out.pt"
    )
    assert not epochs[-1].complete
    assert not (tmp_path / "out.pt").exists()
