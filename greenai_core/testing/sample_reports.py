"""A small report of each kind, with figures that are known."""

from __future__ import annotations

from dataclasses import replace

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

SAMPLE_ENERGY_J = 0.5
"""Total joules of each result of ``sample_report``."""

ID = "cpu:0/package"


def figure(value: float, method: str = "counter", provenance: str = ID) -> Figure:
    """A figure with ±10 % total and ±5 % repeatability."""
    return Figure(value, 0.9 * value, 1.1 * value, 0.95 * value, 1.05 * value, method, provenance)


def sample_report(kind: str, *, known: bool = True) -> Report:
    """A report of one result.

    Args:
        kind: ``bench``, ``train``, ``measure``, ``grade`` or ``compare``.
        known: False: the channel of the total failed, so the total is None.
    """
    results: dict[str, Result] = {
        "bench": _inference(known),
        "train": _training(known),
        "measure": _command(known, None),
        "grade": _command(known, _GRADE),
        "compare": _comparison(known),
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
