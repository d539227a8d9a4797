"""Files of PyTorch are counted from their headers: without PyTorch, and as PyTorch counts."""

from __future__ import annotations

import contextlib
import io
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from without_frameworks import totals

from greenai_core import (
    LayerParameters,
    ModelError,
    ModelLoadError,
    ParameterCount,
    PluginUnavailable,
    factory,
)
from greenai_plugins.models import torch_checkpoint, torch_count
from greenai_plugins.models.pytorch_format import PytorchModel

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")]
torch = pytest.importorskip("torch")


def counted(path: Path) -> ParameterCount:
    """The count of the headers; fails where PyTorch would be asked."""
    headers = torch_checkpoint.read_headers(path)
    assert headers is not None
    return ParameterCount.of(torch_count.entries(torch_count.of_names(headers)))


def loaded(path: Path) -> ParameterCount:
    """The count of what PyTorch loads."""
    checkpoint = torch_checkpoint.read(path, trust=False)
    assert checkpoint.state is not None
    return ParameterCount.of(torch_count.entries(torch_count.of_state(checkpoint.state.items())))


def dtype(name: str) -> Any:
    return getattr(torch, name)


# Equal to what PyTorch loads

FLOATS = ("float64", "float32", "float16", "bfloat16", "complex64", "complex128")
WHOLE = ("int64", "int32", "int16", "int8", "uint8", "bool")
YOUNG = {
    "complex32": True, "float8_e4m3fn": True, "float8_e5m2": True, "float8_e4m3fnuz": True,
    "float8_e5m2fnuz": True, "uint16": False, "uint32": False, "uint64": False,
}  # fmt: skip
"""Types whose storages have none, and whether they can be parameters."""


@pytest.mark.parametrize("name", [*FLOATS, *WHOLE, *YOUNG])
@pytest.mark.filterwarnings("ignore:ComplexHalf")
def test_every_type(tmp_path: Path, name: str) -> None:
    state = {"a.weight": torch.zeros(3, 5).to(dtype(name)), "b": torch.zeros(2)}
    torch.save(state, tmp_path / "a.pt")
    found = counted(tmp_path / "a.pt")
    assert found == loaded(tmp_path / "a.pt")
    parameter = YOUNG.get(name, name in (*FLOATS, "int8", "uint8"))
    assert found.total == 2 + 15 * parameter


def test_packed_types(tmp_path: Path) -> None:
    """Two 4-bit elements a byte."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scales = (torch.ones(4), torch.zeros(4), 0)
        packed = torch.quantize_per_channel(torch.rand(4, 7), *scales, torch.quint4x2)
        narrow = torch.quantize_per_channel(torch.rand(4, 7), *scales, torch.qint8)
        wide = torch.quantize_per_tensor(torch.rand(6), 0.1, 0, torch.qint32)
    for name, tensor, size in (("p", packed, 14), ("n", narrow, 28), ("w", wide, 24)):
        torch.save({"weight": tensor}, tmp_path / f"{name}.pt")
        found = counted(tmp_path / f"{name}.pt")
        assert (found.total, found.bytes) == (tensor.numel(), size)
        assert found == loaded(tmp_path / f"{name}.pt")


def test_kinds_of_tensor(tmp_path: Path) -> None:
    shared = torch.rand(30)
    state = {
        "parameter": torch.nn.Parameter(torch.rand(2, 3)),
        "frozen": torch.nn.Parameter(torch.rand(4), requires_grad=False),
        "scalar": torch.tensor(1.5),
        "empty": torch.zeros(0, 3),
        "spread": torch.rand(1).expand(7),
        "turned": torch.rand(5, 2).t(),
        "coordinates": torch.eye(4).to_sparse(),
        "rows": torch.eye(5).to_sparse_csr(),
        "first": shared[:10],
        "second": shared[10:],
        "first_again": shared[:10],
        "transposed_again": shared[:10].view(2, 5).t(),
        "several": (torch.rand(2), [torch.rand(3), None], "text"),
        "hooked": torch.rand(2).requires_grad_(),
        "none": None,
        "meta": torch.rand(6, device="meta"),
        7: torch.rand(8),
        "norm.running_mean": torch.rand(3),
    }
    state_on_cpu = {key: value for key, value in state.items() if key != "meta"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(state_on_cpu, tmp_path / "kinds.pt")
        names = {str(key): value for key, value in state_on_cpu.items()}
        torch.save(names, tmp_path / "names.pt")
        torch.save({"w": state["meta"]}, tmp_path / "meta.pt")
    assert counted(tmp_path / "names.pt") == loaded(tmp_path / "names.pt")
    assert counted(tmp_path / "kinds.pt") == counted(tmp_path / "names.pt")
    assert counted(tmp_path / "meta.pt").total == 6


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol(small: Any, tmp_path: Path, protocol: int) -> None:
    """Also those that PyTorch's own safe loader does not read."""
    torch.save(small.state_dict(), tmp_path / "a.pt", pickle_protocol=protocol)
    assert counted(tmp_path / "a.pt") == ParameterCount(845, 8, 4 * 853)


SHAPES = st.lists(st.integers(0, 4), max_size=4)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.tuples(SHAPES, st.sampled_from((*FLOATS, *WHOLE)), st.booleans()), min_size=1),
    st.booleans(),
)
def test_any_state_dict(
    tmp_path: Path, tensors: list[tuple[list[int], str, bool]], zipped: bool
) -> None:
    state: dict[str, Any] = {}
    for number, (shape, name, again) in enumerate(tensors):
        tensor = torch.zeros(shape, dtype=dtype(name))
        state[f"layer{number % 3}.{number}"] = tensor
        if again:
            state[f"tied.{number}"] = tensor
    path = tmp_path / "any.pt"
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    assert counted(path) == loaded(path)


# Checkpoints


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model", None])
@pytest.mark.parametrize("zipped", [True, False])
def test_of_a_checkpoint_the_network_only(
    small: Any, tmp_path: Path, key: str | None, zipped: bool
) -> None:
    """The optimizer's state, twice as large, is left out."""
    optimiser = torch.optim.Adam(small.parameters())
    sum(parameter.sum() for parameter in small.parameters()).backward()
    optimiser.step()
    weights = small.state_dict()
    checkpoint = weights if key is None else {key: weights, "optimizer": optimiser.state_dict()}
    path = tmp_path / "a.ckpt"
    torch.save(checkpoint, path, _use_new_zipfile_serialization=zipped)
    assert counted(path) == loaded(path)
    assert counted(path).total == 108 + 4 + 8 + 720 + 5 + 8


def test_layers_of_a_state_dict(saved: Path) -> None:
    assert PytorchModel(saved).count_by_layer() == (
        LayerParameters("conv", None, 112, 0, 448),
        LayerParameters("norm", None, 8, 8, 64),
        LayerParameters("head", None, 725, 0, 2900),
    )


def test_layers_with_the_class_have_types(saved: Path) -> None:
    model = PytorchModel(saved, model_class="their_networks:SmallNet", device="cpu")
    assert [(one.name, one.type) for one in model.count_by_layer()] == [
        ("conv", "Conv2d"),
        ("norm", "BatchNorm2d"),
        ("head", "Linear"),
    ]


def test_a_tied_weight_belongs_to_its_first_layer(networks: Any, tmp_path: Path) -> None:
    torch.save(networks.Tied().state_dict(), tmp_path / "tied.pt")
    assert [one.name for one in PytorchModel(tmp_path / "tied.pt").count_by_layer()] == ["words"]


# What only PyTorch understands


def test_unusual_tensors_are_left_to_pytorch(tmp_path: Path) -> None:
    path = tmp_path / "nested.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nested = torch.nested.nested_tensor([torch.zeros(2, 3), torch.zeros(1, 3)])
    torch.save({"weight": torch.rand(2), "nested": nested}, path)
    assert torch_checkpoint.read_headers(path) is None


# Without any framework


def test_no_framework_is_imported(small: Any, tmp_path: Path, linear: Path) -> None:
    torch.save(small.state_dict(), tmp_path / "state.pt")
    torch.save(small.state_dict(), tmp_path / "legacy.pt", _use_new_zipfile_serialization=False)
    torch.save({"model": small.state_dict(), "epoch": 2}, tmp_path / "checkpoint.bin")
    torch.jit.script(small).save(tmp_path / "script.pt")
    torch.jit.freeze(torch.jit.script(small)).save(tmp_path / "frozen.pt")
    names = ("state.pt", "legacy.pt", "checkpoint.bin", "script.pt", "frozen.pt")
    found = totals(*(tmp_path / name for name in names), linear)
    assert found == [853, 853, 853, 853, 837, 15]


def test_the_library_need_not_be_installed(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise PluginUnavailable("no PyTorch")

    monkeypatch.setattr(PytorchModel, "check_available", missing)
    assert PytorchModel(saved).count_parameters().total == 853


# Hostile and damaged files


def rewritten(path: Path, target: Path, **members: bytes) -> Path:
    """A copy of an archive with other contents of some members."""
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as copy:
        for entry in source.infolist():
            name = entry.filename.rpartition("/")[2]
            copy.writestr(entry.filename, members.get(name.replace(".", "_"), source.read(entry)))
    return target


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ((b"K\x04K\x03K\x03K\x03t", b"K\x04K\x03K\x03J\xff\xff\xff\x7ft"), "does not fit"),
        ((b"K\x04K\x03K\x03K\x03t", b"K\x04K\x03K\x03J\xff\xff\xff\xfft"), "impossible shape"),
        ((b"QK\x00(K\x04K\x03", b"QK\x01(K\x04K\x03"), "does not fit"),
        ((b"Kltq", b"K\x7ftq"), "should have 508 bytes"),
    ],
)
def test_absurd_shapes(saved: Path, tmp_path: Path, change: tuple[bytes, bytes], told: str) -> None:
    with zipfile.ZipFile(saved) as archive:
        name = next(n for n in archive.namelist() if n.endswith("data.pkl"))
        content = archive.read(name)
    assert content.count(change[0]) == 1
    bad = rewritten(saved, tmp_path / "bad.pt", data_pkl=content.replace(*change))
    with pytest.raises(ModelLoadError, match=told) as caught:
        PytorchModel(bad).count_parameters()
    assert "\n" not in str(caught.value)


def test_a_missing_storage_is_told(saved: Path, tmp_path: Path) -> None:
    short = rewritten(saved, tmp_path / "short.pt", **{"0": b"x"})
    with pytest.raises(ModelLoadError, match=r"storage 0 should have 432 bytes"):
        PytorchModel(short).count_parameters()


def test_a_pickle_that_is_too_large_is_not_read(saved: Path, tmp_path: Path) -> None:
    """And takes 300 MB in a file of 300 kB."""
    bomb = tmp_path / "bomb.pt"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/version", "3\n")
        with archive.open("a/data.pkl", "w") as file:
            for _ in range(300):
                file.write(b"N" * 2**20)
    with pytest.raises(ModelError):
        PytorchModel(bomb).count_parameters()


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_a_damaged_description_is_a_count_or_a_model_error(
    small: Any, tmp_path: Path, data: st.DataObject
) -> None:
    path = tmp_path / "seed.pt"
    if not path.exists():
        torch.save({"model": small.state_dict(), "epoch": 1}, path)
    with zipfile.ZipFile(path) as archive:
        name = next(n for n in archive.namelist() if n.endswith("data.pkl"))
        content = bytearray(archive.read(name))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + 1] = data.draw(st.binary(min_size=0, max_size=2))
    bad = rewritten(path, tmp_path / "bad.pt", data_pkl=bytes(content))
    with contextlib.suppress(ModelLoadError):
        headers = torch_checkpoint.read_headers(bad)
        assert headers is None or all(tensor.elements >= 0 for _, tensor in headers)


def test_what_the_reader_refuses_is_no_code_that_pytorch_would_run(tmp_path: Path) -> None:
    """The names are told; see also test_pytorch_safety."""
    file = io.BytesIO()
    torch.save({"w": torch.ones(2), "net": torch.nn.Linear(2, 2)}, file)
    (tmp_path / "whole.pt").write_bytes(file.getvalue())
    with pytest.raises(ModelLoadError, match=r"torch\.nn\.modules.*trust=True"):
        factory.load(tmp_path / "whole.pt").count_parameters()
