"""Twenty architectures: every call of a layer is seen once, and what is seen adds up."""

from __future__ import annotations

from collections import Counter

import pytest

from greenai_core import Figure, ModelSummary
from greenai_core.layer_rows import layers_result
from greenai_core.layer_shares import shares_of
from greenai_core.results import InferenceResult
from greenai_plugins.models.torch_layers import TorchLayered
from greenai_plugins.models.torch_runtime import Feed
from greenai_plugins.models.torch_training import Batch, TorchTrainable

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
nn = torch.nn

SIZES = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
}  # fmt: skip
WORDS = {"vocab_size": 50, "max_position_embeddings": 32, "pad_token_id": 0, **SIZES}
PIXELS = {"image_size": 16, "patch_size": 8, **SIZES}

TRANSFORMERS = {
    "bert": WORDS,
    "roberta": {**WORDS, "pad_token_id": 1},
    "albert": {**WORDS, "embedding_size": 8},  # its layers share one set of weights
    "electra": {**WORDS, "embedding_size": 8},
    "distilbert": {"vocab_size": 50, "dim": 16, "hidden_dim": 32, "n_layers": 2, "n_heads": 2},
    "mpnet": WORDS,
    "gpt2": {"vocab_size": 50, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32},
    "opt": {
        "vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "ffn_dim": 32,
        "num_attention_heads": 2, "max_position_embeddings": 32, "word_embed_proj_dim": 16,
    },
    "llama": {**WORDS, "num_key_value_heads": 2},
    "vit": PIXELS,
    "deit": PIXELS,
    "convnext": {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2, "patch_size": 2},
    "resnet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]},
    "mobilenet_v2": {"depth_multiplier": 0.2, "image_size": 16},
}  # fmt: skip


class LeNet(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Conv2d(3, 6, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(216, 10)
        )


class Vgg(nn.Sequential):
    def __init__(self):
        blocks = []
        for old, new in ((3, 8), (8, 16), (16, 16)):
            blocks += [nn.Conv2d(old, new, 3, padding=1), nn.BatchNorm2d(new)]
            blocks += [nn.ReLU(inplace=True), nn.MaxPool2d(2)]
        super().__init__(nn.Sequential(*blocks), nn.Flatten(), nn.Dropout(), nn.Linear(64, 10))


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down, self.pool = nn.Conv2d(3, 8, 3, padding=1), nn.MaxPool2d(2)
        self.middle, self.up = nn.Conv2d(8, 8, 3, padding=1), nn.ConvTranspose2d(8, 8, 2, 2)
        self.act, self.out = nn.ReLU(inplace=True), nn.Conv2d(16, 2, 1)

    def forward(self, x):
        kept = self.act(self.down(x))
        deep = self.up(self.act(self.middle(self.pool(kept))))
        return self.out(torch.cat([kept, deep], dim=1)).mean(dim=(2, 3))


class Recurrent(nn.Module):
    """A bidirectional LSTM, whose output is a tuple."""

    def __init__(self):
        super().__init__()
        self.words, self.rnn = nn.Embedding(50, 8), nn.LSTM(8, 8, 2, True, True, 0.1, True)
        self.head = nn.Linear(16, 5)

    def forward(self, ids):
        return self.head(self.rnn(self.words(ids))[0].mean(dim=1))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(50, 16)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.head = nn.Linear(16, 4)

    def forward(self, ids):
        return self.head(self.layer(self.words(ids)).mean(dim=1))


class Mixer(nn.Module):
    """One layer that is called at each of three depths, and a list of layers."""

    def __init__(self):
        super().__init__()
        self.mix, self.norm = nn.Linear(16, 16), nn.LayerNorm(16)
        self.heads = nn.ModuleList(nn.Linear(16, 3) for _ in range(2))
        self.table = nn.Linear(768, 16)

    def forward(self, x):
        x = self.table(x.flatten(1))
        for _ in range(3):
            x = x + nn.functional.gelu(self.mix(self.norm(x)))
        return sum(head(x) for head in self.heads)


OWN = {
    "lenet": LeNet, "vgg": Vgg, "unet": UNet, "lstm": Recurrent, "encoder": Attention,
    "mixer": Mixer,
}  # fmt: skip
ON_WORDS = {
    "bert", "roberta", "albert", "electra", "distilbert", "mpnet", "gpt2", "opt", "llama",
    "lstm", "encoder",
}  # fmt: skip


def network(name):
    torch.manual_seed(0)
    if name in OWN:
        return OWN[name]()
    import transformers

    config = transformers.AutoConfig.for_model(name, **TRANSFORMERS[name])
    return transformers.AutoModel.from_config(config)


def feed(name):
    if name in ON_WORDS:
        ids = torch.randint(3, 50, (2, 7))
        return Feed((ids,)) if name in OWN else Feed((), {"input_ids": ids})
    return Feed((torch.rand(2, 3, 16, 16),))


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def leaf_calls(module, run):
    """How often each layer without layers is called, counted by replacing its method."""
    seen = Counter()
    leaves = {name: m for name, m in module.named_modules() if name and not any(m.children())}
    for name, leaf in leaves.items():

        def counted(*args, leaf=leaf, name=name, **kwargs):
            seen[name] += 1
            return type(leaf).forward(leaf, *args, **kwargs)

        leaf.forward = counted
    try:
        run()
    finally:
        for leaf in leaves.values():
            del leaf.forward
    return seen


def whole(seconds):
    clock = Figure(seconds, seconds, seconds, seconds, seconds, "clock", "")
    energy = Figure(7.0, 6.9, 7.1, 6.95, 7.05, "counter", "")
    summary = ModelSummary("net", "pytorch", "cpu", (), 2)
    return InferenceResult(
        summary, None, energy, None, clock, None, (), (), (), (), 1, 0.02, True, 0.0, ()
    )


def check(layers, passes, plain):
    """Rows of passes add up, in time and in joules; each layer stands in the table once."""
    lengths = [one[0].seconds for one in passes]
    shares = shares_of(passes, lengths, lengths, plain, [1.1 * s for s in plain])
    names = [layer.name for layer in layers]
    assert len(set(names)) == len(names)
    assert {name for name in shares.layers if name} <= set(names)
    result = layers_result(whole(shares.pass_s), "inference", layers, {}, shares, {})
    rows = [row.energy_j.value for row in result.layers]
    rows += [result.unattributed_j.value, result.overhead_j.value]
    assert sum(rows) == pytest.approx(7.0, rel=1e-9)
    # Without noise between passes and without a cost of hooks the times add up exactly.
    bare = shares_of(passes[:1], lengths[:1], lengths[:1], lengths[:1], lengths[:1])
    assert sum(bare.seconds) == pytest.approx(lengths[0], rel=1e-9)


def hooks(module):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in module.modules())


@pytest.mark.parametrize("name", [*OWN, *TRANSFORMERS])
def test_an_inference_adds_up(name):
    module, given = network(name).eval(), feed(name)

    def predict(one):
        with torch.inference_mode():
            return module(*one.args, **one.kwargs)

    layered = TorchLayered(module, predict)
    expected = leaf_calls(module, lambda: predict(given))
    passes = [layered.timed(given, 1) for _ in range(3)]
    leaves = {n for n, m in module.named_modules() if n and not any(m.children())}
    for one in passes:
        seen = Counter(call.layer for call in one if call.layer in leaves)
        assert seen == expected, "the same layers run, watched or not"
    check(layered.layers(), passes, [layered.timed(given, 0)[0].seconds])
    assert hooks(module) == 0


@pytest.mark.parametrize("name", ["vgg", "unet", "lstm", "encoder", "mixer", "albert", "vit"])
def test_a_training_step_adds_up(name):
    module, given = network(name), feed(name)
    trainable = TorchTrainable(module, None, lambda: None, "sgd", 0.1, whole=False)
    answer = module(*given.args, **given.kwargs)
    answer = answer if isinstance(answer, torch.Tensor) else next(iter(answer.values()))
    data = Batch(given, torch.zeros_like(answer).detach())
    expected = leaf_calls(module, lambda: trainable.step(data))
    with trainable.layered() as layered:
        passes = [layered.timed(data, 1) for _ in range(3)]
        plain = [layered.timed(data, 0)[0].seconds]
        layers = layered.layers()
    leaves = {f"{n} [forward]": n for n, m in module.named_modules() if not any(m.children())}
    for one in passes:
        seen = Counter(leaves[call.layer] for call in one if call.layer in leaves)
        assert seen == expected
        backward = {call.layer for call in one if call.layer.endswith("[backward]")}
        assert len(backward) >= sum(
            any(p.grad is not None for p in m.parameters(recurse=False)) for m in module.modules()
        )
    check(layers, passes, plain)
    assert hooks(module) == 0
