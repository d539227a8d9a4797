"""A one-stage object detector of about 7 million parameters, of the size of YOLOv5s.

It is not YOLOv5s but an implementation of the same published parts: a backbone of
cross-stage partial blocks (CSPNet, arXiv 1911.11929), pooling at several scales (SPP, arXiv
1406.4729), a neck that mixes three resolutions down and up (PANet, arXiv 1803.01534), and a
head that predicts boxes, objectness and classes at each of three anchors (YOLOv3, arXiv
1804.02767). It computes boxes in pixels; what follows in an application, the choice among
overlapping ones (non-maximum suppression), is left out, since with random weights there is
nothing to choose.
"""

from __future__ import annotations

import torch
from study_inference import count_macs, images, with_random_weights, work
from torch import nn

from greenai_core import StudyWork

STRIDES = (8, 16, 32)
ANCHORS = (
    ((10, 13), (16, 30), (33, 23)),
    ((30, 61), (62, 45), (59, 119)),
    ((116, 90), (156, 198), (373, 326)),
)
"""Widths and heights in pixels at each stride, from the paper of YOLOv3."""
POOLS = (5, 9, 13)
SILU_GAIN = 2.4
"""Variance of the random weights times their number: signals neither die out nor grow past all
bounds on their way; 2 would be He's for ReLU, 2.8 is 1 / E[silu(x)^2] of a standard normal x."""


class Conv(nn.Sequential):
    """Convolution, batch normalisation, SiLU."""

    def __init__(self, before: int, after: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(after),
            nn.SiLU(inplace=True),
        )


class Residual(nn.Module):
    """Two convolutions, beside a short cut if wanted."""

    def __init__(self, width: int, shortcut: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(Conv(width, width), Conv(width, width, 3))
        self.shortcut = shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x) if self.shortcut else self.body(x)


class Partial(nn.Module):
    """A cross-stage partial block: half of the channels go around its residual blocks."""

    def __init__(self, before: int, after: int, blocks: int = 1, shortcut: bool = True) -> None:
        super().__init__()
        half = after // 2
        self.around = Conv(before, half)
        self.through = nn.Sequential(
            Conv(before, half), *(Residual(half, shortcut) for _ in range(blocks))
        )
        self.joined = Conv(2 * half, after)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.joined(torch.cat([self.through(x), self.around(x)], dim=1))


class Pyramid(nn.Module):
    """Maxima over several neighbourhoods, side by side."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.before = Conv(width, width // 2)
        self.pools = nn.ModuleList(nn.MaxPool2d(side, 1, side // 2) for side in POOLS)
        self.after = Conv(width // 2 * (len(POOLS) + 1), width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.before(x)
        return self.after(torch.cat([x, *(pool(x) for pool in self.pools)], dim=1))


class Backbone(nn.Module):
    """Images -> features at strides 8, 16 and 32, of 128, 256 and 512 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.to_8 = nn.Sequential(
            Conv(3, 32, 3, 2), Conv(32, 64, 3, 2), Partial(64, 64, 1),
            Conv(64, 128, 3, 2), Partial(128, 128, 2),
        )  # fmt: skip
        self.to_16 = nn.Sequential(Conv(128, 256, 3, 2), Partial(256, 256, 3))
        self.to_32 = nn.Sequential(Conv(256, 512, 3, 2), Partial(512, 512, 1), Pyramid(512))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        fine = self.to_8(images)
        middle = self.to_16(fine)
        return fine, middle, self.to_32(middle)


class Neck(nn.Module):
    """Mixes the three resolutions, from the coarse to the fine and back."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Upsample(scale_factor=2)
        self.narrow_32, self.narrow_16 = Conv(512, 256), Conv(256, 128)
        self.mix_16 = Partial(512, 256, shortcut=False)
        self.mix_8 = Partial(256, 128, shortcut=False)
        self.down_8, self.down_16 = Conv(128, 128, 3, 2), Conv(256, 256, 3, 2)
        self.out_16 = Partial(256, 256, shortcut=False)
        self.out_32 = Partial(512, 512, shortcut=False)

    def forward(
        self, fine: torch.Tensor, middle: torch.Tensor, coarse: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        top = self.narrow_32(coarse)
        mixed = self.narrow_16(self.mix_16(torch.cat([self.up(top), middle], dim=1)))
        out_8 = self.mix_8(torch.cat([self.up(mixed), fine], dim=1))
        out_16 = self.out_16(torch.cat([self.down_8(out_8), mixed], dim=1))
        return out_8, out_16, self.out_32(torch.cat([self.down_16(out_16), top], dim=1))


class Detector(nn.Module):
    """Images, N x 3 x H x W -> boxes, N x B x (5 + classes).

    Each box is centre x, centre y, width and height in pixels, objectness, and a
    probability a class; H and W are multiples of 32.
    """

    def __init__(self, classes: int = 80) -> None:
        super().__init__()
        self.backbone, self.neck = Backbone(), Neck()
        self.values = 5 + classes
        self.heads = nn.ModuleList(
            nn.Conv2d(width, len(anchors) * self.values, 1)
            for width, anchors in zip((128, 256, 512), ANCHORS, strict=True)
        )
        self.register_buffer("anchors", torch.tensor(ANCHORS, dtype=torch.float32), False)
        for module in self.modules():
            if isinstance(module, Conv):
                inputs = module[0].weight[0].numel()
                nn.init.normal_(module[0].weight, std=(SILU_GAIN / inputs) ** 0.5)
        for head in self.heads:
            nn.init.normal_(head.weight, std=0.01)
            nn.init.zeros_(head.bias)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.neck(*self.backbone(images))
        found = [
            self._boxes(head(x), self.anchors[index], STRIDES[index])
            for index, (head, x) in enumerate(zip(self.heads, features, strict=True))
        ]
        return torch.cat(found, dim=1)

    def _boxes(self, raw: torch.Tensor, anchors: torch.Tensor, stride: int) -> torch.Tensor:
        samples, _, high, wide = raw.shape
        raw = raw.view(samples, len(anchors), self.values, high, wide).permute(0, 1, 3, 4, 2)
        rows = torch.arange(high, device=raw.device, dtype=raw.dtype)
        columns = torch.arange(wide, device=raw.device, dtype=raw.dtype)
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        centre = (raw[..., :2].sigmoid() + torch.stack([x, y], dim=-1)) * stride
        extent = raw[..., 2:4].exp() * anchors[:, None, None, :]
        boxes = torch.cat([centre, extent, raw[..., 4:].sigmoid()], dim=-1)
        return boxes.reshape(samples, -1, self.values)


def detector(size: int, batch_size: int, device: str) -> StudyWork:
    """One inference of a batch of random square images.

    Args:
        size: pixels of a side, a multiple of 32.
        batch_size: images in one inference.
        device: ``cpu``, ``cuda`` …

    Raises:
        ValueError: the size is no multiple of 32.
    """
    if size <= 0 or size % STRIDES[-1]:
        raise ValueError(
            f"the detector takes images of a multiple of {STRIDES[-1]} pixels, not of {size}"
        )
    note = "random weights, without non-maximum suppression; not YOLOv5s, of its size"
    module = with_random_weights(Detector)
    inputs = images(batch_size, size)
    macs = count_macs(Detector, inputs)
    return work(module, inputs, device, macs=macs, note=note)
