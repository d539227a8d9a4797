"""The format safetensors: files, shards, and weights that tools have quantised."""

from __future__ import annotations

import contextlib
import json
import math
import struct
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greenai_core import Layered, ModelLoadError, ModelUnrecognised, factory
from greenai_plugins.models import safetensors_file
from greenai_plugins.models.safetensors_format import SafetensorsModel

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
library = pytest.importorskip("safetensors.torch")

CLASS = "their_networks:SmallNet"
TRAINABLE, STATISTICS = 108 + 4 + 8 + 720 + 5, 8


@pytest.fixture
def weights(small: Any, tmp_path: Path) -> Path:
    library.save_file(small.state_dict(), tmp_path / "small.safetensors")
    return tmp_path / "small.safetensors"


def write(path: Path, header: Any, data: bytes = b"", length: int | None = None) -> Path:
    """A file with any header, as text or as JSON."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def tensors(path: Path, **described: tuple[str, tuple[int, ...]]) -> Path:
    """A file of zeros: name -> type and shape; a name has ``__`` for each dot."""
    header, end = {}, 0
    for name, (code, shape) in described.items():
        span = [end, end + math.prod(shape) * safetensors_file.DTYPES[code][1] // 8]
        dotted = name.replace("__", ".").replace("bytes.nf4", "bytes__nf4")
        header[dotted] = {"dtype": code, "shape": shape, "data_offsets": span}
        end = span[1]
    return write(path, header, bytes(end))


# Counting


@pytest.mark.parametrize("name", ["a.safetensors", "a.bin", "lying.onnx", "nothing"])
def test_recognises_by_content(weights: Path, name: str) -> None:
    assert factory.get_model(weights.rename(weights.with_name(name))) is SafetensorsModel


def test_counted_by_the_header(weights: Path) -> None:
    count = SafetensorsModel(weights).count_parameters()
    assert (count.trainable, count.non_trainable) == (TRAINABLE, STATISTICS)
    assert count.bytes == 4 * (TRAINABLE + STATISTICS)


def test_counting_and_asking_import_nothing_heavy(weights: Path) -> None:
    code = (
        "import sys; from pathlib import Path; "
        "from greenai_plugins.models.safetensors_format import SafetensorsModel; "
        f"path = Path({str(weights)!r}); assert SafetensorsModel.recognises(path); "
        "model = SafetensorsModel(path); "
        f"assert model.count_parameters().trainable == {TRAINABLE}; "
        "assert 'class' in model.abilities()['run'].reason; "
        "assert not {'torch', 'safetensors', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("dtype", "counts", "learns"),
    [
        (torch.float32, True, True), (torch.float64, True, True), (torch.float16, True, True),
        (torch.bfloat16, True, True), (torch.float8_e4m3fn, True, True),
        (torch.float8_e5m2, True, True), (torch.complex64, True, True),
        (torch.int8, True, False), (torch.uint8, True, False), (torch.int16, False, False),
        (torch.int32, False, False), (torch.int64, False, False), (torch.bool, False, False),
    ],
)  # fmt: skip
def test_every_type(dtype: Any, counts: bool, learns: bool, tmp_path: Path) -> None:
    tensor = torch.zeros(3, 4, dtype=dtype)
    library.save_file({"w": tensor}, tmp_path / "w.safetensors")
    count = SafetensorsModel(tmp_path / "w.safetensors").count_parameters()
    assert (count.trainable, count.non_trainable) == (12 * (counts and learns),
                                                      12 * (counts and not learns))  # fmt: skip
    assert count.bytes == 12 * counts * tensor.element_size()


def test_types_of_less_than_a_byte(tmp_path: Path) -> None:
    path = tensors(tmp_path / "f4", w=("F4", (4, 4)), v=("F6_E2M3", (4, 4)))
    count = SafetensorsModel(path).count_parameters()
    assert (count.total, count.bytes) == (32, 8 + 12)


def test_by_layer(weights: Path) -> None:
    layers = {layer.name: layer for layer in SafetensorsModel(weights).count_by_layer()}
    assert set(layers) == {"conv", "norm", "head"}
    assert (layers["norm"].trainable, layers["norm"].non_trainable) == (8, 8)


# Quantised weights

QUANTISED = {
    "bitsandbytes, 4 bits": (
        {"l__weight": ("U8", (32, 1)), "l__weight__absmax": ("F32", (1,)),
         "l__weight__quant_map": ("F32", (16,)),
         "l__weight__quant_state__bitsandbytes__nf4": ("U8", (80,)), "l__bias": ("F16", (8,))},
        {}, 64, 8, 32 + 16,
    ),
    "bitsandbytes, 8 bits": (
        {"l__weight": ("I8", (8, 8)), "l__SCB": ("F32", (8,)), "l__weight_format": ("U8", ())},
        {}, 64, 0, 64,
    ),
    "GPTQ, told by its zeros": (
        {"l__qweight": ("I32", (1, 8)), "l__qzeros": ("I32", (1, 1)), "l__scales": ("F16", (1, 8)),
         "l__g_idx": ("I32", (8,))},
        {}, 64, 0, 32,
    ),
    "GPTQ of 3 bits, told by the configuration": (
        {"l__qweight": ("I32", (3, 2))}, {"quantization_config": {"bits": 3}}, 64, 0, 24,
    ),
    "compressed-tensors": (
        {"l__weight_packed": ("I32", (8, 1)), "l__weight_scale": ("BF16", (8, 1)),
         "l__weight_shape": ("I64", (2,))},
        {"quantization_config": {"config_groups": {"group_0": {"weights": {"num_bits": 4}}}}},
        64, 0, 32,
    ),
    "MLX": (
        {"l__weight": ("U32", (8, 1)), "l__scales": ("F16", (8, 1)), "l__biases": ("F16", (8, 1))},
        {"quantization": {"group_size": 8, "bits": 4}}, 64, 0, 32,
    ),
    "MXFP4": (
        {"e__up_proj_blocks": ("U8", (2, 16)), "e__up_proj_scales": ("U8", (2, 1)),
         "e__up_proj_bias": ("BF16", (2,))},
        {}, 64, 2, 32 + 4,
    ),
    "FP8 by blocks": (
        {"l__weight": ("F8_E4M3", (8, 8)), "l__weight_scale_inv": ("F32", (1, 1))},
        {}, 64, 0, 64,
    ),
}  # fmt: skip
"""Files as the tools write them -> configuration, quantised weights, others, bytes."""


@pytest.mark.parametrize("kind", QUANTISED)
def test_quantised_weights_count_one_by_one(kind: str, tmp_path: Path) -> None:
    described, config, quantised, others, size = QUANTISED[kind]
    tensors(tmp_path / "model.safetensors", **described)
    (tmp_path / "config.json").write_text(json.dumps(config))
    count = SafetensorsModel(tmp_path).count_parameters()
    assert (count.trainable, count.non_trainable, count.bytes) == (others, quantised, size)


def test_packed_weights_of_unknown_width_are_no_guess(tmp_path: Path) -> None:
    path = tensors(tmp_path / "m", l__weight=("U32", (8, 1)), l__scales=("F16", (8, 1)))
    with pytest.raises(ModelLoadError, match=r"config\.json"):
        SafetensorsModel(path).count_parameters()


def test_masks_and_frequencies_of_older_checkpoints(tmp_path: Path) -> None:
    path = tensors(
        tmp_path / "m", h__0__attn__bias=("F32", (1, 1, 8, 8)), h__0__attn__masked_bias=("F32", ()),
        h__0__attn__c_attn__bias=("F32", (8,)), rotary_emb__inv_freq=("F32", (4,)),
    )  # fmt: skip
    count = SafetensorsModel(path).count_parameters()
    assert (count.trainable, count.non_trainable) == (8, 4)


# Running with a class


def test_runs_with_its_class(weights: Path, image: Any, expected: Any) -> None:
    with SafetensorsModel(weights, model_class=CLASS, device="cpu") as model:
        np.testing.assert_allclose(model.run(image)["output"], expected, rtol=1e-5)
        assert isinstance(model.as_layered(), Layered)


def test_tied_weights_are_kept_once_and_run(networks: ModuleType, tmp_path: Path) -> None:
    """The library leaves all but one of the names out; the network ties them again."""
    net = networks.Tied()
    library.save_model(net, tmp_path / "tied.safetensors")
    with SafetensorsModel(
        tmp_path / "tied.safetensors", model_class="their_networks:Tied", device="cpu",
        input_shapes=(3,), input_dtypes={"": "int64"},
    ) as model:  # fmt: skip
        assert model.count_parameters().trainable == 40
        ids = np.array([1, 2, 3])
        with torch.no_grad():
            wanted = net(torch.tensor(ids)).numpy()
        np.testing.assert_allclose(model.run(ids)["output"], wanted, rtol=1e-6)


def test_weights_of_another_network_are_refused(weights: Path, networks: ModuleType) -> None:
    with pytest.raises(ModelLoadError, match="do not fit TwoInputs"):
        SafetensorsModel(weights, model_class="their_networks:TwoInputs", device="cpu").load()


def test_trained_weights_can_be_read_by_the_library(weights: Path, tmp_path: Path) -> None:
    target = tmp_path / "trained.safetensors"
    with SafetensorsModel(weights, model_class=CLASS, device="cpu") as model:
        model.as_trainable().save(target)
    old, new = library.load_file(weights), library.load_file(target)
    assert set(old) == set(new)
    assert all(torch.equal(old[name], new[name]) for name in old)
    assert not list(tmp_path.glob("*.unfinished"))


def test_what_is_written_can_be_read_by_the_library(tmp_path: Path) -> None:
    shared = torch.rand(4, 3)
    state = {
        "a": torch.rand(3).bfloat16(), "shared": shared, "again": shared, "half": shared[:2],
        "empty": torch.zeros(0, 7), "scalar": torch.tensor(3), "mask": torch.tensor([True, False]),
        "turned": torch.rand(2, 5).T,
    }  # fmt: skip
    with (tmp_path / "w.safetensors").open("wb") as file:
        safetensors_file.write(file, state)
    for read in (library.load_file, safetensors_file.load):
        found = read(tmp_path / "w.safetensors")
        assert set(found) == set(state) - {"again"}
        assert all(torch.equal(found[name], state[name]) for name in found)


# Hostile and broken files

GOOD = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    "row",
    [
        GOOD | {"data_offsets": [0, 4]},
        GOOD | {"data_offsets": [0, 9]},
        GOOD | {"data_offsets": [8, 0]},
        GOOD | {"data_offsets": [8, 16]},
        GOOD | {"data_offsets": [-8, 0]},
        GOOD | {"data_offsets": [0, 8, 16]},
        GOOD | {"data_offsets": [0, 8.0]},
        GOOD | {"data_offsets": None},
        GOOD | {"shape": [10**12, 10**12], "data_offsets": [0, 4 * 10**24]},
        GOOD | {"shape": [2**62, 0, 2**62], "data_offsets": [0, 8]},
        GOOD | {"shape": [-2]},
        GOOD | {"shape": ["2"]},
        GOOD | {"shape": 2},
        GOOD | {"shape": [True, 2]},
        GOOD | {"dtype": "F32 "},
        GOOD | {"dtype": "F99"},
        GOOD | {"dtype": ["F32"]},
        GOOD | {"dtype": None},
        {},
        7,
    ],
    ids=str,
)
def test_impossible_tensors_are_load_errors(row: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "bad.safetensors", {"w": row}, bytes(8))
    with pytest.raises(ModelLoadError, match=r"bad\.safetensors"):
        SafetensorsModel(path).count_parameters()


@pytest.mark.parametrize(
    ("header", "data"),
    [
        ({"a": GOOD, "b": GOOD | {"data_offsets": [4, 12]}}, bytes(12)),
        ({"a": GOOD, "b": GOOD}, bytes(8)),
        ({"a": GOOD, "b": GOOD | {"data_offsets": [9, 17]}}, bytes(17)),
        ({"a": GOOD}, bytes(12)),
        ({"a": GOOD}, bytes(4)),
    ],
    ids=["overlap", "same place", "gap", "more than described", "cut off"],
)
def test_tensors_fill_the_file_without_overlap(header: Any, data: bytes, tmp_path: Path) -> None:
    path = write(tmp_path / "bad.safetensors", header, data)
    with pytest.raises(ModelLoadError, match=r"bad\.safetensors"):
        SafetensorsModel(path).count_parameters()


@pytest.mark.parametrize(
    ("header", "length"),
    [
        (b"{}", 2**63),
        (b"{}", 10**8 + 1),
        (b"{}", 100),
        (b"{}", 0),
        (b"[]", None),
        (b'{"a": {"dtype"', None),
        (b'{"a": 1, "a": 2}', None),
        (b'{"a":' + b"[" * 100_000, None),
        (b'{"a": ' + b"9" * 10_000 + b"}", None),
        (b"{\xff}", None),
    ],
)
def test_broken_headers_are_no_model(header: bytes, length: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "bad.safetensors", header, bytes(16), length)
    assert not SafetensorsModel.recognises(path)
    with pytest.raises(ModelLoadError, match=r"bad\.safetensors"):
        SafetensorsModel(path).count_parameters()
    with pytest.raises(ModelUnrecognised, match="truncated"):
        factory.get_model(path)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_damaged_byte_is_a_count_or_a_load_error(data: Any, tmp_path: Path) -> None:
    whole = tmp_path / "whole.safetensors"
    if not whole.exists():
        library.save_file({"a": torch.rand(3, 2), "b": torch.rand(4).half()}, whole)
    content = bytearray(whole.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(content)
    with contextlib.suppress(ModelLoadError):
        assert SafetensorsModel(path).count_parameters().total <= 8 * len(content)


# Shards


@pytest.fixture
def shards(small: Any, tmp_path: Path) -> Path:
    """``small`` in two files and an index."""
    state = small.state_dict()
    names = list(state)
    for number, part in enumerate((names[:3], names[3:])):
        library.save_file(
            {name: state[name] for name in part}, tmp_path / f"part-{number}.safetensors"
        )
    index = {name: f"part-{int(name not in names[:3])}.safetensors" for name in names}
    path = tmp_path / "small.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": index}))
    return path


def test_shards_are_one_model(shards: Path, image: Any, expected: Any) -> None:
    assert factory.get_model(shards) is SafetensorsModel
    with SafetensorsModel(shards, model_class=CLASS, device="cpu") as model:
        count = model.count_parameters()
        assert (count.trainable, count.non_trainable) == (TRAINABLE, STATISTICS)
        np.testing.assert_allclose(model.run(image)["output"], expected, rtol=1e-5)


def test_shards_of_torch_save(small: Any, tmp_path: Path, image: Any, expected: Any) -> None:
    state = dict(small.state_dict())
    names = list(state)
    torch.save({name: state[name] for name in names[:3]}, tmp_path / "part-0.bin")
    torch.save({name: state[name] for name in names[3:]}, tmp_path / "part-1.bin")
    index = {name: f"part-{int(name not in names[:3])}.bin" for name in names}
    path = tmp_path / "pytorch_model.bin.index.json"
    path.write_text(json.dumps({"weight_map": index}))
    assert factory.get_model(path) is SafetensorsModel
    with SafetensorsModel(path, model_class=CLASS, device="cpu") as model:
        count = model.count_parameters()
        assert (count.trainable, count.non_trainable) == (TRAINABLE, STATISTICS)
        np.testing.assert_allclose(model.run(image)["output"], expected, rtol=1e-5)


def test_a_missing_shard_is_named(shards: Path) -> None:
    (shards.parent / "part-1.safetensors").unlink()
    with pytest.raises(ModelLoadError, match=r"part-1\.safetensors"):
        SafetensorsModel(shards).count_parameters()


def test_a_shard_of_another_version_is_refused(shards: Path) -> None:
    library.save_file({"other": torch.rand(2)}, shards.parent / "part-1.safetensors")
    with pytest.raises(ModelLoadError, match=r"part-1\.safetensors lacks 6 tensors"):
        SafetensorsModel(shards).count_parameters()


@pytest.mark.parametrize("shard", ["../other.safetensors", "/etc/passwd", "a/b.safetensors", ".."])
def test_shards_outside_of_the_folder_are_not_read(shard: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": {"w": shard}}))
    with pytest.raises(ModelLoadError, match="outside"):
        SafetensorsModel(path).count_parameters()


@pytest.mark.parametrize(
    "text", ["{}", "[1]", '{"weight_map": {}}', '{"weight_map": {"a": 1}}', "{"]
)
def test_other_json_is_no_index(text: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(text)
    assert not SafetensorsModel.recognises(path)
