"""Run the command line with simulated sensors and a tiny model format.

``simulated/`` is a distribution of its own, found through its entry points like
any third party's plugin; no deep-learning library is needed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from greenai_core import registry
from greenai_core.cli.main import main
from greenai_core.model_factory import factory

SIMULATED = Path(__file__).parent / "simulated"
QUICK = ("-p", "sim", "--precision", "90%", "--min-time", "0.1", "--max-time", "10")


@dataclass
class Done:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)

    @property
    def errors(self):
        return [line for line in self.err.splitlines() if line.startswith("greenai: error:")]


@pytest.fixture(autouse=True)
def simulated(monkeypatch, tmp_path):
    """The simulated distribution is installed; no configuration of the machine shows through."""
    monkeypatch.syspath_prepend(str(SIMULATED))
    monkeypatch.setenv("PYTHONPATH", str(SIMULATED))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("COLUMNS", "80")
    for name in list(os.environ):
        if name.startswith("GREENAI_"):
            monkeypatch.delenv(name)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    registry.forget()
    factory._formats.clear()
    yield work
    registry.forget()
    factory._formats.clear()


@pytest.fixture
def greenai(capfd):
    """Run the command in this process: ``greenai("params", "a.tiny") -> Done``."""

    def run(*args):
        capfd.readouterr()
        code = main([str(arg) for arg in args])
        sys.stdout.flush()
        out, err = capfd.readouterr()
        return Done(code, out, err)

    return run


@pytest.fixture
def spawn():
    """Start the command as a process of its own; ended with the test."""
    started = []

    def start(*args, **options):
        options = {
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
            **options,
        }
        command = [sys.executable, "-m", "greenai_core", *map(str, args)]
        started.append(subprocess.Popen(command, **options))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream:
                stream.close()


@pytest.fixture
def tiny(simulated):
    """Write a model file: ``tiny("a.tiny", seconds=0.001) -> its name``."""

    def write(name="a.tiny", matrix=((1.0, 2.0, 3.0), (4.0, 5.0, 6.0)), **more):
        content = {"tiny": [list(row) for row in matrix], **more}
        (simulated / name).write_text(json.dumps(content))
        return name

    return write


@pytest.fixture
def quick():
    """Options of a short measurement with the simulated sensor."""
    return QUICK
