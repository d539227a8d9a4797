"""greenai: what a deep-learning model costs in joules, with an error bar.

Importing this package imports nothing else; each public name is resolved when
it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .abilities import CallTime as CallTime
    from .abilities import LayeredTraining as LayeredTraining
    from .abilities import ProfiledLayered as ProfiledLayered
    from .abilities import ProfiledPass as ProfiledPass
    from .abilities import RepeatableLayered as RepeatableLayered
    from .abilities import TimedLayered as TimedLayered
    from .aipowermeter import AIPowerMeterOptions as AIPowerMeterOptions
    from .aipowermeter import read_aipowermeter as read_aipowermeter
    from .baselines import Baseline as Baseline
    from .baselines import baseline_of as baseline_of
    from .baselines import energy_change as energy_change
    from .baselines import load_baseline as load_baseline
    from .baselines import read_baseline as read_baseline
    from .baselines import save_baseline as save_baseline
    from .burner import obey_levels as obey_levels
    from .calibration import Calibration as Calibration
    from .calibration_files import stored_calibrations as stored_calibrations
    from .cap_guard import InForce as InForce
    from .cap_optimise import optimise_power_cap as optimise_power_cap
    from .cap_results import CapConfirmation as CapConfirmation
    from .cap_results import CappedDevice as CappedDevice
    from .cap_results import CapPoint as CapPoint
    from .cap_results import CapProbe as CapProbe
    from .cap_results import CapRatio as CapRatio
    from .cap_results import CapResult as CapResult
    from .cap_search import SearchSettings as SearchSettings
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
    from .correlations import Correlation as Correlation
    from .correlations import CorrelationMatrix as CorrelationMatrix
    from .correlations import correlate as correlate
    from .correlations import correlations_of as correlations_of
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
    from .errors import PowerCapForbidden as PowerCapForbidden
    from .errors import PowerCapKept as PowerCapKept
    from .errors import ReadingError as ReadingError
    from .errors import SchemaError as SchemaError
    from .errors import ServiceError as ServiceError
    from .errors import ServiceFailed as ServiceFailed
    from .errors import ServiceRefused as ServiceRefused
    from .errors import ServiceUnreachable as ServiceUnreachable
    from .errors import ServiceUntrusted as ServiceUntrusted
    from .explanation import explain as explain
    from .export import Exporter as Exporter
    from .export import ReportSource as ReportSource
    from .fit_results import FitBreak as FitBreak
    from .fit_results import FitResult as FitResult
    from .fit_results import FitScore as FitScore
    from .fits import fit_sizes as fit_sizes
    from .gradables import gradable as gradable
    from .grading import Gradable as Gradable
    from .grading import Grader as Grader
    from .host_telemetry import HostTelemetry as HostTelemetry
    from .host_use import HostUse as HostUse
    from .inputs import InputOptions as InputOptions
    from .inputs import Normalisation as Normalisation
    from .inputs import Text as Text
    from .interleaved import ComparisonSettings as ComparisonSettings
    from .layer_evaluation import LayersInterrupted as LayersInterrupted
    from .layer_results import LayerEnergy as LayerEnergy
    from .layer_results import LayersResult as LayersResult
    from .layer_window import WatchedCall as WatchedCall
    from .layer_window import WatchedLoop as WatchedLoop
    from .layer_window import layers_of_window as layers_of_window
    from .layers import LayerSettings as LayerSettings
    from .limiter import ClockLimit as ClockLimit
    from .limiter import ClockLimiter as ClockLimiter
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
    from .power_caps import power_cap as power_cap
    from .power_caps import reset_power_cap as reset_power_cap
    from .power_caps import restore_power_caps as restore_power_caps
    from .power_caps import set_power_cap as set_power_cap
    from .process_shares import ProcessShares as ProcessShares
    from .process_split import of_tree as of_tree
    from .processor_limits import PackageLimit as PackageLimit
    from .processor_limits import package_limits as package_limits
    from .profiler import Observation as Observation
    from .profiler import ProcessUtilisation as ProcessUtilisation
    from .profiler import Profiler as Profiler
    from .profiler import Telemetry as Telemetry
    from .program_names import program_name as program_name
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
    from .results import ModelSummary as ModelSummary
    from .results import Observed as Observed
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
    from .study_cells import CellFigure as CellFigure
    from .study_cells import CellKey as CellKey
    from .study_cells import CellRecord as CellRecord
    from .study_comparison import ComparedRow as ComparedRow
    from .study_comparison import StudyComparison as StudyComparison
    from .study_comparison import compare_studies as compare_studies
    from .study_files import read_cells as read_cells
    from .study_fits import fit_study as fit_study
    from .study_machines import same_machine as same_machine
    from .study_plan import PlannedModel as PlannedModel
    from .study_plan import StudyPlan as StudyPlan
    from .study_power import power_metrics as power_metrics
    from .study_results import StudiedModel as StudiedModel
    from .study_results import StudyFailure as StudyFailure
    from .study_results import StudyMetric as StudyMetric
    from .study_results import StudyResult as StudyResult
    from .study_results import StudyRow as StudyRow
    from .study_rows import rows_of as rows_of
    from .study_run import run_study as run_study
    from .study_summary import summarise as summarise
    from .study_toml import read_study_plan as read_study_plan
    from .study_work import StudyWork as StudyWork
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
    "abilities": (
        "CallTime", "LayeredTraining", "ProfiledLayered", "ProfiledPass", "RepeatableLayered",
        "TimedLayered",
    ),
    "layer_evaluation": ("LayersInterrupted",),
    "layer_results": ("LayerEnergy", "LayersResult"),
    "layer_window": ("WatchedCall", "WatchedLoop", "layers_of_window"),
    "layers": ("LayerSettings",),
    "aipowermeter": ("AIPowerMeterOptions", "read_aipowermeter"),
    "baselines": (
        "Baseline", "baseline_of", "energy_change", "load_baseline", "read_baseline",
        "save_baseline",
    ),
    "burner": ("obey_levels",),
    "calibration": ("Calibration",),
    "calibration_files": ("stored_calibrations",),
    "cap_guard": ("InForce",),
    "cap_optimise": ("optimise_power_cap",),
    "cap_results": (
        "CapConfirmation", "CapPoint", "CapProbe", "CapRatio", "CapResult", "CappedDevice",
    ),
    "cap_search": ("SearchSettings",),
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
    "correlations": ("Correlation", "CorrelationMatrix", "correlate", "correlations_of"),
    "counters": ("CounterProfiler",),
    "decorator": ("measure",),
    "diagnosis": ("diagnose",),
    "errors": (
        "ComparisonError",
        "CalibrationError", "ConfigError", "GradeError", "GreenAIError", "LifecycleError",
        "MeasurementError",
        "ModelAmbiguous", "ModelError", "ModelInputError", "ModelLoadError",
        "ModelUnrecognised", "NoSensorError", "PluginBroken", "PluginConflict", "PluginError",
        "PluginNotFound", "PluginUnavailable", "PowerCapError", "PowerCapForbidden",
        "PowerCapKept", "ReadingError", "SchemaError",
        "ServiceError", "ServiceFailed", "ServiceRefused", "ServiceUnreachable",
        "ServiceUntrusted",
    ),
    "explanation": ("explain",),
    "export": ("Exporter", "ReportSource"),
    "fit_results": ("FitBreak", "FitResult", "FitScore"),
    "fits": ("fit_sizes",),
    "gradables": ("gradable",),
    "grading": ("Gradable", "Grader"),
    "inputs": ("InputOptions", "Normalisation", "Text"),
    "interleaved": ("ComparisonSettings",),
    "model": (
        "Ability", "DLLibrary", "Layer", "LayerCall", "Layered", "Trainable", "loading", "require",
    ),
    "model_factory": ("DLModelFactory", "factory"),
    "parameters": ("LayerParameters", "MacCount", "ParameterCount", "ParameterEntry"),
    "limiter": ("ClockLimit", "ClockLimiter", "PowerLimit", "PowerLimiter"),
    "host_telemetry": ("HostTelemetry",),
    "host_use": ("HostUse",),
    "power_caps": ("power_cap", "reset_power_cap", "restore_power_caps", "set_power_cap"),
    "process_shares": ("ProcessShares",),
    "process_split": ("of_tree",),
    "processor_limits": ("PackageLimit", "package_limits"),
    "profiler": ("Observation", "ProcessUtilisation", "Profiler", "Telemetry"),
    "program_names": ("program_name",),
    "raw_files": ("read_raw", "write_raw"),
    "recorder": ("Recorder",),
    "recording_reading": ("Recorded", "read_recording"),
    "report_files": ("dump", "read_report", "to_json", "write_report"),
    "results": (
        "CommandResult", "ComparedModel", "ComparisonResult", "EnergyRatio", "EnergySplit",
        "EpochResult", "Figure", "Footprint", "Grade", "InferenceResult",
        "ModelSummary", "Observed",
        "ProcessShare", "Report",
        "TrainingResult", "WindowResult",
    ),
    "runs": ("Bounds", "DevicePower", "Run", "new_key", "run_of"),
    "sampling": ("PowerProfiler", "Sample", "StreamProfiler"),
    "scale_building": ("build_scale",),
    "scale_files": ("built_in_scales", "find_scale"),
    "scales": ("Scale", "read_scale", "scale_fingerprint"),
    "session": ("MeasurementInterrupted", "Session", "TrainingFailed"),
    "spool": ("Spool",),
    "study_machines": ("same_machine",),
    "study_power": ("power_metrics",),
    "study_cells": ("CellFigure", "CellKey", "CellRecord"),
    "study_comparison": ("ComparedRow", "StudyComparison", "compare_studies"),
    "study_fits": ("fit_study",),
    "study_files": ("read_cells",),
    "study_plan": ("PlannedModel", "StudyPlan"),
    "study_rows": ("rows_of",),
    "study_summary": ("summarise",),
    "study_run": ("run_study",),
    "study_toml": ("read_study_plan",),
    "study_work": ("StudyWork",),
    "study_results": (
        "StudiedModel", "StudyFailure", "StudyMetric", "StudyResult", "StudyRow",
    ),
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
