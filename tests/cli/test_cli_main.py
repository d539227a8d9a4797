"""The command line as a whole: help, errors, exit codes, streams."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from greenai_core import (
    ConfigError,
    GradeError,
    GreenAIError,
    ModelInputError,
    NoSensorError,
    PluginConflict,
    PowerCapError,
    SchemaError,
)
from greenai_core.cli import exit_codes
from greenai_core.cli.main import COMMANDS as REGISTERED
from greenai_core.cli.main import cli
from greenai_core.cli.output import OutputError

COMMANDS = (
    "devices", "plugins", "params", "run", "bench", "train", "measure", "grade",
    "compare", "calibrate", "explain", "export", "report", "config", "record", "scale", "sync",
    "powercap", "layers", "study",
)  # fmt: skip
HEAVY = (
    "torch", "tensorflow", "keras", "onnx", "onnxruntime", "numpy", "pynvml", "psutil",
    "requests", "stevedore", "rich",
)  # fmt: skip


def test_the_public_commands_are_all_there():
    assert set(REGISTERED) == set(COMMANDS)


def test_help_is_shown_without_an_error(greenai):
    done = greenai("--help")
    assert done.code == 0
    assert done.out.startswith("Usage: greenai")
    assert not done.err


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_teaches_by_example_within_80_columns(greenai, command):
    done = greenai(command, *(["show"] if command == "config" else []), "--help")
    assert done.code == 0
    assert done.out.count(f"greenai {command}") >= 2
    assert max(map(len, done.out.splitlines())) <= 80


@pytest.mark.parametrize("command", COMMANDS)
def test_the_list_of_commands_says_what_each_command_says_of_itself(command):
    loaded = cli.get_command(None, command)
    assert loaded.short_help == REGISTERED[command][1]
    assert loaded.help.split("\n")[0].strip() == REGISTERED[command][1]


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from greenai_core.cli.main import main; main(['--help']); "
        f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize("module", ["greenai_core", "greenai_core.cli"])
def test_python_dash_m_is_the_command(module):
    done = subprocess.run(
        [sys.executable, "-m", module, "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("greenai, version ")


def test_without_a_command_it_shows_help_and_a_usage_code(greenai):
    done = greenai()
    assert done.code == exit_codes.USAGE
    assert "Commands:" in done.out


@pytest.mark.parametrize("command", ["calibrate", "config"])
def test_a_group_without_a_command_shows_its_help(greenai, command):
    done = greenai(command)
    assert done.code == exit_codes.USAGE
    assert "Commands:" in map(str.strip, done.err.splitlines())
    assert "error" not in done.err
    assert not done.out


@pytest.mark.parametrize(
    "args",
    [
        ["bogus"],
        ["bench"],
        ["params", "--bogus"],
        ["export", "x"],
        ["bench", "m", "--batch-size", "0"],
    ],
)
def test_wrong_usage_is_one_line_that_names_the_help(greenai, args):
    done = greenai(*args)
    assert done.code == exit_codes.USAGE
    assert len(done.errors) == 1
    assert "--help` shows how" in done.errors[0]
    assert not done.out


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("x"), 2),
        (PluginConflict("x"), 3),
        (ModelInputError("x"), 4),
        (NoSensorError("x"), 5),
        (PowerCapError("x"), 5),
        (OutputError("x"), 6),
        (OSError(28, "No space left on device"), 6),
        (GradeError("x"), 7),
        (SchemaError("x"), 7),
        (GreenAIError("x"), 1),
        (KeyError("x"), 1),
    ],
)
def test_each_kind_of_error_has_its_exit_code(error, code):
    assert exit_codes.of(error) == code


def test_a_fault_says_how_to_report_it_and_debug_shows_the_traceback(greenai, tiny):
    model = tiny(crash="division\nby cucumber")
    done = greenai("run", model)
    assert done.code == exit_codes.UNEXPECTED
    assert len(done.err.splitlines()) == 1
    assert "RuntimeError: division by cucumber" in done.err
    assert "--debug" in done.err
    for again in (greenai("run", model, "--debug"), greenai("--debug", "run", model)):
        assert again.code == exit_codes.UNEXPECTED
        assert "Traceback" in again.err


def test_debug_can_be_an_environment_variable(greenai, monkeypatch):
    monkeypatch.setenv("GREENAI_DEBUG", "1")
    assert "Traceback" in greenai("run", "nope").err
    monkeypatch.setenv("GREENAI_DEBUG", "0")
    assert "Traceback" not in greenai("run", "nope").err


def test_a_full_disk_behind_stdout_is_one_line(spawn):
    with Path("/dev/full").open("w") as full:
        process = spawn("plugins", "--json", stdout=full)
        _, err = process.communicate(timeout=30)
    assert process.returncode == exit_codes.OUTPUT
    assert "No space left" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("args", [["--help"], ["plugins", "--json"], ["plugins"]])
def test_a_reader_that_went_away_is_no_error_message(spawn, args):
    read, write = os.pipe()
    os.close(read)
    process = spawn(*args, stdout=write)
    os.close(write)
    _, err = process.communicate(timeout=30)
    assert process.returncode == exit_codes.BROKEN_PIPE
    assert err == ""


def test_an_ascii_terminal_gets_question_marks_not_a_crash(spawn, tiny, quick):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    process = spawn("bench", tiny(seconds=0.001), *quick, env=environment)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert "mJ ? " in out


def test_json_is_utf8_whatever_the_locale(spawn, tiny):
    name = tiny("mødel.tiny")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    process = spawn("params", name, env=environment, text=False)
    out, _ = process.communicate(timeout=30)
    assert json.loads(out.decode("utf-8"))[0]["path"] == name


def test_no_shipped_plugin_is_broken(greenai):
    listed = json.loads(greenai("plugins", "--json").out)
    plugins = listed["plugins"] if isinstance(listed, dict) else listed
    shipped = [plugin for plugin in plugins if plugin["distribution"] == "greenai-core"]
    assert len(shipped) > 20
    assert [plugin for plugin in shipped if plugin["state"] == "broken"] == []


def test_no_colour_unless_stdout_is_a_terminal(greenai):
    assert "\x1b" not in greenai("plugins").out


@pytest.mark.parametrize(("no_colour", "coloured"), [("", True), ("1", False)])
def test_colour_on_a_terminal_unless_forbidden(spawn, no_colour, coloured):
    master, slave = os.openpty()
    environment = {**os.environ, "NO_COLOR": no_colour, "TERM": "xterm-256color"}
    process = spawn("plugins", stdout=slave, env=environment)
    os.close(slave)
    out = b""
    try:
        while chunk := os.read(master, 65536):
            out += chunk
    except OSError:
        pass  # the terminal hangs up when its last user has gone
    os.close(master)
    assert process.wait(30) == 0
    assert (b"\x1b[" in out) is coloured
