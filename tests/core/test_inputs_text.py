"""Text becomes the numbers of the tokenizer that lies beside the model."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from greenai_core import InputOptions, ModelInputError, PluginUnavailable, TensorSpec, Text
from greenai_core.inputs import make_inputs, to_inputs
from greenai_core.texts import MAX_BYTES

tokenizers = pytest.importorskip("tokenizers")

IDS = TensorSpec("input_ids", ("batch", "seq"), "int64")
MASK = TensorSpec("attention_mask", ("batch", "seq"), "int64")
WORDS = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "a": 4, "dog": 5, "barks": 6}


@pytest.fixture
def folder(tmp_path):
    """Beside a model: words as above, between [CLS] and [SEP]."""
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(WORDS, unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    made.enable_padding(pad_id=0, length=512)
    made.enable_truncation(3)
    made.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def fed(folder, *samples, specs=(IDS, MASK), **options):
    return make_inputs(Text(*samples), specs, InputOptions(**options), folder=folder)


def test_samples_are_padded_to_the_longest(folder):
    """Not to what the tokenizer's file says: a length of 512 would be measured."""
    arrays = fed(folder, "a dog barks", "a cat").arrays
    assert arrays["input_ids"].tolist() == [[2, 4, 5, 6, 3], [2, 4, 1, 3, 0]]
    assert arrays["attention_mask"].tolist() == [[1] * 5, [1] * 4 + [0]]
    assert arrays["input_ids"].dtype == np.int64


def test_a_length_that_is_fixed_is_filled(folder):
    arrays = fed(folder, "a dog", axes={"seq": 6}).arrays
    assert arrays["input_ids"].tolist() == [[2, 4, 5, 3, 0, 0]]
    fixed = TensorSpec("input_ids", (1, 6), "int32")
    assert fed(folder, "a dog", specs=[fixed]).arrays["input_ids"].dtype == np.int32


def test_a_text_that_is_too_long_is_cut_and_that_is_told(folder):
    made = fed(folder, "a dog barks", axes={"seq": 3})
    assert made.arrays["input_ids"].tolist() == [[2, 4, 5]]
    assert "cut: 5 tokens, but the input takes 3" in made.assumptions[0]


def test_segments_and_positions_are_filled(folder):
    others = [
        TensorSpec(name, (None, None), "int64") for name in ("token_type_ids", "position_ids")
    ]
    arrays = fed(folder, "a dog", specs=[IDS, *others]).arrays
    assert arrays["token_type_ids"].tolist() == [[0] * 4]
    assert arrays["position_ids"].tolist() == [[0, 1, 2, 3]]


def test_one_text_fills_a_batch(folder):
    assert fed(folder, "a dog", batch_size=3).arrays["input_ids"].shape == (3, 4)


def test_a_text_file_is_one_sample(folder):
    (folder / "text.txt").write_text("a dog\nbarks\n")
    array = to_inputs(folder / "text.txt", [IDS], folder=folder)["input_ids"]
    assert array.tolist() == [[2, 4, 5, 6, 3]]


def test_a_single_input_of_whole_numbers_takes_the_ids(folder):
    spec = TensorSpec("tokens", None, "int64")
    assert fed(folder, "a dog", specs=[spec]).arrays["tokens"].tolist() == [[2, 4, 5, 3]]


@pytest.mark.parametrize("shape", [(None,), (None, 1), None])
def test_models_that_take_strings_get_them(folder, shape):
    spec = TensorSpec("text", shape, "string")
    array = fed(folder / "none", "a", "b", specs=[spec]).arrays["text"]
    assert array.ravel().tolist() == ["a", "b"]
    assert array.ndim == len(shape or (None,))


@pytest.mark.parametrize(
    ("specs", "says"),
    [
        (
            [IDS, TensorSpec("pixel_values", (1, 3, 8, 8))],
            r"pixel_values .* none that a text fills",
        ),
        ([IDS, TensorSpec("decoder_input_ids", (1, None), "int64")], "decoder_input_ids"),
        ([TensorSpec("x", (None, 3))], "none that a text fills"),
        ([TensorSpec("input_ids", (None, 1, 8), "int64")], "samples x tokens"),
    ],
)
def test_inputs_that_no_text_fills_are_named(folder, specs, says):
    with pytest.raises(ModelInputError, match=says):
        fed(folder, "a", specs=specs)


def test_a_length_that_one_input_fixes_goes_for_all(folder):
    mask = TensorSpec("attention_mask", (1, 7), "int64")
    assert fed(folder, "a", specs=[IDS, mask]).arrays["input_ids"].shape == (1, 7)
    with pytest.raises(ModelInputError, match="fix different lengths"):
        fed(folder, "a", specs=[TensorSpec("input_ids", (1, 8), "int64"), mask])


def test_no_text_is_refused(folder):
    with pytest.raises(ModelInputError, match="no text"):
        fed(folder)
    for content in (b" \n", b"\xff\xfe\xff", b"a " * (MAX_BYTES // 2 + 1)):
        (folder / "x.txt").write_bytes(content)
        with pytest.raises(ModelInputError, match=r"x\.txt"):
            to_inputs(folder / "x.txt", [IDS], folder=folder)


def test_a_broken_tokenizer_is_named(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelInputError, match=r"tokenizer in .* cannot be used"):
        fed(tmp_path, "a")


def test_without_the_library_its_extra_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(PluginUnavailable, match=r"tokenizers.*greenai-core\[text\]"):
        fed(folder, "a")


def test_a_tokenizer_of_transformers_is_read_too(tmp_path):
    """BERT's vocabulary alone."""
    pytest.importorskip("transformers")
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    made = fed(tmp_path, "a dog", "a dog barks", specs=(IDS, MASK))
    assert made.arrays["input_ids"].tolist() == [[2, 4, 5, 3, 0], [2, 4, 5, 6, 3]]
    assert made.arrays["attention_mask"].tolist() == [[1, 1, 1, 1, 0], [1] * 5]
