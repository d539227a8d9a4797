"""The conformance suite of model formats.

Ten lines in the tests of a plugin::

    from greenai_core.testing.model_suite import ModelConformance

    class TestMyFormat(ModelConformance):
        model_class = MyModel
        expected_parameters = ParameterCount(trainable=30, non_trainable=0, bytes=120)

        def make_file(self, tmp_path):
            return write_a_small_model(tmp_path / "small.my", WEIGHTS)

        def oracle(self, inputs):  # with NumPy, or the library itself: not through greenai
            return {"y": inputs["x"] @ WEIGHTS}

and, where the file can be trained, ``make_batch``. ``options`` are handed to the
constructor; ``make_inputs`` may replace the synthetic inputs. What the file
cannot do (``abilities()``) is skipped, after a check that it is refused with the
reason given.
"""

from __future__ import annotations

from .model_files import FileChecks
from .model_runs import RunChecks
from .model_uses import LayerChecks, TrainingChecks


class ModelConformance(FileChecks, RunChecks, TrainingChecks, LayerChecks):
    """Every rule that a format keeps; subclass it as ``Test…``.

    The author supplies ``model_class``, ``make_file``, ``expected_parameters`` and
    ``oracle``, and as needed ``options``, ``make_inputs``, ``make_batch``,
    ``truncate``, the tolerances and ``expected_failures``.
    """


__all__ = ["ModelConformance"]
