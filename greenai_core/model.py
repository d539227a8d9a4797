"""The contract of a model format, and what one opened model file can do.

A format is a subclass of :class:`DLLibrary`; an instance is one model file seen
through its deep-learning library. What a file can do belongs to the file, not
to the format, so it is asked (``abilities()``) and never guessed.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from .abilities import Ability, Layer, LayerCall, Layered
from .counting import Counted
from .errors import ModelError, ModelInputError, ModelLoadError
from .libraries import loading, require
from .tensors import TensorSpec
from .trainable import Trainable

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from typing_extensions import Self

    from .inputs import InputOptions
    from .results import EpochResult

    Arrays: TypeAlias = Mapping[str, npt.NDArray[Any]]

__all__ = [
    "Ability",
    "DLLibrary",
    "Layer",
    "LayerCall",
    "Layered",
    "TensorSpec",
    "Trainable",
    "loading",
    "require",
]


class DLLibrary(Counted, ABC):
    """One model file, seen through its deep-learning library.

    Construction is cheap; the weights are loaded on first use and go away on
    ``close()`` or at the end of a ``with`` block.

    A subclass states the class facts, and implements ``recognises``,
    ``count_parameters``, ``load_weights``, ``signature``, ``prepare``, ``predict``,
    ``fetch`` and ``synchronize``. It imports its library inside methods only,
    so that listing formats stays cheap.

    Args:
        path: the model file or folder.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, or ``"auto"`` for the first
            accelerator that the library can use, else the CPU.
        enable_GPU: the older spelling: False means ``device="cpu"``.
        input_shapes: shapes for inputs that the file leaves open, by name; a
            bare sequence stands for the only (or first) input.
        options: those that ``option_names`` of the format lists.

    Raises:
        ModelLoadError: there is no such file, or an option is unknown.
    """

    suffixes: ClassVar[tuple[str, ...]] = ()
    """File name endings that suggest the format."""

    requires: ClassVar[Mapping[str, str]] = {}
    """Import name of each library needed -> the extra that installs it."""

    option_names: ClassVar[Mapping[str, str]] = {}
    """Constructor options of this format -> one line of help."""

    in_memory: ClassVar[bool] = False
    """Whether ``path`` is only a name: the model is an object of the user's, and no file."""

    image_layout: ClassVar[str] = "NCHW"
    """Order of the axes of images where a signature does not tell."""

    _assumptions: tuple[str, ...] = ()

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        device: str = "auto",
        enable_GPU: bool | None = None,
        input_shapes: Mapping[str, Sequence[int]] | Sequence[int] | None = None,
        **options: Any,
    ) -> None:
        self.path = Path(path)
        if not self.in_memory and not self.path.exists():
            raise ModelLoadError(f"there is no model file {self.path}. Check the path")
        unknown = set(options) - set(self.option_names)
        if unknown:
            known = ", ".join(sorted(self.option_names)) or "none"
            raise ModelLoadError(
                f"the format {self.format!r} has no option {', '.join(sorted(unknown))} "
                f"(its options: {known})"
            )
        self.device = "cpu" if enable_GPU is False else device
        self.options = options
        if input_shapes is None:
            self.input_shapes: dict[str, tuple[int, ...]] = {}
        elif isinstance(input_shapes, Mapping):
            self.input_shapes = {name: tuple(shape) for name, shape in input_shapes.items()}
        else:
            self.input_shapes = {"": tuple(input_shapes)}
        self._loaded = False

    # Class facts

    @classmethod
    def check_available(cls) -> None:
        """Return if the library of the format is installed.

        Raises:
            PluginUnavailable: it is not; the hint names the extra.
        """
        require(cls.requires)

    @classmethod
    @abstractmethod
    def recognises(cls, path: Path) -> bool:
        """Whether the file is of this format, by its content.

        Looks at suffix and first bytes, imports no library, runs nothing from
        the file, and answers False for a file it cannot read.
        """

    # What a subclass implements

    @abstractmethod
    def load_weights(self) -> None:
        """Load the weights to ``self.device``.

        Raises:
            ModelLoadError: the file is broken or does not hold enough to run.
        """

    @abstractmethod
    def signature(self) -> tuple[TensorSpec, ...]:
        """The inputs as the file states them; shape None where it does not."""

    @abstractmethod
    def prepare(self, inputs: Arrays) -> Any:
        """Bring NumPy inputs, by name, to the device; not timed.

        Raises:
            ModelInputError: they do not fit.
        """

    @abstractmethod
    def predict(self, prepared: Any) -> Any:
        """One inference in evaluation mode without gradients; may return early."""

    @abstractmethod
    def synchronize(self) -> None:
        """Wait until nothing started by ``predict`` is still running."""

    @abstractmethod
    def fetch(self, outputs: Any) -> dict[str, np.ndarray[Any, Any]]:
        """What ``predict`` returned, as NumPy arrays by output name."""

    def drop_weights(self) -> None:  # not every library holds something
        """Let go of what ``load_weights`` took."""

    def cannot_run(self) -> str:
        """Why this file cannot be run; empty if it can. Reads no weights."""
        return ""

    def as_trainable(self) -> Trainable:
        """The model opened for training.

        Raises:
            ModelError: this file cannot be trained, with the reason.
        """
        raise ModelError(f"{self.path}: {self.abilities()['train'].reason}")

    def as_layered(self) -> Layered:
        """The model opened layer by layer.

        Raises:
            ModelError: its layers cannot be told apart, with the reason.
        """
        raise ModelError(f"{self.path}: {self.abilities()['layers'].reason}")

    def abilities(self) -> Mapping[str, Ability]:
        """What this file can be used for: ``run``, ``train`` and ``layers``."""
        cannot = self.cannot_run()
        return {
            "run": Ability(not cannot, cannot),
            "train": Ability(False, f"training is not supported for the format {self.format!r}"),
            "layers": Ability(False, f"layers are not told apart for the format {self.format!r}"),
        }

    def accelerators(self) -> tuple[str, ...]:
        """Channel ids (``gpu:UUID``) of the boards the loaded model computes on."""
        return ()

    # What people use

    @property
    def input_specs(self) -> tuple[TensorSpec, ...]:
        """The inputs, with the shapes given at construction filled in.

        Raises:
            ModelInputError: a given shape contradicts the file.
        """
        specs = self.signature()
        given = dict(self.input_shapes)
        if "" in given and specs:
            given[specs[0].name] = given.pop("")
        unknown = set(given) - {spec.name for spec in specs}
        if unknown:
            names = ", ".join(spec.name for spec in specs)
            raise ModelInputError(
                f"{self.path} has no input {', '.join(sorted(unknown))} (its inputs: {names})"
            )
        return tuple(
            replace(spec, shape=_merge(spec, given[spec.name])) if spec.name in given else spec
            for spec in specs
        )

    def guess_shapes(self, specs: Sequence[TensorSpec]) -> Mapping[str, tuple[int | None, ...]]:
        """Shapes found by trying, for inputs whose shape neither file nor user told.

        They are assumptions, not facts: ``signature`` never holds them. None
        stands for an axis of any size.

        Args:
            specs: those inputs.
        """
        return {}

    def make_inputs(self, data: Any = None, options: InputOptions | None = None) -> Arrays:
        """Inputs that ``prepare`` takes, by name; ``assumptions`` then tells what was assumed.

        Args:
            data: see ``greenai_core.inputs.make_inputs``; None for synthetic data.
            options: batch size, open axes, what is done to images.

        Raises:
            ModelInputError: the data do not fit the inputs.
            PluginUnavailable: a library that reads the data is missing.
        """
        from .inputs import make_inputs

        made = make_inputs(
            data,
            self.input_specs,
            options,
            image_layout=self.image_layout,
            folder=self.path if self.path.is_dir() else self.path.parent,
            guess=self.guess_shapes,
        )
        self._assumptions = made.assumptions
        return made.arrays

    def assumptions(self) -> tuple[str, ...]:
        """What the last ``make_inputs`` took for granted because nobody said it."""
        return self._assumptions

    def load(self) -> None:
        """Load the weights now instead of on first use."""
        if not self._loaded:
            cannot = self.cannot_run()
            if cannot:
                raise ModelLoadError(f"{self.path}: {cannot}")
            type(self).check_available()
            self.load_weights()
            self._loaded = True

    def close(self) -> None:
        """Let go of the weights; a later use loads them again."""
        if self._loaded:
            self._loaded = False
            self.drop_weights()

    def train(
        self,
        train_data: Any,
        *,
        validation: Any = None,
        epochs: int = 1,
        batch_size: int | None = None,
        seed: int | None = 0,
        save: str | os.PathLike[str] | None = None,
    ) -> tuple[EpochResult, ...]:
        """Train without measuring; ``Session.evaluate_training`` measures too.

        Args:
            train_data: see ``greenai_core.training_data``.
            validation: the same; the model is tried on it after each epoch.
            epochs: times to go through the data.
            batch_size: samples in a step; None for the model's or 32.
            seed: of the order of samples; None keeps that of the data.
            save: where to write the trained model, in the format it came from.

        Returns:
            Loss and accuracy of each epoch; the last one is incomplete where the
            loss was no number any more, and then nothing is saved.

        Raises:
            ModelError: the model cannot be trained on these data.
        """
        from .batches import Wanted
        from .training import train

        trainable = self.as_trainable()
        wanted = Wanted.of(
            self.signature(),
            self.input_specs,
            image_layout=self.image_layout,
            batch_size=batch_size,
            seed=seed,
        )
        lessons = train(trainable, train_data, validation, epochs, wanted)
        if save is not None and not lessons.stopped:
            trainable.save(save)
        return tuple(epoch.result() for epoch in lessons.epochs)

    def run(
        self,
        data: Any = None,
        preprocess: Callable[[Any], Any] | None = None,
        *,
        options: InputOptions | None = None,
    ) -> dict[str, np.ndarray[Any, Any]]:
        """One inference for people: anything in, NumPy arrays by name out.

        Args:
            data: path of an image, a folder of images, a text, ``.npy`` or
                ``.npz``; ``Text``; an array; a mapping of arrays by input name;
                None for synthetic data.
            preprocess: called on ``data`` first; short for that option.
            options: see ``InputOptions``.

        Raises:
            ModelInputError: the data do not fit the inputs.
            ModelLoadError: the file cannot be run.
        """
        from .inputs import InputOptions

        self.load()
        options = options or InputOptions()
        if preprocess is not None:
            options = replace(options, preprocess=preprocess)
        outputs = self.predict(self.prepare(self.make_inputs(data, options)))
        self.synchronize()
        return self.fetch(outputs)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r}, device={self.device!r})"


def _merge(spec: TensorSpec, shape: tuple[int, ...]) -> tuple[int, ...]:
    if spec.shape is not None:
        fits = len(spec.shape) == len(shape) and all(
            not isinstance(axis, int) or axis == size
            for axis, size in zip(spec.shape, shape, strict=True)
        )
        if not fits:
            asked = "x".join(map(str, shape))
            raise ModelInputError(f"the shape {asked} does not fit the input {spec}")
    return shape
