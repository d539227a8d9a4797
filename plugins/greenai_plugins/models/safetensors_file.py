"""The safetensors file format: eight bytes of length, a JSON header, the numbers.

Written from the format's description; no library is needed to read or write it.
"""

from __future__ import annotations

import json
import math
import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from greenai_core import ModelLoadError

MAX_HEADER = 100_000_000
"""Bytes: the limit of the format's own library."""

DTYPES = {
    "BOOL": ("bool", 8), "U8": ("uint8", 8), "I8": ("int8", 8), "U16": ("uint16", 16),
    "I16": ("int16", 16), "U32": ("uint32", 32), "I32": ("int32", 32), "U64": ("uint64", 64),
    "I64": ("int64", 64), "F16": ("float16", 16), "BF16": ("bfloat16", 16),
    "F32": ("float32", 32), "F64": ("float64", 64), "C64": ("complex64", 64),
    "F8_E4M3": ("float8_e4m3fn", 8), "F8_E5M2": ("float8_e5m2", 8),
    "F8_E4M3FNUZ": ("float8_e4m3fnuz", 8), "F8_E5M2FNUZ": ("float8_e5m2fnuz", 8),
    "F8_E8M0": ("float8_e8m0fnu", 8), "F6_E2M3": ("float6_e2m3fn", 6),
    "F6_E3M2": ("float6_e3m2fn", 6), "F4": ("float4_e2m1fn", 4),
}  # fmt: skip
"""Type as the format calls it -> as PyTorch does, and bits of an element."""

MAX_ELEMENTS = 2**63 - 1
MAX_RANK = 64


@dataclass(frozen=True)
class Entry:
    """One tensor.

    Attributes:
        dtype: PyTorch's name of the type of its elements.
        shape: sizes of its axes.
        start, end: where its numbers lie in the file.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def looks_like(path: Path) -> bool:
    """Whether the file begins with a header of this format; the numbers are not looked at."""
    try:
        with path.open("rb") as file:
            tensors, _ = _split(_header(file, path))
    except (OSError, ModelLoadError):
        return False
    return all(isinstance(row, dict) and {"dtype", "shape", "data_offsets"} <= set(row)
               for row in tensors.values())  # fmt: skip


def read(path: Path) -> dict[str, Entry]:
    """The tensors of a file by name; their numbers are not read.

    Raises:
        ModelLoadError: the header is damaged, or does not describe the file: tensors
            lie outside of it, overlap, leave gaps, or are not as long as their shape.
    """
    try:
        with path.open("rb") as file:
            tensors, _ = _split(_header(file, path))
            first = file.tell()
            length = file.seek(0, 2) - first
    except OSError as error:
        raise ModelLoadError(f"{path} cannot be read ({error.strerror})") from error
    entries = {name: _entry(path, name, row, first) for name, row in tensors.items()}
    end = first
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].end)):
        if entry.start != end:
            raise _damaged(path, f"its tensor {name!r:.80} overlaps another, or leaves a gap")
        end = entry.end
    if end != first + length:
        raise _damaged(path, f"its tensors take {end - first:,} bytes, but {length:,} are there")
    return entries


def load(path: Path) -> dict[str, Any]:
    """The tensors of a file, mapped: the numbers are read as they are used.

    Raises:
        ModelLoadError: the file is damaged, or holds a type that PyTorch lacks.
    """
    import torch

    entries = read(path)
    with path.open("rb") as file:
        # Never closed by hand: it lives as long as the tensors that lie in it.
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    tensors = {}
    for name, entry in entries.items():
        dtype = getattr(torch, entry.dtype, None)
        if dtype is None:
            raise ModelLoadError(f"{path}: PyTorch has no type {entry.dtype} (tensor {name})")
        count = math.prod(entry.shape)
        if count:
            flat = torch.frombuffer(mapped, dtype=dtype, count=count, offset=entry.start)
        tensors[name] = (
            flat.reshape(entry.shape) if count else torch.empty(entry.shape, dtype=dtype)
        )
    return tensors


def write(file: IO[bytes], state: Mapping[str, Any]) -> None:
    """Write tensors; of names that share their numbers the first one gets them.

    Args:
        file: open for writing.
        state: PyTorch's tensors by name.

    Raises:
        ModelLoadError: a tensor is of a type that the format lacks.
    """
    import torch

    codes = {name: code for code, (name, _) in DTYPES.items()}
    notes = {"format": "pt"}
    header: dict[str, Any] = {"__metadata__": notes}
    kept: dict[tuple[int, int, int], str] = {}
    end = 0
    # Widest first, so that each tensor begins at a multiple of its elements' size.
    ordered = sorted(state.items(), key=lambda item: -item[1].element_size())
    for name, tensor in ordered:
        dtype = str(tensor.dtype).removeprefix("torch.")
        if dtype not in codes:
            raise ModelLoadError(f"safetensors has no type for {dtype} (tensor {name})")
        place = (tensor.untyped_storage().data_ptr(), tensor.storage_offset(), tensor.numel())
        if tensor.numel() and place in kept:
            notes[name] = kept[place]
            continue
        kept[place] = name
        span = [end, end := end + tensor.numel() * tensor.element_size()]
        header[name] = {"dtype": codes[dtype], "shape": list(tensor.shape), "data_offsets": span}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write(struct.pack("<Q", len(text)) + text)
    for name, tensor in ordered:
        if name in header:
            flat = tensor.detach().cpu().contiguous().reshape(-1)
            file.write(flat.view(torch.uint8).numpy().tobytes())


def _header(file: IO[bytes], path: Path) -> dict[str, Any]:
    """The header, with the file left at the first number."""
    head = file.read(9)
    if len(head) < 9 or head[8:] != b"{":
        raise _damaged(path, "it does not begin with a header")
    length = struct.unpack("<Q", head[:8])[0]
    if length > MAX_HEADER:
        raise _damaged(path, f"its header claims {length:,} bytes")
    text = b"{" + file.read(length - 1)
    if len(text) < length:
        raise _damaged(path, "its header is cut off")
    try:
        header = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"its header is no JSON: {error}"[:200]) from error
    if not isinstance(header, dict):
        raise _damaged(path, "its header is no table")
    return header


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError("a name stands in it twice")
    return table


def _split(header: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """Tensors, and what the writer noted beside them."""
    return {name: row for name, row in header.items() if name != "__metadata__"}, header.get(
        "__metadata__"
    )


def _entry(path: Path, name: str, row: Any, first: int) -> Entry:
    if not isinstance(row, dict):
        raise _damaged(path, f"its tensor {name!r:.80} is not described")
    code = row.get("dtype")
    shape: Any = row.get("shape")
    span: Any = row.get("data_offsets")
    if not isinstance(code, str) or code not in DTYPES:
        raise ModelLoadError(f"{path}: its tensor {name!r:.80} is of the unknown type {code!r:.40}")
    if not (_sizes(shape) and _sizes(span) and len(span) == 2 and span[0] <= span[1]):
        raise _damaged(path, f"its tensor {name!r:.80} has an impossible shape or place")
    dtype, bits = DTYPES[code]
    elements = math.prod(shape)
    if elements > MAX_ELEMENTS or elements * bits != (span[1] - span[0]) * 8:
        raise _damaged(
            path,
            f"its tensor {name!r:.80} takes {span[1] - span[0]:,} bytes, which is not what its "
            f"shape {shape!r:.80} of {code} takes",
        )
    return Entry(dtype, tuple(shape), first + span[0], first + span[1])


def _sizes(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) <= MAX_RANK
        and all(type(size) is int and 0 <= size <= MAX_ELEMENTS for size in value)
    )


def _damaged(path: Path, what: str) -> ModelLoadError:
    return ModelLoadError(
        f"{path} is no complete safetensors file: {what}. It may be truncated: get it again"
    )
