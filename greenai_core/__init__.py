"""greenai: what a deep-learning model costs in joules, with an error bar.

Importing this package imports nothing else; each public name is resolved when
it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .burner import obey_levels as obey_levels
    from .calibration import Calibration as Calibration
    from .calibration_files import stored_calibrations as stored_calibrations
    from .channels import Channel as Channel
    from .channels import Reading as Reading
    from .clock import Clock as Clock
    from .compared_models import ComparisonInterrupted as ComparisonInterrupted
    from .compared_reports import compare_reports as compare_reports
    from .counters import CounterProfiler as CounterProfiler
    from .decorator import measure as measure
    from .errors import CalibrationError as CalibrationError
    from .errors import ComparisonError as ComparisonError
    from .errors import ConfigError as ConfigError
    from .errors import GradeError as GradeError
    from .errors import GreenAIError as GreenAIError
    from .errors import LifecycleError as LifecycleError
    from .errors import MeasurementError as MeasurementError
    from .errors import ModelAmbiguous as ModelAmbiguous
    from .errors import ModelError as ModelError
    from .errors import ModelInputError as ModelInputError
    from .errors import ModelLoadError as ModelLoadError
    from .errors import ModelUnrecognised as ModelUnrecognised
    from .errors import NoSensorError as NoSensorError
    from .errors import PluginBroken as PluginBroken
    from .errors import PluginConflict as PluginConflict
    from .errors import PluginError as PluginError
    from .errors import PluginNotFound as PluginNotFound
    from .errors import PluginUnavailable as PluginUnavailable
    from .errors import PowerCapError as PowerCapError
    from .errors import ReadingError as ReadingError
    from .errors import SchemaError as SchemaError
    from .explanation import explain as explain
    from .export import Exporter as Exporter
    from .grading import Gradable as Gradable
    from .grading import Grader as Grader
    from .inputs import InputOptions as InputOptions
    from .inputs import Normalisation as Normalisation
    from .inputs import Text as Text
    from .interleaved import ComparisonSettings as ComparisonSettings
    from .limiter import PowerLimit as PowerLimit
    from .limiter import PowerLimiter as PowerLimiter
    from .model import Ability as Ability
    from .model import DLLibrary as DLLibrary
    from .model import Layer as Layer
    from .model import LayerCall as LayerCall
    from .model import Layered as Layered
    from .model import Trainable as Trainable
    from .model import loading as loading
    from .model import require as require
    from .model_factory import DLModelFactory as DLModelFactory
    from .model_factory import factory as factory
    from .parameters import LayerParameters as LayerParameters
    from .parameters import MacCount as MacCount
    from .parameters import ParameterCount as ParameterCount
    from .parameters import ParameterEntry as ParameterEntry
    from .profiler import Observation as Observation
    from .profiler import Profiler as Profiler
    from .profiler import Telemetry as Telemetry
    from .raw_files import read_raw as read_raw
    from .raw_files import write_raw as write_raw
    from .report_files import dump as dump
    from .report_files import read_report as read_report
    from .report_files import to_json as to_json
    from .report_files import write_report as write_report
    from .results import CommandResult as CommandResult
    from .results import ComparedModel as ComparedModel
    from .results import ComparisonResult as ComparisonResult
    from .results import EnergyRatio as EnergyRatio
    from .results import EpochResult as EpochResult
    from .results import Figure as Figure
    from .results import Grade as Grade
    from .results import InferenceResult as InferenceResult
    from .results import Report as Report
    from .results import TrainingResult as TrainingResult
    from .results import WindowResult as WindowResult
    from .sampling import PowerProfiler as PowerProfiler
    from .sampling import Sample as Sample
    from .sampling import StreamProfiler as StreamProfiler
    from .session import MeasurementInterrupted as MeasurementInterrupted
    from .session import Session as Session
    from .session import TrainingFailed as TrainingFailed
    from .tensors import TensorSpec as TensorSpec
    from .trainable import Score as Score
    from .trainable import Scored as Scored
    from .windows import WindowProfiler as WindowProfiler

_HOMES = {
    "burner": ("obey_levels",),
    "calibration": ("Calibration",),
    "calibration_files": ("stored_calibrations",),
    "channels": ("Channel", "Reading"),
    "clock": ("Clock",),
    "compared_models": ("ComparisonInterrupted",),
    "compared_reports": ("compare_reports",),
    "counters": ("CounterProfiler",),
    "decorator": ("measure",),
    "errors": (
        "ComparisonError",
        "CalibrationError", "ConfigError", "GradeError", "GreenAIError", "LifecycleError",
        "MeasurementError",
        "ModelAmbiguous", "ModelError", "ModelInputError", "ModelLoadError",
        "ModelUnrecognised", "NoSensorError", "PluginBroken", "PluginConflict", "PluginError",
        "PluginNotFound", "PluginUnavailable", "PowerCapError", "ReadingError", "SchemaError",
    ),
    "explanation": ("explain",),
    "export": ("Exporter",),
    "grading": ("Gradable", "Grader"),
    "inputs": ("InputOptions", "Normalisation", "Text"),
    "interleaved": ("ComparisonSettings",),
    "model": (
        "Ability", "DLLibrary", "Layer", "LayerCall", "Layered", "Trainable", "loading", "require",
    ),
    "model_factory": ("DLModelFactory", "factory"),
    "parameters": ("LayerParameters", "MacCount", "ParameterCount", "ParameterEntry"),
    "limiter": ("PowerLimit", "PowerLimiter"),
    "profiler": ("Observation", "Profiler", "Telemetry"),
    "raw_files": ("read_raw", "write_raw"),
    "report_files": ("dump", "read_report", "to_json", "write_report"),
    "results": (
        "CommandResult", "ComparedModel", "ComparisonResult", "EnergyRatio", "EpochResult",
        "Figure", "Grade", "InferenceResult", "Report", "TrainingResult", "WindowResult",
    ),
    "sampling": ("PowerProfiler", "Sample", "StreamProfiler"),
    "session": ("MeasurementInterrupted", "Session", "TrainingFailed"),
    "tensors": ("TensorSpec",),
    "trainable": ("Score", "Scored"),
    "windows": ("WindowProfiler",),
}  # fmt: skip
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib import metadata

        return metadata.version("greenai-core")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
