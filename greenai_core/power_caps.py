"""Set a power cap, and give the old one back: for a block, for a program, or to stay."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from . import cap_records
from .cap_devices import AUTO, Device, Devices, listed, opened
from .cap_guard import CapGuard, InForce, record_of, recover, undone
from .cap_locks import is_held
from .cap_records import HELD, KEPT
from .errors import GreenAIError, PowerCapError
from .knobs import Setting
from .limiter import Limiter

Watts = float | Sequence[float]

_HELD: dict[str, tuple[int, contextlib.ExitStack]] = {}
"""What ``set_power_cap`` holds: device -> PID of the process that set it, and what ends it."""


@contextlib.contextmanager
def power_cap(
    gpu: Devices | Mapping[Device, float],
    watts: Watts | None = None,
    *,
    limiter: str | Limiter = AUTO,
    folder: Path | None = None,
    shared: bool = False,
) -> Iterator[tuple[InForce, ...]]:
    """Cap the power of devices for the length of a block; the old caps come back after it.

    They come back after an exception, Ctrl-C, SIGTERM, and SIGKILL too.

    Args:
        gpu: a number as nvidia-smi counts, a UUID, the id of a channel, ``cuda:0``, or
            several of these; or device -> watts.
        watts: one cap for all, or one each; MHz for a limiter of clocks.
        limiter: its name; ``auto`` for the first that limits their power.
        folder: of the records; None for ``$XDG_STATE_HOME/greenai/powercap``.
        shared: although other processes use the device.

    Yields:
        What is in force; a device may round, or clamp.

    Raises:
        PowerCapForbidden: no permission; ``by_hand`` is what root would type.
        PowerCapError: a device must not or cannot be capped.
    """
    devices, values = _paired(gpu, watts)
    with opened(devices, limiter) as (knob, settings):
        guard = CapGuard(knob, [one.device for one in settings], folder=folder, shared=shared)
        with guard:
            yield tuple(
                guard.set(one.device, value) for one, value in zip(settings, values, strict=True)
            )


def set_power_cap(
    gpu: Devices | Mapping[Device, float],
    watts: Watts | None = None,
    *,
    limiter: str | Limiter = AUTO,
    folder: Path | None = None,
    shared: bool = False,
    keep: bool = False,
) -> tuple[InForce, ...]:
    """Cap the power of devices until ``reset_power_cap``, or the end of this process.

    Args:
        gpu: see ``power_cap``.
        watts: see ``power_cap``.
        limiter: see ``power_cap``.
        folder: see ``power_cap``.
        shared: see ``power_cap``.
        keep: leave the cap in force when this process ends; ``restore_power_caps``, or
            ``greenai powercap restore``, gives the old one back.

    Returns:
        What is in force.

    Raises:
        PowerCapForbidden: no permission; ``by_hand`` is what root would type.
        PowerCapError: a device must not or cannot be capped.
    """
    devices, values = _paired(gpu, watts)
    folder = folder or cap_records.default_folder()
    if keep:
        return _kept(devices, values, limiter, folder, shared)
    with opened(devices, limiter) as (_, settings):
        ids = [setting.device for setting in settings]
    for device in ids:
        _end(device)
    done: list[InForce] = []
    try:
        for device, value in zip(ids, values, strict=True):
            stack = contextlib.ExitStack()
            cap = power_cap(device, value, limiter=limiter, folder=folder, shared=shared)
            done += stack.enter_context(cap)
            _HELD[device] = (os.getpid(), stack)
    except BaseException:
        for device in ids:
            _end(device)
        raise
    return tuple(done)


def reset_power_cap(
    gpu: Devices = 0,
    *,
    limiter: str | Limiter = AUTO,
    folder: Path | None = None,
) -> tuple[InForce, ...]:
    """End a cap: what this process set gives way to what was before.

    A device that this process did not cap gets the limit that its maker set.

    Args:
        gpu: see ``power_cap``.
        limiter: see ``power_cap``.
        folder: see ``power_cap``.

    Returns:
        What is in force.

    Raises:
        PowerCapForbidden: no permission; ``by_hand`` is what root would type.
        PowerCapError: a device does not take it.
    """
    folder = folder or cap_records.default_folder()
    done = []
    with opened(gpu, limiter) as (knob, settings):
        for setting in settings:
            if not _end(setting.device):
                lock = cap_records.locked(folder, setting.device)
                try:
                    # What cannot be read, or given back, is no matter: another limit is set now.
                    with contextlib.suppress(GreenAIError):
                        recover(folder, setting.device, knob)
                    knob.restore(setting.device, setting.default)
                    for path in cap_records.records_in(folder, setting.device):
                        cap_records.forget(path)
                finally:
                    lock.release()
            now = knob.setting(setting.device)
            shown = now.high if now.current is None else now.current
            done.append(InForce(now.device, shown, shown, knob.unit))
    return tuple(done)


def restore_power_caps(folder: Path | None = None) -> tuple[list[str], list[str]]:
    """Give back every limit that is on record, as `greenai powercap restore` does.

    Caps that a running program holds are left to it.

    Args:
        folder: of the records; None for the default.

    Returns:
        What was done, and what could not be done, in words.
    """
    folder = folder or cap_records.default_folder()
    done: list[str] = []
    failed: list[str] = []
    # Held ones first: what they give back may itself be a limit that was set to stay.
    for lasting in (HELD, KEPT):
        for path in cap_records.records_in(folder, lasting=lasting):
            try:
                record = cap_records.read_record(path)
                if record is None:
                    continue
                if lasting == HELD and is_held(cap_records.lock_of(path)):
                    done.append(f"{record.device}: left to process {record.pid}, which holds it")
                    continue
                done.append(_given_back(folder, record.device, path))
            except GreenAIError as error:
                failed.append(str(error))
    return done, failed


def _given_back(folder: Path, device: str, path: Path) -> str:
    """Give back what is on record of a device; what was done, in words.

    Raises:
        PowerCapError: it is locked, or does not take it.
    """
    lock = cap_records.locked(folder, device)
    try:
        return undone(path)
    except GreenAIError as error:
        raise PowerCapError(
            f"{device} could not be given back its old limit: {error}. It stays on record in "
            f"{path}: `greenai powercap restore` again once it answers, or remove the file where "
            "it is gone for good"
        ) from error
    finally:
        lock.release()


def leftover(folder: Path | None = None) -> list[cap_records.CapRecord]:
    """What is on record and no running program holds; limits that wait to be given back.

    Records of before a restart are left out: it undid their limits.
    """
    folder = folder or cap_records.default_folder()
    found = []
    for path in cap_records.records_in(folder):
        with contextlib.suppress(PowerCapError):
            record = cap_records.read_record(path)
            if record is None or record.boot != cap_records.boot_id():
                continue
            if record.lasting == KEPT or not is_held(cap_records.lock_of(path)):
                found.append(record)
    return found


def damaged(folder: Path | None = None) -> list[str]:
    """What is wrong with each record that cannot be obeyed, and what to do, in words."""
    found = []
    for path in cap_records.records_in(folder or cap_records.default_folder()):
        try:
            cap_records.read_record(path)
        except PowerCapError as error:
            found.append(str(error))
    return found


def _kept(
    devices: Sequence[Device],
    values: Sequence[float],
    limiter: str | Limiter,
    folder: Path,
    shared: bool,
) -> tuple[InForce, ...]:
    """Caps that outlive this process: set under a guard that then lets all of them stay."""
    done: list[InForce] = []
    new: list[Path] = []
    with opened(devices, limiter) as (knob, settings):
        ids = [setting.device for setting in settings]
        with CapGuard(knob, ids, folder=folder, shared=shared) as guard:
            try:
                for device, value in zip(ids, values, strict=True):
                    path = cap_records.path_of(folder, device, knob.unit, KEPT)
                    record = cap_records.read_record(path)
                    if record is None or record.boot != cap_records.boot_id():
                        new.append(path)
                        before: Setting = guard.before[device]
                        cap_records.write_record(path, record_of(knob, before, KEPT))
                    done.append(guard.set(device, value))
            except BaseException:
                for path in new:
                    cap_records.forget(path)
                raise
            for device in ids:
                guard.keep(device)
    return tuple(done)


def _end(device: str) -> bool:
    """End what this process holds of a device; whether it held anything."""
    pid, stack = _HELD.pop(device, (0, contextlib.ExitStack()))
    if pid != os.getpid():  # a forked child: the cap is its parent's
        return False
    stack.close()
    return True


def _paired(
    gpu: Devices | Mapping[Device, float], watts: Watts | None
) -> tuple[list[Device], list[float]]:
    """Devices and the cap of each.

    Raises:
        PowerCapError: they are not as many.
    """
    if isinstance(gpu, Mapping):
        if watts is not None:
            raise PowerCapError("caps are given twice: with the devices, and as watts")
        return list(gpu), [float(value) for value in gpu.values()]
    devices = listed(gpu)
    if watts is None:
        raise PowerCapError(f"no cap is given for {', '.join(map(str, devices))}")
    values = [float(watts)] * len(devices) if isinstance(watts, (int, float)) else list(watts)
    if len(values) != len(devices):
        raise PowerCapError(f"{len(values)} caps are given for {len(devices)} devices")
    return devices, values
