"""The process that a study measures its cells in.

It reads requests as JSON lines from stdin, the first of them saying what the study is, and
answers as JSON lines on a pipe of its own, so that whatever a library prints is no part of
an answer. It ends when its stdin does, in the middle of a cell if need be: who asked is gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import sys
import threading
from pathlib import Path
from typing import IO, Any

from .calibration_files import read_shelf
from .report_files import to_json
from .session import Session
from .study_cell import MeasuredCell, describe_error, macs_of, measure_cell, refusals
from .study_cells import CellKey
from .study_plan import StudyPlan
from .study_toml import parse_study_plan

OOM_SCORE = 500
"""Added to the chance of this process to be the one that ends when memory runs out; of 1000."""


class Worker:
    """Answers requests.

    Args:
        setup: see ``study_process.setup``.
        answers: where answers go.
    """

    def __init__(self, setup: dict[str, Any], answers: IO[str]) -> None:
        self.plan: StudyPlan = parse_study_plan(setup["plan"], Path("study.toml"))
        self._setup = setup
        self._answers = answers
        self._session: Session | None = None

    def answer(self, request: dict[str, Any]) -> None:
        """Do what a line asks for, and tell how it went."""
        try:
            if "check" in request:
                told: dict[str, Any] = {"refused": self._check(request["check"])}
            else:
                told = self._measure(CellKey(*request["cell"]), request["macs"])
        except Exception as error:  # noqa: BLE001  # who asked tells it
            kinds, message = describe_error(error)
            told = {"error": {"kinds": kinds, "message": message}}
        self._tell(told)

    def _check(self, model: str) -> list[list[Any]]:
        found = refusals(self.plan, self.plan.model(model))
        return [[size, batch, why] for (size, batch), why in found.items()]

    def _measure(self, cell: CellKey, macs: bool) -> dict[str, Any]:
        session = self._session or self._opened()
        measured = measure_cell(self.plan, cell, session, self._progress)
        counted = macs_of(self.plan, cell) if macs and measured.macs is None else measured.macs
        return {"cell": cell_to_answer(measured, counted)}

    def _opened(self) -> Session:
        sensors = self._setup["sensors"]
        folder = sensors["calibrations"]
        shelf = () if folder is None else read_shelf(Path(folder) if folder else None).calibrations
        self._session = Session(
            sensors["profilers"], options=sensors["options"], calibrations=shelf
        )
        return self._session.open()

    def _progress(self, share: float, text: str) -> None:
        self._tell({"progress": [share, text]})

    def _tell(self, line: dict[str, Any]) -> None:
        self._answers.write(json.dumps(line) + "\n")
        self._answers.flush()

    def close(self) -> None:
        """Let go of the sensors."""
        if self._session is not None:
            self._session.close()


def cell_to_answer(measured: MeasuredCell, macs: int | None) -> dict[str, Any]:
    """As JSON types."""
    return {
        "result": to_json(measured.result),
        "power": list(measured.power),
        "latencies": list(measured.latencies),
        "every": measured.every,
        "macs": macs,
        "note": measured.note,
    }


def _listen(requests: queue.SimpleQueue[str | None], busy: threading.Event) -> None:
    for line in sys.stdin:
        requests.put(line)
    requests.put(None)
    if busy.is_set():
        os._exit(1)


def main() -> int:
    """Answer until stdin ends; the first argument names the pipe for answers."""
    pipe = int(sys.argv[1])
    os.set_inheritable(pipe, False)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE))
    requests: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    busy = threading.Event()
    with os.fdopen(pipe, "w") as answers:
        busy.set()
        threading.Thread(target=_listen, args=(requests, busy), daemon=True).start()
        setup = requests.get()
        if setup is None:
            return 0
        worker = Worker(json.loads(setup), answers)
        busy.clear()
        try:
            while (line := requests.get()) is not None:
                busy.set()
                worker.answer(json.loads(line))
                busy.clear()
        finally:
            worker.close()
    return 0
