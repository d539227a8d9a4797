"""greenai: what a deep-learning model costs in joules, with an error bar.

Importing this package imports nothing else; each public name is resolved when
it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .baselines import Baseline as Baseline
    from .baselines import baseline_of as baseline_of
    from .baselines import energy_change as energy_change
    from .baselines import load_baseline as load_baseline
    from .baselines import read_baseline as read_baseline
    from .baselines import save_baseline as save_baseline
    from .burner import obey_levels as obey_levels
    from .calibration import Calibration as Calibration
    from .calibration_files import stored_calibrations as stored_calibrations
    from .carbon import Cost as Cost
    from .carbon import Emissions as Emissions
    from .carbon import SoftwareCarbonIntensity as SoftwareCarbonIntensity
    from .carbon import embodied_share as embodied_share
    from .carbon import emissions as emissions
    from .carbon import energy_cost as energy_cost
    from .carbon import software_carbon_intensity as software_carbon_intensity
    from .carbon_table import CarbonIntensity as CarbonIntensity
    from .carbon_table import carbon_countries as carbon_countries
    from .carbon_table import carbon_intensity as carbon_intensity
    from .carbon_table import given_carbon_intensity as given_carbon_intensity
    from .channels import Channel as Channel
    from .channels import Reading as Reading
    from .clock import Clock as Clock
    from .compared_models import ComparisonInterrupted as ComparisonInterrupted
    from .compared_reports import compare_reports as compare_reports
    from .counters import CounterProfiler as CounterProfiler
    from .decorator import measure as measure
    from .diagnosis import diagnose as diagnose
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
    from .errors import ServiceError as ServiceError
    from .errors import ServiceFailed as ServiceFailed
    from .errors import ServiceRefused as ServiceRefused
    from .errors import ServiceUnreachable as ServiceUnreachable
    from .errors import ServiceUntrusted as ServiceUntrusted
    from .explanation import explain as explain
    from .export import Exporter as Exporter
    from .gradables import gradable as gradable
    from .grading import Gradable as Gradable
    from .grading import Grader as Grader
    from .host_telemetry import HostTelemetry as HostTelemetry
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
    from .process_shares import ProcessShares as ProcessShares
    from .process_split import of_tree as of_tree
    from .profiler import Observation as Observation
    from .profiler import ProcessUtilisation as ProcessUtilisation
    from .profiler import Profiler as Profiler
    from .profiler import Telemetry as Telemetry
    from .raw_files import read_raw as read_raw
    from .raw_files import write_raw as write_raw
    from .recorder import Recorder as Recorder
    from .recording_reading import Recorded as Recorded
    from .recording_reading import read_recording as read_recording
    from .report_files import dump as dump
    from .report_files import read_report as read_report
    from .report_files import to_json as to_json
    from .report_files import write_report as write_report
    from .results import CommandResult as CommandResult
    from .results import ComparedModel as ComparedModel
    from .results import ComparisonResult as ComparisonResult
    from .results import EnergyRatio as EnergyRatio
    from .results import EnergySplit as EnergySplit
    from .results import EpochResult as EpochResult
    from .results import Figure as Figure
    from .results import Footprint as Footprint
    from .results import Grade as Grade
    from .results import InferenceResult as InferenceResult
    from .results import ProcessShare as ProcessShare
    from .results import Report as Report
    from .results import TrainingResult as TrainingResult
    from .results import WindowResult as WindowResult
    from .runs import Bounds as Bounds
    from .runs import DevicePower as DevicePower
    from .runs import Run as Run
    from .runs import new_key as new_key
    from .runs import run_of as run_of
    from .sampling import PowerProfiler as PowerProfiler
    from .sampling import Sample as Sample
    from .sampling import StreamProfiler as StreamProfiler
    from .scale_building import build_scale as build_scale
    from .scale_files import built_in_scales as built_in_scales
    from .scale_files import find_scale as find_scale
    from .scales import Scale as Scale
    from .scales import read_scale as read_scale
    from .scales import scale_fingerprint as scale_fingerprint
    from .session import MeasurementInterrupted as MeasurementInterrupted
    from .session import Session as Session
    from .session import TrainingFailed as TrainingFailed
    from .spool import Spool as Spool
    from .submission import Answer as Answer
    from .submission import Outcome as Outcome
    from .submission import Sender as Sender
    from .submission import ServiceGrader as ServiceGrader
    from .submission import submit as submit
    from .tensors import TensorSpec as TensorSpec
    from .trainable import Score as Score
    from .trainable import Scored as Scored
    from .windows import WindowProfiler as WindowProfiler

_HOMES = {
    "baselines": (
        "Baseline", "baseline_of", "energy_change", "load_baseline", "read_baseline",
        "save_baseline",
    ),
    "burner": ("obey_levels",),
    "calibration": ("Calibration",),
    "calibration_files": ("stored_calibrations",),
    "carbon": (
        "Cost", "Emissions", "SoftwareCarbonIntensity", "embodied_share", "emissions",
        "energy_cost", "software_carbon_intensity",
    ),
    "carbon_table": (
        "CarbonIntensity", "carbon_countries", "carbon_intensity", "given_carbon_intensity",
    ),
    "channels": ("Channel", "Reading"),
    "clock": ("Clock",),
    "compared_models": ("ComparisonInterrupted",),
    "compared_reports": ("compare_reports",),
    "counters": ("CounterProfiler",),
    "decorator": ("measure",),
    "diagnosis": ("diagnose",),
    "errors": (
        "ComparisonError",
        "CalibrationError", "ConfigError", "GradeError", "GreenAIError", "LifecycleError",
        "MeasurementError",
        "ModelAmbiguous", "ModelError", "ModelInputError", "ModelLoadError",
        "ModelUnrecognised", "NoSensorError", "PluginBroken", "PluginConflict", "PluginError",
        "PluginNotFound", "PluginUnavailable", "PowerCapError", "ReadingError", "SchemaError",
        "ServiceError", "ServiceFailed", "ServiceRefused", "ServiceUnreachable",
        "ServiceUntrusted",
    ),
    "explanation": ("explain",),
    "export": ("Exporter",),
    "gradables": ("gradable",),
    "grading": ("Gradable", "Grader"),
    "inputs": ("InputOptions", "Normalisation", "Text"),
    "interleaved": ("ComparisonSettings",),
    "model": (
        "Ability", "DLLibrary", "Layer", "LayerCall", "Layered", "Trainable", "loading", "require",
    ),
    "model_factory": ("DLModelFactory", "factory"),
    "parameters": ("LayerParameters", "MacCount", "ParameterCount", "ParameterEntry"),
    "limiter": ("PowerLimit", "PowerLimiter"),
    "host_telemetry": ("HostTelemetry",),
    "process_shares": ("ProcessShares",),
    "process_split": ("of_tree",),
    "profiler": ("Observation", "ProcessUtilisation", "Profiler", "Telemetry"),
    "raw_files": ("read_raw", "write_raw"),
    "recorder": ("Recorder",),
    "recording_reading": ("Recorded", "read_recording"),
    "report_files": ("dump", "read_report", "to_json", "write_report"),
    "results": (
        "CommandResult", "ComparedModel", "ComparisonResult", "EnergyRatio", "EnergySplit",
        "EpochResult", "Figure", "Footprint", "Grade", "InferenceResult", "ProcessShare", "Report",
        "TrainingResult", "WindowResult",
    ),
    "runs": ("Bounds", "DevicePower", "Run", "new_key", "run_of"),
    "sampling": ("PowerProfiler", "Sample", "StreamProfiler"),
    "scale_building": ("build_scale",),
    "scale_files": ("built_in_scales", "find_scale"),
    "scales": ("Scale", "read_scale", "scale_fingerprint"),
    "session": ("MeasurementInterrupted", "Session", "TrainingFailed"),
    "spool": ("Spool",),
    "submission": ("Answer", "Outcome", "Sender", "ServiceGrader", "submit"),
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
