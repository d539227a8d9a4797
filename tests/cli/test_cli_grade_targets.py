"""What ``greenai grade`` runs: scripts, modules, notebooks, commands; each untouched."""

import json
import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from greenai_core import Session, read_report

GRADE = ("grade", "-p", "sim", "--idle-time", "0")


def notebook(path, *cells, **metadata):
    made = [{"cell_type": "code", "source": cell.splitlines(keepends=True)} for cell in cells]
    made.insert(1, {"cell_type": "markdown", "source": ["# not code"]})
    content = {"cells": made, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    Path(path).write_text(json.dumps(content))
    return path


def test_a_module_is_run_as_python_does(greenai, simulated):
    (simulated / "mine").mkdir()
    (simulated / "mine" / "__init__.py").write_text("")
    (simulated / "mine" / "tool.py").write_text(
        "import sys; print(__name__, sys.argv[1:], __spec__.name); sys.exit(4)"
    )
    done = greenai(*GRADE, "--out", "g.json", "-m", "mine.tool", "--json", "-m", "x")
    assert done.code == 4
    assert done.out == "__main__ ['--json', '-m', 'x'] mine.tool\n"
    (result,) = read_report(simulated / "g.json").results
    assert result.command == ("-m", "mine.tool", "--json", "-m", "x")


def test_any_command_after_two_dashes(greenai):
    done = greenai(*GRADE, "--", "sh", "-c", "echo out; echo err >&2; sleep 0.3; exit 6", "-x")
    assert done.code == 6
    assert done.out == "out\n"
    assert "err\n" in done.err
    assert re.search(r"(9\.\d\d|10\.\d) W in \d\d\d ms", done.err)


def test_a_command_that_is_not_there(greenai):
    assert greenai(*GRADE, "--", "no-such-program").code == 127


def test_a_python_file_after_two_dashes_needs_no_permission_to_execute(greenai, simulated):
    (simulated / "s.py").write_text("print('ran')")
    assert greenai(*GRADE, "--", "s.py").out == "ran\n"


def test_an_executable_after_two_dashes_is_executed(greenai, simulated):
    (simulated / "s.py").write_text("#!/bin/sh\necho shell\n")
    (simulated / "s.py").chmod(stat.S_IRWXU)
    assert greenai(*GRADE, "--", "./s.py").out == "shell\n"


def test_a_program_without_dashes_is_told_where_it_goes(greenai):
    done = greenai(*GRADE, "make", "-j8")
    assert done.code == 127
    assert "grade -- make" in done.errors[0]


def test_stdin_stdout_and_stderr_are_the_scripts_own(spawn, simulated):
    (simulated / "s.py").write_text(
        "import sys; text = sys.stdin.read(); print(text[::-1], end='');"
        "print(len(text), file=sys.stderr)"
    )
    process = spawn(*GRADE, "s.py", stdin=subprocess.PIPE)
    out, err = process.communicate("abc", timeout=60)
    assert out == "cba"
    assert err.splitlines()[0] == "3" or "\n3\n" in err
    assert process.returncode == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 7)])
def test_signals_reach_the_script_and_what_was_measured_is_kept(spawn, simulated, number, code):
    """It handles SIGINT itself and dies of SIGTERM; both are its own affair."""
    (simulated / "s.py").write_text(
        "import signal, sys, time\n"
        "signal.signal(signal.SIGINT, lambda *a: sys.exit(7))\n"
        "print('ready', flush=True); time.sleep(60)"
    )
    process = spawn(*GRADE, "--out", "g.json", "s.py")
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    (result,) = read_report(simulated / "g.json").results
    assert result.exit_code == code
    assert result.gross.energy_j > 0


def test_ctrl_c_while_the_sensors_are_asked_for_notes_keeps_the_joules(greenai, monkeypatch):
    calls = []

    def notes(self):
        calls.append(self)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return ()

    monkeypatch.setattr(Session, "notes", notes)
    Path("s.py").write_text("import time, sys; time.sleep(0.3); sys.exit(3)")
    done = greenai(*GRADE, "--out", "g.json", "s.py")
    assert done.code == 3
    assert read_report("g.json").results[0].gross.energy_j > 0


# Notebooks


def test_the_cells_of_a_notebook_share_one_process_and_one_namespace(greenai, simulated):
    notebook(
        "n.ipynb",
        "import os\nx = [os.getpid()]\n",
        "def same(): return x[0] == os.getpid()\n",
        "print(same(), __name__)\n",
    )
    done = greenai(*GRADE, "--out", "g.json", "n.ipynb")
    assert (done.code, done.out) == (0, "True __main__\n"), done.err
    (result,) = read_report(simulated / "g.json").results
    assert result.command == ("n.ipynb",)


def test_arguments_folder_and_await_of_a_notebook(greenai, simulated):
    (simulated / "sub").mkdir()
    (simulated / "sub" / "beside.py").write_text("word = 'found'")
    notebook(
        "sub/n.ipynb",
        "import asyncio, sys, beside\nawait asyncio.sleep(0)\n",
        "async def f(): return sys.argv[1:]\nprint(beside.word, await f())\n",
        "print(open('beside.py').read())\n",
    )
    done = greenai(*GRADE, "sub/n.ipynb", "--units", "3")
    assert done.out == "found ['--units', '3']\nword = 'found'\n", done.err


@pytest.mark.parametrize(
    ("last", "code", "said"),
    [
        ("import sys; sys.exit(9)", 9, ""),
        ("def f():\n    return 1 / 0\nf()", 1, "ZeroDivisionError"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 137, ""),
    ],
)
def test_the_exit_code_of_a_notebook_is_its_own(greenai, last, code, said):
    notebook("n.ipynb", "print('first')", last, "print('never')")
    done = greenai(*GRADE, "n.ipynb")
    assert done.code == code
    assert done.out == "first\n"
    assert said in done.err


def test_a_traceback_shows_the_cell_and_none_of_our_code(greenai):
    notebook("n.ipynb", "x = 1\n", "y = 2\nraise ValueError('mine')\n")
    err = greenai(*GRADE, "n.ipynb").err
    assert 'File "<n.ipynb, cell 2>", line 2' in err
    assert "raise ValueError('mine')" in err
    assert "notebook.py" not in err


def test_magics_that_only_change_what_is_shown_are_skipped(greenai):
    notebook(
        "n.ipynb",
        "%matplotlib inline\n%load_ext autoreload\nprint(7 %2)\nif 1:\n    %config A.b=1\n",
    )
    done = greenai(*GRADE, "n.ipynb")
    assert (done.code, done.out) == (0, "1\n"), done.err
    assert "%matplotlib inline changes only what is shown" in done.err


def test_text_that_looks_like_a_magic_is_none(greenai):
    notebook("n.ipynb", 'text = """\n%time\n!ls\n"""\nprint(len(text))\n')
    assert greenai(*GRADE, "n.ipynb").out == "11\n"


def test_text_that_looks_like_a_magic_stays_beside_a_real_one(greenai):
    notebook("n.ipynb", '%matplotlib inline\ntext = """\n%config\n!ls\n"""\nprint(text)\n')
    assert greenai(*GRADE, "n.ipynb").out == "\n%config\n!ls\n\n"


def test_what_is_only_timed_is_run(greenai):
    notebook("n.ipynb", "\n%%time\nx = 1", "%time x += 1\nif x:\n    %time\n    %time print(x)")
    done = greenai(*GRADE, "n.ipynb")
    assert (done.code, done.out) == (0, "2\n"), done.err
    assert "%%time changes only what is shown" in done.err


def test_what_is_displayed_is_not_shown_and_ends_nothing(greenai):
    notebook("n.ipynb", "display(3, metadata={})\nprint('after')")
    assert greenai(*GRADE, "n.ipynb").out == "after\n"


def test_a_future_holds_for_the_cells_after_it(greenai):
    """As in Jupyter, whose notebooks say it once."""
    notebook(
        "n.ipynb", "from __future__ import annotations", "def f(x: Later): return x\nprint(f(1))"
    )
    assert greenai(*GRADE, "n.ipynb").out == "1\n"


@pytest.mark.parametrize(
    ("cells", "metadata", "said"),
    [
        (("%%time x = 1\ny",), {}, "cell 1 is a %%time cell"),
        (("files = !ls",), {}, "'files = !ls' is a magic"),
        (("took = %timeit -o f()",), {}, "'took = %timeit -o f()' is a magic"),
        (("x = 1\ny = 'a = !b' +",), {}, "cell 1, line 2 is not Python"),
        (("%%bash\nls",), {}, "cell 1 is a %%bash cell"),
        (("x = 1", "y = 2\n!ls"), {}, "cell 2, line 2: '!ls' is a magic"),
        (("%timeit f()",), {}, "'%timeit f()' is a magic"),
        (("print?",), {}, "'print?' is a magic"),
        (("x = 1", "def :"), {}, "cell 2, line 1 is not Python"),
        ((), {"kernelspec": {"language": "R"}}, "is in R, not Python"),
    ],
)
def test_what_a_notebook_cannot_do_here_is_told_before_anything_runs(
    greenai, simulated, cells, metadata, said
):
    notebook("n.ipynb", "open('ran', 'w')", *cells, **metadata)
    cells_said = said.replace("cell 2", "cell 3").replace("cell 1", "cell 2")
    done = greenai(*GRADE, "n.ipynb")
    assert done.code == 125
    assert cells_said in done.errors[0]
    assert not (simulated / "ran").exists()


@pytest.mark.parametrize("content", ["", "[]", '{"worksheets": []}', '{"cells": 1}', "\x00"])
def test_what_is_no_notebook(greenai, simulated, content):
    (simulated / "n.ipynb").write_text(content)
    done = greenai(*GRADE, "n.ipynb")
    assert done.code == 125
    assert "is no notebook" in done.errors[0]


def test_a_notebook_that_is_not_there(greenai):
    assert greenai(*GRADE, "n.ipynb").code == 127


# Options


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--device", "cpu", "s.py"), "--device is for model files"),
        (("--units", "0", "s.py"), "--units"),
        (("--units", "nan", "s.py"), "--units"),
        (("--units", "1e99", "--unit", "image", "s.py"), "--units"),
        (("--units", "3", "s.py"), "--units 3 of what?"),
        (("--units", "3", "--unit", " ", "s.py"), "--units 3 of what?"),
        (("--unit", "image", "s.py"), "--unit image: how many"),
        (("--label", "same.svg", "--badge", "./same.svg", "s.py"), "same.svg"),
        (("--out", "same.svg", "--label", "same.svg", "s.py"), "same.svg"),
        (("--pue", "0.9", "s.py"), "--pue"),
        (("--price", "cheap", "s.py"), "--price"),
        (("--price", "3", "s.py"), "--price"),
        (("--country", "Atlantis", "s.py"), "Atlantis"),
        (("--carbon-intensity", "0.3", "s.py"), "0.3"),
        (("--country", "FR", "--carbon-intensity", "40", "s.py"), "exclude each other"),
        (("--baseline", "keep", "s.py"), "--baseline keep"),
        (("--baseline", "compare", "s.py"), "no baseline 's.py'"),
        (("--task", "juggling", "s.py"), "juggling"),
        (("--offline", "s.py"), "--grader web"),
        (("--grader", "web", "s.py"), "--url"),
        (("--grader", "web", "--url", "http://example.org", "s.py"), "https"),
        (("--label", "/proc/nowhere/l.svg", "s.py"), "--label"),
        (("-m",), "-m"),
        ((), "SCRIPT.py"),
    ],
)
def test_a_wrong_option_costs_no_run(greenai, simulated, monkeypatch, args, said):
    monkeypatch.setenv("XDG_STATE_HOME", str(simulated / "state"))
    (simulated / "s.py").write_text("open('ran', 'w')")
    done = greenai(*GRADE, *args)
    assert done.code == 125, done.err
    assert said in done.errors[0]
    assert not (simulated / "ran").exists()


def test_the_python_that_runs_the_script_is_this_one(greenai, simulated):
    (simulated / "s.py").write_text("import sys; print(sys.executable, sys.path[0])")
    assert greenai(*GRADE, "s.py").out.split() == [sys.executable, os.fspath(simulated)]


def test_help_has_sections_and_fits_eighty_columns(greenai):
    done = greenai("grade", "--help")
    assert max(map(len, done.out.splitlines())) <= 80
    for title in ("Grade:", "Carbon and cost:", "Service", "Of a MODEL alone:"):
        assert title in done.out
