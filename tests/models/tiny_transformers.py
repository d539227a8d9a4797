"""Networks of transformers with random weights, as small as they can be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

SIZES = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
}  # fmt: skip
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}


def bert() -> Any:
    import transformers as t

    return t.BertForMaskedLM(t.BertConfig(vocab_size=50, max_position_embeddings=32, **SIZES))


def gpt2() -> Any:
    import transformers as t

    config = t.GPT2Config(
        vocab_size=50, n_embd=16, n_layer=2, n_head=2, n_positions=32, bos_token_id=1,
        eos_token_id=2,
    )  # fmt: skip
    return t.GPT2LMHeadModel(config)


def vit() -> Any:
    import transformers as t

    return t.ViTForImageClassification(t.ViTConfig(image_size=16, patch_size=8, **SIZES))


def resnet() -> Any:
    import transformers as t

    return t.ResNetForImageClassification(
        t.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])
    )


def t5() -> Any:
    import transformers as t

    return t.T5ForConditionalGeneration(
        t.T5Config(
            vocab_size=50, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2,
            decoder_start_token_id=0,
        )
    )  # fmt: skip


def bart() -> Any:
    import transformers as t

    config = t.BartConfig(
        vocab_size=50, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32,
        max_position_embeddings=32, forced_eos_token_id=2, **SPECIAL,
    )  # fmt: skip
    return t.BartForConditionalGeneration(config)


def yolos() -> Any:
    import transformers as t

    return t.YolosForObjectDetection(
        t.YolosConfig(image_size=[32, 48], patch_size=8, num_detection_tokens=5, **SIZES)
    )


def whisper() -> Any:
    import transformers as t

    return t.WhisperForConditionalGeneration(
        t.WhisperConfig(
            vocab_size=60, d_model=16, encoder_layers=1, decoder_layers=1,
            encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=32,
            decoder_ffn_dim=32, num_mel_bins=8, max_source_positions=20,
            max_target_positions=10, **SPECIAL,
        )
    )  # fmt: skip


def clip() -> Any:
    import transformers as t

    text = {"vocab_size": 50, "max_position_embeddings": 20, **SIZES, **SPECIAL}
    vision = {"image_size": 16, "patch_size": 8, **SIZES}
    return t.CLIPModel(t.CLIPConfig(text_config=text, vision_config=vision, projection_dim=8))


NETWORKS: dict[str, Callable[[], Any]] = {
    "bert": bert, "gpt2": gpt2, "vit": vit, "resnet": resnet, "t5": t5, "bart": bart,
    "yolos": yolos, "whisper": whisper, "clip": clip,
}  # fmt: skip

INPUTS = {
    "bert": ["input_ids", "attention_mask"],
    "gpt2": ["input_ids", "attention_mask"],
    "vit": ["pixel_values"],
    "resnet": ["pixel_values"],
    "t5": ["input_ids", "attention_mask", "decoder_input_ids"],
    "bart": ["input_ids", "attention_mask", "decoder_input_ids"],
    "yolos": ["pixel_values"],
    "whisper": ["input_features", "decoder_input_ids"],
    "clip": ["input_ids", "attention_mask", "pixel_values"],
}


def parameters(network: Any) -> tuple[int, int]:
    """Elements of the parameters and of the floating buffers, by the library itself."""
    learnt = sum(p.numel() for p in network.parameters())
    own = {id(p) for p in network.parameters()}
    buffers = {id(b): b for b in network.state_dict(keep_vars=True).values() if id(b) not in own}
    return learnt, sum(b.numel() for b in buffers.values() if b.is_floating_point())
