"""Steps for a search of the best cap leave no trace in what they were made of."""

from __future__ import annotations

import random

import numpy as np
import pytest

from greenai_core import ConfigError, SearchSettings, Session, optimise_power_cap
from greenai_core.testing import CappedGpu, CappedWork, VirtualClock

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from greenai_plugins.torch_steps import as_given, inference_step, training_step  # noqa: E402  # needs torch

OPTIMISERS = {
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.01),
}


@pytest.fixture(autouse=True)
def _one_thread():
    """These networks are too small to share out."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def network():
    torch.manual_seed(1)
    made = torch.nn.Sequential(
        torch.nn.Linear(6, 8),
        torch.nn.BatchNorm1d(8),
        torch.nn.Dropout(0.5),
        torch.nn.Linear(8, 3),
    )
    made[2].eval()  # one part is in another mode than the rest
    made[0].register_buffer("hidden", torch.zeros(2), persistent=False)
    return made


def loader(**options):
    draw = torch.Generator().manual_seed(2)
    data = torch.utils.data.TensorDataset(
        torch.randn(20, 6, generator=draw), torch.randint(0, 3, (20,), generator=draw)
    )
    return torch.utils.data.DataLoader(data, batch_size=4, shuffle=True, **options)


def trained(model, optimizer, batches, steps):
    for _, (inputs, targets) in zip(range(steps), batches, strict=False):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(inputs), targets).backward()
        optimizer.step()


def everything(model, optimizer=None):
    """All state, as bytes and plain values."""
    found = {name: p.detach().numpy().tobytes() for name, p in model.named_parameters()}
    found |= {f"{n} buffer": b.numpy().tobytes() for n, b in model.named_buffers()}
    found |= {
        f"{n} grad": None if p.grad is None else p.grad.numpy().tobytes()
        for n, p in model.named_parameters()
    }
    found |= {f"{n} mode": m.training for n, m in model.named_modules()}
    if optimizer is not None:
        state = optimizer.state_dict()
        found["groups"] = repr(state["param_groups"])
        found["state"] = {
            (key, name): value.numpy().tobytes() if torch.is_tensor(value) else value
            for key, entry in state["state"].items()
            for name, value in entry.items()
        }
    found["random"] = (
        torch.get_rng_state().numpy().tobytes(),
        random.getstate(),
        repr(np.random.get_state()),
    )
    return found


@pytest.mark.parametrize("steps_before", [0, 3])
@pytest.mark.parametrize("kind", sorted(OPTIMISERS))
def test_training_steps_leave_everything_bit_for_bit_as_it_was(kind, steps_before):
    model = network()
    optimizer = OPTIMISERS[kind](model.parameters())
    trained(model, optimizer, loader(), steps_before)
    identities = [id(p) for p in model.parameters()]
    before = everything(model, optimizer)
    with training_step(model, loader(), torch.nn.functional.cross_entropy, optimizer) as step:
        for _ in range(12):  # more than the loader has: it is gone through again
            step()
        during = everything(model, optimizer)
    assert everything(model, optimizer) == before
    assert during["0.weight"] != before["0.weight"]
    assert during["1.running_mean buffer"] != before["1.running_mean buffer"]
    assert [id(p) for p in model.parameters()] == identities


@pytest.mark.parametrize("kind", sorted(OPTIMISERS))
def test_training_afterwards_goes_on_as_without_the_search(kind):
    outcomes = []
    for searched in (False, True):
        model = network()
        optimizer = OPTIMISERS[kind](model.parameters())
        batches = loader(generator=torch.Generator().manual_seed(7))
        trained(model, optimizer, batches, 2)
        if searched:
            loss = torch.nn.CrossEntropyLoss()
            with training_step(model, batches, loss, optimizer) as step:
                for _ in range(7):
                    step()
        trained(model, optimizer, batches, 5)
        outcomes.append(everything(model, optimizer))
    assert outcomes[0] == outcomes[1]


def test_an_exception_in_a_step_gives_everything_back():
    model = network()
    optimizer = OPTIMISERS["adam"](model.parameters())
    before = everything(model, optimizer)
    calls = []

    def loss(outputs, targets):
        calls.append(1)
        if len(calls) > 3:
            raise ZeroDivisionError
        return torch.nn.functional.cross_entropy(outputs, targets)

    with training_step(model, loader(), loss, optimizer) as step:
        for _ in range(3):
            step()
        with pytest.raises(ZeroDivisionError):
            step()
    assert everything(model, optimizer) == before
    with pytest.raises(KeyError), training_step(model, loader(), loss, optimizer):
        raise KeyError
    assert everything(model, optimizer) == before


def test_a_learning_rate_that_changes_meanwhile_comes_back():
    model = network()
    optimizer = OPTIMISERS["momentum"](model.parameters())
    loss = torch.nn.CrossEntropyLoss()
    with training_step(model, loader(), loss, optimizer) as step:
        step()
        optimizer.param_groups[0]["lr"] = 9.0
        optimizer.param_groups[0]["new"] = True
    assert optimizer.param_groups[0]["lr"] == 0.01
    assert "new" not in optimizer.param_groups[0]


def test_inference_leaves_everything_as_it_was():
    model = network()
    before = everything(model)
    with inference_step(model, loader()) as step:
        assert not model.training
        for _ in range(7):
            step()
    assert everything(model) == before


def test_batches_that_are_mappings_are_keywords():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(2, 1)

        def forward(self, x, y):
            found = type("Output", (), {})()
            found.loss = ((self.layer(x) - y) ** 2).mean()
            return found

    model = Net()
    optimizer = OPTIMISERS["adam"](model.parameters())
    batch = {"x": torch.ones(3, 2), "y": torch.zeros(3, 1)}
    before = everything(model, optimizer)
    with training_step(model, [batch], None, optimizer) as step:
        step()
        assert everything(model, optimizer) != before
    assert everything(model, optimizer) == before


def test_batches_that_can_be_had_only_once_are_refused():
    model = network()
    with (
        pytest.raises(ConfigError, match="only be gone through once"),
        inference_step(model, iter([torch.zeros(2, 6)])),
    ):
        pass


def test_the_search_takes_such_a_step(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    model = network()
    optimizer = OPTIMISERS["adam"](model.parameters())
    before = everything(model, optimizer)
    gpu = CappedGpu(CappedWork(step_s=0.5), VirtualClock())
    loss = torch.nn.CrossEntropyLoss()
    with (
        training_step(model, loader(), loss, optimizer) as step,
        Session([gpu.profiler()], clock=gpu.clock) as session,
    ):

        def both():
            step()
            gpu.step()

        found = optimise_power_cap(
            both,
            gpu.device,
            "edp",
            limiter=gpu.limiter(),
            session=session,
            settings=SearchSettings(quads=0),
        )
    assert not found.kept_original
    assert everything(model, optimizer) == before


def test_lbfgs_state_of_lists_comes_back():
    """Its state holds lists of tensors, and numbers."""
    model = torch.nn.Linear(6, 3)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=3)
    inputs, targets = next(iter(loader()))

    def closure():
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(inputs), targets)
        loss.backward()
        return loss

    optimizer.step(closure)
    before = repr(optimizer.state_dict())
    tensors = [id(one) for one in optimizer.state[optimizer._params[0]]["old_dirs"]]
    with as_given(model, optimizer):
        for _ in range(3):
            optimizer.step(closure)
        assert repr(optimizer.state_dict()) != before
    assert repr(optimizer.state_dict()) == before
    assert [id(one) for one in optimizer.state[optimizer._params[0]]["old_dirs"]] == tensors


def test_a_scheduler_and_a_scaler_come_back_too():
    model = network()
    optimizer = OPTIMISERS["adam"](model.parameters())
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=1)
    batches = list(loader())
    before = everything(model, optimizer), scheduler.state_dict(), scaler.state_dict()
    with as_given(model, optimizer, None, scheduler, scaler):
        for inputs, targets in batches:
            optimizer.zero_grad()
            scaler.scale(torch.nn.functional.cross_entropy(model(inputs), targets)).backward()
            scaler.step(optimizer)
            scaler.update()
            scheduler.step()
        assert scaler.state_dict() != before[2]
    assert (everything(model, optimizer), scheduler.state_dict(), scaler.state_dict()) == before


def test_buffers_that_the_steps_make_are_gone_afterwards():
    class Keeping(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(6, 3)
            self.register_buffer("empty", None)

        def forward(self, x):
            self.register_buffer("made", x.mean(0))
            self.empty = x.mean(1)
            self.kept = x.sum(0)
            return self.layer(x) * self.kept.sum()

    model = Keeping()
    with inference_step(model, loader()) as step:
        step()
        assert set(dict(model.named_buffers())) == {"made", "empty"}
    assert dict(model.named_buffers()) == {}
    assert model.empty is None
    assert not model.kept.is_inference(), "training could not go on with it"


def test_parameters_that_the_first_batch_makes_are_refused():
    model = torch.nn.Sequential(torch.nn.LazyLinear(3))
    with (
        pytest.raises(ConfigError, match=r"0.weight, 0.bias of the model"),
        inference_step(model, loader()),
    ):
        pass


def test_sparse_gradients_come_back():
    model = torch.nn.Embedding(5, 2, sparse=True)
    optimizer = torch.optim.SparseAdam(model.parameters())
    model(torch.tensor([1, 3])).sum().backward()
    grad = model.weight.grad.to_dense().clone()
    weights = model.weight.detach().clone()
    batches = [(torch.tensor([0, 1]), torch.zeros(2, 2))]
    with training_step(model, batches, torch.nn.functional.mse_loss, optimizer) as step:
        step()
    assert torch.equal(model.weight, weights)
    assert torch.equal(model.weight.grad.to_dense(), grad)


class Drawing(torch.utils.data.Dataset):
    """Each item is what its worker draws next."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return torch.rand(6), index % 3


def test_workers_that_persist_draw_the_same_numbers_as_without_the_search():
    outcomes = []
    for searched in (False, True):
        torch.manual_seed(5)
        batches = torch.utils.data.DataLoader(Drawing(), 2, num_workers=1, persistent_workers=True)
        drawn = [next(iter(batches))[0]]
        if searched:
            with inference_step(network_without_seed(), batches) as step:
                for _ in range(3):
                    step()
        drawn += [inputs for inputs, _ in batches]
        outcomes.append(torch.stack(drawn))
        del batches
    assert torch.equal(*outcomes)


def network_without_seed():
    state = torch.get_rng_state()
    made = torch.nn.Linear(6, 3)
    torch.set_rng_state(state)
    return made
