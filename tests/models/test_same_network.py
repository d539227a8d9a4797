"""One network in three formats: the same parameters, the same answer."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from greenai_core import factory

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture
def files(small: Any, image: Any, tmp_path: Path) -> dict[str, Path]:
    paths = {name: tmp_path / name for name in ("state.pt", "script.pt", "net.onnx")}
    torch.save(small.state_dict(), paths["state.pt"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # both are deprecated, and both are what users have
        torch.jit.script(small).save(paths["script.pt"])
        torch.onnx.export(
            small,
            (torch.tensor(image),),
            paths["net.onnx"],
            dynamo=False,
            input_names=["image"],
            output_names=["output"],
            # Keeps batch normalisation apart from the convolution, as the others have it.
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
        )
    return paths


def test_three_formats_agree(files: dict[str, Path], small: Any, image: Any) -> None:
    expected = small(torch.tensor(image)).detach().numpy()
    counts = []
    for name, path in files.items():
        options = {"model_class": "their_networks:SmallNet"} if name == "state.pt" else {}
        with factory.load(path, device="cpu", **options) as model:
            counts.append(model.count_parameters())
            output = model.run({"image": image})["output"]
        np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-5)
    assert counts[0] == counts[1] == counts[2]
    assert (counts[0].trainable, counts[0].non_trainable) == (845, 8)
    assert factory.load(files["state.pt"]).count_parameters() == counts[0]
