"""Training steps of a PyTorch network."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from greenai_core import ModelError, ModelInputError, Score, TimedLayered

from .torch_runtime import Feed, flatten, reason

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True)
class Batch:
    """One batch on the device."""

    feed: Feed
    targets: Any


class TorchTrainable:
    """A network in training: implements ``greenai_core.Trainable`` and ``Scored``.

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
        self._answer: Any = None
        self._asked: Any = None

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
            ModelError: memory ran out.
        """
        self._stepped(batch, lambda part, loss: None)

    def _stepped(self, batch: Batch, told: Callable[[str, Any], None]) -> None:
        """A step; ``told`` is called where each part of it begins, and at its end."""
        if not self._module.training:
            self._module.train()
        self._answer = self._asked = None
        with _errors_of(batch):
            told("optimiser", None)
            self._optimizer.zero_grad(set_to_none=True)
            told("forward", None)
            outputs = self._module(*batch.feed.args, **batch.feed.kwargs)
            told("loss", None)
            answer = _answer(outputs, batch.targets)
            self._loss = _loss(answer, batch.targets)
            told("backward", self._loss)
            self._loss.backward()
            told("optimiser", None)
            self._optimizer.step()
            told("", None)
        self._answer, self._asked = answer.detach(), batch.targets

    @contextlib.contextmanager
    def layered(self) -> Iterator[TimedLayered]:
        """The layers of a step; see ``greenai_core.LayeredTraining``.

        The learning rate is 0 meanwhile: a step does the same sums, and the weights, and so
        the cost of the next step, stay what they are.
        """
        from greenai_plugins.torch_steps import as_given

        from .torch_training_layers import TorchTrainingLayered

        with as_given(self._module, self._optimizer):
            for group in self._optimizer.param_groups:
                group["lr"] = 0.0
            yield TorchTrainingLayered(self._module, self._stepped, self._device)
        self._loss = self._answer = self._asked = None

    def accuracy(self) -> float | None:
        """Share of the last step's samples put into the right class; waits for it."""
        return None if self._answer is None else _accuracy(self._answer, self._asked)

    def score(self, batch: Batch) -> Score:
        """Loss and accuracy on a batch, in evaluation mode; no weight changes.

        Raises:
            ModelInputError: the batch does not fit the network.
            ModelError: memory ran out.
        """
        import torch

        self._module.eval()
        with _errors_of(batch), torch.no_grad():
            answer = _answer(self._module(*batch.feed.args, **batch.feed.kwargs), batch.targets)
            loss = float(_loss(answer, batch.targets))
        return Score(loss, _accuracy(answer, batch.targets))

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

        # Whoever loads the file wants to use it, not to go on training it.
        self._module.eval()
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


@contextlib.contextmanager
def _errors_of(batch: Batch) -> Iterator[None]:
    """What a network's code raises, as an error of greenai's."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:  # a network's own code may raise anything
        if _out_of_memory(error):
            count = len(batch.targets) if batch.targets.ndim else 1
            raise ModelError(
                f"memory ran out on a batch of {count} samples ({reason(error)}). "
                "Give a smaller --batch-size (in Python batch_size)"
            ) from error
        raise ModelInputError(
            f"the network cannot train on this batch ({reason(error)})"
        ) from error


def _out_of_memory(error: Exception) -> bool:
    import torch

    text = str(error)
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (
        isinstance(error, RuntimeError)
        and ("out of memory" in text or "can't allocate memory" in text)
    )


def _answer(outputs: Any, targets: Any) -> Any:
    """The output that the targets are compared with."""
    named = dict(flatten(outputs))
    if not named:
        raise ModelInputError("the network returns no tensor to compute a loss of")
    answer = named.get("logits", next(iter(named.values())))
    if targets.is_floating_point() and answer.shape != targets.shape:
        raise ModelInputError(
            f"the targets have the shape {tuple(targets.shape)}, "
            f"the network's output {tuple(answer.shape)}"
        )
    return answer


def _loss(answer: Any, targets: Any) -> Any:
    import torch

    if not targets.is_floating_point():
        return torch.nn.functional.cross_entropy(answer, targets)
    return torch.nn.functional.mse_loss(answer, targets.to(answer.dtype))


def _accuracy(answer: Any, targets: Any) -> float | None:
    """Share of right classes among the targets that count; None where they are values."""
    if targets.is_floating_point():
        return None
    right = answer.argmax(dim=1 if answer.ndim > 1 else 0) == targets
    counted = targets >= 0  # cross entropy leaves out the class -100
    return float((right & counted).sum()) / max(int(counted.sum()), 1)
