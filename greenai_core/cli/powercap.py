"""``greenai powercap``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from greenai_core.errors import GreenAIError, PowerCapForbidden

from . import exit_codes, options, output
from .powercap_optimise import optimise

if TYPE_CHECKING:
    from greenai_core.cap_guard import InForce
    from greenai_core.knobs import Setting

gpu_option = click.option(
    "--gpu",
    "gpus",
    multiple=True,
    metavar="GPU",
    help="Number as nvidia-smi counts, UUID, cuda:0, or cpu:0/package; repeat for several. "
    "[default: 0]",
)
limiter_option = click.option(
    "--limiter",
    metavar="NAME",
    default="auto",
    show_default=True,
    help="nvml (W), nvml-clocks (MHz), rapl (W), or another that is installed.",
)
shared_option = click.option(
    "--shared", is_flag=True, help="Also where other processes use the device."
)


@click.group(short_help="Power caps: show, set, reset, restore, and find the best one.")
def command() -> None:
    """Power caps: show, set, reset, restore, and find the best one.

    Setting a cap needs root. Without it nothing is changed, and what root would
    have to type is printed (exit code 5). What was in force before greenai
    changed it is on record, so `restore` gives it back in any case.

    \b
    Examples:
      greenai powercap show
      sudo greenai powercap set 250 --gpu 0 --gpu 1
      sudo greenai powercap restore
      sudo greenai powercap optimise -- python infer_once.py
    """  # noqa: D301  # click takes \b for "keep these lines"


command.add_command(optimise)


@command.command("show")
@options.json_flag
def show(as_json: bool) -> None:
    """What every device is limited to, and what waits to be given back."""
    from greenai_core.power_caps import damaged, leftover

    settings, reasons = _everything()
    waiting, broken = leftover(), damaged()
    if as_json:
        rows = [{"limiter": name, **_row(setting)} for name, setting in settings]
        told = {"on_record": waiting, "damaged": broken}
        output.emit_json({"limits": rows, "unavailable": reasons, **told})
        return
    if settings:
        headers = ["device", "limiter", "now", "default", "range", "settable"]
        output.emit(output.table(headers, [_cells(name, one) for name, one in settings]))
    for name, reason in reasons.items():
        output.note(f"greenai: {name}: {output.one_line(reason)}")
    for record in waiting:
        had = "free" if record.original is None else f"{record.original:g} {record.unit}"
        output.note(
            f"greenai: {record.device} had {had} before greenai changed it: "
            "`greenai powercap restore` gives it back"
        )
    for text in broken:
        output.complain(text)
    if not settings:
        output.emit("no device here has a limit that can be set")


@command.command("set")
@click.argument("watts", type=options.Number(min=0, min_open=True))
@gpu_option
@limiter_option
@shared_option
@click.option("--dry-run", is_flag=True, help="Only print what root would have to type.")
@options.json_flag
def set_cap(
    watts: float, gpus: tuple[str, ...], limiter: str, shared: bool, dry_run: bool, as_json: bool
) -> None:
    """Set a cap that stays, until `restore` or `reset`, or the machine starts anew.

    WATTS are MHz for a limiter of clocks. A cap that the device does not take is
    clamped to what it takes, and said.
    """
    from greenai_core.power_caps import set_power_cap

    devices = _devices(gpus)
    if dry_run:
        _tell_by_hand(_by_hand(devices, limiter, lambda setting: watts), as_json)
        return
    with _refusals(devices, limiter, lambda setting: watts, as_json):
        done = set_power_cap(devices, watts, limiter=limiter, shared=shared, keep=True)
        _told(done, as_json)


@command.command("reset")
@gpu_option
@limiter_option
@options.json_flag
def reset(gpus: tuple[str, ...], limiter: str, as_json: bool) -> None:
    """Give a device the limit that its maker set, whatever it had before."""
    from greenai_core.power_caps import reset_power_cap

    devices = _devices(gpus)
    with _refusals(devices, limiter, lambda one: one.default or one.high, as_json):
        _told(reset_power_cap(devices, limiter=limiter), as_json)


@command.command("restore")
@options.json_flag
def restore(as_json: bool) -> None:
    """Give back every limit that greenai changed and nobody gave back.

    For caps of `set`, and for what a power cut or a killed watchdog left. Caps
    that a running program holds are left to it.
    """
    from greenai_core.power_caps import restore_power_caps

    done, failed = restore_power_caps()
    if as_json:
        output.emit_json({"restored": done, "failed": failed})
    else:
        output.emit("\n".join(done) or "nothing is on record")
    for text in failed:
        output.complain(text)
    if failed:
        click.get_current_context().exit(exit_codes.MEASUREMENT)


def _devices(gpus: Sequence[str]) -> list[int | str]:
    return list(gpus) or [0]


def _everything() -> tuple[list[tuple[str, Setting]], dict[str, str]]:
    """Each limit with the name of its limiter, and why a limiter has none."""
    from greenai_core.cap_devices import limiters
    from greenai_core.knobs import knob_of

    found: list[tuple[str, Setting]] = []
    reasons: dict[str, str] = {}
    for name, kind in limiters().items():
        try:
            limiter = kind()
            limiter.check_available()
            limiter.open()
            try:
                found += [(name, setting) for setting in knob_of(limiter).settings()]
            finally:
                limiter.close()
        except GreenAIError as error:
            reasons[name] = str(error)
    return found, reasons


def _row(setting: Setting) -> dict[str, Any]:
    from greenai_core.report_files import to_json

    row: dict[str, Any] = to_json(setting)
    return row


def _cells(limiter: str, setting: Setting) -> list[str]:
    def shown(value: float | None) -> str:
        return "free" if value is None else f"{value:g} {setting.unit}"

    number = "" if setting.index is None else f"GPU {setting.index} "
    may = "yes" if setting.settable else f"no: {setting.refusal or 'needs root'}"
    return [
        f"{number}{setting.device}",
        limiter,
        shown(setting.current),
        shown(setting.default),
        f"{setting.low:g} – {setting.high:g} {setting.unit}",
        may,
    ]


def _told(done: Sequence[InForce], as_json: bool) -> None:
    for one in done:
        if one.note:
            output.warn(one.note)
    if as_json:
        output.emit_json({"in_force": list(done)})
    else:
        output.emit("\n".join(f"{one.device}: {one.value:g} {one.unit}" for one in done))


@contextlib.contextmanager
def _refusals(
    devices: Sequence[int | str],
    limiter: str,
    wanted: Callable[[Setting], float],
    as_json: bool,
) -> Iterator[None]:
    """Without permission: a dry run."""
    try:
        yield
    except PowerCapForbidden as error:
        output.complain("nothing was changed: setting a limit needs root, who would type:")
        lines = _by_hand(devices, limiter, wanted) or [error.by_hand]
        _tell_by_hand(lines, as_json)
        click.get_current_context().exit(exit_codes.MEASUREMENT)


def _tell_by_hand(lines: Sequence[str], as_json: bool) -> None:
    if as_json:
        output.emit_json({"by_hand": list(lines)})
    else:
        output.emit("\n".join(lines))


def _by_hand(
    devices: Sequence[int | str], limiter: str, wanted: Callable[[Setting], float]
) -> list[str]:
    from greenai_core.cap_devices import opened

    with opened(list(devices), limiter) as (knob, settings):
        return [
            # Clamped, as greenai would: root's command fails on what the device does not take.
            knob.limiter.by_hand(one.device, min(max(wanted(one), one.low), one.high))
            for one in settings
        ]
