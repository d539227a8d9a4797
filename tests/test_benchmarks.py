"""The benchmarks run and give figures. Their bounds are for `make bench`, not for here."""

from __future__ import annotations

import importlib
import json
import math
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
CASES = sorted(p.stem for p in (FOLDER / "cases").glob("*.py"))
HELPERS = ("__init__", "outcome", "timing")


@pytest.fixture
def benchmarks(monkeypatch):
    """The module run.py, imported as when it is started as a script."""
    monkeypatch.syspath_prepend(FOLDER)
    yield importlib.import_module("run")
    for name in [name for name in sys.modules if name == "run" or name.split(".")[0] == "cases"]:
        del sys.modules[name]


@pytest.fixture
def outcome(benchmarks):
    return importlib.import_module("cases.outcome").Outcome


@pytest.fixture
def found(benchmarks, monkeypatch):
    """Let the only case find these outcomes, or raise what is given."""

    def install(outcomes):
        def measure(scale):
            if isinstance(outcomes, Exception):
                raise outcomes
            return outcomes

        case = type(sys)("cases.fake")
        case.measure = measure
        monkeypatch.setitem(sys.modules, "cases.fake", case)
        monkeypatch.setattr(benchmarks, "CASES", ("fake",))

    return install


def test_every_file_is_a_case_that_runs(benchmarks):
    assert sorted(benchmarks.CASES) == sorted(set(CASES) - set(HELPERS))


@pytest.mark.parametrize("name", sorted(set(CASES) - set(HELPERS)))
def test_a_case_gives_figures(benchmarks, name):
    if (
        name == "nvml_window"
        and importlib.import_module("greenai_core.testing.c_library").compiler() is None
    ):
        pytest.skip("no C compiler")
    outcomes = importlib.import_module(f"cases.{name}").measure(scale=0.01)
    assert outcomes
    for outcome in outcomes:
        assert math.isfinite(outcome.measured), outcome
        assert outcome.name
        assert outcome.detail


def test_a_kept_bound_and_a_figure_without_one_are_fine(benchmarks, found, outcome, capsys):
    found([outcome("quick", 1.5, "ms", 3.0), outcome("memory", 20.0, "MiB", None)])
    assert benchmarks.main([]) == 0
    _, quick, _, memory, *_ = capsys.readouterr().out.splitlines()
    assert quick.split() == ["quick", "1.5", "ms", "3", "ms", "50%", "yes"]
    assert memory.split() == ["memory", "20", "MiB", "-", "-", "-"]


@pytest.mark.parametrize("measured", [3.01, math.nan])
def test_a_broken_bound_ends_with_1(benchmarks, found, outcome, capsys, measured):
    found([outcome("slow", measured, "ms", 3.0)])
    assert benchmarks.main([]) == 1
    assert "NO" in capsys.readouterr().out


def test_a_case_that_fails_ends_with_1(benchmarks, found, capsys):
    found(RuntimeError("no such file"))
    assert benchmarks.main([]) == 1
    assert "no such file" in capsys.readouterr().err


def test_json_holds_each_figure_with_its_bound(benchmarks, found, outcome, capsys):
    found([outcome("quick", 1.5, "ms", 3.0, "how")])
    assert benchmarks.main(["--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "benchmarks": [
            {
                "name": "quick",
                "measured": 1.5,
                "unit": "ms",
                "bound": 3.0,
                "detail": "how",
                "ratio": 0.5,
                "ok": True,
            }
        ]
    }


def test_an_unknown_case_is_a_usage_error(benchmarks, capsys):
    with pytest.raises(SystemExit, match="2"):
        benchmarks.main(["nonsense"])
    assert "nonsense" in capsys.readouterr().err
