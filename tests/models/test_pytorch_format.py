"""The format pytorch: state dicts, checkpoints, pickled networks."""

from __future__ import annotations

import contextlib
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from greenai_core import (
    GreenAIError,
    Layered,
    ModelError,
    ModelInputError,
    ModelLoadError,
    ModelUnrecognised,
    PluginUnavailable,
    Trainable,
    factory,
)
from greenai_plugins.models.pytorch_format import PytorchModel

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

CLASS = "their_networks:SmallNet"
TRAINABLE, STATISTICS = 108 + 4 + 8 + 720 + 5, 8


class Payload:
    """A pickle that creates a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.fixture
def saved(small: Any, tmp_path: Path) -> Path:
    torch.save(small.state_dict(), tmp_path / "small.pt")
    return tmp_path / "small.pt"


@pytest.fixture
def whole(small: Any, tmp_path: Path) -> Path:
    torch.save(small, tmp_path / "whole.pt")
    return tmp_path / "whole.pt"


def answer(small: Any, image: Any) -> Any:
    with torch.no_grad():
        return small(torch.tensor(image)).numpy()


# Recognition


@pytest.mark.parametrize("name", ["a.pt", "a.pth", "a.bin", "a.ckpt", "lying.onnx"])
@pytest.mark.parametrize("zipped", [True, False])
def test_recognises_by_content(small: Any, tmp_path: Path, name: str, zipped: bool) -> None:
    torch.save(small.state_dict(), tmp_path / name, _use_new_zipfile_serialization=zipped)
    assert factory.get_model(tmp_path / name) is PytorchModel


def test_others_are_not_claimed(small: Any, tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("weights")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps({"a": 1}))
    with zipfile.ZipFile(tmp_path / "plain_zip.pt", "w") as archive:
        archive.writestr("a/data.txt", "x")
    torch.jit.script(small).save(tmp_path / "script.pt")
    example = (torch.rand(2, 3, 8, 8),)
    torch.export.save(torch.export.export(small, example), tmp_path / "program.pt2")
    for path in tmp_path.glob("*.pt*"):
        assert not PytorchModel.recognises(path), path
    assert not PytorchModel.recognises(tmp_path)
    assert not PytorchModel.recognises(tmp_path / "none.pt")


def test_recognising_and_asking_import_no_torch(saved: Path) -> None:
    code = (
        "import sys; from pathlib import Path; "
        "from greenai_plugins.models.pytorch_format import PytorchModel; "
        f"path = Path({str(saved)!r}); assert PytorchModel.recognises(path); "
        "assert 'class' in PytorchModel(path).cannot_run(); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# Counting


@pytest.mark.parametrize("zipped", [True, False])
def test_count_is_the_same_with_and_without_class(small: Any, tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "small.pt"
    torch.save(small.state_dict(), path, _use_new_zipfile_serialization=zipped)
    bare = PytorchModel(path).count_parameters()
    assert (bare.trainable, bare.non_trainable) == (TRAINABLE, STATISTICS)
    assert bare.bytes == 4 * (TRAINABLE + STATISTICS)
    with PytorchModel(path, model_class=CLASS, device="cpu") as model:
        assert model.count_parameters() == bare
        model.load()
        assert model.count_parameters() == bare


def test_tied_weights_count_once_and_indices_never(networks: ModuleType, tmp_path: Path) -> None:
    torch.save(networks.Tied().state_dict(), tmp_path / "tied.pt")
    for options in ({}, {"model_class": networks.Tied}):
        assert PytorchModel(tmp_path / "tied.pt", **options).count_parameters().total == 40


def test_views_of_one_storage_are_different_weights(tmp_path: Path) -> None:
    """As the weights of a recurrent layer on a GPU are."""
    storage = torch.rand(30)
    torch.save({"a": storage[:10], "b": storage[10:]}, tmp_path / "views.pt")
    assert PytorchModel(tmp_path / "views.pt").count_parameters().total == 30


def test_types(tmp_path: Path) -> None:
    """Bytes follow the element type; wide integers and booleans are no parameters."""
    state = {
        "half": torch.rand(10).bfloat16(),
        "narrow": torch.ones(10, dtype=torch.int8),
        "count": torch.ones(10, dtype=torch.int64),
        "mask": torch.ones(10, dtype=torch.bool),
        "sparse": torch.eye(4).to_sparse(),
        "quantised": (torch.quantize_per_tensor(torch.rand(3), 0.1, 0, torch.qint8), None),
    }
    torch.save(state, tmp_path / "types.pt")
    found = PytorchModel(tmp_path / "types.pt").count_parameters()
    assert (found.total, found.bytes) == (10 + 10 + 4 + 3, 20 + 10 + 16 + 3)


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model"])
def test_checkpoint_counts_the_network_only(
    small: Any, tmp_path: Path, image: Any, key: str
) -> None:
    optimiser = torch.optim.Adam(small.parameters())
    small(torch.tensor(image)).sum().backward()
    optimiser.step()
    small.zero_grad()
    checkpoint = {"epoch": 3, key: small.state_dict(), "optimizer": optimiser.state_dict()}
    torch.save(checkpoint, tmp_path / "last.ckpt")
    model = PytorchModel(tmp_path / "last.ckpt", model_class=CLASS, device="cpu")
    assert model.count_parameters().total == TRAINABLE + STATISTICS
    np.testing.assert_allclose(model.run(image)["output"], answer(small, image), rtol=1e-5)


def test_frozen_parameters_are_not_trainable(networks: ModuleType, saved: Path) -> None:
    def frozen() -> Any:
        return networks.SmallNet().requires_grad_(False)

    model = PytorchModel(saved, model_constructor=frozen, device="cpu")
    assert model.count_parameters().trainable == 0
    with pytest.raises(ModelError, match="nothing to train"):
        model.as_trainable()
    assert not model.abilities()["train"].possible


# What a file can do


def test_state_dict_alone_does_not_run(saved: Path) -> None:
    model = factory.load(saved)
    abilities = model.abilities()
    assert [name for name in abilities if abilities[name].possible] == []
    reason = abilities["run"].reason
    assert "holds weights but not the network" in reason
    assert "--class module:Name" in reason
    for use in (model.run, model.as_trainable, model.as_layered):
        with pytest.raises(ModelLoadError, match="--class"):
            use()


def test_with_class_all_is_possible(saved: Path) -> None:
    model = factory.load(saved, model_class=CLASS, device="cpu")
    assert all(ability.possible for ability in model.abilities().values())
    assert isinstance(model.as_trainable(), Trainable)
    assert isinstance(model.as_layered(), Layered)


# Code in the file


def test_pickled_network_needs_trust(whole: Path, small: Any, image: Any) -> None:
    model = factory.load(whole, device="cpu")
    assert "their_networks.SmallNet" in model.abilities()["run"].reason
    for use in (model.count_parameters, model.run):
        with pytest.raises(ModelLoadError, match=r"their_networks\.SmallNet.*trust=True") as caught:
            use()
        assert "\n" not in str(caught.value)
    trusted = factory.load(whole, device="cpu", trust=True)
    assert all(ability.possible for ability in trusted.abilities().values())
    assert trusted.count_parameters().total == TRAINABLE + STATISTICS
    assert [spec.name for spec in trusted.input_specs] == ["image"]
    np.testing.assert_allclose(trusted.run(image)["output"], answer(small, image), rtol=1e-5)


@pytest.mark.parametrize("zipped", [True, False])
def test_malicious_pickle_is_not_executed(
    tmp_path: Path, networks: ModuleType, zipped: bool
) -> None:
    trap, path = tmp_path / "executed", tmp_path / "evil.pt"
    evil = {"state_dict": {"w": torch.rand(2)}, "extra": Payload(trap)}
    torch.save(evil, path, _use_new_zipfile_serialization=zipped)
    assert PytorchModel.recognises(path)
    for options in ({}, {"model_class": CLASS}, {"trust": "false"}):
        model = PytorchModel(path, device="cpu", **options)
        model.abilities()
        for use in (model.count_parameters, model.run, model.as_trainable):
            with pytest.raises(ModelLoadError, match="evil") as caught:
                use()
            assert "\n" not in str(caught.value)
    assert not trap.exists()
    torch.load(path, weights_only=False)
    assert trap.exists(), "the payload would not have shown anything"


def test_trust_of_a_state_dict_still_needs_its_class(saved: Path) -> None:
    assert "--class" in PytorchModel(saved, trust=True).cannot_run()
    with pytest.raises(ModelLoadError, match="true or false"):
        PytorchModel(saved, trust="perhaps").count_parameters()


# Broken files


@pytest.mark.parametrize("zipped", [True, False])
def test_truncated_files(small: Any, tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "cut.pt"
    torch.save(small.state_dict(), path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    for share in (0.01, 0.3, 0.6, 0.95, 0.999):
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(GreenAIError) as caught:
            factory.load(path).count_parameters()
        assert isinstance(caught.value, ModelError)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
        with pytest.raises(ModelLoadError, match="truncated"):
            PytorchModel(path).count_parameters()


def test_damaged_bytes_never_escape_as_another_error(saved: Path) -> None:
    content = saved.read_bytes()
    rng = np.random.default_rng(5)
    for _ in range(60):
        damaged = bytearray(content)
        for position in rng.integers(0, len(content), 20):
            damaged[position] = rng.integers(0, 256)
        saved.write_bytes(damaged)
        model = PytorchModel(saved)
        for use in (model.count_parameters, model.abilities):
            with contextlib.suppress(ModelLoadError):
                use()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"epoch": 1, "net": {}}, "keys epoch, net"),
        ([1, 2], "a list"),
        (torch.rand(3), "a Tensor"),
        ({}, "keys \\(none\\)"),
    ],
)
def test_files_without_a_network(tmp_path: Path, content: Any, told: str) -> None:
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(ModelLoadError, match=told):
        factory.load(tmp_path / "other.pt").count_parameters()


def test_missing_empty_and_mislabelled(tmp_path: Path) -> None:
    with pytest.raises(ModelUnrecognised, match="no model file"):
        factory.load(tmp_path / "none.pt")
    (tmp_path / "empty.pt").touch()
    with pytest.raises(ModelUnrecognised, match="empty"):
        factory.load(tmp_path / "empty.pt")
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(ModelUnrecognised, match="mislabelled"):
        factory.load(tmp_path / "text.pt")
    with pytest.raises(ModelLoadError, match=r"not written by torch\.save"):
        PytorchModel(tmp_path / "text.pt").count_parameters()


# The class


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ("SmallNet", "form module:Name"),
        ("no_such_module:Net", "cannot be imported"),
        ("their_networks:Nothing", "has no Nothing"),
        ("their_networks:__name__", "no class and no function"),
        ("their_networks:not_a_network", "not a torch.nn.Module"),
        ("their_networks:Tied", "do not fit Tied"),
    ],
)
def test_wrong_classes(saved: Path, reference: str, told: str) -> None:
    with pytest.raises(ModelLoadError, match=told) as caught:
        PytorchModel(saved, model_class=reference, device="cpu").run()
    assert "\n" not in str(caught.value)


def test_class_in_the_current_folder(saved: Path) -> None:
    """In a process whose path does not hold it."""
    code = (
        "import sys; sys.path.remove('') if '' in sys.path else None; "
        "from greenai_core import factory; "
        f"model = factory.load({str(saved)!r}, model_class={CLASS!r}, device='cpu', "
        "input_shapes=(1, 3, 8, 8)); print(model.run()['output'].shape)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, cwd=saved.parent
    )
    assert (done.stdout, done.stderr) == ("(1, 5)\n", "")


def test_arguments_of_the_class(networks: ModuleType, tmp_path: Path, image: Any) -> None:
    path = tmp_path / "nine.pt"
    torch.save(networks.make_small(9).state_dict(), path)
    for given in ({"classes": 9}, [9], '{"classes": 9}'):
        model = PytorchModel(path, model_class=CLASS, model_args=given, device="cpu")
        assert model.run(image)["output"].shape == (2, 9)
    for wrong in ("{", 9, {"colour": "red"}):
        with pytest.raises(ModelLoadError, match="model_args"):
            PytorchModel(path, model_class=CLASS, model_args=wrong, device="cpu").load()


def test_weights_saved_by_data_parallel(small: Any, tmp_path: Path, image: Any) -> None:
    wrapped = {f"module.{name}": value for name, value in small.state_dict().items()}
    torch.save(wrapped, tmp_path / "wrapped.pt")
    model = PytorchModel(tmp_path / "wrapped.pt", model_class=CLASS, device="cpu")
    np.testing.assert_allclose(model.run(image)["output"], answer(small, image), rtol=1e-5)


# Running


def test_shape_comes_from_the_user(saved: Path) -> None:
    model = PytorchModel(saved, model_class=CLASS, device="cpu")
    with pytest.raises(ModelInputError, match="--input-shape"):
        model.run()
    shaped = PytorchModel(
        saved, model_class="their_networks:make_small", device="cpu", input_shapes=(4, 3, 8, 8)
    )
    assert [(spec.name, spec.shape) for spec in shaped.input_specs] == [("image", (4, 3, 8, 8))]
    assert shaped.run()["output"].shape == (4, 5)


def test_several_inputs_and_nested_outputs(networks: ModuleType, tmp_path: Path) -> None:
    torch.save(networks.TwoInputs().state_dict(), tmp_path / "two.pt")
    shapes = {"input_ids": (2, 7), "features": (2, 7, 4)}
    options = {"model_class": "their_networks:TwoInputs", "device": "cpu"}
    model = PytorchModel(tmp_path / "two.pt", input_shapes=shapes, **options)
    assert [(spec.name, spec.dtype) for spec in model.input_specs] == [
        ("input_ids", "int64"),
        ("features", "float32"),
    ]
    plain = model.run()
    assert {name: array.shape for name, array in plain.items()} == {
        "mixed": (2, 7, 4),
        "parts.0": (2, 7, 4),
        "parts.1": (2, 7, 4),
    }
    scaled = PytorchModel(tmp_path / "two.pt", input_shapes={**shapes, "scale": (1,)}, **options)
    data = {spec.name: np.ones(spec.shape, spec.dtype) for spec in scaled.input_specs}
    data["scale"] *= 3
    halves = {name: data[name] for name in ("input_ids", "features")}
    np.testing.assert_allclose(scaled.run(data)["mixed"], 3 * model.run(halves)["mixed"])
    with pytest.raises(ModelInputError, match="no input colour"):
        _ = PytorchModel(tmp_path / "two.pt", input_shapes={"colour": (1,)}, **options).input_specs


def test_input_types_can_be_given(saved: Path) -> None:
    for given in ("float64", "image=float64", {"image": "float64"}):
        model = PytorchModel(saved, model_class=CLASS, device="cpu", input_dtypes=given)
        assert model.input_specs[0].dtype == "float64"


def test_half_precision_network_is_fed_halves(networks: ModuleType, saved: Path) -> None:
    model = PytorchModel(
        saved, model_class=lambda: networks.SmallNet().bfloat16(), device="cpu",
        input_shapes=(1, 3, 8, 8),
    )  # fmt: skip
    (output,) = model.run().values()
    assert output.dtype == np.float32


def test_predict_is_evaluation_without_gradient(saved: Path, image: Any) -> None:
    """Statistics stay as they are, also after training has begun."""
    model = PytorchModel(saved, model_class=CLASS, device="cpu")
    before = model.run(image)["output"]
    trainable = model.as_trainable()
    batch = trainable.prepare_batch({"image": image}, np.array([0, 1]))
    outputs = model.predict(model.prepare({"image": image}))
    assert not outputs.requires_grad
    np.testing.assert_array_equal(outputs.numpy(), before)
    trainable.step(batch)
    first = model.run(image)["output"]
    np.testing.assert_array_equal(model.run(image)["output"], first)
    assert not np.array_equal(first, before)


def test_input_array_is_not_changed(saved: Path) -> None:
    """A network may work in place on what it is given."""

    class InPlace(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.step = torch.nn.Parameter(torch.ones(1))

        def forward(self, x: Any) -> Any:
            return x.add_(self.step)

    torch.save({"step": torch.ones(1)}, saved)
    data = np.zeros((1, 3), np.float32)
    output = PytorchModel(saved, model_class=InPlace, device="cpu").run(data)["output"]
    assert (data.sum(), output.sum()) == (0, 3)


def test_input_that_does_not_fit(saved: Path) -> None:
    model = PytorchModel(saved, model_class=CLASS, device="cpu")
    with pytest.raises(ModelInputError, match=r"small\.pt") as caught:
        model.run(np.zeros((1, 4, 8, 8), np.float32))
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelInputError, match="image"):
        model.prepare({"picture": np.zeros((1, 3, 8, 8), np.float32)})


def test_unknown_devices(saved: Path) -> None:
    if not torch.cuda.is_available():
        with pytest.raises(PluginUnavailable, match="cuda:3"):
            PytorchModel(saved, model_class=CLASS, device="cuda:3").load()
    with pytest.raises(ModelLoadError, match="tpu"):
        PytorchModel(saved, model_class=CLASS, device="tpu").load()
    model = PytorchModel(saved, model_class=CLASS, enable_GPU=False)
    model.load()
    assert (model.device, model.accelerators()) == ("cpu", ())
    model.synchronize()


def test_gpu_is_waited_for(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = PytorchModel(saved, model_class=CLASS, device="cpu")
    model.load()
    waited = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    monkeypatch.setattr(model, "_device", torch.device("cuda", 1))
    model.synchronize()
    assert waited == [torch.device("cuda", 1)]


# Training


def test_training_learns_and_saves(saved: Path, tmp_path: Path, image: Any) -> None:
    for optimizer in ("sgd", "adam"):
        model = PytorchModel(
            saved, model_class=CLASS, device="cpu", optimizer=optimizer, learning_rate="0.01"
        )
        trainable = model.as_trainable()
        with pytest.raises(ModelError, match="no loss yet"):
            trainable.loss()
        batch = trainable.prepare_batch({"image": image}, np.array([0, 4], np.int32))
        losses = []
        for _ in range(20):
            trainable.step(batch)
            trainable.synchronize()
            losses.append(trainable.loss())
        assert losses[-1] < losses[0] / 2
        trainable.save(tmp_path / "trained.pt")
        again = PytorchModel(tmp_path / "trained.pt", model_class=CLASS, device="cpu")
        np.testing.assert_array_equal(again.run(image)["output"], model.run(image)["output"])
        assert not list(tmp_path.glob(".*"))


def test_floats_are_regressed(saved: Path, image: Any) -> None:
    trainable = PytorchModel(saved, model_class=CLASS, device="cpu").as_trainable()
    trainable.step(trainable.prepare_batch({"image": image}, np.zeros((2, 5), np.float32)))
    assert trainable.loss() > 0
    wrong = trainable.prepare_batch({"image": image}, np.zeros((2, 3), np.float32))
    with pytest.raises(ModelInputError, match=r"\(2, 3\)"):
        trainable.step(wrong)


def test_batches_that_do_not_fit(saved: Path, image: Any) -> None:
    trainable = PytorchModel(saved, model_class=CLASS, device="cpu").as_trainable()
    with pytest.raises(ModelInputError, match="2 samples of image and 3 targets"):
        trainable.prepare_batch({"image": image}, np.zeros(3, np.int64))
    with pytest.raises(ModelInputError, match="classes or floats"):
        trainable.prepare_batch({"image": image}, np.array(["a", "b"]))
    with pytest.raises(ModelInputError, match="out of bounds"):
        trainable.step(trainable.prepare_batch({"image": image}, np.array([0, 99])))


def test_failed_save_leaves_nothing(saved: Path, tmp_path: Path) -> None:
    trainable = PytorchModel(saved, model_class=CLASS, device="cpu").as_trainable()
    (tmp_path / "taken").mkdir()
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ModelError, match="taken"):
        trainable.save(tmp_path / "taken")
    with pytest.raises(ModelError, match="nowhere"):
        trainable.save(tmp_path / "nowhere" / "a.pt")
    assert sorted(tmp_path.iterdir()) == before


def test_training_options(saved: Path) -> None:
    for options in ({"optimizer": "lbfgs"}, {"learning_rate": "fast"}, {"learning_rate": -1}):
        model = PytorchModel(saved, model_class=CLASS, device="cpu", **options)
        with pytest.raises(ModelLoadError, match=next(iter(options))):
            model.as_trainable()


# Layers


def hooks(module: Any) -> int:
    return sum(
        len(inner._forward_hooks) + len(inner._forward_pre_hooks) for inner in module.modules()
    )


def test_layers_and_their_calls(saved: Path, image: Any) -> None:
    model = PytorchModel(saved, model_class=CLASS, device="cpu")
    layered = model.as_layered()
    assert [(layer.name, layer.type, layer.parameters) for layer in layered.layers()] == [
        ("conv", "Conv2d", 112),
        ("norm", "BatchNorm2d", 8),
        ("act", "ReLU", 0),
        ("head", "Linear", 725),
    ]
    calls = layered.calls(model.prepare({"image": image}))
    assert [(call.layer, call.index) for call in calls] == [
        (name, 0) for name in ("conv", "norm", "act", "head")
    ]
    for _ in range(2):
        np.testing.assert_array_equal(calls[-1].replay(), model.run(image)["output"])


def test_replay_sees_what_the_layer_saw(networks: ModuleType, tmp_path: Path) -> None:
    """An activation that works in place neither spoils its neighbour's input nor its own."""
    net = torch.nn.Sequential(torch.nn.Identity(), torch.nn.SiLU(inplace=True))
    torch.save(net, tmp_path / "net.pt")
    model = PytorchModel(tmp_path / "net.pt", trust=True, device="cpu")
    first, second = model.as_layered().calls(model.prepare({"input": -np.ones((1, 4), np.float32)}))
    for _ in range(3):
        expected = torch.nn.functional.silu(-torch.ones(1, 4))
        torch.testing.assert_close(second.replay(), expected)
    torch.testing.assert_close(first.replay(), -torch.ones(1, 4))


def test_shared_nested_and_whole_layers(tmp_path: Path) -> None:
    """A module used twice has two calls; attention, which calls no child, is one layer."""

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Tanh())
            self.attention = torch.nn.MultiheadAttention(4, 2, batch_first=True)

        def forward(self, x: Any) -> Any:
            x = self.block(self.block(x))
            return self.attention(x, x, value=x)[0]

    torch.save(Net().state_dict(), tmp_path / "net.pt")
    model = PytorchModel(tmp_path / "net.pt", model_class=Net, device="cpu")
    layered = model.as_layered()
    parents = {layer.name: layer.parent for layer in layered.layers()}
    assert (parents["block"], parents["block.0"]) == (None, "block")
    calls = layered.calls(model.prepare({"x": np.ones((1, 3, 4), np.float32)}))
    assert [(call.layer, call.index) for call in calls] == [
        ("block.0", 0), ("block.1", 0), ("block.0", 1), ("block.1", 1), ("attention", 0),
    ]  # fmt: skip
    for call in calls:
        call.replay()


def test_hooks_go_away_also_after_an_error(saved: Path, image: Any) -> None:
    model = PytorchModel(saved, model_class=CLASS, device="cpu")
    layered = model.as_layered()
    layered.calls(model.prepare({"image": image}))
    assert hooks(model._module) == 0
    with pytest.raises(ModelInputError):
        layered.calls(model.prepare({"image": image[:, :2]}))
    assert hooks(model._module) == 0


def test_outputs_of_every_kind() -> None:
    from collections import namedtuple
    from dataclasses import dataclass

    from greenai_plugins.models.torch_runtime import flatten, to_numpy

    @dataclass
    class Output:
        logits: Any
        hidden: Any = None

    one = torch.ones(2)
    pair = namedtuple("Pair", "left right")(one, one)
    assert [name for name, _ in flatten(one)] == ["output"]
    assert [name for name, _ in flatten((one, [one, one]))] == [
        "output_0", "output_1.0", "output_1.1",
    ]  # fmt: skip
    assert [name for name, _ in flatten(Output(one))] == ["logits"]
    assert [name for name, _ in flatten({"a": pair, "none": None})] == ["a.left", "a.right"]
    assert flatten(SimpleNamespace()) == []
    for tensor in (
        one.bfloat16(),
        one.to(torch.float8_e4m3fn),
        one.to_sparse(),
        torch.quantize_per_tensor(one, 0.1, 0, torch.qint8),
        one.requires_grad_(),
    ):
        assert to_numpy(tensor).dtype == np.float32
        np.testing.assert_allclose(to_numpy(tensor), [1, 1], rtol=0.1)
