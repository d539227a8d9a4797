"""TorchScript programs are counted from their archives, as PyTorch counts what it loads."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest

from greenai_core import LayerParameters, ParameterCount, factory
from greenai_plugins.models import torch_count
from greenai_plugins.models.torchscript_format import TorchscriptModel

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")]
torch = pytest.importorskip("torch")


class Several(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)
        self.norm = torch.nn.BatchNorm2d(4)
        self.frozen = torch.nn.Parameter(torch.rand(3), requires_grad=False)
        self.listed = torch.nn.ParameterList([torch.rand(2), torch.rand(5)])
        self.tied = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4))
        self.tied[1].weight = self.tied[0].weight
        self.phase = torch.nn.Parameter(torch.rand(2, dtype=torch.complex64))
        self.register_buffer("scale", torch.rand(7), persistent=False)
        self.register_buffer("index", torch.arange(9))
        self.plain = torch.ones(5)  # neither parameter nor buffer
        self.lstm = torch.nn.LSTM(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mixed = self.norm(self.conv(x)).mean() + self.tied(self.plain[:4]).sum()
        return mixed + self.scale.sum() + self.listed[0].sum() + torch.tensor([1.0, 2.0]).sum()


def of_program(path: Path) -> tuple[ParameterCount, ParameterCount]:
    """Counts of the archive and of the loaded program."""
    from greenai_plugins.models import torchscript_archive, torchscript_format

    read = torchscript_archive.read(path)
    module = TorchscriptModel(path, device="cpu")._read()
    run = torchscript_format._weights(path, module)
    return tuple(ParameterCount.of(torch_count.entries(held)) for held in (read, run))  # type: ignore[return-value]


@pytest.mark.parametrize("how", ["script", "trace", "freeze"])
def test_programs_count_as_when_they_are_loaded(tmp_path: Path, how: str) -> None:
    net = Several().eval()
    program = (
        torch.jit.trace(net, torch.rand(1, 3, 8, 8)) if how == "trace" else torch.jit.script(net)
    )
    if how == "freeze":
        program = torch.jit.freeze(program)
    program.save(tmp_path / "a.pt")
    read, run = of_program(tmp_path / "a.pt")
    assert read == run
    if how == "script":
        expected = sum(p.numel() for p in net.parameters() if p.requires_grad)
        assert (read.trainable, read.non_trainable) == (expected, 3 + 8 + 7)


def test_a_program_with_young_operators(tmp_path: Path) -> None:
    """PyTorch puts the version of its archive elsewhere then."""

    class Attention(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.gelu(self.layer(x)) // 2

    torch.jit.trace(Attention(), torch.rand(1, 4)).save(tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt") as archive:
        assert "a/.data/version" in archive.namelist()
    model = factory.load(tmp_path / "a.pt", device="cpu", input_shapes=(1, 4))
    assert isinstance(model, TorchscriptModel)
    assert model.count_parameters().total == 20
    assert model.run()["output"].shape == (1, 4)


def test_layers_of_a_program(small: Any, tmp_path: Path) -> None:
    torch.jit.script(small).save(tmp_path / "a.pt")
    assert TorchscriptModel(tmp_path / "a.pt").count_by_layer() == (
        LayerParameters("conv", "Conv2d", 112, 0, 448),
        LayerParameters("norm", "BatchNorm2d", 8, 8, 64),
        LayerParameters("head", "Linear", 725, 0, 2900),
    )
    torch.jit.freeze(torch.jit.script(small)).save(tmp_path / "frozen.pt")
    (layer,) = TorchscriptModel(tmp_path / "frozen.pt").count_by_layer()
    assert (layer.name, layer.non_trainable) == ("constants of the program", 837)


def test_a_module_with_a_state_of_its_own_is_left_to_pytorch(tmp_path: Path) -> None:
    torch.jit.script(OwnState()).save(tmp_path / "own.pt")
    assert TorchscriptModel(tmp_path / "own.pt", device="cpu").count_parameters().total == 6


class OwnState(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(6))

    @torch.jit.export
    def __getstate__(self) -> tuple[torch.Tensor, bool]:
        return self.weight[:3], self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[torch.Tensor, bool]) -> None:
        self.weight = torch.cat([state[0], state[0]])
        self.training = state[1]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight
