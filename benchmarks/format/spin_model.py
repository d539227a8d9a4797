"""A format whose inference is busy for about 20 ms; `bench_command` installs it."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from greenai_core import DLLibrary, ParameterCount, TensorSpec

INFERENCE_S = 0.020
SPREAD = 0.03
"""Coefficient of variation of its length, as on a machine that is not quiet."""


class SpinModel(DLLibrary):
    """Files that begin with ``spin``."""

    format = "spin"
    suffixes = (".spin",)

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Whether the file is one."""
        try:
            with path.open("rb") as file:
                return file.read(4) == b"spin"
        except OSError:
            return False

    def count_parameters(self) -> ParameterCount:
        """One, so that there is something to count."""
        return ParameterCount(1, 0, 4)

    def load_weights(self) -> None:
        """Make the lengths of the inferences repeatable."""
        self._draw = random.Random(0)

    def signature(self) -> tuple[TensorSpec, ...]:
        """One number."""
        return (TensorSpec("x", (1,)),)

    def prepare(self, inputs: Mapping[str, Any]) -> Any:
        """As it is."""
        return inputs["x"]

    def predict(self, prepared: Any) -> Any:
        """Be busy."""
        end = time.perf_counter() + INFERENCE_S * (1 + SPREAD * self._draw.gauss(0, 1))
        while time.perf_counter() < end:
            pass
        return prepared

    def synchronize(self) -> None:
        """Nothing is left running."""

    def fetch(self, outputs: Any) -> dict[str, np.ndarray[Any, Any]]:
        """The input."""
        return {"y": np.asarray(outputs)}
