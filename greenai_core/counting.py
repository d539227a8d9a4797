"""The part of a model format's contract that counts: parameters and multiplications."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from .parameters import LayerParameters, MacCount, ParameterCount

if TYPE_CHECKING:
    from .inputs import InputOptions


class Counted(ABC):
    """A model file whose parameters can be counted; every ``DLLibrary`` is one."""

    format: ClassVar[str]
    """Name under which the format is registered."""

    @abstractmethod
    def count_parameters(self) -> ParameterCount:
        """Elements and bytes, from headers wherever the format allows.

        Raises:
            ModelLoadError: the file is broken.
        """

    def count_by_layer(self) -> tuple[LayerParameters, ...]:
        """Parameters layer by layer; they sum to ``count_parameters()``.

        One layer without a name where the format does not tell layers apart.

        Raises:
            ModelLoadError: the file is broken.
        """
        count = self.count_parameters()
        return (LayerParameters("", None, count.trainable, count.non_trainable, count.bytes),)

    def count_macs(self, options: InputOptions | None = None) -> MacCount:
        """Multiply-accumulates of one inference on synthetic data.

        None with the reason where the format, or this file, does not tell.

        Args:
            options: batch size and open axes of the data.

        Raises:
            ModelError: the file is broken, or cannot be run where it has to be.
        """
        return MacCount(None, f"multiplications are not counted for the format {self.format!r}")

    def get_number_of_parameters(self) -> int:
        """Total of ``count_parameters()``."""
        return self.count_parameters().total
