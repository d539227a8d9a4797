"""One inference of a PyTorch network, as a study asks for it.

The network is in evaluation mode, without gradients, and its input lies on the device
before the clock starts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from greenai_core import ParameterCount, StudyWork

WEIGHTS = "GREENAI_STUDY_WEIGHTS"
"""Environment variable: a folder with files of weights, or ``pretrained``; unset: random weights.

``pretrained`` asks torchvision, or transformers, for its own weights: it downloads
them where they are not on this machine yet.
"""
SEED = 20261122
FLOPS_PER_MAC = 2

StateDict = dict[str, torch.Tensor]
Adapt = Callable[[StateDict, nn.Module], StateDict]


def images(batch_size: int, size: int) -> dict[str, torch.Tensor]:
    """Random images of values from 0 to 1: ``images``, batch_size x 3 x size x size, float32."""
    generator = torch.Generator().manual_seed(SEED)
    return {"images": torch.rand(batch_size, 3, size, size, generator=generator)}


def with_random_weights(make: Callable[[], nn.Module]) -> nn.Module:
    """The network with the same random weights each time, whatever else draws numbers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        return make()


def with_weights(
    make: Callable[[], nn.Module], name: str, adapt: Adapt | None = None
) -> tuple[nn.Module, str]:
    """The network with the weights that the environment asks for, and where they are from.

    Args:
        make: the network, named and shaped as torchvision's is.
        name: of the network in torchvision; its file's name begins with it.
        adapt: the state dict -> the one that fits a network of another input size.

    Raises:
        FileNotFoundError: the folder holds no file of that network.
        ModuleNotFoundError: ``pretrained`` is asked for, and torchvision is not installed.
    """
    asked = os.environ.get(WEIGHTS, "")
    if not asked:
        return with_random_weights(make), "random weights"
    if asked == "pretrained":
        state, note = _of_torchvision(name), "weights of torchvision"
    else:
        path = weights_in(Path(asked), f"{name}*.pth")
        state = torch.load(path, map_location="cpu", weights_only=True)
        note = f"weights of {path.name}"
    module = with_random_weights(make)
    module.load_state_dict(adapt(state, module) if adapt else state)
    return module, note


def weights_in(folder: Path, pattern: str) -> Path:
    """The file or folder of that pattern.

    Raises:
        FileNotFoundError: there is none.
    """
    found = sorted(folder.glob(pattern))
    if not found:
        raise FileNotFoundError(
            f"{folder} holds no {pattern}: put the file of weights there, or unset {WEIGHTS} "
            "for random weights"
        )
    return found[0]


def work(
    module: nn.Module,
    inputs: Mapping[str, torch.Tensor],
    device: str,
    *,
    macs: int | None,
    note: str,
) -> StudyWork:
    """One inference of the module, which is moved to the device with its inputs first.

    Args:
        module: on the processor.
        inputs: by the names of its arguments.
        device: ``cpu``, ``cuda``, ``cuda:1`` …
        macs: multiply-accumulates of one inference of the whole batch.
        note: in words, such as "random weights".
    """
    parameters = count_parameters(module)
    module = module.to(device).eval()
    placed = {name: value.to(device) for name, value in inputs.items()}

    @torch.inference_mode()
    def step() -> object:
        return module(**placed)

    def synchronize() -> None:
        torch.cuda.synchronize(device)

    return StudyWork(
        step,
        synchronize=synchronize if torch.device(device).type == "cuda" else None,
        parameters=parameters,
        macs=macs,
        note=note,
    )


def count_parameters(module: nn.Module) -> ParameterCount:
    """Parameters and the floating-point buffers of a network; shared ones once."""
    trainable = list(module.parameters())
    buffers = [buffer for buffer in module.buffers() if buffer.is_floating_point()]
    return ParameterCount(
        trainable=sum(tensor.numel() for tensor in trainable),
        non_trainable=sum(tensor.numel() for tensor in buffers),
        bytes=sum(tensor.numel() * tensor.element_size() for tensor in (*trainable, *buffers)),
    )


def count_macs(make: Callable[[], nn.Module], inputs: Mapping[str, torch.Tensor]) -> int:
    """Multiply-accumulates of convolutions and matrix products, on tensors without content.

    Args:
        make: the network; nothing of it is allocated or computed.
        inputs: by the names of its arguments; only their shapes and types matter.
    """
    shapes = {name: torch.empty_like(value, device="meta") for name, value in inputs.items()}
    with torch.device("meta"):
        module = make().eval()
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        module(**shapes)
    return int(counter.get_total_flops()) // FLOPS_PER_MAC


def _of_torchvision(name: str) -> StateDict:
    try:
        from torchvision import models
    except ImportError as error:
        raise ModuleNotFoundError(
            f"{WEIGHTS}=pretrained needs torchvision: install it, or set {WEIGHTS} to a folder "
            f"with its file {name}*.pth"
        ) from error
    return dict(models.get_model(name, weights="DEFAULT").state_dict())
