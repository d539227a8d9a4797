"""Networks of PyTorch with random weights, and every file that PyTorch and its ecosystem write."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from counted import Network, Split, Writer, Written, elements

TINY = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
}  # fmt: skip
WORDS = {"vocab_size": 50, "max_position_embeddings": 32}
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
SEQ2SEQ = {
    "vocab_size": 60, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1,
    "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
}  # fmt: skip
LLAMA = {**TINY, "vocab_size": 50, "num_key_value_heads": 1, "head_dim": 8}


@dataclass(frozen=True)
class Made:
    """A network with what it can be called with.

    Attributes:
        network: in evaluation mode, its weights random.
        inputs: by the names of its arguments.
        public: whether its class is one of transformers, which writes model folders and
            which pickles can name.
    """

    network: Any
    inputs: Mapping[str, Any]
    public: bool = True


def _words(config: Any) -> dict[str, Any]:
    import torch

    ids = torch.ones(1, 8, dtype=torch.long)
    return {"input_ids": ids, "attention_mask": ids}


def _translated(config: Any) -> dict[str, Any]:
    import torch

    ids = torch.ones(1, 8, dtype=torch.long)
    return {
        "input_ids": ids,
        "attention_mask": ids,
        "decoder_input_ids": ids[:, :4],
        "decoder_attention_mask": ids[:, :4],
    }


def _image(config: Any) -> dict[str, Any]:
    import torch

    size = getattr(config, "image_size", 64)
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    return {"pixel_values": torch.zeros(1, getattr(config, "num_channels", 3), height, width)}


def _image_and_words(config: Any) -> dict[str, Any]:
    return {**_words(config.text_config), **_image(config.vision_config)}


def _spoken(config: Any) -> dict[str, Any]:
    import torch

    frames = 2 * config.max_source_positions
    ids = torch.ones(1, 4, dtype=torch.long)
    return {
        "input_features": torch.zeros(1, config.num_mel_bins, frames),
        "decoder_input_ids": ids,
        "decoder_attention_mask": ids,
    }


def _wave(config: Any) -> dict[str, Any]:
    import torch

    return {"input_values": torch.zeros(1, 4000)}


def _transformers(
    name: str,
    kind: str,
    settings: Mapping[str, Any],
    tiny: Mapping[str, Any] | None,
    inputs: Callable[[Any], dict[str, Any]],
) -> Network:
    """A network of transformers: ``BertForMaskedLM`` is made from ``BertConfig``."""

    def make(small: bool) -> Made:
        import torch
        import transformers

        torch.manual_seed(1)
        kind_of = getattr(transformers, kind)
        config = kind_of.config_class(**{**settings, **((small and tiny) or {})})
        if hasattr(config, "use_cache"):
            config.use_cache = False
        network = kind_of(config).eval()
        _tell_apart(network)
        return Made(network, inputs(config))

    return Network(name, "torch", make, tiny is not None)


def _frozen(small: bool) -> Made:
    """Plain PyTorch: a frozen convolution, statistics, weights that two layers share."""
    import torch
    from torch import nn

    wide = 4 if small else 64

    class Frozen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, wide, 3, padding=1)
            self.norm = nn.BatchNorm2d(wide)
            self.one = nn.Linear(wide, wide)
            self.two = nn.Linear(wide, wide)
            self.two.weight = self.one.weight
            self.conv.requires_grad_(False)

        def forward(self, image: Any) -> Any:
            found = self.norm(self.conv(image)).relu().mean((2, 3))
            return self.two(self.one(found).relu())

    network = Frozen().eval()
    _tell_apart(network)
    return Made(network, {"image": torch.zeros(1, 3, 16, 16)}, public=False)


def _tell_apart(network: Any) -> None:
    """Random numbers where a network begins with zeros or ones everywhere.

    The exporter to ONNX makes one of tensors with equal numbers, which trained ones never have.
    """
    import torch

    with torch.no_grad():
        for tensor in [*network.parameters(), *network.buffers()]:
            if tensor.is_floating_point() and tensor.numel() and tensor.min() == tensor.max():
                tensor.add_(torch.rand_like(tensor), alpha=0.01)


_SMALL_IMAGE = {"image_size": 16, "patch_size": 8, **TINY}

NETWORKS = (
    _transformers("BERT base", "BertForMaskedLM", {}, {**TINY, **WORDS}, _words),
    _transformers("RoBERTa base", "RobertaForMaskedLM", {}, None, _words),
    _transformers(
        "DistilBERT", "DistilBertForMaskedLM", {},
        {**WORDS, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}, _words,
    ),
    _transformers(
        "ALBERT base", "AlbertForMaskedLM",
        {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072},
        None, _words,
    ),
    _transformers("ELECTRA small", "ElectraForPreTraining", {}, None, _words),
    _transformers(
        "GPT-2", "GPT2LMHeadModel", {},
        {"vocab_size": 50, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32,
         "bos_token_id": 1, "eos_token_id": 2}, _words,
    ),
    _transformers(
        "Llama of 135 M", "LlamaForCausalLM",
        {"vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536,
         "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
         "tie_word_embeddings": True}, LLAMA, _words,
    ),
    _transformers("ViT base", "ViTForImageClassification", {}, _SMALL_IMAGE, _image),
    _transformers(
        "DeiT tiny", "DeiTForImageClassification",
        {"hidden_size": 192, "num_attention_heads": 3, "intermediate_size": 768}, None, _image,
    ),
    _transformers(
        "ResNet-50", "ResNetForImageClassification", {},
        {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]}, _image,
    ),
    _transformers("ConvNeXt tiny", "ConvNextForImageClassification", {}, None, _image),
    _transformers("Swin tiny", "SwinForImageClassification", {}, None, _image),
    _transformers("MobileNetV2", "MobileNetV2ForImageClassification", {}, None, _image),
    _transformers("SegFormer B0", "SegformerForSemanticSegmentation", {}, None, _image),
    _transformers(
        "T5 small", "T5ForConditionalGeneration", {"decoder_start_token_id": 0},
        {"vocab_size": 50, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2},
        _translated,
    ),
    _transformers(
        "BART base", "BartForConditionalGeneration",
        {"d_model": 768, "encoder_layers": 6, "decoder_layers": 6, "encoder_ffn_dim": 3072,
         "decoder_ffn_dim": 3072, "encoder_attention_heads": 12, "decoder_attention_heads": 12},
        {**SEQ2SEQ, **SPECIAL, "max_position_embeddings": 32, "forced_eos_token_id": 2},
        _translated,
    ),
    _transformers(
        "YOLOS tiny", "YolosForObjectDetection",
        {"hidden_size": 192, "num_attention_heads": 3, "intermediate_size": 768},
        {**TINY, "image_size": [32, 48], "patch_size": 8, "num_detection_tokens": 5}, _image,
    ),
    _transformers(
        "Whisper tiny", "WhisperForConditionalGeneration",
        {"d_model": 384, "encoder_attention_heads": 6, "decoder_attention_heads": 6,
         "encoder_ffn_dim": 1536, "decoder_ffn_dim": 1536},
        {**SEQ2SEQ, **SPECIAL, "num_mel_bins": 8, "max_source_positions": 20,
         "max_target_positions": 10}, _spoken,
    ),
    _transformers(
        "CLIP ViT-B/32", "CLIPModel", {}, None, _image_and_words,
    ),
    _transformers("wav2vec 2.0 base", "Wav2Vec2ForCTC", {}, None, _wave),
    Network("frozen, shared, normalised", "torch", _frozen),
)  # fmt: skip


def _floating(tensors: Iterable[Any]) -> int:
    return elements(t for t in tensors if t.is_floating_point() or t.is_complex())


def learnt(network: Any) -> Split:
    """What the network itself trains: parameters with a gradient; and floating saved buffers."""
    parameters = list(network.parameters())
    saved = network.state_dict(keep_vars=True).values()
    own = {id(one) for one in parameters}
    trained = elements(p for p in parameters if p.requires_grad)
    fixed = elements(p for p in parameters if not p.requires_grad)
    return Split(trained, fixed + _floating(t for t in saved if id(t) not in own))


def parted(network: Any) -> Split:
    """Parameters and buffers: what is left of ``learnt`` where gradients are not written."""
    parameters = elements(network.parameters())
    both = learnt(network)
    return Split(parameters, both.trainable + both.non_trainable - parameters)


def writers(made: Made) -> dict[str, Writer]:
    """How to write each format."""
    network = made.network

    def state(folder: Path) -> Written:
        import torch

        torch.save(network.state_dict(), folder / "state.pt")
        return Written(folder / "state.pt", parted(network))

    def safetensors(folder: Path) -> Written:
        from safetensors.torch import save_model

        save_model(network, str(folder / "model.safetensors"))
        return Written(folder / "model.safetensors", parted(network))

    def whole(folder: Path) -> Written:
        import torch

        torch.save(network, folder / "whole.pt")
        return Written(folder / "whole.pt", learnt(network), {"trust": True})

    found: dict[str, Writer] = {
        ".pt state dict": state,
        ".safetensors": safetensors,
    }
    if made.public:  # before transformers is traced, which leaves what no pickle takes
        found[".pt whole"] = whole
    found["TorchScript"] = lambda folder: _traced(made, folder)
    found[".pt2"] = lambda folder: _exported(made, folder)
    found["ONNX"] = lambda folder: _onnx(made, folder)
    if made.public:
        found["folder"] = lambda folder: _folder(network, folder)
        found["folder, sharded"] = lambda folder: _sharded(network, folder)
        found["folder, .bin"] = lambda folder: _pickled(network, folder)
    return found


def _folder(network: Any, folder: Path) -> Written:
    network.save_pretrained(folder)
    return Written(folder, parted(network))


def _sharded(network: Any, folder: Path) -> Written:
    size = sum(p.numel() * p.element_size() for p in network.parameters())
    network.save_pretrained(folder, max_shard_size=max(size // 3, 1))
    if not list(folder.glob("*.index.json")):
        raise ValueError("it has one large tensor, so it is not split")
    return Written(folder, parted(network))


def _pickled(network: Any, folder: Path) -> Written:
    """As older transformers wrote folders: today's write safetensors only."""
    import torch

    network.config.save_pretrained(folder)
    torch.save(network.state_dict(), folder / "pytorch_model.bin")
    return Written(folder, parted(network))


def _positional(made: Made) -> Any:
    """The network as exporters want it: arguments by position, tensors in a tuple as answer."""
    import torch

    class Positional(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = made.network

        def forward(self, *inputs: Any) -> Any:
            answer = self.network(**dict(zip(made.inputs, inputs, strict=True)))
            if isinstance(answer, torch.Tensor):
                return answer
            values = answer.values()
            return tuple(value for value in values if isinstance(value, torch.Tensor))

    return Positional().eval()


def _traced(made: Made, folder: Path) -> Written:
    import torch

    path = folder / "script.pt"
    with torch.no_grad():
        program = torch.jit.trace(
            _positional(made), tuple(made.inputs.values()), strict=False, check_trace=False
        )
    program.save(str(path))
    del program
    # Tracing may keep what the network does not save (tables of positions), so PyTorch is
    # asked what is in the program.
    loaded = torch.jit.load(str(path))
    parameters, buffers = _distinct(loaded.parameters()), _distinct(loaded.buffers())
    trained = elements(p for p in parameters if p.requires_grad)
    fixed = elements(p for p in parameters if not p.requires_grad)
    return Written(path, Split(trained, fixed + _floating(buffers)))


def _distinct(tensors: Iterable[Any]) -> list[Any]:
    """Each place in memory once: a program gives a shared tensor several names."""
    return list({(t.data_ptr(), t.numel()): t for t in tensors}.values())


def _exported(made: Made, folder: Path) -> Written:
    import torch

    program = torch.export.export(_positional(made), tuple(made.inputs.values()), strict=False)
    torch.export.save(program, folder / "program.pt2")
    return Written(folder / "program.pt2", learnt(made.network))


def _onnx(made: Made, folder: Path) -> Written:
    """Exported without folding, which would turn weights into others."""
    import onnx
    import torch

    path = folder / "model.onnx"
    network = _positional(made)
    # With fixed lengths, tables that depend on them become constants like any weight.
    lengths = {
        name: {1: "tokens" if name.startswith("decoder") else "words"}
        for name in made.inputs
        if name.endswith(("_ids", "_mask"))
    }
    torch.onnx.export(
        network, tuple(made.inputs.values()), path, dynamo=False,
        input_names=list(made.inputs), dynamic_axes=lengths,
        training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False,
    )  # fmt: skip
    # The exporter leaves out what this inference does not use, and says by name what it kept.
    kept = {one.name for one in onnx.load(path, load_external_data=False).graph.initializer}
    learned = [p for name, p in network.named_parameters(remove_duplicate=False) if name in kept]
    buffers = [b for name, b in network.named_buffers(remove_duplicate=False) if name in kept]
    return Written(path, Split(elements(learned), _floating(buffers)))


def quiet() -> None:
    """Exporters warn of themselves; the counts do not depend on it."""
    warnings.simplefilter("ignore")
