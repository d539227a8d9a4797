"""What is done with one damaged model, in a process of its own."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fuzz_seeds import make_network

RESULT, REFUSED, ERROR = "result", "refused", "error"

HOOK = "hook"
"""Not a format: the file is a script that does what the harness must notice."""

FORBIDDEN = (
    "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.startfile", "subprocess.Popen",
    "pty.spawn", "socket.connect", "socket.bind", "webbrowser.open", "pickle.find_class",
)  # fmt: skip
"""Events of Python's audit that no damaged model may cause."""

TRAINED = ("onnx",)
"""Formats whose models are put together anew for training, which damage must survive, too."""

SHAPES = {"pytorch": (1, 1, 8, 8), "torchscript": (1, 1, 8, 8)}
"""Inputs of the formats whose files state none."""


class Watch:
    """Stops what reading a model does not need, and notes it. A process needs one only."""

    def __init__(self) -> None:
        self.writable = ""
        self.seen: list[str] = []
        sys.addaudithook(self)

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if event in FORBIDDEN and not _reads_hdf5(event, args):
            self._stop(f"{event} {str(args)[:200]}")
        elif event == "open" and self._writes(args):
            self._stop(f"open for writing {args[0]!r}")

    def _stop(self, what: str) -> None:
        self.seen.append(what)
        raise PermissionError(f"the fuzz test forbids {what}")

    def _writes(self, args: tuple[Any, ...]) -> bool:
        path, _, flags = args
        if not isinstance(path, (str, bytes)) or not isinstance(flags, int):
            return False
        if not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return False
        name = os.path.realpath(os.fsdecode(path))
        return not name.startswith((self.writable, "/dev/"))


def _reads_hdf5(event: str, args: tuple[Any, ...]) -> bool:
    """Whether the program started is the one that reads HDF5 for us, whatever the model says."""
    from greenai_plugins.models.hdf5_process import COMMAND

    return event == "subprocess.Popen" and tuple(args[1][: len(COMMAND)]) == COMMAND


def perform(path: Path, format: str, run: bool, watch: Watch) -> dict[str, Any]:
    """Count, and where asked run, one model.

    Returns:
        ``told``, the outcome of each use with the message of its error; the
        ``events`` that the audit saw; the time of the processor, ``cpu_s``.
    """
    from greenai_core import ModelError, PluginUnavailable, factory

    begin = time.process_time()
    tempfile.tempdir = str(path.parent)
    watch.writable, watch.seen = str(path.parent.resolve()), []
    told: dict[str, Any] = {}

    def attempt(name: str, use: Callable[[], object]) -> bool:
        try:
            use()
        except (ModelError, PluginUnavailable) as error:
            text = str(error)
            told[name] = [REFUSED, text]
            if "\n" in text or not text:
                told[name] = [ERROR, f"a message that is not one line: {text!r}"]
            return False
        except BaseException as error:
            told[name] = [ERROR, f"{type(error).__name__}: {str(error)[:500]}", _where(error)]
            return False
        told[name] = [RESULT, ""]
        return True

    if format == HOOK:
        attempt("count", lambda: exec(path.read_text(), {"os": os, "time": time}))
        return {"told": told, "events": watch.seen, "cpu_s": time.process_time() - begin}
    attempt("recognise", lambda: factory.get_model(path))
    shape = SHAPES.get(format)
    options = {"model_class": make_network} if run and format == "pytorch" else {}
    library = factory.load(path, format=format, device="cpu", input_shapes=shape, **options)
    attempt("count", library.count_parameters)
    attempt("layers", library.count_by_layer)
    if run:
        attempt("abilities", library.abilities)
        attempt("run", library.run)
        if format in TRAINED:
            attempt("train", library.as_trainable)
    return {"told": told, "events": watch.seen, "cpu_s": time.process_time() - begin}


def _where(error: BaseException) -> str:
    """File and line of each call of ours, innermost last."""
    places = []
    trace = error.__traceback__
    while trace is not None:
        places.append(f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}")
        trace = trace.tb_next
    return " > ".join(places[-8:])
