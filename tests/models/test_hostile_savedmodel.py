"""SavedModel indexes and graphs that were damaged on purpose."""

from __future__ import annotations

import struct
import time

import pytest

from greenai_core import ModelLoadError
from greenai_plugins.models.protobuf_reader import BYTES, MAX_TEXT, Field, WireError, text
from greenai_plugins.models.savedmodel_format import SavedModel
from greenai_plugins.models.savedmodel_graph import DANGEROUS, shape_of
from greenai_plugins.models.savedmodel_index import MAGIC, entries


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def message(number: int, content: bytes) -> bytes:
    return varint(number << 3 | BYTES) + varint(len(content)) + content


def entry(key: bytes, value: bytes) -> bytes:
    return varint(0) + varint(len(key)) + varint(len(value)) + key + value


def block(*pairs: bytes, restarts: int = 0) -> bytes:
    return b"".join(pairs) + struct.pack("<I", restarts)


def index(data: bytes, handles: list[tuple[int, int]]) -> bytes:
    """A table of one data block and an index that points to the given stretches."""
    rows = [entry(b"k%d" % i, varint(at) + varint(size)) for i, (at, size) in enumerate(handles)]
    root = block(*rows)
    content = data + bytes(5)
    footer = varint(0) + varint(0) + varint(len(content)) + varint(len(root))
    return content + root + bytes(5) + footer.ljust(40, b"\0") + struct.pack("<Q", MAGIC)


SHAPE = message(2, message(2, b"\x08\x03"))
VARIABLE = entry(b"w", b"\x08\x01" + SHAPE)


def test_the_table_made_here_is_one():
    data = block(VARIABLE)
    assert entries(index(data, [(0, len(data))]))["w"].shape == (3,)


def test_blocks_read_again_and_again_are_refused():
    """An index whose entries all point to one large block takes the square of its size."""
    data = block(*[VARIABLE] * 3_000)
    begin = time.process_time()
    with pytest.raises(WireError, match="overlap"):
        entries(index(data, [(0, len(data))] * 3_000))
    assert time.process_time() - begin < 5


def test_a_damaged_count_of_restarts_is_no_empty_block():
    data = block(VARIABLE, restarts=2**31)
    with pytest.raises(WireError, match="damaged"):
        entries(index(data, [(0, len(data))]))


@pytest.mark.parametrize("sizes", [[2**62], [2**40, 2**40], [2**62] * 200, [2] * 300])
def test_impossible_shapes_are_refused(sizes):
    shape = b"".join(message(2, b"\x08" + varint(size)) for size in sizes)
    data = message(7, shape)
    with pytest.raises(WireError, match="impossible shape"):
        shape_of(data, Field(0, BYTES, 0, 0, len(data)), 7)


def test_names_of_megabytes_are_refused():
    data = b"a" * (MAX_TEXT + 1)
    with pytest.raises(WireError, match="text"):
        text(data, Field(1, BYTES, 0, 0, len(data)))


def signature() -> bytes:
    """An entry of the map of signatures, without inputs and outputs."""
    return message(5, message(1, b"serving_default") + message(2, b"\x1a\x00"))


@pytest.mark.parametrize("operation", sorted(DANGEROUS))
@pytest.mark.parametrize("in_function", [False, True])
def test_operations_that_run_python_or_touch_files_are_named(tmp_path, operation, in_function):
    node = message(1, b"n") + message(2, operation.encode())
    if in_function:
        function = message(1, message(1, b"f")) + message(3, node)
        graph = message(2, message(1, function))
    else:
        graph = message(1, node)
    meta = message(1, message(4, b"serve")) + message(2, graph) + signature()
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01" + message(2, meta))
    model = SavedModel(tmp_path, device="cpu")
    ability = model.abilities()["run"]
    assert not ability.possible
    assert operation in ability.reason
    assert "--trust" in ability.reason
    with pytest.raises(ModelLoadError, match=operation):
        model.load()
