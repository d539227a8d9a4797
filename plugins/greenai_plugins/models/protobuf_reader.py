"""The wire format of protocol buffers, read in place.

Only what a header needs: fields are told apart and skipped, payloads stay where
they are. Every length is checked against the message that contains it, so a
truncated or hostile file raises instead of being read past its end.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

Buffer: TypeAlias = bytes | mmap.mmap

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
MAX_TEXT = 2**20
"""Names are read as text, and a name of a MiB is an attack or a fault."""

_MAX_VARINT = 10


class WireError(ValueError):
    """The bytes are not the protocol buffer that they should be."""


class Field(NamedTuple):
    """One field of a message.

    Attributes:
        number: as the schema numbers it.
        wire: ``VARINT``, ``FIXED64``, ``BYTES`` or ``FIXED32``.
        value: of a varint; 0 for the others.
        start, end: where the payload lies in the buffer.
    """

    number: int
    wire: int
    value: int
    start: int
    end: int


def varint(data: Buffer, at: int, end: int) -> tuple[int, int]:
    """An unsigned varint and the position after it.

    Raises:
        WireError: it is cut off or longer than ten bytes.
    """
    value = shift = 0
    for position in range(at, min(end, at + _MAX_VARINT)):
        byte = data[position]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position + 1
        shift += 7
    raise WireError(f"the number at byte {at} is cut off or too long")


def fields(data: Buffer, start: int, end: int) -> Iterator[Field]:
    """The fields of the message between two positions, in their order.

    Raises:
        WireError: a field is cut off, reaches past the message, or has an
            unknown wire type.
    """
    at = start
    while at < end:
        begin = at
        key, at = varint(data, at, end)
        number, wire = key >> 3, key & 7
        value = 0
        if wire == VARINT:
            payload = at
            value, at = varint(data, at, end)
        elif wire in (FIXED32, FIXED64, BYTES):
            size = 4 if wire == FIXED32 else 8
            if wire == BYTES:
                size, at = varint(data, at, end)
            payload, at = at, at + size
        else:
            raise WireError(f"the field at byte {begin} has the unknown wire type {wire}")
        if number == 0:
            raise WireError(f"the field at byte {begin} has the number 0")
        if at > end:
            raise WireError(
                f"the field {number} at byte {begin} takes {at - payload} bytes, "
                f"{end - payload} are left"
            )
        yield Field(number, wire, value, payload, at)


def signed(value: int) -> int:
    """A varint read as the 64-bit two's complement number that it stands for."""
    value &= 2**64 - 1
    return value - 2**64 if value >= 2**63 else value


def integers(data: Buffer, field: Field) -> Iterator[int]:
    """The signed numbers of a repeated integer field, packed or not.

    Raises:
        WireError: the field holds no integers.
    """
    if field.wire == VARINT:
        yield signed(field.value)
    elif field.wire == BYTES:
        at = field.start
        while at < field.end:
            value, at = varint(data, at, field.end)
            yield signed(value)
    else:
        raise WireError(f"the field {field.number} at byte {field.start} holds no integers")


def text(data: Buffer, field: Field) -> str:
    """The string of a field; bytes that are no UTF-8 are replaced.

    Raises:
        WireError: the field holds no string.
    """
    if field.wire != BYTES:
        raise WireError(f"the field {field.number} at byte {field.start} holds no string")
    if field.end - field.start > MAX_TEXT:
        raise WireError(f"the text at byte {field.start} takes {field.end - field.start:,} bytes")
    return bytes(data[field.start : field.end]).decode("utf-8", "replace")
