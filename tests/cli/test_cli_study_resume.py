"""A study that is gone on with ends as it would have ended at once."""

import json
from pathlib import Path

from greenai_core import read_cells, read_report

WORK = """
from greenai_core import {error}

def make(size, batch_size, device):
    if size == 2:
        raise {error}("broken at two")
    return lambda: None
"""


def study(error="ModelError", sizes=(1, 2), runs=1):
    Path("work.py").write_text(WORK.format(error=error))
    Path("s.toml").write_text(
        f'runs = {runs}\nseconds = 0.05\nwarm_up_s = 0\nprofilers = ["sim"]\n'
        f'fresh_process = false\nsizes = {list(sizes)}\n[[models]]\ncallable = "work.py:make"\n'
    )


def test_old_failures_keep_their_exit_code(greenai):
    study("ReadingError", runs=2)
    first = greenai("study", "s.toml", "--out", "out")
    assert first.code == 5, first.err
    again = greenai("study", "--resume", "--out", "out")
    assert again.code == 5, again.err
    assert len(again.errors) == 1
    told = " ".join(again.err.split())
    assert "and 1 more failed before: " in told
    assert "broken at two. --retry-failed measures them again" in told


def test_failures_of_a_journal_without_their_class_are_those_of_a_model(greenai):
    study("ReadingError")
    greenai("study", "s.toml", "--out", "out")
    journal = Path("out/cells.jsonl")
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    assert {line.pop("error") for line in lines if line.get("state") == "failed"} == {
        "ReadingError"
    }
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert [cell.error for cell in read_cells(Path("out"))] == [""] * 2
    assert greenai("study", "--resume", "--out", "out").code == 4


def test_cells_that_succeed_at_last_are_no_failures(greenai):
    study()
    assert greenai("study", "s.toml", "--out", "out").code == 4
    Path("work.py").write_text(WORK.format(error="ModelError").replace("size == 2", "size == 3"))
    journal = Path("out/cells.jsonl")
    begun, rest = journal.read_text().split("\n", 1)
    from greenai_core.study_files import fingerprint  # the work was mended, which is refused

    line = json.loads(begun)
    line["models"] = dict.fromkeys(line["models"], fingerprint(Path("work.py")))
    journal.write_text(json.dumps(line) + "\n" + rest)
    assert greenai("study", "--resume", "--retry-failed", "--out", "out").code == 0
    done = greenai("study", "--resume", "--out", "out")
    assert (done.code, done.errors) == (0, [])
    assert read_report("out/report.json").complete


def test_the_path_of_a_function_tells_nobodys_folders(greenai, simulated):
    """The study is named absolutely, and so was its function in the results."""
    study()
    done = greenai("study", simulated / "s.toml", "--out", "out")
    assert done.code == 4
    files = [file for file in Path("out").rglob("*") if file.is_file()]
    assert {"study.toml", "report.json", "cells.jsonl"} <= {file.name for file in files}
    assert [file for file in files if str(simulated) in file.read_text()] == []
    (result,) = read_report("out/report.json").results
    assert result.models[0].model.path == "../work.py:make"
    again = greenai("study", "--resume", "--retry-failed", "--out", simulated / "out")
    assert again.code == 4
    assert [file for file in files if str(simulated) in file.read_text()] == []


def test_a_study_of_before_with_an_absolute_path_and_pixels_goes_on(greenai, simulated):
    study("ModelError", (1, 3))
    assert greenai("study", "s.toml", "--out", "out").code == 0
    plan = Path("out/study.toml")
    text = plan.read_text()
    assert 'size_name = "size"' in text
    plan.write_text(text.replace('size_name = "size"', 'size_name = "pixels"'))
    journal = Path("out/cells.jsonl")
    lines = journal.read_text().replace('"work.py:make', f'"{simulated}/work.py:make')
    journal.write_text("".join(f"{line}\n" for line in lines.splitlines()[:-1]))
    for named in (("s.toml",), ()):
        done = greenai("study", *named, "--resume", "--out", "out")
        assert done.code == 0, done.err
    assert len(list(read_cells(Path("out")))) == 2
