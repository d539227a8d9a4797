"""What the author of a format tells the model suite, and what its checks share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytest

from greenai_core.inputs import to_inputs
from greenai_core.model import DLLibrary
from greenai_core.parameters import ParameterCount

from .conformance import Conformance

if TYPE_CHECKING:
    Array = npt.NDArray[Any]


class ModelHooks(Conformance):
    """The author's part of ``ModelConformance``; see there."""

    model_class: ClassVar[type[DLLibrary]]
    """The format."""

    options: ClassVar[Mapping[str, Any]] = {}
    """Constructor options that let the file do all it can."""

    expected_parameters: ClassVar[ParameterCount]
    """Of the file that ``make_file`` writes, found without greenai."""

    relative_tolerance: ClassVar[float] = 1e-5
    absolute_tolerance: ClassVar[float] = 1e-6

    training_steps: ClassVar[int] = 20
    """Steps on one batch after which the loss must be lower."""

    def make_file(self, tmp_path: Path) -> Path:
        """Write a small model without greenai and tell its path."""
        raise NotImplementedError("the suite needs make_file(tmp_path)")

    def oracle(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """What the model of ``make_file`` computes, found without greenai."""
        raise NotImplementedError("the suite needs oracle(inputs)")

    def make_inputs(self, model: DLLibrary) -> dict[str, Array]:
        """Inputs by name; new arrays at each call, always the same values."""
        return to_inputs(None, model.input_specs)

    def make_batch(self) -> tuple[dict[str, Array], Array]:
        """Inputs and targets to train on; only where the file can be trained."""
        raise NotImplementedError("the file can be trained: the suite needs make_batch()")

    def truncate(self, path: Path) -> None:
        """Cut the file, or the largest file of the folder, to half its length."""
        files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        largest = max(files, key=lambda file: file.stat().st_size)
        content = largest.read_bytes()
        largest.write_bytes(content[: len(content) // 2])

    # What the checks share

    def _open(self, path: Path) -> DLLibrary:
        return self.model_class(path, device="cpu", **self.options)

    def _runnable(self, tmp_path: Path) -> DLLibrary:
        return self._able(tmp_path, "run")

    def _able(self, tmp_path: Path, use: str) -> DLLibrary:
        model = self._open(self.make_file(tmp_path))
        ability = model.abilities()[use]
        if not ability.possible:
            pytest.skip(f"{use}: {ability.reason}")
        return model

    def _outputs(self, model: DLLibrary) -> dict[str, Array]:
        model.load()
        outputs = model.predict(model.prepare(self.make_inputs(model)))
        model.synchronize()
        return model.fetch(outputs)


def same(first: Mapping[str, Array], second: Mapping[str, Array]) -> bool:
    """Whether two outputs agree to the last bit."""
    return set(first) == set(second) and all(
        np.array_equal(first[name], second[name], equal_nan=first[name].dtype.kind == "f")
        for name in first
    )


def misshapen(inputs: Mapping[str, Array]) -> dict[str, Array]:
    """The inputs with two axes too many."""
    return {name: array[np.newaxis, np.newaxis] for name, array in inputs.items()}


def states_shapes(model: DLLibrary) -> bool:
    """Whether the file itself says what shapes its inputs have."""
    return all(spec.shape is not None for spec in model.signature())
