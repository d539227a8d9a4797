"""Reports of bench and of train."""

from __future__ import annotations

from collections.abc import Sequence

from greenai_core import InferenceResult, TrainingResult
from greenai_plugins.exporters.pictures.chart import Chart, Point, Scaled, Series, drawn
from greenai_plugins.exporters.pictures.picture import Key, Picture
from greenai_plugins.exporters.pictures.ranking import Item, Ranking, ranked
from greenai_plugins.exporters.pictures.stack import Bar, Part, stacked
from greenai_plugins.exporters.quantities import MODELLED, Quantity, of_figure, repeatable, written

from .blocks import Cell, Code, Pictures, Section, Table, Tag
from .measured import Measured
from .traces import power_series

REACHED = Tag("reached", "good")
NOT_REACHED = Tag("not reached", "doubt")


def finding(models: Sequence[Measured]) -> str:
    """The main thing about them in a sentence."""
    known = [(m.energy.value, m) for m in models if m.energy is not None]
    if not known:
        return "No energy is known: the table says which channel failed, and why."
    least, best = min(known, key=lambda pair: pair[0])
    words = "is modelled to cost" if best.modelled else "costs"
    said = f"One {best.unit} of {best.name} {words} {written(of_figure(best.energy, 'J'))}"
    if len(known) == 1:
        return said + "."
    most, worst = max(known, key=lambda pair: pair[0])
    if least <= 0:
        return said + ", the least of all."
    times = f"{most / least:.1f}" if most / least < 10 else f"{most / least:.0f}"
    return f"{said}, the least of {len(known)}; {worst.name} takes {times} times as much."


def sections(models: Sequence[Measured]) -> list[Section]:
    """Everything about them, in the order of reading."""
    if not models:
        return []
    made = [Section("Summary", (summary(models),))]
    found = pictures(models)
    if found:
        made.append(Section("Pictures", (Pictures(tuple(found)),)))
    epochs = [table for m in models for table in _epochs(m)]
    if epochs:
        made.append(Section("By epoch", tuple(epochs)))
    made.append(Section("By channel", (channels(models),)))
    return made


def summary(models: Sequence[Measured]) -> Table:
    """A row for each model; columns that say nothing are left out."""
    units = " or ".join(dict.fromkeys(m.unit for m in models))
    columns: dict[str, list[Cell]] = {
        "model": [Code(m.name) for m in models],
        "energy": [of_figure(m.energy, "J") for m in models],
        "per sample": [of_figure(m.result.energy_per_sample_j, "J") for m in models],
        "above idle": [of_figure(m.net, "J") for m in models],
        "time": [of_figure(m.seconds, "s") for m in models],
        "power": [of_figure(m.result.power_w, "W") for m in models],
        "device": [m.result.model.device for m in models],
        "batch": [str(m.result.model.batch_size) for m in models],
        "precision": [REACHED if m.result.target_met else NOT_REACHED for m in models],
    }
    if all(m.result.model.batch_size == 1 for m in models):
        del columns["per sample"]
    if all(m.net is None for m in models):
        del columns["above idle"]
    caption = f"Of one {units}, with 95 % intervals"
    return Table(caption, tuple(columns), tuple(zip(*columns.values(), strict=True)))


def channels(models: Sequence[Measured]) -> Table:
    """A row for each channel of each model."""
    rows: list[tuple[Cell, ...]] = []
    for m in models:
        for id, method, in_total, figure in m.channels:
            cells = (of_figure(figure, "J"), repeatable(figure, "J"))
            rows.append((Code(m.name), Code(id), method, "yes" if in_total else "no", *cells))
        rows += [
            (Code(m.name), Code(missing.id), f"missing: {missing.reason}", "", Quantity(None), "")
            for missing in m.result.missing
        ]
    head = ("model", "channel", "method", "in total", "energy", "repeatability")
    return Table("Where the joules are", head, tuple(rows))


def _epochs(m: Measured) -> list[Table]:
    result = m.result
    if not isinstance(result, TrainingResult) or not result.epochs:
        return []
    rows: list[tuple[Cell, ...]] = []
    for epoch in result.epochs:
        window = epoch.training
        energy = (
            Quantity(None)
            if window is None
            else Quantity(window.energy_j, window.low_j, window.high_j, "J", window.method)
        )
        rows.append(
            (
                f"{epoch.number}" + ("" if epoch.complete else " (part)"),
                energy,
                Quantity(epoch.duration_s, unit="s"),
                Quantity(epoch.wait_s, unit="s"),
                Quantity(epoch.loss, unit=""),
                Quantity(_hundredfold(epoch.accuracy), unit="%"),
                Quantity(_hundredfold(epoch.validation_accuracy), unit="%"),
            )
        )
    head = ("epoch", "energy", "time", "waiting for data", "loss", "accuracy", "validation")
    return [Table(f"Epochs of {m.name}", head, tuple(rows))]


def _hundredfold(share: float | None) -> float | None:
    return None if share is None else 100 * share


# Pictures


def pictures(models: Sequence[Measured]) -> list[Picture]:
    """What can be drawn of them."""
    made = []
    known = [m for m in models if m.energy is not None]
    if models:
        made.append(_energy(models))
    made += _by_channel(known)
    if len(known) > 2:
        made.append(_latency(known))
    made += power_over_time(models)
    made += [picture for m in models for picture in _learning(m)]
    return made


def _energy(models: Sequence[Measured]) -> Picture:
    units = " or ".join(dict.fromkeys(m.unit for m in models))
    names = list(dict.fromkeys(m.source for m in models))
    items = tuple(_item(m, names.index(m.source)) for m in models)
    keys = tuple(Key(name, i) for i, name in enumerate(names)) if len(names) > 1 else ()
    rows = tuple((Code(m.name), of_figure(m.energy, "J")) for m in models)
    return ranked(
        Ranking(
            "energy",
            f"Energy of one {units}",
            finding(models),
            f"energy of one {units}",
            "J",
            items,
            keys,
            table=Table("Energy", ("model", "energy"), rows),
        )
    )


def _item(m: Measured, series: int) -> Item:
    figure = m.energy
    if figure is None:
        return Item(m.name, None, None, None, f"{m.name}\nunknown", series)
    tip = f"{m.name}\n{written(of_figure(figure, 'J'))} per {m.unit}"
    if m.modelled:
        tip += "\nmodelled"
    return Item(m.name, figure.value, figure.low, figure.high, tip, series, m.modelled)


def _by_channel(models: Sequence[Measured]) -> list[Picture]:
    ids = list(dict.fromkeys(id for m in models for id, _, inside, _ in m.channels if inside))
    if len(ids) < 2:
        return []
    bars, rows = [], []
    for m in models:
        parts = []
        for id, method, inside, figure in m.channels:
            if inside:
                tip = f"{m.name}\n{id}: {written(of_figure(figure, 'J'))}\n{method}"
                parts.append(Part(ids.index(id), figure.value, tip, MODELLED in method))
                rows.append((Code(m.name), Code(id), of_figure(figure, "J")))
        bars.append(Bar(m.name, tuple(parts)))
    about = "What the channels of each total add to it; parts that are modelled are pale."
    picture = stacked(
        ("channels", "What the total is made of", about),
        "energy",
        tuple(bars),
        tuple(Key(id, i) for i, id in enumerate(ids)),
        Table("Channels of the totals", ("model", "channel", "energy"), tuple(rows)),
    )
    return [picture]


def _latency(models: Sequence[Measured]) -> Picture:
    points = []
    for m in models:
        energy, seconds = m.energy, m.seconds
        assert energy is not None
        tip = (
            f"{m.name}\n{written(of_figure(energy, 'J'))}\n{written(of_figure(seconds, 's'))}"
        ) + ("\nmodelled" if m.modelled else "")
        points.append(
            Point(
                seconds.value, energy.value, tip, energy.low, energy.high,
                seconds.low, seconds.high, modelled=m.modelled,
            )
        )  # fmt: skip
    rows = tuple(
        (Code(m.name), of_figure(m.seconds, "s"), of_figure(m.energy, "J")) for m in models
    )
    chart = Chart(
        "latency",
        "Time and energy",
        "Each model at the time and the energy that it takes; power is the slope.",
        Scaled("time", "s"),
        Scaled("energy", "J"),
        (Series("models", tuple(points), joined=False),),
        table=Table("Time and energy", ("model", "time", "energy"), rows),
    )
    return drawn(chart)


def power_over_time(models: Sequence[Measured]) -> list[Picture]:
    """Power of the measured blocks, a line for each model; empty where there are too few."""
    series = []
    for m in models:
        times, watts = [], []
        for block in m.result.repetitions:
            joules = {c.id: c.energy_j for c in block.channels}
            if block.duration_s > 0 and m.result.contains and joules.keys() >= {*m.result.contains}:
                times.append(block.start_s + block.duration_s / 2)
                total = sum(joules[id] for id in m.result.contains)
                watts.append(total / block.duration_s)
        if len(times) > 2:
            series.append(power_series(m.name, times, watts, modelled=m.modelled))
    if not series:
        return []
    rows = tuple(
        (Code(one.name), Quantity(min(p.y for p in one.points), unit="W"),
         Quantity(sum(p.y for p in one.points) / len(one.points), unit="W"),
         Quantity(max(p.y for p in one.points), unit="W"))
        for one in series
    )  # fmt: skip
    chart = Chart(
        "power",
        "Power over time",
        "Mean power in each measured block, from the beginning of the measured loop.",
        Scaled("time", "s", log=False),
        Scaled("power", "W", zero=True, log=False),
        tuple(series),
        table=Table("Power of the blocks", ("model", "least", "mean", "most"), rows),
    )
    return [drawn(chart)]


def _learning(m: Measured) -> list[Picture]:
    if isinstance(m.result, InferenceResult):
        return []
    points, rows = [], []
    for epoch in m.result.epochs:
        window = epoch.training
        if window is None or window.energy_j is None:
            continue
        energy = Quantity(window.energy_j, window.low_j, window.high_j, "J", window.method)
        tip = f"epoch {epoch.number}: {written(energy)}" + ("\nmodelled" * energy.modelled)
        points.append(
            Point(
                epoch.number, window.energy_j, tip, window.low_j, window.high_j,
                modelled=energy.modelled,
            )
        )  # fmt: skip
        rows.append((str(epoch.number), energy))
    if len(points) < 2:
        return []
    chart = Chart(
        "epochs",
        f"Energy by epoch: {m.name}",
        "What each pass over the training data cost.",
        Scaled("epoch", zero=False, log=False),
        Scaled("energy", "J", log=False),
        (Series(m.name, tuple(points)),),
        table=Table("Energy by epoch", ("epoch", "energy"), tuple(rows)),
    )
    return [drawn(chart)]
