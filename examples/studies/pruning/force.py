"""FORCE (arXiv 2006.09081): prune step by step before training, and let weights come back.

A VGG for CIFAR-10 is pruned to several sparsities in 60 steps (exponential schedule, one
batch each), trained, and run: accuracy, time and energy of inference as the document has
them, and the ways to run the pruned network in turn.

  python examples/studies/pruning/force.py --small
  python examples/studies/pruning/force.py --device cuda --data ./data
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
from sparsity.data import DataSet, Split
from sparsity.recipes import Recipe

from greenai_core import ComparisonResult, Session

SPARSITIES = ("0.9", "0.95", "0.99", "0.995")
DOCUMENT = Recipe("vgg-19", 200, 128, 0.1, 23_400, gain="kaiming")
"""VGG-19 of the paper; the document says "a VGG implementation". 23,400 steps are 60 epochs."""

SMALL = Recipe("vgg-19", 4, 50, 0.02, 30_000, samples=1000, width=0.25, gain="kaiming")
SMALL_STEPS = 10
INFERENCE_BATCHES = (1, 64)

COLUMNS = {**recipes.COLUMNS, "came_back": "weights that came back"}


def main(words: list[str] | None = None) -> None:
    """Run the study and write its results."""
    parser = arguments.parser(__doc__ or "", "force")
    parser.add_argument("--network", choices=("vgg-19", "vgg-d"), help="[default: vgg-19]")
    parser.add_argument("--sparsity", nargs="+", default=list(SPARSITIES))
    parser.add_argument("--width", type=float, help="of VGG's layers, as a share")
    parser.add_argument("--steps", type=int, help="of pruning [default: 60, small 10]")
    parser.add_argument(
        "--no-return", action="store_true", help="weights do not come back: iterative SNIP"
    )
    given = parser.parse_args(words)
    arguments.begin(given)
    recipe = (SMALL if given.small else DOCUMENT).changed_by(given)
    given.steps = given.steps or (SMALL_STEPS if given.small else connection_sensitivity.STEPS)
    data = recipe.data(given)
    print(f"{recipe.network}: {data.source}\n")
    with energy.session(given.profiler, given.device) as measured:
        joules = energy.basis(measured)
        print(f"joules: {joules}\n")
        rows, networks = train_all(given, recipe, data, measured)
        print(output.table(rows, COLUMNS), "\n")
        runs, compared = run_all(given, data, measured, networks)
    about = arguments.about(given, joules, {recipe.network: data.source})
    about["pruning_steps"] = given.steps
    about["weights_come_back"] = not given.no_return
    output.write(given.out, "training", about, rows)
    output.write(given.out, "execution", about, runs)
    output.write_comparisons(given.out / "report.json", compared, about)
    print(f"results: {given.out}")


def train_all(
    given: argparse.Namespace, recipe: Recipe, data: DataSet, measured: Session
) -> tuple[list[dict[str, Any]], dict[str, nn.Sequential]]:
    """All sparsities and seeds; the networks of the first seed, by sparsity."""
    rows: list[dict[str, Any]] = []
    networks: dict[str, nn.Sequential] = {}
    for seed in given.seeds:
        for sparsity in ("0", *given.sparsity):
            back: list[int] = []
            find = partial(
                force_masks, sparsity=sparsity, recipe=recipe, given=given, came_back=back
            )
            done = recipes.run(
                recipe, data, measured, seed, given.device, sparsity,
                None if sparsity == "0" else find,
            )  # fmt: skip
            rows.append({**done.row, "came_back": sum(back) if back else None})
            networks.setdefault(sparsity, done.network)
    return rows, networks


def run_all(
    given: argparse.Namespace,
    data: DataSet,
    measured: Session,
    networks: Mapping[str, nn.Sequential],
) -> tuple[list[dict[str, Any]], list[ComparisonResult]]:
    """Inference of each pruned network against the unpruned one."""
    rows: list[dict[str, Any]] = []
    results: list[ComparisonResult] = []
    for sparsity in given.sparsity:
        made = execution.variants(networks["0"], networks[sparsity])
        for size in INFERENCE_BATCHES:
            compared, found = execution.compare(
                made, data.test.images[:size], measured, arguments.comparing(given), given.device,
                sparsity=sparsity,
            )  # fmt: skip
            results.append(compared)
            rows += found
            print(f"{float(sparsity):.1%} pruned\n{output.table(found, execution.COLUMNS)}\n")
    return rows, results


def force_masks(
    network: nn.Sequential,
    data: DataSet,
    seed: int,
    *,
    sparsity: str,
    recipe: Recipe,
    given: argparse.Namespace,
    came_back: list[int],
) -> Mapping[str, Tensor]:
    """What FORCE keeps; how many weights came back in each step is added to a list."""
    batches = endless(data.training, recipe.batch_size, seed)
    found, steps = connection_sensitivity.force(
        network, batches, sparsity, given.steps, back=not given.no_return
    )
    assert masks.count_kept(found) == steps[-1].kept
    came_back += [step.came_back for step in steps]
    return found


def endless(split: Split, size: int, seed: int) -> Any:
    """Batches in random order, over and over."""
    if len(split) < size:
        raise ValueError(f"{len(split)} samples make no batch of {size}")
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield from split.batches(size, generator)


if __name__ == "__main__":
    main()
