"""How many parameters a model has, in sum, by layer, and what one inference does with them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ParameterCount:
    """Numbers of elements, and the bytes they take in the file.

    ``docs/parameters.md`` says what counts as a parameter in each format.
    """

    trainable: int
    non_trainable: int
    bytes: int
    total: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "total", self.trainable + self.non_trainable)

    @classmethod
    def of(cls, entries: Iterable[ParameterEntry]) -> ParameterCount:
        """The sum of all entries."""
        elements = {True: 0, False: 0}
        size = 0
        for entry in entries:
            elements[entry.trainable] += entry.elements
            size += entry.bytes
        return cls(elements[True], elements[False], size)


@dataclass(frozen=True)
class ParameterEntry:
    """One tensor of parameters.

    Attributes:
        layer: path of the layer that holds it; empty for the model itself.
        trainable: whether training would change it.
        elements: how many numbers it holds.
        bytes: what they take in the file.
        type: of the layer, as the file or the library calls it; None if neither tells.
    """

    layer: str
    trainable: bool
    elements: int
    bytes: int
    type: str | None = None


@dataclass(frozen=True)
class LayerParameters:
    """Parameters that one layer holds itself, without those of layers inside it.

    Attributes:
        name: path of the layer; empty for the model itself, and for a file that
            does not tell its layers apart.
        type: as the file or the library calls it; None if neither tells.
    """

    name: str
    type: str | None
    trainable: int
    non_trainable: int
    bytes: int

    @classmethod
    def of(cls, entries: Iterable[ParameterEntry]) -> tuple[LayerParameters, ...]:
        """The layers of all entries, in the order of their first one."""
        layers: dict[str, list[ParameterEntry]] = {}
        for entry in entries:
            layers.setdefault(entry.layer, []).append(entry)
        found = []
        for name, own in layers.items():
            count = ParameterCount.of(own)
            type = next((entry.type for entry in own if entry.type is not None), None)
            found.append(cls(name, type, count.trainable, count.non_trainable, count.bytes))
        return tuple(found)


@dataclass(frozen=True)
class MacCount:
    """Multiply-accumulate operations of one inference.

    Attributes:
        macs: in convolutions and matrix products; None where they are not known.
        reason: why they are not known; empty if they are.
        inputs: names and shapes that the inference was fed with.
    """

    macs: int | None
    reason: str = ""
    inputs: tuple[str, ...] = ()
