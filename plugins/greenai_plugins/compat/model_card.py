"""What a network is: its parameters and multiply-accumulates, as AIPowerMeter's cards have it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from greenai_core import ModelInputError
from greenai_plugins.models import torch_macs
from greenai_plugins.models.torch_runtime import Feed


def model_card(model: Any, input_size: Sequence[int] | None = None) -> dict[str, Any]:
    """The card of a PyTorch network, which is left as it was.

    Args:
        model: a ``torch.nn.Module``.
        input_size: shape of its one input, with the batch; None: nothing is counted that
            depends on it.

    Returns:
        ``total_params``, ``trainable_params``, ``name``; with a shape also ``input_size``
        and ``total_mult_adds`` of one forward pass, or None and ``mult_adds_reason``.
    """
    import torch

    parameters = list(model.parameters())
    card: dict[str, Any] = {
        "name": type(model).__name__,
        "total_params": sum(one.numel() for one in parameters),
        "trainable_params": sum(one.numel() for one in parameters if one.requires_grad),
    }
    if input_size is None:
        return card
    first = parameters[0] if parameters else torch.zeros(())
    data = torch.zeros(tuple(input_size), device=first.device, dtype=first.dtype)
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        macs, reason = torch_macs.count(model, Feed((data,)))
    except ModelInputError as error:
        macs, reason = None, str(error)
    finally:
        for module, training in modes:
            module.training = training
    card |= {"input_size": list(input_size), "total_mult_adds": macs}
    return card if macs is not None else {**card, "mult_adds_reason": reason}
