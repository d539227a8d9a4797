"""``power_cap_profiler``, ``set_power_cap`` and ``reset_power_cap``: the best cap of a board.

A board is named by its number as nvidia-smi counts, a cap is in watts. What a limit was is on
disk before it is changed, and it is given back whatever becomes of the program
(``docs/power-cap.md``).
"""

from __future__ import annotations

import contextlib
import copy
import os
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from greenai_core import (
    CapResult,
    ConfigError,
    SearchSettings,
    Session,
    optimise_power_cap,
)
from greenai_core import reset_power_cap as _reset
from greenai_core import set_power_cap as _set

from .csv_files import append, begin, cell

__all__ = ["power_cap_profiler", "reset_power_cap", "set_power_cap"]

PROBE_COLUMNS = (
    "power cap (W)",
    "time of a step (s)",
    "power (W)",
    "energy of a step (J)",
    "ED2P of a step (J s²)",
)
"""Columns of ``out_file``, a row for each cap in the order in which they were tried."""


def power_cap_profiler(
    model: Any,
    dataloader: Iterable[Any],
    gpu_num: int = 0,
    train: bool = False,
    loss_fn: Callable[..., Any] | None = None,
    optimizer: Any = None,
    out_file: str | os.PathLike[str] | None = None,
    *,
    header: bool = False,
    device: Any = None,
    session: Session | None = None,
    settings: SearchSettings | None = None,
    shared: bool = False,
) -> float:
    """The cap of a board under which a network has the least ED²P, W.

    It is not left in force: ``set_power_cap`` does that. The network and the optimiser are
    afterwards, bit for bit, as they were given, also after an exception. Where no cap is shown
    to save, the cap that is in force already is the answer.

    Args:
        model: a ``torch.nn.Module``; of one on the host a copy is moved to the board.
        dataloader: gives ``(inputs, targets)``; gone through as often as needed.
        gpu_num: number of the board, as nvidia-smi counts.
        train: training steps instead of inferences.
        loss_fn: of outputs and targets; None for models whose output has a ``loss``.
        optimizer: of the model; needed for training.
        out_file: a CSV file, emptied at once; a row is in it as soon as its cap was tried.
        header: whether its first line names the columns.
        device: where it runs; None for the board, and for where the model is without CUDA.
        session: the sensors, open; None for all that work here, with this board.
        settings: how to search.
        shared: although other processes use the board.

    Raises:
        ConfigError: training without an optimiser; batches that can be had only once; a
            board that this process's PyTorch does not see.
        PowerCapForbidden: no permission; ``by_hand`` is what root would type.
        PowerCapError: there is no such board, or it must not or cannot be capped.
        NoSensorError: no sensor measures the board.
        KeyboardInterrupt: Ctrl-C, also where the search ended in good order by it.
    """
    if train and optimizer is None:
        raise ConfigError("training needs its optimiser: give optimizer=…, or train=False")
    file = None if out_file is None else Path(out_file)
    if file is not None:
        begin(file, PROBE_COLUMNS if header else None)

    def told(probe: Any) -> None:
        if file is not None:
            append(file, [_row(probe)])

    work = _placed(model, loss_fn, optimizer if train else None, device, gpu_num)
    with _steps(dataloader, *work) as step:
        found: CapResult = optimise_power_cap(
            step, gpu_num, "ed2p", session=session, settings=settings, shared=shared, told=told
        )
    if not found.complete:
        raise KeyboardInterrupt(found.reason)
    for text in found.warnings:
        warnings.warn(text, RuntimeWarning, stacklevel=2)
    return found.chosen


def set_power_cap(gpu_num: int = 0, cap: float | None = None, *, keep: bool = False) -> None:
    """Cap a board until ``reset_power_cap``, or the end of this process.

    Args:
        gpu_num: number of the board, as nvidia-smi counts.
        cap: W.
        keep: leave it in force when this process ends, as the older tool did: then
            ``reset_power_cap``, or ``greenai powercap restore``, gives the old one back.

    Raises:
        PowerCapForbidden: no permission; ``by_hand`` is what root would type.
        PowerCapError: there is no such board, or it must not or cannot be capped.
    """
    for done in _set(gpu_num, cap, keep=keep):
        if done.note:
            warnings.warn(done.note, RuntimeWarning, stacklevel=2)


def reset_power_cap(gpu_num: int = 0) -> None:
    """End what ``set_power_cap`` began: the board has the limit of before again.

    A board that this process did not cap gets the limit of its maker.

    Args:
        gpu_num: number of the board, as nvidia-smi counts.

    Raises:
        PowerCapForbidden: no permission; ``by_hand`` is what root would type.
        PowerCapError: there is no such board, or it does not take it.
    """
    _reset(gpu_num)


def _placed(
    model: Any, loss_fn: Any, optimizer: Any, device: Any, gpu_num: int
) -> tuple[Any, Any, Any]:
    """Network, loss and optimiser, or copies of them that are where the work is to run.

    Copies, since moving a network and back would leave its optimiser without it.
    """
    import torch

    first = next(model.parameters(), None)
    if first is None:
        return model, loss_fn, optimizer
    if device is None:
        if first.device.type != "cpu" or not torch.cuda.is_available():
            return model, loss_fn, optimizer
        device = _cuda_device(torch, gpu_num)
    if first.device == torch.device(device):
        return model, loss_fn, optimizer
    # Together: the copy of the optimiser belongs to the copy of the network then.
    model, loss_fn, optimizer = copy.deepcopy((model, loss_fn, optimizer))
    model.to(device)
    if hasattr(loss_fn, "to"):
        loss_fn.to(device)
    if optimizer is not None:
        optimizer.load_state_dict(optimizer.state_dict())  # moves its state to its parameters
    return model, loss_fn, optimizer


def _cuda_device(torch: Any, gpu_num: int) -> Any:
    """What PyTorch calls the board: CUDA may count in another order than nvidia-smi."""
    from greenai_plugins.nvml_boards import borrowed, find_boards

    with borrowed() as nvml:
        uuids = {board.index: board.uuid.removeprefix("GPU-") for board in find_boards(nvml)}
    for number in range(torch.cuda.device_count()):
        if str(torch.cuda.get_device_properties(number).uuid) == uuids.get(gpu_num):
            return torch.device("cuda", number)
    raise ConfigError(
        f"the network is on the host, and PyTorch does not see GPU {gpu_num} here "
        f"(CUDA_VISIBLE_DEVICES: {os.environ.get('CUDA_VISIBLE_DEVICES', 'not set')}). Move the "
        "network to the board, or give its number as nvidia-smi counts"
    )


def _steps(
    dataloader: Iterable[Any], model: Any, loss_fn: Any, optimizer: Any
) -> contextlib.AbstractContextManager[Callable[[], None]]:
    from greenai_plugins.torch_steps import inference_step, training_step

    if optimizer is None:
        return inference_step(model, dataloader)
    return training_step(model, dataloader, loss_fn, optimizer)


def _row(probe: Any) -> list[str]:
    seconds, watts, joules = (
        figure.value for figure in (probe.seconds_s, probe.power_w, probe.energy_j)
    )
    return [cell(x) for x in (probe.cap, seconds, watts, joules, joules * seconds**2)]
