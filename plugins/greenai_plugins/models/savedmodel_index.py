"""The index of a TensorFlow checkpoint, read without TensorFlow.

``variables.index`` is a table in LevelDB's format, which TensorFlow writes
without compression: blocks of entries with shared key prefixes, an index of
blocks, and a footer of 48 bytes that ends in a magic number. A key is the
variable's name, its value a ``BundleEntryProto``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from .protobuf_reader import BYTES, Buffer, Field, WireError, varint
from .savedmodel_graph import Constant, shape_of, type_of

FOOTER_BYTES = 48
MAGIC = 0xDB4775248B80FB57
_TRAILER_BYTES = 5  # one byte of compression, four of CRC


def entries(data: Buffer) -> dict[str, Constant]:
    """Shape and type of each tensor of a checkpoint, by key.

    Raises:
        WireError: the bytes are no such index.
    """
    end = len(data)
    if end < FOOTER_BYTES:
        raise WireError("the index of the variables is cut off")
    if struct.unpack("<Q", data[end - 8 : end])[0] != MAGIC:
        raise WireError("the index of the variables does not end as an index does")
    at = end - FOOTER_BYTES
    for _ in range(2):  # the handle of the meta index, unused
        _, at = varint(data, at, end)
    found = {}
    read = 0
    for _, first, last in _block(data, *_handle(data, at, end)):
        block = _handle(data, first, last)
        read += block[1] - block[0]
        if read > end:  # reading one block again and again would never end
            raise WireError("blocks of the index of the variables overlap")
        for key, start, stop in _block(data, *block):
            if key:  # the empty key holds the header
                found[key.decode("utf-8", "replace")] = _entry(data, start, stop)
    return found


def _handle(data: Buffer, at: int, end: int) -> tuple[int, int]:
    """First byte of a block, and the byte after its contents."""
    offset, at = varint(data, at, end)
    size, _ = varint(data, at, end)
    if offset + size + _TRAILER_BYTES > len(data):
        raise WireError("the index of the variables is cut off")
    if data[offset + size] != 0:
        raise WireError("the index of the variables is compressed, which TensorFlow never does")
    return offset, offset + size


def _block(data: Buffer, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Key, and first and last byte of the value, of each entry of a block."""
    if end - start < 4:
        raise WireError("a block of the index of the variables is too short")
    restarts = struct.unpack("<I", data[end - 4 : end])[0]
    limit = end - 4 - 4 * restarts
    if limit < start:
        raise WireError("a block of the index of the variables is damaged")
    at, key = start, b""
    while at < limit:
        shared, at = varint(data, at, limit)
        own, at = varint(data, at, limit)
        size, at = varint(data, at, limit)
        if shared > len(key) or at + own + size > limit:
            raise WireError("an entry of the index of the variables is cut off")
        key = key[:shared] + bytes(data[at : at + own])
        at += own
        yield key, at, at + size
        at += size


def _entry(data: Buffer, start: int, end: int) -> Constant:
    message = Field(0, BYTES, 0, start, end)
    dtype, item = type_of(data, message, 1)
    shape = tuple(axis or 0 for axis in shape_of(data, message, 2) or ())
    count = 1
    for axis in shape:
        count *= axis
    return Constant(shape, dtype, count * item)
