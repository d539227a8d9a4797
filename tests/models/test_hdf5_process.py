"""The HDF5 library may loop or crash on a damaged file: an error, and this process lives on."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

import pytest

from greenai_core import ModelLoadError, factory
from greenai_plugins.models import hdf5_process, keras_archive

h5py = pytest.importorskip("h5py")
np = pytest.importorskip("numpy")

CRASH = "import ctypes; ctypes.string_at(0)"


def chunked(path: Path) -> Path:
    """Weights that greenai leaves to the library."""
    with h5py.File(path, "w") as file:
        file.create_dataset("layers/a/vars/0", (100, 10), "f4", chunks=(10, 10))
    return path


def endless(path: Path) -> Path:
    """The same, with a text whose length is such that libhdf5 steps from it to itself."""
    with h5py.File(chunked(path), "a") as file:
        for name in ("one", "two"):
            file.create_group(f"layers/{name}").attrs["name"] = name
    data = path.read_bytes()
    length = data.index(b"two\0", data.index(b"GCOL")) - 8
    path.write_bytes(data[:length] + (2**64 - 16).to_bytes(8, "little") + data[length + 8 :])
    return path


def test_a_file_that_libhdf5_never_ends_with_is_refused(tmp_path: Path) -> None:
    path = endless(tmp_path / "a.weights.h5")
    with pytest.raises(ModelLoadError, match=r"a.weights.h5: the HDF5 library comes to no end"):
        factory.load(path).count_parameters()


def test_it_is_found_before_keras_opens_it_and_tried_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("config.json", json.dumps({"class_name": "Sequential", "config": {}}))
        packed.write(endless(tmp_path / "a.h5"), "model.weights.h5")
    with pytest.raises(ModelLoadError, match="comes to no end"):
        keras_archive.check(path)
    monkeypatch.setattr(hdf5_process, "COMMAND", ("/nowhere/at/all",))
    for again in (keras_archive.check, keras_archive.read):
        with pytest.raises(ModelLoadError, match="comes to no end"):
            again(path)


def test_a_crash_of_the_library_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hdf5_process, "COMMAND", (sys.executable, "-c", CRASH))
    path = chunked(tmp_path / "a.h5")
    with pytest.raises(ModelLoadError, match=r"a.h5: the HDF5 library crashed .*SIGSEGV"):
        factory.load(path).count_parameters()


def test_no_answer_is_an_error_with_the_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hdf5_process, "COMMAND", (sys.executable, "-c", "raise SystemExit(1)"))
    path = chunked(tmp_path / "a.h5")
    with pytest.raises(ModelLoadError, match="import h5py"):
        factory.load(path).count_parameters()


def test_memory_that_a_chunk_wants_is_limited(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        whole = (2**29,)  # 2 GiB that shrink to almost nothing
        data = file.create_dataset("a", whole, "f4", chunks=whole, compression="gzip")
        data.id.write_direct_chunk((0,), b"x" * 2**21)
    with pytest.raises(ModelLoadError, match=r"a.h5: h5py cannot read"):
        keras_archive.check(path)


def test_all_that_a_library_may_read_is_read_before(tmp_path: Path) -> None:
    """A chunk that cannot be unpacked is found; counting does not look at it."""
    path = tmp_path / "a.weights.h5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset("a", (100,), "f4", chunks=(100,), compression="gzip")
        data.id.write_direct_chunk((0,), b"no deflate")
    assert factory.load(path).count_parameters().total == 100
    with pytest.raises(ModelLoadError, match="h5py cannot read"):
        keras_archive.check(path)
