"""The format pytorch: state dicts, checkpoints, pickled networks."""

from __future__ import annotations

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
    Layered,
    ModelError,
    ModelInputError,
    ModelLoadError,
    PluginUnavailable,
    Trainable,
    factory,
)
from greenai_plugins.models.pytorch_format import PytorchModel

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

CLASS = "their_networks:SmallNet"
TRAINABLE, STATISTICS = 108 + 4 + 8 + 720 + 5, 8


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
    expected = small(torch.tensor(image)).detach().numpy()
    np.testing.assert_allclose(model.run(image)["output"], expected, rtol=1e-5)


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


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod."])
def test_weights_of_a_wrapped_network(
    small: Any, tmp_path: Path, image: Any, expected: Any, prefix: str
) -> None:
    """As DataParallel and torch.compile name them."""
    wrapped = {f"{prefix}{name}": value for name, value in small.state_dict().items()}
    torch.save(wrapped, tmp_path / "wrapped.pt")
    model = PytorchModel(tmp_path / "wrapped.pt", model_class=CLASS, device="cpu")
    np.testing.assert_allclose(model.run(image)["output"], expected, rtol=1e-5)


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
