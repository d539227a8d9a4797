"""``greenai params --by-layer`` and ``--flops``."""

from __future__ import annotations

from greenai_core import LayerParameters, MacCount, ModelInputError
from greenai_core.model_factory import factory


def test_layers_are_a_table_that_ends_in_the_sum(greenai, tiny):
    done = greenai("params", tiny(), tiny("b.tiny", [[1.0]]), "--by-layer")
    assert done.code == 0
    heads = [line for line in done.out.splitlines() if line.endswith("(tiny)")]
    assert heads == ["a.tiny (tiny)", "b.tiny (tiny)"]
    totals = [line.split() for line in done.out.splitlines() if line.startswith("total")]
    assert totals == [["total", "6", "0", "48.0", "B"], ["total", "1", "0", "8.00", "B"]]
    assert "(the model itself)" in done.out


def test_layers_in_json(greenai, tiny):
    done = greenai("params", tiny(), "--by-layer", "--json")
    assert done.json[0]["layers"] == [
        {"name": "", "type": None, "trainable": 6, "non_trainable": 0, "bytes": 48}
    ]
    assert "macs" not in done.json[0]
    assert "layers" not in greenai("params", tiny(), "--json").json[0]


def test_names_and_types_of_layers(greenai, tiny, monkeypatch):
    layers = (LayerParameters("a.b", "Linear", 1_234_567, 8, 4_938_300),)
    library = factory.get_model(tiny())
    monkeypatch.setattr(library, "count_by_layer", lambda self: layers)
    out = greenai("params", tiny(), "--by-layer").out
    assert "a.b    Linear  1,234,567              8  4.94 MB" in out


def test_a_format_without_macs_says_why(greenai, tiny):
    done = greenai("params", tiny(), "--flops")
    assert done.code == 0
    (entry,) = done.json
    assert entry["macs"] is None
    assert "'tiny'" in entry["macs_reason"]
    assert entry["macs_inputs"] == []
    assert entry["total"] == 6
    text = greenai("params", tiny(), "--flops", "--by-layer").out
    assert "multiply-accumulates: unknown" in text


def test_macs_with_what_was_fed(greenai, tiny, monkeypatch):
    asked = []

    def count_macs(self, options=None):
        asked.append((self.device, dict(options.axes)))
        return MacCount(6_500_000, "", ("x (1x2, float32)",))

    monkeypatch.setattr(factory.get_model(tiny()), "count_macs", count_macs)
    done = greenai("params", tiny(), "--flops", "--axis", "seq=9")
    assert done.json[0]["macs"] == 6_500_000
    assert done.json[0]["macs_reason"] is None
    assert done.json[0]["macs_inputs"] == ["x (1x2, float32)"]
    assert asked == [("cpu", {"seq": 9})]
    text = greenai("params", tiny(), "--flops", "--by-layer").out
    assert "multiply-accumulates: 6.50 MMAC with x (1x2, float32)" in text
    assert "not counted: element by element" in text
    assert "softmax" in done.json[0]["macs_not_counted"]


def test_macs_tell_what_was_assumed(greenai, tiny, monkeypatch):
    library = factory.get_model(tiny())
    monkeypatch.setattr(library, "count_macs", lambda self, options=None: MacCount(5))
    monkeypatch.setattr(library, "assumptions", lambda self: ("x is taken as 1x2",))
    done = greenai("params", tiny(), "--flops")
    assert done.json[0]["macs_assumptions"] == ["x is taken as 1x2"]
    text = greenai("params", tiny(), "--flops", "--by-layer").out
    assert "assumed: x is taken as 1x2" in text


def test_a_model_that_cannot_run_is_counted_all_the_same(greenai, tiny, monkeypatch):
    def refuse(self, options=None):
        raise ModelInputError("the shape of x is not known")

    monkeypatch.setattr(factory.get_model(tiny()), "count_macs", refuse)
    done = greenai("params", tiny(), "--flops")
    assert done.code == 0
    assert done.json[0]["macs_reason"] == "the shape of x is not known"
    assert done.json[0]["total"] == 6
