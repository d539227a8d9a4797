"""Text to tokens, by the tokenizer that lies beside a model."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .arrays import Array, check_size
from .errors import ModelInputError, PluginUnavailable
from .tensors import TensorSpec

IDS, MASK, SEGMENTS, POSITIONS = "input_ids", "attention_mask", "token_type_ids", "position_ids"

RECIPES = ("tokenizer_config.json", "vocab.txt", "vocab.json", "spiece.model", "tokenizer.model")
"""Files from which transformers makes a tokenizer; ``tokenizer.json`` needs less."""


MAX_BYTES = 2**24
"""Of a text or configuration; far more than any model reads at once."""


@dataclass(frozen=True, init=False)
class Text:
    """Text for a model: one sample for each string.

    Args:
        samples: the texts; as a type of its own, because a plain string is a path.
    """

    samples: tuple[str, ...]

    def __init__(self, *samples: str) -> None:
        object.__setattr__(self, "samples", samples)


@dataclass(frozen=True)
class Tokens:
    """A text in numbers: for each sample its ids, and its segments where it has some."""

    ids: Sequence[Sequence[int]]
    segments: Sequence[Sequence[int]]
    pad: int


def read_text(path: Path) -> Text:
    """The whole file as one sample.

    Raises:
        ModelInputError: it is not UTF-8 text, empty, or beyond ``MAX_BYTES``.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ModelInputError(f"{path} holds {size:,} bytes: more text than a model can read")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelInputError(f"{path} is not a text that can be read: {error}") from error
    if not text.strip():
        raise ModelInputError(f"{path} holds no text")
    return Text(text)


def encode(
    text: Text, specs: Sequence[TensorSpec], folder: Path
) -> tuple[dict[str, Array], tuple[str, ...]]:
    """Arrays for the inputs of a model, and what was cut off or assumed.

    Samples are padded to the longest one; to the length of the axis, where the
    model or ``--axis`` fixes it, and cut to it.

    Args:
        text: at least one sample.
        specs: the inputs; those of strings get the text itself.
        folder: where the tokenizer lies.

    Raises:
        ModelInputError: there is no tokenizer, or an input takes no text.
        PluginUnavailable: the library that reads the tokenizer is missing.
    """
    if not text.samples:
        raise ModelInputError("there is no text: give one string at least")
    if all(spec.dtype == "string" for spec in specs):
        return {spec.name: _strings(text, spec) for spec in specs}, ()
    roles = _roles(specs)
    tokens = tokenize(text, folder)
    lengths = [len(ids) for ids in tokens.ids]
    fixed = {_length(spec) for spec in specs} - {None}
    if len(fixed) > 1:
        raise ModelInputError("the inputs fix different lengths: " + "; ".join(map(str, specs)))
    length = fixed.pop() if fixed else max(lengths)
    assert length is not None
    for spec in specs:
        check_size(spec, (len(lengths), length))
    arrays = _padded(tokens, length)
    notes: tuple[str, ...] = ()
    if max(lengths) > length:
        notes = (f"the text was cut: {max(lengths)} tokens, but the input takes {length}",)
    return {spec.name: arrays[roles[spec.name]] for spec in specs}, notes


def tokenize(text: Text, folder: Path) -> Tokens:
    """The text in the numbers of the tokenizer in ``folder``.

    Raises:
        ModelInputError: there is none, or it is broken.
        PluginUnavailable: the library that reads it is missing.
    """
    plain = folder / "tokenizer.json"
    recipes = [name for name in RECIPES if (folder / name).is_file()]
    if not recipes and not plain.is_file():
        raise ModelInputError(
            f"there is no tokenizer in {folder} (looked for tokenizer.json, {', '.join(RECIPES)}). "
            "Copy it beside the model, or give the tokens as .npz by input name"
        )
    try:
        if recipes and _installed("transformers"):
            return _with_transformers(text, folder)
        if plain.is_file() and _installed("tokenizers"):
            return _with_tokenizers(text, plain)
    except Exception as error:  # both libraries raise whatever broken files lead to
        detail = (str(error).splitlines() or [type(error).__name__])[0][:300]
        raise ModelInputError(
            f"the tokenizer in {folder} cannot be used ({detail}). "
            "Give the tokens as .npz by input name"
        ) from error
    needed = "transformers or tokenizers" if plain.is_file() else "transformers"
    raise PluginUnavailable(
        f"reading the tokenizer in {folder} needs {needed}", "pip install 'greenai-core[text]'"
    )


def vocabulary(folder: Path) -> int | None:
    """Size of the vocabulary that ``config.json`` beside the model states; None without."""
    file = folder / "config.json"
    try:
        if file.stat().st_size > MAX_BYTES:
            return None
        stated = json.loads(file.read_text(encoding="utf-8"))["vocab_size"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return stated if type(stated) is int and stated > 0 else None


def _installed(library: str) -> bool:
    return importlib.util.find_spec(library) is not None


def _with_transformers(text: Text, folder: Path) -> Tokens:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(
        str(folder), local_files_only=True, trust_remote_code=False
    )
    encoded = tokenizer(list(text.samples), truncation=False, padding=False, verbose=False)
    return _tokens(encoded[IDS], encoded.get(SEGMENTS), tokenizer.pad_token_id)


def _with_tokenizers(text: Text, path: Path) -> Tokens:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    pad = (tokenizer.padding or {}).get("pad_id")
    if pad is None:
        pad = next(filter(None, map(tokenizer.token_to_id, ("[PAD]", "<pad>"))), None)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    encoded = tokenizer.encode_batch(list(text.samples))
    return _tokens([e.ids for e in encoded], [e.type_ids for e in encoded], pad)


def _tokens(ids: Sequence[Sequence[int]], segments: Any, pad: int | None) -> Tokens:
    if not all(map(len, ids)):
        raise ValueError("a text has no tokens")
    return Tokens(ids, segments or [[0] * len(sample) for sample in ids], pad or 0)


def _padded(tokens: Tokens, length: int) -> Mapping[str, Array]:
    """Samples x length; the mask is 1 where there is text."""
    shape = (len(tokens.ids), length)
    ids, mask = np.full(shape, tokens.pad, np.int64), np.zeros(shape, np.int64)
    segments = np.zeros(shape, np.int64)
    for row, (sample, kinds) in enumerate(zip(tokens.ids, tokens.segments, strict=True)):
        used = min(len(sample), length)
        ids[row, :used], segments[row, :used] = sample[:used], kinds[:used]
        mask[row, :used] = 1
    positions = np.broadcast_to(np.arange(length), shape)
    return {IDS: ids, MASK: mask, SEGMENTS: segments, POSITIONS: positions}


def _roles(specs: Sequence[TensorSpec]) -> dict[str, str]:
    """What each input takes, by its name; a single input takes the ids."""
    roles = {}
    for spec in specs:
        known = (IDS, MASK, SEGMENTS, POSITIONS)
        role = next((name for name in known if spec.name.endswith(name)), None)
        if role is None and len(specs) == 1 and spec.dtype.startswith(("int", "uint")):
            role = IDS
        if role is None or spec.name.startswith("decoder"):
            raise ModelInputError(
                f"the input {spec} is none that a text fills ({', '.join(known)}). "
                "Give the inputs as .npz by name"
            )
        roles[spec.name] = role
    return roles


def _length(spec: TensorSpec) -> int | None:
    """Tokens that an input fixes; None where any number goes."""
    if spec.shape is None:
        return None
    if len(spec.shape) != 2:
        raise ModelInputError(f"a text fills inputs of samples x tokens, the model wants {spec}")
    return spec.shape[1] if isinstance(spec.shape[1], int) else None


def _strings(text: Text, spec: TensorSpec) -> Array:
    array = np.array(text.samples, dtype=object)
    axes = 1 if spec.shape is None else len(spec.shape)
    return array.reshape((-1, *[1] * (axes - 1)) if axes else ())
