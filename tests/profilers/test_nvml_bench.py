"""A bench run on simulated boards: telemetry beside its joules, and a board that is lost in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from greenai_core import DLLibrary, ParameterCount, Session, TensorSpec, read_raw, write_raw
from greenai_core.testing import VirtualClock
from greenai_core.testing.c_library import compiler
from greenai_core.testing.nvml import NvmlSimulator
from greenai_core.testing.nvml_board import SimulatedBoard
from greenai_plugins.profilers.nvml import NvmlProfiler

pytest.importorskip("pynvml")
pytestmark = pytest.mark.skipif(
    compiler() is None, reason="the NVML simulator needs a C compiler: sudo apt install gcc"
)

LOST_S = 1015.0


class Work(DLLibrary):
    """A model whose inference takes 10 ms of a virtual clock, on the boards of its option."""

    format = "work"
    option_names = {"clock": "virtual clock", "boards": "used", "each": "called by each inference"}

    @classmethod
    def recognises(cls, path):
        return True

    def count_parameters(self):
        return ParameterCount(1, 0, 4)

    def load_weights(self):
        pass

    def signature(self):
        return (TensorSpec("x", (None, 4)),)

    def prepare(self, inputs):
        return inputs["x"]

    def predict(self, prepared):
        self.options["clock"].sleep(0.01)
        self.options["each"]()
        return prepared

    def synchronize(self):
        pass

    def fetch(self, outputs):
        return {"y": outputs}

    def accelerators(self):
        return self.options["boards"]


@contextmanager
def bench(folder: Path, *boards: SimulatedBoard, lost_s: float = np.inf) -> Iterator[tuple]:
    """The session and the result of a bench run; the first board is lost at an instant."""
    clock = VirtualClock(start_s=1000.0)
    path = folder / "model.work"
    path.write_text("x")
    with NvmlSimulator(boards, clock=clock) as simulator, simulator.installed():
        simulator.lose(0, at=lost_s)
        used = tuple(f"gpu:{simulator.uuid(index)}" for index in range(len(boards)))
        model = Work(path, clock=clock, boards=used, each=lambda: None)
        with Session([NvmlProfiler()], clock=clock, raw=True) as session:
            yield session, session.evaluate_inference(model), used


def test_a_bench_tells_how_its_boards_were(tmp_path: Path) -> None:
    hot = SimulatedBoard(watts=700.0, temperature=88, utilisation=99, throttling=0x4 | 0x20)
    with bench(tmp_path, hot) as (_, result, (gpu,)):
        seen = {one.quantity: one for one in result.observations}
    assert {one.device for one in result.observations} == {gpu}
    assert seen["throttling"].reasons == ("power cap", "thermal slowdown")
    assert (seen["temperature"].mean, seen["utilisation"].least) == (88.0, 99.0)
    assert (seen["power_limit"].most, seen["power_limit"].unit) == (700.0, "W")
    assert seen["memory_clock"].mean == 2619.0
    assert all(one.looks >= 5 for one in result.observations)
    assert result.energy_per_inference_j.value == pytest.approx(7.0, rel=0.01)


def test_a_board_lost_in_a_bench_loses_nothing_that_was_recorded(tmp_path: Path) -> None:
    """No total, but the other board's figures, all repetitions, telemetry and raw readings."""
    boards = SimulatedBoard(watts=100.0), SimulatedBoard(watts=200.0)
    with bench(tmp_path, *boards, lost_s=LOST_S) as (session, result, (lost, well)):
        assert result.energy_per_inference_j is None
        assert any(f"{lost} was lost" in text and "GPU is lost" in text for text in result.warnings)
        assert [missing.id for missing in result.missing] == [lost]
        (channel,) = result.channels
        assert channel.id == well
        assert channel.energy_per_inference_j.value == pytest.approx(2.0, rel=0.01)
        assert len(result.repetitions) >= 2
        assert {one.device for one in result.observations} == {lost, well}
        write_raw(session.kept, tmp_path / "raw.npz")
    kept = read_raw(tmp_path / "raw.npz").readings
    shown = {each.channel.id: each.shown for each in kept.channels}
    reads = len(shown[lost].joules)
    assert reads > 50, "what the lost board had shown until then is kept"
