"""Which tensors of a checkpoint are parameters, quantised ones told by their names.

Tools that quantise pack several weights into one integer, and put scales, zero
points and tables beside them. The weights count, each as one; what is beside them
is needed to read them and does not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from greenai_core import ModelLoadError

from .torch_count import NOT_LEARNT, Held
from .torch_tensors import TensorHeader

MASK = re.compile(r"(^|\.)(attn|attention)\.bias$")
"""Where older checkpoints of GPT-2 and its kin keep the causal mask, a square of 0 and 1."""

PACKED = "quint4x2"
"""Stands for any packed type: its elements count."""

WIDTHS = (1, 2, 3, 4, 5, 6, 8)

BESIDE_PACKED = ("scale", "shape", "zero_point", "g_idx", "global_scale")
BESIDE_BYTES = (
    "_scale", "_scale_inv", "_scale_2", "_zero_point", "_shape", ".absmax", ".quant_map",
    ".nested_absmax", ".nested_quant_map",
    ".quant_state.bitsandbytes__nf4", ".quant_state.bitsandbytes__fp4",
)  # fmt: skip

Tensors = Mapping[str, TensorHeader]


def parameters(tensors: Tensors, config: Mapping[str, Any]) -> Iterator[Held]:
    """The tensors that are parameters, packed ones as what they hold.

    Args:
        tensors: of a checkpoint by name.
        config: of the model; empty if there is none.

    Raises:
        ModelLoadError: weights are packed, and nothing tells how.
    """
    beside = {name for weight in tensors for name in _beside(weight, tensors)}
    for name, tensor in tensors.items():
        if name in beside or _is_mask(name, tensor):
            continue
        layer = name.rpartition(".")[0]
        bits = _packed_bits(name, tensors, config)
        if bits:
            elements = tensor.bytes * 8 // bits
            yield Held(layer, None, False, replace(tensor, dtype=PACKED, shape=(elements,)))
            continue
        scaled = any(True for _ in _beside(name, tensors))
        learnt = not (scaled or name.endswith(NOT_LEARNT) or "int" in tensor.dtype)
        yield Held(layer, None, learnt, tensor)


def _beside(weight: str, tensors: Tensors) -> Iterator[str]:
    """Names of what belongs to a quantised weight and is no parameter itself."""
    dtype = tensors[weight].dtype
    layer, _, last = weight.rpartition(".")
    candidates: tuple[str, ...] = ()
    if last == "qweight":  # GPTQ and AWQ
        candidates = tuple(f"{layer}.{name}" for name in ("qzeros", "scales", "g_idx"))
    elif last == "weight_packed":  # compressed-tensors
        candidates = tuple(f"{weight[: -len('packed')]}{name}" for name in BESIDE_PACKED)
    elif last.endswith("_blocks") and dtype == "uint8":  # MXFP4
        candidates = (f"{weight[: -len('blocks')]}scales",)
    elif dtype == "uint32":  # MLX
        candidates = (f"{layer}.scales", f"{layer}.biases")
    elif dtype.startswith(("float8", "int8", "uint8")):
        candidates = tuple(f"{weight}{ending}" for ending in BESIDE_BYTES)
        candidates += tuple(f"{layer}.{name}" for name in ("SCB", "weight_format", "input_scale"))
    yield from (name for name in candidates if name in tensors and name != weight)


def _packed_bits(name: str, tensors: Tensors, config: Mapping[str, Any]) -> int:
    """Bits of one of the weights packed into a tensor's elements; 0 if they are not packed."""
    tensor = tensors[name]
    layer, _, last = name.rpartition(".")
    if tensor.dtype == "uint8":
        four = any(f"{name}.quant_state.bitsandbytes__{kind}" in tensors for kind in ("nf4", "fp4"))
        mxfp4 = last.endswith("_blocks") and f"{name[: -len('blocks')]}scales" in tensors
        return 4 if four or mxfp4 else 0
    if tensor.dtype == "int32" and last == "qweight":
        return _bits_of_zeros(layer, tensors) or _bits_stated(name, config)
    if tensor.dtype == "int32" and last == "weight_packed":
        return _bits_stated(name, config)
    if tensor.dtype == "uint32" and f"{layer}.scales" in tensors:
        return _bits_stated(name, config)
    return 0


def _bits_of_zeros(layer: str, tensors: Tensors) -> int:
    """Bits by the packed zero points, of which there is one for each scale; 0 if unknown."""
    zeros, scales = tensors.get(f"{layer}.qzeros"), tensors.get(f"{layer}.scales")
    if zeros is None or scales is None or not scales.elements:
        return 0
    bits, rest = divmod(zeros.bytes * 8, scales.elements)
    return bits if rest == 0 and bits in WIDTHS else 0


def _bits_stated(name: str, config: Mapping[str, Any]) -> int:
    """Bits by the model's configuration.

    Raises:
        ModelLoadError: it does not tell.
    """
    told = config.get("quantization_config") or config.get("quantization") or {}
    found = [value for key, value in _walk(told) if key in ("bits", "num_bits", "w_bit")]
    if not found or found[0] not in WIDTHS:
        raise ModelLoadError(
            f"its tensor {name} packs several weights into one integer, and nothing tells how "
            "many. Give the model's folder, whose config.json does"
        )
    return int(found[0])


def _walk(table: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(table, Mapping):
        for key, value in table.items():
            yield key, value
            yield from _walk(value)


def _is_mask(name: str, tensor: TensorHeader) -> bool:
    square = len(tensor.shape) == 4 and tensor.shape[:2] == (1, 1)
    is_mask = square and tensor.shape[2] == tensor.shape[3] and MASK.search(name) is not None
    return is_mask or (name.endswith("attn.masked_bias") and not tensor.shape)
