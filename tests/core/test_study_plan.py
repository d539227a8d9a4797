"""``STUDY.toml``: what it may say, what is told when it is wrong, and writing it back."""

from __future__ import annotations

import importlib
import string
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greenai_core import ConfigError, PlannedModel, StudyPlan, read_study_plan
from greenai_core.study_plan import differences
from greenai_core.study_toml import parse_study_plan
from greenai_core.study_toml_writing import plan_to_toml
from greenai_core.toml_lines import key_lines

tomllib = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")

FILE = Path("/studies/S.toml")

WHOLE = """\
name = "all of it"      # 1
sizes = [112, 224]
runs = 3
precision = "5%"

[[models]]              # 6
file = "nets/a.onnx"
batch_sizes = [1,
               8]
axes = { seq = "size" }

[[models]]              # 12
name = "b"
callable = "code.py:make"
tokens = 50

[profiler.modelled]     # 17
tdp_w = 100
"""


def test_a_whole_study_is_read():
    plan = parse_study_plan(WHOLE, FILE)
    assert (plan.name, plan.runs, plan.precision, plan.seconds) == ("all of it", 3, 0.05, None)
    a, b = plan.models
    assert (a.name, a.file, a.callable) == ("a", "/studies/nets/a.onnx", None)
    assert (a.sizes, a.batch_sizes, a.size_name) == ((112, 224), (1, 8), "pixels")
    assert (b.name, b.callable, b.sizes) == ("b", "/studies/code.py:make", (50,))
    assert b.size_name == "tokens"
    assert plan.size_name == "size"
    assert plan.profiler_options == {"modelled": {"tdp_w": 100}}
    assert len(plan.seeded().cells()) == 3 * (4 + 1)


@pytest.mark.parametrize(
    ("study", "model", "name"),
    [
        ("sizes = [1]", 'callable = "a.py:b"', "size"),
        ("sizes = [1]", 'file = "a.onnx"', "pixels"),
        ('sizes = [1]\nsize_name = "pixels"', 'callable = "a.py:b"', "pixels"),
        ("", 'callable = "a.py:b"\nsizes = [1]', "size"),
        ("", 'callable = "a.py:b"\nsizes = [1]\nsize_name = "words"', "words"),
        ('size_name = "words"', 'callable = "a.py:b"\nsizes = [1]', "words"),
        ("tokens = [1]", 'callable = "a.py:b"', "tokens"),
        ("tokens = [1]", 'callable = "a.py:b"\nsizes = [2]', "size"),
        ('sizes = [1]\nsize_name = "pixels"', 'callable = "a.py:b"\ntokens = [2]', "tokens"),
    ],
)
def test_what_sizes_are_called(study, model, name):
    """Of a function nobody knows that they are pixels."""
    plan = parse_study_plan(f"{study}\n[[models]]\n{model}\n", FILE)
    assert plan.size_name == name
    assert parse_study_plan(plan_to_toml(plan, None), FILE).size_name == name


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("runs = 3", "runs = 0", "S.toml:3: runs = 0: give a whole number from 1"),
        ("runs = 3", "runs = true", "S.toml:3: runs = true: give a whole number"),
        ("runs = 3", "run = 3", "S.toml:3: unknown key 'run': did you mean runs?"),
        ("runs = 3", "zebra = 3", "S.toml:3: unknown key 'zebra': known are"),
        ("runs = 3", "runs = 3\nseconds = 1", "S.toml:5: seconds and precision exclude"),
        ('"5%"', '"5 percent"', "S.toml:4: precision = \"5 percent\": give a share"),
        ('"5%"', "nan", "S.toml:4: precision"),
        ("112, 224", "112, 112", "S.toml:2: sizes"),
        ("112, 224", "112, -1", "S.toml:2: sizes"),
        ("112, 224", "", "S.toml:2: sizes"),
        ("8]", "0]", "S.toml:8: batch_sizes"),
        ('"size" }', '"big" }', "S.toml:10: axes"),
        ('file = "nets/a.onnx"', "", "S.toml:6: a model needs file"),
        ('file = "nets/a.onnx"', 'file = "x"\ncallable = "f.py:g"', "S.toml:8: file and callable"),
        ("code.py:make", "code:make", 'S.toml:14: callable = "code:make": give "file.py:function"'),
        ('name = "b"', 'name = "a"', "S.toml:13: a second model is called 'a'"),
        ('name = "b"', 'name = "../b"', "S.toml:13: name"),
        ('name = "b"', 'name = "report.json"', "S.toml:13: name"),
        ("tokens = 50", "tokens = 50\nsizes = 3", "S.toml:15: sizes and tokens exclude"),
        ("tdp_w = 100", 'password = "x"', "S.toml:18: password is a secret"),
        ("[[models]]              # 6", "[models]", "not valid TOML"),
        ("runs = 3", "runs = ", "not valid TOML"),
        ("112, 224]", "112, 224]\nmin_seconds = 5\nmax_seconds = 2", "max_seconds = 2"),
        ("runs = 3", "runs = 1000000", "S.toml:3: the study has 5000000 cells"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_line(old, new, told):
    assert WHOLE.count(old) == 1
    with pytest.raises(ConfigError) as caught:
        parse_study_plan(WHOLE.replace(old, new), FILE)
    assert told in str(caught.value)
    assert "S.toml" in str(caught.value)


def test_all_that_is_wrong_is_told_at_once():
    with pytest.raises(ConfigError) as caught:
        parse_study_plan(WHOLE.replace("runs = 3", "runs = 0").replace("tokens = 50", ""), FILE)
    assert str(caught.value).count("S.toml:") == 1, "the shared sizes hold for a model without own"
    with pytest.raises(ConfigError) as caught:
        parse_study_plan(WHOLE.replace("runs = 3", "runs = 0").replace("axes", "axis"), FILE)
    assert "S.toml:3" in str(caught.value)
    assert "S.toml:10" in str(caught.value)


def test_a_study_needs_models_and_sizes():
    with pytest.raises(ConfigError, match="at least one model"):
        parse_study_plan("sizes = 3", FILE)
    with pytest.raises(ConfigError, match=r"S\.toml:1: the sizes are missing"):
        parse_study_plan('[[models]]\nfile = "a"', FILE)


def test_a_file_that_cannot_be_read_is_told(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        read_study_plan(tmp_path / "gone.toml")
    (tmp_path / "s.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="UTF-8"):
        read_study_plan(tmp_path / "s.toml")


texts = st.text(
    st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), min_size=1, max_size=20
)
names = st.text(string.ascii_letters + string.digits + "._-", min_size=1, max_size=12).filter(
    lambda name: name.strip(". ") == name and name.lower() not in (
        "study.toml", "cells.jsonl", "report.json"
    )
)  # fmt: skip
sizes = st.lists(st.integers(1, 10_000), min_size=1, max_size=5, unique=True).map(tuple)
values = st.one_of(st.booleans(), st.integers(-(2**63), 2**63 - 1), texts, st.floats())
keys = texts


@st.composite
def models(draw, name):
    path = draw(names)
    is_file = draw(st.booleans())
    return PlannedModel(
        name,
        file=f"/models/{path}" if is_file else None,
        callable=None if is_file else f"/models/{path}.py:make",
        sizes=draw(sizes),
        batch_sizes=draw(sizes),
        size_name=draw(texts),
        format=draw(st.none() | texts),
        options=draw(st.dictionaries(keys, values.filter(lambda v: v == v), max_size=3)),
        input_shapes=draw(
            st.dictionaries(
                texts,
                st.lists(st.sampled_from(["size", "batch", 1, 3]), min_size=1).map(tuple),
                max_size=2,
            )
        ),
        axes=draw(st.dictionaries(texts, st.just("size") | st.integers(1, 99), max_size=2)),
        note=draw(st.just("") | texts),
    )


@st.composite
def plans(draw):
    called = draw(st.lists(names, min_size=1, max_size=3, unique=True))
    seconds = draw(st.none() | st.floats(1e-3, 1e5))
    least = draw(st.floats(1e-3, 1e3))
    return StudyPlan(
        draw(texts),
        tuple(draw(models(name)) for name in called),
        runs=draw(st.integers(1, 20)),
        seconds=seconds,
        precision=draw(st.floats(1e-6, 0.999)) if seconds is None else 0.02,
        min_seconds=least,
        max_seconds=least * draw(st.floats(1, 10)),
        idle_s=draw(st.none() | st.floats(0, 10)),
        seed=draw(st.none() | st.integers(0, 2**31)),
        fresh_process=draw(st.booleans()),
        profiler_options={"p": draw(st.dictionaries(st.sampled_from("abc"), texts, min_size=1))},
    )


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(plans())
def test_a_plan_that_was_written_reads_back_the_same(plan):
    text = plan_to_toml(plan, Path("/out/study"))
    assert parse_study_plan(text, Path("/out/study/study.toml")) == plan


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(plans())
def test_every_key_is_on_the_line_that_is_told(plan):
    text = plan_to_toml(plan, None)
    lines = text.split("\n")
    found = key_lines(text)
    for path in paths(tomllib.loads(text)):
        assert path in found, path
        key = path[-1]
        if isinstance(key, str) and key.isidentifier() and key.isascii():
            assert key in lines[found[path] - 1]


def paths(value, here=()):
    if here:
        yield here
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        if isinstance(item, (dict, list)):
            yield from paths(item, (*here, key))
        else:
            yield (*here, key)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([*WHOLE.splitlines(), '"""', "a = '''", "]", "{", "x = 1"])))
def test_any_text_gives_a_plan_or_a_clear_error(lines):
    text = "\n".join(lines)
    try:
        plan = parse_study_plan(text, FILE)
    except ConfigError as error:
        assert "S.toml" in str(error)  # noqa: PT017  # either outcome is right
    else:
        assert replace(plan, seed=1).cells()


def test_lines_of_strings_and_comments_that_look_like_keys():
    text = (
        'a = """\nb = 1\n"""  # c = 2\n"d.e" = [\n 1, # ]\n { f = "}" },\n]\n[x.y]\nz.w = \'"\'\n'
    )
    found = key_lines(text)
    assert found == {
        ("a",): 1, ("d.e",): 4, ("d.e", 0): 5, ("d.e", 1): 6, ("d.e", 1, "f"): 6,
        ("x",): 8, ("x", "y"): 8, ("x", "y", "z"): 9, ("x", "y", "z", "w"): 9,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "line", "told"),
    [
        ("runs = 1\nmin_seconds = 10\nmax_seconds = 5\n", 2, "min_seconds = 10"),
        ("runs = 1\n\nmax_seconds = 0.5\n", 3, "max_seconds = 0.5"),
        ("runs = 1\nseconds = 9\ncell_timeout_s = 9\n", 3, "cell_timeout_s is 9"),
        ('runs = 1\ndevice = "gpu7"\n', 2, "give cpu, cuda, cuda:1 or auto"),
    ],
)
def test_keys_that_do_not_go_together_are_told_with_a_line(wrong, line, told):
    with pytest.raises(ConfigError) as raised:
        parse_study_plan(f'{wrong}[[models]]\nfile = "a.onnx"\nsizes = [1]\n', FILE)
    assert f"S.toml:{line}: " in str(raised.value)
    assert told in str(raised.value)


def test_a_time_limit_for_cells_is_kept_and_may_change_when_resuming():
    """It decides when to give up, not what is measured."""
    text = 'seconds = 1\ncell_timeout_s = 20\n[[models]]\nfile = "a.onnx"\nsizes = [1]\n'
    plan = parse_study_plan(text, FILE)
    assert plan.cell_timeout_s == 20
    assert parse_study_plan(plan_to_toml(plan, FILE.parent), FILE) == plan
    assert differences(plan, replace(plan, cell_timeout_s=None)) == ()
    assert differences(plan, replace(plan, runs=3)) != ()
