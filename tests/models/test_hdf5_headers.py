"""HDF5 read without its library: what it tells is what h5py tells, or it tells nothing."""

from __future__ import annotations

import random
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greenai_core import ModelLoadError, factory
from greenai_plugins.models import hdf5_headers, keras_archive, keras_hdf5
from greenai_plugins.models.hdf5_headers import Item

h5py = pytest.importorskip("h5py")
np = pytest.importorskip("numpy")


def ours(path: Path) -> Mapping[str, Item] | None:
    with path.open("rb") as file:
        return hdf5_headers.read(file, path.stat().st_size, lambda name: True)


def ours_if_whole(path: Path) -> Mapping[str, Item] | None:
    try:
        return ours(path)
    except hdf5_headers.Damaged:
        return None


def theirs(path: Path) -> Mapping[str, Item]:
    return keras_hdf5.items(path, path, lambda name: True)


# What Keras writes

TYPES = ["f2", "f4", "f8", "i1", "u1", "i2", "i4", "u4", "i8", "u8", "V2"]
NAMES = st.text(
    st.characters(max_codepoint=126, exclude_characters="/\0"), min_size=1, max_size=12
).filter(lambda name: set(name) != {"."})
"""Of groups and datasets: HDF5 writes those outside ASCII in its newer form."""

WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
LISTS = st.lists(st.binary(min_size=1, max_size=9).map(bytes.hex), max_size=5)
DATASETS = st.tuples(st.sampled_from(TYPES), st.lists(st.integers(0, 5), max_size=4).map(tuple))
TREES = st.recursive(
    DATASETS, lambda inner: st.dictionaries(NAMES, inner, max_size=12), max_leaves=30
).filter(lambda tree: isinstance(tree, dict))


def write(group: Any, tree: Any) -> None:
    for name, inner in tree.items():
        if isinstance(inner, dict):
            write(group.create_group(name), inner)
        else:
            group.create_dataset(name, data=np.zeros(inner[1], inner[0]))


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(TREES, st.dictionaries(NAMES, WORDS | LISTS, max_size=12))
def test_any_tree_reads_as_by_h5py(
    tmp_path: Path, tree: dict[str, Any], attributes: dict[str, Any]
) -> None:
    path = tmp_path / "any.h5"
    with h5py.File(path, "w") as file:
        for name, value in attributes.items():
            file.attrs[name] = (
                value if isinstance(value, str) else np.array([one.encode() for one in value])
            )
        write(file, tree)
    found = ours(path)
    assert found is not None
    assert list(found.items()) == list(theirs(path).items())


def test_groups_of_thousands_have_trees_of_several_levels(tmp_path: Path) -> None:
    path = tmp_path / "wide.h5"
    with h5py.File(path, "w") as file:
        for number in range(1500):
            file.create_dataset(f"weight{number}", data=np.zeros(number % 7, "f4"))
    found = ours(path)
    assert found is not None
    assert list(found.items()) == list(theirs(path).items())
    assert len(found) == 1501


def test_a_long_configuration_lies_in_the_global_heap(tmp_path: Path) -> None:
    path = tmp_path / "long.h5"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = "é" * 3_000_000
        file.attrs["bytes"] = b"as Keras writes it"
    found = ours(path)
    assert found is not None
    assert found[""] == theirs(path)[""]


# What it leaves to h5py


def new_groups(path: Path) -> None:
    with h5py.File(path, "w", libver="latest") as file:
        file["a"] = np.zeros(3)


def ordered(path: Path) -> None:
    with h5py.File(path, "w", track_order=True) as file:
        file["b"], file["a"] = np.zeros(3), np.zeros(4)


def chunked(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("a", data=np.zeros(1000), compression="gzip")


def outside(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("a", (1000,), "u1", external=[("/etc/passwd", 0, 1000)])


def linked(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["a"] = h5py.ExternalLink("/etc/passwd", "/")


def soft(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["a"], file["b"] = np.zeros(3), h5py.SoftLink("/a")


def twice(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["a"] = np.zeros(3)
        file["b"] = file["a"]


def itself(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["a"] = file["/"]


def late(path: Path) -> None:
    """A dataset that claims a petabyte and has no place in the file."""
    with h5py.File(path, "w") as file:
        file.create_dataset("a", (2**40, 100), "f8")


def truths(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["a"] = np.zeros(3, bool)


def prefixed(path: Path) -> None:
    with h5py.File(path, "w", userblock_size=512) as file:
        file["a"] = np.zeros(3)


def foreign(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["größe"] = np.zeros(3)


UNUSUAL = [
    new_groups, ordered, chunked, outside, linked, soft, twice, itself, late, truths, prefixed,
    foreign,
]  # fmt: skip


@pytest.mark.parametrize("write", UNUSUAL)
def test_what_keras_does_not_write_is_left_to_h5py(tmp_path: Path, write: Any) -> None:
    write(tmp_path / "a.h5")
    assert ours(tmp_path / "a.h5") is None


@pytest.mark.parametrize("write", [outside, linked, late])
def test_a_trap_is_still_refused(tmp_path: Path, write: Any) -> None:
    write(tmp_path / "a.h5")
    with pytest.raises(ModelLoadError, match="not opened"):
        keras_archive.read(tmp_path / "a.h5")


def test_chunked_weights_are_counted_by_h5py(tmp_path: Path) -> None:
    chunked(tmp_path / "a.h5")
    assert factory.load(tmp_path / "a.h5").count_parameters().total == 1000


# Damaged files


@pytest.fixture(scope="module")
def seed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("seed") / "seed.h5"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = "{}" * 50
        group = file.create_group("layers")
        group.attrs["weight_names"] = np.array([b"kernel", b"bias"])
        for number in range(12):
            group.create_group(f"dense_{number}").create_dataset("0", data=np.zeros((3, 4), "f4"))
    return path.read_bytes()


def test_a_damaged_file_tells_the_truth_or_nothing(seed: bytes, tmp_path: Path) -> None:
    """Where h5py reads the damaged file too, the shapes are the same."""
    chance = random.Random(7)
    path = tmp_path / "damaged.h5"
    read = 0
    for _ in range(600):
        data = bytearray(seed)
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(data))
            data[at : at + chance.choice((1, 2, 8))] = chance.choice(
                (b"\0", b"\xff", b"\x7f", bytes([chance.randrange(256)]), b"\xff" * 8, data[:8])
            )
        path.write_bytes(data if chance.random() < 0.9 else data[: chance.randrange(len(data))])
        found = ours_if_whole(path)
        if found is None:
            continue
        read += 1
        try:
            expected = theirs(path)
        except Exception:  # h5py may find more to complain of: fill values, free space
            continue
        assert dict(found) == dict(expected)
    assert read > 50


CYCLES = {
    "a tree that is its own child": (b"TREE", 32),
    "a heap that is larger than the file": (b"HEAP", 8),
    "a header that continues in itself": (b"SNOD", 6),
}


@pytest.mark.parametrize("name", CYCLES)
@pytest.mark.parametrize("value", [0, 1, 96, 2**31, 2**63, 2**64 - 1])
def test_false_addresses_end_quickly(seed: bytes, tmp_path: Path, name: str, value: int) -> None:
    magic, offset = CYCLES[name]
    at = seed.index(magic) + offset
    path = tmp_path / "false.h5"
    path.write_bytes(seed[:at] + value.to_bytes(8, "little") + seed[at + 8 :])
    ours_if_whole(path)


def test_a_file_that_is_cut_off_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "cut.weights.h5"
    with h5py.File(path, "w") as file:
        file["layers/dense/vars/0"] = np.zeros(3000)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelLoadError, match=r"cut.weights.h5 is damaged: .* bytes are there"):
        factory.load(path).count_parameters()


# In the product


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "model.weights.h5"
    with h5py.File(path, "w") as file:
        layer = file.create_group("layers/dense/vars")
        layer.attrs["name"] = "dense"
        layer["0"], layer["1"] = np.zeros((3, 4), "f4"), np.zeros(4, "f4")
        file.create_dataset("optimizer/vars/0", data=np.zeros(100, "f4"))
    return path


WITHOUT = """
import sys
for name in ("h5py", "numpy"):
    sys.modules[name] = None
from greenai_core import factory
print(factory.load(sys.argv[1]).count_parameters().total)
"""


def test_counting_imports_neither_h5py_nor_numpy(weights: Path, tmp_path: Path) -> None:
    packed = tmp_path / "model.keras"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", CONFIG)
        archive.write(weights, "model.weights.h5")
    for path in (weights, packed):
        command = [sys.executable, "-c", WITHOUT, str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.stdout.strip() == "16", done.stderr


CONFIG = """{"class_name": "Sequential", "config": {"name": "s", "trainable": true, "layers": [
    {"class_name": "Dense", "module": "keras.layers", "config": {"name": "dense", "units": 4}}
]}}"""


def test_without_h5py_an_unusual_file_names_it(tmp_path: Path) -> None:
    chunked(tmp_path / "a.h5")
    code = WITHOUT.replace("print(", "print('no', ")
    command = [sys.executable, "-c", code, str(tmp_path / "a.h5")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "'h5py' is not installed" in done.stderr
