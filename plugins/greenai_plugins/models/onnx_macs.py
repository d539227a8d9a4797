"""Multiply-accumulates of one inference of an ONNX model.

ONNX Runtime runs the model once, unoptimised and with its profiler on, which
writes down the shapes that each node was given and made. So shapes that only
the data decide, branches and loops are what they really were.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from greenai_core import loading

Shape: TypeAlias = Sequence[int]

ERRORS_ONLY = 3

WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"
"""ONNX Runtime's option, from 1.19 on: where the weights of a model without a path lie."""

MAX_EVENTS = 1_000_000
"""Where ONNX Runtime's profiler stops writing (``kMaxEvents`` in its profiler.h)."""

CONVOLUTIONS = {"Conv": 1, "FusedConv": 1, "ConvInteger": 1, "QLinearConv": 3}
"""Operator -> which input holds its kernels (outputs x inputs of a group x kernel)."""

PRODUCTS = frozenset(
    {
        "MatMul", "QLinearMatMul", "MatMulInteger", "MatMulIntegerToFloat",
        "DynamicQuantizeMatMul", "MatMulNBits",
    }
)  # fmt: skip
"""Matrix products: the last axis of the first input is summed over."""

SIDES = ("input", "output")

GENERAL_PRODUCTS = frozenset({"Gemm", "QGemm", "FusedGemm"})
"""Matrix products of two axes, the first input perhaps transposed."""

RECURRENT = frozenset({"LSTM", "GRU", "RNN"})

UNCOUNTED = frozenset(
    {
        "Einsum", "DeformConv", "Attention", "FusedMatMul", "TransposeMatMul", "MatMulBnb4",
        "MultiHeadAttention", "GroupQueryAttention", "QAttention", "DecoderAttention",
        "DecoderMaskedMultiHeadAttention", "DecoderMaskedSelfAttention", "LongformerAttention",
        "PackedAttention", "PackedMultiHeadAttention", "SparseAttention", "PagedAttention",
        "MoE", "QMoE", "DynamicQuantizeLSTM", "AttnLSTM", "NhwcFusedConv", "NhwcConv",
        "QLinearConvTranspose", "QOrderedMatMul", "QOrderedAttention", "GemmFastGelu",
        "GemmFloat8", "DFT", "STFT", "LinearClassifier", "LinearRegressor", "SVMClassifier",
        "SVMRegressor", "GatedRelativePositionBias", "LinearAttention", "CausalConvWithState",
    }
)  # fmt: skip
"""Operators that multiply, in ways that the shapes alone do not tell."""


class Content(NamedTuple):
    """A model that is no file, and the folder from which its weights are named."""

    model: bytes
    folder: Path


def shapes_of_nodes(
    path: Path, inputs: Mapping[str, Any], content: Content | None = None
) -> list[Mapping[str, Any]]:
    """What ONNX Runtime's profiler writes of each node of one inference on the CPU.

    Args:
        path: of the model.
        inputs: that it is fed with.
        content: run in its place; None for the file itself.

    Raises:
        ModelLoadError: ONNX Runtime cannot run the model on these inputs.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    options.enable_profiling = True
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if content is not None:
        options.add_session_config_entry(WEIGHTS_FOLDER, os.fspath(content.folder))
    with tempfile.TemporaryDirectory() as folder, loading(path, "ONNX Runtime"):
        options.profile_file_prefix = os.path.join(folder, "profile")  # noqa: PTH118  # it wants text
        session = onnxruntime.InferenceSession(
            os.fspath(path) if content is None else content.model,
            sess_options=options,
            providers=["CPUExecutionProvider"],
        )
        session.run(None, dict(inputs))
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return [
        event
        for event in events
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")
    ]


def count(events: Sequence[Mapping[str, Any]]) -> tuple[int | None, str]:
    """Multiply-accumulates of the nodes, or None and the reason.

    Args:
        events: of ``shapes_of_nodes``.
    """
    total = 0
    uncounted: dict[str, str] = {}
    for event in events:
        macs = of_event(event)
        if macs is None:
            name = event["name"].removesuffix("_kernel_time")
            uncounted.setdefault(event["args"]["op_name"], name)
        else:
            total += macs
    if uncounted:
        named = ", ".join(f"{op} (node {name})" for op, name in sorted(uncounted.items()))
        return None, f"the shapes of these operators do not tell their multiplications: {named}"
    if len(events) >= MAX_EVENTS:
        return None, "the model runs more nodes than ONNX Runtime's profiler writes down"
    return total, ""


def of_event(event: Mapping[str, Any]) -> int | None:
    """Multiply-accumulates of one node, or None where its shapes do not tell them."""
    op = event["args"]["op_name"]
    if op in UNCOUNTED:
        return None
    given, made = (_shapes(event["args"][f"{side}_type_shape"]) for side in SIDES)
    return of_node(op, given, made)


def of_node(op: str, given: Sequence[Shape], made: Sequence[Shape]) -> int:
    """Multiply-accumulates of one node; 0 for operators that multiply no matrices.

    Args:
        op: the operator.
        given: shapes of its inputs.
        made: shapes of its outputs.
    """
    if op in CONVOLUTIONS:
        return math.prod(made[0]) * math.prod(given[CONVOLUTIONS[op]][1:])
    if op == "ConvTranspose":
        return math.prod(given[0]) * math.prod(given[1][1:])
    if op in PRODUCTS:
        return math.prod(made[0]) * (given[0][-1] if given[0] else 1)
    if op in GENERAL_PRODUCTS:
        rows = made[0][0]
        return math.prod(made[0]) * (math.prod(given[0]) // rows if rows else 0)
    if op in RECURRENT:
        steps = math.prod(given[0][:2])
        return steps * (math.prod(given[1]) + math.prod(given[2]))
    return 0


def _shapes(typed: Iterable[Mapping[str, Shape]]) -> list[Shape]:
    """``[{"float": [1, 3]}, …]`` -> ``[[1, 3], …]``."""
    return [shape for entry in typed for shape in entry.values()]
