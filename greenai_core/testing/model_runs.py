"""Checks of inference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from greenai_core.errors import ModelError, ModelInputError, ModelLoadError
from greenai_core.inputs import to_inputs

from .conformance import check
from .model_hooks import ModelHooks, misshapen, same, states_shapes

USES = ("run", "train", "layers")


class RunChecks(ModelHooks):
    """Checks of abilities and of inference; skipped for a file that cannot be run."""

    @check
    def test_abilities_are_all_told(self, tmp_path: Path) -> None:
        """Each use is told as possible, or as impossible with a reason; never both."""
        abilities = self._open(self.make_file(tmp_path)).abilities()
        for use in USES:
            assert use in abilities, f"abilities() does not tell {use!r}"
            ability = abilities[use]
            told = "possible, with a reason against it" if ability.possible else "without a reason"
            assert ability.possible != bool(ability.reason.strip()), f"{use!r} is {told}"

    @check
    def test_what_cannot_run_says_why(self, tmp_path: Path) -> None:
        """A file that cannot be run refuses to load with the reason that abilities() gives."""
        model = self._open(self.make_file(tmp_path))
        ability = model.abilities()["run"]
        if ability.possible:
            return
        with pytest.raises(ModelLoadError) as caught:
            model.load()
        assert ability.reason in str(caught.value), "load() gives another reason than abilities()"

    @check
    def test_signature_fits_the_inputs(self, tmp_path: Path) -> None:
        """The author's inputs have the names, shapes and types that the model states."""
        with self._runnable(tmp_path) as model:
            inputs = self.make_inputs(model)
            assert inputs, "make_inputs() gave no inputs"
            for name, array in to_inputs(inputs, model.input_specs).items():
                assert array.dtype == inputs[name].dtype, f"{name} is {inputs[name].dtype}"
                assert array.shape == inputs[name].shape, f"{name} is {inputs[name].shape}"

    @check
    def test_outputs_are_those_of_the_oracle(self, tmp_path: Path) -> None:
        """``run`` gives the names, shapes and values that the author's oracle gives."""
        with self._runnable(tmp_path) as model:
            inputs = self.make_inputs(model)
            expected = dict(self.oracle(self.make_inputs(model)))
            outputs = model.run(inputs)
        assert set(outputs) == set(expected), f"outputs {set(outputs)}, not {set(expected)}"
        for name, array in expected.items():
            assert outputs[name].shape == array.shape, f"{name} has the shape {outputs[name].shape}"
            np.testing.assert_allclose(
                outputs[name], array, self.relative_tolerance, self.absolute_tolerance
            )

    @check
    def test_predicting_again_gives_the_same(self, tmp_path: Path) -> None:
        """In evaluation mode the same prepared input gives the same output, bit by bit."""
        with self._runnable(tmp_path) as model:
            model.load()
            prepared = model.prepare(self.make_inputs(model))
            outputs = []
            for _ in range(2):
                predicted = model.predict(prepared)
                model.synchronize()
                outputs.append({k: v.copy() for k, v in model.fetch(predicted).items()})
        assert same(*outputs), "two predictions on one input differ"

    @check
    def test_inputs_are_left_alone(self, tmp_path: Path) -> None:
        """Neither ``prepare`` nor ``predict`` writes into the caller's arrays."""
        with self._runnable(tmp_path) as model:
            model.load()
            inputs = self.make_inputs(model)
            model.predict(model.prepare(inputs))
            model.synchronize()
            assert same(inputs, self.make_inputs(model)), "the caller's arrays were changed"

    @check
    def test_wrong_shape_is_refused(self, tmp_path: Path) -> None:
        """``prepare`` refuses arrays of another rank with a ModelInputError.

        Where the file does not state its shapes, ``predict`` does.
        """
        with self._runnable(tmp_path) as model:
            model.load()
            inputs = misshapen(self.make_inputs(model))

            def use() -> None:
                prepared = model.prepare(inputs)
                if not states_shapes(model):
                    model.predict(prepared)
                    model.synchronize()

            with pytest.raises(ModelInputError):
                use()

    @check
    def test_missing_input_is_refused(self, tmp_path: Path) -> None:
        """``prepare`` refuses to go without an input with a ModelInputError."""
        with self._runnable(tmp_path) as model:
            model.load()
            with pytest.raises(ModelInputError):
                model.prepare({})

    @check
    def test_closing_is_no_end(self, tmp_path: Path) -> None:
        """After ``close()``, once or twice, the next use loads the weights again."""
        with self._runnable(tmp_path) as model:
            before = self._outputs(model)
            model.close()
            model.close()
            assert same(before, self._outputs(model)), "other outputs after close()"

    @check
    def test_with_closes(self, tmp_path: Path) -> None:
        """A ``with`` block gives the model itself and closes it at the end."""
        model = self._runnable(tmp_path)
        closed: list[bool] = []
        close = model.close

        def closing() -> None:
            closed.append(True)
            close()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(model, "close", closing)
            with model as entered:
                assert entered is model, "the with block gives something else"
        assert closed, "the model was not closed at the end of the with block"

    @check
    def test_cpu_is_no_accelerator(self, tmp_path: Path) -> None:
        """A model on the CPU computes on no board."""
        with self._runnable(tmp_path) as model:
            model.load()
            assert tuple(model.accelerators()) == ()

    @check
    def test_input_shapes_must_fit(self, tmp_path: Path) -> None:
        """A shape given for an input that the model does not have is a ModelInputError."""
        path = self._runnable(tmp_path).path
        options = {**self.options, "input_shapes": {"no_such_input": (1,)}}
        with pytest.raises(ModelError):
            _ = self.model_class(path, device="cpu", **options).input_specs
