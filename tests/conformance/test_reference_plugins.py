"""The plugins that the mutants are made of keep every rule themselves."""

from reference_model import ReferenceModel
from reference_others import (
    ExporterReference,
    GraderReference,
    LimiterReference,
    TelemetryReference,
)
from reference_profilers import CounterReference, PowerReference, StreamReference, WindowReference


class TestReferenceModel(ReferenceModel):
    pass


class TestReferenceCounter(CounterReference):
    pass


class TestReferencePower(PowerReference):
    pass


class TestReferenceStream(StreamReference):
    pass


class TestReferenceWindow(WindowReference):
    pass


class TestReferenceTelemetry(TelemetryReference):
    pass


class TestReferenceLimiter(LimiterReference):
    pass


class TestReferenceGrader(GraderReference):
    pass


class TestReferenceExporter(ExporterReference):
    pass
