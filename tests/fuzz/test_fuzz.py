"""Whatever is done to a model file, the outcome is a result or a clear error.

Within 10 s and 1 GB; nothing the file holds is run, and the interpreter lives.
``make fuzz`` does the same with ten times as many mutations.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from random import Random

import fuzz_run
import pytest
from fuzz_case import HOOK
from fuzz_mutations import PLAIN, mutate, mutate_model
from fuzz_seeds import SEEDS, Seed

MUTATIONS = int(os.environ.get("FUZZ_MUTATIONS", "200"))
RUN_EVERY = 20
MARKS = {"torch": [pytest.mark.torch], "tensorflow": [pytest.mark.tensorflow]}
NEEDS = {"onnx": "onnx", "torch": "torch", "tensorflow": "keras"}


@pytest.fixture(scope="session")
def seeds(tmp_path_factory):
    """Folder with the seeds of a library, written once."""
    written: dict[str, Path] = {}

    def get(library: str) -> Path:
        pytest.importorskip(NEEDS[library])
        if library not in written:
            written[library] = tmp_path_factory.mktemp(library) / "seeds"
            fuzz_run.write_seeds(library, written[library])
        return written[library]

    return get


@pytest.fixture(scope="session")
def server():
    with fuzz_run.servers() as get:
        yield get


def each_seed():
    return pytest.mark.parametrize(
        "seed", [pytest.param(s, id=s.name, marks=MARKS.get(s.library, [])) for s in SEEDS]
    )


def skip_unless_there(seed: Seed, folder: Path) -> None:
    if not fuzz_run.available(seed):
        pytest.skip(f"the format {seed.format} is not installed")
    if not (folder / seed.file).exists():
        pytest.skip(f"nothing here writes {seed.file}")


@each_seed()
def test_damaged_models_are_counted_or_refused(seed, seeds, server, tmp_path, monkeypatch):
    folder = seeds(seed.library)
    skip_unless_there(seed, folder)
    monkeypatch.setattr(fuzz_run, "FAILURES", tmp_path)
    tally = fuzz_run.fuzz(
        seed, server(seed.library), folder, range(MUTATIONS), random_seed=1, run_every=RUN_EVERY
    )
    assert tally.mutations == MUTATIONS
    assert not tally.failures, "\n".join(tally.failures)


FOUND = {
    "libhdf5 loops on a table of texts whose lengths are false": ("keras-weights", 3, 1992),
}
"""Mutations that once hung: their seed, random seed and number."""


@pytest.mark.tensorflow
@pytest.mark.parametrize("what", FOUND)
def test_what_once_hung_is_refused(what, seeds, server, tmp_path, monkeypatch):
    name, random_seed, number = FOUND[what]
    seed = next(one for one in SEEDS if one.name == name)
    folder = seeds(seed.library)
    monkeypatch.setattr(fuzz_run, "FAILURES", tmp_path)
    tally = fuzz_run.fuzz(
        seed, server(seed.library), folder, range(number, number + 1),
        random_seed=random_seed, run_every=1,
    )  # fmt: skip
    assert not tally.failures, "\n".join(tally.failures)
    assert tally.outcomes["count: refused"] == 1


@each_seed()
def test_the_undamaged_seeds_are_good(seed, seeds, server):
    """The mutations start from a file that counts, and runs where it may."""
    folder = seeds(seed.library)
    skip_unless_there(seed, folder)
    (answer,) = server(seed.library).ask(job(folder / seed.file, seed.format, run=True))
    told = answer["told"]
    evil = seed.name in ("pytorch-evil", "keras-lambda")
    assert told["recognise"][0] == "result", told
    assert told["count"][0] == ("refused" if seed.name == "pytorch-evil" else "result"), told
    cannot = evil or seed.name in ("keras-weights", "safetensors")
    assert told["run"][0] == ("refused" if cannot else "result"), told
    if seed.name == "onnx-trained":
        trains = importlib.util.find_spec("onnx2torch") is not None
        assert told["train"][0] == ("result" if trains else "refused"), told
    assert not answer["events"]
    assert not (folder / "TRAP").exists()


def job(path: Path, format: str, *, run: bool = False, limit_s: float = 40.0, size: int = 2**30):
    return {
        "paths": [str(path)], "format": format, "run": run, "limit_s": limit_s, "limit_bytes": size,
    }  # fmt: skip


# The harness itself


def test_mutations_are_the_same_for_the_same_seed(tmp_path):
    content = bytes(range(256)) * 8
    first = [mutate(content, Random(f"x:{i}")) for i in range(50)]
    assert first == [mutate(content, Random(f"x:{i}")) for i in range(50)]
    assert sum(damaged != content for damaged, _ in first) > 45
    for kind in PLAIN:
        for size in (0, 1, 5):
            kind(bytearray(size), Random(1))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "a").write_bytes(content)
    (folder / "b").write_bytes(content)
    what = mutate_model(folder, tmp_path / "copy", Random(3))
    same = [(tmp_path / "copy" / name).read_bytes() == content for name in "ab"]
    assert sorted(same) == [False, True]
    assert what


def test_the_harness_sees_what_it_looks_for(tmp_path, server, seeds):
    """A crash, a hang, a memory hog, an error that is no ModelError, and code that is run."""
    seeds("onnx")
    bad = {
        "crash": "os.kill(os.getpid(), 11)",
        "hang": "time.sleep(60)",
        "memory": "hog = [bytearray(b'x') * 2**20 for _ in range(2000)]; time.sleep(60)",
        "error": "raise KeyError('x')",
        "code": "os.system('true')",
        "write": "open(os.path.join(os.path.expanduser('~'), 'greenai-fuzz'), 'w')",
    }
    for kind, body in bad.items():
        path = tmp_path / "hook"
        path.write_text(body)
        (answer,) = server("onnx").ask(job(path, HOOK, limit_s=2.0, size=2**29))
        problem = fuzz_run.judge(fuzz_run.Tally(), answer, False, kind, False)
        assert problem, answer
        if kind == "write":
            assert "open for writing" in problem


def test_a_model_that_ends_its_process_leaves_the_others_of_its_batch(tmp_path, server, seeds):
    seeds("onnx")
    paths = [tmp_path / name for name in ("a", "b", "c")]
    for path, body in zip(paths, ("pass", "os.kill(os.getpid(), 6)", "pass"), strict=True):
        path.write_text(body)
    work = {**job(paths[0], HOOK), "paths": [str(path) for path in paths]}
    first, second = server("onnx").ask(work)
    assert first["told"] == {"count": ["result", ""]}
    assert second["signal"] == 6
