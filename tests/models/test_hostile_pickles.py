"""Pickles that want more than tensors: named, never followed, never too much for this machine."""

from __future__ import annotations

import pickle
import pickletools
import struct
import time
import zipfile
from pathlib import Path

import pytest

from greenai_core import ModelLoadError
from greenai_plugins.models.pytorch_format import PytorchModel
from greenai_plugins.models.safetensors_file import read as read_safetensors

STOP = b"."


def archive(path: Path, content: bytes, kind: int = zipfile.ZIP_STORED) -> Path:
    """An archive as ``torch.save`` lays it out, around any pickle."""
    with zipfile.ZipFile(path, "w", kind) as zipped:
        zipped.writestr("m/data.pkl", content)
        zipped.writestr("m/version", "3\n")
    return path


def call(module: str, name: str, *arguments: str) -> bytes:
    """A pickle that calls a function with texts."""
    given = b"".join(b"X" + struct.pack("<I", len(a)) + a.encode() for a in arguments)
    return b"\x80\x02c" + f"{module}\n{name}\n".encode() + b"(" + given + b"tR" + STOP


DISGUISES = {
    "posix.system": call("posix", "system", "touch trap"),
    "builtins.eval": call("builtins", "eval", "open('trap', 'w')"),
    "torch.hub.load": call("torch.hub", "load", "evil/repo"),
    "torch._utils._import_dotted_name": call("torch._utils", "_import_dotted_name", "os.system"),
    "os.system": b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94\x93\x94\x8c\x0atouch trap\x85R" + STOP,
    "nt.system": b"(S'touch trap'\nint\nsystem\n" + STOP,
}
"""What is wanted -> a pickle that asks for it, with each of the instructions that can."""


@pytest.mark.parametrize("wanted", list(DISGUISES))
def test_code_is_named_and_not_run(tmp_path, monkeypatch, wanted):
    monkeypatch.chdir(tmp_path)
    model = PytorchModel(archive(tmp_path / "evil.pt", DISGUISES[wanted]), device="cpu")
    with pytest.raises(ModelLoadError) as caught:
        model.count_parameters()
    assert not (tmp_path / "trap").exists()
    if wanted != "torch._utils._import_dotted_name":  # harmless to the safe loader: no tensor
        assert wanted in str(caught.value)
        assert "--trust" in str(caught.value)
        assert wanted in model.abilities()["run"].reason
    assert "\n" not in str(caught.value)


def test_no_library_and_no_unpickler_is_used_to_look(tmp_path, monkeypatch):
    path = archive(tmp_path / "evil.pt", DISGUISES["os.system"])
    for name in ("load", "loads", "Unpickler", "_Unpickler"):
        monkeypatch.setattr(pickle, name, None)
    with pytest.raises(ModelLoadError, match=r"os\.system"):
        PytorchModel(path).count_parameters()


def refused_soon(path: Path) -> str:
    begin = time.process_time()
    with pytest.raises(ModelLoadError) as caught:
        PytorchModel(path).count_parameters()
    assert time.process_time() - begin < 10
    return str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02" + b"(" * 300_000 + b"t" * 300_000 + STOP,
        b"\x80\x02" + b"]" + b"2\x85" * 300_000 + STOP,
        b"\x80\x02}" + b"(" + b"]" * 2 + b")" + b"\x85" * 200_000 + b"Ns" + STOP,
        b"\x80\x02]q\x00h\x00a" + STOP,
        b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"x" + STOP,
        b"\x80\x04\x8b" + struct.pack("<i", 2**31 - 1) + b"x" + STOP,
        b"\x80\x02r" + b"\xff" * 4 + STOP,
        b"\x80\x02" + b"0" * 10 + STOP,
        b"I" + b"9" * 100_000 + b"\n" + STOP,
    ],
    ids=[
        "deep tuples", "deep lists", "deep key", "in itself", "huge bytes", "huge number",
        "huge memo", "empty stack", "long number",
    ],
)  # fmt: skip
def test_odd_pickles_are_refused_at_once(tmp_path, content):
    refused_soon(archive(tmp_path / "odd.pt", content))


def test_endless_pickles_are_given_up(tmp_path):
    content = b"\x80\x02" + b"N0" * 2_500_000 + b"N" + STOP
    assert "instructions" in refused_soon(archive(tmp_path / "m.pt", content, zipfile.ZIP_DEFLATED))


def test_a_pickle_that_unpacks_to_gigabytes_is_refused(tmp_path):
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as zipped:
        with zipped.open("m/data.pkl", "w") as member:
            for _ in range(300):
                member.write(bytes(2**20))
        zipped.writestr("m/version", "3\n")
    assert "large" in refused_soon(path)


def test_the_pickles_here_are_what_they_seem():
    for content in DISGUISES.values():
        assert list(pickletools.genops(content))[-1][0].name == "STOP"


# Headers without a pickle


@pytest.mark.parametrize(
    "header",
    [
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 99_999_999) + b"{}",
        struct.pack("<Q", 200_000) + b'{"a":' + b"[" * 199_995,
        b'{"w":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,4]}}',
        b'{"w":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}',
        b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}}',
        b'{"w":{"dtype":"F32","shape":['
        + b",".join([b"4611686018427387904"] * 100_000)
        + b'],"data_offsets":[0,4]}}',
    ],
    ids=["2**63", "cut off", "nested", "2**62", "negative", "before", "100,000 axes"],
)
def test_impossible_safetensors_headers_are_refused_at_once(tmp_path, header):
    path = tmp_path / "m.safetensors"
    if header.startswith(b"{"):
        header = struct.pack("<Q", len(header)) + header
    path.write_bytes(header + bytes(4))
    begin = time.process_time()
    with pytest.raises(ModelLoadError, match="safetensors"):
        read_safetensors(path)
    assert time.process_time() - begin < 3
