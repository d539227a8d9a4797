"""The comparison behind `make counts`, on networks as small as they can be."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(FOLDER))  # the modules import each other as scripts do
counts = importlib.import_module("counts")
counted = importlib.import_module("counted")

NAMES = counts.names(small=True)

MAY_BE_MISSING = {"folder, sharded": "one large tensor"}
"""Formats that some networks have no file of, and the reason that the table then gives."""


def network(name: str) -> Any:
    return next(one for one in counts._networks() if counts._key(one) == name)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tiny networks take longer on several threads, which wait for each other."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def check(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of exporters
        rows = list(counts.compare(network(name), small=True))
    for row in rows:
        if row.equal is None:
            assert MAY_BE_MISSING.get(row.format, "no reason") in row.note, row
        else:
            assert row.equal, row
    assert sum(row.equal is True for row in rows) >= 5
    assert all(row.found.trainable for row in rows if row.equal)


@pytest.mark.torch
@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("torch")])
def test_networks_of_torch_count_the_same(name: str) -> None:
    for library in ("torch", "transformers", "safetensors", "onnx"):
        pytest.importorskip(library)
    check(name)


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("keras")])
def test_networks_of_keras_count_the_same(name: str) -> None:
    pytest.importorskip("tensorflow")
    check(name)


def test_there_are_enough_networks() -> None:
    assert len(NAMES) >= 12
    assert len(counts.names(small=False)) >= 30


# The comparison itself


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Make the only network one whose framework claims this many elements."""

    def install(trainable: int) -> Any:
        safetensors = tmp_path / "a.safetensors"
        header = b'{"w":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}'
        safetensors.write_bytes(len(header).to_bytes(8, "little") + header + bytes(24))

        def write(folder: Path) -> Any:
            return counted.Written(safetensors, counted.Split(trainable, 0))

        def refuse(folder: Path) -> Any:
            raise ValueError("cannot be written so")

        library = type(sys)("counted_fake")
        library.NETWORKS = (counted.Network("one", "fake", lambda small: None),)
        library.writers = lambda made: {"safetensors": write, "other": refuse}
        monkeypatch.setitem(sys.modules, "counted_fake", library)
        monkeypatch.setattr(counts, "LIBRARIES", {"fake": "counted_fake"})
        # No process of its own: it would not know this network.
        monkeypatch.setattr(
            counts, "_in_its_own_process", lambda key, small: iter(counts._one(key, small))
        )

    return install


def test_equal_counts_end_with_0(fake: Any, capsys: pytest.CaptureFixture[str]) -> None:
    fake(6)
    assert counts.main([]) == 0
    shown = capsys.readouterr().out
    assert "equal" in shown
    assert "not written: ValueError: cannot be written so" in shown


def test_a_difference_ends_with_1(fake: Any, capsys: pytest.CaptureFixture[str]) -> None:
    fake(7)
    assert counts.main([]) == 1
    assert "DIFFERENT" in capsys.readouterr().out


def test_a_process_that_dies_is_a_difference(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dies = tmp_path / "dies.py"
    dies.write_text("import os; os._exit(9)")
    monkeypatch.setattr(counts, "__file__", str(dies))
    assert counts.main(["keras: MobileNet"]) == 1
    assert "its process failed" in capsys.readouterr().out
