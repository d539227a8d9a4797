"""Training data, batch by batch, and what a model wants of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy.typing as npt

from .arrays import samples
from .errors import ModelInputError
from .inputs import InputOptions, to_inputs
from .tensors import TensorSpec

Array: TypeAlias = npt.NDArray[Any]

BATCH_SIZE = 32
"""Samples in a batch where neither the user nor the model says."""

READY_BYTES = 256 * 2**20
"""Repeated steps are fed with so much data at most, which stay in memory."""

SHUFFLE_SEED = 0


@dataclass(frozen=True)
class Batch:
    """Some samples: arrays by input name, and their targets."""

    inputs: Mapping[str, Array]
    targets: Array

    @property
    def size(self) -> int:
        """Number of samples."""
        return samples(self.inputs)

    def first(self, count: int) -> Batch:
        """The first samples of it."""
        inputs = {name: array[:count] for name, array in self.inputs.items()}
        return Batch(inputs, self.targets[:count])


@dataclass(frozen=True)
class TrainingData:
    """Batches that can be gone through epoch by epoch.

    Attributes:
        source: where they come from, for messages.
        read: number of the epoch (1 first) -> its batches, read when asked for.
        batch_size: of all but a last batch; None where the source decides.
        samples: in one epoch; None where it is not known.
        classes: targets by name or number; None where they are not known beforehand.
        once: whether they can be gone through only once.
    """

    source: str
    read: Callable[[int], Iterator[Batch]]
    batch_size: int | None = None
    samples: int | None = None
    classes: frozenset[Any] | None = None
    once: bool = False

    @property
    def steps(self) -> int | None:
        """Batches in one epoch, a smaller last one included; None where not known."""
        if self.samples is None or self.batch_size is None:
            return None
        return -(-self.samples // self.batch_size)


@dataclass(frozen=True)
class Wanted:
    """What a model wants of its training data.

    Attributes:
        specs: its inputs.
        image_layout: see ``DLLibrary.image_layout``.
        batch_size: samples in a batch; None for the model's or the usual one.
        seed: of the order of samples, which is another in each epoch; None keeps
            the order of the data.
        classes: folder names in the order of their labels; None to take the
            sorted names of the folders.
        options: how images are resized and normalised, and what is done to data first.
        usual: samples in a batch where neither user nor model says.
        lenient: fewer samples than a batch are one smaller batch, no error.
    """

    specs: Sequence[TensorSpec]
    image_layout: str = "NCHW"
    batch_size: int | None = None
    seed: int | None = SHUFFLE_SEED
    classes: tuple[str, ...] | None = None
    options: InputOptions | None = None
    usual: int = BATCH_SIZE
    lenient: bool = False

    @classmethod
    def of(
        cls, signature: Sequence[TensorSpec], specs: Sequence[TensorSpec], **more: Any
    ) -> Wanted:
        """What a model wants whose file states ``signature``; ``specs`` fill in the user's shapes.

        A shape that the user gives has a batch axis too, which fixes nothing: 1
        stands for any size, more for the usual one.
        """
        fixed = {spec.name for spec in signature if spec.shape and isinstance(spec.shape[0], int)}
        opened = tuple(
            replace(spec, shape=(None, *spec.shape[1:]))
            if spec.shape and spec.name not in fixed
            else spec
            for spec in specs
        )
        given = (spec.shape[0] for spec in specs if spec.shape and spec.name not in fixed)
        usual = next((size for size in given if isinstance(size, int) and size > 1), BATCH_SIZE)
        return cls(opened, usual=usual, **more)

    @property
    def fixed(self) -> int | None:
        """The batch size that the model fixes, if it does."""
        sizes = (spec.shape[0] for spec in self.specs if spec.shape)
        return next((size for size in sizes if isinstance(size, int)), None)

    def inputs(self, data: Any, specs: Sequence[TensorSpec] | None = None) -> dict[str, Array]:
        """Arrays by input name; see ``greenai_core.inputs``."""
        options = replace(self.options, batch_size=None) if self.options else None
        return to_inputs(data, specs or self.specs, options, image_layout=self.image_layout)

    def size(self, samples: int, source: str) -> int:
        """Samples in a batch of data that have so many.

        Raises:
            ModelInputError: the data have fewer than were asked for.
        """
        asked = self.batch_size or self.fixed
        if self.lenient and self.fixed is None:
            return min(asked or self.usual, samples)
        if asked is not None and asked > samples:
            raise ModelInputError(
                f"{source} has {samples} samples, which is no batch of {asked}. "
                "Give a smaller --batch-size, or more data"
            )
        return asked or min(self.usual, samples)


def left_out(data: TrainingData, wanted: Wanted) -> tuple[str, ...]:
    """A warning where samples do not fill a batch whose size the model fixes."""
    if wanted.fixed is None or data.samples is None or data.samples % wanted.fixed == 0:
        return ()
    return (
        f"the model fixes its batch at {wanted.fixed}: {data.samples % wanted.fixed} of the "
        f"{data.samples} samples of {data.source} are left out of each epoch. "
        f"Give a multiple of {wanted.fixed}",
    )


def check_classes(training: TrainingData, validation: TrainingData) -> tuple[str, ...]:
    """Warnings where the two do not have the same classes.

    Raises:
        ModelInputError: validation has a class that is never trained.
    """
    known, asked = training.classes, validation.classes
    if known is None or asked is None or set(map(type, known)) != set(map(type, asked)):
        return ()
    unknown, missing = sorted(asked - known), sorted(known - asked)
    if unknown:
        raise ModelInputError(
            f"{validation.source} has classes that {training.source} never shows: "
            f"{_some(unknown)}. Remove them, or train on them"
        )
    if missing:
        return (
            f"no sample of {_some(missing)} in {validation.source}: the validation accuracy says "
            "nothing of it. Add some",
        )
    return ()


def _some(names: Sequence[Any]) -> str:
    shown = ", ".join(map(str, names[:8]))
    return shown if len(names) <= 8 else f"{shown} and {len(names) - 8} more"


def ready(data: TrainingData, limit_bytes: int = READY_BYTES) -> tuple[list[Batch], bool]:
    """Batches of equal size held in memory, for steps of equal work.

    Args:
        data: what they are read from; smaller last batches are left out.
        limit_bytes: where to stop reading.

    Returns:
        The batches, and whether there are more.

    Raises:
        ModelInputError: there is none, or one cannot be read.
    """
    found: list[Batch] = []
    held = 0
    for batch in data.read(1):
        if found and batch.size != found[0].size:
            continue
        if held >= limit_bytes:
            return found, True
        found.append(batch)
        held += batch.targets.nbytes + sum(array.nbytes for array in batch.inputs.values())
    if not found:
        raise ModelInputError(f"{data.source} gives no batch")
    return found, False
