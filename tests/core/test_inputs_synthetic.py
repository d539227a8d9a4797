"""Synthetic inputs: open axes, meaning by name, vocabularies; and functions of users."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenai_core import InputOptions, ModelInputError, TensorSpec, Text
from greenai_core.inputs import make_inputs, to_inputs
from greenai_core.synthetic import synthetic, with_axes
from greenai_core.texts import vocabulary

IDS = TensorSpec("input_ids", ("batch", "seq"), "int64")
MASK = TensorSpec("attention_mask", ("batch", "seq"), "int64")
PLAIN = TensorSpec("x", (None, None, 3))


def made(*specs, folder=None, **options):
    return make_inputs(None, specs, InputOptions(**options), folder=folder)


def test_an_axis_is_sized_by_its_name_in_every_input_that_has_it():
    arrays = made(IDS, MASK, axes={"batch": 8, "seq": 128}).arrays
    assert {name: array.shape for name, array in arrays.items()} == {
        "input_ids": (8, 128),
        "attention_mask": (8, 128),
    }


def test_an_axis_without_a_name_is_sized_by_input_and_position():
    assert made(PLAIN, axes={"x.1": 7}).arrays["x"].shape == (1, 7, 3)


def test_the_position_goes_before_the_name():
    arrays = made(IDS, MASK, axes={"seq": 128, "attention_mask.1": 64}).arrays
    assert arrays["input_ids"].shape == (1, 128)
    assert arrays["attention_mask"].shape == (1, 64)


@given(st.lists(st.none() | st.integers(1, 3) | st.sampled_from("ab"), max_size=4).map(tuple))
def test_sizes_touch_open_axes_only(shape):
    spec = TensorSpec("x", shape)
    sizes = {key: 9 for key in ("a", "b") if key in shape}
    (sized,) = with_axes([spec], sizes)
    for before, after in zip(shape, sized.shape, strict=True):
        assert after == (9 if isinstance(before, str) else before)


@pytest.mark.parametrize(
    ("axes", "says"),
    [
        ({"length": 3}, r"no open axis length .*its open axes: batch, seq, x\.0, x\.1"),
        ({"x.2": 3}, r"no open axis x\.2"),
        ({"seq": 0}, "seq=0"),
    ],
)
def test_axes_that_are_not_open_are_refused(axes, says):
    with pytest.raises(ModelInputError, match=says):
        made(IDS, PLAIN, axes=axes)


def test_a_model_without_open_axes_says_so():
    with pytest.raises(ModelInputError, match="its open axes: none"):
        made(TensorSpec("x", (1, 2)), TensorSpec("y", None), axes={"seq": 2})


def test_a_batch_size_that_contradicts_the_axis_is_refused():
    with pytest.raises(ModelInputError, match="a batch of 2 does not fit"):
        made(IDS, axes={"batch": 8}, batch_size=2)


def test_given_data_fill_the_axes_too():
    array = to_inputs(np.ones((1, 4, 3)), [PLAIN], InputOptions(axes={"x.0": 5}))["x"]
    assert array.shape == (5, 4, 3)
    with pytest.raises(ModelInputError, match="the model wants x"):
        to_inputs(np.ones((1, 4, 3)), [PLAIN], InputOptions(axes={"x.1": 5}))


def test_axes_that_were_left_at_one_are_told():
    """A transformer measured on one token is not what people think they measured."""
    (note,) = made(IDS, MASK).assumptions
    assert "leaves seq open" in note
    assert "--axis seq=" in note
    assert not made(IDS, axes={"seq": 5}).assumptions
    assert not made(TensorSpec("x", ("batch", 3))).assumptions
    assert not make_inputs([[1, 2]], [IDS]).assumptions


@pytest.mark.parametrize("dtype", ["int64", "float32", "bool"])
def test_masks_are_ones(dtype):
    spec = TensorSpec("encoder_attention_mask", (1, 64), dtype)
    assert (synthetic(spec) == 1).all()


def test_segments_are_zeros_and_positions_count():
    """A second segment is beyond the tables of many models."""
    assert not synthetic(TensorSpec("token_type_ids", (2, 64), "int64")).any()
    positions = synthetic(TensorSpec("position_ids", (2, 3), "int64"))
    assert positions.tolist() == [[0, 1, 2]] * 2


def test_token_ids_are_of_the_vocabulary_that_the_model_states(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": 30}))
    ids = made(IDS, axes={"seq": 1000}, folder=tmp_path).arrays["input_ids"]
    assert ids.min() == 0
    assert ids.max() == 29
    other = TensorSpec("lengths", (1, 1000), "int64")
    assert made(other, folder=tmp_path).arrays["lengths"].max() == 1


@pytest.mark.parametrize(
    "content", [None, "", "[]", "{}", '{"vocab_size": "many"}', '{"vocab_size": -1}', "[" * 10**5]
)
def test_without_a_stated_vocabulary_ids_are_0_or_1(tmp_path, content):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    assert vocabulary(tmp_path) is None
    assert made(IDS, axes={"seq": 99}, folder=tmp_path).arrays["input_ids"].max() == 1


# Shapes that nobody told


def test_a_guessed_shape_is_told_as_an_assumption():
    made_ = make_inputs(None, [TensorSpec("x", None)], guess=lambda specs: {"x": (None, 3, 4, 4)})
    assert made_.arrays["x"].shape == (1, 3, 4, 4)
    assert "x: Nx3x4x4 was assumed" in made_.assumptions[0]


def test_nothing_is_guessed_for_data_that_bring_their_shape():
    def never(specs):
        raise AssertionError

    array = np.ones((2, 5))
    assert make_inputs(array, [TensorSpec("x", None)], guess=never).arrays["x"].shape == (2, 5)


def test_nothing_is_guessed_where_the_shape_is_known():
    def never(specs):
        raise AssertionError

    assert make_inputs(None, [TensorSpec("x", (1, 2))], guess=never).arrays["x"].shape == (1, 2)


def test_what_cannot_be_guessed_must_be_given():
    with pytest.raises(ModelInputError, match="--input-shape"):
        make_inputs(None, [TensorSpec("x", None)], guess=lambda specs: {})


# Functions of users


def test_a_function_makes_the_data():
    options = InputOptions(preprocess=lambda path: np.full((1, 2, 3), len(path)))
    assert to_inputs("seven77", [PLAIN], options)["x"].max() == 7


def test_a_function_may_give_a_path(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((1, 2, 3)))
    options = InputOptions(preprocess=lambda name: tmp_path / name)
    assert to_inputs("x.npy", [PLAIN], options)["x"].shape == (1, 2, 3)


def test_a_function_that_fails_is_named():
    def my_loader(data):
        raise KeyError("column")

    with pytest.raises(ModelInputError, match=r"my_loader failed.*KeyError.*column"):
        to_inputs("x", [PLAIN], InputOptions(preprocess=my_loader))


def test_a_batch_of_nothing_is_refused():
    with pytest.raises(ModelInputError, match="1 sample at least"):
        InputOptions(batch_size=0)


def test_text_needs_a_tokenizer(tmp_path):
    with pytest.raises(ModelInputError, match=r"no tokenizer in .*tokenizer\.json"):
        make_inputs(Text("a text"), [IDS], folder=tmp_path)
