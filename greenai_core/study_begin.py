"""Whether a study may begin, or go on, in a folder; and what is written there first."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import environment
from .errors import ConfigError, ModelError
from .report_files import write_atomically
from .study_files import BEGIN, PLAN, RESUME, Journal, fingerprint, holds_study, read_events
from .study_plan import PlannedModel, StudyPlan, differences
from .study_toml import read_study_plan
from .study_toml_writing import plan_to_toml

MACHINE = ("cpu", "gpus", "architecture")
"""What of the environment makes it another machine."""


def refuse_used(plan: StudyPlan, folder: Path) -> None:
    """Refuse a folder that holds a study, or folders that the cells would be written into.

    Raises:
        ConfigError: it does.
    """
    if holds_study(folder):
        raise ConfigError(
            f"{folder} holds a study already: go on with it with --resume, or give another "
            "folder with --out"
        )
    if plan.flat:
        inside = {f"input_{size}" for size in plan.models[0].sizes}
    else:
        inside = {model.name for model in plan.models}
    there = sorted(name for name in inside if (folder / name).exists())
    if there:
        raise ConfigError(
            f"{folder} holds {', '.join(there[:3])} of something else, which would be "
            "overwritten: give another folder with --out"
        )


def settled(plan: StudyPlan, folder: Path, resume: bool) -> StudyPlan:
    """The plan with its seed: that of the study in the folder, where there is one.

    Raises:
        ConfigError: the study in the folder is another one.
    """
    if not (resume and (folder / PLAN).exists()):
        return plan.seeded()
    before = read_study_plan(folder / PLAN)
    found = differences(plan, before)
    if found:
        raise ConfigError(
            f"this is not the study that {folder} holds: {'; '.join(found)}. Resume it as it "
            f"was, with `greenai study --resume --out {folder}`, or begin another with --out"
        )
    return replace(plan, seed=before.seed).seeded()


def begin(
    plan: StudyPlan, folder: Path, journal: Journal, source: str, about: Mapping[str, Any]
) -> tuple[str, ...]:
    """Write the plan and the first line of the journal, or see that both still hold.

    Args:
        plan: with its seed.
        folder: of the study.
        journal: of it.
        source: the text that the plan was read from; empty for none.
        about: this machine, see ``environment.describe``.

    Returns:
        Warnings.

    Raises:
        ConfigError: a model has changed since the study began.
        ModelError: a model is not there.
        OSError: nothing can be written.
    """
    models = {model.name: _fingerprint(model) for model in plan.models}
    machine = {key: about.get(key) for key in MACHINE}
    events = list(read_events(folder))
    first = next((event for event in events if event["event"] == BEGIN), None)
    if first is None:
        write_atomically(folder / PLAN, _copy(plan, folder, source).encode())
        journal.append(
            {
                "event": BEGIN,
                "schema_version": 1,
                "greenai_core": about.get("greenai_core"),
                "date": utc_now(),
                "study": plan.name,
                "seed": plan.seed,
                "cells": len(plan.cells()),
                "models": models,
                "machine": machine,
            }
        )
        return ()
    changed = [name for name, digest in models.items() if first["models"].get(name) != digest]
    if changed:
        raise ConfigError(
            f"{', '.join(changed)} changed since the study in {folder} began: its cells would not "
            "belong together. Put the old file back, or begin another study with --out"
        )
    journal.append({"event": RESUME, "date": utc_now(), "machine": machine})
    if machine == first.get("machine", machine):
        return ()
    return (
        "the study began on another machine than this: its cells do not compare "
        f"({_shown(first['machine'])} was {_shown(machine)} now)",
    )


def utc_now() -> str:
    """UTC, ISO 8601."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="microseconds")


def described() -> dict[str, Any]:
    """This machine."""
    return environment.describe()


def _shown(machine: Mapping[str, Any]) -> str:
    return ", ".join(str(value) for value in machine.values() if value)


def _fingerprint(model: PlannedModel) -> str:
    where = model.file or (model.callable or "").rpartition(":")[0]
    path = Path(where)
    if not path.exists():
        raise ModelError(f"there is no file {path} of the model {model.name}. Check the path")
    try:
        return fingerprint(path)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error


def _copy(plan: StudyPlan, folder: Path, source: str) -> str:
    """The plan in force, and what it was read from as comments."""
    text = "# The study as it was measured: the file it was read from with all that was set\n"
    text += "# beside it. Paths are relative to this folder.\n\n" + plan_to_toml(plan, folder)
    if source:
        lines = source.splitlines()
        text += "\n# It was read from:\n#\n" + "".join(
            f"# {line}".rstrip() + "\n" for line in lines
        )
    return text
