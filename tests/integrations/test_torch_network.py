"""A PyTorch network in memory, measured like a file."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from greenai_core import InputOptions, ModelError, ModelInputError, Session, layers
from greenai_core.layers import LayerSettings
from greenai_core.loop import LoopSettings
from greenai_core.testing import SimulatedCounterProfiler

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
nn = torch.nn

from greenai_plugins.integrations.torch_network import TorchNetwork  # noqa: E402  # needs torch

LOOP = LoopSettings(min_time_s=0.05, max_time_s=0.1, warm_up_s=0.0)
LAYERS = LayerSettings(method="time", loop=LOOP)


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(20, 8)
        self.norm = nn.BatchNorm1d(8)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(8, 3)

    def forward(self, ids, mask=None, scale=1.0):
        x = self.words(ids).mean(dim=1) if mask is None else self.words(ids)[:, 0] * mask
        return self.head(self.drop(self.norm(x))) * scale


@pytest.fixture
def network():
    torch.manual_seed(0)
    module = Classifier()
    module.norm.eval()  # as people freeze it
    return module


@pytest.fixture(scope="module")
def session():
    with Session([SimulatedCounterProfiler()]) as opened:
        yield opened


@pytest.fixture
def quick(monkeypatch):
    """Few passes tell the times: here they need not be right."""
    monkeypatch.setattr(layers, "PASSES_S", 0.0)


def ids(count=4):
    return torch.randint(0, 20, (count, 5))


def modes(module):
    return {name: layer.training for name, layer in module.named_modules()}


def test_it_runs_on_its_example_and_comes_back_in_its_modes(network):
    example, before = ids(), modes(network)
    with TorchNetwork(network, example) as model:
        found = model.run()["output"]
        assert not any(modes(network).values())
    assert modes(network) == before
    expected = copy.deepcopy(network).eval()(example)
    assert np.array_equal(found, expected.detach().numpy())


def test_arguments_by_place_by_name_and_those_that_are_no_tensors(network):
    example = ids()
    mask = torch.ones(4, 1)
    plain = copy.deepcopy(network).eval()(example, mask, 3.0).detach().numpy()
    for given in ((example, mask, 3.0), {"ids": example, "mask": mask, "scale": 3.0}):
        with TorchNetwork(network, given) as model:
            assert np.array_equal(model.run()["output"], plain)
            # Other tensors, and the same scale.
            again = model.run({"ids": example[:2].numpy(), "mask": mask[:2].numpy()})["output"]
            assert np.allclose(again, plain[:2])


def test_session_measures_inference_and_layers_of_both_phases(network, session, quick):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    kept = modes(network)
    with TorchNetwork(network, ids(), name="mine") as model:
        result = session.evaluate_inference(model, settings=LOOP)
        inference = session.evaluate_layers(model, settings=LAYERS)
        training = session.evaluate_layers(model, training=True, settings=LAYERS)
        count = session.count_parameters(model)
    assert result.energy_per_inference_j.value > 0
    assert (result.model.path, result.model.format, result.model.batch_size) == (
        "mine", "pytorch", 4,
    )  # fmt: skip
    assert {row.name for row in inference.layers} == {"words", "norm", "drop", "head"}
    assert "head [backward]" in {row.name for row in training.layers}
    assert (inference.phase, training.phase) == ("inference", "training")
    assert count.trainable == sum(p.numel() for p in network.parameters())
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert modes(network) == kept


def test_training_needs_something_that_learns(network):
    network.requires_grad_(False)
    with TorchNetwork(network, ids()) as model:
        assert not model.abilities()["train"].possible
        with pytest.raises(ModelError, match="nothing to train"):
            model.as_trainable()


def test_what_is_refused(network, session):
    with pytest.raises(ModelInputError, match="does not take the example"):
        TorchNetwork(network, {"words": ids()})
    with pytest.raises(ModelInputError, match=r"no torch\.nn\.Module"):
        TorchNetwork(lambda x: x, ids())
    with (
        TorchNetwork(network, ids()) as model,
        pytest.raises(ModelInputError, match="has 4 samples, not 9"),
    ):
        session.evaluate_inference(model, options=InputOptions(batch_size=9))
    network.head.to("meta")
    with pytest.raises(ModelInputError, match="spread over cpu, meta"):
        TorchNetwork(network, ids())


def test_a_bare_network_is_told_how(network, session):
    with pytest.raises(ModelError, match=r"TorchNetwork\(network, example\)"):
        session.evaluate_layers(network)
