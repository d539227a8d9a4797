"""SavedModels that were exported with a signature ``train``, and those that were not."""

from __future__ import annotations

import numpy as np
import pytest

from greenai_core import ModelError, ModelInputError
from greenai_plugins.models.savedmodel_format import SavedModel

pytestmark = pytest.mark.tensorflow
pytest.importorskip("tensorflow")

X = np.random.default_rng(0).random((20, 3), dtype=np.float32)
Y = X @ np.array([[1.0], [2.0], [3.0]], np.float32)


@pytest.fixture
def exported(tmp_path):
    """``exported(outputs, target)``: a linear model with a signature for training."""
    import tensorflow as tf

    def make(name="loss", more=(), train=True):
        class Linear(tf.Module):
            def __init__(self):
                self.weights = tf.Variable(tf.zeros((3, 1)))

            @tf.function(input_signature=[tf.TensorSpec((None, 3), tf.float32, name="x")])
            def predict(self, x):
                return {"y": x @ self.weights}

            @tf.function(
                input_signature=[
                    tf.TensorSpec((None, 3), tf.float32, name="x"),
                    tf.TensorSpec((None, 1), tf.float32, name="target"),
                ]
            )
            def train(self, x, target):
                with tf.GradientTape() as tape:
                    loss = tf.reduce_mean((x @ self.weights - target) ** 2)
                (gradient,) = tape.gradient(loss, [self.weights])
                self.weights.assign_sub(0.3 * gradient)
                return {name: loss, **dict.fromkeys(more, loss)}

        net = Linear()
        signatures = {"serving_default": net.predict}
        if train:
            signatures["train"] = net.train
        tf.saved_model.save(net, str(tmp_path / "model"), signatures=signatures)
        return SavedModel(tmp_path / "model", device="cpu")

    return make


def test_a_model_with_a_training_signature_learns_and_is_saved_with_it(exported, tmp_path):
    with exported() as model:
        assert model.abilities()["train"].possible
        epochs = model.train((X, Y), epochs=10, batch_size=10, save=tmp_path / "out")
    assert epochs[-1].loss < epochs[0].loss / 2
    assert epochs[0].accuracy is None
    assert not list(tmp_path.glob(".*"))
    with SavedModel(tmp_path / "out", device="cpu") as trained:
        np.testing.assert_allclose(trained.run(X)["y"], Y, atol=1.5)
        again = trained.train((X, Y), epochs=1, batch_size=10)
    assert again[0].loss < epochs[0].loss


def test_validation_needs_more_than_a_training_signature(exported):
    with exported() as model, pytest.raises(ModelInputError, match="not validated"):
        model.train((X, Y), validation=(X, Y))


def test_a_savedmodel_that_is_there_is_replaced_and_nothing_else_is(exported, tmp_path):
    with exported() as model:
        model.train((X, Y), save=tmp_path / "model")
        assert SavedModel(tmp_path / "model", device="cpu").run(X)["y"].max() > 0
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "thesis.txt").write_text("years of work")
        with pytest.raises(ModelError, match="is no SavedModel"):
            model.train((X, Y), save=tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").exists()
    assert not list(tmp_path.glob(".*"))


def test_without_a_training_signature_the_way_out_is_told(exported):
    model = exported(train=False)
    assert "no signature 'train'" in model.abilities()["train"].reason
    with pytest.raises(ModelError, match=r"\.keras"):
        model.as_trainable()


def test_which_output_is_the_loss_must_be_clear(exported):
    with exported("cost") as model:
        model.train((X, Y))
    with exported("cost", more=("other",)) as model, pytest.raises(ModelError, match="called loss"):
        model.as_trainable()


@pytest.mark.parametrize(
    ("targets", "said"),
    [(Y[:, 0], "shape"), (Y[:5], "one number of samples"), (np.full(20, "a"), "not numbers")],
)
def test_targets_that_do_not_fit_are_refused(exported, targets, said):
    with exported() as model, pytest.raises(ModelInputError, match=said):
        model.train((X, targets))


def test_memory_that_runs_out_advises_smaller_batches(exported, monkeypatch):
    import tensorflow as tf

    def full(**_):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    with exported() as model:
        trainable = model.as_trainable()
        batch = trainable.prepare_batch({"x": X}, Y)
        monkeypatch.setattr(trainable, "_function", full)
        with pytest.raises(ModelError, match="--batch-size"):
            trainable.step(batch)
