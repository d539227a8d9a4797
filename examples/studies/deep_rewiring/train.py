"""Deep Rewiring (arXiv 1711.05136) on MNIST: three ways to train with few connections.

A 784-300-100-10 network is trained by Deep R, by Deep R with one constraint for all
layers, by soft Deep R, and, to compare with, densely by gradient descent. Training steps
of all four are compared in turn, and so are the ways to run what Deep R has trained.

  python examples/studies/deep_rewiring/train.py --small
  python examples/studies/deep_rewiring/train.py --data ./data        # 10 epochs, batches of 10
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

try:
    import torch
    from torch import nn
except ModuleNotFoundError as error:
    if __name__ != "__main__":
        raise
    sys.exit(f"this study needs PyTorch ({error}): install it with `pip install torch`")

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sparsity import arguments, energy, execution, masks, output, training
from sparsity.data import DataSet, load
from sparsity.networks import initialise, lenet_300_100
from sparsity.rewiring import DEEP_R, GLOBAL, SOFT, VARIANTS, DeepRewiring, RewiringSettings

from greenai_core import ComparisonResult, Session

DENSE = "dense"
EPOCHS, SMALL_EPOCHS = 10, 2
BATCH = 10
SMALL_SAMPLES = 5000
DENSE_RATE = 0.05
INFERENCE_BATCHES = (1, 64)


@dataclass(frozen=True)
class Setting:
    """Constants of a variant: shares of active connections, η, α, T."""

    shares: tuple[float, float, float]
    settings: RewiringSettings


SETTINGS = {
    DEEP_R: Setting((0.01, 0.03, 0.3), RewiringSettings(0.5, 1e-5, 2.5e-11)),
    GLOBAL: Setting((0.01, 0.03, 0.3), RewiringSettings(0.5, 1e-5, 2.5e-11)),
    SOFT: Setting((0.005, 0.005, 0.1), RewiringSettings(0.05, 1e-5, 2.5e-12)),
}
"""The defaults of the scripts that the document ran: connectivity, learning rate, L1 1e-5,
and noise of 1e-5 in the gradient, which is T = η · 1e-10 / 2."""

COLUMNS = {
    "variant": "trained by", "seed": "seed", "weights": "connections", "first": "at first",
    "least": "least", "most": "most", "layers": "by layer", "rewired": "rewired",
    "accuracy_best": "best accuracy", "accuracy": "last", "duration_s": "s", "energy_j": "J",
    "energy_low_j": "from", "energy_high_j": "to",
}  # fmt: skip
STEP_COLUMNS = {
    "variant": "training step", "energy_j": "J", "seconds_s": "s", "ratio": "J / dense",
    "ratio_low": "from", "ratio_high": "to", "verdict": "verdict",
}  # fmt: skip


def main(words: list[str] | None = None) -> None:
    """Run the study and write its results."""
    parser = arguments.parser(__doc__ or "", "deep-rewiring")
    parser.add_argument("--variant", choices=(DENSE, *VARIANTS), nargs="+")
    parser.add_argument("--l1", type=float, help="α instead of the variant's")
    parser.add_argument("--temperature", type=float, help="T instead of the variant's")
    given = parser.parse_args(words)
    if given.device != "cpu":
        parser.error("rewiring is written for the CPU, where the documentation ran it")
    arguments.begin(given)
    samples = given.samples or (SMALL_SAMPLES if given.small else None)
    data = load(
        "mnist", samples=samples, test_samples=samples and max(samples // 2, 100),
        folders=given.data,
    )  # fmt: skip
    print(f"{data.source}\n")
    rows: list[dict[str, Any]] = []
    networks: dict[str, nn.Sequential] = {}
    with energy.session(given.profiler) as measured:
        joules = energy.basis(measured)
        print(f"joules: {joules}\n")
        for seed in given.seeds:
            for variant in given.variant or (DENSE, *VARIANTS):
                network, row = train_one(given, variant, seed, data, measured)
                networks.setdefault(variant, network)
                rows.append(row)
        print(output.table(rows, COLUMNS), "\n")
        steps = compare_steps(given, list(networks), data, measured)
        runs, results = run_all(given, networks, data, measured)
    about = arguments.about(given, joules, {"mnist": data.source})
    output.write(given.out, "training", about, rows)
    if steps is not None:
        results.insert(0, steps)
        output.write(given.out, "steps", about, output.comparison_rows(steps))
    if runs:
        output.write(given.out, "execution", about, runs)
        output.write_comparisons(given.out / "report.json", results, about)
    print(f"results: {given.out}")


def learner(
    given: argparse.Namespace, variant: str, seed: int
) -> tuple[nn.Sequential, Callable[[], None], DeepRewiring | None]:
    """A fresh network, what changes its weights, and the rewiring where there is any."""
    network = lenet_300_100()
    if variant == DENSE:
        initialise(network, seed, "kaiming")
        optimizer = torch.optim.SGD(network.parameters(), lr=given.learning_rate or DENSE_RATE)
        return network, optimizer.step, None
    wanted = SETTINGS[variant]
    settings = RewiringSettings(
        given.learning_rate or wanted.settings.learning_rate,
        wanted.settings.l1 if given.l1 is None else given.l1,
        wanted.settings.temperature if given.temperature is None else given.temperature,
    )
    for layer in network:
        if isinstance(layer, nn.Linear):
            nn.init.zeros_(layer.bias)
    rewiring = DeepRewiring(network, wanted.shares, settings, variant, seed)
    return network, rewiring.step, rewiring


def train_one(
    given: argparse.Namespace, variant: str, seed: int, data: DataSet, measured: Session
) -> tuple[nn.Sequential, dict[str, Any]]:
    """One variant and seed; connections are counted after every step, and the windows hold that."""
    network, update, rewiring = learner(given, variant, seed)
    seen: list[int] = []
    first = active(network, rewiring)

    def counted_update() -> None:
        update()
        if rewiring is not None:
            seen.append(rewiring.total())

    lesson = training.train(
        network, data, counted_update, measured,
        epochs=given.epochs or (SMALL_EPOCHS if given.small else EPOCHS),
        batch_size=given.batch_size or BATCH, seed=seed, name=variant,
    )  # fmt: skip
    by_layer = active(network, rewiring)
    row = {
        "variant": variant, "seed": seed, "weights": sum(by_layer), "first": sum(first),
        "least": min(seen, default=sum(first)), "most": max(seen, default=sum(first)),
        "layers_first": "/".join(map(str, first)), "layers": "/".join(map(str, by_layer)),
        "rewired": rewiring.rewired if rewiring else None, "accuracy": lesson.accuracies[-1],
        "accuracy_best": max(lesson.accuracies), "loss": lesson.losses[-1],
        **energy.joules(lesson.whole),
    }  # fmt: skip
    return network, row


def active(network: nn.Module, rewiring: DeepRewiring | None) -> list[int]:
    """Connections of each layer."""
    if rewiring is not None:
        return list(rewiring.active().values())
    return [weight.numel() for weight in masks.weights(network).values()]


def compare_steps(
    given: argparse.Namespace, names: list[str], data: DataSet, measured: Session
) -> ComparisonResult | None:
    """One training step of each variant, in turn on the same batch."""
    if len(names) < 2:
        return None
    size = given.batch_size or BATCH
    batch = next(data.training.batches(size, torch.Generator().manual_seed(0)))
    works = {}
    for name in names:
        network, update, _ = learner(given, name, given.seeds[0])
        network.train()
        works[name] = lambda network=network, update=update: training.step(network, batch, update)
    compared = energy.in_turn(
        measured, works, samples=size, unit="step", settings=arguments.comparing(given)
    )
    print(output.table(output.comparison_rows(compared), STEP_COLUMNS), "\n")
    return compared


def run_all(
    given: argparse.Namespace,
    networks: dict[str, nn.Sequential],
    data: DataSet,
    measured: Session,
) -> tuple[list[dict[str, Any]], list[ComparisonResult]]:
    """Inference of each rewired network against the dense one."""
    rows: list[dict[str, Any]] = []
    results: list[ComparisonResult] = []
    if DENSE not in networks:
        return rows, results
    for variant in VARIANTS:
        if variant not in networks:
            continue
        made = execution.variants(networks[DENSE], networks[variant])
        for size in INFERENCE_BATCHES:
            compared, found = execution.compare(
                made, data.test.images[:size], measured, arguments.comparing(given),
                trained_by=variant,
            )  # fmt: skip
            results.append(compared)
            rows += found
            print(f"trained by {variant}\n{output.table(found, execution.COLUMNS)}\n")
    return rows, results


if __name__ == "__main__":
    main()
