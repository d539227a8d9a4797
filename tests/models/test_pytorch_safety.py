"""Files of torch.save that are broken or would run code: one clear line, nothing is run."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from greenai_core import (
    ModelError,
    ModelLoadError,
    ModelUnrecognised,
    factory,
)
from greenai_plugins.models.pytorch_format import PytorchModel

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

CLASS = "their_networks:SmallNet"
TRAINABLE, STATISTICS = 108 + 4 + 8 + 720 + 5, 8


class Payload:
    """A pickle that creates a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.fixture
def whole(small: Any, tmp_path: Path) -> Path:
    torch.save(small, tmp_path / "whole.pt")
    return tmp_path / "whole.pt"


# Code in the file


def test_pickled_network_needs_trust(whole: Path, image: Any, expected: Any) -> None:
    model = factory.load(whole, device="cpu")
    assert "their_networks.SmallNet" in model.abilities()["run"].reason
    for use in (model.count_parameters, model.run):
        with pytest.raises(ModelLoadError, match=r"their_networks\.SmallNet.*trust=True") as caught:
            use()
        assert "\n" not in str(caught.value)
    trusted = factory.load(whole, device="cpu", trust=True)
    assert all(ability.possible for ability in trusted.abilities().values())
    assert trusted.count_parameters().total == TRAINABLE + STATISTICS
    assert [spec.name for spec in trusted.input_specs] == ["image"]
    np.testing.assert_allclose(trusted.run(image)["output"], expected, rtol=1e-5)


@pytest.mark.parametrize("zipped", [True, False])
def test_malicious_pickle_is_not_executed(
    tmp_path: Path, networks: ModuleType, zipped: bool
) -> None:
    trap, path = tmp_path / "executed", tmp_path / "evil.pt"
    evil = {"state_dict": {"w": torch.rand(2)}, "extra": Payload(trap)}
    torch.save(evil, path, _use_new_zipfile_serialization=zipped)
    assert PytorchModel.recognises(path)
    for options in ({}, {"model_class": CLASS}, {"trust": "false"}):
        model = PytorchModel(path, device="cpu", **options)
        model.abilities()
        for use in (model.count_parameters, model.run, model.as_trainable):
            with pytest.raises(ModelLoadError, match="evil") as caught:
                use()
            assert "\n" not in str(caught.value)
    assert not trap.exists()
    torch.load(path, weights_only=False)
    assert trap.exists(), "the payload would not have shown anything"


def test_trust_of_a_state_dict_still_needs_its_class(saved: Path) -> None:
    assert "--class" in PytorchModel(saved, trust=True).cannot_run()
    with pytest.raises(ModelLoadError, match="true or false"):
        PytorchModel(saved, trust="perhaps").count_parameters()


# Broken files


@pytest.mark.parametrize("zipped", [True, False])
def test_truncated_files(small: Any, tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "cut.pt"
    torch.save(small.state_dict(), path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    for share in (0.01, 0.3, 0.6, 0.95, 0.999):
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(ModelError) as caught:
            factory.load(path).count_parameters()
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
        with pytest.raises(ModelLoadError, match="truncated"):
            PytorchModel(path).count_parameters()


def test_damaged_bytes_never_escape_as_another_error(saved: Path) -> None:
    content = saved.read_bytes()
    rng = np.random.default_rng(5)
    for _ in range(60):
        damaged = bytearray(content)
        for position in rng.integers(0, len(content), 20):
            damaged[position] = rng.integers(0, 256)
        saved.write_bytes(damaged)
        model = PytorchModel(saved)
        for use in (model.count_parameters, model.abilities):
            with contextlib.suppress(ModelLoadError):
                use()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"epoch": 1, "net": {}}, "keys epoch, net"),
        ([1, 2], "a list"),
        (torch.rand(3), "a Tensor"),
        ({}, "keys \\(none\\)"),
    ],
)
def test_files_without_a_network(tmp_path: Path, content: Any, told: str) -> None:
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(ModelLoadError, match=told):
        factory.load(tmp_path / "other.pt").count_parameters()


def test_missing_empty_and_mislabelled(tmp_path: Path) -> None:
    with pytest.raises(ModelUnrecognised, match="no model file"):
        factory.load(tmp_path / "none.pt")
    (tmp_path / "empty.pt").touch()
    with pytest.raises(ModelUnrecognised, match="empty"):
        factory.load(tmp_path / "empty.pt")
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(ModelUnrecognised, match="mislabelled"):
        factory.load(tmp_path / "text.pt")
    with pytest.raises(ModelLoadError, match=r"not written by torch\.save"):
        PytorchModel(tmp_path / "text.pt").count_parameters()
