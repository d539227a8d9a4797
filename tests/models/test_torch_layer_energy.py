"""Timing and repeating the layers of PyTorch networks: right, or refused; and never left behind."""

from __future__ import annotations

import copy
import threading

import pytest

from greenai_core import ModelError, RepeatableLayered, TimedLayered
from greenai_plugins.models.torch_layer_times import LayerClock
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


def test_a_script_inside_a_network_is_a_layer_that_can_be_repeated():
    """TorchScript hands assignments on to what it is made of, where they would stay."""

    @torch.jit.ignore
    def counted(x):
        done.append(1)
        return x

    class Inner(nn.Module):
        def forward(self, x):
            return counted(x)

    done = []
    network = nn.Sequential(nn.Linear(2, 2), torch.jit.script(Inner()))
    one, feed = layered(network), Feed((torch.rand(1, 2),))
    assert [call.layer for call in one.timed(feed, 1)] == ["", "0", "1"]
    assert [call.layer for call in one.calls(feed)] == ["0", "1"]
    done.clear()
    one.calls(feed)[1].replay()
    assert len(done) == 2, "once in the pass, once alone"
    work = one.repeated(feed, "1", 4)
    for _ in range(3):
        done.clear()
        work()
        assert len(done) == 4
    done.clear()
    network(*feed.args)
    assert len(done) == 1


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


class Gathered(nn.Module):
    """Layers in a list, one that another one calls too, and what PyTorch runs as one."""

    def __init__(self):
        super().__init__()
        self.list = nn.ModuleList([nn.Linear(8, 8), nn.Linear(8, 8)])
        self.again = nn.ModuleDict({"tied": self.list[0]})
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.unused = nn.Linear(8, 8)

    def forward(self, x):
        for layer in self.list:
            x = layer(x)
        return self.encoder(self.again["tied"](x))


def test_multiply_accumulates_belong_to_layers_that_are_called():
    """A list of layers is called by nobody, and no layer has less than none."""
    tokens, width, hidden = 2 * 5, 8, 16
    macs = layered(Gathered()).macs(Feed((torch.rand(2, 5, width),)))
    attention = tokens * 4 * width**2 + 2 * (2 * 5**2 * width)
    assert macs == {
        "list.0": 2 * tokens * width**2,
        "list.1": tokens * width**2,
        "encoder": attention + 2 * tokens * width * hidden,
    }


def test_it_keeps_the_contracts():
    one = layered(copy.deepcopy(Net()))
    assert isinstance(one, TimedLayered)
    assert isinstance(one, RepeatableLayered)


def test_layers_called_in_other_threads_are_refused():
    """They may overlap; and the operations of a thread are numbered by themselves."""

    class Threaded(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = nn.Linear(2, 2)

        def forward(self, x):
            found = []
            thread = threading.Thread(target=lambda: found.append(self.lin(x)))
            thread.start()
            thread.join()
            return found[0]

    network = Threaded()
    with pytest.raises(ModelError, match="threads"):
        layered(network).timed(Feed((torch.rand(1, 2),)), 1)
    assert hooks(network) == 0


def test_layers_in_several_streams_are_refused(monkeypatch):
    streams = iter(range(100))
    monkeypatch.setattr(LayerClock, "stream", lambda clock: next(streams))
    network = Net()
    with pytest.raises(ModelError, match="streams"):
        layered(network).timed(FEED, 1)
    assert hooks(network) == 0
