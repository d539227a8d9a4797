"""The format ``.npznet``: the weights of a dense network in a NumPy archive.

The archive holds ``w0``, ``b0``, ``w1``, ``b1``, … and ``npznet``, the version of
the format. All layers but the last are rectified.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from greenai_core import DLLibrary, ModelInputError, ParameterCount, TensorSpec, loading

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[Any]

INPUT, OUTPUT = "x", "y"


class NpzNet(DLLibrary):
    """A ``.npznet`` file, evaluated with NumPy on the CPU."""

    format = "npznet"
    suffixes = (".npznet",)
    # Import name -> the extra of greenai-core that installs it. NumPy comes with
    # greenai-core itself; a format for another library names it here.
    requires: ClassVar[Mapping[str, str]] = {}

    _weights: Mapping[str, Array]

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Whether the archive has a member ``npznet``; nothing in it is opened."""
        try:
            with zipfile.ZipFile(path) as archive:
                return "npznet.npy" in archive.namelist()
        except (OSError, zipfile.BadZipFile):
            return False

    def count_parameters(self) -> ParameterCount:
        """All weights and biases; all are trainable."""
        weights = self._read().values()
        return ParameterCount(
            trainable=sum(weight.size for weight in weights),
            non_trainable=0,
            bytes=sum(weight.nbytes for weight in weights),
        )

    def load_weights(self) -> None:
        """Read the weights."""
        self._weights = self._read()

    def drop_weights(self) -> None:
        """Let go of them."""
        del self._weights

    def signature(self) -> tuple[TensorSpec, ...]:
        """One input: a batch of vectors."""
        first = self._read()["w0"]
        return (TensorSpec(INPUT, (None, first.shape[0]), str(first.dtype)),)

    def prepare(self, inputs: Mapping[str, Array]) -> Array:
        """The array itself; there is no device to bring it to."""
        (spec,) = self.signature()
        array = inputs.get(INPUT)
        assert spec.shape is not None
        if array is None or array.ndim != 2 or array.shape[1] != spec.shape[1]:
            given = "nothing" if array is None else "x".join(map(str, array.shape))
            raise ModelInputError(f"{self.path}: the model wants {spec}, and was given {given}")
        return array

    def predict(self, prepared: Array) -> Array:
        """The layers one after the other."""
        depth = len(self._weights) // 2
        x = prepared
        for layer in range(depth):
            x = x @ self._weights[f"w{layer}"] + self._weights[f"b{layer}"]
            if layer < depth - 1:
                x = x.clip(0)
        return x

    def synchronize(self) -> None:
        """Nothing runs on after ``predict``."""

    def fetch(self, outputs: Array) -> dict[str, np.ndarray[Any, Any]]:
        """The one output."""
        return {OUTPUT: outputs}

    def _read(self) -> dict[str, Array]:
        import numpy as np

        # Whatever NumPy raises on a broken file becomes a ModelLoadError that names it.
        with loading(self.path, "NumPy"), self.path.open("rb") as file, np.load(file) as stored:
            return {name: stored[name] for name in stored.files if name != "npznet"}
