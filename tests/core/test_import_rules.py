"""Who may import whom, read from the sources."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import greenai_core

ROOT = Path(__file__).parents[2]
CORE = ROOT / "greenai_core"
PLUGINS = ROOT / "plugins" / "greenai_plugins"
EXAMPLE = ROOT / "examples" / "greenai-plugin-example" / "src"

LAYERS = (
    {
        "abilities",
        "budget",
        "burner",
        "errors",
        "clock",
        "parameters",
        "processor_limits",
        "program_names",
        "recording_schedule",
        "tensors",
        "statistics",
        "toml_lines",
        "trainable",
    },
    {"cap_locks"},
    {"cap_records", "figures", "host_use", "latch_budget", "outliers", "process_results"},
    {"proc_files", "user_folders"},
    {"diagnosis", "footprint", "scales", "cap_curves", "cap_objectives"},
    {"scale_files"},
    {"carbon_table", "comparison_results", "process_split", "process_times", "recording_tree"},
    {"layer_closure", "layer_results", "study_results"},
    {"aipowermeter_lines", "correlations", "fit_candidates", "fit_results", "medians"},
    {"aipowermeter_energy", "fit_words"},
    {"aipowermeter_wattmeter"},
    {"cap_results"},
    {"cap_search"},
    {"comparison", "results", "layer_shares", "arrays", "loads", "numpy_files", "libraries"},
    {"images", "synthetic", "texts"},
    {"inputs"},
    {"batches", "counting"},
    {"training_data"},
    {"training"},
    {
        "cap_figures",
        "carbon",
        "channels",
        "layer_profiles",
        "layer_rows",
        "model",
        "grading",
        "report_files",
        "repeated_steps",
    },
    {"calibration", "limiter", "profiler", "self_cost", "unwrapping", "update_period"},
    {"knobs"},
    {"cap_watchdog"},
    {"watched_caps"},
    {"cap_guard"},
    {"counter_recording", "edge_window", "host_conditions"},
    {"counter_window", "edge_watch", "host_telemetry", "looks", "power_series", "recording_order"},
    {"conditions", "recording_rows"},
    {"observed", "recording_cells", "recording_meta", "recording_windows"},
    {"advice", "counters", "sampling", "windows", "registry", "environment"},
    {"cap_devices", "cap_outcomes"},
    {"power_caps"},
    {"blocks", "model_factory", "recording_files", "recording_lines"},
    {"baselines", "runs", "screening"},
    {"spool"},
    {"submission"},
    {"calibration_files", "cross_check", "kept_windows", "loop", "pieces", "quads", "staircase"},
    {"interleaved", "run_costs", "epoch_energy", "recording_reading", "recording_totals"},
    {"above_idle", "kept_runs", "layers"},
    {"idle"},
    {"evaluation", "raw_files", "report_pairs"},
    {"compared_models", "isolated", "compared_reports", "layer_evaluation", "net", "selection"},
    {"layer_window", "spans"},
    {"epochs", "gradables", "net_channels", "power_ranges", "repetitions"},
    {"derivation", "scale_building", "session"},
    {"cap_probing"},
    {"cap_refining"},
    {"cap_checks", "cap_optimise", "layer_checks"},
    {"decorator", "explanation", "process_shares", "recording_observed"},
    {"export", "recording_sources"},
    {"recording_loop"},
    {"recorder", "recording_process"},
    {"study_cells", "study_power", "study_work"},
    {"study_files", "study_plan"},
    {"aipowermeter_runs", "fits", "study_metrics"},
    {"aipowermeter", "study_comparison", "study_fits", "study_rows", "study_tables"},
    {"study_inputs", "study_toml", "study_toml_writing"},
    {"study_cell", "study_machines", "study_summary"},
    {"study_begin", "study_process", "study_worker"},
    {"study_run"},
    {"cli", "testing"},
    {"__init__", "__main__"},
)
"""A module imports from the layers above it only; ``cli`` and ``testing`` import
anything but each other, and nothing imports them."""

LEVEL = {module: level for level, layer in enumerate(LAYERS) for module in layer}

THIRD_PARTY = {
    "registry": {"stevedore"},
    "images": {"numpy", "PIL"},
    "texts": {"numpy", "tokenizers", "transformers"},
    "model": {"numpy", "typing_extensions"},
    "process_shares": {"typing_extensions"},
    "profiler": {"typing_extensions"},
    "session": {"numpy", "typing_extensions"},
    "spans": {"typing_extensions"},
    "environment": {"psutil"},
    "recorder": {"typing_extensions"},
    "study_tables": set(),
    "cap_guard": {"typing_extensions"},
    "cli": {"click", "rich", "numpy", "psutil", "tomli"},
    "testing": {"numpy", "pytest", "pynvml", "typing_extensions"},
}
"""What a module may import beside the standard library; NumPy where it says nothing."""


class Import(NamedTuple):
    """One imported name: ``from module import name``; ``top`` is False inside functions."""

    module: str
    name: str
    line: int
    top: bool


def imports_of(path: Path, package: str) -> list[Import]:
    """All imports of a file, relative ones made absolute."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {
        node
        for outer in ast.walk(tree)
        if isinstance(outer, (ast.FunctionDef, ast.AsyncFunctionDef)) or _type_checking(outer)
        for node in ast.walk(outer)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [Import(a.name, "", node.lineno, node not in inside) for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            module = ".".join(
                [*(above if node.level else []), *([node.module] * bool(node.module))]
            )
            found += [Import(module, a.name, node.lineno, node not in inside) for a in node.names]
    return found


def _type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def core_files() -> list[tuple[str, Path]]:
    """Module of the core (packages as one) and each of its files."""
    return [
        (path.relative_to(CORE).parts[0].removesuffix(".py"), path)
        for path in sorted(CORE.rglob("*.py"))
    ]


def package_of(path: Path) -> str:
    """Dotted name of the package that a file is in."""
    top = next(root for root in (CORE, PLUGINS, EXAMPLE) if path.is_relative_to(root))
    folder = path.relative_to(top if top == EXAMPLE else top.parent).parent
    return ".".join(folder.parts)


CORE_FILES = pytest.mark.parametrize(
    ("module", "path"),
    core_files(),
    ids=lambda value: value.name if isinstance(value, Path) else "",
)
PLUGIN_FILES = pytest.mark.parametrize(
    "path",
    [*sorted(PLUGINS.rglob("*.py")), *sorted(EXAMPLE.rglob("*.py"))],
    ids=lambda path: str(path.relative_to(ROOT)),
)


def core_modules(path: Path) -> set[str]:
    """Modules of the core that a file of the core imports."""
    found = set()
    for item in imports_of(path, package_of(path)):
        parts = item.module.split(".")
        if parts[0] == "greenai_core":
            name = parts[1] if len(parts) > 1 else item.name
            found.add(name if name in LEVEL else "__init__")
    return found


@CORE_FILES
def test_every_module_of_the_core_has_a_layer(module, path):
    assert module in LEVEL, f"say in LAYERS who may import {path.name}"


@CORE_FILES
def test_modules_import_from_the_layers_above_only(module, path):
    imported = core_modules(path) - {module}
    if module == "__init__":
        return  # only names, for type checkers
    if module == "testing":
        imported.discard("__init__")
    allowed = {name for name, level in LEVEL.items() if level < LEVEL.get(module, 0)}
    assert imported <= allowed, f"{path.name} imports {sorted(imported - allowed)}"


@CORE_FILES
def test_the_core_imports_no_plugin_and_no_deep_learning_library(module, path):
    others = {
        item.module.partition(".")[0]
        for item in imports_of(path, package_of(path))
        if item.module.partition(".")[0] not in {*sys.stdlib_module_names, "greenai_core"}
    }
    assert others <= THIRD_PARTY.get(module, {"numpy"}), f"{path.name} imports {sorted(others)}"


def test_statistics_stands_alone():
    """It depends on nothing but the standard library and NumPy."""
    assert not core_modules(CORE / "statistics.py")


PRINTS = {"compat/experiment.py": "methods of an older API that print by their name"}
"""Modules of plugins that may print, and why."""


@pytest.mark.parametrize(
    "path",
    [path for module, path in core_files() if module != "cli"] + sorted(PLUGINS.rglob("*.py")),
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_only_the_command_line_prints(path):
    if "/".join(path.parts[-2:]) in PRINTS:
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in {"print", "click.echo", "click.secho", "sys.stdout.write"}, (
                f"{path.name}:{node.lineno} prints"
            )


@PLUGIN_FILES
def test_plugins_use_public_names_only(path):
    for item in imports_of(path, package_of(path)):
        if item.module.partition(".")[0] == "greenai_core":
            where = f"{path.name}:{item.line} imports {item.name or item.module} of {item.module}"
            assert item.module == "greenai_core", where
            assert item.name in greenai_core.__all__, where


@PLUGIN_FILES
def test_plugins_import_their_library_inside_methods(path):
    free = {*sys.stdlib_module_names, "greenai_core", "greenai_plugins", "numpy"}
    for item in imports_of(path, package_of(path)):
        top = item.module.partition(".")[0]
        assert not item.top or top in free, f"{path.name}:{item.line} imports {top} at once"
