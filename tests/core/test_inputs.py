"""From images, arrays and nothing to what a model's inputs ask for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from greenai_core import InputOptions, ModelInputError, TensorSpec
from greenai_core.arrays import MAX_ELEMENTS, samples
from greenai_core.images import channels_last
from greenai_core.inputs import to_inputs
from greenai_core.synthetic import synthetic

NCHW = TensorSpec("image", (None, 3, 8, 6))
NHWC = TensorSpec("image", (None, 8, 6, 3))
VECTOR = TensorSpec("x", (None, 3))


@pytest.fixture
def picture(tmp_path):
    """4 wide, 2 high: red on the left, blue on the right."""
    pixels = np.zeros((2, 4, 3), np.uint8)
    pixels[:, :2, 0] = 255
    pixels[:, 2:, 2] = 255
    path = tmp_path / "picture.png"
    Image.fromarray(pixels).save(path)
    return path


def fed(data, *specs, **options):
    return to_inputs(data, specs, InputOptions(**options))


def alone(data, spec, **options):
    return fed(data, spec, **options)[spec.name]


# Synthetic

shapes = st.lists(st.none() | st.integers(1, 4) | st.just("axis"), max_size=4).map(tuple)
dtypes = st.sampled_from(["float32", "float16", "float64", "int64", "uint8", "bool", "complex64"])


@given(st.builds(TensorSpec, st.just("x"), shapes, dtypes))
def test_synthetic_data_have_the_shape_and_type_asked_for(spec):
    array = synthetic(spec)
    assert array.shape == tuple(axis if isinstance(axis, int) else 1 for axis in spec.shape)
    assert array.dtype == spec.dtype
    assert np.isfinite(array).all()


@given(st.builds(TensorSpec, st.just("x"), shapes, dtypes))
def test_what_is_made_for_a_model_fits_it(spec):
    made = synthetic(spec)
    again = alone(made, spec)
    assert np.array_equal(made, again)
    assert again.dtype == made.dtype


@given(st.integers(1, 5), st.integers(0, 3))
def test_synthetic_batches_have_the_size_asked_for(batch, rank):
    spec = TensorSpec("x", (None, *[2] * rank))
    assert samples(fed(None, spec, batch_size=batch)) == batch


def test_synthetic_data_are_the_same_each_time_and_not_all_equal():
    assert np.array_equal(synthetic(VECTOR), synthetic(VECTOR))
    assert len(np.unique(synthetic(TensorSpec("x", (1, 100))))) > 50


def test_synthetic_token_ids_are_within_any_vocabulary():
    ids = synthetic(TensorSpec("ids", (1, 64), "int64"))
    assert set(np.unique(ids)) == {0, 1}


def test_synthetic_strings_are_strings():
    assert synthetic(TensorSpec("text", (2,), "string")).tolist() == ["greenai"] * 2


def test_a_shape_that_nobody_told_must_be_given():
    with pytest.raises(ModelInputError, match=r"shape of the input x.*--input-shape"):
        alone(None, TensorSpec("x", None))


def test_an_absurd_shape_is_refused_before_memory_is_taken():
    with pytest.raises(ModelInputError, match="elements"):
        synthetic(TensorSpec("x", (2, MAX_ELEMENTS)))


def test_a_type_that_numpy_lacks_is_refused():
    with pytest.raises(ModelInputError, match="bfloat17"):
        synthetic(TensorSpec("x", (1,), "bfloat17"))


def test_a_fixed_batch_axis_cannot_be_changed():
    with pytest.raises(ModelInputError, match="dynamic batch axis"):
        fed(None, TensorSpec("x", (1, 3)), batch_size=2)


def test_a_model_without_inputs_cannot_be_fed():
    with pytest.raises(ModelInputError, match="no inputs"):
        to_inputs(None, [])


# Arrays


@given(
    hnp.arrays(
        np.float32, st.tuples(st.integers(1, 4), st.just(3)), elements=st.floats(-1, 1, width=32)
    )
)
def test_an_array_that_fits_is_left_as_it_is(array):
    assert np.array_equal(alone(array, VECTOR), array)


def test_a_single_sample_gets_its_batch_axis():
    assert alone(np.ones(3, np.float32), VECTOR).shape == (1, 3)


def test_types_are_cast_to_what_the_model_wants():
    assert alone(np.ones((1, 3), np.float64), VECTOR).dtype == np.float32
    assert alone([[1, 2, 3]], VECTOR).dtype == np.float32


def test_one_sample_is_repeated_for_a_batch():
    array = alone(np.array([[1.0, 2, 3]]), VECTOR, batch_size=4)
    assert array.tolist() == [[1, 2, 3]] * 4
    assert array.flags.c_contiguous


def test_one_sample_is_repeated_for_a_fixed_batch_axis():
    assert alone(np.ones((1, 3)), TensorSpec("x", (2, 3))).shape == (2, 3)


@pytest.mark.parametrize(
    ("array", "options", "says"),
    [
        (np.ones((1, 4)), {}, "1x4"),
        (np.ones((1, 1, 1, 3)), {}, "1x1x1x3"),
        (np.float32(1), {}, "scalar"),
        (np.ones((3, 3)), {"batch_size": 2}, "3 samples, a batch of 2"),
        (np.array([["a", "b", "c"]]), {}, "not numbers"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(array, options, says):
    with pytest.raises(ModelInputError, match=says):
        alone(array, VECTOR, **options)


def test_an_array_of_another_batch_does_not_fit_a_fixed_one():
    with pytest.raises(ModelInputError, match="fixes the first axis"):
        alone(np.ones((3, 3)), TensorSpec("x", (2, 3)))


@given(hnp.array_shapes(max_dims=5), st.builds(TensorSpec, st.just("x"), shapes))
def test_any_array_either_fits_or_is_refused(shape, spec):
    """Nothing but a ModelInputError, and what comes out has the shape that was asked for."""
    try:
        array = alone(np.zeros(shape), spec)
    except ModelInputError:
        return
    assert array.ndim == len(spec.shape)
    assert all(
        not isinstance(axis, int) or axis == size
        for axis, size in zip(spec.shape, array.shape, strict=True)
    )


# Several inputs


def test_several_inputs_are_given_by_name():
    both = VECTOR, TensorSpec("mask", (None, 3), "bool")
    inputs = fed({"mask": [[True, False, True]], "x": np.zeros((1, 3))}, *both)
    assert list(inputs) == ["x", "mask"]
    assert inputs["mask"].dtype == bool


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (np.ones((1, 3)), r"2 inputs \(x, mask\).*by name"),
        ({"x": np.ones((1, 3))}, "lacks mask"),
        ({"x": np.ones((1, 3)), "mask": np.ones((1, 3)), "y": 1}, "unknown y"),
    ],
)
def test_missing_and_unknown_inputs_are_named(data, says):
    with pytest.raises(ModelInputError, match=says):
        fed(data, VECTOR, TensorSpec("mask", (None, 3)))


# Files


def test_npy_and_npz_are_read(tmp_path):
    array = np.arange(3, dtype=np.float32)[np.newaxis]
    np.save(tmp_path / "x.npy", array)
    np.savez(tmp_path / "x.npz", x=array)
    for path in (tmp_path / "x.npy", str(tmp_path / "x.npz")):
        assert np.array_equal(alone(path, VECTOR), array)


def test_an_npz_with_other_names_is_refused(tmp_path):
    np.savez(tmp_path / "x.npz", arr_0=np.ones((1, 3)))
    with pytest.raises(ModelInputError, match="lacks x"):
        alone(tmp_path / "x.npz", VECTOR)


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.png", "x.jpg"])
def test_files_that_are_not_what_they_are_called_are_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"something else")
    with pytest.raises(ModelInputError, match=name):
        alone(tmp_path / name, NCHW)


def test_a_pickle_is_never_opened(tmp_path):
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ModelInputError, match=r"x\.npy"):
        alone(tmp_path / "x.npy", VECTOR)


def test_a_truncated_image_is_refused(tmp_path, picture):
    (tmp_path / "half.png").write_bytes(picture.read_bytes()[:40])
    with pytest.raises(ModelInputError, match=r"half\.png is not an image"):
        alone(tmp_path / "half.png", NCHW)


def test_missing_files_and_unknown_endings_are_told_apart(tmp_path):
    with pytest.raises(ModelInputError, match="no input file"):
        alone(tmp_path / "absent.png", NCHW)
    (tmp_path / "x.csv").write_text("1,2,3")
    with pytest.raises(ModelInputError, match=r"images, .*\.npy and \.npz"):
        alone(tmp_path / "x.csv", NCHW)


# Images


def test_an_image_becomes_one_sample_of_the_model_s_size(picture):
    array = alone(picture, NCHW)
    assert array.shape == (1, 3, 8, 6)
    assert array.dtype == np.float32
    assert array.min() == 0.0
    assert array.max() == 1.0


def test_the_axes_are_where_the_model_has_them(picture):
    """Red is on the left, in both layouts."""
    first, last = alone(picture, NCHW), alone(picture, NHWC)
    assert np.array_equal(first.transpose(0, 2, 3, 1), last)
    assert first[0, 0, 4, 0] == 1.0
    assert first[0, 2, 4, -1] == 1.0
    assert first[0, 0, 4, -1] == 0.0


@pytest.mark.parametrize(
    ("shape", "layout", "last"),
    [
        ((1, 3, 224, 224), "NHWC", False),
        ((1, 224, 224, 3), "NCHW", True),
        ((1, 1, 28, 28), "NHWC", False),
        ((None, None, None, 3), "NCHW", True),
        ((1, 3, 8, 3), "NHWC", True),
        ((1, 3, 8, 3), "NCHW", False),
        ((1, None, None, None), "NHWC", True),
    ],
)
def test_the_layout_is_read_from_the_shape_where_it_tells(shape, layout, last):
    assert channels_last(TensorSpec("image", shape), layout) is last


def test_open_axes_take_the_image_s_own_size(picture):
    assert alone(picture, TensorSpec("image", (None, 3, None, None))).shape == (1, 3, 2, 4)


def test_grey_and_transparent_models_get_their_channels(picture):
    assert alone(picture, TensorSpec("image", (None, 1, 8, 6))).shape == (1, 1, 8, 6)
    rgba = alone(picture, TensorSpec("image", (None, 8, 6, 4)))
    assert (rgba[..., 3] == 1.0).all()


def test_whole_number_models_get_bytes(picture):
    array = alone(picture, TensorSpec("image", (None, 8, 6, 3), "uint8"))
    assert array.dtype == np.uint8
    assert array.max() == 255


def test_a_rotated_photograph_is_turned_upright(tmp_path):
    """As its EXIF data say; models were trained on upright pictures."""
    pixels = np.zeros((2, 4, 3), np.uint8)
    pixels[0] = 255
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    array = alone(tmp_path / "turned.png", TensorSpec("image", (None, 2, 4, 3)))
    assert array[0, 0].max() == 0.0
    assert array[0, 1].min() == 1.0


def test_an_image_is_repeated_for_a_batch(picture):
    assert alone(picture, NCHW, batch_size=3).shape == (3, 3, 8, 6)


@pytest.mark.parametrize(
    "specs", [[VECTOR], [NCHW, VECTOR], [TensorSpec("image", None)], [NCHW, NHWC]]
)
def test_an_image_needs_one_image_input(picture, specs):
    with pytest.raises(ModelInputError, match="no single image input"):
        to_inputs(picture, specs)


def test_a_model_of_five_channels_takes_no_image(picture):
    with pytest.raises(ModelInputError, match=r"the model wants image .*x5x8x6"):
        alone(picture, TensorSpec("image", (None, 5, 8, 6)))
