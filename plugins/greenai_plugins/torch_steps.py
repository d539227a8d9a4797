"""Steps of PyTorch training and inference to search a power cap with.

A search runs some hundred steps. They are real ones: batches come from the user's own
loader, weights and the state of the optimiser change. When the block ends everything is, bit
for bit, as it was given::

    with training_step(model, loader, loss_fn, optimizer) as step:
        found = optimise_power_cap(step, gpu=0)
"""

from __future__ import annotations

import contextlib
import copy
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from greenai_core import ConfigError

Step = Callable[[], None]


@contextlib.contextmanager
def training_step(
    model: Any,
    dataloader: Iterable[Any],
    loss_fn: Callable[..., Any] | None,
    optimizer: Any,
    *,
    device: Any = None,
) -> Iterator[Step]:
    """A training step: forward, loss, backward, optimiser.

    Args:
        model: a ``torch.nn.Module``; where its parameters are is where it runs.
        dataloader: gives ``(inputs, targets)``, or mappings that the model takes as keywords;
            gone through as often as needed.
        loss_fn: of outputs and targets (of outputs and batch, for mappings); None for models
            whose output has a ``loss``.
        optimizer: a ``torch.optim.Optimizer`` of the model.
        device: for the batches; None for that of the model.

    Yields:
        The step; it returns when the GPU has finished.

    Raises:
        ConfigError: the loader can only be gone through once.
    """
    import torch

    with _given_back(model, optimizer, dataloader) as batches:
        model.train()
        place = _place(model, device)

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            loss = _loss(model, _moved(next(batches), place), loss_fn)
            loss.backward()
            optimizer.step()
            _wait(torch)

        yield step


@contextlib.contextmanager
def inference_step(model: Any, dataloader: Iterable[Any], *, device: Any = None) -> Iterator[Step]:
    """An inference in evaluation mode. Arguments as in ``training_step``.

    Yields:
        The step; it returns when the GPU has finished.

    Raises:
        ConfigError: the loader can only be gone through once.
    """
    import torch

    with _given_back(model, None, dataloader) as batches:
        model.eval()
        place = _place(model, device)

        def step() -> None:
            # Not inference_mode: what the model keeps of such a pass could not be trained with.
            with torch.no_grad():
                _outputs(model, _moved(next(batches), place))
            _wait(torch)

        yield step


@contextlib.contextmanager
def _given_back(model: Any, optimizer: Any, dataloader: Iterable[Any]) -> Iterator[Iterator[Any]]:
    """Endless batches; afterwards everything is as it was."""
    if isinstance(dataloader, Iterator):
        raise ConfigError(
            "the batches can only be gone through once, so the search would use them up. Give a "
            "DataLoader, or a list of batches"
        )
    with as_given(model, optimizer, dataloader):
        batches = _endless(_fresh(dataloader))
        with contextlib.closing(batches):
            yield batches


@contextlib.contextmanager
def as_given(
    model: Any, optimizer: Any = None, dataloader: Any = None, *others: Any
) -> Iterator[None]:
    """Whatever is done meanwhile, afterwards all of them are, bit for bit, as they were.

    For steps of one's own, with a gradient scaler, say::

        with as_given(model, optimizer, loader, scaler, scheduler):
            found = optimise_power_cap(step)

    Args:
        model: a ``torch.nn.Module``: its parameters, gradients, buffers and modes.
        optimizer: of it, or None.
        dataloader: whose generators of random numbers, beside the global ones, are put back.
        others: what has ``state_dict`` and ``load_state_dict``.

    Raises:
        ConfigError: the model has parameters that its first batch will make.
    """
    _check_made(model)
    with contextlib.ExitStack() as stack:
        stack.callback(_random_numbers(dataloader))
        stack.callback(_weights(model))
        if optimizer is not None:
            stack.callback(_optimiser(optimizer))
        for one in others:
            stack.callback(one.load_state_dict, copy.deepcopy(one.state_dict()))
        yield


def _check_made(model: Any) -> None:
    from torch.nn.parameter import is_lazy

    lazy = [
        name
        for named in (model.named_parameters(), model.named_buffers())
        for name, tensor in named
        if is_lazy(tensor)
    ]
    if lazy:
        raise ConfigError(
            f"{', '.join(lazy)} of the model will only be made by its first batch, and could not "
            "be given back as it is. Let the model see one batch first"
        )


def _fresh(dataloader: Any) -> Any:
    """A loader with workers of its own: those that persist would have drawn other numbers."""
    if getattr(dataloader, "persistent_workers", False):
        dataloader = copy.copy(dataloader)
        dataloader._iterator = None
    return dataloader


def _endless(dataloader: Iterable[Any]) -> Any:
    def batches() -> Iterator[Any]:
        while True:
            empty = True
            for batch in dataloader:
                empty = False
                yield batch
            if empty:
                raise ConfigError("the loader gives no batch")

    return batches()


# What is given back


def _copied(tensor: Any) -> Any:
    # In the memory of the host: the GPU may have no room for a second copy.
    return None if tensor is None else tensor.detach().to("cpu", copy=True)


def _weights(model: Any) -> Callable[[], None]:
    """Remember parameters, gradients, buffers and modes; what puts them back."""
    parameters = [(p, _copied(p), p.grad, _copied(p.grad)) for p in model.parameters()]
    buffers = [
        (module, name, buffer, _copied(buffer))
        for module in model.modules()
        for name, buffer in module._buffers.items()
    ]
    modes = [(module, module.training, set(module._buffers.keys())) for module in model.modules()]

    def put_back() -> None:
        for parameter, content, grad, grad_content in parameters:
            parameter.data.copy_(content)
            if grad is not None:
                grad.data.copy_(grad_content)
            parameter.grad = grad
        for module, name, buffer, content in buffers:
            if buffer is not None:
                buffer.data.copy_(content)
            module._buffers[name] = buffer  # code may have put another tensor there
        for module, training, names in modes:
            module.training = training
            for name in set(module._buffers.keys()) - names:
                del module._buffers[name]

    return put_back


def _optimiser(optimizer: Any) -> Callable[[], None]:
    """Remember the state of an optimiser; what puts it back.

    Not by ``load_state_dict``, which casts the state to the type of the parameters.
    """
    state = {key: _remembered(value) for key, value in optimizer.state.items()}
    groups = [
        {key: copy.deepcopy(value) for key, value in group.items() if key != "params"}
        for group in optimizer.param_groups
    ]

    def put_back() -> None:
        optimizer.state.clear()
        optimizer.state.update({key: again() for key, again in state.items()})
        for group, before in zip(optimizer.param_groups, groups, strict=True):
            for key in set(group) - set(before) - {"params"}:
                del group[key]
            group.update(before)

    return put_back


def _remembered(value: Any) -> Callable[[], Any]:
    """Remember a tensor, or what holds tensors; what gives it back: the same tensors."""
    if hasattr(value, "detach"):
        content = _copied(value)

        def tensor() -> Any:
            value.data.copy_(content)
            return value

        return tensor
    if isinstance(value, dict):
        items = {key: _remembered(one) for key, one in value.items()}
        return lambda: type(value)((key, again()) for key, again in items.items())
    if type(value) in (list, tuple):
        kept = [_remembered(one) for one in value]
        return lambda: type(value)(again() for again in kept)
    plain = copy.deepcopy(value)
    return lambda: plain


def _random_numbers(dataloader: Any) -> Callable[[], None]:
    """Remember where all random numbers are; what puts them back."""
    import numpy as np
    import torch

    cpu, plain, vector = torch.get_rng_state(), random.getstate(), np.random.get_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    own = [(generator, generator.get_state()) for generator in _generators(dataloader)]

    def put_back() -> None:
        torch.set_rng_state(cpu)
        random.setstate(plain)
        np.random.set_state(vector)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)
        for generator, state in own:
            generator.set_state(state)

    return put_back


def _generators(dataloader: Any) -> list[Any]:
    """The generators of a loader and of its samplers, each once."""
    holders = [dataloader, getattr(dataloader, "sampler", None)]
    batch_sampler = getattr(dataloader, "batch_sampler", None)
    holders += [batch_sampler, getattr(batch_sampler, "sampler", None)]
    found = [getattr(holder, "generator", None) for holder in holders]
    return list({id(one): one for one in found if hasattr(one, "get_state")}.values())


# Steps


def _place(model: Any, device: Any) -> Any:
    if device is not None:
        return device
    first = next(model.parameters(), None)
    return "cpu" if first is None else first.device


def _moved(batch: Any, device: Any) -> Any:
    if hasattr(batch, "to"):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, Mapping):
        return {key: _moved(value, device) for key, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return [_moved(value, device) for value in batch]
    return batch


def _outputs(model: Any, batch: Any) -> Any:
    if isinstance(batch, Mapping):
        return model(**batch)
    return model(batch[0] if isinstance(batch, list) else batch)


def _loss(model: Any, batch: Any, loss_fn: Callable[..., Any] | None) -> Any:
    outputs = _outputs(model, batch)
    if loss_fn is None:
        return outputs.loss
    return loss_fn(outputs, batch[1] if isinstance(batch, list) else batch)


def _wait(torch: Any) -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
