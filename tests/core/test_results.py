"""Reports: to JSON and back, the published schema, and files that are no reports."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
import math
import os
import stat
import types
import typing
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greenai_core import SchemaError, dump, read_report, results, write_report
from greenai_core.report_files import to_json
from greenai_core.results import RESULT_TYPES, Report
from greenai_core.testing.sample_reports import sample_report

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/schema/report-1.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(
    SCHEMA, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
)
KINDS = tuple(RESULT_TYPES)

LEAVES = st.none() | st.booleans() | st.integers() | st.text()
LEAVES |= st.floats(allow_nan=False, allow_infinity=False)
JSON = st.dictionaries(
    st.text(), st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3), max_leaves=5)
)
SIMPLE = {
    float: st.floats(allow_nan=False, allow_infinity=False),
    int: st.integers(1, 10**12),
    str: st.text(st.characters(), max_size=8),
    bool: st.booleans(),
}
CHOICES = {
    "created": st.just("2024-02-29T23:59:59+00:00"),
    "letter": st.sampled_from([*"ABCDEFG", None]),
    "best_letter": st.sampled_from([*"ABCDEFG", None]),
    "method": st.sampled_from(["counter", "sampled", "modelled"]),
    "scope": st.sampled_from(["part", "wall"]),
    "schema_version": st.just(1),
}


def anything(kind):
    """A strategy for an annotated type of the module results."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        (inner,) = (argument for argument in arguments if argument is not type(None))
        return st.none() | anything(inner)
    if origin is tuple:
        # One at most: a result nests deep, and two of each would make it enormous.
        return st.lists(anything(arguments[0]), max_size=1).map(tuple)
    if (origin or kind) is Mapping:
        return JSON
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        fields = [field.name for field in dataclasses.fields(kind) if field.init]
        return st.builds(kind, **{name: choice(name, hints[name]) for name in fields})
    return SIMPLE[kind]


def choice(name, kind):
    return CHOICES[name] if name in CHOICES else anything(kind)


def any_report(kind):
    bare = anything(dataclasses.make_dataclass("Bare", report_fields(), bases=()))
    found = st.lists(anything(RESULT_TYPES[kind]), max_size=2).map(tuple)
    return st.builds(
        lambda fields, items: Report(kind=kind, results=items, **vars(fields)), bare, found
    )


def report_fields():
    hints = typing.get_type_hints(Report)
    return [(name, kind) for name, kind in hints.items() if name not in ("kind", "results")]


def saved(tmp_path, text):
    path = tmp_path / "report.json"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_report_survives_the_file_and_fits_the_schema(kind, data, tmp_path):
    report = data.draw(any_report(kind))
    path = tmp_path / "report.json"
    write_report(report, path)
    assert read_report(path) == report
    VALIDATOR.validate(json.loads(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_the_sample_reports_survive_and_fit(kind, known, tmp_path):
    report = sample_report(kind, known=known)
    write_report(report, tmp_path / "report.json")
    assert read_report(tmp_path / "report.json") == report
    VALIDATOR.validate(json.loads(dump(report)))


def test_the_version_stands_first():
    assert dump(sample_report("bench")).startswith('{\n  "schema_version": 1,')


def test_a_file_name_that_is_no_utf8_survives(tmp_path):
    """Such a path must not cost a measurement its report."""
    report = sample_report("bench")
    (one,) = report.results
    path = os.fsdecode(b"mod\xe9l\xff.onnx")
    report = replace(report, results=(replace(one, model=replace(one.model, path=path)),))
    write_report(report, tmp_path / "report.json")
    assert read_report(tmp_path / "report.json") == report


# The schema


def classes():
    """Every dataclass that a report can hold."""
    found, waiting = [], [*RESULT_TYPES.values(), results.Skipped, results.AppliedCalibration]
    while waiting:
        cls = waiting.pop()
        if cls in found:
            continue
        found.append(cls)
        hints = typing.get_type_hints(cls).values()
        waiting += [
            kind for hint in hints for kind in parts(hint) if dataclasses.is_dataclass(kind)
        ]
    return found


def parts(hint):
    """A type and all types within it."""
    return [hint, *(part for inner in typing.get_args(hint) for part in parts(inner))]


def test_every_described_class_can_be_in_a_report():
    assert {cls.__name__ for cls in classes()} == set(SCHEMA["$defs"])


def test_the_schema_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_the_schema_describes_every_field():
    for cls in [Report, *classes()]:
        described = SCHEMA if cls is Report else SCHEMA["$defs"][cls.__name__]
        fields = dataclasses.fields(cls)
        assert {field.name for field in fields} == set(described["properties"]), cls
        required = {f.name for f in fields if f.init and f.default is dataclasses.MISSING}
        assert required == set(described["required"]) - {"schema_version"}, cls
        assert all(item.get("description") for item in described["properties"].values()), cls


def test_the_page_describes_every_field():
    page = (Path(__file__).parents[2] / "docs/json-schema.md").read_text(encoding="utf-8")
    for cls in [Report, *classes()]:
        section = page.split(f"### {cls.__name__}\n", 1)[1].split("\n### ", 1)[0]
        for field in dataclasses.fields(cls):
            assert f"| `{field.name}` |" in section, f"{cls.__name__}.{field.name}"


@pytest.mark.parametrize("kind", KINDS)
def test_schema_and_reader_want_the_same_fields(kind, tmp_path):
    """Each object of a report without one of its keys: both refuse it, or both take it."""
    data = json.loads(dump(sample_report(kind)))
    for path in places(data):
        broken = copy.deepcopy(data)
        holder = broken
        for key in path[:-1]:
            holder = holder[key]
        del holder[path[-1]]
        file = saved(tmp_path, json.dumps(broken))
        assert VALIDATOR.is_valid(broken) == reads(file), path


def places(data, path=()):
    """Every key of every object that greenai defines."""
    if isinstance(data, list):
        for index, item in enumerate(data):
            yield from places(item, (*path, index))
    elif isinstance(data, dict):
        for key, value in data.items():
            yield (*path, key)
            if key not in ("environment", "settings"):
                yield from places(value, (*path, key))


def reads(file):
    try:
        read_report(file)
    except SchemaError:
        return False
    return True


@pytest.mark.parametrize(("a", "b"), [*itertools.permutations(("bench", "train", "measure"), 2)])
def test_results_of_another_kind_are_refused(a, b, tmp_path):
    data = {**to_json(sample_report(a)), "kind": b}
    assert not VALIDATOR.is_valid(data)
    with pytest.raises(SchemaError, match=r"results\[0\]"):
        read_report(saved(tmp_path, json.dumps(data)))
    with pytest.raises(SchemaError, match=r"results\[0\]"):
        dump(replace(sample_report(a), kind=b))


# Files that are no reports


@pytest.mark.parametrize("version", [0, 2, 99, None, "1", 1.5, True, [1]])
def test_an_unknown_version_is_refused(version, tmp_path):
    data = {**to_json(sample_report("bench")), "schema_version": version}
    path = saved(tmp_path, json.dumps(data))
    with pytest.raises(SchemaError, match="schema_version") as caught:
        read_report(path)
    assert str(path) in str(caught.value)


def test_a_newer_version_says_to_upgrade(tmp_path):
    data = {**to_json(sample_report("bench")), "schema_version": 2}
    with pytest.raises(SchemaError, match="Upgrade"):
        read_report(saved(tmp_path, json.dumps(data)))


@pytest.mark.parametrize(
    ("path", "named"),
    [
        (("created",), "report.created"),
        (("results",), "report.results"),
        (("results", 0, "model"), "results[0].model"),
        (("results", 0, "model", "path"), "results[0].model.path"),
        (("results", 0, "latency_s", "low"), "results[0].latency_s.low"),
        (("results", 0, "channels", 0, "id"), "results[0].channels[0].id"),
        (
            ("results", 0, "repetitions", 2, "channels", 0, "energy_j"),
            "results[0].repetitions[2].channels[0].energy_j",
        ),
    ],
)
def test_a_missing_field_is_named_with_its_place(path, named, tmp_path):
    data = json.loads(dump(sample_report("bench")))
    holder = data
    for key in path[:-1]:
        holder = holder[key]
    del holder[path[-1]]
    with pytest.raises(SchemaError) as caught:
        read_report(saved(tmp_path, json.dumps(data)))
    assert f"{named} is missing" in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("results", None),
        ("results", {}),
        ("results", "none"),
        ("results", [None]),
        ("results", [[]]),
        ("kind", "benchmark"),
        ("kind", ["bench"]),
        ("kind", None),
        ("created", 5),
        ("complete", "yes"),
        ("complete", 1),
        ("environment", []),
        ("warnings", "one"),
        ("warnings", [1]),
    ],
)
def test_a_field_of_the_wrong_type_is_refused(key, value, tmp_path):
    data = {**to_json(sample_report("bench")), key: value}
    with pytest.raises(SchemaError):
        read_report(saved(tmp_path, json.dumps(data)))
    assert not VALIDATOR.is_valid(data)


@pytest.mark.parametrize("value", ["0.1", True, None, [], 10**400])
def test_a_figure_that_is_no_number_is_refused(value, tmp_path):
    data = to_json(sample_report("bench"))
    data["results"][0]["latency_s"]["value"] = value
    with pytest.raises(SchemaError, match=r"results\[0\]\.latency_s\.value"):
        read_report(saved(tmp_path, json.dumps(data)))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_what_is_no_number_is_not_read(number, tmp_path):
    text = dump(sample_report("bench")).replace(
        '"self_cost_share": 0.001', f'"self_cost_share": {number}'
    )
    assert number in text
    with pytest.raises(SchemaError):
        read_report(saved(tmp_path, text))


def test_not_a_number_is_refused_in_the_settings_too(tmp_path):
    text = dump(sample_report("bench")).replace('"precision": 0.02', '"precision": NaN')
    with pytest.raises(SchemaError, match="NaN"):
        read_report(saved(tmp_path, text))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "5", '"report"', "[" * 100_000])
def test_a_file_that_is_no_report(text, tmp_path):
    path = saved(tmp_path, text)
    with pytest.raises(SchemaError) as caught:
        read_report(path)
    assert str(path) in str(caught.value)


def test_a_file_that_is_no_text(tmp_path):
    path = tmp_path / "report.json"
    path.write_bytes(b"\x80\x81\x82")
    with pytest.raises(SchemaError, match="not JSON"):
        read_report(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_report(tmp_path / "report.json")


def test_keys_of_later_releases_are_ignored(tmp_path):
    """The promise of docs/json-schema.md: version 1 may get new keys."""
    data = to_json(sample_report("grade"))
    data["new"] = data["results"][0]["new"] = {"anything": [1]}
    assert VALIDATOR.is_valid(data)
    assert read_report(saved(tmp_path, json.dumps(data))) == sample_report("grade")


def test_fields_with_a_default_may_be_absent(tmp_path):
    data = to_json(sample_report("bench"))
    for key in ("skipped", "warnings", "complete"):
        del data[key]
    report = read_report(saved(tmp_path, json.dumps(data)))
    assert (report.skipped, report.warnings, report.complete) == ((), (), True)


# Writing


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_figure_that_is_not_finite_is_not_written(value, tmp_path):
    report = sample_report("bench")
    (one,) = report.results
    broken = replace(report, results=(replace(one, self_cost_share=value),))
    path = tmp_path / "report.json"
    write_report(report, path)
    with pytest.raises(SchemaError):
        write_report(broken, path)
    assert read_report(path) == report


@pytest.mark.parametrize("value", [np.float32(1), np.int64(1), {1, 2}, b"bytes", object()])
def test_a_value_that_json_lacks_is_a_schema_error(value):
    with pytest.raises(SchemaError, match="no type for"):
        dump(replace(sample_report("bench"), settings={"value": value}))


def test_an_unknown_kind_is_not_written():
    with pytest.raises(SchemaError, match="unknown kind"):
        dump(replace(sample_report("bench"), kind="guess"))


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file(step, tmp_path, monkeypatch):
    path = tmp_path / "report.json"
    write_report(sample_report("bench"), path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*{"fsync": (os, "fsync"), "replace": (Path, "replace")}[step], full)
    with pytest.raises(OSError, match="No space left"):
        write_report(sample_report("train"), path)
    assert read_report(path) == sample_report("bench")
    assert [file.name for file in tmp_path.iterdir()] == ["report.json"]


def test_writing_makes_the_folder_and_an_ordinary_file(tmp_path):
    path = tmp_path / "new" / "folder" / "report.json"
    before = os.umask(0o027)
    try:
        write_report(sample_report("measure"), path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [file.name for file in path.parent.iterdir()] == ["report.json"]


def test_unknown_is_null_and_never_zero():
    (result,) = json.loads(dump(sample_report("bench", known=False)))["results"]
    assert result["energy_per_inference_j"] is None
    assert result["power_w"] is None
    assert result["missing"]


def test_a_total_of_parameters_is_their_sum(tmp_path):
    """What a file says of the total does not count."""
    data = to_json(sample_report("bench"))
    data["results"][0]["parameters"]["total"] = 10**9
    (result,) = read_report(saved(tmp_path, json.dumps(data))).results
    assert result.parameters.total == 34
