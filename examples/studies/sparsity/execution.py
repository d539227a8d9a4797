"""Does a sparse or structured execution of a pruned network save joules?

Ways to run it, in turn, each against the first:

* ``unpruned``: the network before pruning, dense.
* ``masked``: the pruned network as pruning leaves it: dense, with zeros.
* ``csr``: the same with sparse kernels, convolutions as well.
* ``csr-linear``: with sparse kernels in the linear layers only; where there are convolutions.
* ``shrunk``: the same without the channels and neurons that do nothing, dense.

Batch normalisation is folded into the layers in all of them, so that only the zeros differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from greenai_core import ComparisonResult, ComparisonSettings, Session

from . import energy, output
from .layers import fold, work
from .masks import count_nonzero, count_nonzero_linear, count_weights
from .shrinking import shrink
from .sparse_kernels import sparse

TOLERANCE = 1e-3
"""Largest difference of outputs, as a share of the largest output; float32 and another order
of summation leave about 1e-6."""


Variants = Mapping[str, nn.Sequential]
"""Name -> network, the baseline first."""


def variants(dense: nn.Sequential, pruned: nn.Sequential) -> Variants:
    """All ways to run a pruned network, and the one before pruning."""
    masked = fold(pruned)
    made = {"unpruned": fold(dense), "masked": masked, "csr": sparse(masked)}
    if any(isinstance(layer, nn.Conv2d) for layer in masked):
        made["csr-linear"] = sparse(masked, convolutions=False)
    return {**made, "shrunk": shrink(masked)}


def differences(made: Variants, inputs: Tensor) -> dict[str, float]:
    """How far each is from ``masked``, as a share of the largest output.

    Raises:
        ArithmeticError: further than rounding explains.
    """
    found = {}
    with torch.inference_mode():
        expected = made["masked"](inputs)
        scale = max(float(expected.abs().max()), 1e-12)
        for name, network in made.items():
            if name not in ("unpruned", "masked"):
                found[name] = float((network(inputs) - expected).abs().max()) / scale
    for name, difference in found.items():
        if not difference <= TOLERANCE:
            raise ArithmeticError(
                f"the network run as {name} differs from the masked one by {difference:.2g} of its "
                "largest output: it is not the same network, and its joules say nothing"
            )
    return found


def compare(
    made: Variants,
    inputs: Tensor,
    measured: Session,
    settings: ComparisonSettings,
    device: str = "cpu",
    **also: Any,
) -> tuple[ComparisonResult, list[dict[str, Any]]]:
    """Measure the variants in turn on a batch.

    Args:
        made: the networks.
        inputs: the batch.
        measured: an open session.
        settings: how long.
        device: where they are.
        also: columns that all rows have.

    Returns:
        greenai's result, and a row for each variant.
    """
    apart = differences(made, inputs)
    works = {name: runner(network, inputs) for name, network in made.items()}
    result = energy.in_turn(measured, works, samples=len(inputs), device=device, settings=settings)
    counts = _counts(made, inputs[:1])
    rows = output.comparison_rows(result, **also)
    for row in rows:
        name = row["variant"]
        row["weights"], row["macs"] = counts[name]
        row["difference"] = apart.get(name)
    return result, rows


def _counts(made: Variants, sample: Tensor) -> dict[str, tuple[int, int]]:
    """Weights that each variant holds, and its multiplications of one sample."""
    masked, shrunk = made["masked"], made["shrunk"]
    held = work(masked, sample)
    dense = (count_weights(masked), held.dense)
    return {
        "unpruned": dense,
        "masked": dense,
        "csr": (count_nonzero(masked), held.nonzero),
        "csr-linear": (count_nonzero_linear(masked), held.mixed),
        "shrunk": (count_weights(shrunk), work(shrunk, sample).dense),
    }


def runner(network: nn.Module, inputs: Tensor) -> Callable[[], object]:
    """One inference."""

    def run() -> object:
        with torch.inference_mode():
            return network(inputs)

    return run


COLUMNS = {
    "variant": "run as",
    "samples": "batch",
    "weights": "weights",
    "macs": "multiplications",
    "energy_j": "J",
    "energy_low_j": "from",
    "energy_high_j": "to",
    "seconds_s": "s",
    "ratio": "J / unpruned",
    "ratio_low": "from",
    "ratio_high": "to",
    "verdict": "verdict",
}
"""Of the table of ``compare``."""
