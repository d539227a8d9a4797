"""Images of every mode, resized and normalised as a model was trained on them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from greenai_core import InputOptions, ModelInputError, Normalisation, TensorSpec
from greenai_core.arrays import MAX_ELEMENTS
from greenai_core.images import images_in, read_images
from greenai_core.inputs import make_inputs, to_inputs

RGB = TensorSpec("image", (None, 8, 6, 3))
GREY = TensorSpec("image", (None, 8, 6, 1))
BYTES = TensorSpec("image", (None, 8, 6, 3), "uint8")
OPEN = TensorSpec("image", (None, None, None, 3))


@pytest.fixture
def save(tmp_path):
    def save_(image, name="picture.png", **options):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        image.save(path, **options)
        return path

    return save_


def flat(mode, value, size=(6, 8)):
    return Image.new(mode, size, value)


def pixel(path, spec=RGB, **options):
    """The values of one pixel of an image that is the same all over."""
    array = to_inputs(path, [spec], InputOptions(**options))[spec.name]
    assert (array == array[:, :1, :1]).all()
    return array[0, 0, 0].tolist()


# Modes


@pytest.mark.parametrize(
    ("mode", "value", "name", "rgb"),
    [
        ("1", 1, "a.png", (255, 255, 255)),
        ("L", 100, "a.png", (100, 100, 100)),
        ("LA", (100, 20), "a.png", (100, 100, 100)),
        ("RGB", (10, 20, 30), "a.png", (10, 20, 30)),
        ("RGBA", (10, 20, 30, 0), "a.png", (10, 20, 30)),
        ("CMYK", (0, 255, 255, 0), "a.tif", (255, 0, 0)),
        ("I;16", 25700, "a.png", (100, 100, 100)),
        ("I;16", 25700, "a.tif", (100, 100, 100)),
    ],
)
def test_every_mode_becomes_red_green_and_blue(save, mode, value, name, rgb):
    path = save(flat(mode, value), name)
    assert pixel(path, BYTES) == list(rgb)
    assert pixel(path, RGB) == pytest.approx([band / 255 for band in rgb], abs=1e-6)


def test_a_palette_is_looked_up(save):
    image = flat("RGB", (10, 200, 30)).convert("P", palette=Image.Palette.ADAPTIVE)
    assert pixel(save(image), BYTES) == [10, 200, 30]


def test_the_transparency_of_a_palette_is_kept(save):
    image = flat("RGB", (10, 200, 30)).convert("P", palette=Image.Palette.ADAPTIVE, colors=2)
    path = save(image, transparency=bytes([64] * 2))
    rgba = TensorSpec("image", (None, 8, 6, 4), "uint8")
    assert pixel(path, rgba) == [10, 200, 30, 64]
    assert pixel(path, BYTES) == [10, 200, 30]


def test_sixteen_bits_keep_their_precision(save):
    """Pillow's own conversion cuts them off at 255, which is nearly black or all white."""
    values = np.linspace(0, 65535, 48, dtype=np.uint16).reshape(8, 6)
    path = save(Image.fromarray(values))
    array = to_inputs(path, [GREY])["image"]
    assert np.allclose(array[0, :, :, 0] * 65535, values, atol=0.01)
    assert to_inputs(path, [TensorSpec("image", (1, 8, 6, 4))])["image"][..., 3].min() == 1.0


def test_sixteen_bits_are_resized_in_their_range(save):
    path = save(flat("I;16", 65535, (3, 4)))
    assert pixel(path, GREY) == [1.0]


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (Image.fromarray(np.full((8, 6), 0.5, np.float32)), "floating-point"),
        (Image.fromarray(np.full((8, 6), 70000, np.int32)), "more than 16 bits"),
        (Image.fromarray(np.full((8, 6), -1, np.int32)), "more than 16 bits"),
    ],
)
def test_values_whose_range_no_file_states_are_refused(save, image, says):
    with pytest.raises(ModelInputError, match=says):
        pixel(save(image, "a.tif"))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_exif_data_turn_nothing(save):
    path = save(flat("RGB", (9, 9, 9)), "a.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert pixel(path, BYTES) == [9, 9, 9]


# Size


@pytest.fixture
def wide(save):
    """12 wide, 4 high: red, green and blue squares side by side."""
    pixels = np.zeros((4, 12, 3), np.uint8)
    for band in range(3):
        pixels[:, 4 * band : 4 * band + 4, band] = 255
    return save(Image.fromarray(pixels))


def resized(path, how, height=6, width=6):
    spec = TensorSpec("image", (None, height, width, 3), "uint8", "NHWC")
    return to_inputs(path, [spec], InputOptions(resize=how))["image"][0]


def test_stretching_shows_everything_and_keeps_no_proportions(wide):
    array = resized(wide, "stretch")
    assert array[:, 0].tolist() == [[255, 0, 0]] * 6
    assert array[:, -1].tolist() == [[0, 0, 255]] * 6


def test_fitting_pads_with_black(wide):
    array = resized(wide, "fit")
    assert array[[0, 1, 4, 5]].max() == 0
    assert array[2, 0].tolist() == [255, 0, 0]
    assert array[3, -1].tolist() == [0, 0, 255]


def test_cropping_keeps_the_centre(wide):
    array = resized(wide, "crop", 4, 4)
    assert array.tolist() == [[[0, 255, 0]] * 4] * 4


def test_fitting_pads_deep_images_too(save):
    path = save(flat("I;16", 65535, (8, 2)))
    array = to_inputs(path, [GREY], InputOptions(resize="fit"))["image"][0, :, :, 0]
    assert array[0].max() == 0.0
    assert array[4].min() == 1.0


def test_an_absurd_size_is_refused_before_memory_is_taken(wide):
    spec = TensorSpec("image", (None, MAX_ELEMENTS, 1, 3))
    with pytest.raises(ModelInputError, match="elements"):
        to_inputs(wide, [spec])


def test_open_sizes_can_be_chosen(wide):
    array = to_inputs(wide, [OPEN], InputOptions(axes={"image.1": 5, "image.2": 7}))["image"]
    assert array.shape == (1, 5, 7, 3)


# Values


@pytest.mark.parametrize(
    ("how", "white", "black"),
    [
        (None, 1.0, 0.0),
        ("0..1", 1.0, 0.0),
        ("-1..1", 1.0, -1.0),
        ("0..255", 255.0, 0.0),
        ("none", 255.0, 0.0),
        ("0.5/0.25", 2.0, -2.0),
        (Normalisation(low=-2.0, high=2.0), 2.0, -2.0),
    ],
)
def test_presets(save, how, white, black):
    assert pixel(save(flat("RGB", "white")), normalise=how) == [white] * 3
    assert pixel(save(flat("RGB", "black")), normalise=how) == [black] * 3


def test_imagenet_is_what_torchvision_documents(save):
    """Worked out by hand for (255, 0, 51): (1 - 0.485) / 0.229 and so on."""
    values = pixel(save(flat("RGB", (255, 0, 51))), normalise="imagenet")
    assert values == pytest.approx([2.2489083, -2.0357143, -0.9155556], abs=1e-5)


def test_each_channel_has_its_own_values_in_both_layouts(save):
    path = save(flat("RGB", "white"))
    options = InputOptions(normalise="0,0.5,1/1,0.5,0.25")
    first = TensorSpec("image", (None, 3, 8, 6))
    assert pixel(path, normalise="0,0.5,1/1,0.5,0.25") == [1.0, 1.0, 0.0]
    assert to_inputs(path, [first], options)["image"][0, :, 0, 0].tolist() == [1.0, 1.0, 0.0]


def test_none_and_0_to_255_differ_for_sixteen_bits(save):
    path = save(flat("I;16", 65535))
    assert pixel(path, GREY, normalise="none") == [65535.0]
    assert pixel(path, GREY, normalise="0..255") == [255.0]


@pytest.mark.parametrize("how", ["imagenett", "0..2", "1,2,3", "a/b", "1,2/0", "/", "nan/1"])
def test_other_normalisations_are_refused(how):
    with pytest.raises(ModelInputError, match="normalisation"):
        InputOptions(normalise=how)


def test_a_range_of_no_width_is_refused():
    with pytest.raises(ModelInputError, match="divide by 0"):
        Normalisation(low=1.0)


def test_values_for_three_channels_do_not_fit_one(save):
    with pytest.raises(ModelInputError, match="3 values of mean, but the model wants 1"):
        pixel(save(flat("L", 3)), GREY, normalise="imagenet")


@pytest.mark.parametrize(("dtype", "how"), [("uint8", "imagenet"), ("int8", None)])
def test_whole_numbers_hold_pixels_or_are_refused(save, dtype, how):
    """255 as int8 would silently be -1."""
    spec = TensorSpec("image", (None, 8, 6, 3), dtype)
    with pytest.raises(ModelInputError, match="do not fit"):
        pixel(save(flat("RGB", "white")), spec, normalise=how)


def test_signed_bytes_hold_pixels_around_zero(save):
    spec = TensorSpec("image", (None, 8, 6, 3), "int8")
    how = Normalisation(low=-128.0, high=127.0)
    assert pixel(save(flat("RGB", "white")), spec, normalise=how) == [127] * 3


@pytest.mark.parametrize("dtype", ["bool", "complex64"])
def test_models_of_other_types_take_no_images(save, dtype):
    with pytest.raises(ModelInputError, match="made of numbers"):
        pixel(save(flat("RGB", 1)), TensorSpec("image", (None, 8, 6, 3), dtype))


def test_another_way_to_resize_is_refused():
    with pytest.raises(ModelInputError, match="stretch, fit, crop"):
        InputOptions(resize="squash")


# Layout


def test_what_the_format_knows_of_the_layout_goes_before_sizes(save):
    """8 x 3 images with the channels first look like images with the channels last."""
    path = save(flat("RGB", (255, 0, 0)))
    first = TensorSpec("image", (None, 3, 8, 3), layout="NCHW")
    last = TensorSpec("image", (None, 3, 8, 3), layout="NHWC")
    options = {"image_layout": "NHWC"}
    assert to_inputs(path, [first], **options)["image"][0, 0].min() == 1.0
    assert to_inputs(path, [last], image_layout="NCHW")["image"][0, :, :, 0].min() == 1.0


# Folders


@pytest.fixture
def folder(save):
    for index, name in enumerate(["b.png", "a.jpg", "c.PNG", ".hidden.png"]):
        save(flat("L", 10 * index), f"photos/{name}")
    path = save(flat("L", 0)).parent / "photos"
    (path / "notes.txt").write_text("no image")
    (path / "sub.png").mkdir()
    return path


def test_a_folder_is_a_batch_sorted_by_name(folder):
    assert [path.name for path in images_in(folder)] == ["a.jpg", "b.png", "c.PNG"]
    array = to_inputs(folder, [BYTES])["image"]
    assert array[:, 0, 0, 0].tolist() == [10, 0, 20]


def test_a_batch_takes_as_many_as_it_has_room_for(folder):
    assert to_inputs(folder, [BYTES], InputOptions(batch_size=2))["image"].shape[0] == 2
    made = make_inputs(folder, [TensorSpec("image", (2, 8, 6, 3))])
    assert made.arrays["image"].shape[0] == 2
    assert "fixes a batch of 2: the first of 3 images" in made.assumptions[0]
    with pytest.raises(ModelInputError, match="fixes the first axis"):
        to_inputs(folder, [TensorSpec("image", (1, 8, 6, 3))], InputOptions(batch_size=2))


def test_a_folder_that_does_not_fill_the_batch_says_so(folder):
    made = make_inputs(folder, [BYTES], InputOptions(batch_size=5))
    assert made.arrays["image"].shape[0] == 3
    assert "holds 3 images: that is the batch, not 5" in made.assumptions[0]


def test_a_folder_that_does_not_fill_a_fixed_batch_is_refused(folder):
    with pytest.raises(ModelInputError, match="fixes the first axis"):
        to_inputs(folder, [TensorSpec("image", (5, 8, 6, 3))])


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(ModelInputError, match="holds no images"):
        to_inputs(tmp_path, [RGB])


def test_images_of_several_sizes_are_no_batch_where_the_size_is_open(folder, save):
    save(flat("L", 0, (9, 9)), "photos/z.png")
    with pytest.raises(ModelInputError, match=r"z\.png is 9x9.*--axis"):
        to_inputs(folder, [OPEN])


def test_images_are_read_for_training_too(folder):
    """What a trainer uses: paths in its own order."""
    paths = images_in(folder)[::-1]
    first = TensorSpec("image", (None, 3, 4, 4))
    array = read_images(paths, first, normalise="0..255")
    assert array.shape == (3, 3, 4, 4)
    assert array[:, 0, 0, 0].tolist() == [20, 0, 10]
