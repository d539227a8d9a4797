"""Layers of a training step: forward and backward told apart, and nothing is learnt by it."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from greenai_core import (
    LayeredTraining,
    LayerSettings,
    ModelError,
    Session,
    TimedLayered,
)
from greenai_core.loop import LoopSettings
from greenai_plugins.models.pytorch_format import PytorchModel
from greenai_plugins.models.torch_replays import captured
from greenai_plugins.models.torch_runtime import Feed
from greenai_plugins.models.torch_training import Batch, TorchTrainable

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
nn = torch.nn


class Block(nn.Module):
    """A shared layer, one that works in place, and a functional operation."""

    def __init__(self):
        super().__init__()
        self.shared = nn.Conv2d(4, 4, 3, padding=1)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x):
        return self.shared(self.act(self.shared(x))) + torch.tanh(x)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.block = Block()
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.drop(self.norm(self.block(self.stem(x))).mean(dim=(2, 3))))


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


def trainable(network, optimizer="adam"):
    return TorchTrainable(network, None, lambda: None, optimizer, 0.1, whole=False)


def batch():
    return Batch(Feed((torch.rand(4, 3, 8, 8),)), torch.tensor([0, 1, 0, 1]))


def hooks(network):
    return sum(
        len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks)
        for m in network.modules()
    )


def test_each_operation_belongs_to_the_layer_that_made_it():
    one = trainable(Net())
    with one.layered() as layered:
        assert isinstance(layered, TimedLayered)
        calls = layered.timed(batch(), 1)
    names = [call.layer for call in calls]
    forward = [name for name in names if name.endswith("[forward]")]
    assert forward == [
        "stem [forward]", "block [forward]", "block.shared [forward]", "block.act [forward]",
        "block.shared [forward]", "norm [forward]", "drop [forward]", "head [forward]",
    ]  # fmt: skip
    backward = list(dict.fromkeys(name for name in names if name.endswith("[backward]")))
    assert backward == [
        "head [backward]", "drop [backward]", "norm [backward]", "block [backward]",
        "block.shared [backward]", "block.act [backward]", "stem [backward]",
    ]  # fmt: skip
    # Its own addition and tanh; the rest of the block is its layers'.
    assert names.count("block [backward]") == 2
    assert names[0] == ""
    assert names[1] == names[-1] == "(optimiser)"
    assert "(loss)" in names
    last_forward = names.index("head [forward]")
    assert all(names.index(name) > last_forward for name in backward)
    assert [call.parent for call in calls].count(None) == 1
    inside = [0.0] * len(calls)
    for call in calls[1:]:
        inside[call.parent] += call.seconds
    assert all(part <= 1.001 * call.seconds for part, call in zip(inside, calls, strict=True))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_nothing_is_learnt(optimizer):
    """Weights, statistics, gradients, the optimiser's state, random numbers and modes."""
    network = Net()
    network.eval()
    network.norm.train()
    one = trainable(network, optimizer)
    data = batch()
    network.stem.weight.grad = torch.ones_like(network.stem.weight)
    before = copy.deepcopy(network.state_dict())
    state = copy.deepcopy(one._optimizer.state_dict())
    random = torch.get_rng_state()
    with one.layered() as layered:
        layered.timed(data, 1)
        for call in layered.calls(data):
            call.replay()
        layered.macs(data)
        one.step(data)
        weights = network.state_dict()
        assert torch.equal(weights["stem.weight"], before["stem.weight"]), "each step is alike"
    after = network.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert str(one._optimizer.state_dict()) == str(state)
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(network.stem.weight.grad, torch.ones_like(network.stem.weight))
    assert network.head.weight.grad is None
    assert not network.training
    assert network.norm.training
    assert hooks(network) == 0
    one.step(data)
    assert not torch.equal(network.state_dict()["stem.weight"], before["stem.weight"])


def test_gradients_are_the_same_watched_or_not():
    network, data = Net(), batch()
    network.drop.p = 0.0
    one = trainable(network)
    found = []
    with one.layered() as layered:
        for probes in (None, 0, 1, 2):
            network.norm.reset_running_stats()
            if probes is None:
                one.step(data)
            else:
                layered.timed(data, probes)
            found.append([p.grad.clone() for p in network.parameters()])
    for gradients in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], gradients, strict=True))


def test_a_replay_does_what_the_layer_did():
    """Its backward pass gives the gradients of the real step, and adds them to nothing."""
    network, data = Net(), batch()
    one = trainable(network)
    with captured(network) as uses:
        one.step(data)
    assert hooks(network) == 0
    grads = {name: p.grad.clone() for name, p in network.named_parameters()}
    (head,) = [use for use in uses if use.name == "head"]
    # The step has moved the weights; gradients of the weights do not depend on them here.
    assert head.works()
    inputs, weight, bias = head.backward()
    torch.testing.assert_close(weight, grads["head.weight"])
    torch.testing.assert_close(bias, grads["head.bias"])
    assert inputs.shape == (4, 4)
    assert torch.equal(network.head.weight.grad, grads["head.weight"])
    shared = [use for use in uses if use.name == "block.shared"]
    sums = [sum(pair) for pair in zip(*(use.backward()[1:] for use in shared), strict=True)]
    assert sums[0].shape == grads["block.shared.weight"].shape
    assert [use.name for use in uses] == [
        "stem", "block.shared", "block.act", "block.shared", "norm", "drop", "head",
    ]  # fmt: skip


def test_a_layer_that_cannot_be_done_alone_is_left_out():
    class Once(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin, self.seen = nn.Linear(3, 3), 0

        def forward(self, x):
            self.seen += 1
            if self.seen > 1:
                raise RuntimeError("once only")
            return torch.nn.functional.linear(x, self.lin.weight)

    network = nn.Sequential(nn.Linear(3, 3), Once())
    one = trainable(network)
    with one.layered() as layered:
        data = Batch(Feed((torch.rand(2, 3),)), torch.tensor([0, 1]))
        assert {call.layer.partition(" ")[0] for call in layered.calls(data)} == {"0"}


def test_an_exception_in_the_backward_pass_leaves_no_hook():
    class Fails(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, gradient):
            raise ValueError("of the network")

    class Bad(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = nn.Linear(3, 2)

        def forward(self, x):
            return Fails.apply(self.lin(x))

    network = Bad()
    one = trainable(network)
    before = copy.deepcopy(network.state_dict())
    data = Batch(Feed((torch.rand(2, 3),)), torch.tensor([0, 1]))
    with pytest.raises(ModelError, match="of the network"), one.layered() as layered:
        layered.timed(data, 1)
    assert hooks(network) == 0
    assert all(torch.equal(network.state_dict()[name], before[name]) for name in before)


@pytest.mark.parametrize("reentrant", [True, False])
def test_layers_that_are_computed_twice_are_refused(reentrant):
    from torch.utils.checkpoint import checkpoint

    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.block = nn.Linear(3, 3), nn.Sequential(nn.Linear(3, 3), nn.Tanh())

        def forward(self, x):
            return checkpoint(self.block, self.first(x), use_reentrant=reentrant)

    one = trainable(Checkpointed())
    data = Batch(Feed((torch.rand(2, 3),)), torch.tensor([0, 1]))
    with one.layered() as layered, pytest.raises(ModelError, match="checkpointing"):
        layered.timed(data, 1)


def test_multiply_accumulates_are_those_of_training():
    """In evaluation PyTorch runs an encoder as one operation; in a step its layers are called."""
    encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    one = trainable(nn.Sequential(encoder, nn.Flatten(), nn.Linear(40, 2)).eval())
    with one.layered() as layered:
        data = Batch(Feed((torch.rand(2, 5, 8),)), torch.tensor([0, 1]))
        macs = layered.macs(data)
        assert {call.layer for call in layered.timed(data, 1)} > set(macs)
    assert macs["0.linear1 [forward]"] == macs["0.linear2 [forward]"] == 2 * 5 * 8 * 16
    assert macs["0.self_attn [forward]"] == 2 * 5 * 4 * 64 + 2 * (2 * 25 * 8)
    assert macs["0 [forward]"] == 0


def test_what_is_compiled_is_refused():
    one = trainable(torch.compile(nn.Linear(3, 2), backend="eager"))
    data = Batch(Feed((torch.rand(2, 3),)), torch.tensor([0, 1]))
    with one.layered() as layered, pytest.raises(ModelError, match="compiled"):
        layered.timed(data, 1)


def test_a_script_is_refused():
    """Its layers call no hooks: nothing could be told apart."""
    one = trainable(torch.jit.trace(nn.Linear(3, 2), torch.rand(2, 3)))
    data = Batch(Feed((torch.rand(2, 3),)), torch.tensor([0, 1]))
    with one.layered() as layered, pytest.raises(ModelError, match="TorchScript"):
        layered.timed(data, 1)


def test_a_file_is_measured_in_both_phases_by_one_session(tmp_path):
    """The modelled sensor only: what is looked at is what adds up, and what stays."""
    torch.save(Net().state_dict(), tmp_path / "net.pt")
    shape = {"input_shapes": {"": (1, 3, 8, 8)}, "model_constructor": Net, "device": "cpu"}
    loop = LoopSettings(precision=0.9, min_time_s=0.05, max_time_s=1.0, warm_up_s=0.0)
    with Session("modelled") as session, PytorchModel(tmp_path / "net.pt", **shape) as model:
        model.load()
        before = {name: value.clone() for name, value in model._module.state_dict().items()}
        results = [
            session.evaluate_layers(
                model,
                training=training,
                settings=LayerSettings(method="isolation", top=2, layer_s=0.05, loop=loop, seed=1),
            )
            for training in (False, True)
        ]
        after = model._module.state_dict()
        assert all(torch.equal(after[name], before[name]) for name in before)
    assert [result.phase for result in results] == ["inference", "training"]
    assert [result.model.batch_size for result in results] == [1, 1]
    for result in results:
        rows = [row.energy_j.value for row in result.layers]
        rows += [result.unattributed_j.value, result.overhead_j.value]
        assert np.isclose(sum(rows), result.energy_j.value, rtol=1e-9)
        assert result.residual_share is not None
    step = {row.name: row for row in results[1].layers}
    assert {row.direction for row in results[1].layers} == {"", "forward", "backward"}
    assert step["stem [backward]"].parent == "stem"
    both = step["stem [forward]"].energy_j.value + step["stem [backward]"].energy_j.value
    assert step["stem"].with_parts_j.value == pytest.approx(both)
    assert step["stem [forward]"].macs == 4 * 3 * 9 * 64
    assert "(optimiser)" in step
    assert not any(row.direction for row in results[0].layers)
    measured = [row for row in results[1].layers if row.method == "isolation"]
    assert len(measured) == 2


def test_the_contract_is_kept():
    assert isinstance(trainable(Net()), LayeredTraining)
