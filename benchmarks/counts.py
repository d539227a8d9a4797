"""Are the counts of greenai those of the framework? `make counts`.

Makes each network with random weights, writes it in every format that takes it, and
compares what the framework counts on its own objects with what greenai reads from the
file. Each network has a process of its own, which gives its memory back. The exit code
is 1 where a count differs. See ``docs/parameters.md``.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from counted import Network, Row, Split, Writer

LIBRARIES = {"keras": "counted_keras", "torch": "counted_torch"}
NOTE_LENGTH = 100


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare; 1 where a count differs or a process fails."""
    options = _options(arguments)
    if options.one:
        print(json.dumps([dataclasses.asdict(row) for row in _one(options.one, options.small)]))
        return 0
    rows: list[Row] = []
    for name in options.network or names(options.small):
        print(f"{name} ...", file=sys.stderr, flush=True)
        found = list(_in_its_own_process(name, options.small))
        rows += found
        if not options.json:
            print(table(found), flush=True)
    print(as_json(rows) if options.json else summary(rows))
    return int(any(row.equal is False for row in rows))


def names(small: bool) -> list[str]:
    """The networks, as the command line takes them."""
    return [_key(network) for network in _networks() if network.small or not small]


def compare(network: Network, small: bool) -> Iterator[Row]:
    """One row for each format of a network; each file is deleted before the next is made."""
    from greenai_core import factory

    library = importlib.import_module(LIBRARIES[network.library])
    made = network.make(small)
    for format, write in library.writers(made).items():
        with tempfile.TemporaryDirectory() as folder:
            yield _row(network, format, write, Path(folder), factory)


def _row(network: Network, format: str, write: Writer, folder: Path, factory: Any) -> Row:
    try:
        written = write(folder)
    except Exception as error:  # noqa: BLE001  # exporters raise anything; the table tells
        return Row(_key(network), format, None, None, f"not written: {_short(error)}")
    try:
        with factory.load(written.path, device="cpu", **written.options) as model:
            count = model.count_parameters()
    except Exception as error:  # noqa: BLE001  # a count that fails is a difference
        return Row(_key(network), format, written.expected, None, _short(error))
    found = Split(count.trainable, count.non_trainable)
    return Row(_key(network), format, written.expected, found)


def table(rows: Iterable[Row]) -> str:
    """A line for each file."""
    return "\n".join(
        f"{row.network:38} {row.format:20} {_of(row.expected):>24} {_of(row.found):>24}  "
        f"{ {True: 'equal', False: 'DIFFERENT', None: '-'}[row.equal] }  {row.note}".rstrip()
        for row in rows
    )


def summary(rows: Sequence[Row]) -> str:
    """How many of each format are equal."""
    lines = ["", f"{'format':22} {'files':>6} {'equal':>6} {'different':>10} {'not written':>12}"]
    formats = list(dict.fromkeys(row.format for row in rows))
    for format in [*formats, "all"]:
        equal = [row.equal for row in rows if format in (row.format, "all")]
        numbers = [len(equal) - equal.count(None)]
        numbers += [equal.count(verdict) for verdict in (True, False, None)]
        lines.append("{:22} {:6} {:6} {:10} {:12}".format(format, *numbers))
    counted = len({row.network for row in rows if row.equal})
    lines.append(f"{counted} networks with at least one equal count")
    return "\n".join(lines)


def as_json(rows: Sequence[Row]) -> str:
    """All rows for machines."""
    return json.dumps(
        [{**dataclasses.asdict(row), "equal": row.equal} for row in rows], ensure_ascii=False
    )


def _of(split: Split | None) -> str:
    return "-" if split is None else str(split)


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:NOTE_LENGTH]


def _networks() -> list[Network]:
    return [
        network
        for module in LIBRARIES.values()
        for network in importlib.import_module(module).NETWORKS
    ]


def _key(network: Network) -> str:
    return f"{network.library}: {network.name}"


def _one(key: str, small: bool) -> list[Row]:
    network = next(network for network in _networks() if _key(network) == key)
    if network.library == "torch":
        importlib.import_module("counted_torch").quiet()
    return list(compare(network, small))


def _in_its_own_process(key: str, small: bool) -> Iterator[Row]:
    command = [sys.executable, __file__, "--one", key, *(["--small"] if small else [])]
    silent = {**os.environ, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=silent)
    if done.returncode:
        yield Row(key, "all", Split(0, 0), None, f"its process failed: {done.stderr[-300:]}")
        return
    for row in json.loads(done.stdout.splitlines()[-1]):
        sides = ("expected", "found")
        splits = {side: None if row[side] is None else Split(**row[side]) for side in sides}
        yield Row(**{**row, **splits})


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("network", nargs="*", help="as the table names it; default: all")
    parser.add_argument("--small", action="store_true", help="tiny configurations of the networks")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    unknown = set(options.network) - set(names(small=False))
    if unknown:
        parser.error(
            f"no network {', '.join(sorted(unknown))}; there are: {', '.join(names(False))}"
        )
    return options


if __name__ == "__main__":
    sys.exit(main())
