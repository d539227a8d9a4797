"""Training steps of a PyTorch network."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from greenai_core import ModelError, ModelInputError

from .torch_runtime import Feed, flatten, reason

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True)
class Batch:
    """One batch on the device."""

    feed: Feed
    targets: Any


class TorchTrainable:
    """A network in training: implements ``greenai_core.Trainable``.

    The loss is cross entropy where the targets are whole numbers (classes), mean
    squared error where they are floats; of several outputs ``logits`` or the
    first one is compared with them.

    Args:
        module: on its device.
        prepare: from NumPy inputs to the arguments of ``forward``.
        synchronize: waits for the device.
        optimizer: ``"sgd"`` or ``"adam"``.
        learning_rate: of the optimiser.
        whole: ``save`` writes the network itself instead of its state dict.
    """

    def __init__(
        self,
        module: Any,
        prepare: Callable[[Mapping[str, npt.NDArray[Any]]], Feed],
        synchronize: Callable[[], None],
        optimizer: str,
        learning_rate: float,
        *,
        whole: bool,
    ) -> None:
        import torch

        self._module = module
        self._prepare = prepare
        self._synchronize = synchronize
        self._whole = whole
        learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self._device = learning[0].device
        kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[optimizer]
        self._optimizer = kind(learning, lr=learning_rate)
        self._loss: Any = None

    def prepare_batch(
        self, inputs: Mapping[str, npt.NDArray[Any]], targets: npt.NDArray[Any]
    ) -> Batch:
        """Inputs and targets on the device; not timed.

        Raises:
            ModelInputError: they do not fit the network or each other.
        """
        import torch

        if targets.dtype.kind not in "iuf":
            raise ModelInputError(f"targets are classes or floats, these are {targets.dtype}")
        for name, array in inputs.items():
            if array.ndim and targets.ndim and array.shape[0] != targets.shape[0]:
                raise ModelInputError(
                    f"the batch has {array.shape[0]} samples of {name} and "
                    f"{targets.shape[0]} targets"
                )
        tensor = torch.tensor(targets)
        if not tensor.is_floating_point():
            tensor = tensor.long()
        return Batch(self._prepare(inputs), tensor.to(self._device))

    def step(self, batch: Batch) -> None:
        """One forward pass, backward pass and update of the weights.

        Raises:
            ModelInputError: the batch does not fit the network.
        """
        if not self._module.training:
            self._module.train()
        try:
            self._optimizer.zero_grad(set_to_none=True)
            outputs = self._module(*batch.feed.args, **batch.feed.kwargs)
            self._loss = _loss(outputs, batch.targets)
            self._loss.backward()
            self._optimizer.step()
        except ModelInputError:
            raise
        except Exception as error:  # a network's own code may raise anything
            raise ModelInputError(
                f"the network cannot train on this batch ({reason(error)})"
            ) from error

    def synchronize(self) -> None:
        """Wait until nothing started by ``step`` is still running."""
        self._synchronize()

    def loss(self) -> float:
        """Loss of the last step; waits for it.

        Raises:
            ModelError: there was no step yet.
        """
        if self._loss is None:
            raise ModelError("there is no loss yet: do a training step first")
        return float(self._loss.detach())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the trained network; the file is complete or not there at all.

        Raises:
            ModelError: it cannot be written.
        """
        import torch

        target = Path(path)
        unfinished = target.with_name(f".{target.name}.{os.getpid()}.unfinished")
        try:
            with unfinished.open("wb") as file:
                if isinstance(self._module, torch.jit.ScriptModule):
                    file.write(self._module.save_to_buffer())
                elif self._whole:
                    torch.save(self._module, file)
                else:
                    torch.save(self._module.state_dict(), file)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(target)
        except (OSError, RuntimeError) as error:  # PyTorch wraps some failures to write
            raise ModelError(f"{target} cannot be written ({reason(error)})") from error
        finally:
            unfinished.unlink(missing_ok=True)


def _loss(outputs: Any, targets: Any) -> Any:
    import torch

    named = dict(flatten(outputs))
    if not named:
        raise ModelInputError("the network returns no tensor to compute a loss of")
    output = named.get("logits", next(iter(named.values())))
    if not targets.is_floating_point():
        return torch.nn.functional.cross_entropy(output, targets)
    if output.shape != targets.shape:
        raise ModelInputError(
            f"the targets have the shape {tuple(targets.shape)}, "
            f"the network's output {tuple(output.shape)}"
        )
    return torch.nn.functional.mse_loss(output, targets.to(output.dtype))
