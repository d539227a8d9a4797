"""The format onnx: recognised by content, counted without weights, run by ONNX Runtime."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from greenai_core import (
    ModelInputError,
    ModelLoadError,
    ModelUnrecognised,
    ParameterCount,
    PluginUnavailable,
    factory,
)
from greenai_plugins.models.onnx_format import OnnxModel

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402  # after the check that it is there
from onnx_files import save, tensor  # noqa: E402  # likewise


def count(path: Path) -> ParameterCount:
    return OnnxModel(path).count_parameters()


# Recognition


def test_recognises_by_content_not_by_name(linear: Path) -> None:
    lying = linear.rename(linear.with_name("weights.h5"))
    assert factory.get_model(lying) is OnnxModel


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x08",
        b"\x08\x07",
        b"PK\x03\x04",
        b"\x89HDF\r\n\x1a\n",
        b"\x08\x07\x3a\x02\xff\xff",  # field 7 holds no graph
        b"\x08\x07\x12\xff\xff\xff\xff\x0f",  # a name longer than the file
        bytes(4096),
        b"{'json': 1}" * 20,
        tensor("t", 4, 3).SerializeToString(),
        b"\x08\x01\x12\x04abcd",  # what a SavedModel begins with
    ],
)
def test_other_content_is_not_claimed(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    assert not OnnxModel.recognises(path)


def test_folder_and_missing_file_are_not_claimed(tmp_path: Path) -> None:
    assert not OnnxModel.recognises(tmp_path)
    assert not OnnxModel.recognises(tmp_path / "none.onnx")


def test_counting_imports_no_library(linear: Path) -> None:
    code = (
        "import sys; from greenai_plugins.models.onnx_format import OnnxModel; "
        f"assert OnnxModel({str(linear)!r}).count_parameters().total == 15; "
        "assert not {'onnx', 'onnxruntime', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# Broken files


def test_every_truncation_is_one_clear_error(linear: Path) -> None:
    """But where only one of the two operator sets is missing: that is a model, too."""
    whole = linear.read_bytes()
    first_set = len(whole) - len(helper.make_opsetid("mine", 1).SerializeToString()) - 2
    for length in range(1, first_set):
        linear.write_bytes(whole[:length])
        with pytest.raises(ModelLoadError, match=r"linear\.onnx") as caught:
            count(linear)
        assert "\n" not in str(caught.value)
    linear.write_bytes(whole[:first_set])
    assert count(linear).total == 15


def test_random_damage_never_escapes_as_another_error(linear: Path) -> None:
    whole = bytearray(linear.read_bytes())
    rng = np.random.default_rng(11)
    for _ in range(400):
        damaged = bytearray(whole)
        for position in rng.integers(0, len(whole), 3):
            damaged[position] = rng.integers(0, 256)
        linear.write_bytes(damaged)
        with contextlib.suppress(ModelLoadError):
            count(linear)


def test_dimensions_must_fit_the_data(tmp_path: Path) -> None:
    lying = helper.make_tensor("w", TensorProto.FLOAT, [4, 3], bytes(48), raw=True)
    lying.dims[0] = 4_000_000
    path = save(tmp_path / "m.onnx", [helper.make_node("MatMul", ["x", "w"], ["y"])], [lying])
    with pytest.raises(ModelLoadError, match="need 48000000"):
        count(path)


def test_endless_nesting_is_refused(tmp_path: Path) -> None:
    """Deeper than the library itself would write: Loop in Loop, without end."""

    def message(field: int, payload: bytes) -> bytes:
        size, length = b"", len(payload)
        while length > 0x7F:
            size, length = size + bytes([length & 0x7F | 0x80]), length >> 7
        return bytes([field << 3 | 2]) + size + bytes([length]) + payload

    graph = b""
    for _ in range(2000):
        graph = message(1, message(5, message(6, graph)))  # a node's attribute is a graph
    path = tmp_path / "deep.onnx"
    path.write_bytes(b"\x08\x0a" + message(7, graph) + message(8, b""))
    assert OnnxModel.recognises(path)
    with pytest.raises(ModelLoadError, match="nested"):
        count(path)


def test_truncated_model_does_not_load(linear: Path) -> None:
    linear.write_bytes(linear.read_bytes()[:-40])
    with pytest.raises(ModelLoadError, match="truncated") as caught:
        OnnxModel(linear).run()
    assert "\n" not in str(caught.value)


def test_empty_and_missing_files(tmp_path: Path) -> None:
    empty = tmp_path / "empty.onnx"
    empty.touch()
    with pytest.raises(ModelUnrecognised, match="empty"):
        factory.load(empty)
    with pytest.raises(ModelLoadError, match="empty"):
        OnnxModel(empty).count_parameters()
    with pytest.raises(ModelLoadError, match="no model file"):
        OnnxModel(tmp_path / "none.onnx")


def test_mislabelled_file_is_named_as_such(tmp_path: Path) -> None:
    text = tmp_path / "notes.onnx"
    text.write_text("not a model")
    with pytest.raises(ModelUnrecognised, match="mislabelled"):
        factory.load(text)


# Running


def test_runs_and_names_inputs_and_outputs(linear: Path) -> None:
    weights = {w.name: numpy_helper.to_array(w) for w in onnx.load(linear).graph.initializer}
    data = np.ones((2, 4), np.float32)
    with factory.load(linear, device="cpu") as model:
        (spec,) = model.input_specs
        output = model.run(data)
    assert (spec.name, spec.shape, spec.dtype) == ("x", ("n", 4), "float32")
    np.testing.assert_allclose(output["y"], data @ weights["w"] + weights["b"])


def test_integer_and_text_inputs(tmp_path: Path) -> None:
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, [1, -1])
    words = helper.make_tensor_value_info("words", TensorProto.STRING, [2])
    outs = [
        helper.make_tensor_value_info("a", TensorProto.INT64, None),
        helper.make_tensor_value_info("b", TensorProto.STRING, None),
    ]
    nodes = [
        helper.make_node("Identity", ["ids"], ["a"]),
        helper.make_node("Identity", ["words"], ["b"]),
    ]
    model = helper.make_model(
        helper.make_graph(nodes, "g", [ids, words], outs),
        opset_imports=[helper.make_opsetid("", 21)],
        ir_version=10,
    )
    path = tmp_path / "text.onnx"
    path.write_bytes(model.SerializeToString())
    with OnnxModel(path, device="cpu", input_shapes={"ids": (1, 3)}) as opened:
        assert [spec.dtype for spec in opened.input_specs] == ["int64", "string"]
        output = opened.run()
    assert output["a"].shape == (1, 3)
    assert output["b"].tolist() == ["greenai", "greenai"]


def test_input_of_open_rank_is_no_scalar(tmp_path: Path) -> None:
    """ONNX Runtime shows both as []."""
    infos = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("any", None), ("scalar", []), ("y", None))
    ]
    graph = helper.make_graph(
        [helper.make_node("Add", ["any", "scalar"], ["y"])], "g", infos[:2], infos[2:]
    )
    opsets = [helper.make_opsetid("", 21)]
    path = tmp_path / "open.onnx"
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    path.write_bytes(model.SerializeToString())
    opened = OnnxModel(path, device="cpu")
    assert [spec.shape for spec in opened.input_specs] == [None, ()]
    with pytest.raises(ModelInputError, match="--input-shape"):
        opened.run()
    shaped = OnnxModel(path, device="cpu", input_shapes={"any": (2, 3)})
    assert shaped.run()["y"].shape == (2, 3)


def test_input_that_does_not_fit(linear: Path) -> None:
    model = OnnxModel(linear, device="cpu")
    with pytest.raises(ModelInputError):
        model.run(np.ones((2, 5), np.float32))
    with pytest.raises(ModelInputError, match=r"linear\.onnx") as caught:
        model.predict(model.prepare({"x": np.ones((2, 5), np.float32)}))
    assert "\n" not in str(caught.value)


def test_closes_and_opens_again(linear: Path) -> None:
    model = OnnxModel(linear, device="cpu")
    first = model.run()["y"]
    model.close()
    np.testing.assert_array_equal(model.run()["y"], first)


def test_stderr_stays_clean(linear: Path) -> None:
    code = f"from greenai_core import factory; factory.load({str(linear)!r}, device='cpu').run()"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_missing_cuda_is_said(linear: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(PluginUnavailable, match="it has CPUExecutionProvider"):
        OnnxModel(linear, device="cuda:1").load()


def test_silent_fall_back_is_noticed(linear: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build with CUDA on a machine without it gives a CPU session and no error."""
    import onnxruntime

    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    real = onnxruntime.InferenceSession
    asked = []

    def session(path: str, sess_options: Any, providers: Any) -> Any:
        asked.append(providers[0])
        return real(path, sess_options=sess_options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    with pytest.raises(PluginUnavailable, match="fell back"):
        OnnxModel(linear, device="cuda:10").load()
    assert asked == [("CUDAExecutionProvider", {"device_id": 10})]
    fallen = OnnxModel(linear)
    assert fallen.accelerators() == ()
    fallen.run()
    assert (fallen.device, fallen.accelerators()) == ("cpu", ())


def test_cuda_session_is_fed_on_the_gpu(linear: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a simulated board: its memory is the CPU's, all else is ONNX Runtime's own."""
    import onnxruntime

    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    real, value, placed = onnxruntime.InferenceSession, onnxruntime.OrtValue, []

    class Session(real):  # type: ignore[misc,valid-type]
        def __init__(self, path: str, sess_options: Any, providers: Any) -> None:
            super().__init__(path, sess_options=sess_options, providers=["CPUExecutionProvider"])

        def get_providers(self) -> list[str]:
            return providers

    class OrtValue:
        @staticmethod
        def ortvalue_from_numpy(array: Any, kind: str, number: int) -> Any:
            placed.append((kind, number))
            return value.ortvalue_from_numpy(array)

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    monkeypatch.setattr(onnxruntime, "OrtValue", OrtValue)
    model = OnnxModel(linear, device="cuda:2")
    assert model.run()["y"].shape == (1, 3)
    assert (model.device, placed) == ("cuda:2", [("cuda", 2)])


def test_options(linear: Path) -> None:
    assert OnnxModel(linear, device="cpu", threads="1").run()["y"].shape == (1, 3)
    with pytest.raises(ModelLoadError, match="threads"):
        OnnxModel(linear, threads="many").load()
    with pytest.raises(ModelLoadError, match="no option"):
        OnnxModel(linear, model_class="a:B")
    with pytest.raises(ModelLoadError, match="no device 'gpu7'"):
        OnnxModel(linear, device="gpu7").load()


def test_abilities(linear: Path) -> None:
    abilities = OnnxModel(linear).abilities()
    assert abilities["run"].possible
    assert abilities["layers"].possible
