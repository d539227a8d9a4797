"""The format exported: programs of torch.export."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from greenai_core import (
    Layered,
    ModelError,
    ModelInputError,
    ModelLoadError,
    PluginUnavailable,
)
from greenai_plugins.models.exported_format import ExportedModel

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

TRAINABLE, STATISTICS = 108 + 4 + 8 + 720 + 5, 8
BATCH = torch.export.Dim("batch")


def export(net: Any, args: Any, path: Path, kwargs: Any = None, **options: Any) -> Path:
    torch.export.save(torch.export.export(net, args, kwargs or {}, **options), path)
    return path


@pytest.fixture
def program(small: Any, tmp_path: Path) -> Path:
    """``small`` with a batch of any size."""
    example = (torch.rand(2, 3, 8, 8),)
    return export(small, example, tmp_path / "small.pt2", dynamic_shapes={"image": {0: BATCH}})


def flat(net: Any, args: Any, path: Path) -> Path:
    """The layout that PyTorch wrote before 2.8."""
    from torch._export.serde.schema import SCHEMA_VERSION
    from torch._export.serde.serialize import serialize

    parts = serialize(torch.export.export(net, args))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("version", ".".join(map(str, SCHEMA_VERSION)))
        archive.writestr("serialized_exported_program.json", parts.exported_program)
        archive.writestr("serialized_state_dict.pt", parts.state_dict)
        archive.writestr("serialized_constants.pt", parts.constants)
        archive.writestr("serialized_example_inputs.pt", parts.example_inputs)
    return path


def edited(path: Path, member: str, edit: Any) -> Path:
    """A copy of an archive with one JSON member edited in place by ``edit``."""
    target = path.with_name(f"edited_{path.name}")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name.endswith(member):
                document = json.loads(content)
                edit(document)
                content = json.dumps(document).encode()
            new.writestr(name, content)
    return target


GRAPH, TABLE = "models/model.json", "model_weights_config.json"


# Counting


def test_count_is_that_of_the_network(small: Any, program: Path) -> None:
    count = ExportedModel(program).count_parameters()
    assert count.trainable == sum(p.numel() for p in small.parameters()) == TRAINABLE
    assert count.non_trainable == STATISTICS
    assert count.bytes == 4 * (TRAINABLE + STATISTICS)


def test_layers_sum_to_the_count_and_are_called_as_in_the_network(program: Path) -> None:
    layers = ExportedModel(program).count_by_layer()
    assert {(layer.name, layer.type) for layer in layers} == {
        ("conv", "Conv2d"), ("norm", "BatchNorm2d"), ("head", "Linear"),
    }  # fmt: skip
    assert sum(layer.trainable for layer in layers) == TRAINABLE


def test_tied_weights_count_once(networks: Any, tmp_path: Path) -> None:
    path = export(networks.Tied().eval(), (torch.zeros(3, dtype=torch.long),), tmp_path / "t.pt2")
    count = ExportedModel(path).count_parameters()
    assert (count.trainable, count.non_trainable) == (40, 0)
    assert sum(layer.trainable for layer in ExportedModel(path).count_by_layer()) == 40
    with ExportedModel(path, device="cpu") as model:
        assert sum(layer.parameters for layer in model.as_layered().layers()) == 40


def test_frozen_parameters_and_half_precision(small: Any, tmp_path: Path) -> None:
    small.conv.requires_grad_(False)
    path = export(small.bfloat16(), (torch.rand(2, 3, 8, 8, dtype=torch.bfloat16),),
                  tmp_path / "b.pt2")  # fmt: skip
    count = ExportedModel(path).count_parameters()
    assert count.trainable == TRAINABLE - 112
    assert count.non_trainable == STATISTICS + 112
    assert count.bytes == 2 * (TRAINABLE + STATISTICS)
    with ExportedModel(path, device="cpu") as model:
        assert model.input_specs[0].dtype == "float32"
        assert np.isfinite(model.run()["output"]).all()


def test_constants_of_the_graph_are_no_parameters(tmp_path: Path) -> None:
    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dense = torch.nn.Linear(3, 3)
            self.constant = torch.rand(3)
            self.register_buffer("passing", torch.rand(3), persistent=False)

        def forward(self, x: Any) -> Any:
            return self.dense(x) * self.constant + self.passing + torch.tensor([1.0, 2.0, 3.0])

    path = export(Net().eval(), (torch.rand(1, 3),), tmp_path / "c.pt2")
    count = ExportedModel(path).count_parameters()
    assert (count.trainable, count.non_trainable) == (12, 0)


def test_counting_and_asking_import_no_torch(program: Path) -> None:
    code = (
        "import sys; from pathlib import Path; "
        "from greenai_plugins.models.exported_format import ExportedModel; "
        f"path = Path({str(program)!r}); assert ExportedModel.recognises(path); "
        f"model = ExportedModel(path); assert model.count_parameters().trainable == {TRAINABLE}; "
        "assert model.abilities()['run'].possible; print(model.input_specs); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_layout_of_older_files(small: Any, image: Any, expected: Any, tmp_path: Path) -> None:
    path = flat(small, (torch.tensor(image),), tmp_path / "old.pt2")
    assert ExportedModel.recognises(path)
    with ExportedModel(path, device="cpu") as model:
        count = model.count_parameters()
        assert (count.trainable, count.non_trainable) == (TRAINABLE, STATISTICS)
        assert model.input_specs[0].shape == (2, 3, 8, 8)
        np.testing.assert_allclose(model.run(image)["output"], expected, rtol=1e-5)


# Running


def test_open_axes_carry_names_and_take_any_size(program: Path, image: Any, expected: Any) -> None:
    with ExportedModel(program, device="cpu") as model:
        (spec,) = model.input_specs
        assert isinstance(spec.shape[0], str)
        assert (spec.name, spec.shape[1:], spec.layout) == ("image", (3, 8, 8), "NCHW")
        np.testing.assert_allclose(model.run(image)["output"], expected, rtol=1e-5)
        assert model.run(np.tile(image, (4, 1, 1, 1)))["output"].shape == (8, 5)


def test_several_inputs_nested_and_constant(tmp_path: Path) -> None:
    class Net(torch.nn.Module):
        def forward(self, pair: Any, flag: Any, *, scale: Any, power: Any = None) -> Any:
            out = (pair["a"] + pair["b"]) * scale
            return {"y": out**power if flag else out, "more": (out, [out])}

    args = ({"a": torch.rand(2, 3), "b": torch.zeros(2, 3, dtype=torch.int32)}, True)
    path = export(Net(), args, tmp_path / "n.pt2", {"scale": torch.rand(1), "power": 2})
    with ExportedModel(path, device="cpu") as model:
        assert [spec.name for spec in model.input_specs] == ["pair_a", "pair_b", "scale"]
        given = {"pair_a": np.ones((2, 3), np.float32), "pair_b": np.ones((2, 3), np.int32),
                 "scale": np.array([3], np.float32)}  # fmt: skip
        outputs = model.run(given)
    assert set(outputs) == {"y", "more.0", "more.1.0"}
    np.testing.assert_allclose(outputs["y"], np.full((2, 3), 36.0))


def test_an_axis_out_of_range_is_an_input_error(tmp_path: Path) -> None:
    class Net(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return x * 2

    rows = torch.export.Dim("rows", min=4, max=9)
    path = export(Net(), (torch.rand(5, 3),), tmp_path / "r.pt2", dynamic_shapes={"x": {0: rows}})
    with ExportedModel(path, device="cpu") as model:
        with pytest.raises(ModelInputError, match="4"):
            model.run(np.ones((2, 3), np.float32))
        assert model.run(np.ones((4, 3), np.float32))["output"].shape == (4, 3)


def test_layers_are_told_apart(program: Path, image: Any) -> None:
    with ExportedModel(program, device="cpu") as model:
        layered = model.as_layered()
        assert isinstance(layered, Layered)
        assert [(layer.name, layer.type, layer.parameters) for layer in layered.layers()] == [
            ("conv", "Conv2d", 112), ("norm", "BatchNorm2d", 8),
            ("act", "ReLU", 0), ("head", "Linear", 725),
        ]  # fmt: skip
        calls = layered.calls(model.prepare({"image": image}))
        assert [call.layer for call in calls] == ["conv", "norm", "act", "head"]


def test_a_program_exported_in_training_is_counted_and_not_run(small: Any, tmp_path: Path) -> None:
    path = export(small.train(), (torch.rand(2, 3, 8, 8),), tmp_path / "train.pt2")
    model = ExportedModel(path)
    assert model.count_parameters().trainable == TRAINABLE
    run = model.abilities()["run"]
    assert not run.possible
    assert "training mode" in run.reason
    assert "eval()" in run.reason
    with pytest.raises(ModelLoadError, match="training mode"):
        model.load()


def test_normalisation_by_the_batch_alone_is_no_training_mode(tmp_path: Path) -> None:
    net = torch.nn.Sequential(torch.nn.BatchNorm1d(3, track_running_stats=False)).eval()
    path = export(net, (torch.rand(4, 3),), tmp_path / "n.pt2")
    assert ExportedModel(path).abilities()["run"].possible


def test_any_ending_will_do(program: Path, image: Any, expected: Any) -> None:
    lying = program.rename(program.with_suffix(".onnx"))
    with ExportedModel(lying, device="cpu") as model:
        np.testing.assert_allclose(model.run(image)["output"], expected, rtol=1e-5)


def test_control_flow_runs(tmp_path: Path) -> None:
    class Net(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.cond(x.sum() > 0, lambda a: a * 2, lambda a: a - 1, (x,))

    path = export(Net(), (torch.ones(2),), tmp_path / "cond.pt2")
    with ExportedModel(path, device="cpu") as model:
        assert model.run(np.array([1, 2], np.float32))["output"].tolist() == [2, 4]
        assert model.run(np.array([-1, 0], np.float32))["output"].tolist() == [-2, -1]


# Hostile and broken files


EVIL = "__import__('os').abort()"


def in_graph(*path: str) -> Any:
    def edit(document: Any, value: str) -> None:
        *stem, last = path
        for key in stem:
            document = document[key]
        document[last] = value

    return edit


def target(text: str) -> Any:
    def edit(document: Any) -> None:
        document["graph_module"]["graph"]["nodes"][0]["target"] = text

    return edit


def expression(text: str) -> Any:
    def edit(document: Any) -> None:
        tensors = document["graph_module"]["graph"]["tensor_values"]
        tensors["image"]["sizes"][0]["as_expr"]["expr_str"] = text

    return edit


def guard(text: str) -> Any:
    return lambda document: document["guards_code"].append(text)


def spec(text: str) -> Any:
    def edit(document: Any) -> None:
        document["graph_module"]["module_call_graph"][0]["signature"]["in_spec"] = text

    return edit


def argument_name(text: str) -> Any:
    def edit(document: Any) -> None:
        document["graph_module"]["module_call_graph"][0]["signature"]["forward_arg_names"] = [text]

    return edit


def hidden(text: str) -> Any:
    """An operator under a key that holds notes elsewhere."""

    def edit(document: Any) -> None:
        argument = {"as_string_to_argument": {"metadata": {"as_operator": text}}}
        node = document["graph_module"]["graph"]["nodes"][0]
        node["inputs"].append({"name": "x", "arg": argument, "kind": 2})

    return edit


IMPORTING = json.dumps(
    [1, {"type": "builtins.dict", "context": '[{"__enum__": 1, "fqn": "antigravity:X"}]',
         "children_spec": []}]
)  # fmt: skip
FACTORY = json.dumps(
    [1, {"type": "collections.defaultdict", "children_spec": [],
         "context": '{"default_factory_module": "os", "default_factory_name": "abort"}'}]
)  # fmt: skip


@pytest.mark.parametrize(
    "edit",
    [
        target("torch.os.system"),
        target("torch.load"),
        target("torch.hub.load"),
        target("torch.ops.load_library"),
        target("torch.ops.aten.from_file.default"),
        target("torch.ops.aten.save.default"),
        target("torch.ops.theirs.op.default"),
        target("_operator.methodcaller"),
        hidden("torch.os.system"),
        expression(EVIL),
        expression("s0.__class__"),
        expression("Symbol('s0').func.__globals__['os']"),
        expression("Pow(9, Pow(9, Pow(9, 9)))"),
        expression("9**9**9**9"),
        expression("open('x')"),
        guard(EVIL),
        guard("L['image'].size()[0] == 2, x\n  import os"),
        guard("L['a\"b'].size()[0] == 2"),
        spec(IMPORTING),
        spec(FACTORY),
        argument_name(f"x={EVIL}"),
    ],
)
def test_a_program_that_asks_for_more_than_pytorch_needs_trust(
    program: Path, edit: Any, tmp_path: Path
) -> None:
    path = edited(program, GRAPH, edit)
    model = ExportedModel(path, device="cpu")
    assert model.count_parameters().trainable == TRAINABLE
    run = model.abilities()["run"]
    assert not run.possible
    assert "trust" in run.reason
    with pytest.raises(ModelLoadError, match="trust"):
        model.load()
    # Trusted, it is PyTorch's turn.
    assert "trust" not in ExportedModel(path, trust=True).cannot_run()


def test_pickles_in_it_need_trust(program: Path, tmp_path: Path) -> None:
    """PyTorch falls back from its safe loader to the unsafe one for the sample inputs."""
    trap = tmp_path / "trapped"

    class Payload:
        def __reduce__(self) -> Any:
            return Path.touch, (trap,)

    torch.save((Payload(),), tmp_path / "evil.pt")
    path = tmp_path / "evil.pt2"
    with zipfile.ZipFile(program) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            evil = "sample_inputs" in name
            new.writestr(name, (tmp_path / "evil.pt").read_bytes() if evil else old.read(name))
    model = ExportedModel(path, device="cpu")
    assert model.count_parameters().trainable == TRAINABLE
    with pytest.raises(ModelLoadError, match=r"sample_inputs.*trust"):
        model.run()
    assert not trap.exists()
    with pytest.raises(ModelError):
        ExportedModel(path, device="cpu", trust=True).run()
    assert trap.exists(), "the payload of this test does nothing"


def test_compiled_code_needs_trust(program: Path) -> None:
    with zipfile.ZipFile(program, "a") as archive:
        archive.writestr("small/data/aotinductor/model/model.so", b"machine code")
    assert "machine code" in ExportedModel(program).abilities()["run"].reason


def test_two_members_of_one_name_are_refused(program: Path) -> None:
    with zipfile.ZipFile(program, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(f"small/{GRAPH}", b"{}")
    with pytest.raises(ModelLoadError, match="twice"):
        ExportedModel(program).count_parameters()


def row(**changes: Any) -> Any:
    def edit(document: Any) -> None:
        document["config"]["head.weight"].update(changes)

    return edit


def meta(**changes: Any) -> Any:
    def edit(document: Any) -> None:
        document["config"]["head.weight"]["tensor_meta"].update(changes)

    return edit


@pytest.mark.parametrize(
    "edit",
    [
        meta(sizes=[{"as_int": 10**15}, {"as_int": 144}]),
        meta(sizes=[{"as_int": -5}, {"as_int": -144}]),
        meta(sizes=[{"as_int": 5.5}, {"as_int": 144}]),
        meta(sizes="5x144"),
        meta(sizes=[{"as_int": 5}]),
        meta(dtype=99),
        meta(dtype=None),
        meta(storage_offset={"as_int": 10**9}),
        meta(storage_offset={"as_int": -1}),
        row(path_name="../../../etc/passwd"),
        row(tensor_meta=None),
        lambda document: document.update(config=[]),
        lambda document: document["config"].update({"head.weight": 7}),
    ],
)
def test_absurd_tables_are_load_errors(program: Path, edit: Any) -> None:
    path = edited(program, TABLE, edit)
    with pytest.raises(ModelLoadError, match=path.name):
        ExportedModel(path).count_parameters()


def test_a_compressed_bomb_is_not_unpacked(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("greenai_plugins.models.exported_archive.MAX_JSON", 1 << 20)
    path = program.with_name("bomb.pt2")
    with zipfile.ZipFile(program) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            if not name.endswith(TABLE):
                new.writestr(name, old.read(name))
        with new.open(f"small/data/weights/{TABLE}", "w", force_zip64=True) as member:
            member.write(bytes(2 << 20))
    with pytest.raises(ModelLoadError, match="claims"):
        ExportedModel(path).count_parameters()


def test_other_programs_than_the_one_called_model(small: Any, tmp_path: Path) -> None:
    from torch.export.pt2_archive._package import package_pt2

    program = torch.export.export(small, (torch.rand(2, 3, 8, 8),))
    package_pt2(tmp_path / "two.pt2", exported_programs={"first": program, "second": program})
    with pytest.raises(ModelLoadError, match=r"first, second"):
        ExportedModel(tmp_path / "two.pt2").count_parameters()


def test_without_transformers_its_outputs_name_the_extra(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec_text = json.dumps(
        [1, {"type": "transformers.modeling_outputs.BaseModelOutput",
             "context": '["last_hidden_state"]',
             "children_spec": [{"type": None, "context": None, "children_spec": []}]}]
    )  # fmt: skip

    def edit(document: Any) -> None:
        document["graph_module"]["module_call_graph"][0]["signature"]["out_spec"] = spec_text

    path = edited(program, GRAPH, edit)
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "transformers" else 1
    )
    with pytest.raises(PluginUnavailable, match="transformers"):
        ExportedModel(path, device="cpu").load()
