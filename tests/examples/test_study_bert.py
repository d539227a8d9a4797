"""BERT of examples/studies: its size, its input, its answer."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "studies" / "networks"))

import bert  # noqa: E402  # found since the line above
import study_inference  # noqa: E402


def test_input_is_what_the_tokenizer_makes_of_yes_yes_yes(tmp_path: Path) -> None:
    """Transformers' tokenizer, with a vocabulary that has the three words at their places."""
    from transformers import BertTokenizer

    places = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]", 2748: "yes"}
    words = [places.get(place, f"[unused{place}]") for place in range(2749)]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    tokenizer = BertTokenizer(str(tmp_path / "vocab.txt"))
    expected = tokenizer(["yes " * 7] * 3, return_tensors="pt")
    made = bert.yes_tokens(7, 3)
    assert set(made) == set(expected)
    for name, value in expected.items():
        assert torch.equal(made[name], value), name
        assert made[name].dtype == value.dtype


def test_parameters_products_and_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(study_inference.WEIGHTS, raising=False)
    work = bert.bert(size=50, batch_size=2, device="cpu")
    assert work.parameters.total == 109_483_778
    tokens, width, hidden, layers = 52, 768, 3072, 12
    by_layer = tokens * (4 * width**2 + 2 * width * hidden) + 2 * tokens**2 * width
    assert work.macs == 2 * (layers * by_layer + width**2 + width * 2)
    assert work.note == "random weights"
    one, two = work.step().logits, work.step().logits
    assert tuple(one.shape) == (2, 2)
    assert torch.equal(one, two)
    assert not one.requires_grad
    assert torch.isfinite(one).all()


@pytest.mark.parametrize("size", [0, 511])
def test_texts_longer_than_its_positions_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match=str(size)):
        bert.bert(size=size, batch_size=1, device="cpu")


def test_the_longest_text_fits() -> None:
    """Of the documents' sizes, 500 words and two tokens more."""
    assert bert.yes_tokens(510, 1)["input_ids"].shape == (1, 512)


def test_weights_from_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that transformers wrote; without one, the message names what is missing."""
    from transformers import BertConfig, BertForSequenceClassification

    monkeypatch.setenv(study_inference.WEIGHTS, str(tmp_path))
    with pytest.raises(FileNotFoundError, match="bert-base-uncased"):
        bert.bert(size=50, batch_size=1, device="cpu")
    small = BertConfig(
        vocab_size=3000, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16,
    )  # fmt: skip
    BertForSequenceClassification(small).save_pretrained(tmp_path / "bert-base-uncased")
    work = bert.bert(size=50, batch_size=1, device="cpu")
    assert work.parameters.total < 100_000
    assert work.note.startswith("weights of bert-base-uncased")
