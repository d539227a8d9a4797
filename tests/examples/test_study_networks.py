"""The networks of examples/studies are those that their papers describe."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

NETWORKS = Path(__file__).parents[2] / "examples" / "studies" / "networks"
sys.path.insert(0, str(NETWORKS))

import alexnet  # noqa: E402  # found since the line above
import detector  # noqa: E402
import resnet50  # noqa: E402
import study_inference  # noqa: E402
import vit  # noqa: E402

from greenai_core import factory  # noqa: E402


@pytest.fixture(autouse=True)
def _random_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(study_inference.WEIGHTS, raising=False)


def on_meta(make: Any) -> Any:
    with torch.device("meta"):
        return make().eval()


def without_content(module: Any) -> dict[str, Any]:
    """A state dict of the right shapes whose file has a few bytes a tensor."""
    return {
        name: torch.zeros((), dtype=value.dtype).expand(value.shape)
        for name, value in module.state_dict().items()
    }


@pytest.mark.parametrize(
    ("make", "parameters"),
    [
        (alexnet.AlexNet, 61_100_840),
        (resnet50.ResNet50, 25_557_032),
        (vit.VisionTransformer, 86_567_656),
    ],
)
def test_as_many_parameters_as_published(make: Any, parameters: int) -> None:
    counted = study_inference.count_parameters(on_meta(make))
    assert counted.trainable == parameters


def test_statistics_of_normalisation_are_counted_apart() -> None:
    """ResNet-50 has 53 normalisations with 26,560 channels, each with a mean and a variance."""
    counted = study_inference.count_parameters(on_meta(resnet50.ResNet50))
    assert counted.non_trainable == 2 * 26_560
    assert counted.bytes == 4 * counted.total


def test_detector_is_as_large_as_the_one_it_stands_for() -> None:
    """YOLOv5s: 7.2 M parameters, and 16.5 GFLOPs at 640 pixels, which are 8.25 G products."""
    counted = study_inference.count_parameters(on_meta(detector.Detector))
    assert counted.trainable == pytest.approx(7.2e6, rel=0.02)
    inputs = {"images": torch.empty(1, 3, 640, 640)}
    assert study_inference.count_macs(detector.Detector, inputs) == pytest.approx(8.25e9, rel=0.05)


@pytest.mark.parametrize(
    ("make", "published", "digits"),
    [
        (alexnet.AlexNet, 0.71, 2),
        (resnet50.ResNet50, 4.09, 2),
        (vit.VisionTransformer, 17.56, 2),
    ],
)
def test_multiply_accumulates_at_224_are_the_published_ones(
    make: Any, published: float, digits: int, tmp_path: Path
) -> None:
    """As torchvision publishes them, and as the counter of greenai has them from a file."""
    counted = study_inference.count_macs(make, study_inference.images(1, 224))
    assert round(counted / 1e9, digits) == published
    torch.save(without_content(on_meta(make)), tmp_path / "weights.pt")
    saved = factory.load(
        tmp_path / "weights.pt", device="cpu", model_class=make, input_shapes=(1, 3, 224, 224)
    )
    with saved as model:
        assert model.count_macs().macs == counted


def test_work_of_a_batch_is_that_of_its_images() -> None:
    one, four = (
        study_inference.count_macs(alexnet.AlexNet, {"images": torch.empty(n, 3, 112, 112)})
        for n in (1, 4)
    )
    assert four == 4 * one


@pytest.mark.parametrize(
    ("make", "size", "shape"),
    [
        (alexnet.AlexNet, 63, (2, 1000)),
        (alexnet.AlexNet, 300, (2, 1000)),
        (alexnet.AlexNet, 2240, (2, 1000)),
        (resnet50.ResNet50, 8, (2, 1000)),
        (resnet50.ResNet50, 4096, (2, 1000)),
        (lambda: vit.VisionTransformer(32), 32, (2, 1000)),
        (lambda: vit.VisionTransformer(448), 448, (2, 1000)),
        (detector.Detector, 64, (2, 3 * (64 + 16 + 4), 85)),
        (detector.Detector, 640, (2, 25_200, 85)),
    ],
)
def test_shapes_of_the_answer(make: Any, size: int, shape: tuple[int, ...]) -> None:
    answer = on_meta(make)(torch.empty(2, 3, size, size, device="meta"))
    assert tuple(answer.shape) == shape


def test_detector_tells_boxes_in_pixels() -> None:
    """Heads that say nothing: boxes as large as anchors, in the middle of each cell."""
    module = study_inference.with_random_weights(detector.Detector).eval()
    for head in module.heads:
        torch.nn.init.zeros_(head.weight)
    with torch.inference_mode():
        boxes = module(study_inference.images(1, 64)["images"])[0]
    centres = boxes[:, :2].tolist()
    assert centres[:2] == [[4, 4], [12, 4]]  # side by side, not below each other
    assert centres[8] == [4, 12]
    assert centres[-1] == [48, 48]
    assert boxes[0, 2:4].tolist() == [10, 13]
    assert boxes[3 * 64, 2:4].tolist() == [30, 61]
    assert boxes[-1, 2:4].tolist() == [373, 326]
    assert (boxes[:, 4:] == 0.5).all()


@pytest.mark.parametrize("make", [resnet50.ResNet50, detector.Detector])
def test_signals_neither_die_out_nor_overflow(make: Any) -> None:
    """Values too small for normal numbers would slow processors down by a hundred."""
    module = study_inference.with_random_weights(make).eval()
    seen: list[float] = []

    def note(_module: Any, _inputs: Any, output: Any) -> None:
        seen.append(float(output.std()))

    for layer in module.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(note)
    with torch.inference_mode():
        module(study_inference.images(1, 64)["images"])
    assert len(seen) > 50
    assert min(seen) > 1e-6
    assert max(seen) < 1e6


def test_boxes_of_random_weights_are_numbers() -> None:
    module = study_inference.with_random_weights(detector.Detector).eval()
    with torch.inference_mode():
        boxes = module(study_inference.images(1, 320)["images"])
    assert torch.isfinite(boxes).all()


# Weights


def test_random_weights_are_the_same_each_time_and_disturb_nobody() -> None:
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    one, two = (
        study_inference.with_random_weights(lambda: torch.nn.Linear(3, 3)) for _ in range(2)
    )
    assert torch.equal(one.weight, two.weight)
    assert torch.equal(torch.rand(1), expected)


def test_weights_from_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = {"weight": torch.full((1, 2), 3.0), "bias": torch.zeros(1)}
    torch.save(state, tmp_path / "small-0123abcd.pth")
    monkeypatch.setenv(study_inference.WEIGHTS, str(tmp_path))
    module, note = study_inference.with_weights(lambda: torch.nn.Linear(2, 1), "small")
    assert module.weight.tolist() == [[3.0, 3.0]]
    assert note == "weights of small-0123abcd.pth"


def test_no_weights_in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(study_inference.WEIGHTS, str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"holds no alexnet\*\.pth"):
        study_inference.with_weights(alexnet.AlexNet, "alexnet")


def test_torchvisions_weights_only_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text("")
    (tmp_path / "torchvision" / "models.py").write_text(
        "import torch\n"
        "def get_model(name, weights):\n"
        "    assert (name, weights) == ('small', 'DEFAULT')\n"
        "    made = torch.nn.Linear(2, 1)\n"
        "    torch.nn.init.constant_(made.weight, 5.0)\n"
        "    return made\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("torchvision", "torchvision.models"):
        # Set once, so that whatever is imported under the name goes away with the test.
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
        del sys.modules[name]

    def small() -> Any:
        return torch.nn.Linear(2, 1)

    _, note = study_inference.with_weights(small, "small")
    assert note == "random weights"
    assert "torchvision" not in sys.modules
    monkeypatch.setenv(study_inference.WEIGHTS, "pretrained")
    module, note = study_inference.with_weights(small, "small")
    assert module.weight.tolist() == [[5.0, 5.0]]
    assert note == "weights of torchvision"


def test_positions_at_another_size_are_interpolated() -> None:
    """A field that grows from left to right still does, and the class token keeps its own."""
    width = vit.WIDTH
    columns = torch.arange(14.0).repeat(14)[:, None].expand(196, width)
    known = torch.cat([torch.full((1, width), 99.0), columns])[None]
    module = on_meta(lambda: vit.VisionTransformer(448))
    made = vit.at_other_size({vit.POSITIONS: known}, module)[vit.POSITIONS]
    assert made.shape == (1, 1 + 28 * 28, width)
    assert (made[0, 0] == 99).all()
    grid = made[0, 1:, 0].view(28, 28)
    assert grid[0].tolist() == pytest.approx(grid[27].tolist())
    assert grid[0, 0] == pytest.approx(0, abs=1e-4)
    assert grid[0, 27] == pytest.approx(13, abs=1e-4)
    assert grid[0].diff().min() > 0


# One inference


@pytest.mark.parametrize(
    "network", [alexnet.alexnet, resnet50.resnet50, vit.vit, detector.detector]
)
def test_work_is_without_gradients_and_in_evaluation_mode(network: Any) -> None:
    work = network(size=64, batch_size=2, device="cpu")
    one, two = work.step(), work.step()
    assert len(one) == 2
    assert not one.requires_grad
    assert torch.equal(one, two)  # dropout would tell them apart
    assert "random weights" in work.note
    assert work.parameters.total > 7e6
    assert work.macs > 0
    assert work.synchronize is None


@pytest.mark.parametrize(
    ("network", "size"), [(alexnet.alexnet, 62), (vit.vit, 100), (detector.detector, 100)]
)
def test_sizes_that_a_network_cannot_take_are_refused(network: Any, size: int) -> None:
    with pytest.raises(ValueError, match=str(size)):
        network(size=size, batch_size=1, device="cpu")
