"""Damage a model of every format many times, and judge what comes of it.

``python tests/fuzz/fuzz_run.py --count 2000`` is ``make fuzz``; a failure is
kept with the command that repeats it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from fuzz_mutations import mutate_model  # noqa: E402  # after the path to it
from fuzz_seeds import SEEDS, Seed  # noqa: E402  # likewise

LIMIT_S = 10.0
LIMIT_BYTES = 2**30
SLACK = 4
"""A hang is judged by CPU time; the clock is given this much more on a busy machine."""

BATCH = 20

FAILURES = Path(".fuzz")


@dataclass
class Tally:
    """What came of the mutations of one seed."""

    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    crashes: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    largest_bytes: int = 0
    mutations: int = 0


class Server:
    """The forking process of one library."""

    def __init__(self, library: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "fuzz_server.py"), library],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n", f"the server of {library} is dead"

    def ask(self, job: dict[str, Any]) -> list[dict[str, Any]]:
        """See ``fuzz_server.serve``."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        answers: list[dict[str, Any]] = json.loads(self.process.stdout.readline())
        return answers

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=30)


@contextlib.contextmanager
def servers() -> Iterator[Any]:
    """``get(library)``, each started once."""
    started: dict[str, Server] = {}

    def get(library: str) -> Server:
        if library not in started:
            started[library] = Server(library)
        return started[library]

    try:
        yield get
    finally:
        for server in started.values():
            server.close()


def write_seeds(library: str, folder: Path) -> None:
    """The seeds of one library, written by a process of their own."""
    done = subprocess.run(
        [sys.executable, str(HERE / "fuzz_seeds.py"), library, str(folder)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"the seeds of {library} cannot be written: {done.stderr[-2000:]}"


def fuzz(
    seed: Seed, server: Server, seeds: Path, indices: range, *, random_seed: int, run_every: int
) -> Tally:
    """Damage one seed once for each index; every ``run_every``-th is also run (0: none).

    Models that are only counted go to one process together, for a fork takes
    longer than most of them.
    """
    tally = Tally()
    ran = [i for i in indices if run_every and i % run_every == 0]
    counted = [i for i in indices if not run_every or i % run_every]
    batches = [([i], True) for i in ran]
    batches += [(counted[at : at + BATCH], False) for at in range(0, len(counted), BATCH)]
    for batch, run in batches:
        waiting = batch
        while waiting:
            waiting = waiting[_work(tally, seed, server, seeds, waiting, random_seed, run) :]
    return tally


def _work(
    tally: Tally, seed: Seed, server: Server, seeds: Path, batch: list[int], random_seed: int,
    run: bool,
) -> int:  # fmt: skip
    """Damage and judge the models of one batch; how many of them were done."""
    source = seeds / seed.file
    if "/" in seed.file:
        source = source.parent
    with tempfile.TemporaryDirectory(prefix="greenai-fuzz-") as folder:
        targets, done_to = [], []
        for index in batch:
            target = Path(folder, str(index), source.name)
            target.parent.mkdir()
            done_to.append(
                mutate_model(source, target, Random(f"{seed.name}:{random_seed}:{index}"))
            )
            targets.append(target)
        inner = Path(seed.file).name if "/" in seed.file else ""
        job = {
            "paths": [str(target / inner) for target in targets],
            "format": seed.format, "run": run,
            "limit_s": LIMIT_S * SLACK, "limit_bytes": LIMIT_BYTES,
        }  # fmt: skip
        answers = server.ask(job)
        trapped = (seeds / "TRAP").exists()
        (seeds / "TRAP").unlink(missing_ok=True)
        for index, target, what, answer in zip(batch, targets, done_to, answers, strict=False):
            problem = judge(tally, answer, trapped, f"{seed.name} {index} ({what})", run)
            if problem:
                again = f"--seed {seed.name} --random-seed {random_seed} --only {index}"
                again += " --run" if run else ""
                kept = _keep(target, seed, index)
                tally.failures.append(f"{problem}\n    kept as {kept}; again: fuzz_run.py {again}")
    return len(answers)


def judge(tally: Tally, answer: dict[str, Any], trapped: bool, name: str, run: bool) -> str:
    """Add an answer to the tally; what is wrong with it, if anything is."""
    tally.mutations += 1
    tally.slowest_s = max(tally.slowest_s, answer["seconds"])
    tally.largest_bytes = max(tally.largest_bytes, answer["bytes"])
    problems = [f"code was run: {event}" for event in answer.get("events", ())]
    if trapped:
        problems.append("the payload of the file was run")
    if answer["ended_by"] or answer.get("cpu_s", 0) > LIMIT_S:
        problems.append(f"{answer['ended_by'] or 'hang'} after {answer['seconds']:.1f} s")
    elif answer.get("signal"):
        told = f"the interpreter ended with signal {answer['signal']}"
        # Only the library itself runs a model: its crashes are told by the command line.
        if run:
            tally.outcomes["run: crash"] += 1
            tally.crashes.append(f"{name}: {told}")
        else:
            problems.append(told)
    elif "told" not in answer:
        problems.append(f"the child ended with status {answer['status']}")
    for use, (outcome, *more) in answer.get("told", {}).items():
        tally.outcomes[f"{use}: {outcome}"] += 1
        if outcome == "error":
            problems.append(f"{use}: {' at '.join(more)}")
    return f"{name}: {'; '.join(problems)}" if problems else ""


def _keep(target: Path, seed: Seed, index: int) -> Path:
    kept = FAILURES / f"{seed.name}-{index}"
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    (shutil.copytree if target.is_dir() else shutil.copy)(target, kept / target.name)
    return kept


def available(seed: Seed) -> bool:
    """Whether a format of that name is installed."""
    from greenai_core import factory

    return seed.format in factory.formats


def report(name: str, tally: Tally) -> str:
    outcomes = ", ".join(f"{key} {count}" for key, count in sorted(tally.outcomes.items()))
    return (
        f"{name}: {tally.mutations} mutations, slowest {tally.slowest_s:.2f} s, "
        f"largest {tally.largest_bytes / 2**20:.0f} MiB, {len(tally.failures)} failures\n"
        f"    {outcomes}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="mutations of each seed")
    parser.add_argument("--seed", action="append", help="only this one (may be repeated)")
    parser.add_argument("--random-seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="only the mutation of this number")
    parser.add_argument("--run", action="store_true", help="run every model, not every tenth")
    given = parser.parse_args()
    chosen = [s for s in SEEDS if available(s) and (not given.seed or s.name in given.seed)]
    indices = range(given.count) if given.only is None else range(given.only, given.only + 1)
    every = 1 if given.run else 10
    failed = 0
    with tempfile.TemporaryDirectory() as folder, servers() as get:
        for library in dict.fromkeys(seed.library for seed in chosen):
            write_seeds(library, Path(folder, library))
        for seed in chosen:
            home = Path(folder, seed.library)
            if not (home / seed.file).exists():
                continue
            tally = fuzz(
                seed, get(seed.library), home, indices,
                random_seed=given.random_seed, run_every=every,
            )  # fmt: skip
            sys.stdout.write(report(seed.name, tally) + "\n")
            for line in [*tally.failures, *(f"crash: {crash}" for crash in tally.crashes)]:
                sys.stdout.write(f"  {line}\n")
            sys.stdout.flush()
            failed += len(tally.failures)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
