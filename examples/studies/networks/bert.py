"""BERT-base for the classification of sequences (Devlin et al. 2018, arXiv 1810.04805).

The network is that of the package transformers, 109,483,778 parameters with two labels.
Its input is the word "yes" again and again, as bert-base-uncased's vocabulary writes it,
between [CLS] and [SEP]; no vocabulary is needed for that.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import torch
from study_inference import WEIGHTS, count_macs, weights_in, with_random_weights, work
from torch import nn

from greenai_core import StudyWork

NAME = "bert-base-uncased"
CLS, YES, SEP = 101, 2748, 102
"""Of [CLS], "yes" and [SEP] in the vocabulary of bert-base-uncased."""
POSITIONS = 512


def yes_tokens(size: int, batch_size: int) -> dict[str, torch.Tensor]:
    """What the tokenizer makes of ``"yes " * size``, for a batch of such texts.

    Returns:
        ``input_ids``, ``token_type_ids`` and ``attention_mask``, each
        batch_size x (size + 2), int64; nothing is padding.
    """
    ids = torch.tensor([CLS, *[YES] * size, SEP]).repeat(batch_size, 1)
    return {
        "input_ids": ids,
        "token_type_ids": torch.zeros_like(ids),
        "attention_mask": torch.ones_like(ids),
    }


def bert(size: int, batch_size: int, device: str) -> StudyWork:
    """One inference of a batch of texts.

    Args:
        size: how often "yes" stands in each; the network reads two tokens more.
        batch_size: texts in one inference.
        device: ``cpu``, ``cuda`` …

    Raises:
        ValueError: the text is empty, or longer than the network's 512 positions.
        ModuleNotFoundError: transformers is not installed.
    """
    if not 0 < size <= POSITIONS - 2:
        raise ValueError(f"BERT takes 1 to {POSITIONS - 2} words and two tokens, not {size}")
    inputs = yes_tokens(size, batch_size)
    # Nothing is padding, so the mask changes no product; without content it cannot be looked at.
    shapes = {name: value for name, value in inputs.items() if name != "attention_mask"}
    module, note = _classifier_with_weights()
    macs = count_macs(partial(type(module), module.config), shapes)
    return work(module, inputs, device, macs=macs, note=note)


def classifier() -> nn.Module:
    """The network of transformers for two labels, with random weights.

    Raises:
        ModuleNotFoundError: transformers is not installed.
    """
    transformers = _transformers()
    return transformers.BertForSequenceClassification(transformers.BertConfig())


def _classifier_with_weights() -> tuple[nn.Module, str]:
    asked = os.environ.get(WEIGHTS, "")
    if not asked:
        return with_random_weights(classifier), "random weights"
    source = NAME if asked == "pretrained" else str(weights_in(Path(asked), f"{NAME}*"))
    made = _transformers().BertForSequenceClassification.from_pretrained(source)
    return made, f"weights of {Path(source).name}, but of its last layer, which are random"


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise ModuleNotFoundError(
            "BERT's network is that of the package transformers: install greenai-core[transformers]"
        ) from error
    return transformers
