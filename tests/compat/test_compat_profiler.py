"""The power cap profiler of the thesis: on simulated boards, in real time and in virtual time."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import textwrap

import pytest

from greenai_core import (
    ConfigError,
    PowerCapError,
    PowerCapForbidden,
    SearchSettings,
    Session,
    power_cap,
    registry,
)
from greenai_core.testing import (
    CappedGpu,
    CappedWork,
    NvmlSimulator,
    SimulatedBoard,
    SimulatedLimiter,
    VirtualClock,
)
from greenai_core.testing.c_library import compiler
from greenai_core.testing.nvml import build_library

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from greenai_plugins.compat.profiler import (  # noqa: E402  # needs torch
    PROBE_COLUMNS,
    power_cap_profiler,
    reset_power_cap,
    set_power_cap,
)

BOARD = SimulatedBoard(watts=350.0, low_w=100.0, default_w=400.0, high_w=500.0)
SHORT = SearchSettings(probe_s=0.05, settle_s=0.0, grid=3, adaptive=0, quads=0)


@pytest.fixture
def board(monkeypatch, tmp_path):
    """One board, for this process and for the watchdog."""
    if compiler() is None:
        pytest.skip("the NVML simulator needs a C compiler: sudo apt install gcc")
    pytest.importorskip("pynvml")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(build_library().parent))
    with NvmlSimulator([BOARD]) as simulator, simulator.installed():
        yield simulator


@pytest.fixture
def sensors(board):
    with Session(["nvml"]) as session:
        yield session


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def network():
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.BatchNorm1d(8), torch.nn.Dropout())


def batches():
    return [(torch.ones(4, 6), torch.zeros(4, 8))]


def state(model, optimizer):
    found = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for number, entry in enumerate(optimizer.state.values()):
        found |= {f"{number} {name}": value.clone() for name, value in entry.items()}
    return found | {"random": torch.get_rng_state()}


def trained(steps=2):
    model = network()
    optimizer = torch.optim.Adam(model.parameters())
    for _ in range(steps):
        model(batches()[0][0]).sum().backward()
        optimizer.step()
    return model, optimizer


def same(before, after):
    return before.keys() == after.keys() and all(torch.equal(before[n], after[n]) for n in before)


def table(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize("device", [None, "cpu:0"], ids=["as it is", "moved"])
@pytest.mark.parametrize("train", [False, True])
def test_the_cap_comes_back_and_all_is_as_it_was_given(board, sensors, tmp_path, train, device):
    model, optimizer = trained()
    before, file = state(model, optimizer), tmp_path / "probes.csv"
    cap = power_cap_profiler(
        model,
        batches(),
        0,
        train,
        torch.nn.CrossEntropyLoss(weight=torch.ones(8)),
        optimizer,
        file,
        header=True,
        device=device,
        session=sensors,
        settings=SHORT,
    )
    assert 100 <= cap <= 400
    assert board.limit_w(0) == 400.0
    assert same(before, state(model, optimizer))
    assert model.training
    header, *rows = table(file)
    assert tuple(header) == PROBE_COLUMNS
    assert 3 <= len(rows) <= 2 + SHORT.grid  # two caps of the grid may be one
    for row in rows:
        _, seconds, watts, joules, ed2p = map(float, row)
        assert joules == pytest.approx(watts * seconds, rel=1e-6)
        assert ed2p == pytest.approx(joules * seconds**2, rel=1e-6)


@pytest.fixture
def virtual(monkeypatch, tmp_path):
    """A board whose truth is known, in virtual time: the board, and its session."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    gpu = CappedGpu(CappedWork(bound=0.2, step_s=0.5), VirtualClock())
    made = gpu.limiter()

    class Installed(SimulatedLimiter):
        def __new__(cls):
            return made

    monkeypatch.setattr(registry, "load_all", lambda group: ({"simulated": Installed}, {}))
    with Session([gpu.profiler()], clock=gpu.clock) as session:
        yield gpu, session


class Busy(torch.nn.Module):
    """Work on a simulated board."""

    def __init__(self, step):
        super().__init__()
        self._step = step

    def forward(self, x):
        self._step()
        return x


def test_it_finds_the_least_ed2p(virtual, tmp_path):
    gpu, session = virtual
    file = tmp_path / "probes.csv"
    cap = power_cap_profiler(
        Busy(gpu.step),
        [torch.ones(1)],
        out_file=file,
        session=session,
        settings=SearchSettings(seed=1),
    )

    def score(watts):
        return gpu.work.joules(watts) * gpu.work.at(watts)[0] ** 2

    assert score(cap) <= 1.02 * min(score(watts) for watts in range(100, 401))
    assert gpu.cap == 400.0
    rows = table(file)
    assert len(rows) == 9
    best = min(rows, key=lambda row: float(row[4]))
    assert abs(float(best[0]) - cap) < 50


def test_ctrl_c_is_not_swallowed(virtual, tmp_path):
    """In the confirmation the search ends in good order by it: what it has is no cap to use."""
    gpu, session = virtual
    file = tmp_path / "probes.csv"

    def step():
        if len(gpu.caps) > 22:
            raise KeyboardInterrupt
        gpu.step()

    with pytest.raises(KeyboardInterrupt, match="during the confirmation"):
        power_cap_profiler(Busy(step), [torch.ones(1)], out_file=file, session=session)
    assert len(table(file)) == 9
    assert gpu.cap == 400.0


def test_rows_and_state_survive_an_exception_in_the_work(board, sensors, tmp_path):
    model, optimizer = trained()
    before, file = state(model, optimizer), tmp_path / "probes.csv"

    def loss(outputs, targets):
        if board.limit_w(0) < 400 and len(table(file)) >= 2:
            raise ZeroDivisionError
        return outputs.sum()

    with pytest.raises(ZeroDivisionError):
        power_cap_profiler(
            model, batches(), 0, True, loss, optimizer, file, session=sensors, settings=SHORT
        )
    assert len(table(file)) >= 2
    assert board.limit_w(0) == 400.0
    assert same(before, state(model, optimizer))


def test_without_permission_the_command_is_told_and_nothing_has_changed(board, sensors, tmp_path):
    board.forbid(0)
    model, optimizer = trained()
    before, file = state(model, optimizer), tmp_path / "probes.csv"
    with pytest.raises(PowerCapForbidden) as caught:
        power_cap_profiler(model, batches(), out_file=file, session=sensors, settings=SHORT)
    assert f"nvidia-smi -i {board.uuid(0)} -pl" in caught.value.by_hand
    assert same(before, state(model, optimizer))
    with pytest.raises(PowerCapForbidden):
        set_power_cap(0, 250)


def test_without_a_board_it_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with pytest.raises(PowerCapError, match="no power limit of 7 can be set here"):
        power_cap_profiler(network(), batches(), gpu_num=7)
    with pytest.raises(PowerCapError, match="no power limit of 7 can be set here"):
        set_power_cap(gpu_num=7, cap=200)


def test_training_needs_its_optimiser():
    with pytest.raises(ConfigError, match="optimizer="):
        power_cap_profiler(network(), batches(), train=True)


def test_set_holds_until_reset_and_kept_ones_outlive_the_program(board):
    set_power_cap(gpu_num=0, cap=250)
    assert board.limit_w(0) == 250.0
    reset_power_cap(gpu_num=0)
    assert board.limit_w(0) == 400.0
    for keep, after in ((False, 400.0), (True, 250.0)):
        script = f"""
        from greenai_plugins.compat.profiler import set_power_cap
        set_power_cap(gpu_num=0, cap=250, keep={keep})
        """
        subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script)], env=dict(os.environ), check=True
        )
        assert board.limit_w(0) == after
    reset_power_cap(gpu_num=0)
    assert board.limit_w(0) == 400.0


def test_the_chosen_cap_can_be_set_after_the_search(board, sensors):
    cap = power_cap_profiler(network(), batches(), session=sensors, settings=SHORT)
    set_power_cap(0, cap)
    assert board.limit_w(0) == cap
    reset_power_cap(0)
    with power_cap(0, 200):  # the board is free again
        assert board.limit_w(0) == 200.0


def test_a_cap_that_is_clamped_is_said(board):
    with pytest.warns(RuntimeWarning, match="takes 100 to 500 W, not 50"):
        set_power_cap(0, 50)
    assert board.limit_w(0) == 100.0
    reset_power_cap(0)
