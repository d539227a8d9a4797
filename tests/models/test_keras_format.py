"""Keras files: recognised, counted, run, trained and taken apart; and refused clearly."""

from __future__ import annotations

import importlib
import json
import math
import os
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from greenai_core import (
    DLModelFactory,
    LifecycleError,
    ModelError,
    ModelInputError,
    ModelLoadError,
    ModelUnrecognised,
    PluginUnavailable,
)
from greenai_plugins.models.keras_format import KerasModel

pytestmark = pytest.mark.tensorflow

CLASSES = 3


def convolutional(last="softmax"):
    """Convolution 112, batch normalisation 8 + 8 statistics, dense 435."""
    import keras

    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3), name="image"),
            layers.Conv2D(4, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.Dropout(0.5),
            layers.Flatten(),
            layers.Dense(CLASSES, activation=last, name="classes"),
        ]
    )
    rng = np.random.default_rng(3)
    model.set_weights([rng.random(w.shape).astype(w.dtype) for w in model.get_weights()])
    return model


def recurrent():
    import keras

    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((9,), dtype="int32"),
            layers.Embedding(20, 6),
            layers.Bidirectional(layers.LSTM(5, return_sequences=True)),
            layers.GRU(3),
            layers.Dense(1, "sigmoid"),
        ]
    )


def attention():
    import keras

    words = keras.Input((7, 16))
    mixed = keras.layers.MultiHeadAttention(2, 8)(words, words)
    mixed = keras.layers.LayerNormalization()(mixed + words)
    return keras.Model(words, keras.layers.Dense(2)(mixed))


def normalised():
    """Layers whose variables are not all trained, and an integer counter."""
    import keras

    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((4,)),
            layers.Normalization(),
            layers.BatchNormalization(scale=False),
            layers.BatchNormalization(center=False, scale=False),
            layers.BatchNormalization(trainable=False),
            layers.Dense(2),
        ]
    )


def wrapped():
    """Headers do not tell what is trained in these: the model is loaded."""
    import keras

    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((5, 4)),
            layers.TimeDistributed(layers.BatchNormalization()),
            layers.SpectralNormalization(layers.Dense(3)),
        ]
    )


def nested(freeze=lambda model, inner: None):
    import keras

    layers = keras.layers
    small = keras.Input((8,))
    inner = keras.Model(
        small,
        layers.Dense(3, name="b")(layers.BatchNormalization()(layers.Dense(5, name="a")(small))),
    )
    left, right = keras.Input((8,), name="left"), keras.Input((8,), name="right")
    model = keras.Model(
        [left, right], layers.Dense(2, name="c")(layers.Concatenate()([inner(left), inner(right)]))
    )
    freeze(model, inner)
    return model


def transfer_learning():
    import keras

    base = keras.applications.MobileNetV2(
        weights=None, input_shape=(32, 32, 3), include_top=False, alpha=0.35
    )
    for layer in base.layers[:60]:
        layer.trainable = False
    return keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            base,
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(4),
        ]
    )


def frozen_inner(model, inner):
    inner.trainable = False


def frozen_part(model, inner):
    inner.get_layer("a").trainable = False


def frozen_but_one(model, inner):
    inner.trainable = False
    inner.get_layer("b").trainable = True


def all_frozen(model, inner):
    model.trainable = False


NETWORKS = {
    "convolutional": convolutional,
    "recurrent": recurrent,
    "attention": attention,
    "normalised": normalised,
    "wrapped": wrapped,
    "nested": nested,
    "nested, inner frozen": lambda: nested(frozen_inner),
    "nested, a part frozen": lambda: nested(frozen_part),
    "nested, all but a part frozen": lambda: nested(frozen_but_one),
    "nested, all frozen": lambda: nested(all_frozen),
    "transfer learning": transfer_learning,
}


def elements(weights):
    return sum(math.prod(w.shape) for w in weights if "int" not in w.dtype)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One network, trained a step so that the files hold optimizer state, in both kinds of file."""
    folder = tmp_path_factory.mktemp("keras")
    model = convolutional()
    model.compile("adam", "mse", metrics=["mae"])
    model.train_on_batch(np.ones((2, 8, 8, 3), "f"), np.ones((2, CLASSES), "f"))
    for name in ("net.keras", "net.h5"):
        model.save(folder / name)
    model.save_weights(folder / "net.weights.h5")
    convolutional(last=None).save(folder / "logits.keras")
    np.savez(folder / "truth.npz", x=images(), y=model.predict(images(), verbose=0))
    return folder


def images():
    return np.random.default_rng(5).random((2, 8, 8, 3), dtype=np.float32)


@pytest.fixture(params=["net.keras", "net.h5"])
def file(request, folder):
    return folder / request.param


def run_python(code, *arguments, **environment):
    """A fresh interpreter, as quiet or as loud as TensorFlow is on its own."""
    loud = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**loud, **environment},
        check=False,
    )


# Recognised


def test_files_are_recognised_by_content(folder, tmp_path):
    assert KerasModel.recognises(folder / "net.keras")
    assert KerasModel.recognises(folder / "net.h5")
    renamed = shutil.copy(folder / "net.keras", tmp_path / "renamed.model")
    assert KerasModel.recognises(renamed)
    assert not KerasModel.recognises(tmp_path)
    with zipfile.ZipFile(tmp_path / "other.keras", "w") as other:
        other.writestr("config.json", "{}")
    assert not KerasModel.recognises(tmp_path / "other.keras")
    (tmp_path / "text.h5").write_text("no HDF5")
    assert not KerasModel.recognises(tmp_path / "text.h5")


def test_recognising_and_counting_load_neither_tensorflow_nor_keras(folder):
    code = (
        "import sys; from greenai_plugins.models.keras_format import KerasModel\n"
        "for path in sys.argv[1:]:\n"
        "    assert KerasModel.recognises(__import__('pathlib').Path(path))\n"
        "    print(KerasModel(path).get_number_of_parameters())\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    done = run_python(code, folder / "net.keras", folder / "net.h5", folder / "net.weights.h5")
    assert done.stderr == ""
    assert done.stdout.split() == ["563", "563", "563"]


# Counted


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_the_count_is_keras_own(network, suffix, tmp_path):
    model = network()
    path = tmp_path / f"net{suffix}"
    model.save(path)
    count = KerasModel(path, device="cpu").count_parameters()
    assert count.trainable == elements(model.trainable_weights)
    assert count.non_trainable == elements(model.non_trainable_weights)
    assert count.bytes == 4 * count.total


def test_optimizer_state_is_no_parameter(file):
    count = KerasModel(file).count_parameters()
    assert (count.trainable, count.non_trainable, count.bytes) == (555, 8, 4 * 563)


def test_weights_alone_are_counted_but_not_run(folder):
    model = KerasModel(folder / "net.weights.h5")
    assert (model.count_parameters().trainable, model.count_parameters().non_trainable) == (555, 8)
    assert not any(ability.possible for ability in model.abilities().values())
    assert "model.save" in model.abilities()["run"].reason
    with pytest.raises(ModelLoadError, match="weights without the model"):
        model.run()


def test_half_precision_takes_half_the_bytes(tmp_path):
    import keras

    net = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, dtype="bfloat16")])
    net.save(tmp_path / "half.keras")
    with KerasModel(tmp_path / "half.keras", device="cpu") as model:
        assert (model.count_parameters().total, model.count_parameters().bytes) == (15, 30)
        assert next(iter(model.run().values())).dtype == np.float32


def test_a_compressed_archive_is_counted(folder, tmp_path):
    path = tmp_path / "net.keras"
    with (
        zipfile.ZipFile(folder / "net.keras") as old,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))
    assert KerasModel(path).get_number_of_parameters() == 563


# Run


def test_the_output_is_that_of_keras(file, folder):
    truth = np.load(folder / "truth.npz")
    with KerasModel(file, device="cpu") as model:
        (spec,) = model.input_specs
        assert (spec.shape, spec.dtype) == ((None, 8, 8, 3), "float32")
        (output,) = model.run(truth["x"]).values()
        assert model.accelerators() == ()
    np.testing.assert_allclose(output, truth["y"], rtol=1e-5)


def test_a_file_under_another_name_is_run(folder, tmp_path):
    """Keras goes by the ending alone; greenai goes by the content."""
    for name in ("net.keras", "net.h5"):
        renamed = shutil.copy(folder / name, tmp_path / f"{name}.model")
        with KerasModel(renamed, device="cpu") as model:
            assert model.run(images())


def test_prediction_runs_without_dropout_and_leaves_the_weights_alone(file):
    with KerasModel(file, device="cpu") as model:
        first, second = (next(iter(model.run(images()).values())) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_inputs_and_outputs_keep_their_names(tmp_path):
    import keras

    right, left = keras.Input((2,), name="right"), keras.Input((3,), name="left")
    outputs = {
        "sum": keras.layers.Dense(2, name="d")(left) + right,
        "left": keras.layers.Identity()(left),
    }
    keras.Model({"r": right, "l": left}, outputs).save(tmp_path / "two.keras")
    with KerasModel(tmp_path / "two.keras", device="cpu") as model:
        assert {spec.name: spec.shape[1] for spec in model.input_specs} == {"left": 3, "right": 2}
        data = {"left": np.full((1, 3), 7, "f"), "right": np.ones((1, 2), "f")}
        found = model.run(data)
        assert set(found) == {"sum", "left"}
        np.testing.assert_array_equal(found["left"], data["left"])
        assert not model.abilities()["train"].possible
        assert "2 outputs" in model.abilities()["train"].reason


def test_an_input_that_does_not_fit_is_refused(file):
    with KerasModel(file, device="cpu") as model:
        (spec,) = model.input_specs
        with pytest.raises(ModelInputError, match="9x8x3"):
            model.prepare({spec.name: np.zeros((1, 9, 8, 3), "f")})
        with pytest.raises(ModelInputError, match=f"inputs of the model are: {spec.name}"):
            model.prepare({"other": np.zeros((1, 8, 8, 3), "f")})


@pytest.mark.parametrize("device", ["cuda:97", "tpu"])
def test_a_device_that_is_not_there_is_refused(device, folder):
    with pytest.raises((PluginUnavailable, ModelLoadError), match=device):
        KerasModel(folder / "net.keras", device=device).load()


def test_another_backend_of_keras_is_refused_when_it_is_to_run(folder):
    code = (
        "import sys; from greenai_plugins.models.keras_format import KerasModel\n"
        "model = KerasModel(sys.argv[1], device='cpu')\n"
        "try:\n    model.load()\nexcept Exception as error:\n"
        "    print(type(error).__name__, error)"
    )
    done = run_python(code, folder / "net.keras", KERAS_BACKEND="jax")
    assert done.stdout.startswith("PluginUnavailable")
    assert "KERAS_BACKEND=tensorflow" in done.stdout


def test_running_writes_nothing_to_the_terminal(folder):
    code = (
        "import sys, numpy; from greenai_plugins.models.keras_format import KerasModel\n"
        "model = KerasModel(sys.argv[1], device='cpu')\n"
        "model.run(); training = model.as_trainable()\n"
        "training.save(sys.argv[2])"
    )
    done = run_python(code, folder / "net.h5", folder / "quiet.h5")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# Trained


def training(path, **options):
    return KerasModel(path, device="cpu", **options).as_trainable()


@pytest.mark.parametrize("name", ["net.keras", "logits.keras", "net.h5"])
def test_training_on_labels_lowers_the_loss_and_can_be_saved(name, folder, tmp_path):
    opened = KerasModel(folder / name, device="cpu", optimizer="adam", learning_rate=0.01)
    before = opened.run(images())
    trained = opened.as_trainable()
    batch = trained.prepare_batch({opened.input_specs[0].name: images()}, np.array([0, 2]))
    losses = []
    for _ in range(60):
        trained.step(batch)
        losses.append(trained.loss())
    trained.synchronize()
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:10])
    trained.save(tmp_path / f"trained{(folder / name).suffix}")
    assert len(list(tmp_path.iterdir())) == 1
    reopened = KerasModel(next(tmp_path.iterdir()), device="cpu")
    assert reopened.headers.kind == opened.headers.kind
    (after,), (expected,) = reopened.run(images()).values(), opened.run(images()).values()
    np.testing.assert_allclose(after, expected, rtol=1e-5)
    assert not np.allclose(after, next(iter(before.values())))


@pytest.mark.parametrize("last", ["softmax", None])
def test_the_loss_is_the_cross_entropy_with_or_without_a_softmax(last, tmp_path):
    import keras

    net = keras.Sequential([keras.Input((5,), name="x"), keras.layers.Dense(3, last, name="y")])
    net.save(tmp_path / "net.keras")
    x = np.random.default_rng(1).random((4, 5), dtype=np.float32)
    labels = np.array([0, 1, 2, 1])
    scores = net.predict(x, verbose=0).astype(np.float64)
    if last is None:
        scores = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    trained = training(tmp_path / "net.keras")
    trained.step(trained.prepare_batch({"x": x}, labels))
    assert trained.loss() == pytest.approx(-np.log(scores[range(4), labels]).mean(), rel=1e-4)


def test_values_are_learned_by_mean_squares_and_one_output_by_yes_or_no(tmp_path):
    import keras

    net = keras.Sequential([keras.Input((3,), name="x"), keras.layers.Dense(1, name="y")])
    net.set_weights([np.zeros((3, 1)), np.zeros(1)])
    net.save(tmp_path / "one.keras")
    trained = training(tmp_path / "one.keras", learning_rate=1e-9)
    inputs = {"x": np.ones((2, 3), "f")}
    trained.step(trained.prepare_batch(inputs, np.array([[3.0], [1.0]])))
    assert trained.loss() == pytest.approx(5.0)
    trained.step(trained.prepare_batch(inputs, np.array([0, 1])))
    assert trained.loss() == pytest.approx(math.log(2), rel=1e-5)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([0, CLASSES], "0 to 2"),
        ([0, -1], "from -1"),
        ([0], "1 targets"),
        ([[0, 1], [1, 2]], "one integer a sample"),
        ([0.0, 1.0], "the model gives"),
        (["a", "b"], "neither labels nor values"),
    ],
)
def test_targets_that_do_not_fit_are_refused(targets, message, folder):
    with pytest.raises(ModelInputError, match=message):
        training(folder / "net.keras").prepare_batch({"image": images()}, np.array(targets))


def test_training_refuses_what_makes_no_sense(folder, tmp_path):
    with pytest.raises(LifecycleError, match="no training step"):
        training(folder / "net.keras").loss()
    with pytest.raises(ModelError, match="no optimizer 'magic'"):
        training(folder / "net.keras", optimizer="magic")
    for rate in ("fast", -1, float("nan")):
        with pytest.raises(ModelError, match="learning_rate"):
            training(folder / "net.keras", learning_rate=rate)
    nested(all_frozen).save(tmp_path / "frozen.keras")
    with pytest.raises(ModelError, match="frozen"):
        training(tmp_path / "frozen.keras")


def test_a_failed_save_leaves_the_old_file(folder, tmp_path, monkeypatch):
    path = tmp_path / "old.keras"
    path.write_bytes(b"old")
    opened = KerasModel(folder / "net.keras", device="cpu")
    trained = opened.as_trainable()

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        trained.save(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


# Layer by layer


def test_layers_add_up_to_the_model_and_know_their_parents(tmp_path):
    nested().save(tmp_path / "nested.keras")
    opened = KerasModel(tmp_path / "nested.keras", device="cpu")
    layers = opened.as_layered().layers()
    assert sum(layer.parameters for layer in layers) == opened.get_number_of_parameters()
    assert len({layer.name for layer in layers}) == len(layers)
    inner = next(layer.name for layer in layers if layer.type == "Functional")
    assert {layer.parent for layer in layers} == {None, inner}
    seen = set()
    for layer in layers:
        assert layer.parent is None or layer.parent in seen
        seen.add(layer.name)


def test_calls_replay_the_pass_in_order_with_shared_layers_twice(tmp_path):
    model = nested()
    model.save(tmp_path / "nested.keras")
    opened = KerasModel(tmp_path / "nested.keras", device="cpu")
    opened.load()
    rng = np.random.default_rng(0)
    data = {"left": rng.random((2, 8), "f"), "right": rng.random((2, 8), "f")}
    expected = opened.run(data)
    calls = opened.as_layered().calls(opened.prepare(data))
    uses = [(call.layer.rsplit("/", 1)[-1], call.index) for call in calls]
    assert [use for use in uses if use[0] in "abc"] == [
        ("a", 0), ("b", 0), ("a", 1), ("b", 1), ("c", 0)
    ]  # fmt: skip
    np.testing.assert_allclose(calls[-1].replay(), next(iter(expected.values())), rtol=1e-5)
    first, second = (call.replay() for call in calls if call.layer.endswith("/a"))
    assert not np.allclose(first, second)
    again = opened.run(data)  # the recorder is gone and the weights are as they were
    np.testing.assert_array_equal(next(iter(again.values())), next(iter(expected.values())))


# A model's own layers

OWN_LAYER = """
import keras

@keras.saving.register_keras_serializable("greenai_test")
class {name}(keras.layers.Layer):
    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), initializer="ones")
        self.offset = self.add_weight(shape=(1,), trainable=False, initializer="ones")

    def call(self, x):
        return x * self.scale + self.offset
"""


def save_own(module, name, path):
    """Save a network with a layer of that module, and forget the module again."""
    import keras

    layer = getattr(importlib.import_module(module), name)
    keras.Sequential([keras.Input((3,), name="x"), layer()]).save(path)
    del sys.modules[module]
    keras.saving.get_custom_objects().pop(f"greenai_test>{name}")


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_own_layers_are_imported_by_name(suffix, tmp_path, monkeypatch):
    module = f"own_layers_{suffix[1:]}"
    name = f"Own{suffix[1:].title()}"
    (tmp_path / f"{module}.py").write_text(OWN_LAYER.format(name=name))
    path = tmp_path / f"own{suffix}"
    with monkeypatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        save_own(module, name, path)
    with pytest.raises(ModelLoadError, match=r"imports=MODULE"):
        KerasModel(path, device="cpu").count_parameters()
    with pytest.raises(ModelLoadError, match="no_such_module"):
        KerasModel(path, device="cpu", imports="no_such_module").load()
    monkeypatch.chdir(tmp_path)
    with KerasModel(path, device="cpu", imports=module) as model:
        count = model.count_parameters()
        assert (count.trainable, count.non_trainable) == (3, 1)
        (output,) = model.run({"x": np.ones((1, 3), "f")}).values()
    np.testing.assert_array_equal(output, [[2, 2, 2]])


def test_a_module_named_by_a_file_is_not_imported(folder, tmp_path):
    """Some versions of Keras import and call what the configuration names."""
    path = tmp_path / "evil.keras"
    with zipfile.ZipFile(folder / "net.keras") as old, zipfile.ZipFile(path, "w") as new:
        config = json.loads(old.read("config.json"))
        config["config"]["layers"][1] = {
            "module": "subprocess", "class_name": "run", "registered_name": None,
            "config": {"args": ["touch", str(tmp_path / "owned")]},
        }  # fmt: skip
        new.writestr("config.json", json.dumps(config))
        new.writestr("metadata.json", old.read("metadata.json"))
        new.writestr("model.weights.h5", old.read("model.weights.h5"))
    with pytest.raises(ModelLoadError, match=r"subprocess\.run"):
        KerasModel(path, device="cpu").load()
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_lambda_layer_is_counted_but_run_only_when_trusted(suffix, tmp_path):
    import keras

    net = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(2), keras.layers.Lambda(lambda x: x * 0 + 42)]
    )
    path = tmp_path / f"lambda{suffix}"
    net.save(path)
    model = KerasModel(path, device="cpu")
    assert model.get_number_of_parameters() == 8
    assert not model.abilities()["run"].possible
    with pytest.raises(ModelLoadError, match=r"wants to run code.*Lambda.*trust"):
        model.run()
    for trust in (True, "true"):
        (output,) = KerasModel(path, device="cpu", trust=trust).run().values()
        np.testing.assert_array_equal(output, [[42, 42]])
    with pytest.raises(ModelLoadError, match="wants to run code"):
        KerasModel(path, device="cpu", trust="false").run()
    with pytest.raises(ModelLoadError, match="true or false"):
        KerasModel(path, device="cpu", trust="maybe").run()


def test_a_subclassed_model_runs_but_its_layers_are_not_told_apart(tmp_path, monkeypatch):
    (tmp_path / "subclassed_net.py").write_text(
        "import keras\n"
        "@keras.saving.register_keras_serializable('greenai_test')\n"
        "class Net(keras.Model):\n"
        "    def __init__(self, **options):\n"
        "        super().__init__(**options)\n"
        "        self.dense = keras.layers.Dense(2)\n"
        "        self.norm = keras.layers.BatchNormalization()\n"
        "    def call(self, x, training=False):\n"
        "        return self.norm(self.dense(x), training=training)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import subclassed_net

    net = subclassed_net.Net()
    expected = net(np.ones((1, 3), "f"))
    net.save(tmp_path / "net.keras")
    with KerasModel(tmp_path / "net.keras", device="cpu") as model:
        assert model.count_parameters().trainable == 8 + 4
        assert model.count_parameters().non_trainable == 4
        assert model.input_specs[0].shape == (1, 3)
        (output,) = model.run(np.ones((1, 3), "f")).values()
        np.testing.assert_allclose(output, expected)
        with pytest.raises(ModelError, match="subclassed"):
            model.as_layered()


# Broken files


def broken(folder, tmp_path):
    """Name -> a file that is no whole model."""
    archive, hdf5 = (folder / "net.keras").read_bytes(), (folder / "net.h5").read_bytes()
    contents = {
        "empty.keras": b"",
        "cut.keras": archive[: len(archive) // 2],
        "cut.h5": hdf5[: len(hdf5) // 2],
        "magic.h5": hdf5[:8],
        "text.keras": b"not a model at all",
        "zipped.h5": archive[:1000],
        "noise.h5": hdf5[:8] + bytes(range(256)) * 40,
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    with zipfile.ZipFile(tmp_path / "no_config.keras", "w") as file:
        file.writestr("model.weights.h5", hdf5)
    with zipfile.ZipFile(tmp_path / "bad_config.keras", "w") as file:
        file.writestr("config.json", "{")
        file.writestr("model.weights.h5", hdf5)
    with zipfile.ZipFile(tmp_path / "bad_weights.keras", "w") as file:
        file.writestr("config.json", "{}")
        file.writestr("model.weights.h5", b"nothing")
    return sorted(tmp_path.iterdir())


def test_broken_files_are_refused_in_one_line(folder, tmp_path):
    for path in broken(folder, tmp_path):
        for use in (KerasModel.count_parameters, KerasModel.load, KerasModel.abilities):
            with pytest.raises(ModelLoadError) as refused:
                use(KerasModel(path, device="cpu"))
            assert path.name in str(refused.value)
            assert "\n" not in str(refused.value)


def test_the_factory_tells_a_truncated_archive(folder, tmp_path):
    content = (folder / "net.keras").read_bytes()
    (tmp_path / "cut.keras").write_bytes(content[:-200])
    factory = DLModelFactory(installed=True)
    with pytest.raises(ModelUnrecognised, match="truncated or mislabelled"):
        factory.get_model(tmp_path / "cut.keras")
    assert factory.get_model(folder / "net.keras") is KerasModel
    assert factory.get_model(folder / "net.h5") is KerasModel


def test_weights_that_do_not_belong_to_the_model_are_refused(folder, tmp_path):
    with zipfile.ZipFile(folder / "net.keras") as old:
        config = old.read("config.json").replace(b'"filters": 4', b'"filters": 6')
        with zipfile.ZipFile(tmp_path / "mixed.keras", "w") as new:
            new.writestr("config.json", config)
            new.writestr("metadata.json", old.read("metadata.json"))
            new.writestr("model.weights.h5", old.read("model.weights.h5"))
    with pytest.raises(ModelLoadError, match=r"mixed\.keras: Keras cannot read") as refused:
        KerasModel(tmp_path / "mixed.keras", device="cpu").run()
    assert "\n" not in str(refused.value)


def test_without_tensorflow_the_message_names_the_extra(folder):
    code = (
        "import sys; from greenai_plugins.models.keras_format import KerasModel\n"
        "find = __import__('importlib.util').util.find_spec\n"
        "import importlib.util\n"
        "importlib.util.find_spec = lambda n, *a: None if n == 'tensorflow' else find(n, *a)\n"
        "model = KerasModel(sys.argv[1])\n"
        "print(model.get_number_of_parameters())\n"
        "try:\n    model.load()\nexcept Exception as error:\n"
        "    print(type(error).__name__, error)"
    )
    done = run_python(code, folder / "net.keras")
    number, message = done.stdout.strip().splitlines()
    assert number == "563"
    assert message.startswith("PluginUnavailable")
    assert "greenai-core[tensorflow]" in message
