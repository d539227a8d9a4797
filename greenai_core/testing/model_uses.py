"""Checks of training and of telling layers apart."""

from __future__ import annotations

import contextlib
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from greenai_core.abilities import (
    CallTime,
    Layer,
    ProfiledLayered,
    RepeatableLayered,
    TimedLayered,
)
from greenai_core.errors import ModelError, ModelInputError
from greenai_core.model import DLLibrary, Layered, Trainable

from .conformance import check
from .model_hooks import ModelHooks, misshapen, same, states_shapes

MANY = 64
"""Times that a layer is done inside a pass to see that it takes longer."""

TRIES = 7


def content(path: Path) -> dict[str, bytes]:
    """What is in the file, or in each file of the folder."""
    files = [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.is_file())
    return {str(file): file.read_bytes() for file in files}


class TrainingChecks(ModelHooks):
    """Checks of ``as_trainable``; skipped for a file that cannot be trained."""

    @check
    def test_what_cannot_be_trained_says_why(self, tmp_path: Path) -> None:
        """Without the ability, ``as_trainable`` raises ModelError with its reason."""
        model = self._open(self.make_file(tmp_path))
        ability = model.abilities()["train"]
        if ability.possible:
            return
        with pytest.raises(ModelError) as caught:
            model.as_trainable()
        assert ability.reason in str(caught.value), "another reason than abilities() gives"

    @check
    def test_training_lowers_the_loss(self, tmp_path: Path) -> None:
        """Steps on one batch lower its loss, and every loss is finite."""
        with self._able(tmp_path, "train") as model:
            losses = self._train(model.as_trainable())
        assert all(math.isfinite(loss) for loss in losses), f"losses {losses}"
        quarter = max(self.training_steps // 4, 1)  # dropout makes single losses noisy
        first, last = sum(losses[:quarter]), sum(losses[-quarter:])
        assert last < first, f"the losses were {losses}"

    @check
    def test_wrong_batch_is_refused(self, tmp_path: Path) -> None:
        """``prepare_batch`` refuses inputs of another rank with a ModelInputError.

        Where the file does not state its shapes, ``step`` does.
        """
        with self._able(tmp_path, "train") as model:
            inputs, targets = self.make_batch()
            trainable = model.as_trainable()

            def use() -> None:
                batch = trainable.prepare_batch(misshapen(inputs), targets)
                if not states_shapes(model):
                    trainable.step(batch)

            with pytest.raises(ModelInputError):
                use()

    @check
    def test_training_leaves_the_file_alone(self, tmp_path: Path) -> None:
        """Training does not write to the file that the model came from."""
        with self._able(tmp_path, "train") as model:
            before = content(model.path)
            self._train(model.as_trainable())
            assert content(model.path) == before, "training changed the model's file"

    @check
    def test_trained_model_can_be_saved(self, tmp_path: Path) -> None:
        """``save`` writes the format again: the same parameters with other values."""
        with self._able(tmp_path, "train") as model:
            before = self._outputs(model)
            trainable = model.as_trainable()
            self._train(trainable)
            target = tmp_path / f"trained{model.path.suffix}"
            trainable.save(target)
        with self._open(target) as trained:
            assert trained.count_parameters().total == self.expected_parameters.total
            assert not same(before, self._outputs(trained)), "the saved weights are the old ones"

    def _train(self, trainable: Trainable) -> list[float]:
        assert isinstance(trainable, Trainable), "as_trainable() gave no Trainable"
        batch = trainable.prepare_batch(*self.make_batch())
        losses = []
        for _ in range(self.training_steps):
            trainable.step(batch)
            trainable.synchronize()
            losses.append(trainable.loss())
        return losses


class LayerChecks(ModelHooks):
    """Checks of ``as_layered``; skipped for a file whose layers cannot be told apart."""

    @check
    def test_what_has_no_layers_says_why(self, tmp_path: Path) -> None:
        """Without the ability, ``as_layered`` raises ModelError with its reason."""
        model = self._open(self.make_file(tmp_path))
        ability = model.abilities()["layers"]
        if ability.possible:
            return
        with pytest.raises(ModelError) as caught:
            model.as_layered()
        assert ability.reason in str(caught.value), "another reason than abilities() gives"

    @check
    def test_layers_come_after_their_parents(self, tmp_path: Path) -> None:
        """Layers have unique names, and each parent is a layer that came before."""
        with self._able(tmp_path, "layers") as model:
            layers = self._layered(model).layers()
        assert layers, "the model has no layers"
        known: set[str] = set()
        for layer in layers:
            assert layer.name not in known, f"two layers are called {layer.name!r}"
            assert layer.parent is None or layer.parent in known, (
                f"{layer.name!r} comes before its parent {layer.parent!r}"
            )
            known.add(layer.name)

    @check
    def test_layers_count_no_parameter_twice(self, tmp_path: Path) -> None:
        """The parameters of the layers sum to no more than the model's: a layer's are its own."""
        with self._able(tmp_path, "layers") as model:
            summed = sum(layer.parameters for layer in self._layered(model).layers())
            total = model.count_parameters().total
        assert 0 < summed <= total, f"the layers have {summed} parameters, the model {total}"

    @check
    def test_calls_name_layers_and_number_their_uses(self, tmp_path: Path) -> None:
        """Each call names a layer; the uses of one layer are numbered from 0."""
        with self._able(tmp_path, "layers") as model:
            layered = self._layered(model)
            names = {layer.name for layer in layered.layers()}
            calls = layered.calls(model.prepare(self.make_inputs(model)))
        assert calls, "one forward pass used no layer"
        uses: Counter[str] = Counter()
        for call in calls:
            assert call.layer in names, f"{call.layer!r} is no layer of the model"
            assert call.index == uses[call.layer], f"use {call.index} of {call.layer!r}"
            uses[call.layer] += 1

    @check
    def test_calls_can_be_replayed(self, tmp_path: Path) -> None:
        """Every call can be done again, any number of times, and so can what is taken off it."""
        with self._able(tmp_path, "layers") as model:
            layered = self._layered(model)
            for call in layered.calls(model.prepare(self.make_inputs(model))):
                for work in (call.replay, call.empty or call.replay):
                    work()
                    work()
            model.synchronize()

    @check
    def test_hooks_are_gone_afterwards(self, tmp_path: Path) -> None:
        """Telling layers apart leaves the model as it was: outputs agree bit by bit."""
        with self._able(tmp_path, "layers") as model:
            before = self._outputs(model)
            layered = self._layered(model)
            layered.calls(model.prepare(self.make_inputs(model)))
            assert same(before, self._outputs(model)), "the outputs changed"

    @check
    def test_timed_calls_are_in_their_places(self, tmp_path: Path) -> None:
        """``timed`` gives the model itself first and then calls of layers inside it.

        The same calls however often each is stamped, and the model alone with no stamps.
        """
        with self._able(tmp_path, "layers") as model:
            layered = self._layered(model)
            if not isinstance(layered, TimedLayered):
                return
            prepared = model.prepare(self.make_inputs(model))
            names = {layer.name for layer in layered.layers()}
            none, once, twice = (layered.timed(prepared, probes) for probes in range(3))
        assert [(call.layer, call.parent) for call in none] == [("", None)]
        assert len(once) > 1, "no layer was called"
        assert_in_their_places(once, names)
        assert places(once) == places(twice), "stamping twice changes what is called"

    @check
    def test_timed_calls_fit_into_each_other(self, tmp_path: Path) -> None:
        """No call of ``timed`` takes less than nothing, or less than the calls inside it."""
        with self._able(tmp_path, "layers") as model:
            layered = self._layered(model)
            if not isinstance(layered, TimedLayered):
                return
            assert_fitting(layered.timed(model.prepare(self.make_inputs(model)), 1))

    @check
    def test_profiled_passes_are_alike(self, tmp_path: Path) -> None:
        """``profiled`` gives passes of the same calls: one at least, no more than asked for."""
        with self._able(tmp_path, "layers") as model:
            layered = self._layered(model)
            if not isinstance(layered, ProfiledLayered):
                return
            names = {layer.name for layer in layered.layers()}
            passes = layered.profiled(model.prepare(self.make_inputs(model)), 3)
        assert 1 <= len(passes) <= 3, f"{len(passes)} passes of 3"
        for one in passes:
            assert_in_their_places(one.calls, names)
            assert places(one.calls) == places(passes[0].calls), "passes go different ways"
            assert_fitting(one.calls, one.step_s)
            assert one.seconds >= one.calls[0].seconds - one.step_s, "the model outlasts its pass"

    @check
    def test_watching_leaves_nothing_behind(self, tmp_path: Path) -> None:
        """After ``timed`` and ``profiled`` the outputs are the same bit by bit."""
        with self._able(tmp_path, "layers") as model:
            before = self._outputs(model)
            layered = self._layered(model)
            prepared = model.prepare(self.make_inputs(model))
            if isinstance(layered, TimedLayered):
                layered.timed(prepared, 1)
            if isinstance(layered, ProfiledLayered):
                layered.profiled(prepared, 1)
            assert same(before, self._outputs(model)), "the outputs changed"

    @check
    def test_repeating_changes_no_output(self, tmp_path: Path) -> None:
        """A pass in which a layer is done again gives the outputs of a plain one, then and after.

        A layer may be refused with a ModelError.
        """
        with self._able(tmp_path, "layers") as model:
            before = self._outputs(model)
            for name, work in self._repeated(model, 3):
                outputs = work()
                model.synchronize()
                assert same(before, model.fetch(outputs)), f"{name!r} gave other outputs"
            assert same(before, self._outputs(model)), "the outputs changed"

    @check
    def test_repeating_does_more(self, tmp_path: Path) -> None:
        """A pass in which the largest layer is done many times takes longer than with it once."""
        with self._able(tmp_path, "layers") as model:
            sizes = {layer.name: layer.parameters for layer in self._layered(model).layers()}
            once, many = dict(self._repeated(model, 1)), dict(self._repeated(model, MANY))
            if not many:
                return
            name = max(many, key=lambda name: sizes[name])
            fastest = [math.inf, math.inf]
            for _ in range(TRIES):  # the fastest of each: other work only makes it longer
                for side, work in enumerate((once[name], many[name])):
                    began = time.perf_counter()
                    work()
                    model.synchronize()
                    fastest[side] = min(fastest[side], time.perf_counter() - began)
        assert fastest[1] > fastest[0], f"{name!r} done {MANY} times took no longer"

    def _repeated(self, model: DLLibrary, times: int) -> Sequence[tuple[str, Callable[[], object]]]:
        """For each leaf that can be repeated a pass in which it is."""
        layered = self._layered(model)
        if not isinstance(layered, RepeatableLayered):
            return []
        prepared = model.prepare(self.make_inputs(model))
        found = []
        layers = layered.layers()
        for name in [layer.name for layer in layers if layer.name not in parents_of(layers)]:
            with contextlib.suppress(ModelError):
                found.append((name, layered.repeated(prepared, name, times)))
        return found

    def _layered(self, model: DLLibrary) -> Layered:
        model.load()
        layered = model.as_layered()
        assert isinstance(layered, Layered), "as_layered() gave no Layered"
        return layered


def parents_of(layers: Sequence[Layer]) -> set[str | None]:
    """Names of the layers that have others inside."""
    return {layer.parent for layer in layers}


def places(calls: Sequence[CallTime]) -> list[tuple[str, int | None]]:
    """What is called in a pass, and where."""
    return [(call.layer, call.parent) for call in calls]


def assert_in_their_places(calls: Sequence[CallTime], names: set[str]) -> None:
    """The model comes first; each other call is of a layer and inside one that came before."""
    assert calls, "nothing was called, not even the model"
    assert (calls[0].layer, calls[0].parent) == ("", None), "the model itself is not first"
    for place, call in enumerate(calls[1:], 1):
        assert call.layer in names, f"{call.layer!r} is no layer of the model"
        assert call.parent is not None, f"{call.layer!r} is called outside the model"
        assert 0 <= call.parent < place, f"{call.layer!r} comes before what calls it"


def assert_fitting(calls: Sequence[CallTime], step_s: float = 0.0) -> None:
    """No call takes less than nothing, and none less than the calls inside it together."""
    left = [call.seconds for call in calls]
    for call in calls:
        assert call.seconds >= 0, f"{call.layer!r} took {call.seconds} s"
        if call.parent is not None:
            left[call.parent] -= call.seconds
    inside = Counter(call.parent for call in calls)
    for place, seconds in enumerate(left):
        # Each time is cut to the step of the clock.
        slack = 1e-9 + step_s * (1 + inside[place])
        assert seconds >= -slack, f"the calls inside {calls[place].layer!r} take longer than it"
