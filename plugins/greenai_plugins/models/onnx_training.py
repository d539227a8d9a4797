"""Training of ONNX models: through PyTorch, and back into the file's own graph."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from greenai_core import ModelError, ModelInputError, ModelLoadError, Score, loading

from . import onnx_conversion, onnx_learnable, onnx_opsets
from .onnx_conversion import Place
from .torch_runtime import NOTHING_LEARNS, Feed, reason
from .torch_training import Batch, TorchTrainable

if TYPE_CHECKING:
    import numpy.typing as npt

LARGEST = 2**31 - 2**20
"""A protocol buffer ends at 2 GiB."""

PASSES_SCORES = {"Identity", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Dropout", "Cast"}
"""Operators between a final softmax and the output that leave each score as it is."""

FLOATS = {1, 10, 11, 16}
"""``TensorProto.DataType`` of float, float16, double, bfloat16."""

AGREEMENT = {"float64": 1e-4, "float32": 1e-3, "float16": 3e-2}
"""Largest difference between PyTorch and ONNX Runtime, relative to the largest output."""


@dataclass(frozen=True)
class Opened:
    """An ONNX model opened for training.

    Attributes:
        model: the ``onnx.ModelProto`` that is written in the end.
        network: the same as PyTorch network, on the CPU.
        inputs: names in the order in which the network takes them.
        answer: name of the output that targets are compared with.
        final: the operator that makes scores of it: ``Softmax``, ``Sigmoid`` or another.
        places: of each tensor of the file that training changes.
    """

    model: Any
    network: Any
    inputs: tuple[str, ...]
    answer: str
    final: str
    places: Mapping[str, tuple[Place, ...]]


def open_model(path: Path, size: int) -> Opened:
    """Read and convert a model.

    Args:
        path: whose external data, if any, are in its folder.
        size: bytes of its weights.

    Raises:
        ModelLoadError: it cannot be trained; the message lacks the path where the
            file is whole.
        PluginUnavailable: a library is missing.
    """
    if size > LARGEST:
        raise ModelLoadError(
            f"its weights take {size / 1e9:.1f} GB, and an ONNX file that is written holds 2 GB "
            "at most. Train the network that it was exported from"
        )
    onnx_conversion.import_onnx2torch()
    model = _read(path)
    with loading(path, "the training of ONNX models"):
        _refuse_what_cannot_learn(model)
        onnx_learnable.expose_weights(model)
        onnx_learnable.see_through_identities(model)
        onnx_learnable.separate_equals(model)
        answer = _answer(model)
        part = onnx_learnable.part_for(model, answer)
        learnable = onnx_learnable.learnable(part)
        if not learnable.weights:
            # What cannot be converted is the better reason, where there is one.
            onnx_conversion.refuse_unconvertible(part)
            raise ModelLoadError(NOTHING_LEARNS)
        inputs = tuple(value.name for value in part.graph.input)
        converted = onnx_conversion.convert(part, learnable)
        _tie(converted.network, {name: converted.places[name] for name in learnable.weights})
        final, made = _final(part, answer)
        index = next(list(n.output).index(answer) for n in part.graph.node if answer in n.output)
        network = _network(converted.network, made if final == "Softmax" else "", index)
    return Opened(model, network, inputs, answer, final, converted.places)


def _read(path: Path) -> Any:
    import onnx

    with loading(path, "the onnx package"):
        return onnx.load(os.fspath(path))


def _refuse_what_cannot_learn(model: Any) -> None:
    if model.graph.sparse_initializer:
        raise ModelLoadError(
            "it holds sparse weights, which cannot be trained. Train the network that it was "
            "exported from"
        )
    training = onnx_learnable.in_training_mode(model.graph)
    if training:
        raise ModelLoadError(
            f"it was exported in training mode: {onnx_opsets.tell(training, model)}. Export "
            "the network in evaluation mode; with PyTorch's TrainingMode.PRESERVE after "
            "eval(), batch normalisation stays a layer and is trained as one"
        )


class OnnxTrainable(TorchTrainable):
    """An ONNX model in training.

    Classes are compared with what goes into a final softmax: cross entropy takes
    scores, not probabilities. Floats are compared with the output itself.

    Args:
        opened: the model; its network on its device.
        prepare: from NumPy inputs to the arguments of the network.
        synchronize: waits for the device.
        optimizer: ``"sgd"`` or ``"adam"``.
        learning_rate: of the optimiser.
    """

    def __init__(
        self,
        opened: Opened,
        prepare: Callable[[Mapping[str, npt.NDArray[Any]]], Feed],
        synchronize: Callable[[], None],
        optimizer: str,
        learning_rate: float,
    ) -> None:
        super().__init__(
            opened.network, prepare, synchronize, optimizer, learning_rate, whole=False
        )
        self._opened = opened

    def prepare_batch(
        self, inputs: Mapping[str, npt.NDArray[Any]], targets: npt.NDArray[Any]
    ) -> Batch:
        """Inputs and targets on the device; not timed.

        Raises:
            ModelInputError: they do not fit the network or each other, or are classes
                while the graph ends in a sigmoid.
        """
        if self._opened.final == "Sigmoid" and targets.dtype.kind in "iu":
            raise ModelInputError(
                f"the output {self._opened.answer!r} is made by a Sigmoid, so cross entropy of "
                "classes would be wrong. Give targets as floats of the shape of the output, whose "
                "loss is the mean squared error, or export the network without its Sigmoid"
            )
        return super().prepare_batch(inputs, targets)

    def step(self, batch: Batch) -> None:
        """One forward pass, backward pass and update of the weights.

        Raises:
            ModelInputError: the batch does not fit the network.
            ModelError: memory ran out.
        """
        with self._compared(batch):
            super().step(batch)

    def score(self, batch: Batch) -> Score:
        """Loss and accuracy on a batch, in evaluation mode; no weight changes.

        Raises:
            ModelInputError: the batch does not fit the network.
            ModelError: memory ran out.
        """
        with self._compared(batch):
            return super().score(batch)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the graph of the file with the trained weights, complete or not at all.

        Names, operators, opset and metadata are those of the file.

        Raises:
            ModelError: it cannot be written.
        """
        self._module.eval()
        for tensor in self._opened.model.graph.initializer:
            if tensor.name in self._opened.places:
                _store(tensor, self._opened.places[tensor.name][0])
        target = Path(path)
        unfinished = target.with_name(f".{target.name}.{os.getpid()}.unfinished")
        try:
            with unfinished.open("wb") as file:
                file.write(self._opened.model.SerializeToString())
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(target)
        except (OSError, ValueError) as error:  # protobuf raises ValueError beyond 2 GiB
            raise ModelError(f"{target} cannot be written ({reason(error)})") from error
        finally:
            unfinished.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _compared(self, batch: Batch) -> Iterator[None]:
        self._module.scores(not batch.targets.is_floating_point())
        try:
            yield
        finally:
            self._module.scores(False)


def feed(path: Path, opened: Opened, inputs: Mapping[str, npt.NDArray[Any]], device: Any) -> Feed:
    """NumPy inputs as the arguments of the network.

    Args:
        path: for messages.
        opened: the model.
        inputs: by name, all of them.
        device: of PyTorch.

    Raises:
        ModelInputError: PyTorch has no such type.
    """
    import torch

    tensors = []
    for name in opened.inputs:
        try:
            tensors.append(torch.tensor(inputs[name]).to(device))
        except (TypeError, ValueError) as error:
            raise ModelInputError(
                f"{path}: PyTorch has no tensors of {inputs[name].dtype} (input {name})"
            ) from error
    return Feed(tuple(tensors))


def waiter(device: Any) -> Callable[[], None]:
    """What waits until nothing is running on a PyTorch device any more."""
    import torch

    return lambda: torch.cuda.synchronize(device) if device.type == "cuda" else None


def check_agreement(opened: Opened, given: Feed, expected: npt.NDArray[Any]) -> None:
    """Compare the network with the file on one input, so that no other network is trained.

    Args:
        opened: the model, in evaluation mode.
        given: the input.
        expected: the output ``answer`` on it, by ONNX Runtime.

    Raises:
        ModelLoadError: they differ.
    """
    import torch

    try:
        with torch.no_grad():
            got = opened.network(*given.args).cpu().numpy()
    except Exception as error:  # operators of onnx2torch raise anything
        raise ModelLoadError(
            f"the network that onnx2torch makes of it does not run ({reason(error)}). Train the "
            "network that it was exported from"
        ) from error
    far = np.inf
    if got.shape == expected.shape:
        # NaN where both have it is agreement; infinities of masks are.
        with np.errstate(invalid="ignore"):
            apart = np.abs(np.where(got == expected, 0, got.astype(np.float64) - expected))
        apart = apart[~(np.isnan(got) & np.isnan(expected))]
        far = float(apart.max()) if apart.size else 0.0
    finite = np.abs(expected[np.isfinite(expected)])
    size = max(float(finite.max()) if finite.size else 0.0, 1.0)
    if not far <= AGREEMENT.get(str(expected.dtype), 0.0) * size:
        raise ModelLoadError(
            f"the network that onnx2torch makes of it differs from ONNX Runtime by {far:.3g} in "
            f"the output {opened.answer!r}, so another network would be trained. Train the network "
            "that it was exported from"
        )


def _answer(model: Any) -> str:
    """The output that targets are compared with: ``logits``, or the first of floats."""
    kinds = {value.name: value.type.tensor_type.elem_type for value in model.graph.output}
    floats = [name for name, kind in kinds.items() if kind in FLOATS]
    if not floats:
        raise ModelLoadError("its graph has no output of floats to compute a loss of")
    return "logits" if "logits" in floats else floats[0]


def _tie(network: Any, weights: Mapping[str, tuple[Place, ...]]) -> None:
    """Make each weight one parameter, however often the network uses it; fix all else."""
    import torch
    from torch.nn.utils import parametrize

    class Turned(torch.nn.Module):  # type: ignore[misc]  # PyTorch is no typed library here
        def __init__(self, weight: Any) -> None:
            super().__init__()
            self.weight = weight

        def forward(self, _: Any) -> Any:
            return self.weight.t()

    network.requires_grad_(False)
    for places in weights.values():
        first = places[0]
        weight = torch.nn.Parameter(first.tensor.detach().contiguous())
        for place in places:
            if place.turned != first.turned:
                if place.attribute not in place.module._parameters:
                    buffer = place.module._buffers.pop(place.attribute)
                    place.module.register_parameter(
                        place.attribute, torch.nn.Parameter(buffer, requires_grad=False)
                    )
                parametrize.register_parametrization(
                    place.module, place.attribute, Turned(weight), unsafe=True
                )
            else:
                place.module._buffers.pop(place.attribute, None)
                place.module._parameters[place.attribute] = weight


def _network(converted: Any, softmax: str, index: int) -> Any:
    """The converted network with one tensor as output.

    Args:
        converted: by onnx2torch.
        softmax: name of the tensor that a final softmax gives; empty without one.
        index: of the output among those of its node.
    """
    import torch

    class Optional(torch.nn.Module):  # type: ignore[misc]  # as above
        """A softmax that can be left out."""

        def __init__(self, softmax: Any) -> None:
            super().__init__()
            self.softmax = softmax
            self.skipped = False

        def forward(self, scores: Any) -> Any:
            return scores if self.skipped else self.softmax(scores)

    class Network(torch.nn.Module):  # type: ignore[misc]  # as above
        def __init__(self) -> None:
            super().__init__()
            self.converted = converted
            self.final = None
            for name, module in list(converted.named_children()):
                mapping = getattr(module, "onnx_mapping", None)
                if softmax and mapping is not None and softmax in mapping.outputs:
                    self.final = Optional(module)
                    converted.add_module(name, self.final)

        def scores(self, wanted: bool) -> None:
            """Give what goes into the final softmax, or what comes out of it."""
            if self.final is not None:
                self.final.skipped = wanted

        def forward(self, *inputs: Any) -> Any:
            outputs = self.converted(*inputs)
            return outputs[index] if isinstance(outputs, (tuple, list)) else outputs

    return Network().eval()


def _final(model: Any, answer: str) -> tuple[str, str]:
    """The operator that makes the scores of an output, and the tensor that it gives."""
    makers = {name: node for node in model.graph.node for name in node.output}
    name = answer
    while name in makers and makers[name].op_type in PASSES_SCORES:
        name = makers[name].input[0]
    return (makers[name].op_type if name in makers else ""), name


def _store(tensor: Any, place: Place) -> None:
    """Put a trained tensor into its initializer, whose name, type and shape stay."""
    value = place.tensor.detach()
    value = value.t() if place.turned else value
    array = value.cpu().contiguous().numpy()
    for field in ("float_data", "double_data", "int32_data", "int64_data", "uint64_data"):
        tensor.ClearField(field)
    tensor.raw_data = array.astype(array.dtype.newbyteorder("<")).tobytes()
