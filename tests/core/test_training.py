"""Training in epochs: what is learnt, what it costs on simulated hardware, and how it ends."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from greenai_core import (
    Ability,
    DLLibrary,
    MeasurementInterrupted,
    ModelError,
    ModelInputError,
    ParameterCount,
    Score,
    Session,
    TensorSpec,
    TrainingFailed,
    dump,
)
from greenai_core.loop import LoopSettings
from greenai_core.results import Report
from greenai_core.testing import (
    DrivenPower,
    SimulatedCounterProfiler,
    VirtualClock,
    nvml_counter,
    rapl_counter,
    vanishes,
)

STEP_S, WAIT_S, TRY_S = 0.4, 0.1, 0.2
BUSY_W, IDLE_W = 200.0, 20.0
X = np.arange(20, dtype=np.float32).reshape(10, 2)
Y = np.arange(10) % 3


class Pupil:
    """Takes its time on the virtual clock; its loss is 1 / steps, its accuracy 0.5."""

    def __init__(self, model):
        self.model = model
        self.steps = 0
        self.sizes = []

    def busy(self, seconds):
        clock, power = self.model.options["clock"], self.model.options["power"]
        power.set(clock.now(), BUSY_W)
        clock.sleep(seconds)
        power.set(clock.now(), IDLE_W)

    def prepare_batch(self, inputs, targets):
        return targets

    def step(self, batch):
        self.steps += 1
        event = self.model.events.get(self.steps)
        if isinstance(event, BaseException):
            raise event
        self.busy(STEP_S * len(batch) / 5)
        self.sizes.append(len(batch))
        self.last = 1 / self.steps if event is None else event

    def synchronize(self):
        pass

    def loss(self):
        return self.last

    def accuracy(self):
        return 0.5

    def score(self, batch):
        self.busy(TRY_S)
        return Score(0.25, 0.75)

    def save(self, path):
        path.write_text(str(self.steps))


class Class(DLLibrary):
    format = "class"
    option_names = {"clock": "virtual clock", "power": "driven power"}
    events = {}

    @classmethod
    def recognises(cls, path):
        return True

    def count_parameters(self):
        return ParameterCount(12, 3, 60)

    def load_weights(self):
        pass

    def signature(self):
        return (TensorSpec("x", (None, 2)),)

    def prepare(self, inputs):
        return inputs

    predict = prepare
    fetch = prepare

    def synchronize(self):
        pass

    def abilities(self):
        return {"run": Ability(True), "train": Ability(True), "layers": Ability(False, "no")}

    def as_trainable(self):
        return Pupil(self)


class Slow:
    """Ten samples in batches of five; the clock passes while they are read."""

    def __init__(self, clock):
        self.clock = clock

    def __iter__(self):
        for start in (0, 5):
            self.clock.sleep(WAIT_S)
            yield X[start : start + 5], Y[start : start + 5]


@pytest.fixture
def school(tmp_path):
    """Clock, model and profiler that belong together."""
    path = tmp_path / "model.class"
    path.write_text("z")

    class Setup:
        clock = VirtualClock()
        power = DrivenPower(IDLE_W)
        counters = [rapl_counter(power)]

        def __init__(self):
            self.model = Class(path, clock=self.clock, power=self.power)
            self.model.events = {}

        def evaluate(self, data=None, **more):
            profiler = SimulatedCounterProfiler(counters=self.counters)
            with Session([profiler], clock=self.clock) as session:
                return session.evaluate_training(self.model, data or Slow(self.clock), **more)

    return Setup()


JOULES = 2 * (STEP_S * BUSY_W + WAIT_S * IDLE_W)


def test_epochs_cost_what_they_cost(school):
    result = school.evaluate(epochs=3, validation=[(X[:5], Y[:5])])
    assert [epoch.number for epoch in result.epochs] == [1, 2, 3]
    assert all(epoch.complete and epoch.steps == 2 for epoch in result.epochs)
    for epoch in result.epochs:
        assert epoch.training.energy_j == pytest.approx(JOULES, rel=0.01)
        assert epoch.duration_s == pytest.approx(2 * (STEP_S + WAIT_S), rel=0.01)
        assert epoch.validation.energy_j == pytest.approx(TRY_S * BUSY_W, rel=0.03)
    assert result.energy_per_step_j.value == pytest.approx(JOULES / 2, rel=0.01)
    assert result.energy_per_sample_j.value == pytest.approx(JOULES / 10, rel=0.01)
    assert result.energy_per_epoch_j.value == pytest.approx(JOULES, rel=0.01)
    whole = 3 * (JOULES + TRY_S * BUSY_W)
    assert result.energy_of_run_j.value == pytest.approx(whole, rel=0.01)
    assert result.energy_of_run_j.low <= whole <= result.energy_of_run_j.high
    assert result.step_s.value == pytest.approx(STEP_S + WAIT_S)
    assert result.power_w.value == pytest.approx(JOULES / 2 / (STEP_S + WAIT_S), rel=0.01)
    assert result.steps == 6
    assert result.model.batch_size == 5
    assert result.contains == ("cpu:0/package",)
    assert [c.id for c in result.channels] == ["cpu:0/package"]
    assert sum(r.iterations for r in result.repetitions) == 6


def test_waiting_for_data_is_told_apart(school):
    result = school.evaluate(epochs=2)
    wait = result.data_wait
    assert wait.duration_s == pytest.approx(4 * WAIT_S)
    assert wait.share == pytest.approx(WAIT_S / (WAIT_S + STEP_S), rel=0.01)
    assert wait.energy_j == pytest.approx(wait.share * 2 * JOULES, rel=0.01)
    assert "mean power" in wait.derivation


def test_loss_and_accuracy_stand_beside_the_joules(school):
    result = school.evaluate(epochs=2, validation=[(X[:5], Y[:5])])
    first, second = result.epochs
    assert first.loss == pytest.approx((1 + 1 / 2) / 2)
    assert second.loss == pytest.approx((1 / 3 + 1 / 4) / 2)
    assert result.losses == (first.loss, second.loss)
    assert (first.accuracy, first.validation_accuracy, first.validation_loss) == (0.5, 0.75, 0.25)


def test_means_are_over_samples_not_batches(school):
    """A smaller last batch counts for less."""
    result = school.evaluate((X, Y), epochs=1, batch_size=8)
    (epoch,) = result.epochs
    assert (epoch.steps, epoch.samples) == (2, 10)
    assert epoch.loss == pytest.approx((8 * 1 + 2 * 0.5) / 10)


@pytest.mark.parametrize("epochs", [1, 3, 4])
def test_few_epochs_say_what_their_interval_holds(school, epochs):
    result = school.evaluate(epochs=epochs)
    told = any("how epochs differ" in warning for warning in result.warnings)
    assert told == (epochs < 4)
    figure = result.energy_per_step_j
    assert figure.low <= figure.repeat_low <= figure.value <= figure.repeat_high <= figure.high


def test_epochs_that_differ_make_the_interval_wide(school):
    """Power differs between epochs while all steps take the same time."""
    alike = school.evaluate(epochs=4).energy_per_step_j
    plain = school.model.as_trainable

    def hotter():
        pupil = plain()

        def busy(seconds):
            power = school.power
            power.set(school.clock.now(), BUSY_W * (1 + 0.2 * ((pupil.steps - 1) // 2 % 2)))
            school.clock.sleep(seconds)
            power.set(school.clock.now(), IDLE_W)

        pupil.busy = busy
        return pupil

    school.model.as_trainable = hotter
    uneven = school.evaluate(epochs=4).energy_per_step_j
    assert uneven.repeat_high - uneven.value > 0.1 * uneven.value
    assert uneven.repeat_high - uneven.value > 5 * (alike.repeat_high - alike.value)


def test_the_report_of_epochs_can_be_written(school):
    result = school.evaluate(epochs=2, validation=[(X[:5], Y[:5])])
    report = Report("train", "2024-05-06T07:08:09+00:00", {}, {}, (result,))
    (written,) = json.loads(dump(report))["results"]
    assert [epoch["number"] for epoch in written["epochs"]] == [1, 2]


# How it ends


def test_a_loss_that_is_no_number_ends_training_and_keeps_the_epochs(school):
    school.model.events = {4: math.nan}
    result = school.evaluate(epochs=5)
    assert [epoch.complete for epoch in result.epochs] == [True, False]
    assert result.epochs[1].steps == 1
    assert "became nan at step 2 of epoch 2" in result.warnings[0]
    assert not result.target_met
    assert result.energy_per_epoch_j.value == pytest.approx(JOULES, rel=0.01)


def test_a_loss_that_is_no_number_at_once_is_an_error(school):
    school.model.events = {1: math.inf}
    with pytest.raises(ModelError, match="became inf at step 1 of epoch 1"):
        school.evaluate(epochs=2)


def test_ctrl_c_keeps_what_was_measured(school):
    school.model.events = {4: KeyboardInterrupt()}
    with pytest.raises(MeasurementInterrupted) as end:
        school.evaluate(epochs=5)
    result = end.value.result
    assert result.steps == 3
    assert [epoch.complete for epoch in result.epochs] == [True, False]
    assert "interrupted" in result.warnings[0]
    assert result.energy_of_run_j.value == pytest.approx(1.5 * JOULES, rel=0.05)


def test_ctrl_c_before_the_first_step_has_nothing_to_keep(school):
    school.model.events = {1: KeyboardInterrupt()}
    with pytest.raises(KeyboardInterrupt) as end:
        school.evaluate(epochs=5)
    assert not isinstance(end.value, MeasurementInterrupted)


@pytest.mark.parametrize("error", [ModelError("memory ran out"), OSError("disk on fire")])
def test_what_breaks_in_the_middle_keeps_what_was_measured(school, error):
    school.model.events = {4: error}
    with pytest.raises(TrainingFailed, match=str(error)) as end:
        school.evaluate(epochs=5)
    assert end.value.result.steps == 3
    assert isinstance(end.value, ModelError)
    assert any("broke off" in warning for warning in end.value.result.warnings)


def test_what_breaks_at_once_is_just_told(school):
    school.model.events = {1: ModelInputError("the batch does not fit")}
    with pytest.raises(ModelInputError, match="does not fit"):
        school.evaluate(epochs=5)


def test_a_sensor_lost_leaves_no_total(school):
    school.counters = [
        rapl_counter(school.power),
        nvml_counter(school.power, "gpu:GPU-a", faults=(vanishes(school.clock.now() + 1.5),)),
    ]
    school.model.accelerators = lambda: ("gpu:GPU-a",)
    result = school.evaluate(epochs=3)
    assert result.energy_per_step_j is None
    assert result.energy_of_run_j is None
    assert result.data_wait.energy_j is None
    assert result.data_wait.share > 0
    assert [m.id for m in result.missing] == ["gpu:GPU-a"]
    assert [c.id for c in result.channels] == ["cpu:0/package"]
    assert any("lost" in warning for warning in result.warnings)


# Repeated steps


def test_repeated_steps_tell_an_epoch_too(school):
    settings = LoopSettings(precision=0.5, min_time_s=0.1, max_time_s=200.0)
    result = school.evaluate((X, Y), batch_size=5, settings=settings)
    assert result.energy_per_step_j.value == pytest.approx(STEP_S * BUSY_W, rel=0.01)
    assert result.energy_per_epoch_j.value == pytest.approx(2 * STEP_S * BUSY_W, rel=0.01)
    assert "without waiting" in result.energy_per_epoch_j.provenance
    assert (result.epochs, result.data_wait, result.energy_of_run_j) == ((), None, None)


def test_repeated_steps_are_all_alike(school):
    made = []
    plain = school.model.as_trainable
    school.model.as_trainable = lambda: made.append(plain()) or made[-1]
    settings = LoopSettings(precision=0.5, min_time_s=0.1, max_time_s=100.0)
    school.evaluate((X, Y), batch_size=4, steps=20, settings=settings)
    assert set(made[0].sizes) == {4}


LONG = LoopSettings(precision=1e-9, min_time_s=0.1, max_time_s=200.0)
"""Some 500 steps, unless something ends them."""


def repeated(school, **more):
    """The pupil too, for how many steps it did."""
    made = []
    plain = school.model.as_trainable
    school.model.as_trainable = lambda: made.append(plain()) or made[-1]
    try:
        school.evaluate((X, Y), batch_size=5, settings=LONG, **more)
    except BaseException as error:
        return made[0], error
    raise AssertionError("training went on to its end")


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_repeated_steps_end_at_a_loss_that_is_no_number(school, loss):
    school.model.events = {100: loss}
    pupil, end = repeated(school)
    assert isinstance(end, TrainingFailed)
    assert pupil.steps == 100
    assert f"became {loss} at step 100" in str(end)
    assert "--lr" in str(end)
    result = end.result
    assert 50 < result.steps < 100
    assert result.losses == (1.0, 1 / 99)
    assert result.energy_per_step_j.value == pytest.approx(STEP_S * BUSY_W, rel=0.01)
    assert not result.target_met
    assert str(end) in result.warnings[0]
    assert not any("interrupted" in warning for warning in result.warnings)


@pytest.mark.parametrize("error", [ModelError("memory ran out"), OSError("disk on fire")])
def test_repeated_steps_that_break_keep_what_was_measured(school, error):
    school.model.events = {100: error}
    pupil, end = repeated(school)
    assert isinstance(end, TrainingFailed)
    assert end.__cause__ is error
    assert pupil.steps == 100
    assert str(error) in str(end)
    assert end.result.energy_per_step_j.value == pytest.approx(STEP_S * BUSY_W, rel=0.01)
    assert "broke off" in end.result.warnings[0]


@pytest.mark.parametrize("step", [1, 2])
def test_repeated_steps_that_break_while_warming_up_are_just_told(school, step):
    school.model.events = {step: ModelInputError("the batch does not fit")}
    pupil, end = repeated(school)
    assert isinstance(end, ModelInputError)
    assert pupil.steps == step


@pytest.mark.parametrize("step", [1, 2])
def test_a_loss_that_is_no_number_while_warming_up_is_an_error(school, step):
    school.model.events = {step: math.nan}
    pupil, end = repeated(school)
    assert type(end) is ModelError
    assert f"at step {step}:" in str(end)
    assert pupil.steps == step


def test_ctrl_c_in_repeated_steps_is_no_failure(school):
    school.model.events = {100: KeyboardInterrupt()}
    _, end = repeated(school)
    assert isinstance(end, MeasurementInterrupted)
    assert end.result.losses == (1.0, 1 / 99)
    assert any("interrupted" in warning for warning in end.result.warnings)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"epochs": 2, "steps": 5}, "not both"),
        ({"validation": [(X, Y)]}, "number of epochs"),
        ({"epochs": 0}, "at least 1"),
    ],
)
def test_what_makes_no_sense_is_refused(school, more, said):
    with pytest.raises(ModelInputError, match=said):
        school.evaluate(**more)


# Without measuring


def test_a_model_is_trained_without_a_session(school, tmp_path):
    epochs = school.model.train(
        (X, Y), validation=(X[:5], Y[:5]), epochs=2, batch_size=5, save=tmp_path / "out"
    )
    assert [epoch.steps for epoch in epochs] == [2, 2]
    assert epochs[1].validation_accuracy == 0.75
    assert epochs[0].training is None
    assert (tmp_path / "out").read_text() == "4"


def test_a_model_that_diverged_is_not_saved(school, tmp_path):
    school.model.events = {2: math.nan}
    (epoch,) = school.model.train((X, Y), batch_size=5, save=tmp_path / "out")
    assert not epoch.complete
    assert not (tmp_path / "out").exists()


def test_a_model_that_cannot_be_validated_says_so(school):
    pupil = school.model.as_trainable()

    class Plain:
        prepare_batch, step, synchronize = pupil.prepare_batch, pupil.step, pupil.synchronize
        loss, save = pupil.loss, pupil.save

    school.model.as_trainable = Plain
    with pytest.raises(ModelInputError, match="not validated"):
        school.model.train((X, Y), validation=(X, Y))
    (epoch,) = school.model.train((X, Y))
    assert (epoch.accuracy, epoch.loss) == (None, 1.0)
