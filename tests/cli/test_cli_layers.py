"""``greenai layers``: what is told first, that it adds up, and what is refused."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from greenai_core import read_report
from greenai_core.cli import exit_codes, layers, layers_text
from greenai_core.report_files import dump
from greenai_core.testing.sample_reports import figure, sample_report

FAST = ("--layer-time", "0.05", "--max-time", "1", "--min-time", "0.05", "--precision", "90%")

NETS = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
        self.a_layer_with_a_name_that_is_long = nn.Linear(8, 3)

    def forward(self, x):
        return self.a_layer_with_a_name_that_is_long(self.block(x))
"""


@pytest.fixture
def net(simulated):
    torch = pytest.importorskip("torch")
    (simulated / "layer_nets.py").write_text(NETS)
    names = {}
    exec(NETS, names)
    torch.save(names["Net"]().state_dict(), simulated / "net.pt")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield ("net.pt", "--class", "layer_nets:Net", "--input-shape", "2x8", "--device", "cpu")
    torch.set_num_threads(before)


def lines_of(text):
    return text.splitlines()


@pytest.mark.torch
def test_the_residual_comes_first_and_the_table_adds_up(greenai, net, simulated):
    done = greenai("layers", *net, *FAST, "-p", "sim", "--top", "2", "--csv", "rows.csv")
    assert done.code == 0, done.err
    assert max(map(len, lines_of(done.out))) <= 80
    text = " ".join(done.out.split())
    assert text.startswith("net.pt, one inference of 2 on cpu: ")
    assert text.index("Residual:") < text.index("layer type calls time")
    for word in ("unattributed", "overhead", "sum", "with all inside", "Sequential", "~"):
        assert word in done.out
    rows = list(csv.DictReader((simulated / "rows.csv").open()))
    joules = {row["row"]: 0.0 for row in rows}
    for row in rows:
        joules[row["row"]] += float(row["energy_j"] or 0)
    parts = joules["layer"] + joules["unattributed"] + joules["overhead"]
    assert parts == pytest.approx(joules["total"], rel=1e-9)
    report = read_report(simulated / "greenai-report" / "report.json")
    assert report.kind == "layers"
    assert report.settings["method"] == "context"
    assert [row["layer"] for row in rows if row["layer"]] == [
        layer.name for layer in report.results[0].layers
    ]
    methods = {layer.name: layer.method for layer in report.results[0].layers}
    assert sorted(methods.values()) == ["context", "context", "time", "time"]


@pytest.mark.torch
def test_training_is_measured_and_changes_nothing(greenai, net, simulated):
    before = (simulated / "net.pt").read_bytes()
    done = greenai("layers", *net, *FAST, "-p", "sim", "--train", "--tree", "--top", "1")
    assert done.code == 0, done.err
    assert max(map(len, lines_of(done.out))) <= 80
    for word in ("one training step", "forward", "backward", "(optimiser)", "(loss)"):
        assert word in done.out
    tree = [line for line in lines_of(done.out) if line.startswith(("block", "  0", "  1"))]
    assert [line.split()[1] for line in tree] == ["Sequential", "Linear", "ReLU"]
    (result,) = read_report(simulated / "greenai-report" / "report.json").results
    assert result.phase == "training"
    assert (simulated / "net.pt").read_bytes() == before


@pytest.mark.torch
def test_the_json_is_the_report(greenai, net, simulated):
    done = greenai("layers", *net, *FAST, "-p", "sim", "--method", "time", "--json")
    assert done.code == 0, done.err
    assert done.json == json.loads((simulated / "greenai-report" / "report.json").read_text())
    (result,) = done.json["results"]
    assert {layer["method"] for layer in result["layers"]} == {"time"}
    assert {layer["energy_j"]["method"] for layer in result["layers"]} == {"modelled"}


def test_a_model_whose_layers_cannot_be_told_is_refused_with_the_reason(greenai, tiny):
    done = greenai("layers", tiny(), *FAST, "-p", "sim")
    assert done.code == exit_codes.MODEL
    assert done.out == ""
    (error,) = done.errors
    assert "a.tiny" in error
    trained = greenai("layers", tiny(), *FAST, "-p", "sim", "--train")
    assert trained.code == exit_codes.MODEL
    assert "greenai train" in trained.errors[0]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--data", "x.npz"), "--data is for training"),
        (("--optimizer", "adam"), "--optimizer is for training"),
        (("--train", "--input", "x.npy"), "--data"),
        (("--top", "0"), "--top"),
        (("--method", "guess"), "context"),
        (("--csv", "nowhere/x/"), "--csv"),
    ],
)
def test_flags_that_do_not_go_together(greenai, tiny, args, words):
    done = greenai("layers", tiny(), *FAST, "-p", "sim", *args)
    assert done.code == exit_codes.USAGE
    assert words in done.err


# The text


def shown(result, **more):
    report = replace(sample_report("layers"), results=(replace(result, **more),))
    return " ".join(layers_text.text(report, 10, tree=False).split())


def test_a_large_residual_is_said_with_advice():
    (one,) = sample_report("layers").results
    assert "spread over the rows" in shown(one)
    text = shown(one, residual_j=figure(-0.2), residual_share=-0.4, residual_flagged=True)
    assert "(40.0%) more than the whole" in text
    assert "--layer-time" in text
    assert "rough" in text


def test_unknown_energy_is_no_zero():
    (one,) = sample_report("layers", known=False).results
    text = shown(one)
    assert "energy unknown" in text
    assert "Residual: unknown" in text
    assert " 0 J" not in text
    assert "60%" in text, "the times are known"


def test_what_goes_by_its_time_is_marked():
    (one,) = sample_report("layers").results
    text = layers_text.text(sample_report("layers"), 10, tree=False)
    rows = {line.split()[0]: line for line in lines_of(text) if line}
    assert "~" not in rows["block.conv|1"]
    assert "~" in rows["block.norm"]
    assert "~" in rows["unattributed"]
    assert "~" not in rows["sum"]
    assert "by its time at the mean power" in " ".join(text.split())
    assert "block.conv|1, block.norm: it | waits" in " ".join(text.split()).replace("block, ", "")
    assert len(one.layers) == 3


def test_a_layer_below_what_can_be_told_has_an_upper_limit_and_no_joules():
    (one,) = sample_report("layers").results
    first = max(one.layers, key=lambda layer: layer.energy_j.value)
    for value in (0.0, 0.001):
        drowned = replace(
            first.energy_j, value=value, low=-0.02, high=0.02, repeat_low=-0.02, repeat_high=0.02
        )
        layers = tuple(
            replace(layer, energy_j=drowned) if layer is first else layer for layer in one.layers
        )
        report = replace(sample_report("layers"), results=(replace(one, layers=layers),))
        text = layers_text.text(report, 10, tree=False)
        (row,) = [line for line in lines_of(text) if line.startswith(first.name)]
        assert "< 20 mJ" in row
        assert "±" not in row, row
        assert row.count(" J") + row.count("mJ") == 1, "nor joules of a MAC"
        assert "too little to be told" in " ".join(text.split())


def test_rows_are_sorted_by_joules_also_where_one_has_none():
    """Its share of the time is no number of joules."""
    (one,) = sample_report("layers").results
    nothing = replace(one.layers[-1].energy_j, value=0.0)
    layers = (*one.layers[:-1], replace(one.layers[-1], energy_j=nothing, time_share=0.99))
    report = replace(sample_report("layers"), results=(replace(one, layers=layers),))
    text = layers_text.text(report, 10, tree=False)
    assert 0 < text.index("\nblock.conv|1 ") < text.index(f"\n{one.layers[-1].name} ")


# Ctrl-C, faults


QUICKLY = ("-p", "sim", "--precision", "90%", "--min-time", "0.1", "--max-time", "10")


@pytest.mark.parametrize(
    ("phase", "methods", "rows"),
    [
        ("whole", set(), 0),
        ("timing", set(), 0),
        ("layers", {"time"}, 2),
        ("again", {"isolation"}, 2),
    ],
)
def test_ctrl_c_leaves_what_was_measured(greenai, tiny, simulated, phase, methods, rows):
    model = tiny(seconds=0.001, layers={"interrupt": phase})
    more = ("--min-time", "5") if phase == "whole" else ()
    options = ("--method", "isolation", "--layer-time", "0.1", *QUICKLY, *more)
    done = greenai("layers", model, *options, "--csv", "rows.csv", "--json")
    assert done.code == 130, done.err
    assert "Traceback" not in done.err
    assert done.err.endswith("greenai: interrupted\n")
    report = read_report(simulated / "greenai-report" / "report.json")
    assert done.json == json.loads((simulated / "greenai-report" / "report.json").read_text())
    assert not report.complete
    (result,) = report.results
    assert result.energy_j.value > 0
    assert result.warnings[-1].startswith("interrupted: ")
    known = [layer for layer in result.layers if layer.energy_j is not None]
    assert len(known) == rows
    assert {layer.method for layer in known} == methods
    assert (simulated / "rows.csv").read_text().count("\n") == 7
    shown = greenai("layers", model, *options)
    assert shown.code == 130
    assert "one inference of 1" in " ".join(shown.out.split())
    assert "interrupted" in shown.err


def test_a_place_that_takes_no_rows_is_told_before_measuring(greenai, tiny, simulated):
    (simulated / "file").write_text("")
    model = tiny(seconds=0.001, layers={"interrupt": "whole"})
    for flags in (("--csv", "file/rows.csv"), ("--out", "file/x")):
        done = greenai("layers", model, *QUICKLY, *flags)
        assert done.code == exit_codes.USAGE
        assert done.out == ""
        assert not (simulated / "greenai-report" / "report.json").exists()


def test_rows_that_cannot_be_written_in_the_end_are_shown_all_the_same(
    greenai, tiny, simulated, monkeypatch
):
    saved = layers.output.save

    def save(path, content):
        if path.name == "rows.csv":
            raise layers.output.OutputError(f"{path} cannot be written: no space")
        saved(path, content)

    monkeypatch.setattr(layers.output, "save", save)
    model = tiny(seconds=0.001, layers={"two": True})
    done = greenai("layers", model, *QUICKLY, "--layer-time", "0.1", "--csv", "rows.csv")
    assert done.code == exit_codes.OUTPUT
    assert "second" in done.out


def test_a_sensor_that_is_lost_leaves_the_times_and_the_code_says_so(greenai, tiny, simulated):
    model = tiny(seconds=0.001, marker="lost", layers={"two": True})
    options = (*QUICKLY, "--min-time", "4", "-O", "sim.lost_file=lost")
    done = greenai("layers", model, *options)
    assert done.code == exit_codes.MEASUREMENT
    (error,) = done.errors
    assert "no total" in error
    assert "energy unknown" in done.out
    (result,) = read_report(simulated / "greenai-report" / "report.json").results
    assert result.energy_j is None
    assert sum(layer.time_share for layer in result.layers) == pytest.approx(1.0, rel=0.2)


# Directions of training, and names that others chose


def in_training(**halves):
    """A report of one layer in training; keywords give value and half-width of each pass."""
    (one,) = sample_report("layers").results
    layer = replace(one.layers[1], parent=None, calls=0, seconds=None, time_share=None)
    nothing = replace(layer.energy_j, value=0.0, low=0.0, high=0.0, repeat_low=0.0, repeat_high=0.0)
    rows = [replace(layer, energy_j=nothing, with_parts_j=nothing, warnings=())]
    for direction, (value, half, method) in halves.items():
        told = replace(
            layer.energy_j,
            value=value,
            repeat_low=max(value - half, 0.0),
            repeat_high=value + half,
        )
        rows.append(
            replace(
                layer,
                name=f"{layer.name} [{direction}]",
                parent=layer.name,
                calls=1,
                time_share=0.1,
                energy_j=told,
                method=method,
                direction=direction,
                warnings=(),
            )
        )
    result = replace(one, phase="training", layers=tuple(rows))
    return replace(sample_report("layers"), results=(result,))


def test_the_passes_of_training_have_marks_and_upper_limits_as_rows_have():
    report = in_training(forward=(0.1, 0.001, "isolation"), backward=(0.001, 0.02, "isolation"))
    text = layers_text.text(report, 10, tree=False)
    (row,) = [line for line in lines_of(text) if line.startswith("block.conv|1")]
    assert row.split("  ")[-1].strip() == "< 21 mJ"
    assert "100 mJ" in row
    assert "too little to be told" in " ".join(text.split())
    report = in_training(forward=(0.1, 0.001, "isolation"), backward=(0.05, 0.02, "time"))
    (row,) = [
        line
        for line in lines_of(layers_text.text(report, 10, tree=True))
        if line.startswith("block.conv|1")
    ]
    assert row.split("  ")[-1].strip() == "~50.0 mJ"
    assert " 100 mJ" in row, "that pass was measured"


@pytest.mark.parametrize("tree", [False, True])
def test_names_of_layers_do_not_steer_the_terminal(tree):
    """They come from the file of a model, which anybody may have written."""
    (one,) = sample_report("layers").results
    hostile = "\x1b[31mred\u202e\nnext [bold]x[/bold] " + "n" * 200
    layers = tuple(
        replace(layer, name=hostile, type="\x1b]0;title\x07", warnings=("a\x1b[2J",))
        if layer.name == "block.norm"
        else layer
        for layer in one.layers
    )
    report = replace(sample_report("layers"), results=(replace(one, layers=layers),))
    text = layers_text.text(report, 10, tree=tree)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "[bold]" in text
    assert max(map(len, lines_of(text))) <= 80 or "n" * 80 in text


def test_subtotals_are_marked_where_a_part_goes_by_its_time():
    """Also on a machine whose joules are all modelled: the mark is about the method."""
    (one,) = sample_report("layers").results
    rows = [replace(row, method="context") for row in one.layers]
    report = replace(sample_report("layers"), results=(replace(one, layers=tuple(rows)),))
    measured = layers_text.text(report, 10, tree=False).split("with all inside")[1]
    assert "~" not in measured.split("\n\n")[0]
    marked = layers_text.text(sample_report("layers"), 10, tree=False).split("with all inside")[1]
    assert "~" in marked.split("\n\n")[0]


def test_layers_that_were_not_timed_are_no_residual_of_nothing():
    (one,) = sample_report("layers", known=False).results
    (known,) = sample_report("layers").results
    assert "no layer was timed" in shown(one, energy_j=known.energy_j)


# Other commands


def test_explain_adds_the_rows_up_again(greenai, simulated):
    path = simulated / "report.json"
    path.write_text(dump(sample_report("layers")))
    done = greenai("explain", path)
    assert done.code == 0, done.err
    assert "the rows were added up again" in done.out
    assert "block.norm: energy" in done.out
    assert "written before there were any" not in done.out.split("block.norm: energy")[1]
    (one,) = sample_report("layers").results
    wrong = replace(one, layers=one.layers[:-1])
    path.write_text(dump(replace(sample_report("layers"), results=(wrong,))))
    done = greenai("explain", path)
    assert done.code == exit_codes.REPORT
    assert "add up to" in done.out + done.err


@pytest.mark.parametrize("tree", [False, True])
def test_figures_of_training_stay_on_one_line(tree):
    """Names are folded before a number loses its unit."""
    released = Path(__file__).parents[1] / "data/report-1-layers-0.1.0.json"
    text = layers_text.text(read_report(released), 10, tree=tree)
    assert max(map(len, lines_of(text))) <= 80
    table = text.split("one training step")[1].split("sum")[0]
    assert not [line for line in lines_of(table) if line.strip() in ("%", "mJ", "J")]
    (row,) = [line for line in lines_of(table) if "51.1 mJ" in line]
    assert row.rstrip().endswith("119 mJ")
    assert "170 mJ ± 6.1 %" in row
