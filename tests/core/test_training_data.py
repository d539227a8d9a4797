"""Training data: folders of images, arrays, loaders; what does not fit is told."""

from __future__ import annotations

import numpy as np
import pytest

from greenai_core import ModelInputError, TensorSpec
from greenai_core.batches import Wanted, check_classes, left_out, ready
from greenai_core.training import Course
from greenai_core.training_data import class_names, training_data

X = np.arange(20, dtype=np.float32).reshape(10, 2)
Y = np.arange(10) % 3
SPEC = TensorSpec("x", (None, 2))
IMAGE = TensorSpec("image", (None, 4, 4, 3))


def wanted(batch_size=None, seed=None, specs=(SPEC,), **more):
    return Wanted(specs, batch_size=batch_size, seed=seed, **more)


def rows(data, epoch=1):
    return [batch.inputs["x"][:, 0].astype(int).tolist() for batch in data.read(epoch)]


def test_arrays_come_in_batches_with_their_targets():
    data = training_data((X, Y), wanted(4))
    batches = list(data.read(1))
    assert [batch.size for batch in batches] == [4, 4, 2]
    assert (data.samples, data.batch_size, data.steps) == (10, 4, 3)
    np.testing.assert_array_equal(np.concatenate([b.targets for b in batches]), Y)
    np.testing.assert_array_equal(np.concatenate([b.inputs["x"] for b in batches]), X)


def test_a_seed_shuffles_each_epoch_anew_and_always_alike():
    data = training_data((X, Y), wanted(4, seed=3))
    first, again, second = rows(data), rows(training_data((X, Y), wanted(4, seed=3))), rows(data, 2)
    assert first == again
    assert first != second
    assert sorted(row for batch in first for row in batch) == X[:, 0].astype(int).tolist()
    for batch in data.read(2):
        np.testing.assert_array_equal(batch.targets, (batch.inputs["x"][:, 0] / 2) % 3)


def test_an_npz_holds_inputs_by_name(tmp_path):
    np.savez(tmp_path / "d.npz", a=X, b=X + 1, y=Y)
    specs = (TensorSpec("a", (None, 2)), TensorSpec("b", (None, 2)))
    (batch,) = training_data(tmp_path / "d.npz", wanted(specs=specs)).read(1)
    np.testing.assert_array_equal(batch.inputs["b"], batch.inputs["a"] + 1)


def test_a_batch_size_that_the_model_fixes_leaves_out_the_rest():
    fixed = wanted(specs=(TensorSpec("x", (4, 2)),))
    data = training_data((X, Y), fixed)
    assert [batch.size for batch in data.read(1)] == [4, 4]
    (warning,) = left_out(data, fixed)
    assert "2 of the 10 samples" in warning


def test_a_shape_that_the_user_gives_does_not_fix_the_batch():
    """--input-shape 1x2 says how a sample looks."""
    of_file = TensorSpec("x", None)
    for first, usual in ((1, 32), (3, 3)):
        made = Wanted.of([of_file], [TensorSpec("x", (first, 2))], seed=None)
        assert made.fixed is None
        assert training_data((X, Y), made).batch_size == min(usual, 10)
    in_file = TensorSpec("x", (4, 2))
    assert Wanted.of([in_file], [in_file]).fixed == 4


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(ModelInputError, match="has 10 samples, which is no batch of 64"):
        training_data((X, Y), wanted(64))


@pytest.mark.parametrize("kind", [list, tuple, iter])
def test_ready_batches_are_taken_as_they_come(kind):
    pairs = [(X[:4], Y[:4]), (X[4:8], Y[4:8]), (X[8:], Y[8:])]
    data = training_data(kind(pairs), wanted())
    next(data.read(1))  # a look at the first batch takes nothing away
    assert [batch.size for batch in data.read(1)] == [4, 4, 2]
    assert data.steps is None
    assert data.once == (kind is iter)


def test_what_can_be_gone_through_once_gives_one_epoch():
    def batches():
        yield X, Y

    with pytest.raises(ModelInputError, match="only once, not 2 times"):
        Course.of(batches(), None, 2, wanted())
    assert Course.of(batches(), None, 1, wanted()).training.once


class Endless:
    def cardinality(self):
        return -1

    def __iter__(self):
        while True:
            yield X, Y


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (Endless(), "never ends"),
        (5, "a int is no training data"),
        (X, "a ndarray is no training data"),
        ([X], "not pairs"),
        ([(X, Y, Y)], "3 things, not pairs"),
        ([(X[0], np.array(1))], "Give batches"),
        ([(X, Y[:3])], "3 targets for 10 samples"),
        ([((X, X), Y)], "gives 2 inputs, the model has x"),
        ((X, Y[:3]), "x 10, y 3"),
    ],
)
def test_what_is_no_training_data_is_told(data, said):
    with pytest.raises(ModelInputError, match=said):
        list(training_data(data, wanted()).read(1))


def test_ready_batches_have_their_size():
    with pytest.raises(ModelInputError, match="ready batches"):
        training_data([(X, Y)], wanted(4))


def test_repeated_steps_get_batches_of_one_size_and_bounded_memory():
    batches, more = ready(training_data((X, Y), wanted(4)))
    assert [batch.size for batch in batches] == [4, 4]
    assert not more
    batches, more = ready(training_data((X, Y), wanted(2)), limit_bytes=40)
    assert len(batches) == 2
    assert more


# Folders


@pytest.fixture
def photos(tmp_path):
    """``photos("train", cat=3, dog=2)``: images of one colour a class."""
    image = pytest.importorskip("PIL.Image")

    def make(name, **classes):
        for number, (kind, count) in enumerate(classes.items()):
            folder = tmp_path / name / kind
            folder.mkdir(parents=True)
            for index in range(count):
                shade = 20 * (number + 1) + index
                image.new("RGB", (6, 5), (shade,) * 3).save(folder / f"{index}.png")
        return tmp_path / name

    return make


def test_folders_are_classes_in_the_order_of_their_names(photos):
    path = photos("train", dog=2, cat=3)
    (path / "cat" / "notes.txt").write_text("no image")
    (path / ".cache").mkdir()
    data = training_data(path, wanted(specs=(IMAGE,)))
    assert class_names(path) == ("cat", "dog")
    assert data.samples == 5
    (batch,) = data.read(1)
    assert batch.inputs["image"].shape == (5, 4, 4, 3)
    assert batch.targets.tolist() == [0, 0, 0, 1, 1]
    shades = (batch.inputs["image"][:, 0, 0, 0] * 255).round().astype(int)
    assert shades.tolist() == [40, 41, 42, 20, 21]  # dog was made first, with the darker shade


def test_images_are_read_when_they_are_asked_for(photos):
    path = photos("train", cat=3)
    (path / "cat" / "2.png").write_bytes(b"broken")
    batches = training_data(path, wanted(2, specs=(IMAGE,))).read(1)
    assert next(batches).size == 2
    with pytest.raises(ModelInputError, match=r"2\.png"):
        next(batches)


def test_a_batch_axis_that_is_fixed_is_filled_with_different_images(photos):
    fixed = TensorSpec("image", (2, 4, 4, 3))
    (batch,) = training_data(photos("train", cat=2), wanted(specs=(fixed,))).read(1)
    assert batch.inputs["image"].shape[0] == 2
    assert not np.array_equal(*batch.inputs["image"])


def test_images_of_several_sizes_need_a_size(photos):
    path = photos("train", cat=1)
    image = pytest.importorskip("PIL.Image")
    image.new("RGB", (9, 9)).save(path / "cat" / "large.png")
    anything = TensorSpec("image", (None, None, None, 3))
    with pytest.raises(ModelInputError, match="--input-shape"):
        list(training_data(path, wanted(specs=(anything,))).read(1))


@pytest.mark.parametrize("make", ["no folders", "an empty class"])
def test_a_folder_that_is_no_training_data_is_told(tmp_path, photos, make):
    path = tmp_path / "empty"
    path.mkdir()
    if make == "an empty class":
        path = photos("train", cat=1)
        (path / "dog").mkdir()
    said = "has no folders" if make == "no folders" else "no images of dog"
    with pytest.raises(ModelInputError, match=said):
        training_data(path, wanted(specs=(IMAGE,)))


# Training and validation


def course(training, validation, specs=(IMAGE,)):
    return Course.of(training, validation, 1, wanted(specs=specs))


def test_validation_keeps_the_labels_of_training(photos):
    held_out = photos("val", dog=2)
    made = course(photos("train", cat=1, dog=1), held_out)
    (batch,) = made.validation.read(1)
    assert batch.targets.tolist() == [1, 1]
    (warning,) = made.warnings
    assert "no sample of cat" in warning


def test_a_class_that_is_never_trained_is_an_error(photos):
    with pytest.raises(ModelInputError, match="classes fox, which the training data do not have"):
        course(photos("train", cat=1), photos("val", cat=1, fox=1))


def test_numbered_classes_are_compared_too():
    made = course((X, Y), (X[:2], Y[:2]), (SPEC,))
    assert "no sample of 2" in made.warnings[0]
    with pytest.raises(ModelInputError, match="never shows: 7"):
        course((X, Y), (X, np.full(10, 7)), (SPEC,))
    assert course((X, Y / 2), (X, Y * 2.5), (SPEC,)).warnings == ()


def test_classes_of_two_kinds_are_not_compared(photos):
    named = training_data(photos("train", cat=1), wanted(specs=(IMAGE,)))
    assert check_classes(named, training_data((X, Y), wanted())) == ()


def test_validation_data_may_be_fewer_than_a_batch():
    made = Course.of((X, Y), (X[:3], Y[:3]), 1, wanted(8))
    assert [batch.size for batch in made.validation.read(1)] == [3]
