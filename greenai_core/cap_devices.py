"""Which device somebody means by a number, a UUID, or the id of a channel."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence

from . import registry
from .errors import GreenAIError, PowerCapError
from .knobs import Knob, Setting, knob_of
from .limiter import ClockLimiter, Limiter, PowerLimiter

AUTO = "auto"
CUDA = "CUDA_VISIBLE_DEVICES"

Device = int | str
Devices = Device | Sequence[Device]


def listed(devices: Devices) -> list[Device]:
    """One device or several, as a list."""
    return [devices] if isinstance(devices, (int, str)) else list(devices)


@contextlib.contextmanager
def opened(
    devices: Devices, limiter: str | Limiter = AUTO
) -> Iterator[tuple[Knob, tuple[Setting, ...]]]:
    """The limiter of some devices, open, and what they are limited to.

    Args:
        devices: see ``chosen``.
        limiter: a limiter, its name, or ``auto``: the first that limits the power of
            these devices.

    Raises:
        PowerCapError: none does, or a device is not there.
        PluginError: the limiter of that name does not work here.
    """
    wanted = listed(devices)
    with contextlib.ExitStack() as stack:
        if limiter != AUTO:
            knob = _opened(_made(limiter), stack)
            yield knob, chosen(wanted, knob.settings())
            return
        reasons = []
        for name, kind in sorted(registry.load_all("greenai.limiters")[0].items()):
            if not issubclass(kind, PowerLimiter):
                continue
            with contextlib.ExitStack() as attempt:
                try:
                    knob = _opened(kind(), attempt)
                    found = chosen(wanted, knob.settings())
                except GreenAIError as error:
                    reasons.append(f"{name}: {error}")
                    continue
                stack.push(attempt.pop_all())
                break
        else:
            raise PowerCapError(
                f"no power limit of {', '.join(map(str, wanted))} can be set here "
                f"({'; '.join(reasons) or 'no limiter is installed'}). "
                "`greenai powercap show` lists what there is"
            )
        yield knob, found


def limiters() -> Mapping[str, type[Limiter]]:
    """Every installed limiter that can be imported, by name."""
    loaded, _ = registry.load_all("greenai.limiters")
    return {
        name: kind
        for name, kind in loaded.items()
        if issubclass(kind, (PowerLimiter, ClockLimiter))
    }


def _made(limiter: str | Limiter) -> Limiter:
    if isinstance(limiter, str):
        made: Limiter = registry.load("greenai.limiters", limiter)()
        return made
    return limiter


def _opened(limiter: Limiter, stack: contextlib.ExitStack) -> Knob:
    knob = knob_of(limiter)
    limiter.check_available()
    limiter.open()
    stack.callback(limiter.close)
    return knob


def chosen(devices: Sequence[Device], settings: Sequence[Setting]) -> tuple[Setting, ...]:
    """The devices that somebody means.

    Args:
        devices: each a number (that of nvidia-smi and NVML, in the order of the PCI bus,
            whatever CUDA_VISIBLE_DEVICES says), a UUID or its beginning (``GPU-5a…``), the
            id of a channel (``gpu:GPU-…``, ``cpu:0/package``), or ``cuda:0`` for what this
            process calls so.
        settings: of all devices.

    Raises:
        PowerCapError: one is not there, is not this process's to use, or is named twice.
    """
    found = tuple(_one(device, settings) for device in devices)
    if len({setting.device for setting in found}) < len(found):
        raise PowerCapError(f"{', '.join(map(str, devices))} names one device twice")
    if not found:
        raise PowerCapError("no device is named: give its number or UUID")
    return found


def _one(device: Device, settings: Sequence[Setting]) -> Setting:
    text = str(device).strip()
    if text.startswith("cuda:"):
        return _visible(text, settings)
    if text.isdecimal():
        matches = [setting for setting in settings if setting.index == int(text)]
        _check_visible(text, matches)
    else:
        matches = [setting for setting in settings if _is_called(setting, text)]
    if len(matches) != 1:
        what = f"{len(matches)} devices" if matches else "no device"
        known = "; ".join(map(str, settings)) or "none"
        raise PowerCapError(f"{text!r} is {what} with a limit here. There are: {known}")
    return matches[0]


def _is_called(setting: Setting, text: str) -> bool:
    uuid = setting.device.removeprefix("gpu:")
    beginning = text.removeprefix("gpu:")
    return setting.device == text or (beginning.startswith("GPU-") and uuid.startswith(beginning))


def _visible(text: str, settings: Sequence[Setting]) -> Setting:
    """What ``cuda:N`` is, going by CUDA_VISIBLE_DEVICES."""
    number = text.removeprefix("cuda:")
    boards = [setting for setting in settings if setting.index is not None]
    entries = _entries()
    if entries is None:
        entries = [str(board.index) for board in boards]
    if not number.isdecimal() or int(number) >= len(entries):
        raise PowerCapError(f"{text} is no GPU of this process ({CUDA}: {os.environ.get(CUDA)})")
    entry = entries[int(number)]
    unlike = len({board.label for board in boards}) > 1
    if entry.isdecimal() and unlike and os.environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID":
        raise PowerCapError(
            f"which board {text} is cannot be told: CUDA numbers unlike boards in an order of its "
            "own. Set CUDA_DEVICE_ORDER=PCI_BUS_ID, or name the board by its UUID"
        )
    matches = [b for b in boards if str(b.index) == entry or _is_called(b, entry)]
    if len(matches) != 1:
        raise PowerCapError(f"{text} is {entry!r} of {CUDA}, which is no board with a limit here")
    return matches[0]


def _entries() -> list[str] | None:
    variable = os.environ.get(CUDA)
    return None if variable is None else [word.strip() for word in variable.split(",") if word]


def _check_visible(text: str, matches: Sequence[Setting]) -> None:
    """A bare number must not mean a board of somebody else.

    Raises:
        PowerCapError: this process does not see that board.
    """
    entries = _entries()
    if entries is None or not matches:
        return
    seen = any(entry == text or _is_called(matches[0], entry) for entry in entries)
    if not seen:
        raise PowerCapError(
            f"{text} is {matches[0]}, which {CUDA}={os.environ[CUDA]} hides from this process. "
            "Say cuda:0 for the first that it sees, or name the board by its UUID"
        )
