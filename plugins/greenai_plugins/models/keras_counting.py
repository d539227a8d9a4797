"""Parameters of a Keras file from its headers, as Keras itself would count them.

Only layers whose variables are known are counted here: where the headers do not
decide (layers of strangers, quantisation, unusual nesting), the answer is None
and the model has to be loaded.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from greenai_core import ParameterEntry

from .keras_archive import KerasFile, Weight
from .keras_runtime import is_parameter

Config = Mapping[str, Any]

CONTAINERS = ("Sequential", "Functional", "Model")
BATCH_NORMALISATION = "BatchNormalization"
NORMALISATION = "Normalization"
"""The layer that keeps mean and variance of the data: adapted to them, never trained."""

MOVING = ("moving_mean", "moving_variance")
"""Statistics of a batch normalisation: saved, not trained."""

PLAIN = frozenset(
    {
        "Dense", "EinsumDense", "Embedding", "PReLU", "Bias",
        "Conv1D", "Conv2D", "Conv3D", "Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose",
        "Convolution2D", "DepthwiseConv1D", "DepthwiseConv2D", "SeparableConv1D",
        "SeparableConv2D",
        "LayerNormalization", "GroupNormalization", "UnitNormalization", "RMSNormalization",
        "LayerScale",
        "MultiHeadAttention", "GroupedQueryAttention", "Attention", "AdditiveAttention",
        "LSTM", "GRU", "SimpleRNN", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D", "RNN",
        "LSTMCell", "GRUCell", "SimpleRNNCell", "StackedRNNCells",
        "Bidirectional", "TimeDistributed", "InputLayer",
        "Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "Softmax",
        "Activation", "ReLU", "LeakyReLU", "ELU",
    }
)  # fmt: skip
"""Layers of Keras all of whose floating variables are trained."""

_ORDER = re.compile(r"\d+")


def entries(file: KerasFile) -> list[ParameterEntry] | None:
    """Parameters of a file; None where only the loaded model can tell.

    Weights without a model count as trainable, except the moving statistics of
    batch normalisations, which are told by their name.
    """
    if file.config is None:
        fixed = _statistics_by_name(file.weights)
        return _entries((_folder(weight), None, weight, fixed) for weight in file.weights)
    owners = list(_owners(file))
    counted = [weight for owner in owners for weight in owner.weights]
    if len(counted) != len(file.weights) or len(set(counted)) != len(counted):
        return None
    frozen: set[Weight] = set()
    for owner in owners:
        if not any(is_parameter(weight.dtype) for weight in owner.weights):
            continue
        fixed_here = _frozen(owner.layer, owner.weights, _trainable(file.config))
        if fixed_here is None:
            return None
        frozen |= fixed_here
    return _entries(
        (owner.path, str(owner.layer.get("class_name")), weight, frozen)
        for owner in owners
        for weight in owner.weights
    )


@dataclass(frozen=True)
class _Owner:
    """A layer with the weights that it wrote, and its path in the model."""

    path: str
    layer: Config
    weights: Sequence[Weight]


def _entries(
    found: Iterable[tuple[str, str | None, Weight, set[Weight]]],
) -> list[ParameterEntry]:
    kept = []
    for path, type, weight, frozen in found:
        if is_parameter(weight.dtype):
            elements = math.prod(weight.shape)
            size = elements * weight.item_bytes
            kept.append(ParameterEntry(path, weight not in frozen, elements, size, type))
    return kept


def _folder(weight: Weight) -> str:
    """Where a weight lies whose layer is not known: Keras puts each layer into a folder."""
    return weight.path.rpartition("/")[0].removesuffix("/vars")


def _inner(layer: Config) -> Config:
    """The settings of a layer: Keras wraps them with its class."""
    config = layer.get("config")
    return config if isinstance(config, dict) else {}


def _trainable(layer: Config) -> bool:
    return bool(_inner(layer).get("trainable", True))


def _class(layer: Config) -> str:
    """Class of a layer; of a stranger's, a name that no layer of Keras has."""
    name = str(layer.get("class_name", ""))
    own = str(layer.get("module") or "keras").split(".")[0] == "keras"
    registered = layer.get("registered_name") in (None, name)
    return name if own and registered else f"{layer.get('module')}>{name}"


def sublayers(layer: Config) -> list[Config]:
    """Layers of a sequential or functional model; none for anything else."""
    found = _inner(layer).get("layers")
    if _class(layer) not in CONTAINERS or not isinstance(found, list):
        return []
    return [item for item in found if isinstance(item, dict)]


def _owners(file: KerasFile) -> Iterator[_Owner]:
    """Each layer with the weights that it wrote."""
    assert file.config is not None
    if file.kind == "keras":
        yield from _by_group(file.config, "", "", file.weights)
        return
    for layer in _h5_layers(file.config):
        name = _inner(layer).get("name")
        yield _Owner(str(name), layer, [one for one in file.weights if one.layer == name])


def _h5_layers(config: Config) -> list[Config]:
    layers = _inner(config).get("layers", config.get("config"))  # Keras 2.0 had a bare list
    return [item for item in layers if isinstance(item, dict)] if isinstance(layers, list) else []


def _by_group(
    container: Config, prefix: str, path: str, weights: Sequence[Weight]
) -> Iterator[_Owner]:
    """Layers of a ``.keras`` file: their groups are named after classes, numbered."""
    used: dict[str, int] = {}
    for layer in sublayers(container):
        if _class(container) == "Sequential" and _class(layer) == "InputLayer":
            continue
        name = snake_case(str(layer.get("class_name", "")))
        number = used.get(name, 0)
        used[name] = number + 1
        group = f"{prefix}layers/{name}_{number}/" if number else f"{prefix}layers/{name}/"
        own = [weight for weight in weights if weight.path.startswith(group)]
        inner = f"{path}{_inner(layer).get('name') or name}"
        if sublayers(layer):
            yield from _by_group(layer, group, f"{inner}/", own)
        else:
            yield _Owner(inner, layer, own)


def snake_case(name: str) -> str:
    """Keras' rule for the group of a class: ``Conv2DTranspose`` -> ``conv2d_transpose``."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def _leaves(layer: Config) -> Iterator[Config]:
    """The layer and every layer in its settings, models left out."""
    if _class(layer) not in CONTAINERS:
        yield layer
    waiting: list[Any] = list(_inner(layer).values())
    while waiting:
        item = waiting.pop()
        if isinstance(item, list):
            waiting.extend(item)
        elif isinstance(item, dict):
            if "class_name" in item and "trainable" in _inner(item):
                yield from _leaves(item)
            else:
                waiting.extend(item.values())


def _frozen(layer: Config, weights: Sequence[Weight], model_trains: bool) -> set[Weight] | None:
    """Weights of one layer that training leaves alone; None where headers do not tell."""
    if _class(layer) == NORMALISATION:
        return set(weights)
    leaves = [leaf for leaf in _leaves(layer) if _class(leaf) != "InputLayer"]
    classes = {_class(leaf) for leaf in leaves}
    trains = {_trainable(leaf) and model_trains for leaf in leaves}
    if any(_quantised(leaf) for leaf in leaves) or not classes <= PLAIN | {BATCH_NORMALISATION}:
        return None
    if trains == {False}:
        return set(weights)
    if trains != {True}:
        return None  # frozen and trained layers whose weights cannot be told apart here
    if BATCH_NORMALISATION not in classes:
        return set()
    # Inside a wrapper or a model, only names tell the statistics from the rest.
    return _statistics(weights) if len(leaves) == 1 else _moving(weights) or None


def _quantised(layer: Config) -> bool:
    config = _inner(layer)
    return bool(
        config.get("quantization_config")
        or config.get("lora_rank")
        or "quantiz" in str(config.get("dtype", "")).lower()
    )


def _statistics(weights: Sequence[Weight]) -> set[Weight]:
    """The last two variables of a batch normalisation, or those of that name."""
    return _moving(weights) or set(sorted(weights, key=lambda weight: _number(weight.path))[-2:])


def _moving(weights: Sequence[Weight]) -> set[Weight]:
    return {weight for weight in weights if _last(weight) in MOVING}


def _last(weight: Weight) -> str:
    return weight.path.rsplit("/", 1)[-1].split(":")[0]


def _number(path: str) -> int:
    found = _ORDER.findall(path.rsplit("/", 1)[-1])
    return int(found[-1]) if found else 0


def _statistics_by_name(weights: Sequence[Weight]) -> set[Weight]:
    groups: dict[str, list[Weight]] = {}
    for weight in weights:
        if _last(weight) in MOVING:
            groups.setdefault("", []).append(weight)
        folder = weight.path.rsplit("/", 1)[0].removesuffix("/vars")
        if re.search(r"batch_normalization(_\d+)?$", folder) or re.search(
            r"batch_normalization(_\d+)?$", weight.layer
        ):
            groups.setdefault(folder, []).append(weight)
    return {weight for group in groups.values() for weight in _statistics(group)}
