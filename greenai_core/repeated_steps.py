"""Training steps repeated, until training makes no sense any more."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from .errors import ModelError
from .trainable import Trainable
from .training import diverged


class BrokenOff(KeyboardInterrupt):
    """Ends a run in the orderly way of Ctrl-C, which keeps what was measured."""


@dataclass
class RepeatedSteps:
    """Does one step at a call and looks at its loss.

    Attributes:
        trainable: the model.
        work: one step, complete on return.
        done: steps that went well.
        first_loss, last_loss: of those; NaN before the first.
        failure: what broke training off; None while nothing did.
    """

    trainable: Trainable
    work: Callable[[], None]
    done: int = 0
    first_loss: float = math.nan
    last_loss: float = math.nan
    failure: Exception | None = None

    def __call__(self) -> None:
        """One step.

        Raises:
            BrokenOff: it failed, or its loss is no number; ``failure`` tells which.
        """
        try:
            self.work()
            loss = self.trainable.loss()
            if not math.isfinite(loss):
                raise ModelError(diverged(loss, f"step {self.done + 1}"))
        except Exception as error:
            self.failure = error
            raise BrokenOff from error
        if not self.done:
            self.first_loss = loss
        self.last_loss = loss
        self.done += 1

    @property
    def losses(self) -> tuple[float, ...]:
        """Of the first and the last step; none before the first."""
        return (self.first_loss, self.last_loss) if self.done else ()
