"""Shapes and names in an HDF5 file, read without the library for it.

h5py brings NumPy with it, and importing both takes longer than everything else that
counting does. Keras writes HDF5 in its oldest and plainest form only, and that form is
read here: superblock 0, groups as symbol tables, object headers 1, contiguous datasets of
numbers, attributes that are strings. Whatever else a file has makes it ``Unusual``, and the
caller asks h5py; what no HDF5 of any form can have makes it ``Damaged``, and h5py, which may
loop or crash on it, is spared it. What is read, and how often, is bounded.

The layout is that of the HDF5 File Format Specification, versions 1 to 3; the names of
sections are given where something is taken from them.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, TypeAlias

MAGIC = b"\x89HDF\r\n\x1a\n"

NOWHERE = 2**64 - 1
"""The address of what has no place in the file."""

MAX_READ = 128 * 2**20
MAX_BLOCK = 32 * 2**20
MAX_OBJECTS = 200_000
MAX_DEPTH = 64
MAX_MESSAGES = 4096
"""Bounds on one file, one block, and one object's header; past them h5py may try."""

DATASPACE, DATATYPE, LAYOUT, ATTRIBUTE, CONTINUATION, SYMBOLS = 1, 3, 8, 12, 16, 17
IGNORED = frozenset({0, 4, 5, 13, 14, 18})
"""Messages that change neither shape nor place: nothing, fill values, comments, dates."""

FLOATS = {
    (2, 10, 5, 0, 10, 15): "float16",
    (4, 23, 8, 0, 23, 127): "float32",
    (8, 52, 11, 0, 52, 1023): "float64",
}
"""Bytes, then where exponent and mantissa lie and how long they are -> NumPy's name."""

Text: TypeAlias = "str | tuple[str, ...]"
Message: TypeAlias = tuple[int, bytes]


class Unusual(Exception):
    """The file is not of the plain form that is read here, or it is damaged."""


class Damaged(Exception):
    """The file contradicts itself; the message is what is in it."""


@dataclass(frozen=True)
class Item:
    """A group or a dataset.

    Attributes:
        attributes: those asked for that are strings or lists of strings.
        shape: of a dataset; None for a group.
        dtype: NumPy's name of the element type; of opaque bytes ``void16``.
        item_bytes: of one element.
    """

    attributes: Mapping[str, Text] = field(default_factory=dict)
    shape: tuple[int, ...] | None = None
    dtype: str = ""
    item_bytes: int = 0


@dataclass(frozen=True)
class _Type:
    """A datatype: NumPy's name of a number, or what kind of string it is."""

    name: str
    item_bytes: int
    padding: int = 0


def read(file: BinaryIO, size: int, wanted: Callable[[str], bool]) -> Mapping[str, Item] | None:
    """All groups and datasets by path, in the order of names; the file itself is ``""``.

    Args:
        file: can be sought in.
        size: its bytes.
        wanted: of an attribute's name, whether to read it.

    Returns:
        None where only the HDF5 library can tell.

    Raises:
        Damaged: nobody can.
    """
    try:
        return dict(_Reader(file, size, wanted).items())
    except (Unusual, struct.error, UnicodeDecodeError, OverflowError):
        return None


class _Reader:
    def __init__(self, file: BinaryIO, size: int, wanted: Callable[[str], bool]) -> None:
        self._file, self._size, self._wanted = file, size, wanted
        self._read = 0
        self._seen: set[int] = set()
        self._heaps: dict[int, dict[int, bytes]] = {}

    def items(self) -> Iterator[tuple[str, Item]]:
        """Depth first, each group before its members."""
        waiting = [("", self._root(), 0)]
        while waiting:
            path, address, depth = waiting.pop()
            if address in self._seen or len(self._seen) >= MAX_OBJECTS or depth > MAX_DEPTH:
                raise Unusual("an object with two names, or too many of them")
            self._seen.add(address)
            messages = self._messages(address)
            item, members = self._item(messages)
            yield path, item
            for name, inner in reversed(members):
                waiting.append((f"{path}/{name}" if path else name, inner, depth + 1))

    def _bytes(self, at: int, count: int) -> bytes:
        self._read += count
        if at + count > self._size:
            raise Damaged("an address outside the file")
        if count > MAX_BLOCK or self._read > MAX_READ:
            raise Unusual("more than headers have")
        self._file.seek(at)
        data = self._file.read(count)
        if len(data) != count:
            raise Damaged("less than its size says")
        return data

    def _root(self) -> int:
        """Address of the root group (II.A, superblock)."""
        head = self._bytes(0, 96)
        sizes = (head[8], head[13], head[14])
        base, _, end, driver = struct.unpack_from("<4Q", head, 24)
        if head[:8] != MAGIC or sizes != (0, 8, 8) or base or driver != NOWHERE:
            raise Unusual("a newer superblock")
        if end > self._size:
            raise Damaged(f"the size {end:,}, of which {self._size:,} bytes are there")
        self._size = end
        return int(struct.unpack_from("<Q", head, 64)[0])

    def _messages(self, address: int) -> list[Message]:
        """The messages of an object (IV.A.1.a, object headers of version 1)."""
        version, _, count, _, size = struct.unpack("<BBHII", self._bytes(address, 12))
        if version != 1 or count > MAX_MESSAGES:
            raise Unusual("a newer object header")
        blocks, found = [(address + 16, size)], list[Message]()
        while blocks and len(found) < count:
            data = self._bytes(*blocks.pop(0))
            at = 0
            while at + 8 <= len(data) and len(found) < count:
                kind, length, flags = struct.unpack_from("<HHB", data, at)
                body = data[at + 8 : at + 8 + length]
                at += 8 + length
                if len(body) != length:
                    raise Damaged("an object whose header is cut off")
                if flags & 2:
                    raise Unusual("a message that lies elsewhere")
                found.append((kind, body))
                if kind == CONTINUATION:
                    blocks.append(struct.unpack("<QQ", body[:16]))
        if len(found) != count:
            raise Unusual("messages are missing")
        return found

    def _item(self, messages: list[Message]) -> tuple[Item, list[tuple[str, int]]]:
        """What an object is, and the members of a group."""
        bodies: dict[int, bytes] = {}
        attributes: dict[str, Text] = {}
        for kind, body in messages:
            if kind == ATTRIBUTE:
                attributes.update(self._attribute(body))
            elif kind in (DATASPACE, DATATYPE, LAYOUT, SYMBOLS):
                if kind in bodies:
                    raise Unusual("two messages of one kind")
                bodies[kind] = body
            elif kind not in IGNORED | {CONTINUATION}:
                raise Unusual(f"a message of the kind {kind}")
        if set(bodies) == {SYMBOLS}:
            return Item(attributes), self._members(*struct.unpack("<QQ", bodies[SYMBOLS][:16]))
        if set(bodies) != {DATASPACE, DATATYPE, LAYOUT}:
            raise Unusual("neither a group nor a dataset")
        shape, type = _dataspace(bodies[DATASPACE]), _datatype(bodies[DATATYPE])
        if type.name in ("text", "texts"):
            raise Unusual("a dataset of strings")
        self._check_place(bodies[LAYOUT], math.prod(shape) * type.item_bytes)
        return Item(attributes, shape, type.name, type.item_bytes), []

    def _check_place(self, layout: bytes, claimed: int) -> None:
        """Return if a dataset lies in the file as a whole (IV.A.2.i, data layout)."""
        version, kind, address, size = struct.unpack_from("<BBQQ", layout)
        if (version, kind) != (3, 1) or size != claimed:
            raise Unusual("a dataset in pieces")
        if claimed and address == NOWHERE:
            raise Unusual("a dataset that nothing was written to")
        if claimed and address + size > self._size:
            raise Damaged("a dataset that reaches outside the file")

    def _members(self, tree: int, heap: int) -> list[tuple[str, int]]:
        """Names and addresses in a group (III.A.1, III.B and III.D)."""
        head = self._bytes(heap, 32)
        length, _, start = struct.unpack_from("<3Q", head, 8)
        if head[:5] != b"HEAP\0":
            raise Damaged("a group without its names")
        names = self._bytes(start, length)
        found: list[tuple[str, int]] = []
        waiting, visited = [(tree, -1)], set[int]()
        while waiting:
            address, above = waiting.pop()
            if address in visited:
                raise Damaged("a group that contains its own list of members")
            if len(visited) > MAX_OBJECTS:
                raise Unusual("a large tree")
            visited.add(address)
            head = self._bytes(address, 24)
            kind, level, used = struct.unpack_from("<BBH", head, 4)
            if head[:4] != b"TREE" or kind != 0 or above not in (-1, level + 1):
                raise Damaged("a group without its list of members")
            body = self._bytes(address + 24, 16 * used + 8)
            children = [struct.unpack_from("<Q", body, 8 + 16 * one)[0] for one in range(used)]
            if level:
                waiting += [(child, level) for child in reversed(children)]
            else:
                for child in children:
                    found += self._symbols(child, names)
        if [name for name, _ in found] != sorted({name for name, _ in found}, key=str.encode):
            raise Damaged("a group whose members are out of order")
        return found

    def _symbols(self, address: int, names: bytes) -> Iterator[tuple[str, int]]:
        """Entries of a symbol table node (III.B and III.C)."""
        head = self._bytes(address, 8)
        if head[:5] != b"SNOD\1":
            raise Damaged("a group without its members")
        count = int.from_bytes(head[6:8], "little")
        entries = self._bytes(address + 8, 40 * count)
        for name_at, object_at, cached, _, _, _ in struct.iter_unpack("<QQIIQQ", entries):
            end = names.find(b"\0", name_at)
            name = names[name_at:end].decode()
            if cached > 1 or name_at >= len(names) or end < 0 or not name or "/" in name:
                raise Unusual("a link to elsewhere, or without a name")
            yield name, object_at

    def _attribute(self, body: bytes) -> Iterator[tuple[str, Text]]:
        """Name and value of an attribute, if it is wanted (IV.A.2.m)."""
        version, flags, *sizes = struct.unpack_from("<BB3H", body)
        if version not in (1, 2, 3) or (version > 1 and flags):
            raise Unusual("a newer attribute")
        at, parts = 9 if version == 3 else 8, []
        for size in sizes:
            parts.append(body[at : at + size])
            at += (size + 7) // 8 * 8 if version == 1 else size
        name = parts[0].split(b"\0")[0].decode()
        if self._wanted(name):
            shape, type = _dataspace(parts[2]), _datatype(parts[1])
            if len(shape) > 1:
                raise Unusual("a table of strings")
            values = self._texts(body[at:], type, math.prod(shape))
            yield name, values if shape else values[0]

    def _texts(self, data: bytes, type: _Type, count: int) -> tuple[str, ...]:
        width = type.item_bytes
        if not count:
            return ()
        if type.name not in ("text", "texts") or count * width > len(data) or not width:
            raise Unusual("an attribute of another type")
        pieces = [data[at : at + width] for at in range(0, count * width, width)]
        if type.name == "text":
            # Ended by a zero, or filled up with them.
            return tuple(
                (one.rstrip(b"\0") if type.padding else one.split(b"\0")[0]).decode()
                for one in pieces
            )
        return tuple(self._of_heap(*struct.unpack("<IQI", one)).decode() for one in pieces)

    def _of_heap(self, length: int, address: int, index: int) -> bytes:
        """A string of any length, from the collection that it lies in (III.E)."""
        if not length:
            return b""
        if address not in self._heaps:
            self._heaps[address] = self._collection(address)
        value = self._heaps[address].get(index)
        if value is None or length > len(value):
            raise Damaged("a reference to text that is not there")
        if b"\0" in value[:length]:
            raise Unusual("a string with a zero in it")
        return value[:length]

    def _collection(self, address: int) -> dict[int, bytes]:
        head = self._bytes(address, 16)
        size = int.from_bytes(head[8:16], "little")
        if head[:5] != b"GCOL\1" or size < 16:
            raise Damaged("a reference to text where there is none")
        data = self._bytes(address, size)
        found, at = {}, 16
        while at + 16 <= size:
            index, _, _, length = struct.unpack_from("<HHIQ", data, at)
            if not index:  # what is left is free
                break
            if index in found or at + 16 + length > size:
                raise Damaged("text that overlaps other text")
            found[index] = data[at + 16 : at + 16 + length]
            at += 16 + (length + 7) // 8 * 8
        return found


def _dataspace(body: bytes) -> tuple[int, ...]:
    """Shape (IV.A.2.b)."""
    version, rank, flags, kind = struct.unpack_from("<4B", body)
    if version not in (1, 2) or flags & ~1 or rank > 32 or (version == 2 and kind != (rank > 0)):
        raise Unusual("a newer dataspace")
    start = 8 if version == 1 else 4
    shape: tuple[int, ...] = struct.unpack_from(f"<{rank}Q", body, start)
    if math.prod(max(axis, 1) for axis in shape) >= 2**62:
        raise Unusual("an absurd shape")
    return shape


def _datatype(body: bytes) -> _Type:
    """Element type (IV.A.2.d); ``text`` of one length, ``texts`` of any."""
    head, first, second, third, size = struct.unpack_from("<4BI", body)
    kind, version = head & 15, head >> 4
    if version not in (1, 2, 3) or third:
        raise Unusual("a newer datatype")
    if kind == 0 and first in (0, 8) and not second:
        offset, precision = struct.unpack_from("<HH", body, 8)
        if offset == 0 and size in (1, 2, 4, 8) and precision == 8 * size:
            return _Type(f"{'' if first else 'u'}int{8 * size}", size)
    elif kind == 1 and first == 0x20 and second == 8 * size - 1:
        offset, precision, *bits, bias = struct.unpack_from("<HH4BI", body, 8)
        name = FLOATS.get((size, *bits, bias))
        if name and offset == 0 and precision == 8 * size:
            return _Type(name, size)
    elif kind == 3 and first & 15 in (0, 1) and not second:
        return _Type("text", size, first & 15)
    elif kind == 5 and 0 < size <= 16:
        return _Type(f"void{8 * size}", size)
    elif kind == 9 and first == 1 and size == 16 and second in (0, 1):
        return _Type("texts", size)
    raise Unusual("another type")
