"""Data sets are read from the usual files, run nothing, and are made up where there are none."""

from __future__ import annotations

import gzip
import pickle
import struct
import tarfile

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from sparsity import data, image_files, safe_pickle  # noqa: E402  # after the skip

pytestmark = pytest.mark.torch
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (30, 28, 28), np.uint8)
LABELS = (np.arange(30) % 10).astype(np.uint8)


def idx(array):
    head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return head + array.tobytes()


def write_mnist(folder, pack=False):
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    parts = {"train-images-idx3": IMAGES, "train-labels-idx1": LABELS,
             "t10k-images-idx3": IMAGES[:10], "t10k-labels-idx1": LABELS[:10]}  # fmt: skip
    for name, array in parts.items():
        content = idx(array)
        path = raw / f"{name}-ubyte{'.gz' if pack else ''}"
        path.write_bytes(gzip.compress(content) if pack else content)
    return raw


def cifar_batch(first, count=4):
    pixels = np.full((count, 3072), first, np.uint8)
    pixels[:, 1024:2048] = 7
    return {b"data": pixels, b"labels": [n % 10 for n in range(count)], b"batch_label": b"x"}


def write_cifar(folder):
    target = folder / "cifar-10-batches-py"
    target.mkdir(parents=True)
    for number, name in enumerate(image_files.CIFAR_BATCHES):
        (target / name).write_bytes(pickle.dumps(cifar_batch(number), protocol=2))
    return target


@pytest.mark.parametrize("pack", [False, True])
def test_mnist_of_torchvision(tmp_path, pack):
    write_mnist(tmp_path, pack)
    found = image_files.find_mnist([tmp_path / "absent", tmp_path])
    assert np.array_equal(found.images[:, 0], IMAGES)
    assert np.array_equal(found.test_labels, LABELS[:10])
    assert "MNIST in" in found.source


def test_mnist_of_keras(tmp_path):
    np.savez(tmp_path / "mnist.npz", x_train=IMAGES, y_train=LABELS, x_test=IMAGES[:5],
             y_test=LABELS[:5])  # fmt: skip
    found = image_files.find_mnist([tmp_path])
    assert found.images.shape == (30, 1, 28, 28)
    assert len(found.test_images) == 5


def test_cifar_of_torchvision(tmp_path):
    write_cifar(tmp_path)
    found = image_files.find_cifar10([tmp_path])
    assert found.images.shape == (20, 3, 32, 32)
    assert (found.images[:, 1] == 7).all()
    assert found.images[:, 0, 0, 0].tolist() == [n for n in range(5) for _ in range(4)]
    assert found.test_labels.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("name", image_files.CIFAR_ARCHIVES)
def test_cifar_in_its_archive(tmp_path, name):
    folder = write_cifar(tmp_path / "made")
    with tarfile.open(tmp_path / name, "w:gz") as archive:
        archive.add(folder, "cifar-10-batches-py")
    found = image_files.find_cifar10([tmp_path])
    assert found.images.shape == (20, 3, 32, 32)
    assert name in found.source


class Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit('the file was run')",))


@pytest.mark.parametrize("where", ["top", "inside"])
def test_a_pickle_that_wants_to_run_something_is_refused(tmp_path, where):
    target = write_cifar(tmp_path)
    evil = Evil() if where == "top" else {**cifar_batch(0), b"more": Evil()}
    (target / "data_batch_3").write_bytes(pickle.dumps(evil))
    with pytest.raises(image_files.DataFileError, match=r"data_batch_3.*builtins\.exec"):
        image_files.find_cifar10([tmp_path])


@pytest.mark.parametrize(
    "held",
    [
        [1, 2],
        {b"data": np.zeros(3, np.float64)},
        {b"data": np.array([object()])},
        {b"data": np.zeros((2, 3), ">u2")},
    ],
)
def test_a_pickle_of_something_else_is_refused(held):
    with pytest.raises(safe_pickle.UnsafePickleError):
        safe_pickle.load(pickle.dumps(held, protocol=2))


@pytest.mark.parametrize("length", [0, 1, 50, 300, -1])
def test_a_pickle_cut_off_is_refused(length):
    content = pickle.dumps(cifar_batch(0), protocol=2)
    with pytest.raises(safe_pickle.UnsafePickleError):
        safe_pickle.load(content[:length])


def test_arrays_in_either_order_are_read():
    array = np.asfortranarray(np.arange(12, dtype=np.uint8).reshape(3, 4))
    for protocol in (2, 4):
        found = safe_pickle.load(pickle.dumps({"a": array}, protocol=protocol))
        assert np.array_equal(found["a"], array)


@pytest.mark.parametrize("broken", [b"", b"\0\0\x08\x03", idx(IMAGES)[:-1], idx(IMAGES) + b"x"])
def test_an_idx_file_cut_off_is_refused(tmp_path, broken):
    raw = write_mnist(tmp_path)
    (raw / "train-images-idx3-ubyte").write_bytes(broken)
    with pytest.raises(image_files.DataFileError, match="train-images-idx3-ubyte"):
        image_files.find_mnist([tmp_path])


def test_labels_that_do_not_fit_are_refused(tmp_path):
    raw = write_mnist(tmp_path)
    (raw / "train-labels-idx1-ubyte").write_bytes(idx(LABELS[:-1]))
    with pytest.raises(image_files.DataFileError, match="do not belong together"):
        image_files.find_mnist([tmp_path])


def test_real_images_are_brought_to_mean_0_and_spread_1(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "USUAL_FOLDERS", ())
    write_mnist(tmp_path)
    found = data.load("mnist", folders=[tmp_path])
    assert not found.synthetic
    assert abs(float(found.training.images.mean())) < 1e-4
    assert float(found.training.images.std()) == pytest.approx(1, abs=1e-3)
    assert (len(found.training), len(found.test)) == (30, 10)
    assert "made-up" not in found.source


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_where_there_are_no_files_images_are_made_up_and_it_is_said(name, tmp_path, monkeypatch):
    monkeypatch.setattr(data, "USUAL_FOLDERS", (tmp_path,))
    found = data.load(name, samples=40, test_samples=20)
    again = data.load(name, samples=40, test_samples=20)
    assert found.synthetic
    assert "made-up" in found.source
    assert found.training.images.shape == (40, *data.SHAPES[name])
    assert torch.equal(found.training.images, again.training.images)
    assert set(found.training.labels.tolist()) <= set(range(10))


def test_batches_hold_each_sample_once():
    split = data.Split(torch.arange(10.0).reshape(10, 1, 1, 1), torch.arange(10))
    in_order = [batch.labels.tolist() for batch in split.batches(4, None)]
    assert in_order == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    shuffled = [b.labels.tolist() for b in split.batches(4, torch.Generator().manual_seed(0))]
    assert [len(batch) for batch in shuffled] == [4, 4]
    assert len({*shuffled[0], *shuffled[1]}) == 8
