"""The contract of a model file that is opened for training."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy.typing as npt


@runtime_checkable
class Trainable(Protocol):
    """A model file opened for training."""

    def prepare_batch(
        self, inputs: Mapping[str, npt.NDArray[Any]], targets: npt.NDArray[Any]
    ) -> Any:
        """Put one batch where training wants it (device, types); not timed.

        Raises:
            ModelInputError: the batch does not fit the model.
        """

    def step(self, batch: Any) -> None:
        """One forward pass, backward pass and update of the weights.

        Raises:
            ModelError: the model cannot train on this batch, or memory ran out.
        """

    def synchronize(self) -> None:
        """Wait until nothing started by ``step`` is still running."""

    def loss(self) -> float:
        """Loss of the last step; may wait for it."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the trained model in the format it came from."""


@dataclass(frozen=True)
class Score:
    """How well a model does on one batch.

    Attributes:
        loss: mean over the samples.
        accuracy: share of samples in the right class; None where targets are no classes.
    """

    loss: float
    accuracy: float | None = None


@runtime_checkable
class Scored(Protocol):
    """A ``Trainable`` that can tell how well it does; needed for validation."""

    def accuracy(self) -> float | None:
        """Share of the last step's samples that the model had right, before the update."""

    def score(self, batch: Any) -> Score:
        """Loss and accuracy in evaluation mode; no weight changes. Complete on return."""
