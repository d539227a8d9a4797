"""The old script as the documents write it: run, and held against figures made by hand."""

from __future__ import annotations

import re
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

import greenai_core

PAGE = Path(__file__).parents[2] / "docs" / "grading-service.md"


class KnownSession:
    """Idle draws 61.5 W, the script 187.25 W; each lasts ten seconds."""

    joules = {"idle": 615.0, "script": 1872.5}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    @contextmanager
    def window(self, name):
        yield SimpleNamespace(energy_j=self.joules[name], duration_s=10.0)


def old_script():
    """The block of the page that is the old script."""
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    (found,) = [block for block in blocks if "sys.argv" in block]
    return found


def test_the_old_script_gives_both_figures_and_their_letters(server, tmp_path, monkeypatch, capfd):
    """(187.25 - 61.5) x 2 x 0.001 = 0.2515; 125.75 / (125 + 250 + 64 x 0.3725) = 0.31529."""
    script = tmp_path / "script_to_evaluate.py"
    script.write_text("import sys\nprint('ran with', sys.argv[1:])\n")
    monkeypatch.setattr(sys, "argv", ["webconnection.py", str(script), "arg1"])
    monkeypatch.setattr(greenai_core, "Session", KnownSession, raising=False)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    exec(old_script().replace("https://grades.example", server.url), {})
    ran, *printed = capfd.readouterr().out.splitlines()
    assert ran == "ran with ['arg1']"
    letters, figures = zip(*(line.split() for line in printed), strict=True)
    assert letters == ("D", "D")
    assert [float(figure) for figure in figures] == pytest.approx([0.2515, 125.75 / 398.84])
    asked = [received.path.split("/")[1:4] for received in server.requests]
    assert [one[:2] for one in asked] == [["classificationDataC", "1"]] * 2
    assert [float(one[2]) for one in asked] == [float(figure) for figure in figures]
