"""``layer_energy`` around loops of one's own: nothing changes, and what is told is right."""

from __future__ import annotations

import copy
import pickle
import threading

import pytest

from greenai_core import LifecycleError, ModelError
from greenai_plugins.integrations.torch_layer_energy import layer_energy
from greenai_plugins.integrations.torch_watching_cost import watching_cost

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
nn = torch.nn
functional = torch.nn.functional

WATTS = 50.0


class Net(nn.Module):
    """A shared layer, one that works in place, a functional operation, and drop-out."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.act = nn.ReLU(inplace=True)
        self.block = nn.Sequential(nn.BatchNorm2d(4), nn.Dropout(0.3))
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        x = self.block(self.act(self.stem(x)))
        return self.head(torch.tanh(x).mean(dim=(2, 3)))


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def trained(network, session=None, steps=3):
    """Losses and weights after some steps, watched or not."""
    torch.manual_seed(1)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    found = []

    def loop():
        for _ in range(steps):
            x, y = torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 0, 1])
            optimiser.zero_grad()
            loss = functional.cross_entropy(network(x), y)
            loss.backward()
            optimiser.step()
            found.append((loss.detach().clone(), network.stem.weight.grad.clone()))

    if session is None:
        loop()
        return found, None
    with layer_energy(network, session) as energies:
        loop()
    return found, energies.result


def watching(network, session, body):
    with layer_energy(network, session) as energies:
        body(energies)
    return energies


def hooks(network):
    everywhere = torch.nn.modules.module
    left = len(everywhere._global_forward_hooks) + len(everywhere._global_forward_pre_hooks)
    return left + sum(
        len(m._forward_hooks) + len(m._forward_pre_hooks) + ("forward" in vars(m))
        for m in network.modules()
    )


def test_training_is_the_same_bit_for_bit(machine):
    torch.manual_seed(0)
    one = Net()
    other = copy.deepcopy(one)
    plain, _ = trained(one)
    seen, result = trained(other, machine)
    for (loss, grad), (same_loss, same_grad) in zip(plain, seen, strict=True):
        assert torch.equal(loss, same_loss)
        assert torch.equal(grad, same_grad)
    assert all(map(torch.equal, one.state_dict().values(), other.state_dict().values()))
    assert hooks(other) == 0
    assert result.phase == "training"
    assert result.passes == 3


def test_the_rows_add_up_to_what_the_sensor_saw(machine):
    _, result = trained(Net(), machine)
    rows = {row.name: row for row in result.layers}
    joules = [row.energy_j.value for row in result.layers]
    joules += [result.unattributed_j.value, result.overhead_j.value]
    assert sum(joules) == pytest.approx(result.energy_j.value, rel=1e-9)
    assert result.energy_j.value / result.latency_s.value == pytest.approx(WATTS, rel=0.2)
    assert result.power_w.value == pytest.approx(WATTS, rel=0.2)
    assert {row.energy_j.method for row in result.layers if row.calls} == {"modelled"}
    assert rows["stem [forward]"].energy_j.value > 0
    assert rows["stem [backward]"].energy_j.value > 0
    assert rows["(optimiser)"].calls == 1
    assert rows["(optimiser)"].energy_j.value > 0
    assert rows["stem [forward]"].calls == rows["head [forward]"].calls == 1
    assert result.residual_j is None, "nothing was measured apart"
    assert result.hook_cost.per_call_s >= 0
    shares = sum(row.time_share or 0.0 for row in result.layers)
    assert 0 < shares <= 1 + 1e-9


def test_inference_is_told_apart_from_training(machine):
    network = Net().eval()
    x = torch.rand(2, 3, 8, 8)
    with torch.no_grad():
        before = network(x)
    with layer_energy(network, machine) as energies, torch.no_grad():
        after = [network(x) for _ in range(4)]
    assert all(torch.equal(one, before) for one in after)
    assert energies.result.phase == "inference"
    assert energies.result.passes == 4
    assert {row.direction for row in energies.result.layers} == {""}
    # Gradients that nobody asks for are no training.
    with layer_energy(network, machine) as energies:
        network(x)
    assert energies.result.phase == "inference"


def test_training_and_inference_together_are_refused(machine):
    network = Net()

    def loop(energies):
        network(torch.rand(2, 3, 8, 8)).sum().backward()
        with torch.no_grad():
            network(torch.rand(2, 3, 8, 8))

    with pytest.warns(RuntimeWarning, match="mixed"):
        energies = watching(network, machine, loop)
    with pytest.raises(ModelError, match="1 of 2 passes"):
        _ = energies.result


def test_after_an_exception_no_hook_is_left_and_nothing_is_lost(machine):
    network = Net()
    x = torch.rand(2, 3, 8, 8)
    kept = []

    def loop(energies):
        kept.append(energies)
        for number in range(3):
            output = network(x)
            kept.append(output)
            if number == 2:
                raise ValueError("of the user")
            output.sum().backward()

    with pytest.raises(ValueError, match="of the user"):
        watching(network, machine, loop)
    energies = kept[0]
    assert hooks(network) == 0
    assert energies.result.phase == "training"
    assert energies.result.passes == 2
    before = energies.result
    kept[-1].sum().backward()  # its graph is still there, watched by nobody
    assert energies.result == before


def test_an_exception_inside_a_layer_leaves_the_rest_right(machine):
    network = Net().eval()
    with layer_energy(network, machine) as energies, torch.no_grad():
        for shape in ((2, 3, 8, 8), (2, 5, 8, 8), (2, 3, 8, 8)):
            try:
                network(torch.rand(shape))
            except RuntimeError:
                continue
    rows = {row.name: row for row in energies.result.layers}
    assert energies.result.passes == 3
    assert rows["stem"].seconds > 0
    assert hooks(network) == 0


def test_gradients_that_are_gathered_over_passes(machine):
    network = Net()
    with layer_energy(network, machine) as energies:
        for _ in range(2):
            outputs = [network(torch.rand(2, 3, 8, 8)).sum() for _ in range(3)]
            sum(outputs).backward()
    assert energies.result.passes == 6
    assert energies.result.phase == "training"


def test_layers_called_from_outside(machine):
    """The figures are those of the whole block, and it is said."""
    network = Net().eval()
    with layer_energy(network, machine) as energies, torch.no_grad():
        for _ in range(3):
            network.stem(torch.rand(2, 3, 8, 8))
    (row,) = [row for row in energies.result.layers if row.calls]
    assert (row.name, row.calls) == ("stem", 3)
    assert energies.result.passes == 1
    assert "in parts" in energies.result.warnings[0]


def test_an_encoder_layer_keeps_its_fast_path(machine):
    """PyTorch runs it as one operation unless hooks are on it, and rounds differently then."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    network = nn.Sequential(nn.Linear(16, 16), layer).eval()
    x = torch.rand(2, 5, 16)
    ran = []
    original = torch._transformer_encoder_layer_fwd

    def noted(*args):
        ran.append(1)
        return original(*args)

    torch._transformer_encoder_layer_fwd = noted
    try:
        with torch.no_grad():
            before = network(x)
            assert len(ran) == 1
            with layer_energy(network, machine) as energies:
                after = network(x)
    finally:
        torch._transformer_encoder_layer_fwd = original
    assert len(ran) == 2
    assert torch.equal(before, after)
    assert hooks(network) == 0
    assert [row.name for row in energies.result.layers if row.calls] == ["0", "1"]


def test_a_network_can_be_copied_and_saved_meanwhile(machine):
    """Copies have no hooks and are watched by nobody; files need nothing of greenai."""
    network = Net()
    with layer_energy(network, machine) as energies:
        copied = copy.deepcopy(network).eval()
        saved = pickle.dumps(network)
        for _ in range(3):
            network(torch.rand(2, 3, 8, 8)).sum().backward()
            with torch.no_grad():
                copied(torch.rand(2, 3, 8, 8))
    assert b"greenai" not in saved
    assert hooks(copied) == 0
    assert energies.result.phase == "training"
    assert energies.result.passes == 3


def test_two_networks_are_watched_at_once(machine):
    one, other = nn.Sequential(nn.Linear(3, 3)), nn.Sequential(nn.Linear(3, 3))
    with layer_energy(one, machine) as of_one, layer_energy(other, machine) as of_other:
        for _ in range(3):
            other(one(torch.rand(4, 3))).sum().backward()
            with torch.no_grad():
                torch.nn.Identity()(torch.rand(1))
    for energies in (of_one, of_other):
        rows = {row.name: row for row in energies.result.layers}
        assert energies.result.passes == 3
        assert rows["0 [forward]"].calls == rows["0 [backward]"].calls / 2 == 1


def test_a_network_that_is_one_layer_has_a_row(machine):
    network = nn.LSTM(4, 4)
    with layer_energy(network, machine) as energies:
        for _ in range(5):
            network(torch.rand(5, 2, 4))[0].sum().backward()
    rows = {row.name: row for row in energies.result.layers}
    assert rows["LSTM [forward]"].seconds > 0
    assert rows["LSTM"].parameters == sum(p.numel() for p in network.parameters())


def test_what_cannot_be_watched_is_refused_with_advice(machine):
    in_place = Net()
    in_place.stem.compile(backend="eager")
    scripted = torch.jit.trace(Net().eval(), torch.rand(1, 3, 8, 8))
    for network, words in (
        (nn.DataParallel(Net()), r"\.module"),
        (torch.compile(Net(), backend="eager"), "compiled"),
        (in_place, "compiled"),
        (scripted, "TorchScript"),
    ):
        with pytest.raises(ModelError, match=words), layer_energy(network, machine):
            raise AssertionError("it was taken")


def test_several_threads_are_refused(machine):
    network = Net().eval()

    def loop(energies):
        thread = threading.Thread(target=lambda: network(torch.rand(2, 3, 8, 8)))
        thread.start()
        thread.join()

    with pytest.warns(RuntimeWarning, match="threads"):
        energies = watching(network, machine, loop)
    with pytest.raises(ModelError, match="threads"):
        _ = energies.result


def test_layers_that_are_computed_twice_are_refused(machine):
    from torch.utils.checkpoint import checkpoint

    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = nn.Sequential(nn.Linear(3, 3), nn.Tanh())

        def forward(self, x):
            return checkpoint(self.block, x, use_reentrant=False)

    network = Checkpointed()
    with pytest.warns(RuntimeWarning, match="checkpointing"):
        energies = watching(
            network, machine, lambda energies: network(torch.rand(2, 3)).sum().backward()
        )
    with pytest.raises(ModelError, match="checkpointing"):
        _ = energies.result
    assert hooks(network) == 0


def test_outputs_that_hide_their_tensors(machine):
    class Hidden:
        __slots__ = ("value",)

        def __init__(self, value):
            self.value = value

    class Hiding(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = nn.Linear(3, 1)

        def forward(self, x):
            return Hidden(self.lin(x))

    network = Hiding()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)

    def loop(energies):
        network(torch.rand(2, 3)).value.sum().backward()
        optimiser.step()

    with pytest.warns(RuntimeWarning, match="hidden"):
        watching(network, machine, loop)


def test_a_result_is_read_after_the_block(machine):

    def loop(energies):
        with pytest.raises(LifecycleError, match="has not ended"):
            _ = energies.result

    with pytest.warns(RuntimeWarning, match="not called"):
        energies = watching(Net(), machine, loop)
    with pytest.raises(LifecycleError, match="not called"):
        _ = energies.result


def test_what_watching_costs_is_measured():
    cost = watching_cost()
    assert 0 < cost.call_s < 1e-2
    assert 0 < cost.operation_s < 1e-2
