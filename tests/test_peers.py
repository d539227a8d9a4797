"""The benchmark beside other tools: its statistics, rules and tables; and one real run of it."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import time
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks" / "peers"
MODULES = [path.stem for path in FOLDER.glob("*.py")]


@pytest.fixture
def peers(monkeypatch):
    """Imports a module of the benchmark as the benchmark itself does."""
    monkeypatch.syspath_prepend(FOLDER)
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield importlib.import_module
    for name in MODULES:
        sys.modules.pop(name, None)


def row(length=1.0, truth=100.0, **figures):
    true = {"package": truth, "dram": truth / 10, "cpu": truth * 1.1, "gpu": truth}
    return {"length": length, "figures": figures, "truth": {**true, "seconds": 1.0}}


# Statistics


def test_a_spread_keeps_signs_only_in_the_bias(peers):
    found = peers("figures").spread([0.1, -0.1, 0.3, -0.5])
    assert found.count == 4
    assert found.median == pytest.approx(0.2)
    assert found.rms == pytest.approx(0.3)
    assert found.p95 == pytest.approx(0.5)
    assert found.bias == pytest.approx(-0.05)


def test_no_errors_have_no_spread(peers):
    assert peers("figures").spread([]) is None


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0004, "0.0"), (-0.0123, "1.2"), (0.0996, "10"), (9.9, "990"), (262.0, ">999"), (None, "-")],
)
def test_shares_take_four_characters_at_most(peers, share, text):
    assert peers("figures").percent(share) == text


def test_windows_without_a_figure_are_not_counted_as_right_or_wrong(peers):
    rows = [row(gpu=110.0), row(gpu=None), row(length=5.0, gpu=0.0), {**row(), "figures": None}]
    assert peers("figures").errors(rows, "gpu", 1.0) == pytest.approx([0.1])


@pytest.mark.parametrize(("given", "part"), [(101.0, "package"), (109.0, "cpu")])
def test_a_single_cpu_figure_is_taken_for_what_it_is_nearer_to(peers, given, part):
    figures = peers("figures")
    rows = [row(cpu=given)] * 3
    assert figures.meant(rows) == part
    expected = given / rows[0]["truth"][part] - 1
    assert figures.errors(rows, "package", 1.0) == pytest.approx([expected] * 3)


def test_coverage_counts_both_intervals(peers):
    held = peers("figures").held
    rows = [
        row(intervals={"gpu": [90, 110, 99, 103]}),
        row(intervals={"gpu": [90, 110, 101, 105]}),
        row(intervals={"gpu": [101, 110, 102, 106]}),
        row(gpu=1.0),
    ]
    found = held(rows, "gpu", 1.0)
    assert (found.count, found.total, found.repeat) == (3, 2 / 3, 1 / 3)
    assert found.half_width == pytest.approx(0.02)
    assert held(rows, "gpu", 5.0) is None


def test_better_means_clearly_and_notably(peers):
    figures = peers("figures")

    def of(rms):
        return figures.spread([rms])

    assert figures.better(of(0.10), of(0.05))
    assert not figures.better(of(0.10), of(0.09))
    assert not figures.better(of(0.0010), of(0.0001))


def test_only_new_lines_about_sensors_are_told(peers):
    usual = "12:30:01 CPU found\nhello"
    said = "12:31:07 CPU found\nhello\nRAPL: permission denied\nthe sun shines"
    assert peers("figures").told(said, usual) == ["RAPL: permission denied"]


# Outcomes


def outcome_of(peers, name, figures, *, lines=(), error=None, opened=None, code=0, out=None):
    behaviours, machine = peers("behaviours"), peers("machine")
    case = next(case for case in behaviours.CASES if case.name == name)
    known = {"open_error": opened} if opened else {"rows": []}
    window = row(**figures) if figures is not None else {}
    if error:
        window = {**row(), "error": error}
    ran = machine.Ran(code, known if out is None else out, "")
    return behaviours.outcome(case, window, ran, lines)


@pytest.mark.parametrize(
    ("name", "figures", "lines", "expected"),
    [
        ("wrap", {"package": 100.0, "dram": 10.0}, (), "right"),
        ("wrap", {"package": -262_000.0, "dram": 10.0}, (), "-262 kJ, silently"),
        ("wrap", {"package": None, "dram": 10.0}, (), "package left out"),
        ("denied", {"cpu": 0.0}, (), "0 J, silently"),
        ("denied", {"cpu": 0.0}, ("RAPL: permission denied",), "0 J, said"),
        ("denied", {"gpu": 1.0}, ("listed as skipped: rapl",), "left out, listed"),
        ("denied", {"gpu": 1.0}, (), "left out"),
        ("denied", {"cpu": 121.0}, ("no RAPL",), "modelled, +10%, said"),
        ("dram", {"cpu": 100.0}, (), "only package, silently"),
        ("dram", {"cpu": 55.0}, (), "-50%, silently"),
        ("psys", {"package": 240.0, "dram": 10.0}, (), "package + DRAM + psys, silently"),
        ("lost", {"gpu": 100.0}, (), "as if nothing were, silently"),
        ("old_gpu", {"gpu": 100.0}, (), "right"),
        (
            "no_rapl",
            {"package": 11.0},
            ("listed as skipped: rapl",),
            "modelled, -90%, listed",
        ),
    ],
)
def test_outcomes_follow_from_the_figures(peers, name, figures, lines, expected):
    assert outcome_of(peers, name, figures, lines=lines) == expected


def test_what_is_always_wrong_is_not_blamed_on_the_case(peers):
    """A tool that leaves DRAM out does so whether the counter wraps or not."""
    behaviours, machine = peers("behaviours"), peers("machine")
    wrap = next(case for case in behaviours.CASES if case.name == "wrap")
    ran = machine.Ran(0, {"rows": []}, "")
    found = behaviours.outcome(wrap, row(cpu=100.0), ran, (), usual_share=100 / 110)
    assert found == "as on a sound machine"


def test_failures_are_named(peers):
    assert outcome_of(peers, "wrap", None, opened="OSError") == "refuses: OSError"
    assert outcome_of(peers, "wrap", {}, error="KeyError") == "exception KeyError"
    assert outcome_of(peers, "wrap", None, code=70, out={}) == "ends the program (70)"


# Tables


@pytest.fixture
def kept():
    """What a run of greenai and Zeus might have left."""

    def runs(error):
        return {
            "rows": [row(length=0.1, package=100 * (1 + error), gpu=100 * (1 - error))] * 4,
        }

    def costs(factor):
        return {"costs": {"begin_end_s": 1e-3 * factor, "import_s": 0.1, "memory_mb": None}}

    return {
        "when": "Measured once.",
        "versions": {"greenai": "1", "zeus": "2"},
        "accuracy": {"greenai constant": runs(0.10), "zeus constant": runs(0.01)},
        "first": {},
        "costs": {"greenai": costs(1.0), "zeus": costs(0.5)},
        "behaviours": {
            "greenai": {"wrap": {"outcome": "right"}, "psys": {"outcome": "-50%, silently"}},
            "zeus": {"wrap": {"outcome": "+262 kJ, silently"}, "psys": {"outcome": "right"}},
        },
    }


def test_others_are_listed_where_they_are_better(peers, kept):
    tools = peers("tool_list").named(["greenai", "zeus"])
    text = peers("tables").others_better(kept, tools)
    assert "- CPU package (RAPL), constant, 100 ms: zeus 1.0 %; greenai 10 %" in text
    assert "- GPU (NVML), constant, 100 ms: zeus 1.0 %; greenai 10 %" in text
    assert "- begin + end: zeus 0.5 ms; greenai 1 ms" in text
    assert "- psys beside package: zeus right; greenai: -50%, silently" in text
    assert text.count("\n- ") == 4


def test_every_tool_has_a_row_and_tables_are_narrow(peers, kept):
    tools = peers("tool_list").named(None)
    text = peers("tables").document(kept, tools)
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert all(len(line) <= 100 for line in tables)
    for tool in tools:
        assert sum(line.startswith(f"| {tool.name} |") for line in tables) >= 5


def test_figures_go_between_their_marks(peers, tmp_path):
    main = _main(peers)
    page = tmp_path / "page.md"
    page.write_text(f"before\n{main.BEGIN}\nold\n{main.END}\nafter\n")
    main.write(page, "new")
    assert page.read_text() == f"before\n{main.BEGIN}\nnew\n{main.END}\nafter\n"
    page.write_text("no marks")
    with pytest.raises(ValueError, match=r"page\.md"):
        main.write(page, "new")


def test_a_quick_run_is_not_written(peers, capsys):
    with pytest.raises(SystemExit):
        _main(peers).main(["--quick", "--write", "page.md"])
    assert "too noisy" in capsys.readouterr().err


def _main(peers):
    """The benchmark's __main__, which is not that of pytest."""
    peers("tool_list")
    spec = importlib.util.spec_from_file_location("peers_main", FOLDER / "__main__.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# The simulated machine


def test_windows_are_as_many_as_planned_and_not_of_round_lengths(peers):
    accuracy = peers("accuracy")
    windows = accuracy.plan((4, 0, 2, 0, 1, 0), 0.5, seed=1)
    assert sorted(w["nominal"] for w in windows) == [0.01, 0.01, 0.1, 1.0]
    assert all(0 < abs(w["length"] / w["nominal"] - 1) <= accuracy.SCATTER for w in windows)
    assert windows == accuracy.plan((4, 0, 2, 0, 1, 0), 0.5, seed=1)


@pytest.mark.parametrize("profile", ["constant", "square", "sine", "bursts"])
def test_the_truth_is_the_same_for_gpu_and_cpu_shapes(peers, profile):
    """The GPU follows the profile in steps; over many periods both give the same mean."""
    scenes = peers("scenes")
    from greenai_core.testing.c_library import compiler
    from greenai_core.testing.nvml import NvmlSimulator

    if compiler() is None:
        pytest.skip("no C compiler")
    scene = scenes.Scene(profile, time.monotonic())
    with NvmlSimulator([scene.board()]) as boards:
        scene.prepare(boards)
        truth = scene.truth(scene.origin, scene.origin + 50, boards)
        expected = scene.load("gpu").energy(scene.origin, scene.origin + 50)
    assert truth["gpu"] == pytest.approx(expected, rel=0.01)
    assert truth["cpu"] == pytest.approx(truth["package"] + truth["dram"])
    assert truth["dram"] == pytest.approx(scenes.DRAM_SHARE * truth["package"])


def test_the_counter_of_the_package_wraps_when_asked(peers, tmp_path):
    scenes = peers("scenes")
    from greenai_core.testing.powercap import PowercapTree

    scene = scenes.Scene("constant", 1000.0, wrap_at=1010.0)
    with PowercapTree(tmp_path / "powercap", scene.powercap()) as tree:
        before, after = (tree.count_uj("intel-rapl:0", t) for t in (1009.9, 1010.1))
    assert before > 262_000e6
    assert after == pytest.approx(0.1 * 130e6, rel=0.01)


def test_a_laptop_has_a_platform_counter_of_all(peers):
    scenes = peers("scenes")
    zones = {z.name: z for z in scenes.Scene("sine", 0.0, zones=scenes.LAPTOP).powercap()}
    parts = sum(zones[name].profile.energy(1.0, 2.0) for name in ("package-0", "dram"))
    assert zones["psys"].profile.energy(1.0, 2.0) == pytest.approx(parts + scenes.PSYS_EXTRA_W)


@pytest.mark.system
def test_greenai_is_measured_on_the_simulated_machine(peers):
    """The whole of it: namespaces, counters that move, a GPU, a driver, the truth."""
    pytest.importorskip("pynvml")
    if reason := peers("machine").why_not():
        pytest.skip(reason)
    tool = peers("tool_list").named(["greenai"])[0]
    scene = peers("scenes").Scene("constant", time.monotonic())
    with peers("machine").Machine(scene) as machine:
        windows = [{"pause": 0.3, "length": 0.3}, {"pause": 0.1, "length": 0.5}]
        ran = machine.run(Path(sys.executable), tool.driver, windows, timeout_s=60)
        rows = peers("accuracy").with_truth(machine, ran)
    assert ran.code == 0, ran.said
    assert peers("accuracy").trouble(ran) == ""
    for measured in rows:
        figures, truth = measured["figures"], measured["truth"]
        assert figures["package"] == pytest.approx(truth["package"], rel=0.1)
        assert figures["dram"] == pytest.approx(truth["dram"], rel=0.1)
        assert figures["gpu"] == pytest.approx(truth["gpu"], rel=0.5)
        low, high, *_ = figures["intervals"]["package"]
        assert low < figures["package"] < high


@pytest.mark.system
def test_a_tool_without_permission_sees_no_rapl(peers):
    if reason := peers("machine").why_not():
        pytest.skip(reason)
    scene = peers("scenes").Scene("constant", time.monotonic(), denied=True)
    with peers("machine").Machine(scene) as machine:
        ran = machine.inside(["cat", "/sys/class/powercap/intel-rapl:0/energy_uj"])
        name = machine.inside(["cat", "/sys/class/powercap/intel-rapl:0/name"])
    assert ran.code != 0
    assert "Permission denied" in ran.said
    assert name.said == "package-0\n"
