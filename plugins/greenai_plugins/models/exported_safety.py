"""Whether loading and running an exported program could run code from its file.

``torch.export.load`` unpickles, evaluates expressions in text (sizes, guards),
writes names into Python source that it then executes, and lets a graph call any
function below ``torch``. So before it is given a file, every text in it is held
against what PyTorch itself writes there; what is not known to be harmless is an
objection, and the file then needs to be trusted.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .exported_archive import FLAT, Archive

PLAIN = re.compile(r"[\w.\-:/+@ ]*")
"""Text without quotes, brackets and commas; harmless even inside a quoted string."""

SPEC_TEXT = re.compile(r"[\w.\- ]*")
IDENTIFIER = re.compile(r"(?:[A-Za-z_]\w*)?")

FILE_OPERATORS = {"from_file", "save"}
"""Operators of PyTorch that open files."""

HIGHER_ORDER = (
    "associative_scan|auto_functionalized|auto_functionalized_v2|cond|flex_attention|hints_wrapper"
    "|invoke_subgraph|map_impl|out_dtype|scan|strict_mode|tag_activation_checkpoint|while_loop"
    "|wrap|wrap_activation_checkpoint|wrap_with_autocast|wrap_with_set_grad_enabled"
)
ARITHMETIC = (
    "add|sub|mul|truediv|floordiv|mod|pow|lt|le|gt|ge|eq|ne|neg|pos|and_|or_|xor|not_|lshift"
    "|rshift|getitem|index"
)
OPERATOR = re.compile(
    r"torch\.ops\.(?:aten|prims|quantized_decomposed)\.(\w+)\.\w+"
    rf"|torch\.ops\.higher_order\.(?:{HIGHER_ORDER})"
    r"|torch\.ops\.torchvision\.(?:nms|roi_align|roi_pool|ps_roi_align|deform_conv2d)\.\w+"
    r"|torch\.(?:sym_(?:float|int|max|min|not|ite|sqrt|sum)|_sym_sqrt)"
    rf"|_operator\.(?:{ARITHMETIC})"
    r"|math\.(?:ceil|floor|trunc|sqrt|pow)"
)

FUNCTIONS = frozenset(
    {
        "Symbol", "Integer", "Float", "Rational", "Add", "Mul", "Pow", "Max", "Min", "Mod",
        "PythonMod", "FloorDiv", "CeilDiv", "CleanDiv", "ModularIndexing", "Where", "IntTrueDiv",
        "FloatTrueDiv", "FloatPow", "PowByNatural", "TruncToInt", "TruncToFloat", "FloorToInt",
        "CeilToInt", "RoundToInt", "RoundDecimal", "ToFloat", "LShift", "RShift", "Abs", "floor",
        "ceiling", "sqrt", "Eq", "Ne", "Lt", "Le", "Gt", "Ge", "Equality", "Unequality",
        "StrictLessThan", "StrictGreaterThan", "LessThan", "GreaterThan", "And", "Or", "Not",
        "Piecewise", "Identity", "float", "int", "IsNonOverlappingAndDenseIndicator",
        "cast_symbool_to_symint_guardless",
    }
)  # fmt: skip
"""What sizes and guards are computed with."""

POWERS = frozenset({"Pow", "FloatPow", "PowByNatural", "LShift"})
METHODS = frozenset({"size", "stride", "storage_offset", "dim", "numel"})

NODES = (
    ast.Expression, ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.Compare, ast.Call, ast.Subscript,
    ast.Name, ast.Constant, ast.Tuple, ast.Attribute, ast.Load, ast.keyword,
    ast.boolop, ast.operator, ast.unaryop, ast.cmpop,
)  # fmt: skip

MAX_EXPRESSION = 20_000
MAX_EXPONENT = 64


def objections(archive: Archive) -> Iterator[str]:
    """What in the archive is not known to be harmless, in words; pickles aside.

    Raises:
        ModelLoadError: the archive is broken.
    """
    if archive.layout != FLAT:
        for name in archive.sizes:
            if name.startswith("data/aotinductor/"):
                yield f"compiled machine code ({name})"
            if re.match(r"data/constants/(custom_obj|opaque_obj)", name):
                yield f"an object of a class of its own ({name})"
    for name in archive.programs().values():
        yield from _texts(archive.json(name), "", in_nodes=False)


def pickles(archive: Archive) -> Iterator[str]:
    """Members that PyTorch unpickles while it loads the program.

    Raises:
        ModelLoadError: the archive is broken.
    """
    if archive.layout == FLAT:
        yield from (name for name in archive.sizes if name.endswith(".pt"))
        return
    yield from (
        name
        for name in archive.sizes
        if name.endswith(".pt") and name.startswith(("data/weights/", "data/constants/"))
    )
    yield from (name for name in archive.sizes if name.startswith("data/sample_inputs/"))
    for folder in ("data/weights/", "data/constants/"):
        for table in archive.sizes:
            if table.startswith(folder) and table.endswith("_config.json"):
                rows = archive.json(table).get("config", {}).values()
                yield from (folder + str(row["path_name"]) for row in rows if row.get("use_pickle"))


def _texts(value: Any, key: str, *, in_nodes: bool) -> Iterator[str]:
    """Objections to the texts in a document, each judged by the key that it stands under."""
    if isinstance(value, Mapping):
        for inner, member in value.items():
            judge_name = _expression if key == "range_constraints" else PLAIN.fullmatch
            if not judge_name(inner):
                yield f"the name {inner!r:.80}"
            if inner != "metadata" or not _noted(value):
                yield from _texts(member, inner, in_nodes=in_nodes or inner == "nodes")
    elif isinstance(value, list):
        for member in value:
            yield from _texts(member, key, in_nodes=in_nodes)
    elif isinstance(value, str):
        if key in ("as_string", "as_strings") and in_nodes:
            return  # arguments of operators, handed over as they are
        judge = JUDGES.get(key)
        if not (judge(value) if judge else PLAIN.fullmatch(value)):
            yield f"the {WORDS.get(key, key)} {value!r:.80}"


def _noted(value: Mapping[str, Any]) -> bool:
    """Whether metadata in it are those of an operation or a graph: notes, never evaluated."""
    operation, graph = value.get("target"), value.get("module_call_graph")
    return isinstance(operation, str) or isinstance(graph, list)


def _identifier(text: str) -> bool:
    return IDENTIFIER.fullmatch(text) is not None


def _operator(text: str) -> bool:
    known = OPERATOR.fullmatch(text)
    return known is not None and known[1] not in FILE_OPERATORS


def _expression(text: str) -> bool:
    """Whether an expression only computes with sizes."""
    if len(text) > MAX_EXPRESSION or set(text) & set("#\n\r\\"):
        return False
    try:
        tree = ast.parse(text, mode="eval")
        return all(map(_harmless, ast.walk(tree)))
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        return False


def _harmless(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return _harmless_call(node)
    if isinstance(node, ast.Attribute):
        return node.attr in METHODS
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return SPEC_TEXT.fullmatch(node.value) is not None
    if _is_power(node):
        assert isinstance(node, ast.BinOp)
        return _bounded_power(node.left, node.right)
    return isinstance(node, NODES)


def _harmless_call(call: ast.Call) -> bool:
    function = call.func
    if not isinstance(function, ast.Name):
        return isinstance(function, ast.Attribute)  # judged as a node of its own
    if function.id in POWERS:
        return len(call.args) == 2 and _bounded_power(*call.args)
    return function.id in FUNCTIONS


def _is_power(node: ast.AST) -> bool:
    return isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Pow, ast.LShift))


def _bounded_power(base: ast.expr, exponent: ast.expr) -> bool:
    """Whether a power stays a number of few digits: ``s0**2``, not ``9**9**9``."""
    for node in ast.walk(exponent):
        if isinstance(node, ast.Constant):
            value = node.value
            if not isinstance(value, (int, float)) or not -MAX_EXPONENT <= value <= MAX_EXPONENT:
                return False
        elif isinstance(node, ast.BinOp) or (
            isinstance(node, ast.Name) and node.id not in ("Integer", "Rational", "Float")
        ):
            return False
    return not any(
        _is_power(node) or (isinstance(node, ast.Name) and node.id in POWERS)
        for node in ast.walk(base)
    )


def _spec(text: str) -> bool:
    """Whether a description of nested arguments names no code: no enumerations, no factories."""
    try:
        return all(map(_spec_text, _spec_texts(json.loads(text))))
    except (ValueError, RecursionError):
        return False


def _spec_text(text: str) -> bool:
    return SPEC_TEXT.fullmatch(text) is not None and text not in (
        "collections.defaultdict",  # its description names a function to import
        "__enum__",  # likewise a module
    )


def _spec_texts(value: Any) -> Iterator[str]:
    """All texts in it; a context is JSON in text once more."""
    if isinstance(value, Mapping):
        for key, member in value.items():
            yield key
            if key == "context" and isinstance(member, str):
                yield from _spec_texts(json.loads(member))
            else:
                yield from _spec_texts(member)
    elif isinstance(value, list):
        for member in value:
            yield from _spec_texts(member)
    elif isinstance(value, str):
        yield value


JUDGES: Mapping[str, Callable[[str], bool]] = {
    "name": _identifier,
    "as_name": _identifier,
    "user_input_name": _identifier,
    "forward_arg_names": _identifier,
    "target": _operator,
    "as_operator": _operator,
    "expr_str": _expression,
    "guards_code": _expression,
    "in_spec": _spec,
    "out_spec": _spec,
}
"""Key -> whether a text under it is harmless; under any other key it must be plain."""

WORDS = {
    "target": "operator",
    "as_operator": "operator",
    "expr_str": "expression",
    "guards_code": "guard",
}
