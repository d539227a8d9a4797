"""What the comparison of counts is about: a network, its files, and their figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Split:
    """Elements by what training does to them.

    Attributes:
        trainable: elements that training changes.
        non_trainable: floating elements that it leaves alone.
    """

    trainable: int
    non_trainable: int

    def __str__(self) -> str:
        return f"{self.trainable:,} + {self.non_trainable:,}"


@dataclass(frozen=True)
class Written:
    """A file of a network, and what its own framework says is in it.

    Attributes:
        path: of the file or folder.
        expected: counted by the framework on its objects, never by greenai.
        options: for opening it with greenai.
    """

    path: Path
    expected: Split
    options: Mapping[str, Any] = field(default_factory=dict)


Writer = Callable[[Path], Written]
"""Writes one file into the given empty folder."""


@dataclass(frozen=True)
class Network:
    """A network and how to make it.

    Attributes:
        name: for the table.
        library: ``keras`` or ``torch``.
        make: the network at its published size, or as small as it can be.
        small: whether the tests take it.
    """

    name: str
    library: str
    make: Callable[[bool], Any]
    small: bool = True


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        network, format: what was counted.
        expected: by the framework; None where it cannot write the network so.
        found: by greenai.
        note: why it could not be written, or what greenai raised.
    """

    network: str
    format: str
    expected: Split | None
    found: Split | None
    note: str = ""

    @property
    def equal(self) -> bool | None:
        """Whether both agree; None where there is no such file."""
        return None if self.expected is None else self.expected == self.found


def elements(tensors: Iterable[Any]) -> int:
    """Elements of tensors or variables together, each object once."""
    return sum(math.prod(one.shape) for one in {id(one): one for one in tensors}.values())
