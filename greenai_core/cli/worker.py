"""A fresh process that measures one model for ``greenai bench --isolate``.

It reads a request as JSON from stdin and answers as JSON on a pipe of its own, so
that whatever a library prints is no part of the answer.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from greenai_core.errors import GreenAIError
from greenai_core.loop import LoopSettings
from greenai_core.report_files import to_json
from greenai_core.results import InferenceResult

from . import feeding, sensors, watcher
from .config import Settings
from .faults import Faults
from .main import message
from .models import choose
from .options import ModelFlags


@dataclasses.dataclass(frozen=True)
class Request:
    """All that the command line says of measuring one model.

    Attributes:
        parent: id of the process that asks; this one ends with it.
        path: of the model.
        settings: in force.
        model: how to open it.
        feed: the data options by the names of ``feeding.FLAGS``.
        loop: when to stop.
        idle_s: see ``Session.evaluate_inference``.
    """

    parent: int
    path: str
    settings: Settings
    model: ModelFlags
    feed: Mapping[str, Any]
    loop: LoopSettings
    idle_s: float | None


def request_of(data: Mapping[str, Any]) -> Request:
    """The request that ``to_json`` made these JSON types of."""
    settings, model = dict(data["settings"]), dict(data["model"])
    settings["profilers"] = tuple(settings["profilers"])
    model["shapes"] = {name: tuple(sizes) for name, sizes in model["shapes"].items()}
    return Request(
        parent=data["parent"],
        path=data["path"],
        settings=Settings(**settings),
        model=ModelFlags(**model),
        feed=data["feed"],
        loop=LoopSettings(**data["loop"]),
        idle_s=data["idle_s"],
    )


def measured(request: Request) -> InferenceResult:
    """Measure the model with sensors of this process.

    Raises:
        GreenAIError: the model or a sensor fails.
    """
    feed = feeding.feed(dict(request.feed))
    faults = Faults()
    chosen = choose([request.path], request.model, faults, request.settings.device)
    if not chosen:
        raise GreenAIError("; ".join(faults.told))
    session = sensors.session_for(request.settings)
    with session, chosen[0].open() as library:
        return session.evaluate_inference(
            library,
            feed.data,
            options=feed.options,
            settings=request.loop,
            idle_s=request.idle_s,
        )


def answer(request: Request) -> dict[str, Any]:
    """The result, or what went wrong, as JSON types."""
    try:
        return {"result": to_json(measured(request))}
    except Exception as error:  # noqa: BLE001  # the process that asked tells it
        return {"error": {"kinds": _kinds(error), "message": message(error)}}


def _kinds(error: Exception) -> list[str]:
    """Names of its classes, the nearest first: they decide the exit code."""
    return [kind.__name__ for kind in type(error).__mro__]


def main() -> int:
    """Answer the request on stdin; the pipe for it is named by the first argument."""
    pipe = int(sys.argv[1])
    os.set_inheritable(pipe, False)
    request = request_of(json.load(sys.stdin))
    watcher.end_with(request.parent)
    text = json.dumps(answer(request))
    with os.fdopen(pipe, "w") as stream:
        stream.write(text)
    return 0
