"""Zip archives that are traps: bombs, members that leave their folder, lying lists of members."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from greenai_core import ModelError, ModelLoadError, factory
from greenai_plugins.models import archives

MIB = 2**20


def write(path: Path, members: dict[str, bytes], kind: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize(
    "name", ["../up", "a/../../up", "/etc/passwd", "..\\up", "C:\\up", "a/..", "\\up"]
)
def test_members_that_leave_the_archive_are_refused(tmp_path, name):
    path = write(tmp_path / "m.zip", {"good": b"1", name: b"2"})
    with pytest.raises(ModelLoadError, match="leads out of the archive") as caught:
        archives.check(path)
    assert repr(name) in str(caught.value)


def test_good_archives_pass(tmp_path):
    names = ["m/data.pkl", "m/data/0", "m/..hidden", "m/a..b", "m/.data/x"]
    archives.check(write(tmp_path / "m.zip", dict.fromkeys(names, b"content")))
    zeros = {"m/zeros": bytes(64 * MIB)}
    archives.check(write(tmp_path / "small.zip", zeros, zipfile.ZIP_DEFLATED))
    archives.check(write(tmp_path / "empty.zip", {}))


def test_bombs_are_refused_from_the_list_of_members_alone(tmp_path):
    path = write(tmp_path / "bomb.zip", {"a": bytes(300 * MIB)}, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < MIB
    tracemalloc.start()
    with pytest.raises(ModelLoadError, match="would unpack to 314,572,800 bytes"):
        archives.check(path)
    assert tracemalloc.get_traced_memory()[1] < MIB
    tracemalloc.stop()


def test_overlapping_members_are_refused(tmp_path):
    """A thousand entries that share one stretch of the file: a bomb without nesting."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("a", bytes(4096))
        first = archive.infolist()[0]
        for number in range(1000):
            twin = zipfile.ZipInfo(f"b{number}")
            twin.file_size = twin.compress_size = first.file_size
            twin.header_offset, twin.CRC = first.header_offset, first.CRC
            archive.filelist.append(twin)
        archive._didModify = True
    (tmp_path / "m.zip").write_bytes(content.getvalue())
    with pytest.raises(ModelLoadError, match="overlap"):
        archives.check(tmp_path / "m.zip")


def test_one_name_twice_is_refused(tmp_path):
    """Two readers may each take another of the two."""
    path = tmp_path / "m.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "1")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("config.json", "2")
    with pytest.raises(ModelLoadError, match="twice"):
        archives.check(path)


@pytest.mark.parametrize("large", [False, True])
def test_an_endless_list_of_members_is_not_read(tmp_path, large):
    """The record at the end claims 3 GB of members; for zip64 a second one does."""
    path = write(tmp_path / "model.keras", {"config.json": b"{}", "model.weights.h5": b""})
    content = bytearray(path.read_bytes())
    end = content.rindex(b"PK\x05\x06")
    if large:
        struct.pack_into("<L", content, end + 12, 2**32 - 1)
        record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 2, 2, 2**40, 0)
        content[end:end] = record
    else:
        struct.pack_into("<L", content, end + 12, 3 * 2**30)
    path.write_bytes(content)
    assert archives.directory_bytes(path) >= 3 * 2**30
    with pytest.raises(ModelLoadError, match="lists its members"):
        archives.check(path)
    with pytest.raises(ModelError):
        factory.get_model(path)


def test_no_archive_has_no_list(tmp_path):
    for content in (b"", b"PK", b"PK\x05\x06", bytes(100)):
        (tmp_path / "m.zip").write_bytes(content)
        assert archives.directory_bytes(tmp_path / "m.zip") == 0


# Every library that unpacks archives is spared them


@pytest.mark.torch
@pytest.mark.parametrize("format", ["pytorch", "torchscript", "exported"])
def test_pytorch_is_not_given_an_archive_that_is_a_trap(tmp_path, format):
    torch = pytest.importorskip("torch")
    path = tmp_path / ("model.pt2" if format == "exported" else "model.pt")
    network, example = torch.nn.Linear(2, 2), (torch.rand(1, 2),)
    if format == "pytorch":
        torch.save(network.state_dict(), path)
    elif format == "torchscript":
        torch.jit.save(torch.jit.trace(network, example), path)
    else:
        torch.export.save(torch.export.export(network, example), path)
    options = {"model_class": lambda: torch.nn.Linear(2, 2)} if format == "pytorch" else {}
    factory.load(path, format=format, device="cpu", **options).load()
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../../escaped", "x")
    with pytest.raises(ModelLoadError, match="leads out of the archive"):
        factory.load(path, format=format, device="cpu", **options).load()
