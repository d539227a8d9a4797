"""Pickles are read without executing them, whatever they hold."""

from __future__ import annotations

import collections
import contextlib
import io
import os
import pickle
import pickletools
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenai_plugins.models import pickle_reader
from greenai_plugins.models.pickle_reader import Global, Made, PickleError, Reference, read

ATOMS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
)
PLAIN = st.recursive(
    ATOMS,
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers(-(2**60), 2**60), inner)
    ),
    max_leaves=30,
)


def of(value: Any, protocol: int = 2) -> Any:
    return read(io.BytesIO(pickle.dumps(value, protocol))).value


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


# Faithful


@given(PLAIN, st.integers(0, 5))
def test_plain_values_are_as_pickle_reads_them(value: Any, protocol: int) -> None:
    found = read(io.BytesIO(pickle.dumps(value, protocol)))
    if not found.names:  # bytes are calls of a function in old protocols
        assert found.value == value


@pytest.mark.parametrize("protocol", range(6))
def test_objects_stay_what_would_have_made_them(protocol: int) -> None:
    found = of({"when": Path("a", "b"), "counts": collections.OrderedDict(x=1)}, protocol)
    assert found["counts"] == {"x": 1}
    made = found["when"]
    assert isinstance(made, Made)
    if protocol >= 2:
        assert made.kind == Global("pathlib.PosixPath")
        assert made.arguments == ("a", "b")


def test_state_and_items_are_kept() -> None:
    class Odd(list):  # type: ignore[type-arg]
        pass

    globals()["Odd"] = Odd
    Odd.__qualname__ = "Odd"
    odd = Odd([1, 2])
    odd.colour = "red"  # type: ignore[attr-defined]
    made = of(odd)
    assert made.state == {"colour": "red"}
    assert made.items == [1, 2]


def test_persistent_ids_are_references() -> None:
    class Pickler(pickle.Pickler):
        def persistent_id(self, item: Any) -> Any:
            return ("storage", 7) if item == "weights" else None

    file = io.BytesIO()
    Pickler(file, 2).dump(["weights", "other"])
    file.seek(0)
    found = read(file)
    assert isinstance(found.value[0], Reference)
    assert found.value[0].id == ("storage", 7)
    assert found.references == (found.value[0],)


def test_a_stream_is_left_behind_the_pickle(tmp_path: Path) -> None:
    (tmp_path / "two").write_bytes(pickle.dumps(1) + pickle.dumps([2]) + b"rest")
    with (tmp_path / "two").open("rb") as file:
        assert [read(file).value, read(file).value] == [1, [2]]
        assert file.read() == b"rest"


# Harmless


@pytest.mark.parametrize("protocol", range(6))
def test_a_payload_is_named_and_not_executed(tmp_path: Path, protocol: int) -> None:
    trap = tmp_path / "executed"
    content = pickle.dumps({"weights": Payload(trap)}, protocol)
    found = read(io.BytesIO(content))
    assert {"pathlib.Path.touch", "builtins.getattr", "__builtin__.getattr"} & found.names
    assert not trap.exists()
    pickle.loads(content)
    assert trap.exists(), "the payload would not have shown anything"


@pytest.mark.parametrize(
    "code",
    [
        b"cos\nsystem\n(S'exit 3'\ntR.",
        b"(S'exit 3'\nios\nsystem\n.",
        b"(cos\nsystem\nS'exit 3'\no.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x06exit 3\x85R.",
        b"\x80\x02cos\nsystem\nX\x06\x00\x00\x00exit 3\x85\x81.",
        b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94h\x00h\x01\x93\x8c\x06exit 3\x85R.",
    ],
)
def test_every_way_to_call_is_seen(code: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Globals that the memo hides, too."""
    called: list[str] = []
    monkeypatch.setattr(os, "system", called.append)
    assert "os.system" in read(io.BytesIO(code)).names
    assert not called


SEED = pickle.dumps(
    {"a": (1, [2.5, "x"]), "b": Path("p"), "c": collections.OrderedDict(d=b"12", e=None)}, 2
)


@settings(max_examples=400)
@given(st.data())
def test_mutated_bytes_give_a_value_or_an_error(data: st.DataObject) -> None:
    content = bytearray(SEED)
    for _ in range(data.draw(st.integers(1, 8))):
        position = data.draw(st.integers(0, len(content) - 1))
        content[position : position + data.draw(st.integers(0, 3))] = data.draw(
            st.binary(max_size=6)
        )
        content = content or bytearray(b".")
    with contextlib.suppress(PickleError):
        read(io.BytesIO(bytes(content)))


CODES = [op.code.encode("latin-1") for op in pickletools.opcodes]


@settings(max_examples=400)
@given(st.lists(st.sampled_from(CODES) | st.binary(max_size=4), max_size=60))
def test_any_instructions_give_a_value_or_an_error(parts: list[bytes]) -> None:
    with contextlib.suppress(PickleError):
        read(io.BytesIO(b"".join(parts) + b"."))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x02",
        b"(.",  # only a mark
        b"0.",
        b"h\x05.",  # an empty memory
        b"\x82\x01.",  # a registered extension
        b"\x97.",  # a buffer outside
        b"I1\nI2\ns.",  # an item of no mapping
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",  # more bytes than there are
        b"r\xff\xff\xff\xff.",  # remember nothing, far away
    ],
)
def test_damaged_pickles(content: bytes) -> None:
    with pytest.raises(PickleError, match=r"damaged|instruction|value"):
        read(io.BytesIO(content))


def test_far_places_in_the_memory_cost_nothing() -> None:
    """``pickle`` itself would take 64 GiB for this one."""
    assert read(io.BytesIO(b"Nr\xfe\xff\xff\xff.")).value is None


def test_huge_lengths_are_not_taken_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "huge").write_bytes(b"\x8e" + (2**40).to_bytes(8, "little") + b"x.")
    with (tmp_path / "huge").open("rb") as file, pytest.raises(PickleError, match="bytes"):
        read(file)


def test_deep_nesting_neither_ends_the_interpreter_nor_hangs() -> None:
    deep = b")" + b"\x85" * 60_000
    assert isinstance(read(io.BytesIO(deep + b".")).value, tuple)
    read(io.BytesIO(b"}" + deep + b"Ns."))  # as key of a dict, which would be hashed
    read(io.BytesIO(b"\x8f(" + deep + b"\x90."))  # as member of a set
    calls = b"\x85q\x010h\x00h\x01R" * 30_000
    read(io.BytesIO(b"cos\nsystem\nq\x00" + calls + b"."))


def test_long_programs_are_refused_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickle_reader, "MAX_INSTRUCTIONS", 10_000)
    began = time.perf_counter()
    with pytest.raises(PickleError, match="more than 10,000 instructions"):
        read(io.BytesIO(b"N0" * 6_000 + b"N."))
    # A list that is made into an ordered dict again and again.
    pairs = b"](" + b"N\x85" * 2_000 + b"e\x85q\x000"
    again = b"ccollections\nOrderedDict\nh\x00R0" * 2_000
    with pytest.raises(PickleError, match="instructions"):
        read(io.BytesIO(pairs + again + b"N."))
    # Keys that take long to hash.
    number = b"\x8b" + (2**20).to_bytes(4, "little") + b"\x7f" * 2**20 + b"q\x000"
    read(io.BytesIO(number + b"}" + b"h\x00Ns" * 2_000 + b"."))
    assert time.perf_counter() - began < 10
