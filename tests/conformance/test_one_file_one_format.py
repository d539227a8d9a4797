"""Each sample file is claimed by the one format that it is of, whatever it is called."""

from __future__ import annotations

import json
import shutil

import pytest
import small_network as small

from greenai_core import ModelAmbiguous, factory, registry

ENDINGS = (
    "", ".onnx", ".pt", ".pth", ".bin", ".ckpt", ".pt2", ".safetensors", ".keras", ".h5", ".json",
    ".zip",
)  # fmt: skip


def legacy(folder):
    import torch

    path = folder / "legacy.pt"
    torch.save(small.torch_network().state_dict(), path, _use_new_zipfile_serialization=False)
    return path


def index(folder):
    path = small.safetensors(folder)
    path.rename(folder / "part.safetensors")
    weight_map = {"0.weight": "part.safetensors"}
    target = folder / "model.safetensors.index.json"
    target.write_text(json.dumps({"weight_map": weight_map}))
    return target


def pickled_folder(folder):
    path = small.model_folder(folder)
    (path / "model.safetensors").unlink()
    small.state_dict(folder).rename(path / "pytorch_model.bin")
    return path


def weights_only(folder):
    path = folder / "small.weights.h5"
    small.keras_network().save_weights(path)
    return path


def sample(format, make, *libraries):
    marks = [getattr(pytest.mark, name) for name in libraries if name in ("torch", "tensorflow")]
    return pytest.param(format, make, libraries, id=make.__name__, marks=marks)


SAMPLES = [
    sample("onnx", small.onnx, "onnx"),
    sample("pytorch", small.state_dict, "torch"),
    sample("pytorch", legacy, "torch"),
    sample("torchscript", small.torchscript, "torch"),
    sample("exported", small.exported, "torch"),
    sample("safetensors", small.safetensors, "torch", "safetensors"),
    sample("safetensors", index, "torch", "safetensors"),
    sample("safetensors", small.model_folder, "torch", "transformers"),
    sample("safetensors", pickled_folder, "torch", "transformers"),
    sample("keras", small.keras_archive, "tensorflow"),
    sample("keras", small.keras_hdf5, "tensorflow"),
    sample("keras", weights_only, "tensorflow"),
    sample("savedmodel", small.savedmodel, "tensorflow"),
]


def claims(path):
    """Names of the built-in formats that claim a path."""
    return [
        plugin.name
        for plugin in registry.plugins("greenai.models")
        if plugin.distribution == "greenai-core"
        and registry.load("greenai.models", plugin.name).recognises(path)
    ]


def test_there_is_a_sample_of_every_built_in_format():
    built_in = {
        plugin.name
        for plugin in registry.plugins("greenai.models")
        if plugin.distribution == "greenai-core"
    }
    assert built_in == {parameter.values[0] for parameter in SAMPLES}


@pytest.mark.parametrize(("format", "make", "libraries"), SAMPLES)
def test_exactly_one_format_claims_it(format, make, libraries, tmp_path):
    for library in libraries:
        pytest.importorskip(library)
    path = make(tmp_path)
    assert claims(path) == [format]
    for number, ending in enumerate(ENDINGS):
        called = path.rename(path.with_name(f"name{number}{ending}"))
        assert claims(called) == [format], called.name
        assert factory.get_model(called).format == format
        path = called


@pytest.mark.torch
@pytest.mark.tensorflow
def test_two_models_in_one_folder_are_named(tmp_path):
    pytest.importorskip("transformers")
    saved, folder = small.savedmodel(tmp_path), small.model_folder(tmp_path)
    shutil.copytree(saved, folder, dirs_exist_ok=True)
    with pytest.raises(ModelAmbiguous, match=r"safetensors, savedmodel.*--format NAME"):
        factory.get_model(folder)
    assert factory.get_model(folder, format="savedmodel").format == "savedmodel"


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"\x80\x04N.", b"PK\x05\x06" + bytes(18), b"\x89HDF"]
)
def test_what_is_no_model_is_claimed_by_none(content, tmp_path):
    for ending in ENDINGS:
        path = tmp_path / f"no_model{ending}"
        path.write_bytes(content)
        assert claims(path) == [], path.name
