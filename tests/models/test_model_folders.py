"""Model folders of Hugging Face: counted by their headers, run as their configuration says."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_transformers as tiny

from greenai_core import ModelAmbiguous, ModelLoadError, PluginUnavailable, factory
from greenai_plugins.models.exported_format import ExportedModel
from greenai_plugins.models.safetensors_format import SafetensorsModel

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

RESNET_SHAPE = (1, 3, 32, 32)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Name of a network -> the network and the folder that ``save_pretrained`` wrote."""
    made: dict[str, tuple[Any, Path]] = {}

    def of(name: str) -> tuple[Any, Path]:
        if name not in made:
            torch.manual_seed(3)
            network = tiny.NETWORKS[name]().eval()
            folder = tmp_path_factory.mktemp("folders") / name
            network.save_pretrained(folder)
            made[name] = (network, folder)
        return made[name]

    return of


@pytest.fixture
def folder(saved: Any, tmp_path: Path) -> Path:
    """A copy of BERT's folder, to be spoilt."""
    target = tmp_path / "model"
    target.mkdir()
    for file in saved("bert")[1].iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target


def configure(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def pickled(network: Any, folder: Path) -> Path:
    """The folder as older versions of the library wrote it."""
    folder.mkdir(exist_ok=True)
    network.config.save_pretrained(folder)
    torch.save(network.state_dict(), folder / "pytorch_model.bin")
    return folder


def given(model: SafetensorsModel) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    made = {}
    for spec in model.input_specs:
        assert spec.shape is not None
        sizes = {"batch": 2, "sequence": 6, "decoder_sequence": 3}
        shape = [axis if isinstance(axis, int) else sizes[str(axis)] for axis in spec.shape]
        if spec.name.endswith("mask"):
            made[spec.name] = np.ones(shape, np.int64)
        elif spec.dtype == "int64":
            made[spec.name] = rng.integers(3, 40, shape)
            made[spec.name][:, -1] = 2  # CLIP pools at the end of the text
        else:
            made[spec.name] = rng.random(shape, dtype=np.float32)
    return made


# Counting


@pytest.mark.parametrize("name", tiny.NETWORKS)
def test_count_is_that_of_the_library(name: str, saved: Any) -> None:
    network, folder = saved(name)
    count = SafetensorsModel(folder).count_parameters()
    assert (count.trainable, count.non_trainable) == tiny.parameters(network)
    assert count.bytes == 4 * count.total


@pytest.mark.parametrize("name", ["bert", "t5", "resnet"])
def test_count_of_torch_save_in_a_folder(name: str, saved: Any, tmp_path: Path) -> None:
    """Tied weights are in a pickle twice, on one storage."""
    network, _ = saved(name)
    count = SafetensorsModel(pickled(network, tmp_path / "f")).count_parameters()
    assert (count.trainable, count.non_trainable) == tiny.parameters(network)


@pytest.mark.parametrize("name", ["bert", "vit", "t5", "resnet"])
def test_count_of_the_exported_network(name: str, saved: Any, tmp_path: Path) -> None:
    network, folder = saved(name)
    options = {"input_shapes": RESNET_SHAPE} if name == "resnet" else {}
    inputs = given(SafetensorsModel(folder, **options))
    arguments = {key: torch.tensor(array) for key, array in inputs.items()}
    if hasattr(network.config, "use_cache"):
        arguments["use_cache"] = False
    torch.export.save(torch.export.export(network, (), arguments), tmp_path / "p.pt2")
    count = ExportedModel(tmp_path / "p.pt2").count_parameters()
    assert (count.trainable, count.non_trainable) == tiny.parameters(network)
    with ExportedModel(tmp_path / "p.pt2", device="cpu") as model, torch.no_grad():
        wanted = network(**arguments).logits.numpy()
        np.testing.assert_allclose(model.run(inputs)["logits"], wanted, atol=1e-5)


def test_counting_imports_nothing_heavy(saved: Any, tmp_path: Path) -> None:
    network, folder = saved("bert")
    old = pickled(network, tmp_path / "old")
    code = (
        "import sys; from greenai_plugins.models.safetensors_format import SafetensorsModel\n"
        f"for path in ({str(folder)!r}, {str(old)!r}):\n"
        "    model = SafetensorsModel(path)\n"
        f"    assert model.count_parameters().total == {sum(tiny.parameters(network))}\n"
        "    assert model.abilities()['run'].possible\n"
        "assert not {'torch', 'safetensors', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# Running


@pytest.mark.parametrize("name", tiny.NETWORKS)
def test_runs_as_the_library_does(name: str, saved: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    network, folder = saved(name)
    options = {"input_shapes": RESNET_SHAPE} if name == "resnet" else {}

    def refuse(*args: Any) -> None:
        raise AssertionError("the network was asked for")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with SafetensorsModel(folder, device="cpu", **options) as model:
        assert [spec.name for spec in model.input_specs] == tiny.INPUTS[name]
        inputs = given(model)
        outputs = model.run(inputs)
        with torch.no_grad():
            wanted = network(**{key: torch.tensor(array) for key, array in inputs.items()})
        compared = "logits" if "logits" in outputs else "logits_per_image"
        np.testing.assert_allclose(outputs[compared], wanted[compared].numpy(), atol=1e-5)
        made = model.run()  # synthetic inputs: within the vocabulary, masks of ones
        assert np.isfinite(made[compared]).all()


def test_runs_what_torch_save_wrote(saved: Any, tmp_path: Path) -> None:
    network, _ = saved("bert")
    with SafetensorsModel(pickled(network, tmp_path / "f"), device="cpu") as model:
        inputs = given(model)
        with torch.no_grad():
            wanted = network(**{key: torch.tensor(array) for key, array in inputs.items()}).logits
        np.testing.assert_allclose(model.run(inputs)["logits"], wanted.numpy(), atol=1e-5)


def test_shards_of_a_folder_are_one_model(saved: Any, tmp_path: Path) -> None:
    network, _ = saved("gpt2")
    network.save_pretrained(tmp_path, max_shard_size="20KB")
    index = tmp_path / "model.safetensors.index.json"
    assert index.is_file()
    for path in (tmp_path, index):
        with SafetensorsModel(path, device="cpu") as model:
            count = model.count_parameters()
            assert (count.trainable, count.non_trainable) == tiny.parameters(network)
            assert model.run()["logits"].shape == (1, 1, 50)


def test_the_file_in_a_folder_runs_like_the_folder(saved: Any) -> None:
    path = saved("vit")[1] / "model.safetensors"
    assert factory.get_model(path) is SafetensorsModel
    with SafetensorsModel(path, device="cpu") as model:
        assert model.input_specs[0].shape == ("batch", 3, 16, 16)
        assert model.run()["logits"].shape == (1, 2)


def test_weights_stay_in_the_type_they_are_stored_in(saved: Any, tmp_path: Path) -> None:
    network, _ = saved("bert")
    tiny.bert().bfloat16().save_pretrained(tmp_path)
    with SafetensorsModel(tmp_path, device="cpu") as model:
        model.load()
        assert model.count_parameters().bytes == 2 * sum(tiny.parameters(network))
        assert {p.dtype for p in model._module.parameters()} == {torch.bfloat16}


def test_the_size_of_images_may_stand_with_the_preprocessor(saved: Any, tmp_path: Path) -> None:
    network, _ = saved("resnet")
    network.save_pretrained(tmp_path)
    assert SafetensorsModel(tmp_path).input_specs[0].shape is None
    told = {"size": {"shortest_edge": 20}, "crop_size": {"height": 32, "width": 40}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(told))
    assert SafetensorsModel(tmp_path).input_specs[0].shape == ("batch", 3, 32, 40)


def test_an_optional_input_can_be_asked_for(saved: Any) -> None:
    _, folder = saved("bert")
    shapes = {"token_type_ids": (1, 6), "input_ids": (1, 6), "attention_mask": (1, 6)}
    with SafetensorsModel(folder, device="cpu", input_shapes=shapes) as model:
        assert {spec.name: spec.dtype for spec in model.input_specs}["token_type_ids"] == "int64"
        assert model.run()["logits"].shape == (1, 6, 50)


def test_a_class_of_the_users_goes_before_the_configuration(folder: Path) -> None:
    with SafetensorsModel(
        folder, model_class=tiny.bert, device="cpu", input_shapes=(1, 6),
        input_dtypes={"": "int64", "input_ids": "int64"},
    ) as model:  # fmt: skip
        model.load()
        assert type(model._module).__name__ == "BertForMaskedLM"


def test_trained_folder_keeps_the_tokenizer(folder: Path, tmp_path: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")
    with SafetensorsModel(folder, device="cpu") as model:
        trainable = model.as_trainable()
        trainable.save(tmp_path / "trained")
        with pytest.raises(Exception, match="exists already"):
            trainable.save(tmp_path / "trained")
    assert (tmp_path / "trained" / "tokenizer.json").read_text() == "{}"
    assert SafetensorsModel(tmp_path / "trained", device="cpu").run()["logits"].shape == (1, 1, 50)
    assert not list(tmp_path.glob(".*unfinished"))


# What cannot be run, and why


def test_without_a_configuration_it_is_counted(folder: Path) -> None:
    total = SafetensorsModel(folder).count_parameters()
    (folder / "config.json").unlink()
    model = SafetensorsModel(folder)
    assert model.count_parameters() == total
    assert "config.json" in model.abilities()["run"].reason
    with pytest.raises(ModelLoadError, match=r"config\.json"):
        model.load()


def test_a_configuration_without_architecture(folder: Path) -> None:
    configure(folder, architectures=None)
    model = SafetensorsModel(folder)
    assert model.count_parameters().total > 0
    assert "architecture" in model.abilities()["run"].reason


def test_a_broken_configuration_is_a_load_error(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    with pytest.raises(ModelLoadError, match=r"config\.json"):
        SafetensorsModel(folder).load()


def test_an_architecture_that_the_library_lacks(folder: Path) -> None:
    configure(folder, architectures=["NetworkOfTomorrow"])
    with pytest.raises(ModelLoadError, match=r"NetworkOfTomorrow.*--class"):
        SafetensorsModel(folder, device="cpu").load()


def test_missing_weights_are_not_made_up(folder: Path) -> None:
    configure(folder, architectures=["BertForQuestionAnswering"])
    with pytest.raises(ModelLoadError, match="qa_outputs"):
        SafetensorsModel(folder, device="cpu").load()


THEIRS = """
from pathlib import Path
import torch
from transformers import PretrainedConfig, PreTrainedModel

Path({trap!r}).touch()

class TheirConfig(PretrainedConfig):
    model_type = "theirs"

class TheirNetwork(PreTrainedModel):
    config_class = TheirConfig
    main_input_name = "input_ids"

    def __init__(self, config):
        super().__init__(config)
        self.words = torch.nn.Embedding(10, 4)
        self.post_init()

    def forward(self, input_ids):
        return self.words(input_ids)
"""


def test_code_in_a_folder_needs_trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors.torch import save_file

    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "c"))
    monkeypatch.syspath_prepend(str(tmp_path / "c"))
    folder, trap = tmp_path / "theirs", tmp_path / "trapped"
    folder.mkdir()
    (folder / "modeling_theirs.py").write_text(THEIRS.format(trap=str(trap)))
    references = {"AutoConfig": "modeling_theirs.TheirConfig",
                  "AutoModel": "modeling_theirs.TheirNetwork"}  # fmt: skip
    config = {"architectures": ["TheirNetwork"], "auto_map": references, "model_type": "theirs"}
    (folder / "config.json").write_text(json.dumps(config))
    save_file({"words.weight": torch.rand(10, 4)}, folder / "model.safetensors", {"format": "pt"})
    model = SafetensorsModel(folder, device="cpu")
    assert model.count_parameters().total == 40
    with pytest.raises(ModelLoadError, match=r"TheirNetwork.*--trust"):
        model.run()
    assert not trap.exists()
    with SafetensorsModel(folder, device="cpu", trust=True) as trusted:
        assert trusted.run()["output"].shape == (1, 1, 4)
    assert trap.exists()


def test_a_pickle_that_asks_for_code_is_refused(folder: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trapped"

    class Payload:
        def __reduce__(self) -> Any:
            return Path.touch, (trap,)

    (folder / "model.safetensors").unlink()
    torch.save({"w": torch.rand(2), "x": Payload()}, folder / "pytorch_model.bin")
    model = SafetensorsModel(folder, device="cpu")
    for use in (model.count_parameters, model.load):
        with pytest.raises(ModelLoadError, match=r"pathlib.*as safetensors"):
            use()
    assert not trap.exists()


def test_without_the_library_it_is_counted_and_names_the_extra(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "transformers" else found(name)
    )
    model = SafetensorsModel(folder, device="cpu")
    assert model.count_parameters().total > 0
    with pytest.raises(PluginUnavailable, match=r"\[transformers\]"):
        model.load()


def test_a_folder_of_two_formats_is_ambiguous(folder: Path) -> None:
    (folder / "saved_model.pb").write_bytes(b"\x08\x01\x12\x00")
    with pytest.raises(ModelAmbiguous, match=r"safetensors, savedmodel.*--format"):
        factory.get_model(folder)
    assert factory.get_model(folder, format="safetensors") is SafetensorsModel


def test_other_folders_are_not_claimed(tmp_path: Path) -> None:
    assert not SafetensorsModel.recognises(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert not SafetensorsModel.recognises(tmp_path)
    (tmp_path / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1")
    assert not SafetensorsModel.recognises(tmp_path)
