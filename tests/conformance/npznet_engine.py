"""Stands for the deep-learning library of the ``.npznet`` format: small dense networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def load(path):
    """Weights and biases by name."""
    with Path(path).open("rb") as file, np.load(file) as stored:
        return {name: stored[name] for name in stored.files if name != "npznet"}


def depth(weights):
    return len(weights) // 2


def dense(weights, layer, x):
    """One layer; all but the last are rectified."""
    y = x @ weights[f"w{layer}"] + weights[f"b{layer}"]
    return y if layer == depth(weights) - 1 else np.maximum(y, 0)


def forward(weights, x):
    for layer in range(depth(weights)):
        x = dense(weights, layer, x)
    return x


def gradients(weights, x, target):
    """Mean squared error and its gradient for each weight."""
    activations = [x]
    for layer in range(depth(weights)):
        activations.append(dense(weights, layer, activations[-1]))
    error = activations[-1] - target
    loss = float(np.mean(error**2))
    delta = 2 * error / error.size
    result = {}
    for layer in reversed(range(depth(weights))):
        if layer < depth(weights) - 1:
            delta = delta * (activations[layer + 1] > 0)
        result[f"w{layer}"] = activations[layer].T @ delta
        result[f"b{layer}"] = delta.sum(axis=0)
        delta = delta @ weights[f"w{layer}"].T
    return loss, result


def save(path, weights):
    with Path(path).open("wb") as file:
        np.savez(file, npznet=np.array(1), **weights)
