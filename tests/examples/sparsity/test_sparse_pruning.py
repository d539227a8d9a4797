"""SNIP and FORCE: the document's counts, the scores of the papers, masks that hold."""

from __future__ import annotations

import itertools

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402  # after the skip
from hypothesis import strategies as st  # noqa: E402
from sparsity import masks, networks  # noqa: E402
from sparsity.connection_sensitivity import exponential, force, sensitivities, snip  # noqa: E402
from sparsity.data import Split  # noqa: E402
from torch import nn  # noqa: E402

pytestmark = pytest.mark.torch


def small(seed=0, dtype=torch.float32):
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 16, 3)
    )
    networks.initialise(net, seed)
    return net.to(dtype)


def batch(seed=0, dtype=torch.float32, count=12):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 1, 6, 6, generator=generator).to(dtype)
    return Split(images, torch.randint(3, (count,), generator=generator))


@pytest.mark.parametrize(
    ("make", "weights", "sparsity", "kept"),
    [
        (networks.lenet_5_caffe, 430_500, "0.98", 8_610),
        (networks.vgg_d, 15_239_872, "0.95", 761_994),
        (networks.lenet_300_100, 266_200, "0.98", 5_324),
    ],
)
def test_the_counts_of_the_document(make, weights, sparsity, kept):
    with torch.device("meta"):
        net = make()
    assert masks.count_weights(net) == weights
    assert masks.kept_of(weights, sparsity) == kept


def test_biases_and_batch_normalisation_are_told_apart():
    assert masks.count_others(networks.lenet_5_caffe()) == 20 + 50 + 500 + 10


@given(st.integers(1, 10**8), st.sampled_from(["0", "0.5", "0.9", "0.95", "0.99", "0.995"]))
def test_kept_is_the_nearest_whole_number(total, sparsity):
    exact = total * (1000 - int(float(sparsity) * 1000 + 0.5)) / 1000
    if exact < 0.5:
        with pytest.raises(ValueError, match="leaves none"):
            masks.kept_of(total, sparsity)
    else:
        assert abs(masks.kept_of(total, sparsity) - exact) <= 0.5


@pytest.mark.parametrize("sparsity", ["1", "-0.1", "2"])
def test_a_sparsity_that_is_no_share_is_refused(sparsity):
    with pytest.raises(ValueError, match="is no share"):
        masks.kept_of(100, sparsity)


def loss_of(net, shown):
    with torch.no_grad():
        return float(nn.functional.cross_entropy(net.train()(shown.images), shown.labels))


def test_the_sensitivity_is_the_derivative_by_a_switch():
    """Against a difference quotient in front of single weights, in double precision."""
    net, shown = small(dtype=torch.float64), batch(dtype=torch.float64)
    scores = sensitivities(net, [shown])
    weights = masks.weights(net)
    for name, place in (("0.weight", (2, 0, 1, 1)), ("4.weight", (1, 30))):
        weight = weights[name]
        value, losses = float(weight[place].detach()), []
        for switch in (1 + 1e-5, 1 - 1e-5):
            with torch.no_grad():
                weight[place] = value * switch
            losses.append(loss_of(net, shown))
        with torch.no_grad():
            weight[place] = value
        slope = (losses[0] - losses[1]) / 2e-5
        assert float(scores[name][place]) == pytest.approx(abs(slope), rel=1e-5)


def test_a_weight_that_is_off_has_the_score_of_switching_it_on():
    """FORCE: θ · dL/dθ' at the pruned network; iterative SNIP gives it none."""
    net, shown = small(dtype=torch.float64), batch(dtype=torch.float64)
    held = {name: torch.ones_like(w, dtype=torch.bool) for name, w in masks.weights(net).items()}
    held["4.weight"][1, 30] = False
    score = float(sensitivities(net, [shown], held)["4.weight"][1, 30])
    weight = masks.weights(net)["4.weight"]
    value, losses = float(weight[1, 30].detach()), []
    for switch in (1e-5, -1e-5):
        with torch.no_grad():
            weight[1, 30] = value * switch
        losses.append(loss_of(net, shown))
    with torch.no_grad():
        weight[1, 30] = value
    assert score == pytest.approx(abs(losses[0] - losses[1]) / 2e-5, rel=1e-5)
    assert score > 0
    assert float(sensitivities(net, [shown], held, back=False)["4.weight"][1, 30]) == 0.0


def test_scoring_leaves_the_network_alone():
    net = small()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    sensitivities(net, [batch()])
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_snip_keeps_the_best_of_all_layers_together():
    net, shown = small(), batch()
    scores = sensitivities(net, [shown])
    found = snip(net, shown, "0.9")
    flat = torch.cat([score.flatten() for score in scores.values()])
    kept = torch.cat([mask.flatten() for mask in found.values()])
    assert int(kept.sum()) == masks.count_kept(found) == masks.kept_of(len(flat), "0.9")
    assert flat[kept].min() >= flat[~kept].max()


@settings(deadline=None)
@given(st.lists(st.sampled_from([0.0, 1.0, 2.0]), min_size=1, max_size=40), st.data())
def test_exactly_as_many_are_kept_even_among_equals(values, data):
    kept = data.draw(st.integers(1, len(values)))
    found = masks.best({"w": torch.tensor(values)}, kept)
    assert masks.count_kept(found) == kept
    left = sorted(values, reverse=True)[:kept]
    assert sorted(torch.tensor(values)[found["w"]].tolist(), reverse=True) == left


def test_scores_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="NaN"):
        masks.best({"w": torch.tensor([1.0, float("nan")])}, 1)


def test_training_leaves_pruned_weights_at_zero():
    """With momentum and weight decay, which would move them."""
    net, shown = small(), batch()
    found = snip(net, shown, "0.8")
    masks.hold(net, found)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    before = {name: w.detach().clone() for name, w in masks.weights(net).items()}
    for _ in range(5):
        net.zero_grad()
        nn.functional.cross_entropy(net(shown.images), shown.labels).backward()
        optimizer.step()
    for name, weight in masks.weights(net).items():
        assert (weight[~found[name]] == 0).all()
        assert not torch.equal(weight[found[name]], before[name][found[name]])


@given(st.integers(2, 10**7), st.data(), st.integers(1, 80))
def test_the_schedule_falls_to_the_goal(total, data, steps):
    kept = data.draw(st.integers(1, total))
    counts = exponential(total, kept, steps)
    assert len(counts) == steps
    assert counts[-1] == kept
    assert all(a >= b for a, b in itertools.pairwise([total, *counts]))


def test_the_schedule_is_geometric():
    assert exponential(10_000, 1, 4) == [1000, 100, 10, 1]


def test_weights_come_back_in_force_and_never_in_iterative_snip():
    came = {True: 0, False: 0}
    for back, seed in itertools.product((True, False), range(5)):
        net = small(seed)
        batches = iter([batch(seed + n) for n in range(12)])
        found, steps = force(net, batches, "0.9", 12, back)
        total = masks.count_weights(net)
        assert [step.kept for step in steps] == exponential(total, masks.count_kept(found), 12)
        assert masks.count_kept(found) == masks.kept_of(total, "0.9")
        came[back] += sum(step.came_back for step in steps)
        left = total - sum(step.switched_off - step.came_back for step in steps)
        assert left == masks.count_kept(found)
    assert came[True] > 0
    assert came[False] == 0
