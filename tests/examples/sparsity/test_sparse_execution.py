"""Whatever a pruned network is run as, it computes the same."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402  # after the skip
from hypothesis import strategies as st  # noqa: E402
from sparsity import execution, masks, networks  # noqa: E402
from sparsity.layers import fold, work  # noqa: E402
from sparsity.shrinking import shrink, widths  # noqa: E402
from sparsity.sparse_kernels import sparse  # noqa: E402
from torch import nn  # noqa: E402

pytestmark = pytest.mark.torch
QUICK = settings(max_examples=30, deadline=None)


def randomise(net, seed):
    """Weights, biases and statistics that no layer is made with."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in net.state_dict().items():
            if value.is_floating_point():
                value.copy_(torch.randn(value.shape, generator=generator) * 0.5)
            if name.endswith("running_var"):
                value.abs_().add_(0.1)
    return net.eval()


def prune(net, density, seed):
    generator = torch.Generator().manual_seed(seed)
    found = {
        name: torch.rand(weight.shape, generator=generator) < density
        for name, weight in masks.weights(net).items()
    }
    masks.apply(net, found)
    return net


def padded():
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 5, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(5, 4, 3),
        nn.Flatten(),
        nn.Linear(4 * 4, 8, bias=False),
        nn.BatchNorm1d(8),
        nn.ReLU(),
        nn.Linear(8, 3),
    )


def images(count=3):
    return torch.randn(count, 2, 8, 8, generator=torch.Generator().manual_seed(9))


@QUICK
@given(st.floats(0.0, 1.0), st.integers(0, 10**6))
def test_all_ways_to_run_a_pruned_network_agree(density, seed):
    """With constant channels under zero padding, and layers that are pruned away entirely."""
    net = prune(randomise(padded(), seed), density, seed)
    with torch.no_grad():
        expected = net(images())
        folded = fold(net)
        for other in (folded, sparse(folded), sparse(folded, False), shrink(folded)):
            torch.testing.assert_close(other(images()), expected, rtol=1e-4, atol=1e-4)


@QUICK
@given(st.floats(0.0, 0.3), st.integers(0, 10**6))
def test_lenet_5_too(density, seed):
    """Convolutions without ReLU or padding, and flattening."""
    net = prune(randomise(networks.lenet_5_caffe(), seed), density, seed)
    shown = torch.randn(2, 1, 28, 28, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        expected = net(shown)
        scale = float(expected.abs().max()) + 1e-6
        for other in (sparse(fold(net)), shrink(fold(net))):
            assert float((other(shown) - expected).abs().max()) < 1e-4 * scale


def test_a_channel_nobody_feeds_and_one_nobody_reads_are_taken_out():
    net = randomise(
        nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 4, 5), nn.ReLU(),
            nn.Linear(5, 2),
        ),
        0,
    )  # fmt: skip
    with torch.no_grad():
        net[0].weight[1] = 0  # constant
        net[3].weight[:, 8:12] = 0  # channel 2 is read by nobody
        net[5].weight[:, 4] = 0  # neither is neuron 4
    shown = torch.randn(3, 1, 4, 4)
    made = shrink(fold(net))
    assert widths(made) == (2, 4, 2)
    torch.testing.assert_close(made(shown), net(shown), rtol=1e-4, atol=1e-5)


def test_what_dies_takes_others_with_it():
    """A neuron whose only reader is taken out has no reader either."""
    net = randomise(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(),
                                  nn.Linear(4, 2)), 1)  # fmt: skip
    with torch.no_grad():
        net[4].weight[:, 1] = 0
        net[2].weight[[0, 2, 3], 3] = 0  # only neuron 1 reads neuron 3
    made = shrink(fold(net))
    assert widths(made) == (3, 3, 2)
    shown = torch.randn(5, 3)
    torch.testing.assert_close(made(shown), net(shown), rtol=1e-4, atol=1e-5)


def test_constant_channels_under_padding_become_one():
    net = randomise(nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(),
                                  nn.Conv2d(6, 2, 3, padding=1)), 2)  # fmt: skip
    with torch.no_grad():
        net[0].weight[:4] = 0
        net[0].bias[:4] = torch.tensor([0.3, 0.7, -1.0, 0.2])
    made = shrink(fold(net))
    assert widths(made) == (3, 2)
    shown = torch.randn(2, 1, 5, 5)
    torch.testing.assert_close(made(shown), net(shown), rtol=1e-4, atol=1e-5)


def test_nothing_is_taken_out_of_a_dense_network():
    net = fold(randomise(padded(), 3))
    assert widths(shrink(net)) == widths(net)


def test_a_network_with_other_layers_is_refused():
    with pytest.raises(ValueError, match="Sigmoid cannot be shrunk"):
        shrink(nn.Sequential(nn.Linear(2, 2), nn.Sigmoid(), nn.Linear(2, 2)))


def test_folding_leaves_pruned_weights_at_zero():
    net = prune(randomise(padded(), 4), 0.2, 4)
    assert masks.count_nonzero(fold(net)) == masks.count_nonzero(net)


def test_multiplications_are_counted():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 5)).eval()
    with torch.no_grad():
        net[0].weight[0] = 0
        net[3].weight[0] = 0
    found = work(net, torch.zeros(1, 1, 4, 4))
    assert found.dense == 4 * 18 + 40
    assert found.nonzero == 4 * 9 + 32
    assert found.mixed == 4 * 18 + 32


def test_a_network_that_computes_something_else_is_found_out():
    dense = randomise(padded(), 5)
    made = execution.variants(dense, prune(randomise(padded(), 5), 0.5, 5))
    broken = {**made, "csr": made["unpruned"]}
    with pytest.raises(ArithmeticError, match="run as csr differs"):
        execution.differences(broken, images())
    assert set(execution.differences(made, images())) == {"csr", "csr-linear", "shrunk"}
