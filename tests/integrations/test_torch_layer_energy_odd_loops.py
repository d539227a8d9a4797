"""``layer_energy`` around odd loops: right or refused, and nothing of it is left."""

from __future__ import annotations

import asyncio
import threading
import warnings

import pytest

from greenai_core import LifecycleError, ModelError
from greenai_plugins.integrations.torch_layer_energy import layer_energy
from greenai_plugins.models.torch_layer_times import LayerClock

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
nn = torch.nn
X = torch.rand(3, 4)


class Net(nn.Module):
    """Three layers, and whatever a test does between them."""

    def __init__(self, between=lambda x: x, last=lambda x: x):
        super().__init__()
        self.one, self.two, self.head = nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2)
        self.between, self.last = between, last

    def forward(self, x):
        return self.last(self.head(self.two(self.between(self.one(x)))))


@pytest.fixture(autouse=True)
def nothing_left():
    """No test leaves a hook that all modules and optimisers would call."""
    import torch.nn.modules.module as everywhere
    import torch.optim.optimizer as optimisers

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    for place in (everywhere, optimisers):
        for name, hooks in vars(place).items():
            assert not (name.startswith("_global_") and "hook" in name and hooks), name


def seen(network, session, loop):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the reasons, which results raise too
        with layer_energy(network, session) as energies:
            loop()
    return energies


def called(energies):
    return {row.name: row.calls for row in energies.result.layers if row.calls}


def learn(network, passes=3):
    for _ in range(passes):
        network(X).sum().backward()


def raising(number, error):
    """What raises at its so-manieth call."""
    calls = []

    def between(x):
        calls.append(1)
        if len(calls) == number:
            raise error
        return x

    return between


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError()])
@pytest.mark.parametrize("training", [True, False])
def test_a_pass_that_is_broken_off_disturbs_no_other(machine, error, training):
    """PyTorch calls no hook when Ctrl-C ends a call."""
    network = Net(raising(2, error))

    def loop():
        for _ in range(5):
            try:
                learn(network, 1) if training else network(X)
            except (KeyboardInterrupt, ValueError):
                continue

    energies = seen(network, machine, loop)
    assert energies.result.phase == ("training" if training else "inference")
    assert energies.result.passes == (4 if training else 5)
    rows = called(energies)
    last = "head [forward]" if training else "head"
    assert rows[last] == 1
    assert set(rows) >= ({"one [backward]", "head [backward]"} if training else {"one", "two"})
    assert not energies.result.warnings


def test_ctrl_c_in_a_layer_that_the_network_catches(machine):
    network = Net()
    network.one.register_forward_hook(lambda *_: caught())

    def caught():
        raise KeyboardInterrupt

    def between(x):
        try:
            return network.one(x)
        except KeyboardInterrupt:
            return x

    network.forward = lambda x: network.head(network.two(between(x)))
    energies = seen(network, machine, lambda: learn(network))
    assert energies.result.passes == 3
    assert called(energies)["head [forward]"] == 1


def test_what_follows_the_last_backward_pass_is_no_inference_after_an_exception(machine):
    """Gradients were being gathered over three passes."""
    network = Net()
    kept = []

    def loop():
        sum(network(X).sum() for _ in range(3)).backward()
        kept.extend(network(X) for _ in range(2))
        raise ValueError("of the user")

    with pytest.raises(ValueError, match="of the user"), layer_energy(network, machine) as found:
        loop()
    assert found.result.phase == "training"
    assert found.result.passes == 3


@pytest.mark.parametrize(
    "mode", [torch.inference_mode, torch.no_grad, lambda: torch.device("meta"), torch.enable_grad]
)
def test_inside_a_mode_of_the_caller(machine, mode):
    network = Net()
    with mode():
        energies = seen(network, machine, lambda: network(X))
    assert energies.result.phase == "inference"


def test_hooks_of_the_user_on_all_modules_see_the_network_only(machine):
    """Those of others, such as a counter of operations, may not bear our own layers."""
    from torch.utils.flop_counter import FlopCounterMode

    network, names = Net(), []
    handle = nn.modules.module.register_module_forward_hook(
        lambda module, args, output: names.append(type(module).__name__)
    )
    try:
        with FlopCounterMode(display=False) as counter:
            seen(network, machine, lambda: learn(network, 1))
    finally:
        handle.remove()
    assert names == ["Linear", "Tanh", "Linear", "Net"]
    macs = 3 * 4 * 4 + 3 * 4 * 2
    assert counter.get_total_flops() == 2 * (3 * macs - 3 * 4 * 4), "X wants no gradient"


def test_lazy_layers_that_were_not_called(machine):
    network = nn.Sequential(nn.LazyLinear(4), nn.Sequential(nn.LazyLinear(2)))
    energies = seen(network, machine, lambda: network[1](X))
    rows = {row.name: row.parameters for row in energies.result.layers}
    assert rows == {"0": 0, "1": 0, "1.0": 10}


class Holder:
    """An output of the user's own class."""

    def __init__(self, value):
        self.value = value
        self.itself = {"again": self}


class Sealed:
    __slots__ = ("value",)

    def __init__(self, value):
        self.value = value


def test_outputs_of_ones_own_class_and_with_rings(machine):
    network = Net(last=Holder)

    def loop():
        for _ in range(2):
            network(X).value.sum().backward()
            network.zero_grad()

    energies = seen(network, machine, loop)
    assert energies.result.phase == "training"
    assert called(energies)["one [backward]"] == 2


def test_an_output_that_breaks_is_not_touched_twice(machine):
    class Breaking(dict):
        def values(self):
            raise ValueError("not these")

    network = Net(last=lambda x: Breaking(x=x))
    energies = seen(network, machine, lambda: network(X))
    with pytest.raises(ModelError, match="Breaking"):
        _ = energies.result


def test_training_that_cannot_be_seen_is_not_called_inference(machine):
    kept = []

    class Inside(Net):
        def forward(self, x):
            y = super().forward(x)
            y.sum().backward()
            return y.detach()

    class Nothing(Net):
        def forward(self, x):
            kept.append(super().forward(x))

    sealed, inside, nothing = Net(last=Sealed), Inside(), Nothing()
    before = Net()
    earlier = before(X).sum()
    for network, loop in (
        (sealed, lambda: sealed(X).value.sum().backward()),
        (inside, lambda: inside(X)),
        (nothing, lambda: (nothing(X), kept[-1].sum().backward())),
        (before, lambda: (earlier.backward(), before(X))),
    ):
        energies = seen(network, machine, loop)
        with pytest.raises(ModelError, match="learnt"):
            _ = energies.result


def test_gradients_of_any_layout_are_looked_at(machine):
    network = nn.Sequential(nn.Embedding(10, 4, sparse=True), Net(last=Sealed))

    def loop():
        for _ in range(2):
            network(torch.tensor([1, 2])).value.sum().backward()

    with pytest.raises(ModelError, match="learnt"):
        _ = seen(network, machine, loop).result


def test_gradients_set_to_zero_are_no_training(machine):
    network = Net()
    learn(network, 1)

    def loop():
        network.zero_grad(set_to_none=False)
        network(X)
        network.zero_grad()
        network(X)

    assert seen(network, machine, loop).result.phase == "inference"


def test_an_operation_of_the_user_may_have_any_attribute(machine):
    """``variable`` is also what the operation that adds up gradients has."""

    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.variable = x
            return x * 2

        @staticmethod
        def backward(ctx, gradient):
            return gradient * 2

    class Double(nn.Module):
        def forward(self, x):
            return Doubled.apply(x)

    network = nn.Sequential(nn.Linear(4, 4), Double())
    energies = seen(network, machine, lambda: learn(network))
    assert called(energies)["1 [backward]"] == 1


def test_layers_that_are_exchanged_in_the_block_are_refused(machine):
    def replace(network):
        network[0] = nn.Linear(4, 4)

    for change in (replace, lambda network: network.pop(1), lambda n: n.append(nn.ReLU())):
        network = nn.Sequential(nn.Linear(4, 4), nn.Tanh())
        energies = seen(network, machine, lambda n=network, c=change: (n(X), c(n), n(X)))
        with pytest.raises(ModelError, match="replaced"):
            _ = energies.result


def test_layers_that_are_not_called_as_modules_are_refused(machine):
    network = Net()
    network.forward = lambda x: network.head.forward(network.one.forward(x))
    energies = seen(network, machine, lambda: learn(network))
    with pytest.raises(ModelError, match="as a module"):
        _ = energies.result
    energies = seen(network, machine, lambda: network.forward(X))
    with pytest.raises(LifecycleError, match="not called"):
        _ = energies.result


class Compiled(Net):
    """Calls its layers in a method that PyTorch compiles."""

    def __init__(self):
        super().__init__()
        self.inner = torch.compile(self.all, backend="eager")

    def all(self, x):
        return self.head(self.two(self.one(x)))

    def forward(self, x):
        return self.inner(x)


class Decorated(Net):
    @torch.compile(backend="eager")
    def forward(self, x):
        return self.head(self.one(x))


def test_compiled_methods_are_refused(machine):
    instance = Net()
    instance.forward = torch.compile(instance.forward, backend="eager")
    for network in (Compiled(), Decorated(), instance):
        with pytest.raises(ModelError, match="compiled"), layer_energy(network, machine):
            raise AssertionError("it was taken")


def test_a_compiled_operation_of_one_layer_is_that_layers(machine):
    class Gelu(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = torch.compile(lambda x: torch.tanh(x) * x, backend="eager")

        def forward(self, x):
            return self.inner(x)

    network = nn.Sequential(nn.Linear(4, 4), Gelu())
    assert called(seen(network, machine, lambda: learn(network)))["1 [forward]"] == 1


def test_what_is_compiled_in_the_block_is_refused_unless_it_is_of_others(machine):
    def compiled(called):
        return torch.compile(called, backend="eager", fullgraph=True)

    network, other = Net(), nn.Sequential(nn.Linear(4, 4), nn.Tanh())
    energies = seen(network, machine, lambda: (network(X), compiled(other.forward)(X)))
    assert energies.result.phase == "inference"
    energies = seen(network, machine, lambda: (network(X), compiled(lambda x: network.one(x))(X)))
    with pytest.raises(ModelError, match="compiled in the block"):
        _ = energies.result
    energies = seen(network, machine, lambda: (network(X), network.compile(backend="eager")))
    with pytest.raises(ModelError, match="compiled"):
        _ = energies.result


def test_several_streams_are_refused(machine, monkeypatch):
    streams = iter([7, 7, 7, 7, 7, 7, 7, *range(100)])
    monkeypatch.setattr(LayerClock, "stream", lambda clock: next(streams))
    network = Net()
    energies = seen(network, machine, lambda: (network(X), network(X), network(X)))
    with pytest.raises(ModelError, match="streams"):
        _ = energies.result


def test_parallel_networks_of_ones_own_class_are_refused(machine):
    class Mine(nn.DataParallel):
        pass

    with pytest.raises(ModelError, match="Mine"), layer_energy(Mine(Net()), machine):
        raise AssertionError("it was taken")


def test_what_is_on_several_devices_or_no_network_is_refused(machine):
    network = Net()
    network.head.to("meta")
    with pytest.raises(ModelError, match="several devices"), layer_energy(network, machine):
        raise AssertionError("it was taken")
    with pytest.raises(ModelError, match="function"), layer_energy(learn, machine):
        raise AssertionError("it was taken")


def test_blocks_in_each_other_and_in_threads(machine):
    network, other = Net(), Net()
    found = {}

    def one(network, passes):
        with layer_energy(network, machine) as energies:
            learn(network, passes)
        found[passes] = energies

    threads = [threading.Thread(target=one, args=each) for each in ((network, 4), (other, 6))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {passes: energies.result.passes for passes, energies in found.items()} == {4: 4, 6: 6}
    with layer_energy(network, machine) as outer:
        learn(network, 2)
        inner = seen(network, machine, lambda: learn(network, 3))
    assert (outer.result.passes, inner.result.passes) == (5, 3)


def test_generators_and_tasks_that_are_ended_early(machine):
    network = Net()

    def generator():
        with layer_energy(network, machine) as energies:
            while True:
                network(X)
                yield energies

    one = generator()
    energies = next(one)
    next(one)
    one.close()
    assert energies.result.passes == 2

    async def loop(network, passes):
        with layer_energy(network, machine) as energies:
            for _ in range(passes):
                learn(network, 1)
                await asyncio.sleep(0)
        return energies

    async def both():
        return await asyncio.gather(loop(network, 3), loop(Net(), 5))

    assert [energies.result.passes for energies in asyncio.run(both())] == [3, 5]

    async def cancelled():
        task = asyncio.create_task(loop(network, 10**9))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())


def test_a_failure_of_ours_hides_no_exception_of_the_user(machine, monkeypatch):
    from greenai_plugins.integrations import torch_layer_energy

    def fails(*_):
        raise ModelError("of ours")

    monkeypatch.setattr(torch_layer_energy, "layers_of_window", fails)
    network, kept = Net(), []

    def loop():
        with layer_energy(network, machine) as energies:
            kept.append(energies)
            network(X)
            raise ValueError("of the user")

    with pytest.warns(RuntimeWarning, match="of ours"), pytest.raises(ValueError, match="user"):
        loop()
    with pytest.raises(ModelError, match="of ours"):
        _ = kept[0].result
