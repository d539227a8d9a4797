"""What input a convolutional network takes, found by trying; its file does not say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from greenai_core import ModelLoadError

USUAL_SHAPES = (
    (3, 224, 224), (3, 32, 32), (1, 28, 28), (3, 299, 299), (1, 224, 224), (1, 32, 32),
    (3, 64, 64), (3, 256, 256), (1, 64, 64), (3, 28, 28), (4, 224, 224), (3, 96, 96),
    (3, 128, 128), (1, 128, 128), (3, 227, 227), (3, 384, 384), (3, 512, 512),
)  # fmt: skip
"""Channels, height and width of ImageNet, CIFAR, MNIST, Inception and other usual inputs."""

COMPILED = ("aten::conv2d", "aten::_convolution", "quantized::conv2d", "quantized::conv2d_relu")
"""Operators that convolve images in a program without layers, which freezing leaves."""


def is_convolutional(module: Any) -> bool:
    """Whether a network, compiled or not, convolves images."""
    import torch

    for layer in module.modules():
        name = str(getattr(layer, "original_name", ""))
        if isinstance(layer, torch.nn.Conv2d) or (name.startswith("Conv") and name.endswith("2d")):
            return True
    if not hasattr(module, "inlined_graph"):
        return False
    graph = module.inlined_graph
    return any(graph.findAllNodes(operator) for operator in COMPILED)


def first_that_runs(call: Callable[[Any], Any], device: Any, dtype: Any) -> tuple[int, ...] | None:
    """The first usual shape of one image, without batch axis, that the network takes.

    Args:
        call: runs the network, in evaluation mode, on a batch of one.
        device: where the network is.
        dtype: of its weights.

    Raises:
        ModelLoadError: there is not enough memory to try.
    """
    import torch

    for shape in USUAL_SHAPES:
        image = torch.zeros((1, *shape), device=device, dtype=dtype)
        try:
            with torch.inference_mode():
                call(image)
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise ModelLoadError(
                f"the memory of {device} does not hold one inference on {shape}. "
                "Give a smaller --input-shape"
            ) from error
        except Exception:  # noqa: BLE001, S112  # any refusal means: the next shape
            continue
        return shape
    return None
