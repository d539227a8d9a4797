"""SavedModels: whoever wrote them, counted without TensorFlow and run; and refused clearly."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from greenai_core import (
    DLModelFactory,
    ModelError,
    ModelInputError,
    ModelLoadError,
    ModelUnrecognised,
)
from greenai_plugins.models.keras_format import KerasModel
from greenai_plugins.models.savedmodel_format import SavedModel
from greenai_plugins.models.savedmodel_index import entries

pytestmark = pytest.mark.tensorflow


def images():
    return np.random.default_rng(5).random((2, 8, 8, 3), dtype=np.float32)


def keras_network():
    """563 parameters, of which 8 are statistics and 112 are frozen; dropout keeps a seed."""
    import keras

    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3), name="image"),
            layers.Conv2D(4, 3, activation="relu", name="frozen"),
            layers.BatchNormalization(),
            layers.Dropout(0.5),
            layers.Flatten(),
            layers.Dense(3, activation="softmax", name="classes"),
        ]
    )
    model.get_layer("frozen").trainable = False
    model.compile("adam", "mse", metrics=["mae"])
    model.train_on_batch(images(), np.ones((2, 3), "f"))
    return model


def plain_module():
    """A tf.Module: 6 trained, 2 not, a counter, and a constant that is no variable."""
    import tensorflow as tf

    class Plain(tf.Module):
        def __init__(self):
            super().__init__()
            self.weight = tf.Variable(np.arange(6, dtype="f").reshape(3, 2))
            self.offset = tf.Variable(np.ones(2), trainable=False, dtype=tf.float32)
            self.calls = tf.Variable(0, dtype=tf.int64)

        @tf.function(input_signature=[tf.TensorSpec((None, 3), tf.float32, name="x")])
        def __call__(self, x):
            return {"y": x @ self.weight + self.offset}

        @tf.function(input_signature=[tf.TensorSpec((2,), tf.float64, name="z")])
        def double(self, z):
            return {"twice": 2 * z}

    return Plain()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The same Keras network in each kind of file, and SavedModels of other origins."""
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("savedmodels")
    network = keras_network()
    network.save(folder / "net.keras")
    network.save(folder / "net.h5")
    network.export(folder / "exported", verbose=False)
    tf.saved_model.save(network, str(folder / "saved"))
    np.save(folder / "truth.npy", network.predict(images(), verbose=0))
    module = plain_module()
    tf.saved_model.save(module, str(folder / "module"), signatures=module.__call__)
    signatures = {"one": module.__call__, "two": module.double}
    tf.saved_model.save(module, str(folder / "several"), signatures=signatures)
    bare = tf.Module()
    bare.weight = tf.Variable(np.ones((4, 5), "f"))
    tf.saved_model.save(bare, str(folder / "bare"))
    return folder


# Recognised


def test_a_folder_is_recognised_with_or_without_a_slash_at_its_end(folder, tmp_path):
    factory = DLModelFactory(installed=True)
    for path in (folder / "exported", f"{folder / 'exported'}/"):
        assert factory.get_model(path) is SavedModel
        assert factory.load(path).get_number_of_parameters() == 563
    assert SavedModel(folder / "exported" / "saved_model.pb").get_number_of_parameters() == 563
    with pytest.raises(ModelUnrecognised):
        factory.get_model(tmp_path)
    with pytest.raises(ModelLoadError, match=r"holds no saved_model\.pb"):
        SavedModel(tmp_path).count_parameters()


def test_everything_but_running_needs_no_tensorflow(folder):
    code = (
        "import sys; from greenai_plugins.models.savedmodel_format import SavedModel\n"
        "for path in sys.argv[1:]:\n"
        "    model = SavedModel(path)\n"
        "    print(model.get_number_of_parameters(), model.signature()[0].name)\n"
        "assert 'tensorflow' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, folder / "exported", folder / "module"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["563", "8"]


# One network, three kinds of file


def test_one_keras_network_gives_one_count_and_one_output_in_each_kind_of_file(folder):
    counts, outputs = [], []
    for model in (
        KerasModel(folder / "net.keras", device="cpu"),
        KerasModel(folder / "net.h5", device="cpu"),
        SavedModel(folder / "exported", device="cpu"),
    ):
        with model:
            counts.append(model.count_parameters())
            outputs.extend(model.run(images()).values())
    assert len(outputs) == 3
    assert counts[0] == counts[1] == counts[2]
    assert (counts[0].trainable, counts[0].non_trainable, counts[0].bytes) == (443, 120, 4 * 563)
    for output in outputs:
        np.testing.assert_allclose(output, np.load(folder / "truth.npy"), rtol=1e-5)


def test_a_keras_model_saved_by_tensorflow_counts_without_its_optimizer(folder):
    """TensorFlow stores how a variable was made, so a layer frozen later counts as trained."""
    with SavedModel(folder / "saved", device="cpu") as model:
        count = model.count_parameters()
        assert (count.trainable, count.non_trainable) == (555, 8)
        (output,) = model.run(images()).values()
    np.testing.assert_allclose(output, np.load(folder / "truth.npy"), rtol=1e-5)


# Other origins


def test_a_module_is_counted_and_run(folder):
    with SavedModel(folder / "module", device="cpu") as model:
        count = model.count_parameters()
        assert (count.trainable, count.non_trainable, count.bytes) == (6, 2, 32)
        (spec,) = model.input_specs
        assert (spec.name, spec.shape, spec.dtype) == ("x", (None, 3), "float32")
        found = model.run(np.ones((4, 3), "f"))
        np.testing.assert_array_equal(found["y"], [[7, 10]] * 4)
        with pytest.raises(ModelInputError, match="4x2"):
            model.prepare({"x": np.ones((4, 2), "f")})
        with pytest.raises(ModelInputError, match="inputs of the model are: x"):
            model.prepare({"other": np.ones((4, 3), "f")})


def test_of_several_signatures_one_must_be_chosen(folder):
    unchosen = SavedModel(folder / "several", device="cpu")
    assert unchosen.get_number_of_parameters() == 8
    for use in (SavedModel.load, SavedModel.signature, SavedModel.run):
        with pytest.raises(ModelError, match=r"one, two.*signature=NAME"):
            use(unchosen)
    with SavedModel(folder / "several", device="cpu", signature="two") as chosen:
        found = chosen.run(np.array([1.0, 2.0]))
        np.testing.assert_array_equal(found["twice"], [2, 4])
        assert found["twice"].dtype == np.float64
    with pytest.raises(ModelError, match=r"no signature 'three' \(its signatures: one, two\)"):
        SavedModel(folder / "several", signature="three").load()


def test_without_a_signature_it_is_counted_and_says_why_it_cannot_run(folder):
    model = SavedModel(folder / "bare")
    assert model.count_parameters().trainable == 20
    assert not model.abilities()["run"].possible
    with pytest.raises(ModelLoadError, match="has no signature"):
        model.run()


def test_training_and_layers_are_refused_with_the_way_out(folder):
    model = SavedModel(folder / "exported")
    with pytest.raises(ModelError, match=r"Train the \.keras file"):
        model.as_trainable()
    with pytest.raises(ModelError, match=r"Use the \.keras file"):
        model.as_layered()


def test_a_frozen_graph_counts_its_constants_once(tmp_path):
    """However many traces and calls of a function TensorFlow stores."""
    import tensorflow as tf

    weight = np.arange(12, dtype="f").reshape(4, 3)

    class Frozen(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32, name="x")])
        def __call__(self, x):
            return x @ tf.constant(weight) + tf.constant([1.0, 1.0, 1.0]) * 2.0

    module = Frozen()
    module(tf.ones((1, 4)))
    tf.saved_model.save(module, str(tmp_path))
    with SavedModel(tmp_path, device="cpu") as model:
        count = model.count_parameters()
        assert (count.trainable, count.non_trainable, count.bytes) == (0, 15, 60)
        assert model.run(np.ones((1, 4), "f"))["output_0"].shape == (1, 3)


def test_a_model_of_tensorflow_1_is_counted_without_optimizer_slots(tmp_path):
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, (None, 3), name="x")
        weight = v1.get_variable("dense/kernel", (3, 2))
        mean = v1.get_variable("norm/moving_mean", (2,), trainable=False)
        v1.get_variable("steps", (), tf.int64, trainable=False)
        y = tf.identity(x @ weight + mean, name="y")
        v1.train.AdamOptimizer().minimize(tf.reduce_sum(y * y))
        session.run(v1.global_variables_initializer())
        v1.saved_model.simple_save(session, str(tmp_path / "old"), {"x": x}, {"y": y})
        expected = session.run(y, {x: np.ones((1, 3))})
    with SavedModel(tmp_path / "old", device="cpu") as model:
        count = model.count_parameters()
        assert (count.trainable, count.non_trainable, count.bytes) == (6, 2, 32)
        np.testing.assert_allclose(model.run(np.ones((1, 3)))["y"], expected, rtol=1e-5)


def test_a_long_index_of_variables_is_read_whole(tmp_path):
    """Several blocks of 256 KiB, and names that share their beginnings."""
    import tensorflow as tf

    names = [f"a/rather/long/scope/of/many/names/of/layers/weight_{n}" for n in range(12000)]
    tensors = [tf.zeros(shape, tf.float16) for shape in ((), (3,), (2, 5))] * 4000
    prefix = str(tmp_path / "variables")
    tf.raw_ops.SaveV2(
        prefix=prefix, tensor_names=names, shape_and_slices=[""] * len(names), tensors=tensors
    )
    found = entries((tmp_path / "variables.index").read_bytes())
    assert {name: list(tensor.shape) for name, tensor in found.items()} == dict(
        tf.train.list_variables(prefix)
    )
    assert found[names[2]].bytes == 20


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_bytes_follow_the_type(dtype, tmp_path):
    import tensorflow as tf

    module = tf.Module()
    module.weight = tf.Variable(tf.ones((4, 5), dtype))
    tf.saved_model.save(module, str(tmp_path))
    count = SavedModel(tmp_path).count_parameters()
    assert (count.total, count.bytes) == (20, 20 * tf.dtypes.as_dtype(dtype).size)


@pytest.mark.parametrize("name", ["mlp", "recurrent", "attention"])
def test_the_count_of_an_exported_model_is_keras_own(name, tmp_path):
    import keras

    layers = keras.layers
    if name == "mlp":
        model = keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.Normalization()])
    elif name == "recurrent":
        model = keras.Sequential(
            [keras.Input((9,)), layers.Embedding(20, 6), layers.Bidirectional(layers.LSTM(5))]
        )
    else:
        x = keras.Input((7, 16))
        model = keras.Model(x, layers.LayerNormalization()(layers.MultiHeadAttention(2, 8)(x, x)))
    model.export(tmp_path / "net", verbose=False)
    count = SavedModel(tmp_path / "net").count_parameters()

    def elements(weights):
        return sum(math.prod(w.shape) for w in weights if "int" not in w.dtype)

    assert count.trainable == elements(model.trainable_weights)
    assert count.non_trainable == elements(model.non_trainable_weights)


# What a stranger's file could do


def dangerous(folder, kind):
    import tensorflow as tf

    class Module(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((1,), tf.float32, name="x")])
        def __call__(self, x):
            if kind == "EagerPyFunc":
                return tf.py_function(lambda value: value, [x], tf.float32)
            if kind == "PyFunc":
                return tf.numpy_function(lambda value: value, [x], tf.float32)
            if kind == "ReadFile":
                return tf.strings.length(tf.io.read_file(str(folder / "secret")))
            tf.io.write_file(str(folder / "owned"), "content")
            return x

    (folder / "secret").write_text("secret")
    tf.saved_model.save(Module(), str(folder / "net"))
    return folder / "net"


@pytest.mark.parametrize("kind", ["EagerPyFunc", "PyFunc", "ReadFile", "WriteFile"])
def test_dangerous_operations_are_named_and_run_only_when_trusted(kind, tmp_path):
    path = dangerous(tmp_path, kind)
    model = SavedModel(path, device="cpu")
    assert not model.abilities()["run"].possible
    with pytest.raises(ModelLoadError, match=rf"{kind}.*--trust"):
        model.run()
    assert not (tmp_path / "owned").exists()
    trusted = SavedModel(path, device="cpu", trust=True)
    if kind in ("ReadFile", "WriteFile"):
        assert trusted.run()
        assert (tmp_path / "owned").exists() == (kind == "WriteFile")


def test_printing_to_a_file_is_writing_a_file(tmp_path):
    import tensorflow as tf

    class Module(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((1,), tf.float32, name="x")])
        def __call__(self, x):
            tf.print(x, output_stream=f"file://{tmp_path}/owned")
            return x

    tf.saved_model.save(Module(), str(tmp_path / "net"))
    with pytest.raises(ModelLoadError, match="WriteFile"):
        SavedModel(tmp_path / "net", device="cpu").run()


# Broken folders


def copy(folder, tmp_path):
    return shutil.copytree(folder / "exported", tmp_path / "copy", dirs_exist_ok=True)


@pytest.mark.parametrize("keep", [0, 1, 40, 0.5, 0.99])
def test_a_cut_off_file_is_refused_in_one_line(keep, folder, tmp_path):
    path = copy(folder, tmp_path)
    content = (path / "saved_model.pb").read_bytes()
    length = int(keep * len(content)) if isinstance(keep, float) else keep
    (path / "saved_model.pb").write_bytes(content[:length])
    for use in (SavedModel.count_parameters, SavedModel.load, SavedModel.signature):
        with pytest.raises(ModelLoadError) as refused:
            use(SavedModel(path, device="cpu"))
        assert str(path) in str(refused.value)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "content", [b"plain text, no model", bytes(200), np.random.default_rng(2).bytes(5000)]
)
def test_a_file_of_another_format_is_refused(content, tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(content)
    with pytest.raises(ModelLoadError, match="no SavedModel"):
        SavedModel(tmp_path).count_parameters()


def test_corrupted_bytes_never_escape_as_anything_but_our_errors(folder, tmp_path):
    """Every outcome is a count or a ModelError, wherever a byte is damaged."""
    path = copy(folder, tmp_path)
    content = bytearray((path / "saved_model.pb").read_bytes())
    rng = np.random.default_rng(11)
    for position in rng.integers(0, len(content), 60):
        damaged = bytearray(content)
        damaged[position] ^= 0xFF
        (path / "saved_model.pb").write_bytes(damaged)
        with contextlib.suppress(ModelError):
            model = SavedModel(path)
            assert model.count_parameters().total >= 0
            model.abilities()


def test_a_damaged_graph_is_refused_when_it_is_loaded(folder, tmp_path):
    path = copy(folder, tmp_path)
    content = (path / "saved_model.pb").read_bytes()
    assert b"MatMul" in content
    (path / "saved_model.pb").write_bytes(content.replace(b"MatMul", b"NatMul"))
    with pytest.raises(ModelLoadError, match="NatMul") as refused:
        SavedModel(path, device="cpu").run()
    assert "\n" not in str(refused.value)


def test_missing_or_damaged_weights_are_refused(folder, tmp_path):
    path = copy(folder, tmp_path)
    index = path / "variables" / "variables.index"
    (path / "variables" / "variables.data-00000-of-00001").write_bytes(b"cut")
    with pytest.raises(ModelLoadError, match="TensorFlow cannot read"):
        SavedModel(path, device="cpu").run()
    index.unlink()
    with pytest.raises(ModelLoadError, match=r"lacks variables/variables\.index"):
        SavedModel(path).count_parameters()


def test_running_writes_nothing_to_the_terminal(folder):
    code = (
        "import sys; from greenai_plugins.models.savedmodel_format import SavedModel\n"
        "SavedModel(sys.argv[1], device='cpu').run()"
    )
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(
        [sys.executable, "-c", code, folder / "exported"],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
