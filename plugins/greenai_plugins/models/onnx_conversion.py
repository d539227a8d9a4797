"""An ONNX model as a PyTorch network whose weights know their place in the file.

onnx2torch converts; it transposes some weights, copies shared ones, and makes
others buffers. So where each weight went is found out with a copy of the model
that has other, random weights: what holds the same numbers is the same tensor.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from greenai_core import ModelLoadError, PluginUnavailable

from . import onnx_opsets
from .onnx_learnable import Learnable

NEEDS_TORCHVISION = {"NonMaxSuppression", "RoiAlign"}

EARLIER = (
    "Train the network that the file was exported from, or export it again without these "
    "operators (another opset may do)"
)

_importing = threading.Lock()


@dataclass(frozen=True)
class Place:
    """Where a tensor of the file is in the network.

    Attributes:
        module: that holds it.
        attribute: under which.
        turned: whether it is transposed there.
    """

    module: Any
    attribute: str
    turned: bool

    @property
    def tensor(self) -> Any:
        """What is there now."""
        return getattr(self.module, self.attribute)


@dataclass(frozen=True)
class Converted:
    """A network and the way back.

    Attributes:
        network: on the CPU; takes the inputs of the graph in their order.
        places: of each weight and statistic, by the name of its initializer.
    """

    network: Any
    places: Mapping[str, tuple[Place, ...]]


def convert(model: Any, learnable: Learnable) -> Converted:
    """Convert a model.

    Args:
        model: an ``onnx.ModelProto`` with its data and one output; may be declared
            as of another opset.
        learnable: what learns of it.

    Raises:
        ModelLoadError: operators have no converter, which are all named; or where a
            weight went cannot be told.
    """
    onnx2torch = import_onnx2torch()
    refuse_unconvertible(model)
    network = _converted(onnx2torch, model)
    probes = _probes(model, (*learnable.weights, *learnable.statistics))
    probe = _converted(onnx2torch, _with_weights(model, probes))
    places = _places(network, probe, probes)
    lost = [name for name in probes if name not in places]
    if lost:
        raise ModelLoadError(
            f"onnx2torch changes the weights {', '.join(map(repr, lost[:5]))} so that they cannot "
            "be written back. Train the network that the file was exported from"
        )
    return Converted(network, places)


def refuse_unconvertible(model: Any) -> None:
    """Find an opset under which all nodes have converters, and declare it.

    Raises:
        ModelLoadError: there is none; all operators without a converter are named.
    """
    from onnx2torch.node_converters.registry import get_converter

    lacks_detection = _torchvision() is None

    def convertible(domain: str, operator: str, version: int) -> bool:
        if lacks_detection and operator in NEEDS_TORCHVISION:
            return False
        try:
            get_converter(operator, version, domain)
        except NotImplementedError:
            return False
        return True

    opset, missing = onnx_opsets.choose_opset(model, convertible)
    if missing:
        told = onnx_opsets.tell(missing, model)
        extra = ""
        if lacks_detection and any(node.op_type in NEEDS_TORCHVISION for node in missing):
            extra = f" ({' and '.join(sorted(NEEDS_TORCHVISION))} are converted with torchvision)"
        quantised = any(
            "quant" in n.op_type.lower() or n.op_type.startswith("QLinear") for n in missing
        )
        why = "its weights are quantised, and " if quantised else ""
        raise ModelLoadError(f"{why}onnx2torch does not convert {told}{extra}. {EARLIER}")
    onnx_opsets.restate(model, opset)


def import_onnx2torch() -> Any:
    """The module ``onnx2torch``, also where torchvision is missing or does not fit PyTorch.

    It imports torchvision for two operators of detection networks only. For its
    import alone a stand-in takes the place of a missing torchvision, and goes away
    again, so that nobody else takes it for the real one.

    Raises:
        PluginUnavailable: it cannot be imported.
    """
    with _importing, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries that it imports
        try:
            if "onnx2torch" in sys.modules or _torchvision() is not None:
                return importlib.import_module("onnx2torch")
            with _stand_in():
                return importlib.import_module("onnx2torch")
        except ImportError as error:
            raise PluginUnavailable(
                f"the library 'onnx2torch' cannot be imported ({error})",
                "Install the extra: pip install 'greenai-core[onnx-train]'",
            ) from error


def _torchvision() -> ModuleType | None:
    try:
        return importlib.import_module("torchvision")
    except (ImportError, RuntimeError, AttributeError):  # built for another PyTorch
        return None


@contextlib.contextmanager
def _stand_in() -> Iterator[None]:
    before = {name: m for name, m in sys.modules.items() if name.split(".")[0] == "torchvision"}
    torchvision, ops = ModuleType("torchvision"), ModuleType("torchvision.ops")
    for name in ("nms", "box_convert", "roi_align"):
        setattr(ops, name, _missing)
    torchvision.ops = ops  # type: ignore[attr-defined]  # a module made here
    sys.modules |= {"torchvision": torchvision, "torchvision.ops": ops}
    try:
        yield
    finally:
        for name in ("torchvision", "torchvision.ops"):
            sys.modules.pop(name, None)
        sys.modules |= before


def _missing(*args: Any, **kwargs: Any) -> Any:
    raise PluginUnavailable(
        "this network detects objects, which onnx2torch does with torchvision",
        "Install the torchvision that fits your PyTorch",
    )


def _converted(onnx2torch: Any, model: Any) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return onnx2torch.convert(model, attach_onnx_mapping=True)
    except PluginUnavailable:
        raise
    except Exception as error:  # converters raise anything
        failed = _failing(model)
        told = f"onnx2torch cannot convert {'; '.join(failed)}" if failed else (
            f"onnx2torch cannot convert it ({_line(error)})"
        )  # fmt: skip
        raise ModelLoadError(f"{told}. {EARLIER}") from error


def _failing(model: Any) -> list[str]:
    """Nodes whose converters raise, with the reasons."""
    from onnx2torch.node_converters.registry import get_converter
    from onnx2torch.onnx_graph import OnnxGraph
    from onnx2torch.utils.safe_shape_inference import safe_shape_inference

    failed: dict[str, list[Any]] = {}
    graph = OnnxGraph(safe_shape_inference(model).graph)
    for node in graph.nodes.values():
        version = onnx_opsets.opset_of(model, node.domain)
        try:
            get_converter(node.operation_type, version, node.domain)(node, graph)
        except Exception as error:  # noqa: BLE001  # converters raise anything
            failed.setdefault(_line(error), []).append(node.proto)
    return [f"{onnx_opsets.tell(nodes, model)}: {why}" for why, nodes in failed.items()]


def _line(error: Exception) -> str:
    text = (str(error).strip().splitlines() or [""])[0][:200]
    text = text.rstrip(". ")
    return text if text and not isinstance(error, KeyError) else f"{type(error).__name__} {text}"


def _probes(model: Any, names: tuple[str, ...]) -> dict[str, np.ndarray[Any, Any]]:
    """Random tensors in place of the named ones, each beginning with a number of its own."""
    from onnx import numpy_helper

    rng = np.random.default_rng(0)
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    probes = {}
    for number, name in enumerate((name for name in names if name in stored), 1):
        array = numpy_helper.to_array(stored[name])
        probe = rng.random(array.shape, np.float32).astype(array.dtype)
        probe.reshape(-1)[:1] = number
        probes[name] = probe
    return probes


def _with_weights(model: Any, arrays: Mapping[str, np.ndarray[Any, Any]]) -> Any:
    from onnx import numpy_helper

    copy = type(model)()
    copy.CopyFrom(model)
    for tensor in copy.graph.initializer:
        if tensor.name in arrays:
            tensor.CopyFrom(numpy_helper.from_array(arrays[tensor.name], tensor.name))
    return copy


def _places(
    network: Any, probe: Any, probes: Mapping[str, np.ndarray[Any, Any]]
) -> dict[str, tuple[Place, ...]]:
    """Where each tensor of the file is.

    Raises:
        ModelLoadError: a tensor of the network was computed from several weights.
    """
    import torch

    by_start: dict[float, list[str]] = {}
    for name, array in probes.items():
        if array.size:
            by_start.setdefault(float(array.reshape(-1)[0]), []).append(name)
    found: dict[str, list[Place]] = {}
    modules = dict(network.named_modules())
    for key, tensor in _state(probe):
        owner, _, attribute = key.rpartition(".")
        if not tensor.is_floating_point() or not tensor.numel():
            continue
        names = by_start.get(float(tensor.detach().reshape(-1)[0]), [])
        match = next((hit for name in names if (hit := _match(tensor, probes[name], name))), None)
        if match is not None:
            found.setdefault(match[0], []).append(Place(modules[owner], attribute, match[1]))
        elif not torch.equal(tensor, getattr(modules[owner], attribute)):
            raise ModelLoadError(
                f"onnx2torch computes the {attribute} of the node {owner!r} from weights of the "
                "file, so it cannot be written back. Train the network that the file was "
                "exported from"
            )
    return {name: tuple(places) for name, places in found.items()}


def _match(tensor: Any, array: np.ndarray[Any, Any], name: str) -> tuple[str, bool] | None:
    held = tensor.detach().numpy()
    if held.shape == array.shape and np.array_equal(held, array):
        return name, False
    if held.ndim == 2 and held.T.shape == array.shape and np.array_equal(held.T, array):
        return name, True
    return None


def _state(network: Any) -> Iterator[tuple[str, Any]]:
    yield from network.named_parameters(remove_duplicate=False)
    yield from network.named_buffers(remove_duplicate=False)
