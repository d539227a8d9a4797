"""Safetensors files, sharded checkpoints and the model folders of Hugging Face."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from greenai_core import Ability, ModelLoadError, TensorSpec, Trainable, loading

from . import checkpoint_files, hugging_face, quantised_weights, torch_count
from .fitting import check_shapes
from .pytorch_format import PytorchModel
from .torch_checkpoint import Checkpoint
from .torch_runtime import NOTHING_LEARNS, Feed

if TYPE_CHECKING:
    import numpy.typing as npt

NEEDS_NETWORK = (
    "it holds weights but not the network: name its class with --class module:Name (in Python "
    "model_class=), or give a model folder with its config.json"
)


class SafetensorsModel(PytorchModel):
    """A ``.safetensors`` file, an index of shards, or a model folder of transformers.

    It is counted by the headers of its files, always. It runs with the class of the
    network, or, where a ``config.json`` lies beside the weights, as the network of
    transformers that it names.

    Trainable are the floating tensors but running statistics and frequency tables;
    quantised weights count one by one, packed or not, and are not trainable. The
    scales, zero points and tables of a quantisation, and masks, are no parameters.

    Args:
        model_class: ``"module:Name"`` (the current folder is looked in too), or
            a class or function that makes the network.
        model_constructor: the same, for a function.
        model_args: arguments for it: a mapping, a sequence, or JSON of either.
        trust: let code that lies in a model folder make the network.
        input_dtypes: element types of inputs by name, for a network with a class.
        optimizer: ``"sgd"`` (default) or ``"adam"``, for training.
        learning_rate: 0.01 by default.
    """

    format = "safetensors"
    suffixes: ClassVar[tuple[str, ...]] = (
        ".safetensors",
        ".safetensors.index.json",
        ".bin.index.json",
    )
    option_names = {  # noqa: RUF012  # ClassVar by the base class
        **PytorchModel.option_names,
        "trust": "let code that lies in a model folder make the network",
    }

    _specs: tuple[TensorSpec, ...] | None = None

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Whether it begins with a header of the format, or is an index or a folder of weights."""
        return path.exists() and checkpoint_files.recognised(path)

    def cannot_run(self) -> str:
        """Without a class and without ``config.json`` there is no network."""
        if self._constructor() is not None:
            return ""
        try:
            with loading(self.path, "greenai"):
                folder = checkpoint_files.find(self.path).folder
                if folder is None:
                    return NEEDS_NETWORK
                return hugging_face.cannot_load(checkpoint_files.config(folder))
        except ModelLoadError as error:
            return str(error).removeprefix(f"{self.path}: ")

    def abilities(self) -> Mapping[str, Ability]:
        """Run, train and layers: all with the network, none without."""
        cannot = self.cannot_run()
        able = Ability(not cannot, cannot)
        frozen = self._module is not None and not any(
            parameter.requires_grad for parameter in self._module.parameters()
        )
        return {
            "run": able,
            "train": Ability(False, NOTHING_LEARNS) if frozen else able,
            "layers": able,
        }

    def load_weights(self) -> None:
        """Make the network, fill it and bring it to the device.

        Raises:
            ModelLoadError: a file is damaged, or the network does not fit the weights.
            PluginUnavailable: transformers is missing, or PyTorch cannot use the device.
        """
        with loading(self.path, "PyTorch"):
            found = checkpoint_files.find(self.path)
            if self._constructor() is not None:
                self.place(self._network(Checkpoint(state=checkpoint_files.load(found))))
                return
            # The headers tell more of a damaged file than transformers does.
            list(checkpoint_files.headers(found))
            assert found.folder is not None  # cannot_run() would have refused
            self.place(hugging_face.load(found.folder, self._trusted()))

    def signature(self) -> tuple[TensorSpec, ...]:
        """What the class, or the configuration of the model, says of the inputs.

        Raises:
            ModelLoadError: the network cannot be found.
            PluginUnavailable: transformers is missing.
        """
        folder = self._folder()
        if folder is None:
            return super().signature()
        if self._specs is None:
            kind, config = hugging_face.network_class(folder, self._trusted())
            wanted = set(self.input_shapes) | set(self._dtypes())
            specs = hugging_face.inputs(kind, config, folder, wanted)
            types = self._dtypes()
            self._specs = tuple(
                replace(spec, dtype=types.get(spec.name, spec.dtype)) for spec in specs
            )
        return self._specs

    def keyword_inputs(self) -> Sequence[str]:
        """All of them."""
        if self._folder() is None:
            return super().keyword_inputs()
        return [spec.name for spec in self.signature()]

    def prepare(self, inputs: Mapping[str, npt.NDArray[Any]]) -> Feed:
        """Tensors on the device; floats in the type of the network's weights.

        Raises:
            ModelInputError: an input is missing, unknown or of another shape.
        """
        self.load()
        check_shapes(self.path, self.signature(), inputs)
        return super().prepare(inputs)

    def as_trainable(self) -> Trainable:
        """The network in training.

        Raises:
            ModelLoadError: the file cannot be run, or nothing in it learns.
        """
        from .safetensors_training import SafetensorsTrainable

        self.load()
        if not any(parameter.requires_grad for parameter in self._module.parameters()):
            raise ModelLoadError(f"{self.path}: {NOTHING_LEARNS}")
        return SafetensorsTrainable(
            self._module, self.prepare, self.synchronize, *self.train_options(), self._folder()
        )

    def _held(self) -> Iterator[torch_count.Held]:
        with loading(self.path, "greenai"):
            found = checkpoint_files.find(self.path)
            config = checkpoint_files.config(found.folder) if found.folder is not None else {}
            tensors = dict(checkpoint_files.headers(found))
            yield from quantised_weights.parameters(tensors, config)

    def _folder(self) -> Path | None:
        """The model folder that the network is made from; None with a class of the user's."""
        if self._constructor() is not None:
            return None
        return checkpoint_files.find(self.path).folder

    def _matching(self, state: Mapping[str, Any], module: Any) -> Mapping[str, Any]:
        """The state with the names, too, whose numbers a checkpoint holds under another name."""
        matching = dict(super()._matching(state, module))
        held: dict[tuple[int, int, int], str] = {}
        own = module.state_dict()
        for name, tensor in own.items():
            if name in matching:
                held[_place(tensor)] = name
        for name, tensor in own.items():
            if name not in matching and tensor.numel() and _place(tensor) in held:
                matching[name] = matching[held[_place(tensor)]]
        return matching


def _place(tensor: Any) -> tuple[int, int, int]:
    return tensor.untyped_storage().data_ptr(), tensor.storage_offset(), tensor.numel()
