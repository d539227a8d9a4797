"""``greenai params``, ``greenai run`` and ``greenai train``."""

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from greenai_core.cli import exit_codes

BAD = {
    "missing.tiny": (None, exit_codes.MODEL, "there is no model file"),
    "empty.tiny": ("", exit_codes.MODEL, "empty"),
    "mislabelled.tiny": ("a text", exit_codes.MODEL, "mislabelled"),
    "truncated.tiny": ('{"tiny": [[1, 2', exit_codes.MODEL, "truncated"),
    "unknown.xyz": ("a text", exit_codes.MODEL, "known endings"),
    "a.foreign": ('{ "tiny": [[1]]}', exit_codes.PLUGIN, "greenai-core[foreign]"),
}


@pytest.fixture
def bad(simulated):
    for name, (content, _, _) in BAD.items():
        if content is not None:
            (simulated / name).write_text(content)


@pytest.mark.parametrize("command", ["run", "bench"])
@pytest.mark.parametrize("name", BAD)
@pytest.mark.usefixtures("bad")
def test_a_bad_model_is_one_line_with_its_exit_code(greenai, quick, command, name):
    done = greenai(command, name, *(quick if command == "bench" else ()))
    _, code, said = BAD[name]
    assert done.code == code
    assert len(done.errors) == 1
    assert name in done.errors[0] or name == "a.foreign"
    assert said in done.errors[0]


def test_a_file_that_two_formats_claim_names_both_and_the_way_out(greenai, simulated):
    (simulated / "b.foreign").write_text('{"tiny": [[1]]}')
    done = greenai("params", "b.foreign")
    assert done.code == exit_codes.MODEL
    assert "foreign, tiny" in done.err
    assert greenai("params", "b.foreign", "--format", "tiny").json[0]["total"] == 1


@pytest.mark.usefixtures("bad")
def test_params_counts_the_good_files_and_tells_the_bad_ones(greenai, tiny):
    done = greenai("params", "missing.tiny", tiny(), "truncated.tiny", tiny("b.tiny", [[1.0]]))
    assert done.code == exit_codes.MODEL
    assert [entry["path"] for entry in done.json] == ["a.tiny", "b.tiny"]
    assert done.json[0] == {
        "path": "a.tiny", "format": "tiny", "trainable": 6, "non_trainable": 0, "total": 6,
        "bytes": 48,
    }  # fmt: skip
    assert len(done.errors) == 2


@pytest.mark.usefixtures("bad")
def test_params_needs_no_library_where_headers_suffice(greenai):
    done = greenai("params", "a.foreign")
    assert done.code == 0
    assert done.json[0]["total"] == 1


def test_a_path_that_is_no_utf8_survives_in_json(greenai, simulated):
    name = os.fsdecode(b"m\xff.tiny")
    (simulated / name).write_text('{"tiny": [[1]]}')
    assert greenai("params", name).json[0]["path"] == name


def test_run_prints_outputs_and_their_largest_values(greenai, tiny, simulated):
    np.save(simulated / "x.npy", np.array([[1.0, 2.0]]))
    done = greenai("run", tiny(), "--input", "x.npy", "--json")
    assert done.code == 0
    assert set(done.json) == {"model", "format", "device", "inputs", "outputs", "output_file"}
    (out,) = done.json["outputs"]
    assert (out["name"], out["shape"], out["dtype"]) == ("y", [1, 3], "float32")
    assert out["top"][0] == {"index": [0, 2], "value": 15.0}
    text = greenai("run", "a.tiny", "--input", "x.npy").out
    assert "y  1x3  float32" in text
    assert "[0, 2]  15" in text


def test_run_writes_the_outputs(greenai, tiny, simulated):
    done = greenai("run", tiny(), "--batch-size", "4", "--output", "out.npz")
    assert done.code == 0
    with np.load(simulated / "out.npz") as loaded:
        assert loaded["y"].shape == (4, 3)
    assert (simulated / "out.npz").stat().st_mode & 0o444


def test_values_that_are_no_numbers_are_counted_not_ranked(greenai, tiny, simulated):
    np.save(simulated / "x.npy", np.array([[1.0, 0.0]]))
    done = greenai(
        "run", tiny(matrix=[[float("nan"), 1.0], [0.0, 0.0]]), "--input", "x.npy", "--json"
    )
    (out,) = done.json["outputs"]
    assert out["nan"] == 1
    assert out["top"] == [{"index": [0, 1], "value": 1.0}]


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["--input", "nothing.npy"], exit_codes.MODEL, "no input file"),
        (["--input", "wrong.npy"], exit_codes.MODEL, "shape"),
        (["--input", "fake.png"], exit_codes.MODEL, "image"),
        (["--input-shape", "1x9"], exit_codes.MODEL, "does not fit"),
        (["--input-shape", "y=1x2"], exit_codes.MODEL, "no input y"),
        (["--input-shape", "1x0"], exit_codes.USAGE, "--input-shape"),
        (["--input-shape", "=1x2"], exit_codes.USAGE, "--input-shape"),
        (["--model-option", "bogus=1"], exit_codes.USAGE, "bogus"),
        (["--trust"], exit_codes.USAGE, "--trust is no option of the format tiny"),
        (["--format", "nosuch"], exit_codes.PLUGIN, "nosuch"),
        (["--output", "out.npy"], exit_codes.USAGE, ".npz"),
        (["--output", "a.tiny/out.npz"], exit_codes.USAGE, "a part of its path is a file"),
        (["--output", "a.tiny/deep/x.npz"], exit_codes.USAGE, "a part of its path is a file"),
        (["--output", "folder.npz"], exit_codes.USAGE, "is a folder"),
    ],
)
def test_a_bad_input_is_one_line_with_its_exit_code(greenai, tiny, simulated, args, code, said):
    np.save(simulated / "wrong.npy", np.zeros((1, 7)))
    (simulated / "fake.png").write_text("no image")
    (simulated / "folder.npz").mkdir()
    done = greenai("run", tiny(), *args)
    assert done.code == code, done.err
    assert len(done.errors) == 1
    assert said in done.errors[0]
    assert not done.out


def test_what_a_library_prints_does_not_spoil_the_json(greenai, tiny):
    done = greenai("run", tiny(chatty=True), "--json")
    assert done.json["model"] == "a.tiny"
    assert "a library that prints" in done.err


# train


@pytest.fixture
def data(simulated):
    rng = np.random.default_rng(0)
    np.savez(
        simulated / "data.npz", x=rng.random((10, 2), np.float32), y=rng.random((10, 3), np.float32)
    )
    return "data.npz"


def test_train_gives_the_energy_of_a_step_and_saves_the_model(
    greenai, tiny, data, quick, simulated
):
    args = ("--data", data, "--batch-size", "4", "--lr", "0.05", "--save", "out.tiny")
    done = greenai("train", tiny(seconds=0.001), *args, *quick, "--json")
    assert done.code == 0, done.err
    assert done.json["kind"] == "train"
    assert done.json["complete"]
    (result,) = done.json["results"]
    assert result["model"]["batch_size"] == 4
    assert result["energy_per_step_j"]["value"] == pytest.approx(
        result["step_s"]["value"] * 10, rel=0.2
    )
    assert result["losses"][-1] < result["losses"][0]
    saved = json.loads((simulated / "out.tiny").read_text())["tiny"]
    assert saved != json.loads((simulated / "a.tiny").read_text())["tiny"]
    on_disk = json.loads((simulated / "greenai-report" / "report.json").read_text())
    assert on_disk == done.json


def test_train_stops_after_the_steps_that_were_asked_for(greenai, tiny, data, quick):
    done = greenai("train", tiny(seconds=0.002), "--data", data, "--steps", "80", *quick, "--json")
    assert 8 <= done.json["results"][0]["steps"] <= 80


def test_ctrl_c_keeps_the_steps_that_were_measured_and_the_trained_model(
    spawn, tiny, data, simulated
):
    running = simulated / "running"
    process = spawn(
        "train", tiny(seconds=0.001, marker=str(running)), "--data", data, "-p", "sim",
        "--min-time", "40", "--max-time", "50", "--save", "out.tiny", "--idle", "0",
    )  # fmt: skip
    until = time.monotonic() + 60
    while not running.exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    report = json.loads((simulated / "greenai-report" / "report.json").read_text())
    assert report["complete"] is False
    assert report["results"][0]["steps"] > 0
    assert (simulated / "out.tiny").exists()
    assert "one step" in out


def test_train_takes_the_batch_size_that_the_model_fixes(greenai, tiny, data, quick):
    args = ("--data", data, "--input-shape", "2x2", "--steps", "64")
    done = greenai("train", tiny(seconds=0.001), *args, *quick, "--json")
    assert done.code == 0, done.err
    assert done.json["results"][0]["model"]["batch_size"] == 2


def test_train_shows_a_table(greenai, tiny, data, quick):
    done = greenai("train", tiny(seconds=0.001), "--data", data, *quick)
    assert "one step" in done.out
    assert "one sample" in done.out
    assert max(map(len, done.out.splitlines())) <= 80


def test_a_model_that_cannot_be_saved_still_gives_its_figures(
    greenai, tiny, data, quick, monkeypatch
):
    """As when the disk fills up meanwhile."""

    def full(self, path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("greenai_simulated_models.TinyTraining.save", full)
    done = greenai(
        "train", tiny(seconds=0.001), "--data", data, "--save", "out.tiny", *quick, "--json"
    )
    assert done.code == exit_codes.OUTPUT
    assert "not written to out.tiny" in done.errors[0]
    assert len(done.json["results"]) == 1


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("none/x", "--save none/x: there is no folder none"),
        ("folder", "--save folder is a folder"),
        ("new/", "--save new/ is a folder"),
        ("folder/", "--save folder/ is a folder"),
        ("a.tiny/x", "there is no folder a.tiny"),
        ("/proc/x", "--save: /proc/x cannot be written"),
    ],
)
def test_a_place_that_takes_no_model_is_found_out_before_training(greenai, tiny, data, place, said):
    Path("folder").mkdir()
    began = time.monotonic()
    done = greenai(
        "train", tiny(), "--data", data, "--save", place, "-p", "sim", "--min-time", "30"
    )
    assert time.monotonic() - began < 10
    assert done.code == exit_codes.USAGE
    assert len(done.errors) == 1
    assert said in done.errors[0]


@pytest.mark.parametrize("name", ["photo.jpg", "array.npy"])
def test_data_of_another_kind_are_told_apart_from_a_broken_archive(
    greenai, tiny, quick, simulated, name
):
    np.save(simulated / "array.npy", np.zeros(3))
    (simulated / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    done = greenai("train", tiny(), "--data", name, *quick)
    assert done.code == exit_codes.MODEL
    assert len(done.errors) == 1
    assert f"{name} is no .npz file. Make one with numpy.savez" in done.errors[0]


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        (None, "no data file"),
        ({"x": np.zeros((4, 2))}, "must hold y"),
        ({"x": np.zeros((4, 2)), "y": np.zeros((3, 3))}, "x 4, y 3"),
        ({"x": np.zeros((0, 2)), "y": np.zeros((0, 3))}, "x 0"),
        ({"z": np.zeros((4, 2)), "y": np.zeros((4, 3))}, "the inputs of the model are: x"),
    ],
)
def test_data_that_do_not_fit_are_one_line(greenai, tiny, quick, simulated, arrays, said):
    if arrays is not None:
        np.savez(simulated / "data.npz", **arrays)
    done = greenai("train", tiny(), "--data", "data.npz", *quick)
    assert done.code == exit_codes.MODEL
    assert len(done.errors) == 1
    assert said in done.errors[0]
