"""Every option that takes a value, given nonsense: one line, the right code, and no work done."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from greenai_core.cli import exit_codes
from greenai_core.cli.main import COMMANDS, WRAPPERS

USAGE, PLUGIN, MODEL, REPORT = (
    exit_codes.USAGE,
    exit_codes.PLUGIN,
    exit_codes.MODEL,
    exit_codes.REPORT,
)

REST = {
    "devices": [],
    "plugins": [],
    "params": ["a.tiny", "--flops"],
    "run": ["a.tiny"],
    "bench": ["a.tiny", "-p", "sim", "--max-time", "0.4", "--min-time", "0.2"],
    "train": ["a.tiny", "--data", "d.npz", "-p", "sim", "--max-time", "0.4", "--min-time", "0.2"],
    "measure": ["--", "touch", "ran"],
    "grade": ["-p", "sim", "script.py"],
    "export": ["r.json", "--to", "sim"],
    "config": [],
    "compare": ["a.tiny", "a.tiny", "-p", "sim", "--max-time", "0.4"],
    "explain": ["r.json"],
    "record": ["-p", "sim", "--out", "rows.csv", "--duration", "0.1"],
}
"""What each command needs beside the option; without nonsense it would work."""

NONSENSE = {
    "--profiler": (["nosuch", ""], PLUGIN),
    "--option": (
        [
            "x",
            "sim.volts=3",
            "sim.watts=many",
            "modelled.tdp_w=-3",
            "modelled.tdp_w=abc",
            "wattmeter.url=zzz",
            "wattmeter.gain=-1",
            "wattmeter.kind=none",
            "pyjoules.delay=x",
        ],
        USAGE,
    ),
    "--tdp": (["-3", "0", "nan", "inf", "many"], USAGE),
    "--precision": (["0", "200%", "-1", "nan", "narrow", ""], USAGE),
    "--max-time": (["0", "-1", "nan", "inf", "long"], USAGE),
    "--min-time": (["0", "-1", "nan", "inf", "short"], USAGE),
    "--idle-time": (["-1", "nan", "inf", "short"], USAGE),
    "--device": (["banana", "cpu:x", "cuda:", "cuda:-1", "CUDA", "cuda:1:2", ""], USAGE),
    "--out": (["a.tiny/x", "/proc/x", ""], USAGE),
    "--save": (["a.tiny/x", "nowhere/x", "/proc/x", "", "."], USAGE),
    "--output": (["a.tiny/x.npz", "/proc/x.npz", "folder.npz", "folder.npz/", ""], USAGE),
    "--format": (["nosuch"], PLUGIN),
    "--class": (["x", "x:", ":x"], USAGE),
    "--model-option": (["x", "=1", "bogus=1"], USAGE),
    "--input-shape": (["x", "1x0", "=1x2", "1x-2", ""], USAGE),
    "--input": (["nothing.npy", "folder.npz"], MODEL),
    "--text": (["words"], MODEL),
    "--batch-size": (["0", "-1", "many", "1.5"], USAGE),
    "--axis": (["x", "x=0", "=3", "x=-1", "x=many", ""], USAGE),
    "--resize": (["huge"], USAGE),
    "--normalise": (["loudly", "1/0", "nan/1"], USAGE),
    "--preprocess": (["x", "x:", ":x", "nosuch:x", "json:nosuch"], USAGE),
    "--data": (["nothing.npz", "a.tiny", "folder.npz"], MODEL),
    "--validation": (["nothing.npz"], USAGE),
    "--epochs": (["0", "-1", "many"], USAGE),
    "--steps": (["0", "-1", "many"], USAGE),
    "--idle": (["-1", "nan", "inf", "short"], USAGE),
    "--processes": (["0", "-1", "4", "many"], USAGE),
    "--quads": (["0", "-1", "many"], USAGE),
    "--equivalent": (["-1", "nan", "wide"], USAGE),
    "--lr": (["-1", "nan", "inf", "fast"], USAGE),
    "--seed": (["-1", "x"], USAGE),
    "--rounds": (["0", "2", "-1", "many", "1.5"], USAGE),
    "--seconds": (["0", "-1", "nan", "inf", "long"], USAGE),
    "--units": (["0", "-3", "nan", "inf", "many"], USAGE),
    "--scale": (["nothing.json", "a.tiny"], REPORT),
    "--grader": (["nosuch"], PLUGIN),
    "--to": (["nosuch"], PLUGIN),
    "--interval": (["0", "-1", "nan", "inf", "0.0001", "4000", "often"], USAGE),
    "--rotate-rows": (["0", "-1", "many"], USAGE),
    "--rotate-bytes": (["0", "-1", "1.5"], USAGE),
    "--rotate-time": (["0", "-1", "nan", "inf", "late"], USAGE),
    "--duration": (["0", "-1", "nan", "inf", "long"], USAGE),
    "--pid": (["0", "-1", "self", "4194305"], USAGE),
    "--read": (["nothing.csv", "a.tiny", ""], USAGE),
    "--from": (["1", "yesterday"], USAGE),
    "--task": (["juggling", ""], USAGE),
    "--baseline": (["keep", "save=", ""], USAGE),
    "--label": (["a.tiny/x", "/proc/x", ""], USAGE),
    "--badge": (["a.tiny/x", "/proc/x", ""], USAGE),
    "--country": (["Atlantis", ""], USAGE),
    "--carbon-intensity": (["-1", "0.3", "nan", "inf", "much"], USAGE),
    "--pue": (["0.9", "-1", "nan", "inf", "many"], USAGE),
    "--price": (["cheap", "3", "-1EUR", ""], USAGE),
    "--url": (["zzz", "http://example.org", "https://example.org"], USAGE),
    "--token-file": (["nothing"], USAGE),
    "--ca-file": (["nothing"], USAGE),
    "--timeout": (["0", "-1", "nan", "inf", "long"], USAGE),
}
"""Values that cannot be meant, and the exit code. An unknown plugin is told as such, and
data that are not there are the model's input."""

ANYTHING = {
    "--unit": "any name will do",
    "--hardware": "likewise",
    "--module": "Python itself tells that there is none",
    "--load": "any command will do",
    "--optimizer": "what its names are the format says",
}
UNCHECKED = {
    ("config", "--profiler"): "it shows the settings and loads no plugin",
    ("config", "--option"): "likewise",
    ("config", "--out"): "it writes nothing",
    ("devices", "--profiler"): "it tells why a profiler does not work",
    ("record", "--format"): "of a recording, which is no plugin",
    ("record", "--to"): "an instant, see --from",
}


def options_of(command):
    """The long names of the options of a command that take a value."""
    module = importlib.import_module(f"greenai_core.cli.{COMMANDS[command][0]}")
    return [
        max(option.opts, key=len)
        for option in module.command.params
        if option.param_type_name == "option" and not option.is_flag
    ]


CASES = [
    (command, option, value)
    for command in REST
    for option in options_of(command)
    if option in NONSENSE and (command, option) not in UNCHECKED
    for value in NONSENSE[option][0]
]


@pytest.fixture
def files(simulated, tiny):
    tiny(seconds=0.001)
    x, y = np.zeros((4, 2), np.float32), np.zeros((4, 3), np.float32)
    np.savez(simulated / "d.npz", x=x, y=y)
    (simulated / "folder.npz").mkdir()
    (simulated / "script.py").write_text("open('ran', 'w')")
    (simulated / "r.json").write_text("{}")
    return simulated


@pytest.mark.parametrize(("command", "option", "value"), CASES)
def test_nonsense_is_one_line_with_its_code_before_any_work(greenai, files, command, option, value):
    more = ["--input", "cat.png"] if option in ("--resize", "--normalise") else []
    if command == "train":
        more = ["--epochs", "1"] if option == "--validation" else []
    given = [option, value, *more]
    # Of an option that is given twice the last one counts; a wrapper's come first.
    done = greenai(
        command, *(given + REST[command] if command in WRAPPERS else REST[command] + given)
    )
    code = NONSENSE[option][1]
    if option == "--validation":
        code = MODEL
    if (option, value) == ("--profiler", ""):
        code = USAGE
    assert done.code == (exit_codes.WRAPPER_FAILED if command in WRAPPERS else code), done.err
    assert len(done.errors) == 1, done.err
    assert "unexpected" not in done.errors[0]
    assert done.out.strip() in ("", "[]", "No model was measured.")
    assert not (files / "ran").exists()
    assert not (files / "greenai-report" / "report.json").exists()


def test_no_option_is_forgotten():
    known = {*NONSENSE, *ANYTHING}
    for command in REST:
        assert set(options_of(command)) <= known, command
