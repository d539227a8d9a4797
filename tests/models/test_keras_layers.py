"""Layers of Keras models: by themselves, each use apart."""

from __future__ import annotations

import numpy as np
import pytest

from greenai_core import ProfiledLayered, RepeatableLayered, TimedLayered
from greenai_plugins.models import keras_runtime
from greenai_plugins.models.keras_format import KerasModel
from greenai_plugins.models.keras_layers import KerasLayers

pytestmark = pytest.mark.tensorflow
keras = pytest.importorskip("keras")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A shared layer, and a model inside that is used twice."""
    layers = keras.layers
    shared = layers.Dense(4, name="shared")
    inner = keras.Sequential(
        [keras.Input((4,)), layers.Dense(4, name="own"), layers.ReLU(name="act")], name="inner"
    )
    x = keras.Input((4,), name="x")
    h = inner(shared(inner(shared(x))))
    made = keras.Model(x, layers.Dense(2, name="y")(layers.Concatenate(name="joined")([h, x])))
    file = tmp_path_factory.mktemp("keras") / "m.keras"
    made.save(file)
    return file


@pytest.fixture
def model(path):
    with KerasModel(path, device="cpu") as model:
        yield model


def test_models_inside_are_parents_and_uses_are_numbered(model):
    layered = model.as_layered()
    parents = {layer.name: layer.parent for layer in layered.layers()}
    assert parents == {
        "shared": None, "inner": None, "inner/own": "inner", "inner/act": "inner",
        "joined": None, "y": None,
    }  # fmt: skip
    calls = layered.calls(model.prepare(model.make_inputs()))
    assert [(call.layer, call.index) for call in calls] == [
        ("shared", 0), ("inner/own", 0), ("inner/act", 0), ("shared", 1), ("inner/own", 1),
        ("inner/act", 1), ("joined", 0), ("y", 0),
    ]  # fmt: skip


def test_it_does_not_pretend_to_time_what_is_compiled(model):
    layered = model.as_layered()
    for ability in (TimedLayered, ProfiledLayered, RepeatableLayered):
        assert not isinstance(layered, ability)


def test_what_calling_costs_can_be_taken_off(model):
    """Each replay comes with one that does nothing on the same inputs."""
    for call in model.as_layered().calls(model.prepare(model.make_inputs())):
        assert call.empty is not None
        assert call.empty().shape[0] == call.replay().shape[0]


def test_multiply_accumulates_of_each_layer_are_those_of_the_model(model):
    macs = model.as_layered().macs(model.prepare(model.make_inputs()))
    assert macs == {
        "shared": 2 * 16, "inner/own": 2 * 16, "inner/act": 0, "joined": 0, "y": 16,
    }  # fmt: skip
    assert sum(macs.values()) == model.count_macs().macs


def test_counting_and_calling_leave_the_model_alone(model):
    x = {"x": np.ones((1, 4), np.float32)}
    before = model.run(x)
    layered = model.as_layered()
    layered.macs(model.prepare(x))
    layered.calls(model.prepare(x))
    for name, array in model.run(x).items():
        np.testing.assert_array_equal(array, before[name])


def test_layers_with_a_state_keep_it(tmp_path):
    """Of random numbers, of a recurrence, and of their own: only inferences move them on."""

    @keras.saving.register_keras_serializable("greenai-tests")
    class Moving(keras.layers.Layer):
        def build(self, shape):
            self.count = self.add_weight(name="count", initializer="zeros", trainable=False)
            self.seed = keras.random.SeedGenerator(1)

        def call(self, x):
            self.count.assign_add(1.0)
            return x * self.count + keras.random.normal(keras.ops.shape(x), seed=self.seed)

    x = keras.Input(batch_shape=(2, 3, 4), name="x")
    rows = keras.layers.LSTM(4, stateful=True, name="rows")(Moving(name="moving")(x))
    file = tmp_path / "m.keras"
    keras.Model(x, rows).save(file)
    with KerasModel(file, device="cpu") as model:
        prepared = model.prepare({"x": np.ones((2, 3, 4), np.float32)})
        layered = model.as_layered()
        moving, rows = (model._model.get_layer(name) for name in ("moving", "rows"))
        held = [moving.count, moving.seed.state, *rows.states]
        model.predict(prepared)
        before = [np.array(variable) for variable in held]
        layered.macs(prepared)
        for call in layered.calls(prepared):
            for _ in range(3):
                call.replay()
        for variable, value in zip(held, before, strict=True):
            np.testing.assert_array_equal(variable, value)
        model.predict(prepared)
        assert float(moving.count) == before[0] + 1


def test_a_weight_that_layers_share_is_counted_once():
    inner = keras.layers.Dense(4, name="inner")
    x = keras.Input((3, 4))
    network = keras.Model(x, inner(keras.layers.TimeDistributed(inner, name="rows")(x)))
    place = keras_runtime.Place("/CPU:0", None)
    layers = KerasLayers(network, place).layers()
    assert [(layer.name, layer.parameters) for layer in layers] == [("rows", 20), ("inner", 0)]


def test_layers_called_by_names_of_arguments_that_are_no_tensors(tmp_path):
    x = keras.Input((3, 4), name="x")
    attention = keras.layers.MultiHeadAttention(2, 4, name="attention")
    file = tmp_path / "m.keras"
    keras.Model(x, attention(value=x, query=x, attention_mask=None)).save(file)
    with KerasModel(file, device="cpu") as model:
        (call,) = model.as_layered().calls(model.prepare(model.make_inputs()))
        assert call.empty().shape == call.replay().shape
