"""Unstructured sparse execution: only the weights that are not 0 are multiplied.

PyTorch has products of a sparse matrix in CSR form with a dense one, and no sparse
convolution: that is done as the patches of the image side by side (``unfold``), times a
sparse matrix.
"""

from __future__ import annotations

import warnings

from torch import Tensor, nn
from torch.nn import functional


def sparse(network: nn.Sequential, convolutions: bool = True) -> nn.Sequential:
    """The same function with sparse kernels.

    Args:
        network: what ``layers.fold`` gave.
        convolutions: whether they too are sparse, and not the linear layers alone.
    """
    made: list[nn.Module] = []
    for layer in network:
        if isinstance(layer, nn.Linear):
            made.append(CsrLinear(layer))
        elif isinstance(layer, nn.Conv2d) and convolutions:
            made.append(CsrConvolution(layer))
        else:
            made.append(layer)
    return nn.Sequential(*made).eval().requires_grad_(False)


def csr(matrix: Tensor) -> Tensor:
    """A matrix in CSR form."""
    with warnings.catch_warnings():
        # PyTorch says once that CSR is "in beta"; nothing follows from it here.
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support", category=UserWarning)
        return matrix.detach().to_sparse_csr()


class CsrLinear(nn.Module):  # type: ignore[misc]  # PyTorch's types are not read
    """A linear layer with a sparse matrix."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.matrix = csr(layer.weight)
        self.bias = None if layer.bias is None else layer.bias.detach()[:, None]

    def forward(self, inputs: Tensor) -> Tensor:
        """Of N x in inputs, N x out outputs."""
        outputs = self.matrix @ inputs.t()
        return (outputs if self.bias is None else outputs + self.bias).t()


class CsrConvolution(nn.Module):  # type: ignore[misc]  # likewise
    """A convolution as a sparse matrix times the patches of the image."""

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        if layer.groups != 1 or isinstance(layer.padding, str):
            raise ValueError("grouped convolutions and padding by name are not done sparsely here")
        self.matrix = csr(layer.weight.flatten(1))
        self.bias = None if layer.bias is None else layer.bias.detach()[:, None]
        self.kernel, self.stride = layer.kernel_size, layer.stride
        self.padding, self.dilation = layer.padding, layer.dilation

    def forward(self, images: Tensor) -> Tensor:
        """Of N x C x H x W images, N x out x H' x W' images."""
        patches = functional.unfold(images, self.kernel, self.dilation, self.padding, self.stride)
        count, columns, places = patches.shape
        side_by_side = patches.transpose(0, 1).reshape(columns, count * places)
        outputs = self.matrix @ side_by_side
        if self.bias is not None:
            outputs = outputs + self.bias
        height = self._size(images.shape[2], 0)
        spread = outputs.reshape(-1, count, places).transpose(0, 1)
        return spread.reshape(count, -1, height, places // height)

    def _size(self, pixels: int, axis: int) -> int:
        reach: int = self.dilation[axis] * (self.kernel[axis] - 1) + 1
        padded: int = pixels + 2 * self.padding[axis]
        size: int = (padded - reach) // self.stride[axis] + 1
        return size
