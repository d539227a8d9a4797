"""Networks of Keras with random weights, and every file that Keras and TensorFlow write."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from counted import Network, Split, Writer, Written, elements

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

TINY_IMAGE = (32, 32, 3)


def _application(name: str) -> Network:
    """A network of ``keras.applications``, which has no small form that is written quickly."""

    def make(small: bool) -> Any:
        import keras

        return getattr(keras.applications, name)(weights=None)

    return Network(name, "keras", make, small=False)


def _frozen_backbone(small: bool) -> Any:
    """A network as transfer learning has it: a frozen one, and a new head."""
    import keras

    size = TINY_IMAGE if small else (224, 224, 3)
    if small:
        backbone = keras.Sequential(
            [
                keras.Input(size),
                keras.layers.Conv2D(4, 3, use_bias=False),
                keras.layers.BatchNormalization(),
                keras.layers.DepthwiseConv2D(3),
            ]
        )
    else:
        backbone = keras.applications.MobileNet(weights=None, include_top=False, input_shape=size)
    backbone.trainable = False
    image = keras.Input(size)
    pooled = keras.layers.GlobalAveragePooling2D()(backbone(image))
    return keras.Model(image, keras.layers.Dense(10)(pooled))


def _recurrent(small: bool) -> Any:
    import keras

    width = 4 if small else 256
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((12,)),
            layers.Embedding(50 if small else 20_000, width),
            layers.Bidirectional(layers.LSTM(width, return_sequences=True)),
            layers.BatchNormalization(),
            layers.Dropout(0.2),
            layers.GRU(width),
            layers.Dense(5),
        ]
    )


def _transformer(small: bool) -> Any:
    """Attention, layer normalisation, and an encoder used twice."""
    import keras

    width, heads, blocks = (8, 2, 1) if small else (256, 8, 4)
    layers = keras.layers
    shared = layers.Dense(width)
    image = keras.Input((16, width))
    found = shared(image)
    for _ in range(blocks):
        found = layers.LayerNormalization()(
            found + layers.MultiHeadAttention(heads, width)(found, found)
        )
        found = layers.LayerNormalization()(found + shared(layers.Dense(width)(found)))
    return keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling1D()(found)))


NETWORKS = (
    _application("MobileNet"),
    _application("MobileNetV2"),
    _application("MobileNetV3Small"),
    _application("MobileNetV3Large"),
    _application("EfficientNetB0"),
    _application("EfficientNetV2B0"),
    _application("DenseNet121"),
    _application("ResNet50"),
    _application("ResNet50V2"),
    _application("InceptionV3"),
    _application("InceptionResNetV2"),
    _application("Xception"),
    _application("NASNetMobile"),
    _application("ConvNeXtTiny"),
    _application("VGG16"),
    Network("frozen MobileNet and a head", "keras", _frozen_backbone),
    Network("Embedding, LSTM, GRU", "keras", _recurrent),
    Network("attention with a shared layer", "keras", _transformer),
)


def split(model: Any) -> Split:
    """What Keras trains and what it does not; integer state (seeds, counters) left out."""
    trained, fixed = model.trainable_weights, model.non_trainable_weights
    return Split(elements(_floating(trained)), elements(_floating(fixed)))


def _floating(variables: Iterable[Any]) -> list[Any]:
    import keras

    return [one for one in variables if keras.backend.is_float_dtype(one.dtype)]


def writers(model: Any) -> dict[str, Writer]:
    """How to write each format."""
    import keras
    import tensorflow as tf

    whole = split(model)

    def saved(name: str, save: Callable[[Path], object]) -> Writer:
        def write(folder: Path) -> Written:
            save(folder / name)
            return Written(folder / name, whole)

        return write

    def weights(folder: Path) -> Written:
        # Weights alone do not say which layers are frozen: all but statistics count as trained.
        path = folder / "model.weights.h5"
        model.save_weights(path)
        statistics = elements(_statistics(model))
        everything = whole.trainable + whole.non_trainable
        return Written(path, Split(everything - statistics, statistics))

    def exported(path: Path) -> None:
        model.export(path, verbose=False)

    def with_tensorflow(folder: Path) -> Written:
        # TensorFlow writes what its own variables say, which a layer frozen later is not told.
        tf.saved_model.save(model, os.fspath(folder / "saved"))
        own = [variable.value for variable in _floating(model.weights)]
        trained = elements(variable for variable in own if variable.trainable)
        return Written(folder / "saved", Split(trained, elements(own) - trained))

    keras.config.disable_interactive_logging()
    return {
        ".keras": saved("model.keras", model.save),
        ".h5": saved("model.h5", model.save),
        ".weights.h5": weights,
        "SavedModel (export)": saved("exported", exported),
        "SavedModel (tf)": with_tensorflow,
    }


def _statistics(model: Any) -> list[Any]:
    import keras

    layers = model._flatten_layers()  # Keras has no public walk through nested layers
    return [
        variable
        for layer in layers
        if isinstance(layer, keras.layers.BatchNormalization)
        for variable in (layer.moving_mean, layer.moving_variance)
    ]
