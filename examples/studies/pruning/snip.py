"""SNIP (arXiv 1810.02340): prune before training, then train; what does it cost and save?

LeNet-5-Caffe on MNIST keeps 2 % of its 430,500 weights, VGG-D on CIFAR-10 5 % of its
15,239,872. For each seed the network is trained without and with pruning; then one
training step of both is compared in turn, and so are the ways to run the pruned network.

  python examples/studies/pruning/snip.py --small
  python examples/studies/pruning/snip.py --device cuda --network vgg-d --data ./data
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

try:
    import torch
    from torch import Tensor, nn
except ModuleNotFoundError as error:
    if __name__ != "__main__":
        raise
    sys.exit(f"this study needs PyTorch ({error}): install it with `pip install torch`")

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sparsity import arguments, connection_sensitivity, energy, execution, masks, output, recipes
from sparsity.data import DataSet
from sparsity.networks import lenet_5_caffe, vgg_d
from sparsity.recipes import Recipe

from greenai_core import ComparisonResult, Session

SPARSITY = {"lenet-5-caffe": "0.98", "vgg-d": "0.95"}
DOCUMENT = {
    "lenet-5-caffe": Recipe("lenet-5-caffe", 250, 100, 0.1, 25_000),
    "vgg-d": Recipe("vgg-d", 250, 128, 0.1, 30_000),
}
"""Rates, batches and decay of SNIP's paper."""

SMALL = {
    "lenet-5-caffe": Recipe("lenet-5-caffe", 3, 100, 0.02, 25_000, samples=3000),
    "vgg-d": Recipe("vgg-d", 4, 50, 0.02, 30_000, samples=1000, width=0.25),
}
"""With so few steps a rate of 0.1 leaves too little time to settle."""

INFERENCE_BATCHES = (1, 64)


def main(words: list[str] | None = None) -> None:
    """Run the study and write its results."""
    parser = arguments.parser(__doc__ or "", "snip")
    parser.add_argument("--network", choices=sorted(SPARSITY), nargs="+", default=list(SPARSITY))
    parser.add_argument("--sparsity", help="instead of the document's")
    parser.add_argument("--width", type=float, help="of VGG-D's layers, as a share")
    given = parser.parse_args(words)
    arguments.begin(given)
    counted = counts()
    print(output.table(counted, {key: key for key in counted[0]}), "\n")
    found = Found()
    with energy.session(given.profiler, given.device) as measured:
        joules = energy.basis(measured)
        print(f"joules: {joules}\n")
        for name in given.network:
            recipe = (SMALL if given.small else DOCUMENT)[name].changed_by(given)
            study(given, recipe, given.sparsity or SPARSITY[name], measured, found)
    about = arguments.about(given, joules, found.sources)
    output.write(given.out, "training", {**about, "counts": counted}, found.training)
    output.write(given.out, "steps", about, found.steps)
    output.write(given.out, "execution", about, found.execution)
    output.write_comparisons(given.out / "report.json", found.compared, about)
    print(f"results: {given.out}")


class Found:
    """What the study has found so far."""

    def __init__(self) -> None:
        self.sources: dict[str, str] = {}
        self.training: list[dict[str, Any]] = []
        self.steps: list[dict[str, Any]] = []
        self.execution: list[dict[str, Any]] = []
        self.compared: list[ComparisonResult] = []


def counts() -> list[dict[str, Any]]:
    """Weights of the document's networks before and after pruning, at full size."""
    return [
        {
            "network": name,
            "weights": (total := masks.count_weights(network)),
            "pruned": f"{float(SPARSITY[name]):.0%}",
            "kept": masks.kept_of(total, SPARSITY[name]),
            "not counted": masks.count_others(network),
        }
        for name, network in (("lenet-5-caffe", lenet_5_caffe()), ("vgg-d", vgg_d()))
    ]


def study(
    given: argparse.Namespace, recipe: Recipe, sparsity: str, measured: Session, found: Found
) -> None:
    """One network: trainings of each seed, training steps in turn, executions in turn."""
    name = recipe.network
    data = recipe.data(given)
    found.sources[name] = data.source
    print(f"{name}: {data.source}\n")
    find = partial(snip_masks, sparsity=sparsity, batch_size=recipe.batch_size)
    first: tuple[nn.Sequential, ...] = ()
    rows = []
    for seed in given.seeds:
        dense = recipes.run(recipe, data, measured, seed, given.device)
        pruned = recipes.run(recipe, data, measured, seed, given.device, sparsity, find)
        rows += [dense.row, pruned.row]
        first = first or (dense.network, pruned.network)
    found.training += rows
    print(output.table(rows, recipes.COLUMNS), "\n")
    compared = recipes.compare_steps(recipe, data, measured, given, find)
    rows = output.comparison_rows(compared, network=name)
    found.compared.append(compared)
    found.steps += rows
    print(output.table(rows, recipes.STEP_COLUMNS), "\n")
    made = execution.variants(*first)
    for size in INFERENCE_BATCHES:
        compared, rows = execution.compare(
            made, data.test.images[:size], measured, arguments.comparing(given), given.device,
            network=name, sparsity=sparsity,
        )  # fmt: skip
        found.compared.append(compared)
        found.execution += rows
        print(output.table(rows, execution.COLUMNS), "\n")


def snip_masks(
    network: nn.Sequential, data: DataSet, seed: int, *, sparsity: str, batch_size: int
) -> Mapping[str, Tensor]:
    """What SNIP keeps, by one batch of the training data."""
    batch = next(data.training.batches(batch_size, torch.Generator().manual_seed(seed)))
    return connection_sensitivity.snip(network, batch, sparsity)


if __name__ == "__main__":
    main()
