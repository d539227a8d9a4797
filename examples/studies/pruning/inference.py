"""Inference of pruned networks as models of a study; the size is the per cent of weights kept.

Read by ``greenai study examples/studies/pruning/inference.toml``. Each function makes
LeNet-5-Caffe or LeNet-300-100, prunes it by SNIP on one batch as initialised, and runs it in
one way: dense with zeros, with sparse kernels, or without the channels that do nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sparsity import connection_sensitivity, execution, masks
from sparsity.data import load
from sparsity.layers import fold, work
from sparsity.networks import NETWORKS, initialise
from sparsity.shrinking import shrink
from sparsity.sparse_kernels import sparse

from greenai_core import StudyWork

PRUNING_BATCH = 100
SEED = 0
CPU_THREADS = 1
"""Networks of this size gain nothing from more threads, which wait for one another."""


def lenet_5_masked(size: int, batch_size: int, device: str) -> StudyWork:
    """LeNet-5-Caffe, dense with zeros."""
    return _work("lenet-5-caffe", "masked", size, batch_size, device)


def lenet_5_shrunk(size: int, batch_size: int, device: str) -> StudyWork:
    """LeNet-5-Caffe without channels and neurons that do nothing."""
    return _work("lenet-5-caffe", "shrunk", size, batch_size, device)


def lenet_300_masked(size: int, batch_size: int, device: str) -> StudyWork:
    """LeNet-300-100, dense with zeros."""
    return _work("lenet-300-100", "masked", size, batch_size, device)


def lenet_300_csr(size: int, batch_size: int, device: str) -> StudyWork:
    """LeNet-300-100 with sparse kernels."""
    return _work("lenet-300-100", "csr", size, batch_size, device)


def lenet_300_shrunk(size: int, batch_size: int, device: str) -> StudyWork:
    """LeNet-300-100 without neurons that do nothing."""
    return _work("lenet-300-100", "shrunk", size, batch_size, device)


def _work(name: str, way: str, kept: int, batch_size: int, device: str) -> StudyWork:
    if device == "cpu":
        torch.set_num_threads(CPU_THREADS)
    network = NETWORKS[name][0]()
    initialise(network, SEED)
    data = load(NETWORKS[name][1], samples=max(PRUNING_BATCH, batch_size), test_samples=1)
    if kept < 100:
        first = next(data.training.batches(PRUNING_BATCH, torch.Generator().manual_seed(SEED)))
        masks.apply(network, connection_sensitivity.snip(network, first, f"{1 - kept / 100:.2f}"))
    masked = fold(network.to(device))
    inputs = data.training.images[:batch_size].to(device)
    ways = {
        "masked": lambda: masked,
        "csr": lambda: sparse(masked),
        "shrunk": lambda: shrink(masked),
    }
    made: nn.Sequential = ways[way]()
    held = work(masked if way == "csr" else made, inputs[:1])
    each = held.nonzero if way == "csr" else held.dense
    weights = masks.count_nonzero(masked) if way == "csr" else masks.count_weights(made)
    return StudyWork(
        execution.runner(made, inputs),
        parameters=weights + masks.count_others(masked if way == "csr" else made),
        macs=each * len(inputs),
        note=f"pruned by SNIP as initialised, not trained; run as {way}",
    )
