"""``Session.compare`` on simulated hardware and a model format of its own."""

from __future__ import annotations

import numpy as np
import pytest

from greenai_core import (
    ComparisonInterrupted,
    ComparisonSettings,
    DLLibrary,
    ModelInputError,
    ModelLoadError,
    ParameterCount,
    Session,
    TensorSpec,
)
from greenai_core.testing import (
    DrivenPower,
    SimulatedCounterProfiler,
    VirtualClock,
    nvml_counter,
    rapl_counter,
)

SIX = ComparisonSettings(quads=6, seed=1)


class Timed(DLLibrary):
    """A model that takes its time on a virtual clock; ``batch`` samples at once."""

    format = "timed"
    board = ()

    def __init__(self, path, clock, power, seconds, batch=1, fails="", stops_after=None):
        super().__init__(path)
        self.clock, self.power, self.seconds = clock, power, seconds
        self.batch, self.fails, self.left = batch, fails, stops_after

    @classmethod
    def recognises(cls, path):
        return False

    def count_parameters(self):
        return ParameterCount(1, 0, 4)

    def load_weights(self):
        if self.fails == "load":
            raise ModelLoadError(f"{self.path} is empty")

    def signature(self):
        return (TensorSpec("x", (self.batch, 2), "float32"),)

    def prepare(self, inputs):
        return inputs

    def predict(self, prepared):
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
        self.power.set(self.clock.now(), 100.0)
        self.clock.sleep(self.seconds)
        self.power.set(self.clock.now(), 20.0)

    def fetch(self, outputs):
        return {}

    def synchronize(self):
        pass

    def accelerators(self):
        return self.board


@pytest.fixture
def bench(tmp_path):
    """``bench(model(seconds), …) -> (session, models)`` on one machine."""
    clock, power = VirtualClock(), DrivenPower(20.0)

    def model(seconds, name=None, **more):
        path = tmp_path / (name or f"{seconds}.timed")
        path.write_text("")
        return Timed(path, clock, power, seconds, **more)

    counters = [rapl_counter(power, gain_uncertainty=0.05), nvml_counter(power)]
    session = Session([SimulatedCounterProfiler(counters=counters)], clock=clock)
    with session:
        yield session, model


def test_the_second_model_is_compared_with_the_first(bench):
    session, model = bench
    result = session.compare([model(0.02), model(0.03)], settings=SIX)
    (ratio,) = result.ratios
    assert (result.unit, result.design, ratio.verdict) == ("inference", "interleaved", "worse")
    assert ratio.value == pytest.approx(1.5, rel=0.01)
    first, other = result.models
    assert first.energy_j.value == pytest.approx(2.0, rel=0.01)
    assert other.energy_j.value / first.energy_j.value == pytest.approx(1.5, rel=0.01)
    assert other.seconds_s.value == pytest.approx(0.03, rel=0.01)
    assert result.complete


def test_the_total_interval_of_a_figure_holds_the_gain(bench):
    """It is common to all models, so the ratio does not."""
    session, model = bench
    result = session.compare([model(0.02), model(0.02, "b")], settings=SIX)
    energy = result.models[0].energy_j
    assert (energy.high - energy.value) / energy.value == pytest.approx(1.96 * 0.05, rel=0.05)
    assert energy.repeat_high - energy.value < (energy.high - energy.value) / 5
    assert result.ratios[0].high - 1 < 0.02


def test_the_figures_follow_from_the_quads(bench):
    session, model = bench
    result = session.compare([model(0.02), model(0.03)], settings=SIX)
    logs = []
    for quad in result.quads:
        joules = {"A": [], "B": []}
        for label, piece in zip(quad.order, quad.pieces, strict=True):
            energy = sum(channel.energy_j for channel in piece.channels)
            power = energy / piece.duration_s
            joules[label].append(power * piece.work_s / piece.iterations)
        logs.append(np.log(joules["B"]).mean() - np.log(joules["A"]).mean())
    assert result.ratios[0].value == pytest.approx(np.exp(np.mean(logs)))


def test_models_of_other_batch_sizes_are_compared_by_the_sample(bench):
    session, model = bench
    result = session.compare([model(0.02), model(0.04, batch=4)], settings=SIX)
    assert result.unit == "sample"
    assert result.ratios[0].value == pytest.approx(0.5, rel=0.01)
    assert result.models[1].energy_j.value == pytest.approx(1.0, rel=0.01)
    assert any("per sample" in warning for warning in result.warnings)


def test_one_total_for_all_holds_every_board_that_one_of_them_uses(bench):
    session, model = bench
    first, other = model(0.02), model(0.03)
    other.board = ("gpu:GPU-00000000-0000-0000-0000-000000000000",)
    result = session.compare([first, other], settings=SIX)
    assert result.contains == ("cpu:0/package", *other.board)


def test_a_model_that_cannot_be_loaded_is_left_out_while_two_are_left(bench):
    session, model = bench
    models = [model(0.02), model(0.05, "empty", fails="load"), model(0.03)]
    result = session.compare(models, settings=SIX)
    assert [one.model.path.rsplit("/", 1)[1] for one in result.models] == [
        "0.02.timed",
        "0.03.timed",
    ]
    assert "is empty" in result.failed[0].reason
    with pytest.raises(ModelLoadError, match="is empty"):
        session.compare(models[:2], settings=SIX)


def test_an_interrupted_comparison_carries_its_result(bench):
    session, model = bench
    with pytest.raises(ComparisonInterrupted) as caught:
        session.compare([model(0.02, stops_after=300), model(0.03)], settings=SIX)
    result = caught.value.result
    assert not result.complete
    assert 0 < len(result.quads) < 6
    assert any("interrupted after" in warning for warning in result.warnings)


@pytest.mark.parametrize("count", [0, 1, 27])
def test_a_number_of_models_that_makes_no_sense_is_refused(bench, count):
    session, model = bench
    with pytest.raises(ModelInputError, match="cannot be compared"):
        session.compare([model(0.01)] * count)


def test_time_that_did_not_suffice_is_told_with_what_would(bench):
    session, model = bench
    noisy = [model(0.3), model(0.3, "b")]
    for index, one in enumerate(noisy):
        draw = np.random.default_rng(index)
        plain = one.predict

        def predict(prepared, one=one, plain=plain, draw=draw):
            one.seconds = 0.3 * draw.uniform(0.5, 1.5)
            plain(prepared)

        one.predict = predict
    result = session.compare(noisy, settings=ComparisonSettings(max_time_s=20, seed=2))
    assert result.ratios[0].verdict == "undecided"
    assert any("--max-time" in warning for warning in result.warnings)
