"""Deep R: connectivity stays what it must be, and θ moves as the paper says."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402  # after the skip
from hypothesis import strategies as st  # noqa: E402
from sparsity.rewiring import (  # noqa: E402
    DEEP_R,
    GLOBAL,
    SOFT,
    VARIANTS,
    DeepRewiring,
    RewiringSettings,
    draw_dormant,
    lowest_for,
)
from torch import nn  # noqa: E402

pytestmark = pytest.mark.torch

QUICK = settings(max_examples=15, deadline=None)
constants = st.builds(
    RewiringSettings,
    learning_rate=st.floats(1e-3, 1.0),
    l1=st.floats(1e-6, 1e-1),
    temperature=st.floats(1e-12, 1e-1),
)
shares = st.tuples(*[st.floats(0.01, 0.95)] * 3)


def network():
    return nn.Sequential(nn.Linear(12, 9), nn.ReLU(), nn.Linear(9, 7), nn.ReLU(), nn.Linear(7, 4))


def linear(net):
    return [layer.weight for layer in net if isinstance(layer, nn.Linear)]


def push(net, rewiring, generator, scale=1.0):
    """One step along a random gradient."""
    for parameter in net.parameters():
        parameter.grad = scale * torch.randn(parameter.shape, generator=generator)
    rewiring.step()


@QUICK
@given(constants, shares, st.integers(0, 2**31))
def test_deep_r_keeps_the_number_of_connections_of_each_layer(settings, shares, seed):
    net = network()
    rewiring = DeepRewiring(net, shares, settings, DEEP_R, seed)
    first = rewiring.active()
    generator = torch.Generator().manual_seed(seed)
    for _ in range(20):
        push(net, rewiring, generator)
        assert rewiring.active() == first
    expected = [
        max(1, int(w.numel() * share)) for w, share in zip(linear(net), shares, strict=True)
    ]
    assert list(first.values()) == expected


@QUICK
@given(constants, shares, st.integers(0, 2**31))
def test_the_global_constraint_keeps_the_total_only(settings, shares, seed):
    net = network()
    rewiring = DeepRewiring(net, shares, settings, GLOBAL, seed)
    first = rewiring.total()
    generator = torch.Generator().manual_seed(seed)
    for _ in range(20):
        push(net, rewiring, generator)
        assert rewiring.total() == first == sum(rewiring.active().values())


def test_under_the_global_constraint_connections_move_between_layers():
    net = network()
    rewiring = DeepRewiring(net, (0.1, 0.5, 0.9), RewiringSettings(0.5, 1e-3, 1e-4), GLOBAL)
    first = rewiring.active()
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        push(net, rewiring, generator)
    assert rewiring.active() != first


@pytest.mark.parametrize("variant", VARIANTS)
@QUICK
@given(settings=constants, shares=shares, seed=st.integers(0, 2**31))
def test_weights_have_the_sign_of_their_connection_and_dormant_ones_are_zero(
    variant, settings, shares, seed
):
    net = network()
    rewiring = DeepRewiring(net, shares, settings, variant, seed)
    signs = {name: sign.clone() for name, sign in rewiring.signs().items()}
    generator = torch.Generator().manual_seed(seed)
    for _ in range(10):
        push(net, rewiring, generator)
        masks = rewiring.masks()
        for (name, sign), weight in zip(rewiring.signs().items(), linear(net), strict=True):
            assert torch.equal(sign, signs[name])
            assert set(sign.unique().tolist()) <= {-1.0, 1.0}
            assert (weight * sign >= 0).all()
            assert (weight[~masks[name]] == 0).all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_active_connection_moves_by_gradient_and_l1(variant):
    net = network()
    settings = RewiringSettings(0.01, 0.1, 0.0, lowest=-1.0)
    rewiring = DeepRewiring(net, (0.5, 0.5, 0.5), settings, variant)
    before = [weight.detach().clone() for weight in linear(net)]
    masks, signs = rewiring.masks(), rewiring.signs()
    masks = {name: mask.clone() for name, mask in masks.items()}
    generator = torch.Generator().manual_seed(1)
    push(net, rewiring, generator)
    stayed = 0
    for name, old, weight in zip(masks, before, linear(net), strict=True):
        expected = old - 0.01 * weight.grad - 0.01 * 0.1 * signs[name]
        survives = masks[name] & (expected * signs[name] > 0)
        torch.testing.assert_close(weight[survives], expected[survives])
        stayed += int(survives.sum())
    assert stayed > 50


@pytest.mark.parametrize("variant", [DEEP_R, GLOBAL])
def test_a_connection_below_zero_is_given_up_and_the_new_one_begins_at_zero(variant):
    net = nn.Sequential(nn.Linear(50, 40))
    rewiring = DeepRewiring(net, (0.2,), RewiringSettings(1.0, 0.0, 0.0), variant)
    (weight,) = linear(net)
    (mask,) = (m.clone() for m in rewiring.masks().values())
    (sign,) = rewiring.signs().values()
    weight.grad = 1000.0 * sign
    net[0].bias.grad = torch.zeros(40)
    rewiring.step()
    assert rewiring.rewired == int(mask.sum()) == 400
    assert (weight == 0).all()
    assert rewiring.total() == 400
    (after,) = rewiring.masks().values()
    assert int((after & mask).sum()) < 200  # drawn from all 2000, about 80 by chance


def test_the_noise_has_the_temperature():
    """Without gradient and L1 θ moves by √(2ηT)."""
    net = nn.Sequential(nn.Linear(200, 200))
    settings = RewiringSettings(0.1, 0.0, 2e-8)
    rewiring = DeepRewiring(net, (0.5,), settings, DEEP_R)
    (weight,) = linear(net)
    old = weight.detach().clone()
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    rewiring.step()
    (mask,) = rewiring.masks().values()
    moved = (weight.detach() - old)[mask & (old.abs() > 1e-3)]
    assert float(moved.std()) == pytest.approx(math.sqrt(2 * 0.1 * 2e-8), rel=0.03)


def test_soft_deep_r_gives_dormant_connections_noise_only():
    """Without noise they do not move, whatever the gradient."""
    net = nn.Sequential(nn.Linear(40, 40))
    settings = RewiringSettings(0.1, 0.01, 0.0, lowest=-0.5)
    rewiring = DeepRewiring(net, (0.3,), settings, SOFT)
    first = rewiring.total()
    generator = torch.Generator().manual_seed(0)
    counts = []
    for _ in range(30):
        push(net, rewiring, generator)
        counts.append(rewiring.total())
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] < first
    assert rewiring.rewired == 0


def test_soft_deep_r_keeps_the_share_that_theta_min_is_chosen_for():
    """By prior and noise alone."""
    net = nn.Sequential(nn.Linear(10, 400, bias=False))
    rewiring = DeepRewiring(net, (0.2,), RewiringSettings(2e-3, 1.0, 1.0), SOFT)
    (weight,) = linear(net)
    weight.grad = torch.zeros_like(weight)
    found = []
    for step in range(3000):
        rewiring.step()
        if step > 1500:
            found.append(rewiring.total() / 4000)
    assert sum(found) / len(found) == pytest.approx(0.2, abs=0.03)


def test_theta_min_needs_noise_and_l1():
    assert lowest_for(RewiringSettings(0.1, 0.5, 2.0), 0.25) == pytest.approx(-12.0)
    with pytest.raises(ValueError, match="θ_min of its own"):
        lowest_for(RewiringSettings(0.1, 0.5, 0.0), 0.25)


@QUICK
@given(st.integers(2, 300), st.data())
def test_dormant_connections_are_drawn_once_each(size, data):
    on = torch.tensor(data.draw(st.lists(st.booleans(), min_size=size, max_size=size)))
    count = data.draw(st.integers(0, size - int(on.sum())))
    drawn = draw_dormant(on, count, torch.Generator().manual_seed(0))
    assert len(drawn) == count == len(set(drawn.tolist()))
    assert not on[drawn].any()


@pytest.mark.parametrize("count", [2, 20])
def test_every_dormant_connection_is_as_likely(count):
    """Both ways to draw: by trying, and by shuffling."""
    on = torch.arange(60) % 3 == 0
    generator = torch.Generator().manual_seed(0)
    hits = torch.zeros(60)
    rounds = 8000 // count
    for _ in range(rounds):
        hits[draw_dormant(on, count, generator)] += 1
    hits = hits[~on]
    expected = rounds * count / 40
    chi2 = float(((hits - expected) ** 2 / expected).sum()) / (1 - count / 40)
    assert chi2 < 75  # 39 degrees of freedom: exceeded once in 2,000


@pytest.mark.parametrize("shares", [(0.5,), (0.0, 0.5, 0.5), (0.5, 0.5, 1.0)])
def test_shares_that_make_no_sense_are_refused(shares):
    with pytest.raises(ValueError, match="a share between 0 and 1 for each of 3 layers"):
        DeepRewiring(network(), shares, RewiringSettings(0.1, 0.1, 0.1))


@pytest.mark.parametrize("variant", VARIANTS)
def test_it_learns(variant):
    """A sparse network gets a separable problem right."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(256, 20, generator=generator)
    labels = (inputs[:, 0] > 0).long()
    right = []
    for seed in range(3):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 2))
        settings = RewiringSettings(0.2, 1e-4, 1e-7)
        rewiring = DeepRewiring(net, (0.1, 0.3), settings, variant, seed)
        for _ in range(600):
            net.zero_grad()
            nn.functional.cross_entropy(net(inputs), labels).backward()
            rewiring.step()
        right.append(float((net(inputs).argmax(1) == labels).float().mean()))
    assert min(right) > 0.9
