"""Keras models taught in epochs, on tf.data and arrays, in and out of evaluation mode."""

from __future__ import annotations

import numpy as np
import pytest

from greenai_core import ModelError, Scored, Session
from greenai_core.testing import SimulatedCounterProfiler
from greenai_plugins.models.keras_format import KerasModel

pytestmark = pytest.mark.tensorflow
pytest.importorskip("tensorflow")

RNG = np.random.default_rng(0)
X = RNG.random((20, 3), dtype=np.float32)
CLASSES = (X[:, 0] > 0.5).astype(np.int64)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    import keras

    keras.utils.set_random_seed(1)
    net = keras.Sequential(
        [
            keras.Input((3,), name="x"),
            keras.layers.BatchNormalization(momentum=0.5),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(2, activation="softmax"),
        ]
    )
    path = tmp_path_factory.mktemp("keras") / "net.keras"
    net.save(path)
    return path


def opened(path, **options):
    return KerasModel(path, device="cpu", **{"optimizer": "adam", "learning_rate": 0.1, **options})


def test_arrays_are_learnt_and_kept(path, tmp_path):
    with opened(path) as model:
        epochs = model.train(
            (X, CLASSES),
            validation=(X, CLASSES),
            epochs=15,
            batch_size=8,
            save=tmp_path / "out.keras",
        )
    assert [epoch.steps for epoch in epochs] == [3] * 15
    assert epochs[-1].loss < epochs[0].loss
    assert epochs[-1].validation_accuracy > 0.8
    with opened(tmp_path / "out.keras") as trained:
        (answers,) = trained.run(X).values()
    assert (answers.argmax(1) == CLASSES).mean() == pytest.approx(epochs[-1].validation_accuracy)


def test_tf_data_gives_measured_epochs(path):
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices((X, CLASSES)).batch(8)
    with Session([SimulatedCounterProfiler()]) as session, opened(path) as model:
        result = session.evaluate_training(model, data, validation=data, epochs=2)
        assert [epoch.samples for epoch in result.epochs] == [20, 20]
        assert all(0 <= epoch.accuracy <= 1 for epoch in result.epochs)
        with pytest.raises(ModelError, match="never ends"):
            session.evaluate_training(model, data.repeat(), epochs=1)


def test_a_score_is_of_evaluation_mode_and_changes_nothing(path):
    with opened(path) as model:
        trainable = model.as_trainable()
        assert isinstance(trainable, Scored)
        assert trainable.accuracy() is None
        batch = trainable.prepare_batch({"x": X}, CLASSES)
        trainable.step(batch)
        assert 0 <= trainable.accuracy() <= 1
        before = model._model.get_weights()
        score = trainable.score(batch)
        assert all(map(np.array_equal, before, model._model.get_weights()))
        (answers,) = model.run(X).values()
        assert score.accuracy == pytest.approx((answers.argmax(1) == CLASSES).mean())
        right = answers[np.arange(20), CLASSES]
        assert score.loss == pytest.approx(-np.log(right).mean(), rel=1e-4)
        values = trainable.prepare_batch({"x": X}, np.zeros((20, 2), np.float32))
        assert trainable.score(values).accuracy is None


def test_yes_or_no_has_an_accuracy(tmp_path):
    import keras

    for last in ("sigmoid", None):
        net = keras.Sequential([keras.Input((3,), name="x"), keras.layers.Dense(1, last)])
        net.set_weights([np.array([[10.0], [0], [0]]), np.array([-5.0])])
        net.save(tmp_path / "one.keras")
        with opened(tmp_path / "one.keras") as model:
            trainable = model.as_trainable()
            score = trainable.score(trainable.prepare_batch({"x": X}, CLASSES))
            assert score.accuracy == 1.0
            wrong = trainable.prepare_batch({"x": X}, 1 - CLASSES)
            assert trainable.score(wrong).accuracy == 0.0


def test_memory_that_runs_out_advises_smaller_batches(path, monkeypatch):
    import tensorflow as tf

    def full(*_):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    with opened(path) as model:
        trainable = model.as_trainable()
        batch = trainable.prepare_batch({"x": X}, CLASSES)
        monkeypatch.setattr(trainable, "_compiled", full)
        with pytest.raises(ModelError, match=r"batch of 20 samples .*--batch-size"):
            trainable.step(batch)
        monkeypatch.setattr(trainable, "_scoring", full)
        with pytest.raises(ModelError, match="memory ran out"):
            trainable.score(batch)
