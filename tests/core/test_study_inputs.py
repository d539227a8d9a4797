"""From the size of a cell to the shapes of a model's inputs."""

from __future__ import annotations

import pytest

from greenai_core import DLLibrary, ModelInputError, PlannedModel, TensorSpec
from greenai_core.study_inputs import check_cell, given_shapes, input_options


class Stated(DLLibrary):
    """A model of which nothing but the signature is known."""

    format = "stated"

    def __init__(self, path, *specs, guess=None, **options):
        super().__init__(path, **options)
        self.specs = specs
        self.guess = guess
        self._loaded = True

    recognises = classmethod(lambda cls, path: False)

    def signature(self):
        return self.specs

    def guess_shapes(self, specs):
        return {spec.name: self.guess for spec in specs} if self.guess else {}

    def _never(self, *arguments):
        raise AssertionError("nothing is run")

    load_weights = prepare = predict = synchronize = fetch = count_parameters = _never


@pytest.fixture
def shapes(tmp_path):
    """The shapes that a cell's inputs get."""
    file = tmp_path / "net"
    file.touch()

    def made(specs, size_name, size, batch=2, guess=None, **plan):
        model = PlannedModel("net", file=str(file), sizes=(size,), size_name=size_name, **plan)
        given = given_shapes(model, size, batch)
        library = Stated(file, *specs, guess=guess, input_shapes=given)
        check_cell(model, Stated(file, *specs, guess=guess, input_shapes=given), size, batch)
        arrays = library.make_inputs(None, input_options(model, library, size, batch))
        return {name: array.shape for name, array in arrays.items()}

    return made


@pytest.mark.parametrize(
    ("axes", "layout", "shape"),
    [
        (("N", 3, "h", "w"), None, (2, 3, 64, 64)),
        ((None, 3, None, None), None, (2, 3, 64, 64)),
        (("N", "h", "w", 3), None, (2, 64, 64, 3)),
        (("N", None, None, None), "NHWC", (2, 64, 64, 1)),
        ((2, 3, 64, 64), None, (2, 3, 64, 64)),
        (("N", 3, 64, "w"), None, (2, 3, 64, 64)),
    ],
)
def test_pixels_are_height_and_width(shapes, axes, layout, shape):
    assert shapes([TensorSpec("x", axes, layout=layout)], "pixels", 64) == {"x": shape}


def test_tokens_are_the_length_of_all_texts_and_of_masks_that_share_the_axis(shapes):
    specs = [
        TensorSpec("input_ids", ("batch", "seq"), "int64"),
        TensorSpec("attention_mask", ("batch", "seq"), "float32"),
        TensorSpec("bias", ("batch", 1, "seq", "seq"), "float32"),
        TensorSpec("labels", (None, None), "int32"),
        TensorSpec("temperature", ("batch", 1), "float32"),
    ]
    assert shapes(specs, "tokens", 50) == {
        "input_ids": (2, 50), "attention_mask": (2, 50), "bias": (2, 1, 50, 50),
        "labels": (2, 50), "temperature": (2, 1),
    }  # fmt: skip


def test_tokens_of_a_model_of_numbers_are_its_first_open_axis(shapes):
    assert shapes([TensorSpec("x", ("N", "frames", 80))], "tokens", 7) == {"x": (2, 7, 80)}


def test_a_shape_that_the_file_does_not_say_is_guessed_or_given(shapes):
    unknown = [TensorSpec("x", None)]
    assert shapes(unknown, "pixels", 96, guess=(None, 3, 224, 224)) == {"x": (2, 3, 96, 96)}
    stated = {"": ("batch", 4, "size", "size")}
    assert shapes(unknown, "pixels", 96, input_shapes=stated) == {"x": (2, 4, 96, 96)}
    assert shapes([TensorSpec("ids", None, "int64")], "tokens", 9) == {"ids": (2, 9)}
    with pytest.raises(ModelInputError, match="does not say the shape of its input x"):
        shapes(unknown, "pixels", 96)


def test_axes_that_the_plan_names(shapes):
    spec = TensorSpec("x", ("N", "past", "seq", 8))
    axes = {"seq": "size", "past": 3}
    assert shapes([spec], "words", 5, axes=axes) == {"x": (2, 3, 5, 8)}


@pytest.mark.parametrize(
    ("axes", "size_name", "told"),
    [
        ((1, 3, 224, 224), "pixels", "only 224"),
        (("N", 3, 224, 224), "pixels", "the size 64 cannot be run, only 224"),
        ((1, 3, "h", "w"), "pixels", "a batch of 2 does not fit"),
        (("N", 10), "pixels", "no input of .* is known to have a height and a width"),
        (("N", 10), "tokens", "a length in tokens"),
    ],
)
def test_what_cannot_be_run_is_refused_with_the_reason(shapes, axes, size_name, told):
    with pytest.raises(ModelInputError, match=told):
        shapes([TensorSpec("x", axes)], size_name, 64)
