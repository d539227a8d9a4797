"""Keras files that would run code, read other files, or claim what they do not hold."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

h5py = pytest.importorskip("h5py")

from greenai_core import ModelLoadError  # noqa: E402  # after the check that h5py is there
from greenai_plugins.models.keras_format import KerasModel  # noqa: E402  # likewise

DENSE = {
    "module": "keras.layers", "class_name": "Dense", "registered_name": None,
    "config": {"name": "dense", "trainable": True, "units": 2},
}  # fmt: skip
MODEL = {"module": "keras", "class_name": "Sequential", "registered_name": None}


def sequential(*layers: dict) -> dict:
    return {**MODEL, "config": {"name": "m", "trainable": True, "layers": list(layers)}}


def weights(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        file["layers/dense/vars/0"] = np.ones((3, 2), np.float32)
        file["layers/dense/vars/1"] = np.ones(2, np.float32)
    return path


def archive(tmp_path: Path, config: object, kind: int = zipfile.ZIP_STORED) -> Path:
    path = tmp_path / "model.keras"
    text = config if isinstance(config, (str, bytes)) else json.dumps(config)
    with zipfile.ZipFile(path, "w", kind) as zipped:
        zipped.writestr("metadata.json", "{}")
        zipped.writestr("config.json", text)
        zipped.write(weights(tmp_path / "w.h5"), "model.weights.h5")
    return path


def legacy(tmp_path: Path, config: dict) -> Path:
    """The same as a whole-model ``.h5``, whose safe mode old versions of Keras ignored."""
    path = tmp_path / "model.h5"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config)
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [b"dense"]
        group.create_group("dense").attrs["weight_names"] = [b"kernel"]
        group["dense"]["kernel"] = np.ones((3, 2), np.float32)
    return path


def inner(class_name: str, module: str = "keras.layers", **config: object) -> dict:
    return {"module": module, "class_name": class_name, "registered_name": None, "config": config}


HOSTILE = {
    "Lambda": inner("Lambda", function={"class_name": "__lambda__", "config": {"code": "4wEA"}}),
    "__lambda__": inner("Dense", activation={"class_name": "__lambda__", "config": {}}),
    "TFSMLayer": inner("TFSMLayer", filepath="/elsewhere"),
    "keras.utils.get_file": inner(
        "Dense", activation=inner("function", "keras.utils") | {"config": "get_file"}
    ),
    "keras.src.saving.saving_lib.load_model": inner(
        "Dense",
        activation=inner("function", "keras.src.saving.saving_lib") | {"config": "load_model"},
    ),
    "/etc/passwd": inner("StringLookup", vocabulary="/etc/passwd"),
}


@pytest.mark.parametrize("write", [archive, legacy])
@pytest.mark.parametrize("what", list(HOSTILE))
def test_what_would_run_code_or_read_files_is_named(tmp_path, write, what):
    path = write(tmp_path, sequential(DENSE, HOSTILE[what]))
    model = KerasModel(path, device="cpu")
    ability = model.abilities()["run"]
    assert not ability.possible
    assert what in ability.reason
    assert "trust" in ability.reason
    with pytest.raises(ModelLoadError, match="trust"):
        model.load()


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("module", "name"), [("os", "system"), ("builtins", "exec"), ("subprocess", "getoutput")]
)
def test_functions_of_other_modules_are_never_fetched(tmp_path, module, name):
    pytest.importorskip("keras")
    function = {**inner("function", module), "config": name}
    layer = {**DENSE, "config": {**DENSE["config"], "activation": function}}
    path = archive(tmp_path, sequential(inner("InputLayer", batch_shape=[None, 3]), layer))
    with pytest.raises(ModelLoadError, match=rf"{module}.{name}|cannot read|needs layers"):
        KerasModel(path, device="cpu").run()


def test_ordinary_functions_and_word_lists_are_no_reason(tmp_path):
    plain = [
        inner("Dense", activation={**inner("function", "keras.activations"), "config": "relu"}),
        inner("StringLookup", vocabulary=["a", "b"]),
        inner("Functional", "keras.src.models.functional"),
    ]
    path = archive(tmp_path, sequential(DENSE, *plain))
    assert KerasModel(path).abilities()["run"].possible


# HDF5 that reaches outside, or lies


def external_link(file: h5py.File, other: Path) -> None:
    file["layers/dense/vars/2"] = h5py.ExternalLink(str(other), "x")


def external_storage(file: h5py.File, other: Path) -> None:
    file.create_dataset("layers/dense/vars/2", (3,), "f4", external=[(str(other), 0, 12)])


def virtual(file: h5py.File, other: Path) -> None:
    layout = h5py.VirtualLayout((3,), "f4")
    layout[:] = h5py.VirtualSource(str(other), "x", shape=(3,))
    file.create_virtual_dataset("layers/dense/vars/2", layout)


def hollow(file: h5py.File, other: Path) -> None:
    file.create_dataset("layers/dense/vars/2", (2**40,), "f4", chunks=(1024,))


def impossible(file: h5py.File, other: Path) -> None:
    file.create_dataset("layers/dense/vars/2", (2**31, 2**31), "f4", chunks=(1, 1024))


TRAPS = {
    external_link: "link to the file.*secret",
    external_storage: "keeps its numbers in the file.*secret",
    virtual: "virtual",
    hollow: r"claims 4,398,046,511,104 bytes, of which the file holds 0",
    impossible: "impossible shape",
}


@pytest.mark.parametrize("inside_archive", [False, True])
@pytest.mark.parametrize("trap", list(TRAPS))
def test_hdf5_that_reaches_outside_or_lies_is_refused(tmp_path, trap, inside_archive):
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["x"] = np.ones(3, np.float32)
    path = weights(tmp_path / "m.weights.h5")
    with h5py.File(path, "a") as file:
        trap(file, secret)
    if inside_archive:
        whole = tmp_path / "model.keras"
        with zipfile.ZipFile(whole, "w") as zipped:
            zipped.writestr("config.json", json.dumps(sequential(DENSE)))
            zipped.write(path, "model.weights.h5")
        path = whole
    for use in (KerasModel(path).count_parameters, KerasModel(path).abilities):
        with pytest.raises(ModelLoadError, match=TRAPS[trap]) as caught:
            use()
        assert path.name in str(caught.value)


def test_large_compressed_datasets_that_are_there_pass(tmp_path):
    """Zeros shrink a thousandfold: still a model, if a dull one."""
    path = tmp_path / "m.weights.h5"
    with h5py.File(path, "w") as file:
        data = np.zeros((2**20, 20), np.float32)
        file.create_dataset("layers/dense/vars/0", data=data, compression="gzip")
    assert KerasModel(path).count_parameters().total == 20 * 2**20


# Bombs


def test_a_configuration_that_is_a_bomb_is_refused(tmp_path):
    text = "[" + "0," * (20 * 2**20) + "0]"
    path = archive(tmp_path, text, zipfile.ZIP_DEFLATED)
    with pytest.raises(ModelLoadError, match="too large"):
        KerasModel(path).count_parameters()


def test_deep_nesting_is_an_error_of_the_file(tmp_path):
    for text in ("[" * 200_000, '{"a":' * 200_000):
        with pytest.raises(ModelLoadError, match="cannot read"):
            KerasModel(archive(tmp_path, text)).count_parameters()
    deep: dict = sequential(DENSE)
    for _ in range(200):
        deep = sequential(deep)
    KerasModel(archive(tmp_path, deep)).abilities()


def test_members_that_leave_the_archive_are_refused(tmp_path):
    path = archive(tmp_path, sequential(DENSE))
    with zipfile.ZipFile(path, "a") as zipped:
        zipped.writestr("../../escaped", "x")
    with pytest.raises(ModelLoadError, match=r"'\.\./\.\./escaped'"):
        KerasModel(path).count_parameters()
