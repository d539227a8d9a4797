"""Images of any mode as the arrays that a model's image input asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .arrays import Array, check_size, np_dtype
from .errors import ModelInputError, PluginUnavailable
from .tensors import TensorSpec

if TYPE_CHECKING:
    from PIL import Image

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm")

FIT, CROP, STRETCH = "fit", "crop", "stretch"

RESIZES = {
    STRETCH: "to the model's height and width, whatever the proportions",
    FIT: "keep the proportions, pad with black",
    CROP: "keep the proportions, cut the borders off around the centre",
}
"""Ways to bring an image to the size of an input."""

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""Channels of an input -> Pillow's name of such images."""

BYTE, WORD = 255, 65535


@dataclass(frozen=True)
class Normalisation:
    """How stored pixel values become the numbers a network was trained on.

    Black becomes ``low`` and full intensity ``high``; then ``mean`` is taken off
    and the rest divided by ``std``, channel by channel.

    Attributes:
        low: of the scaled values.
        high: of the scaled values; None leaves the stored values as they are.
        mean: one for all channels, or one each.
        std: likewise; not zero.
    """

    low: float = 0.0
    high: float | None = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        if not all(np.isfinite([self.low, self.high or 0.0, *self.mean, *self.std])):
            raise ModelInputError(f"a normalisation needs finite numbers, not {self}")
        if not all(self.std) or self.high == self.low:
            raise ModelInputError(f"a normalisation cannot divide by 0: {self}")

    def apply(self, pixels: Array, full: int) -> Array:
        """Height x width x channels of stored values, 0 to ``full``, as float32.

        Raises:
            ModelInputError: it is for another number of channels.
        """
        for name, each in (("mean", self.mean), ("std", self.std)):
            if len(each) not in (1, pixels.shape[-1]):
                raise ModelInputError(
                    f"the normalisation has {len(each)} values of {name}, but the model wants "
                    f"{pixels.shape[-1]} channels. Use 0..1, or MEAN/STD with one value"
                )
        values: Array = pixels.astype(np.float32)
        if self.high is not None:
            values = values / np.float32(full / (self.high - self.low)) + np.float32(self.low)
        if any(self.mean):
            values = values - np.array(self.mean, np.float32)
        if any(std != 1 for std in self.std):
            values = values / np.array(self.std, np.float32)
        return values


PRESETS = {
    "imagenet": Normalisation(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    "0..1": Normalisation(),
    "-1..1": Normalisation(low=-1.0),
    "0..255": Normalisation(high=255.0),
    "none": Normalisation(high=None),
}
"""``imagenet``: mean and standard deviation of the training images of ImageNet, red, green
and blue in [0, 1], as torchvision documents them for its pretrained weights. ``-1..1`` is what
the MobileNet and Inception families of Keras were trained on. ``none`` differs from ``0..255``
for images of 16 bits, whose values it leaves up to 65535."""


def normalisation(text: str | Normalisation) -> Normalisation:
    """The normalisation of a preset's name, or of ``MEAN/STD``.

    Args:
        text: a name in ``PRESETS``; or ``0.5,0.5,0.5/0.25,0.25,0.25`` (one value
            or one for each channel), which refers to pixels in [0, 1].

    Raises:
        ModelInputError: it is neither, or has a std of 0.
    """
    if isinstance(text, Normalisation):
        return text
    if text in PRESETS:
        return PRESETS[text]
    mean, slash, std = text.partition("/")
    try:
        numbers = [tuple(float(value) for value in part.split(",")) for part in (mean, std)]
    except ValueError:
        numbers = []
    if not (slash and numbers):
        raise ModelInputError(
            f"there is no normalisation {text!r}: give {', '.join(PRESETS)}, or MEAN/STD such as "
            "0.5,0.5,0.5/0.25,0.25,0.25"
        )
    return Normalisation(mean=numbers[0], std=numbers[1])


def images_in(folder: Path) -> list[Path]:
    """The images of a folder by name; hidden files and folders inside are left out.

    Raises:
        ModelInputError: there is none.
    """
    found = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES
        and not path.name.startswith(".")
        and path.is_file()
    )
    if not found:
        raise ModelInputError(f"the folder {folder} holds no images ({', '.join(IMAGE_SUFFIXES)})")
    return found


def read_images(
    paths: Sequence[Path],
    spec: TensorSpec,
    *,
    resize: str = STRETCH,
    normalise: str | Normalisation | None = None,
    image_layout: str = "NCHW",
) -> Array:
    """A batch with one sample for each image, as the input wants it.

    Args:
        paths: of the images, at least one.
        spec: an image input: four axes.
        resize: one of ``RESIZES``; axes that the input leaves open keep the
            image's own size.
        normalise: see ``normalisation``; None for [0, 1] where the input takes
            floats, 0 to 255 where it takes whole numbers.
        image_layout: ``"NCHW"`` or ``"NHWC"`` where neither spec nor shape tell.

    Raises:
        ModelInputError: a file is no image, or the images do not fit the input.
        PluginUnavailable: Pillow is missing.
    """
    assert spec.shape is not None
    last = channels_last(spec, image_layout)
    channels = spec.shape[3 if last else 1]
    height, width = spec.shape[1:3] if last else spec.shape[2:4]
    count = channels if isinstance(channels, int) else 3
    if count not in MODES:
        raise ModelInputError(f"an image has 1, 3 or 4 channels, the model wants {spec}")
    dtype = np_dtype(spec)
    whole = dtype.kind in "iu"
    if not whole and dtype.kind != "f":
        raise ModelInputError(f"an image is made of numbers, the model wants {spec}")
    how = normalisation(normalise or ("0..255" if whole else "0..1"))
    samples: list[Array] = []
    for path in paths:
        sizes = [axis if isinstance(axis, int) else None for axis in (height, width)]
        check_size(spec, (len(paths), *(size or 1 for size in sizes), count))
        pixels, full = _pixels(path, count, sizes[0], sizes[1], resize)
        sample = _cast(how.apply(pixels, full), dtype, spec)
        if samples and sample.shape != samples[0].shape:
            first, this = ("x".join(map(str, s.shape[1::-1])) for s in (samples[0], sample))
            raise ModelInputError(
                f"{path} is {this}, {paths[0]} is {first}: the model leaves the size open, so "
                "images of one batch must have one. Fix it with --axis (in Python axes=)"
            )
        samples.append(sample)
    batch = np.stack(samples)
    return batch if last else batch.transpose(0, 3, 1, 2)


def channels_last(spec: TensorSpec, image_layout: str) -> bool:
    """Whether the images of ``spec`` are height x width x channels.

    The format knows it for some models (``spec.layout``). Else a fixed axis of 1,
    3 or 4 tells which one holds the channels; where both or neither do,
    ``image_layout`` decides.
    """
    assert spec.shape is not None
    if spec.layout is not None:
        return spec.layout == "NHWC"
    first, last = (spec.shape[axis] in MODES for axis in (1, 3))
    if first != last:
        return last
    return image_layout == "NHWC"


def _cast(values: Array, dtype: np.dtype[Any], spec: TensorSpec) -> Array:
    """Whole numbers only where they hold the values as they are."""
    if dtype.kind != "f":
        limits = np.iinfo(dtype)
        whole = np.rint(values)
        inside = limits.min <= whole.min() and whole.max() <= limits.max
        if not inside or np.abs(values - whole).max() > 1e-3:
            raise ModelInputError(
                f"the normalised pixels ({values.min():g} to {values.max():g}) do not fit {spec}. "
                "Give another --normalise, or the numbers as .npy"
            )
        values = whole
    return values.astype(dtype)


def _pixels(
    path: Path, channels: int, height: int | None, width: int | None, resize: str
) -> tuple[Array, int]:
    """Height x width x channels of stored values, and which value is full intensity."""
    try:
        from PIL import Image, ImageOps
    except ModuleNotFoundError as error:
        raise PluginUnavailable(
            "reading images needs Pillow", "pip install 'greenai-core[image]'"
        ) from error
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            deep = upright.mode.startswith(("I", "F"))
            flat = _deep(path, upright) if deep else _converted(upright, MODES[channels])
        size = (width or flat.width, height or flat.height)
        pixels = np.asarray(_resized(flat, size, resize))
    except ModelInputError:
        raise
    except Exception as error:  # Pillow raises a dozen types on broken files
        raise ModelInputError(f"{path} is not an image that can be read: {error}") from error
    if not deep:
        return (pixels if pixels.ndim == 3 else pixels[:, :, np.newaxis]), BYTE
    copies = np.repeat(pixels[:, :, np.newaxis], channels, axis=2)
    if channels == 4:
        copies[:, :, 3] = WORD
    return copies, WORD


def _converted(image: Image.Image, mode: str) -> Image.Image:
    """An image of 8 bits in another mode; a palette keeps its transparency on the way."""
    if image.mode in ("P", "PA") and (image.mode == "PA" or "transparency" in image.info):
        image = image.convert("RGBA")
    return image.convert(mode)


def _deep(path: Path, image: Image.Image) -> Image.Image:
    """A grey image of 16 bits in floats, because Pillow cuts it off at 255 when converting."""
    from PIL import Image

    values = np.asarray(image)
    if values.dtype.kind == "f":
        raise ModelInputError(
            f"{path} holds floating-point values, whose range no image file states. "
            "Save them as .npy in the range that the model was trained on"
        )
    if values.min() < 0 or values.max() > WORD:
        raise ModelInputError(
            f"{path} holds values of {values.min()} to {values.max()}: more than 16 bits. "
            "Save them as .npy in the range that the model was trained on"
        )
    return Image.fromarray(values.astype(np.float32))


def _resized(image: Image.Image, size: tuple[int, int], resize: str) -> Image.Image:
    """The image in width x height, by bilinear filtering over all pixels it covers."""
    from PIL import Image, ImageOps

    bilinear = Image.Resampling.BILINEAR
    if image.size == size:
        return image
    if resize == FIT:
        return ImageOps.pad(image, size, bilinear, color=0)
    if resize == CROP:
        return ImageOps.fit(image, size, bilinear)
    return image.resize(size, bilinear)
