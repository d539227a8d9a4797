"""``greenai scale``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import figures, options, output
from .export import read
from .places import check_file

if TYPE_CHECKING:
    from greenai_core.scales import Scale

FEW = "fewer than 7 references: the scale is provisional, it gives neither A nor G"


@click.group(short_help="Scales that grades are given on: list, show, build.")
def command() -> None:
    """Scales that grades are given on: list, show, build.

    A scale is an immutable JSON file: a reference, which is the median of a set
    of energies of one functional unit measured the same way, thresholds, sources,
    and a hash of all that.

    \b
    Examples:
      greenai scale list
      greenai scale show my-scale.json
      greenai scale build references --id mine/2026.1 --unit image --out mine.json
    """  # noqa: D301  # click takes \b for "keep these lines"


@command.command("list")
@click.option("--task", metavar="TASK", help="Only those of this task.")
@options.json_flag
def list_scales(task: str | None, as_json: bool) -> None:
    """The scales that greenai ships."""
    from greenai_core.scale_files import built_in_scales

    scales = [scale for scale in built_in_scales() if task in (None, scale.task)]
    if as_json:
        output.emit_json(scales)
        return
    if not scales:
        output.emit(f"no scale is shipped for the task {task!r}" if task else "no scales")
        return
    rows = [
        [scale.id, f"{_joules(scale.reference_j)}/{scale.unit}", str(scale.n), scale.tier]
        for scale in scales
    ]
    output.emit(output.table(["scale", "reference", "n", "tier"], rows, right=(2,)))


@command.command("show")
@click.argument("scale", metavar="ID|FILE.json")
@options.json_flag
def show(scale: str, as_json: bool) -> None:
    """What a scale is made of, and its limits.

    \b
    Examples:
      greenai scale show task/image-classification/x86-vcpu-modelled/2026.1
      greenai scale show my-scale.json
    """  # noqa: D301  # click takes \b for "keep these lines"
    from greenai_core.scale_files import find_scale

    found = find_scale(scale)
    if as_json:
        output.emit_json(found)
    else:
        output.emit("\n".join(_text(found)))


@command.command("build")
@click.argument("reports", nargs=-1, required=True, metavar="REPORT...")
@click.option("--id", "id", required=True, metavar="ID", help="task/TASK/HARDWARE/YEAR.N, or any.")
@click.option("--unit", required=True, metavar="NAME", help="Functional unit: image, token, …")
@click.option(
    "--source", "sources", multiple=True, metavar="TEXT",
    help="Where the references come from; repeat for several.",
)  # fmt: skip
@click.option("--measured-by", metavar="COMMAND", help="Command that measures them again.")
@click.option("--note", "notes", multiple=True, metavar="TEXT", help="What else to know.")
@click.option("--out", required=True, metavar="FILE.json", help="Write the scale there.")
def build(
    reports: tuple[str, ...],
    id: str,
    unit: str,
    sources: tuple[str, ...],
    measured_by: str | None,
    notes: tuple[str, ...],
    out: str,
) -> None:
    """A scale from reports: each result is one reference.

    REPORT is a report.json of bench or grade, or a folder that holds one, with
    idle measured. All results must be of the same components, by the same
    sensors, on the same processor.

    \b
    Examples:
      greenai bench a.onnx b.onnx c.onnx --out references
      greenai scale build references --id mine/2026.1 --unit image --out mine.json
      greenai grade --scale mine.json --units 500 --unit image classify.py
    """  # noqa: D301  # click takes \b for "keep these lines"
    from greenai_core.scale_building import build_scale
    from greenai_core.scales import read_scale

    file = check_file(out, "--out")
    made = build_scale(
        [read(Path(report)) for report in reports],
        id=id,
        unit=unit,
        sources=sources,
        command=measured_by,
        notes=notes,
    )
    output.save(file, output.json_bytes(made))
    scale = read_scale(made)
    output.note(
        f"greenai: {scale.id}: {_joules(scale.reference_j)}/{scale.unit}, median of {scale.n}"
    )
    if scale.provisional:
        output.warn(FEW)


def _text(scale: Scale) -> Iterator[str]:
    yield output.heading(scale.id)
    facts: dict[str, Any] = {
        "task": scale.task,
        "hardware class": scale.hardware_class,
        "energy of": " + ".join(scale.scope) + ", above idle",
        "reference": f"{_joules(scale.reference_j)}/{scale.unit}, median of {scale.n}",
        "tier": scale.tier,
        "origin": {"own": "measured by its makers", "cited": "cited"}.get(scale.origin or ""),
        "measured by": scale.command,
        "sha256": scale.sha256,
    }
    for name, value in facts.items():
        if value is not None:
            yield f"  {name}: {value}"
    for title, texts in (("sources", scale.sources), ("notes", scale.notes)):
        for text in texts:
            yield output.paragraph(f"{title.removesuffix('s')}: {text}", "  ")
    if scale.provisional:
        yield f"  provisional: {FEW}"
    yield ""
    yield "  " + ", ".join(f"{letter} ≤ {_joules(scale.limit_j(letter))}" for letter in "ABCDEF")
    if scale.references:
        yield ""
        rows = [
            [f"  {one.name}", _joules(one.energy_j), _interval(one.low_j, one.high_j)]
            for one in sorted(scale.references, key=lambda one: one.energy_j)
        ]
        yield output.table(
            [f"  reference, of one {scale.unit}", "energy", "95 %"], rows, right=(1,)
        )


def _joules(value: float) -> str:
    return figures.quantity(value, "J", 3)


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else figures.ends(low, high, "J")
