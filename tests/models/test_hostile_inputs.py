"""NumPy files with pickles or bombs in them are refused as inputs."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from greenai_core import ModelInputError, TensorSpec
from greenai_core.inputs import to_inputs
from greenai_core.numpy_files import refuse_bomb

SPEC = (TensorSpec("x", (None, 3)),)


class Payload:
    """A pickle that creates a file when it is loaded."""

    def __init__(self, trap: Path) -> None:
        self.trap = trap

    def __reduce__(self) -> Any:
        return Path.touch, (self.trap,)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_pickles_in_numpy_files_are_refused(tmp_path, suffix):
    trap, path = tmp_path / "trap", tmp_path / f"x{suffix}"
    hostile = np.array([Payload(trap)], dtype=object)
    if suffix == ".npy":
        np.save(path, hostile, allow_pickle=True)
    else:
        np.savez(path, x=hostile)
    with pytest.raises(ModelInputError, match=r"x\.np[yz]"):
        to_inputs(path, SPEC)
    assert not trap.exists()


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_a_bare_pickle_is_refused(tmp_path, suffix):
    import pickle

    trap, path = tmp_path / "trap", tmp_path / f"x{suffix}"
    path.write_bytes(pickle.dumps(Payload(trap)))
    with pytest.raises(ModelInputError, match=r"x\.np[yz]"):
        to_inputs(path, SPEC)
    assert not trap.exists()


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path):
    path = tmp_path / "x.npz"
    header = io.BytesIO()
    shape = (400 * 2**20, 1)
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": shape}
    )
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("x.npy", "w") as member,
    ):
        member.write(header.getvalue())
        for _ in range(1100):
            member.write(bytes(2**20))
    with pytest.raises(ModelInputError, match="would unpack to"):
        to_inputs(path, SPEC)


def test_data_that_shrink_well_pass(tmp_path):
    path = tmp_path / "x.npz"
    np.savez_compressed(path, x=np.zeros((50_000, 3), np.float32))
    refuse_bomb(path)
    assert to_inputs(path, SPEC)["x"].shape == (50_000, 3)


def test_absurd_shapes_in_a_header_are_refused(tmp_path):
    for suffix in (".npy", ".npz"):
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header, {"descr": "<f4", "fortran_order": False, "shape": (2**50, 3)}
        )
        path = tmp_path / f"x{suffix}"
        if suffix == ".npy":
            path.write_bytes(header.getvalue() + bytes(100))
        else:
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("x.npy", header.getvalue() + bytes(100))
        with pytest.raises(ModelInputError, match=r"x\.np[yz]"):
            to_inputs(path, SPEC)
