"""What ``run`` and ``bench`` are fed with: images, text, axes, functions of users."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from greenai_core.cli import exit_codes

PIXELS = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
"""A model that gives each pixel back."""


@pytest.fixture
def photos(simulated):
    folder = simulated / "photos"
    folder.mkdir()
    for index, name in enumerate(["b.png", "a.png", "c.png"]):
        Image.new("RGB", (6, 8), (100 * index, 0, 0)).save(folder / name)
    return "photos"


@pytest.fixture
def camera(tiny):
    return tiny(matrix=PIXELS, axes=[8, 6])


def answered(done):
    assert done.code == 0, done.err
    (out,) = done.json["outputs"]
    return out


def test_a_folder_of_images_is_a_batch(greenai, camera, photos):
    out = answered(greenai("run", camera, "--input", photos, "--json"))
    assert out["shape"] == [3, 8, 6, 3]
    assert out["top"][0]["index"][0] == 2
    out = answered(greenai("run", camera, "--input", photos, "--batch-size", "2", "--json"))
    assert out["shape"] == [2, 8, 6, 3]


def test_a_folder_with_fewer_images_than_the_batch_warns(greenai, camera, photos):
    done = greenai("run", camera, "--input", photos, "--batch-size", "5", "--json")
    assert answered(done)["shape"][0] == 3
    assert "3 images" in done.err


def test_images_are_normalised_as_asked(greenai, camera, photos):
    args = ("run", camera, "--input", f"{photos}/c.png", "--json", "--normalise")
    assert answered(greenai(*args, "0..255"))["top"][0]["value"] == 200.0
    assert answered(greenai(*args, "0.5,0,0/0.5,1,1"))["top"][0]["value"] == pytest.approx(
        (200 / 255 - 0.5) / 0.5, abs=1e-6
    )


def test_images_are_resized_as_asked(greenai, camera, simulated):
    Image.new("RGB", (60, 8), "white").save(simulated / "wide.png")
    args = ("run", camera, "--input", "wide.png", "--output", "out.npz", "--resize")
    for how, dark in (("stretch", False), ("crop", False), ("fit", True)):
        assert greenai(*args, how).code == 0
        with np.load(simulated / "out.npz") as out:
            assert bool(out["y"].min() == 0.0) is dark


def test_open_axes_are_sized(greenai, tiny):
    done = greenai("run", tiny(axes=["seq"]), "--axis", "seq=5", "--axis", "batch=2", "--json")
    assert answered(done)["shape"] == [2, 5, 3]
    assert not done.err


def test_an_open_axis_that_nobody_sized_is_a_warning_in_the_report(greenai, tiny, quick):
    done = greenai("bench", tiny(axes=["seq"]), *quick, "--json")
    assert done.code == 0, done.err
    (result,) = done.json["results"]
    assert any("leaves seq open" in warning for warning in result["warnings"])
    assert result["model"]["inputs"] == ["x 1x1x2 float32"]


def test_the_report_says_what_the_models_were_fed_with(greenai, camera, photos, quick):
    args = ("--input", photos, "--batch-size", "2", "--normalise", "-1..1", "--resize", "crop")
    done = greenai("bench", camera, *args, *quick, "--json")
    assert done.code == 0, done.err
    settings = done.json["settings"]
    assert settings["input"] == photos
    assert settings["batch_size"] == 2
    assert settings["normalise"] == "-1..1"
    assert settings["resize"] == "crop"
    assert settings["axes"] == {}
    assert done.json["results"][0]["model"]["batch_size"] == 2


def test_a_function_of_the_current_folder_makes_the_input(greenai, tiny, simulated):
    (simulated / "my_data.py").write_text(
        "import numpy as np\n"
        "def read(path):\n"
        "    return np.array([[float(n) for n in open(path).read().split(',')]])\n"
    )
    (simulated / "x.csv").write_text("1,2")
    args = ("--input", "x.csv", "--preprocess", "my_data:read", "--json")
    assert answered(greenai("run", tiny(), *args))["top"][0]["value"] == 15.0


@pytest.fixture
def words(simulated):
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({"[UNK]": 0, "a": 1, "dog": 2}, unk_token="[UNK]")
    )
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(simulated / "tokenizer.json"))


@pytest.mark.usefixtures("words")
def test_text_is_given_as_such_or_in_a_file(greenai, tiny, simulated):
    """The model takes numbers of two words; as its input is one of floats, by name only."""
    (simulated / "text.txt").write_text("a dog")
    for args in (["--text", "a dog"], ["--input", "text.txt"]):
        done = greenai("run", tiny(dtype="int64"), *args, "--json")
        assert answered(done)["top"][0]["value"] == 15.0


@pytest.mark.usefixtures("words")
def test_text_given_twice_is_two_samples(greenai, tiny):
    args = ("--text", "a dog", "--text", "dog dog", "--json")
    assert answered(greenai("run", tiny(dtype="int64"), *args))["shape"] == [2, 3]


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["--axis", "seq"], exit_codes.USAGE, "--axis seq: write it as NAME=SIZE"),
        (["--axis", "batch=0"], exit_codes.USAGE, "NAME=SIZE"),
        (["--axis", "width=3"], exit_codes.MODEL, "open axes: batch"),
        (["--input", "photos", "--normalise", "imagent"], exit_codes.USAGE, "imagenet, 0..1"),
        (["--normalise", "imagenet"], exit_codes.USAGE, "--normalise is for images"),
        (["--input", "x.npy", "--resize", "fit"], exit_codes.USAGE, "--resize is for images"),
        (["--input", "x.npy", "--text", "a"], exit_codes.USAGE, "exclude each other"),
        (["--text", "a dog"], exit_codes.MODEL, "no tokenizer in"),
        (["--preprocess", "read"], exit_codes.USAGE, "MODULE:FUNCTION"),
        (["--preprocess", "no_such_module:read"], exit_codes.USAGE, "cannot be imported"),
        (["--preprocess", "os:no_such_name"], exit_codes.USAGE, "has no function"),
        (["--preprocess", "os.path:getsize"], exit_codes.MODEL, "getsize failed on the data"),
        (["--input", "photos"], exit_codes.MODEL, "no single image input"),
    ],
)
@pytest.mark.usefixtures("photos")
def test_wrong_options_are_one_line(greenai, tiny, args, code, said):
    done = greenai("run", tiny(dtype="int64" if "--text" in args else "float32"), *args)
    assert done.code == code, done.err
    assert len(done.errors) == 1
    assert said in done.errors[0]
