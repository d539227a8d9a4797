"""A small report of each kind, with figures that are known."""

from __future__ import annotations

from dataclasses import replace

from greenai_core.cap_results import (
    CapConfirmation,
    CapInForce,
    CappedDevice,
    CapPoint,
    CapProbe,
    CapRatio,
    CapResult,
)
from greenai_core.layer_results import HookCost, LayerEnergy, LayersResult
from greenai_core.parameters import ParameterCount
from greenai_core.results import (
    ChannelEnergy,
    ChannelInference,
    ChannelJoules,
    ChannelStep,
    CommandResult,
    ComparedModel,
    ComparisonResult,
    DataWait,
    EnergyRatio,
    EnergySplit,
    EpochResult,
    FailedModel,
    Figure,
    Grade,
    InferenceResult,
    MissingChannel,
    ModelSummary,
    Observed,
    ProcessShare,
    Quad,
    Repetition,
    Report,
    Result,
    Skipped,
    TrainingResult,
    WindowResult,
)
from greenai_core.study_results import (
    StudiedModel,
    StudyFailure,
    StudyMetric,
    StudyResult,
    StudyRow,
)

SAMPLE_ENERGY_J = 0.5
"""Total joules of each result of ``sample_report``."""

ID = "cpu:0/package"


def figure(value: float, method: str = "counter", provenance: str = ID) -> Figure:
    """A figure with ±10 % total and ±5 % repeatability."""
    return Figure(value, 0.9 * value, 1.1 * value, 0.95 * value, 1.05 * value, method, provenance)


def sample_report(kind: str, *, known: bool = True) -> Report:
    """A report of one result.

    Args:
        kind: one of ``RESULT_TYPES``.
        known: False: the channel of the total failed, so the total is None.
    """
    results: dict[str, Result] = {
        "bench": _inference(known),
        "train": _training(known),
        "measure": _command(known, None),
        "grade": _command(known, _GRADE),
        "compare": _comparison(known),
        "study": _study(known),
        "layers": _layers(known),
        "powercap": _powercap(known),
    }
    return Report(
        kind=kind,
        created="2024-05-06T07:08:09+00:00",
        environment={"host": "éclair", "cpu": 'a, "quoted" | name'},
        settings={"precision": 0.02, "device": "cpu"},
        results=(results[kind],),
        skipped=(Skipped("nvml", "no board", "Plug one in"),),
        warnings=("the sensor | is, slow",),
    )


_GRADE = Grade("scale", "images", "B", "A", False, "measured", ("0.5 J an image",), "0.4 J for A")
_MODEL = ModelSummary("models/réseau, v1|2.onnx", "onnx", "cpu", ("x (1x3, float32)",), 1)
_PARAMETERS = ParameterCount(trainable=30, non_trainable=4, bytes=136)


_OBSERVED = (
    Observed("host", "utilisation", "%", 9, 40.0, 10.0, 90.0),
    Observed("gpu:GPU-1", "throttling", "bits", 9, reasons=("power cap",), bits=0x5),
)


_BY_PROCESS = (
    EnergySplit(
        component="cpu",
        channels=(ID,),
        energy_j=1.0,
        low_j=0.9,
        high_j=1.1,
        basis="modelled: split by CPU time",
        shares=(
            ProcessShare("process", 0.7, 0.4, 1.0, 2.5, 0.5, 4242, "python", "python a.py", True),
            ProcessShare("idle", 0.3, 0.0, 0.6, None, name="idle"),
        ),
    ),
)


def _missing(known: bool) -> tuple[MissingChannel, ...]:
    return () if known else (MissingChannel(ID, "the sensor vanished"),)


def _repetitions(known: bool) -> tuple[Repetition, ...]:
    joules = (ChannelJoules(ID, 10 * SAMPLE_ENERGY_J),) if known else ()
    return tuple(Repetition(float(i), 1.0, 0.99, 10, joules) for i in range(3))


def _inference(known: bool) -> InferenceResult:
    energy = figure(SAMPLE_ENERGY_J)
    channel = ChannelInference(ID, "cpu", "counter", "rapl", True, energy)
    return InferenceResult(
        model=_MODEL,
        parameters=_PARAMETERS,
        energy_per_inference_j=energy if known else None,
        energy_per_sample_j=energy if known else None,
        latency_s=figure(0.1, "clock", "perf_counter"),
        power_w=figure(5.0) if known else None,
        contains=(ID,),
        channels=(channel,) if known else (),
        missing=_missing(known),
        repetitions=_repetitions(known),
        inferences=30,
        target=0.02,
        target_met=known,
        self_cost_share=0.001,
        warnings=(),
        idle_power_w=figure(3.0) if known else None,
        net_energy_per_inference_j=figure(SAMPLE_ENERGY_J - 0.3) if known else None,
        idle=(replace(_window(known), name="idle before"),) if known else (),
        observations=_OBSERVED,
    )


def _epoch(known: bool) -> EpochResult:
    window = replace(_window(known), name="epoch 1")
    return EpochResult(1, 30, 30, 3.0, 0.3, window, window, 0.5, 0.75, 0.6, 0.7, known)


def _training(known: bool) -> TrainingResult:
    energy = figure(SAMPLE_ENERGY_J)
    channel = ChannelStep(ID, "cpu", "counter", "rapl", True, energy)
    return TrainingResult(
        model=_MODEL,
        parameters=_PARAMETERS,
        energy_per_step_j=energy if known else None,
        energy_per_sample_j=energy if known else None,
        step_s=figure(0.1, "clock", "perf_counter"),
        power_w=figure(5.0) if known else None,
        contains=(ID,),
        channels=(channel,) if known else (),
        missing=_missing(known),
        repetitions=_repetitions(known),
        steps=30,
        losses=(1.0, 0.5, 0.25),
        target=0.02,
        target_met=known,
        self_cost_share=0.001,
        warnings=(),
        energy_per_epoch_j=figure(30 * SAMPLE_ENERGY_J) if known else None,
        energy_of_run_j=figure(2 * SAMPLE_ENERGY_J) if known else None,
        data_wait=DataWait(0.3, 0.1, 0.05 if known else None, "mean power × time"),
        epochs=(_epoch(known),),
        observations=_OBSERVED,
    )


def _window(known: bool) -> WindowResult:
    e = SAMPLE_ENERGY_J
    channel = ChannelEnergy(
        ID, "cpu", "counter", "rapl", True, e, 0.9 * e, 1.1 * e, 0.95 * e, 1.05 * e
    )
    return WindowResult(
        name="command",
        duration_s=2.0,
        energy_j=e if known else None,
        low_j=channel.low_j if known else None,
        high_j=channel.high_j if known else None,
        repeat_low_j=channel.repeat_low_j if known else None,
        repeat_high_j=channel.repeat_high_j if known else None,
        method="counter" if known else "",
        contains=(ID,),
        channels=(channel,) if known else (),
        missing=_missing(known),
        observations=_OBSERVED,
        by_process=_BY_PROCESS if known else (),
    )


def _command(known: bool, grade: Grade | None) -> CommandResult:
    return CommandResult(
        command=("python", 'train a, "model" | fast.py'),
        exit_code=0,
        gross=_window(known),
        idle_power_w=figure(0.1) if known else None,
        net_energy_j=figure(0.3) if known else None,
        idle_share=0.4 if known else None,
        utilisation_percent=50.0,
        units=1.0,
        unit="image",
        grade=grade if known else None,
        warnings=(),
    )


def _comparison(known: bool) -> ComparisonResult:
    """B uses a tenth less than A, which uses ``SAMPLE_ENERGY_J``; C could not be run."""
    energies = {"A": figure(SAMPLE_ENERGY_J), "B": figure(0.9 * SAMPLE_ENERGY_J)}
    pieces = _repetitions(known)[:1] * 4
    ratio = EnergyRatio("B", 0.9, 0.88, 0.92, 0.99, 0.885, 0.915, 0.98, "better")
    return ComparisonResult(
        unit="inference",
        design="interleaved",
        models=tuple(
            ComparedModel(label, _MODEL, energy if known else None, figure(0.1, "clock"))
            for label, energy in energies.items()
        ),
        ratios=(ratio,) if known else (),
        margin=0.02,
        contains=(ID,),
        missing=_missing(known),
        quads=(Quad("ABBA", pieces), Quad("BAAB", pieces)),
        failed=(FailedModel("broken|one.onnx", "it is empty"),),
        self_cost_share=0.001,
        complete=known,
        warnings=("interrupted | early",),
    )


def _study(known: bool) -> StudyResult:
    """Six sizes, the energy of the first is ``SAMPLE_ENERGY_J``; the last ran out of memory."""
    rows = tuple(_study_row(size, known and size < 192) for size in range(32, 193, 32))
    model = StudiedModel("réseau, v1|2", _MODEL, _PARAMETERS, 1000, "random weights")
    return StudyResult("sizes", "pixels", (model,), rows, "greenai", 18, 0, ("one | warning",))


def _study_row(size: int, known: bool) -> StudyRow:
    name = "réseau, v1|2"
    if not known:
        failed = tuple(StudyFailure(run, "out | of memory") for run in range(3))
        return StudyRow(name, size, 2, 0, None, (), (), failed)
    energy = SAMPLE_ENERGY_J * size / 32
    values = {
        "energy_total_j": energy,
        "energy_package_j": 0.2 * energy,
        "energy_gpu0_j": 0.8 * energy,
        "latency_s": 0.1 * size / 32,
    }
    metrics = tuple(
        StudyMetric(
            name, v, 0.9 * v, 1.1 * v, 0.95 * v, 1.05 * v, "counter", 3, (0.97 * v, v, 1.04 * v)
        )
        for name, v in values.items()
    )
    return StudyRow(name, size, 2, 3, True, (ID, "gpu:0"), metrics, warnings=("it was | warm",))


def _layers(known: bool) -> LayersResult:
    """A block of two layers, of which one goes by its time; they add up to ``SAMPLE_ENERGY_J``."""
    shares = {"block": 0.0, "block.conv|1": 0.6, "block.norm": 0.2}
    methods = {"block": "time", "block.conv|1": "context", "block.norm": "time"}
    layers = tuple(
        LayerEnergy(
            name=name,
            type="Conv2d" if "conv" in name else "Block",
            parent="block" if "." in name else None,
            calls=1,
            parameters=10,
            macs=1000 if "conv" in name else None,
            seconds=0.1 * share,
            time_share=share,
            energy_j=_part(share, methods[name]) if known else None,
            measured_j=_part(0.98 * share, methods[name]) if known else None,
            with_parts_j=_part(share or 0.8, methods[name]) if known else None,
            method=methods[name],
            warnings=("it | waits",),
        )
        for name, share in shares.items()
    )
    return LayersResult(
        model=_MODEL,
        phase="inference",
        energy_j=figure(SAMPLE_ENERGY_J) if known else None,
        latency_s=figure(0.1, "clock", "perf_counter"),
        power_w=figure(5.0) if known else None,
        contains=(ID,),
        layers=layers,
        unattributed_j=_part(0.15, "time") if known else None,
        overhead_j=_part(0.05, "time") if known else None,
        residual_j=figure(0.01) if known else None,
        residual_share=0.02 if known else None,
        residual_flagged=False,
        hook_cost=HookCost(1e-6, 0.01, 0.001),
        passes=100,
        missing=_missing(known),
        warnings=("one | warning",),
    )


def _powercap(known: bool) -> CapResult:
    """250 W need four fifths of ``SAMPLE_ENERGY_J``, the joules of 400 W; or it was interrupted."""
    caps = (400.0, 100.0, 400.0, 250.0)
    roles = ("pilot", "grid", "grid", "adaptive")
    probes = tuple(map(_probe, range(len(caps)), caps, roles))
    curve = tuple(map(_point, (100.0, 175.0, 250.0, 325.0, 400.0)))
    pieces = _repetitions(True)[:1] * 4
    return CapResult(
        devices=(_BOARD,),
        limiter="nvml",
        unit="W",
        objective="edp",
        original=400.0,
        chosen=250.0 if known else 400.0,
        kept_original=not known,
        reason="250 W | is better" if known else "interrupted after 4 probes",
        probes=probes,
        curve=curve if known else (),
        pareto=curve[:1:-1] if known else (),
        energy=CapRatio(0.8, 0.78, 0.82) if known else None,
        time=CapRatio(1.1, 1.09, 1.11) if known else None,
        score=CapRatio(0.88, 0.86, 0.9) if known else None,
        quads=(Quad("ABBA", pieces), Quad("BAAB", pieces)) if known else (),
        candidate=250.0 if known else None,
        contains=(_BOARD, ID),
        duration_s=70.0,
        complete=known,
        warnings=("one | warning",),
        outcome="confirmed" if known else "interrupted",
        limits=(CappedDevice(_BOARD, "Board|1", 0, 400.0, 400.0, 100.0, 500.0, {}),),
        chosen_point=_point(250.0) if known else None,
        command=("python", 'infer a, "model" | fast.py'),
        step_pattern="step|done" if known else None,
        others=(CapConfirmation(175.0, *_RATIOS, (Quad("ABBA", pieces),)),) if known else (),
    )


_BOARD = "gpu:GPU-1"
_RATIOS = (CapRatio(0.85, 0.83, 0.87), CapRatio(1.2, 1.19, 1.21), CapRatio(1.02, 1.0, 1.04))


def _point(cap: float) -> CapPoint:
    """Joules least at 250 W: four fifths of those at 400 W."""
    joules = SAMPLE_ENERGY_J * (0.8 + 0.2 * ((cap - 250) / 150) ** 2)
    seconds = 0.1 * (1 + 0.1 * ((400 - cap) / 150) ** 2)
    return CapPoint(cap, seconds, joules / seconds, joules, 10 * joules * seconds / SAMPLE_ENERGY_J)


def _probe(number: int, cap: float, role: str) -> CapProbe:
    point = _point(cap)
    return CapProbe(
        asked=cap - 20 * (cap == 100.0),
        cap=cap,
        start_s=3.0 * number,
        duration_s=10 * point.seconds_s,
        steps=10,
        seconds_s=figure(point.seconds_s, "clock", "mean of 10 steps"),
        energy_j=figure(point.energy_j),
        power_w=figure(point.power_w),
        role=role,
        note="it keeps | 100 W" if cap == 100.0 else "",
        in_force=(CapInForce(_BOARD, cap),),
        channels=(ChannelJoules(_BOARD, 8 * point.energy_j), ChannelJoules(ID, 2 * point.energy_j)),
    )


def _part(share: float, method: str) -> Figure:
    return figure(share * SAMPLE_ENERGY_J, "modelled" if method == "time" else "counter")
