"""The document's networks at full size, pruned but not trained: does running them save joules?

What an inference costs does not depend on what a network has learnt, only on which weights
are left. So VGG-D (SNIP) and VGG-19 (FORCE) are pruned as initialised, see one batch for the
statistics of batch normalisation, and are run in all ways, in turn.

  python examples/studies/pruning/execution.py --small
  python examples/studies/pruning/execution.py --device cuda
"""

from __future__ import annotations

import argparse
import copy
import sys
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

from sparsity import arguments, connection_sensitivity, energy, execution, masks, output
from sparsity.data import DataSet, load
from sparsity.networks import NETWORKS, initialise

from greenai_core import ComparisonResult, Session

CASES = (
    ("lenet-5-caffe", "snip", "0.98"),
    ("vgg-d", "snip", "0.95"),
    ("vgg-19", "force", "0.99"),
    ("vgg-19", "force", "0.995"),
)
PRUNING_BATCH = 32
SMALL_STEPS = 6
SMALL_BATCHES, FULL_BATCHES = (1,), (1, 64)


def main(words: list[str] | None = None) -> None:
    """Run all cases and write the results."""
    parser = arguments.parser(__doc__ or "", "pruned-execution")
    parser.add_argument("--network", choices=sorted({case[0] for case in CASES}), nargs="+")
    parser.add_argument("--steps", type=int, help="of FORCE [default: 60, small 6]")
    given = parser.parse_args(words)
    arguments.begin(given)
    rows: list[dict[str, Any]] = []
    results: list[ComparisonResult] = []
    sources: dict[str, str] = {}
    with energy.session(given.profiler, given.device) as measured:
        joules = energy.basis(measured)
        print(f"joules: {joules}\n")
        for case in CASES:
            if given.network and case[0] not in given.network:
                continue
            compared, found, source = one(given, case, measured)
            sources[case[0]] = source
            results += compared
            rows += found
    about = arguments.about(given, joules, sources)
    output.write(given.out, "full-size", about, rows)
    output.write_comparisons(given.out / "report.json", results, about)
    print(f"results: {given.out}")


def one(
    given: argparse.Namespace, case: tuple[str, str, str], measured: Session
) -> tuple[list[ComparisonResult], list[dict[str, Any]], str]:
    """One network, pruned in one way, at all batch sizes."""
    name, method, sparsity = case
    data = load(NETWORKS[name][1], samples=PRUNING_BATCH, test_samples=PRUNING_BATCH,
                folders=given.data, device=given.device)  # fmt: skip
    dense, pruned = networks(given, case, data)
    made = execution.variants(dense, pruned)
    rows, results = [], []
    for size in SMALL_BATCHES if given.small else FULL_BATCHES:
        compared, found = execution.compare(
            made, data.test.images[:size], measured, arguments.comparing(given), given.device,
            network=name, method=method, sparsity=sparsity,
        )  # fmt: skip
        results.append(compared)
        rows += found
        title = f"{name}, {float(sparsity):.1%} pruned by {method}"
        print(f"{title}\n{output.table(found, execution.COLUMNS)}\n", flush=True)
    return results, rows, data.source


def networks(
    given: argparse.Namespace, case: tuple[str, str, str], data: DataSet
) -> tuple[nn.Sequential, nn.Sequential]:
    """The network before and after pruning, with statistics of one batch."""
    name, method, sparsity = case
    dense = NETWORKS[name][0]()
    initialise(dense, given.seeds[0], "xavier" if method == "snip" else "kaiming")
    dense = dense.to(given.device)
    if method == "snip":
        kept = connection_sensitivity.snip(dense, data.training, sparsity)
    else:
        steps = given.steps or (SMALL_STEPS if given.small else connection_sensitivity.STEPS)
        batches = iter([data.training] * steps)
        kept, _ = connection_sensitivity.force(dense, batches, sparsity, steps)
    pruned = copy.deepcopy(dense)
    masks.apply(pruned, kept)
    with torch.no_grad():
        for network in (dense, pruned):
            network.train()(data.training.images)
            network.eval()
    return dense, pruned


if __name__ == "__main__":
    main()
