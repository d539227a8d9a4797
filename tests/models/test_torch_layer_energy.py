"""Timing and repeating the layers of PyTorch networks: right, or refused; and never left behind."""

from __future__ import annotations

import copy

import pytest

from greenai_core import ModelError, RepeatableLayered, TimedLayered
from greenai_plugins.models.torch_layers import TorchLayered
from greenai_plugins.models.torch_runtime import Feed

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
nn = torch.nn


class Block(nn.Module):
    """A shared layer, a functional operation, and one that works in place."""

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
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.norm(self.block(self.stem(x))).mean(dim=(2, 3)))


class Counting(nn.Module):
    """Gives other outputs each time."""

    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(2, 2)
        self.seen = 0

    def forward(self, x):
        self.seen += 1
        return self.lin(x) * self.seen


FEED = Feed((torch.rand(2, 3, 8, 8),))


def layered(network):
    network.eval()

    def predict(feed):
        with torch.inference_mode():
            return network(*feed.args, **feed.kwargs)

    return TorchLayered(network, predict)


def hooks(network):
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks) for module in network.modules()
    )


def test_the_calls_of_a_pass_in_their_places():
    calls = layered(Net()).timed(FEED, 1)
    names = [call.layer for call in calls]
    assert names == [
        "", "stem", "block", "block.shared", "block.act", "block.shared", "norm", "head",
    ]  # fmt: skip
    parents = [call.parent for call in calls]
    assert parents == [None, 0, 0, 2, 2, 2, 0, 0]
    assert all(call.seconds > 0 for call in calls)
    for call in calls[1:]:
        assert call.seconds <= calls[call.parent].seconds
    assert [call.layer for call in layered(Net()).timed(FEED, 0)] == [""]


def test_outputs_are_the_same_and_no_hook_stays():
    network = Net()
    one = layered(network)
    before = one._predict(FEED)
    for probes in (0, 1, 2):
        one.timed(FEED, probes)
        assert hooks(network) == 0
    torch.testing.assert_close(one.repeated(FEED, "block.shared", 4)(), before, rtol=0, atol=0)
    assert "forward" not in vars(network.block.shared)
    torch.testing.assert_close(one._predict(FEED), before, rtol=0, atol=0)


def test_hooks_of_the_user_stay_and_belong_to_their_layer():
    network = Net()
    seen = []
    network.stem.register_forward_hook(lambda *_: seen.append("after"))
    network.stem.register_forward_pre_hook(lambda *_: seen.append("before"))
    layered(network).timed(FEED, 1)
    assert seen == ["before", "after"]
    assert hooks(network) == 2


def test_an_exception_in_a_pass_leaves_no_hook():
    network = Net()

    def fails(*_):
        raise ValueError("of the network")

    handle = network.head.register_forward_hook(fails)
    with pytest.raises(ValueError, match="of the network"):
        layered(network).timed(FEED, 2)
    handle.remove()
    assert hooks(network) == 0
    with pytest.raises(RuntimeError):
        layered(network).repeated(Feed((torch.rand(2, 5, 8, 8),)), "stem", 2)
    assert "forward" not in vars(network.stem)


def test_a_layer_is_done_as_often_as_asked():
    network = Net()
    one = layered(network)
    for times in (1, 2, 4):
        work = one.repeated(FEED, "block.shared", times)
        seen = []
        handle = network.block.shared.register_forward_hook(lambda *_, seen=seen: seen.append(1))
        inner = type(network.block.shared)._conv_forward
        done = []

        def counted(self, *args, inner=inner, done=done):
            done.append(1)
            return inner(self, *args)

        type(network.block.shared)._conv_forward = counted
        try:
            work()
        finally:
            type(network.block.shared)._conv_forward = inner
        handle.remove()
        assert len(seen) == 2, "what watches a layer sees its two calls"
        assert len(done) == 1 + 2 * times


def test_what_cannot_be_repeated_is_refused():
    with pytest.raises(ModelError, match="in place"):
        layered(Net()).repeated(FEED, "block.act", 2)
    with pytest.raises(ModelError, match="keeps a state"):
        layered(nn.Sequential(Counting())).repeated(Feed((torch.rand(1, 2),)), "0", 2)


def test_what_cannot_be_watched_is_refused_with_advice():
    parallel = nn.DataParallel(Net())
    with pytest.raises(ModelError, match=r"\.module"):
        layered(parallel).timed(FEED, 1)
    compiled = torch.compile(Net(), backend="eager")
    with pytest.raises(ModelError, match="compiled"):
        layered(compiled).timed(FEED, 1)


def test_multiply_accumulates_of_each_layer_alone():
    macs = layered(Net()).macs(FEED)
    assert macs["stem"] == 2 * 4 * 3 * 9 * 64
    assert macs["block.shared"] == 2 * (2 * 4 * 4 * 9 * 64), "of both of its calls"
    assert macs["block"] == 0
    assert macs["head"] == 2 * 4 * 2


def test_it_keeps_the_contracts():
    one = layered(copy.deepcopy(Net()))
    assert isinstance(one, TimedLayered)
    assert isinstance(one, RepeatableLayered)
