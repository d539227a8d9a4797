"""Layers of TorchScript and exported programs, as far as their graphs name them."""

from __future__ import annotations

import importlib

import pytest

torch = pytest.importorskip("torch")
from layered_networks import Net, Several  # noqa: E402  # after the check that it is there

from greenai_core import (  # noqa: E402  # likewise
    Layered,
    ModelError,
    RepeatableLayered,
    TimedLayered,
)
from greenai_plugins.models.exported_layers import ExportedLayered  # noqa: E402  # likewise
from greenai_plugins.models.torch_runtime import Feed  # noqa: E402  # likewise
from greenai_plugins.models.torchscript_format import TorchscriptModel  # noqa: E402  # likewise
from greenai_plugins.models.torchscript_layers import (  # noqa: E402  # likewise
    ScriptLayered,
    TimedScriptLayered,
)

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

X = torch.rand(2, 3, 8, 8)


def loaded(program, folder):
    """As it comes back from its file."""
    path = folder / "program.pt"
    torch.jit.save(program, path)
    return torch.jit.load(path)


@pytest.fixture(params=["traced", "scripted"])
def layered(request, tmp_path):
    network = Net().eval()
    program = (
        torch.jit.trace(network, X) if request.param == "traced" else torch.jit.script(network)
    )
    return TimedScriptLayered(loaded(program, tmp_path))


def test_the_layers_of_a_program(layered):
    assert isinstance(layered, Layered)
    assert not isinstance(layered, RepeatableLayered), "what it does twice is compiled into one"
    found = [(x.name, x.type, x.parent, x.parameters) for x in layered.layers()]
    assert found == [
        ("stem", "Conv2d", None, 112), ("block", "Block", None, 0),
        ("block.shared", "Conv2d", "block", 148), ("block.act", "ReLU", "block", 0),
        ("norm", "BatchNorm2d", None, 8), ("head", "Linear", None, 10),
    ]  # fmt: skip


def test_each_use_of_a_shared_layer_is_a_call_of_its_own(layered):
    calls = layered.calls(Feed((X,)))
    assert [(call.layer, call.index) for call in calls] == [
        ("stem", 0), ("block.shared", 0), ("block.act", 0), ("block.shared", 1),
        ("block.shared", 2), ("block.act", 1), ("block.shared", 3), ("norm", 0), ("head", 0),
    ]  # fmt: skip


def test_a_replay_computes_what_the_layer_computed(layered):
    """On inputs as they were when it was called, though a layer after it works in place."""
    calls = layered.calls(Feed((X,)))
    program = layered._module
    first, inner, act = (calls[at].replay() for at in (0, 1, 2))
    with torch.inference_mode():
        torch.testing.assert_close(calls[-1].replay(), program(X))
        torch.testing.assert_close(first, program.stem(X))
        torch.testing.assert_close(inner, program.block.shared(first))
        torch.testing.assert_close(act, torch.relu(inner))


class Halves(torch.nn.Module):
    def forward(self, x):
        return x.mul_(0.5)


def test_a_replay_in_place_is_not_fed_its_own_output(tmp_path):
    """Else it would soon work on numbers that processors are slow with."""
    network = torch.nn.Sequential(Halves(), torch.nn.ReLU(inplace=True), torch.nn.Tanh()).eval()
    program = loaded(torch.jit.script(network), tmp_path)
    x = torch.rand(3, 4)
    halves, relu, tanh = ScriptLayered(program).calls(Feed((x.clone(),)))
    for _ in range(3):
        torch.testing.assert_close(halves.replay(), x / 2)
        torch.testing.assert_close(relu.replay(), x / 2)
        torch.testing.assert_close(tanh.replay(), torch.tanh(x / 2))
        assert halves.empty() is None


def test_multiply_accumulates_of_each_layer(layered):
    macs = layered.macs(Feed((X,)))
    assert macs["stem"] == 2 * 4 * 3 * 9 * 64
    assert macs["block.shared"] == 4 * (2 * 4 * 4 * 9 * 64)
    assert macs["head"] == 2 * 4 * 2


@pytest.mark.parametrize("probes", [1, 2])
def test_a_pass_tells_the_time_of_each_call_where_it_happened(layered, probes):
    calls = layered.timed(Feed((X,)), probes)
    assert [(call.layer, call.parent) for call in calls] == [
        ("", None), ("stem", 0), ("block", 0), ("block.shared", 2), ("block.act", 2),
        ("block.shared", 2), ("block", 0), ("block.shared", 6), ("block.act", 6),
        ("block.shared", 6), ("norm", 0), ("head", 0),
    ]  # fmt: skip
    assert all(call.seconds > 0 for call in calls)
    for at, call in enumerate(calls):
        inside = sum(other.seconds for other in calls if other.parent == at)
        assert inside <= call.seconds, "layers take no longer than what they are in"


def test_without_probes_only_the_program_is_timed(layered):
    assert [call.layer for call in layered.timed(Feed((X,)), 0)] == [""]


def test_timing_changes_no_program(layered):
    program = layered._module
    before, graph = program(X), str(program.graph)
    for probes in (0, 1, 2):
        layered.timed(Feed((X,)), probes)
    layered.calls(Feed((X,)))
    assert str(program.graph) == graph
    assert torch.equal(program(X), before)


def test_what_entering_a_program_costs_can_be_taken_off(layered):
    """Each replay comes with one that takes the same and does nothing."""
    for call in layered.calls(Feed((X,))):
        assert call.empty is not None
        assert call.empty() is None


def test_on_a_gpu_layers_are_timed_by_themselves(tmp_path):
    """The clock of the host would tell when they were handed over."""
    path = tmp_path / "program.pt"
    torch.jit.save(torch.jit.script(Net().eval()), path)
    model = TorchscriptModel(path, device="cpu")
    model.load()
    assert isinstance(model.as_layered(), TimedLayered)
    model.device = "cuda:0"
    assert not isinstance(model.as_layered(), TimedLayered)


class Answer(torch.nn.Module):
    """A layer that takes and gives more than tensors."""

    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(4, 4)

    def forward(
        self, x: torch.Tensor, more: dict[str, torch.Tensor], other: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        return self.inner(x), {"more": more["more"] + 1}


class Nested(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.answer = Answer()
        self.head = torch.nn.Linear(4, 2)

    def again(self, x: torch.Tensor, more: dict[str, torch.Tensor]):
        return self.answer(x, more, x)

    def forward(self, x):
        y, more = self.answer(x, {"more": x})
        y, more = self.again(y, more)
        return {"y": self.head(y), "more": more["more"]}


def test_layers_that_take_and_give_more_than_tensors(tmp_path):
    program = loaded(torch.jit.script(Nested().eval()), tmp_path)
    layered, feed = TimedScriptLayered(program), Feed((torch.rand(3, 4),))
    names = [(call.layer, call.parent) for call in layered.timed(feed, 1)]
    assert names == [
        ("", None), ("answer", 0), ("answer.inner", 1), ("answer", 0), ("answer.inner", 3),
        ("head", 0),
    ]  # fmt: skip
    for call in layered.calls(feed):
        call.replay()
        call.empty()


def test_a_wrong_input_is_named_with_advice(layered):
    with pytest.raises(ModelError, match="greenai bench"):
        layered.timed(Feed((torch.rand(2, 9, 8, 8),)), 1)


class Twice(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Linear(4, 4)
        self.rows = torch.nn.Sequential(self.first, torch.nn.ReLU())

    def forward(self, x):
        return self.rows(self.first(x))


def test_parameters_are_with_the_name_by_which_a_trace_calls_a_layer(tmp_path):
    """A trace calls a layer with two names by one of them only."""
    program = torch.jit.trace(Twice().eval(), torch.rand(3, 4))
    layers = ScriptLayered(loaded(program, tmp_path)).layers()
    assert {layer.name: layer.parameters for layer in layers if layer.parameters} == {"rows.0": 20}


class Loop(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Linear(4, 4)
        self.again = torch.nn.Linear(4, 4)
        self.rows = torch.nn.ModuleList([torch.nn.Linear(4, 4) for _ in range(2)])

    def begin(self, x):
        return self.first(x)

    def forward(self, x, times: int = 2):
        x = self.begin(x)
        for _ in range(times):
            x = self.again(x)
        for row in self.rows:
            x = row(x)
        return x


def test_what_is_called_in_a_loop_belongs_to_what_is_around_it(tmp_path):
    layered = ScriptLayered(loaded(torch.jit.script(Loop().eval()), tmp_path))
    assert [layer.name for layer in layered.layers()] == ["first", "rows", "rows.0", "rows.1"]
    calls = layered.calls(Feed((torch.rand(3, 4),)))
    assert [call.layer for call in calls] == ["first", "rows.0", "rows.1"]


def test_a_frozen_program_has_no_layers_and_says_so(tmp_path):
    path = tmp_path / "frozen.pt"
    torch.jit.save(torch.jit.freeze(torch.jit.script(Net().eval())), path)
    model = TorchscriptModel(path, device="cpu")
    ability = model.abilities()["layers"]
    assert not ability.possible
    assert "torch.jit.freeze" in ability.reason
    with pytest.raises(ModelError, match=r"torch\.jit\.freeze"):
        model.as_layered()


# Exported programs


def exported(network, program=None):
    program = program or torch.export.export(network.eval(), (X,))
    module = torch.export.unflatten(program)

    def call(module, feed):
        with torch.inference_mode():
            return module(*feed.args, **feed.kwargs)

    return ExportedLayered(module, call), module


def test_an_exported_program_runs_as_code_and_not_step_by_step(monkeypatch):
    """Interpreted it takes several times as long, and that would be in the times of layers."""
    network = Several()
    layered, module = exported(network)

    def interprets(*args, **kwargs):
        raise AssertionError("interpreted")

    monkeypatch.setattr(torch.fx.Interpreter, "run", interprets)
    torch.testing.assert_close(module(X), network(X))
    assert layered.timed(Feed((X,)), 1)[0].layer == ""


def test_the_uses_of_a_layer_are_one_layer_though_they_are_several_modules():
    """As is a layer whose work depends on the size of what it is given."""
    network = Several()
    layered, module = exported(network)
    assert "shared@2" in dict(module.named_modules())
    assert [layer.name for layer in layered.layers()] == ["stem", "shared", "pool"]
    calls = [call for call in layered.calls(Feed((X,))) if call.layer == "shared"]
    assert [call.index for call in calls] == [0, 1, 2]
    assert [call.replay().shape[-1] for call in calls] == [8, 4, 2]
    assert [call.layer for call in layered.timed(Feed((X,)), 1)].count("shared") == 3
    assert set(layered.macs(Feed((X,)))) == {"stem", "shared", "pool"}
    for times in (2, 3):
        torch.testing.assert_close(layered.repeated(Feed((X,)), "shared", times)(), network(X))
    assert not any("forward" in vars(part) for part in module.modules())


def test_modules_that_take_turns_do_their_own_calls():
    """As PyTorch makes them of a layer whose signature was to be kept."""
    network = Several()
    program = torch.export.export(network.eval(), (X,), preserve_module_call_signature=("shared",))
    layered, module = exported(network, program)
    ways = importlib.import_module("torch.export.unflatten").InterpreterModuleDispatcher
    assert isinstance(module.get_submodule("shared"), ways)
    calls = [call for call in layered.calls(Feed((X,))) if call.layer == "shared"]
    expected = [call.replay() for call in calls]
    for call, output in zip(calls, expected, strict=True):
        for _ in range(2):
            torch.testing.assert_close(call.replay(), output)
    for times in (2, 3):
        torch.testing.assert_close(layered.repeated(Feed((X,)), "shared", times)(), network(X))
        torch.testing.assert_close(module(X), network(X))


def test_an_exported_program_is_timed_and_counted_as_its_network_is():
    layered, _ = exported(Net())
    calls = layered.timed(Feed((X,)), 1)
    names = [call.layer for call in calls]
    assert names == [
        "", "stem", "block", "block.shared", "block.act", "block.shared", "block", "block.shared",
        "block.act", "block.shared", "norm", "head",
    ]  # fmt: skip
    assert layered.macs(Feed((X,)))["block.shared"] == 4 * (2 * 4 * 4 * 9 * 64)


def test_what_only_holds_layers_is_no_layer_of_their_kind():
    """PyTorch gives such a module the class of the first one inside."""

    class Holds(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.rows = torch.nn.ModuleList([torch.nn.Conv2d(3, 3, 1) for _ in range(2)])

        def forward(self, x):
            for row in self.rows:
                x = row(x)
            return x

    layered, _ = exported(Holds())
    assert [(layer.name, layer.type) for layer in layered.layers()] == [
        ("rows", "container"), ("rows.0", "Conv2d"), ("rows.1", "Conv2d"),
    ]  # fmt: skip


def test_what_works_in_place_in_an_exported_program_is_not_fed_its_own_output():
    """It would soon work on numbers that processors are slow with; it goes by its time."""
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 1), torch.nn.SiLU(inplace=True), torch.nn.ReLU(inplace=True)
    )
    layered, _ = exported(network)
    assert [call.layer for call in layered.calls(Feed((X,)))] == ["0", "2"]
    assert [call.layer for call in layered.timed(Feed((X,)), 1)] == ["", "0", "1", "2"]
