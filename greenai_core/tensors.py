"""What one input or output of a model looks like."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TensorSpec:
    """Name, shape and type of one tensor of a model's signature.

    Attributes:
        name: as the model file calls it.
        shape: one entry an axis: a size, or None (or the axis' name) where any
            size goes. None as a whole when the file does not say.
        dtype: NumPy's name of the element type (``"float32"``), or
            ``"string"``.
        layout: ``"NCHW"`` or ``"NHWC"`` where the format knows the order of the
            axes of images; None where it does not, or there are none.
    """

    name: str
    shape: tuple[int | str | None, ...] | None
    dtype: str = "float32"
    layout: str | None = None

    @property
    def batch_axis(self) -> int | None:
        """0 where the first axis counts samples, None for scalars and unknown shapes."""
        return 0 if self.shape else None

    def __str__(self) -> str:
        if self.shape is None:
            return f"{self.name} (shape unknown, {self.dtype})"
        axes = "x".join("?" if axis is None else str(axis) for axis in self.shape)
        return f"{self.name} ({axes or 'scalar'}, {self.dtype})"
