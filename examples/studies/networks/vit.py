"""ViT-B/16 (Dosovitskiy et al. 2020, arXiv 2010.11929), 86,567,656 parameters at 224 pixels.

An image is cut into patches of 16 x 16; each becomes a token of 768 numbers, and twelve
layers of attention read them. It has one position embedding a patch, so a network made
for another size has another number of them: random ones are made for the size, trained
ones are interpolated from those of 224 pixels, as the paper does. The names of its weights
are those of torchvision's, so that their files fit.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial

import torch
from study_inference import count_macs, images, with_weights, work
from torch import nn
from torch.nn import functional

from greenai_core import StudyWork

PATCH = 16
WIDTH = 768
LAYERS = 12
HEADS = 12
HIDDEN = 3072
EPSILON = 1e-6
POSITIONS = "encoder.pos_embedding"


class Attention(nn.Module):
    """Each token looks at all others, in twelve heads."""

    def __init__(self) -> None:
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.empty(3 * WIDTH, WIDTH))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * WIDTH))
        self.out_proj = nn.Linear(WIDTH, WIDTH)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        samples, count, _ = tokens.shape
        projected = functional.linear(tokens, self.in_proj_weight, self.in_proj_bias)
        heads = projected.view(samples, count, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        read = functional.scaled_dot_product_attention(*heads.unbind(0))
        return self.out_proj(read.transpose(1, 2).reshape(samples, count, WIDTH))


class EncoderLayer(nn.Module):
    """Attention and two linear layers, each normalised before and with a short cut."""

    def __init__(self) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(WIDTH, eps=EPSILON)
        self.self_attention = Attention()
        self.ln_2 = nn.LayerNorm(WIDTH, eps=EPSILON)
        self.mlp = nn.Sequential(
            nn.Linear(WIDTH, HIDDEN), nn.GELU(), nn.Identity(), nn.Linear(HIDDEN, WIDTH)
        )

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        tokens = tokens + self.self_attention(self.ln_1(tokens))
        return tokens + self.mlp(self.ln_2(tokens))


class Encoder(nn.Module):
    """Tokens with their positions through all layers."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.pos_embedding = nn.Parameter(torch.empty(1, tokens, WIDTH).normal_(std=0.02))
        layers = {f"encoder_layer_{index}": EncoderLayer() for index in range(LAYERS)}
        self.layers = nn.Sequential(OrderedDict(layers))
        self.ln = nn.LayerNorm(WIDTH, eps=EPSILON)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.ln(self.layers(tokens + self.pos_embedding))


class VisionTransformer(nn.Module):
    """Images, N x 3 x size x size -> scores, N x classes."""

    def __init__(self, size: int = 224, classes: int = 1000) -> None:
        super().__init__()
        self.class_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.conv_proj = nn.Conv2d(3, WIDTH, PATCH, PATCH)
        self.encoder = Encoder((size // PATCH) ** 2 + 1)
        self.heads = nn.Sequential(OrderedDict(head=nn.Linear(WIDTH, classes)))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        patches = self.conv_proj(images).flatten(2).transpose(1, 2)
        first = self.class_token.expand(len(images), -1, -1)
        return self.heads(self.encoder(torch.cat([first, patches], dim=1))[:, 0])


def vit(size: int, batch_size: int, device: str) -> StudyWork:
    """One inference of a batch of random square images.

    Args:
        size: pixels of a side, a multiple of 16.
        batch_size: images in one inference.
        device: ``cpu``, ``cuda`` …

    Raises:
        ValueError: the size is no multiple of the patches' size.
    """
    if size <= 0 or size % PATCH:
        raise ValueError(f"ViT-B/16 takes images of a multiple of {PATCH} pixels, not of {size}")
    make = partial(VisionTransformer, size)
    module, note = with_weights(make, "vit_b_16", at_other_size)
    if note == "random weights":
        note += f", position embeddings made for {size} pixels"
    elif size != 224:
        note += f", position embeddings interpolated to {size} pixels"
    inputs = images(batch_size, size)
    macs = count_macs(make, inputs)
    return work(module, inputs, device, macs=macs, note=note)


def at_other_size(state: dict[str, torch.Tensor], module: nn.Module) -> dict[str, torch.Tensor]:
    """Weights whose position embeddings have as many patches as the network.

    The grid of embeddings is interpolated (bicubic); that of the class token stays.
    """
    tokens = module.get_parameter(POSITIONS).shape[1]
    known = state[POSITIONS]
    if known.shape[1] == tokens:
        return state
    side, wanted = (int((count - 1) ** 0.5) for count in (known.shape[1], tokens))
    grid = known[:, 1:].transpose(1, 2).reshape(1, WIDTH, side, side)
    grid = functional.interpolate(grid, (wanted, wanted), mode="bicubic", align_corners=True)
    patches = grid.flatten(2).transpose(1, 2)
    return {**state, POSITIONS: torch.cat([known[:, :1], patches], dim=1)}
