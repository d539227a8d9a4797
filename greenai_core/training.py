"""The loop of training: epochs over batches, and what each of them taught."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from .batches import Batch, TrainingData, Wanted, check_classes, left_out
from .clock import SYSTEM_CLOCK, Clock
from .errors import ModelInputError
from .results import EpochResult
from .trainable import Score, Scored, Trainable
from .training_data import class_names, training_data

Progress: TypeAlias = Callable[[float, str], None]
Part: TypeAlias = Callable[[str], contextlib.AbstractContextManager[Any]]


@dataclass(frozen=True)
class Course:
    """What a model is taught, and for how long.

    Attributes:
        training: data to learn from.
        validation: data to try the model on after each epoch.
        epochs: times to go through the training data.
        warnings: what to know of the data.
    """

    training: TrainingData
    validation: TrainingData | None = None
    epochs: int = 1
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(cls, train_data: Any, validation: Any, epochs: int, wanted: Wanted) -> Course:
        """A course from whatever people have; see ``training_data``.

        Raises:
            ModelInputError: the data cannot be read or do not belong together.
        """
        if epochs < 1:
            raise ModelInputError(f"{epochs} epochs were asked for: at least 1 makes sense")
        training = training_data(train_data, wanted)
        warnings = left_out(training, wanted)
        tried = None
        if validation is not None:
            names = class_names(train_data)
            held_out = replace(wanted, seed=None, classes=names, lenient=True)
            tried = training_data(validation, held_out)
            warnings += left_out(tried, wanted) + check_classes(training, tried)
        for data in (training, tried):
            if data is not None and data.once and epochs > 1:
                raise ModelInputError(
                    f"{data.source} can be gone through only once, not {epochs} times: give a "
                    "list, a DataLoader or a tf.data.Dataset"
                )
        return cls(training, tried, epochs, warnings)


@dataclass
class Pass:
    """Once through some data, as far as it got.

    Attributes:
        step_times: seconds of each step, with waiting for its data.
        wait_s: seconds waited in all.
        right: samples in the right class; None where nobody knows.
    """

    step_times: list[float] = field(default_factory=list)
    wait_s: float = 0.0
    samples: int = 0
    lost: float = 0.0
    right: float | None = 0.0
    complete: bool = False

    def add(self, size: int, score: Score) -> None:
        """One batch more."""
        self.samples += size
        self.lost += size * score.loss
        if score.accuracy is None or self.right is None:
            self.right = None
        else:
            self.right += size * score.accuracy

    @property
    def loss(self) -> float | None:
        """Mean over the samples; None without any, or when it is no number."""
        mean = self.lost / self.samples if self.samples else math.nan
        return mean if math.isfinite(mean) else None

    @property
    def accuracy(self) -> float | None:
        """Share of samples in the right class."""
        return self.right / self.samples if self.samples and self.right is not None else None


@dataclass
class Epoch:
    """One epoch, as far as it got."""

    number: int
    training: Pass
    validation: Pass | None = None

    def result(self, training: Any = None, validation: Any = None) -> EpochResult:
        """What it gave; with the windows in which it was measured, if it was."""
        taught, tried = self.training, self.validation
        return EpochResult(
            number=self.number,
            steps=len(taught.step_times),
            samples=taught.samples,
            duration_s=math.fsum(taught.step_times) if training is None else training.duration_s,
            wait_s=taught.wait_s,
            training=training,
            validation=validation,
            loss=taught.loss,
            accuracy=taught.accuracy,
            validation_loss=tried.loss if tried and tried.complete else None,
            validation_accuracy=tried.accuracy if tried and tried.complete else None,
            complete=taught.complete,
        )


@dataclass
class Lessons:
    """The record of a training, filled while it goes on, so that nothing is lost.

    Attributes:
        epochs: begun so far.
        stopped: why training ended early of itself; empty if it did not.
    """

    epochs: list[Epoch] = field(default_factory=list)
    stopped: str = ""

    @property
    def steps(self) -> int:
        """Training steps done."""
        return sum(len(epoch.training.step_times) for epoch in self.epochs)


def teach(
    trainable: Trainable,
    course: Course,
    lessons: Lessons,
    clock: Clock,
    part: Part = lambda name: contextlib.nullcontext(),
    progress: Progress = lambda share, text: None,
) -> None:
    """Train, epoch by epoch, and validate after each.

    Args:
        trainable: the model.
        course: what it is taught.
        lessons: filled as it goes.
        clock: for the times.
        part: entered around each epoch (``epoch 1``) and validation (``validation 1``).
        progress: told the share done and a word on the state.

    Raises:
        ModelError: the model cannot be trained on these data.
    """
    if course.validation is not None and not isinstance(trainable, Scored):
        raise ModelInputError(
            f"{type(trainable).__name__} can be trained but not validated: train without "
            "validation data"
        )
    for number in range(1, course.epochs + 1):
        epoch = Epoch(number, Pass())
        lessons.epochs.append(epoch)
        told = _told(course, number, progress)
        with part(f"epoch {number}"):
            lessons.stopped = _learn(trainable, course.training, epoch, clock, told)
        if lessons.stopped:
            return
        if course.validation is not None and isinstance(trainable, Scored):
            epoch.validation = Pass()
            with part(f"validation {number}"):
                _try(trainable, trainable, course.validation.read(number), epoch.validation)


def train(
    trainable: Trainable, train_data: Any, validation: Any, epochs: int, wanted: Wanted
) -> Lessons:
    """Train without measuring. See ``DLLibrary.train``."""
    lessons = Lessons()
    course = Course.of(train_data, validation, epochs, wanted)
    warm_up(trainable, course)
    teach(trainable, course, lessons, SYSTEM_CLOCK)
    return lessons


def _learn(
    trainable: Trainable,
    data: TrainingData,
    epoch: Epoch,
    clock: Clock,
    told: Callable[[int, float], None],
) -> str:
    """One epoch; why training must end, or nothing."""
    taught = epoch.training
    batches = data.read(epoch.number)
    while True:
        asked = clock.now()
        batch = next(batches, None)
        if batch is None:
            break
        prepared = trainable.prepare_batch(batch.inputs, batch.targets)
        got = clock.now()
        trainable.step(prepared)
        trainable.synchronize()
        loss = trainable.loss()
        if not math.isfinite(loss):
            return diverged(loss, f"step {len(taught.step_times) + 1} of epoch {epoch.number}")
        accuracy = trainable.accuracy() if isinstance(trainable, Scored) else None
        taught.add(batch.size, Score(loss, accuracy))
        taught.wait_s += got - asked
        taught.step_times.append(clock.now() - asked)
        told(len(taught.step_times), loss)
    if not taught.step_times:
        raise ModelInputError(f"{data.source} gives no batch in epoch {epoch.number}")
    taught.complete = True
    return ""


def diverged(loss: float, where: str) -> str:
    """What to say of a loss that is no number."""
    return (
        f"the loss became {loss} at {where}: training was stopped there. Try a smaller --lr, and "
        "look for NaN in the data"
    )


def _try(trainable: Trainable, scored: Scored, batches: Iterator[Batch], tried: Pass) -> None:
    for batch in batches:
        prepared = trainable.prepare_batch(batch.inputs, batch.targets)
        tried.add(batch.size, scored.score(prepared))
    tried.complete = True


def _told(course: Course, number: int, progress: Progress) -> Callable[[int, float], None]:
    steps = course.training.steps

    def told(done: int, loss: float) -> None:
        share = (number - 1 + (done / steps if steps else 0.0)) / course.epochs
        progress(min(share, 1.0), f"epoch {number} of {course.epochs}, loss {loss:.3g}")

    return told


def warm_up(trainable: Trainable, course: Course) -> Batch:
    """Let the model see the shapes of its batches, so that compiling for them is over.

    Nothing is learnt. Data that can be gone through only once are not touched.

    Returns:
        The first batch.

    Raises:
        ModelError: the batch does not fit the model.
    """
    first = next(course.training.read(1), None)
    if first is None:
        raise ModelInputError(f"{course.training.source} gives no batch")
    trainable.prepare_batch(first.inputs, first.targets)
    rest = (course.training.samples or 0) % first.size
    if rest and course.training.steps:
        last = first.first(rest)
        trainable.prepare_batch(last.inputs, last.targets)
    tried = course.validation
    if tried is not None and isinstance(trainable, Scored):
        shown = next(tried.read(1), None)
        if shown is None:
            raise ModelInputError(f"{tried.source} gives no batch")
        trainable.score(trainable.prepare_batch(shown.inputs, shown.targets))
    return first
