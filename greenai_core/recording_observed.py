"""What is recorded beside energy: the state of the machine, and a tree of processes."""

from __future__ import annotations

from .recording_cells import INLINE_SHARE, Background, Cells
from .recording_rows import FAILED, TREE_COLUMNS, note, observed_column
from .recording_tree import ProcessTree
from .session import Session

OBSERVE_S = 0.1
"""What is no energy is asked for at most ten times a second: it moves no faster."""

MANY_COSTS = 500
"""An observation that takes long is made less often: it may take 0.2 % of the time."""

TAKE_S = 0.02
"""What was observed in the background is put into a row so soon."""

TREE_S = 0.005
"""Looking at a large tree of processes takes so long."""

FIRST_LOOK_S = 0.05
"""Between the first two observations: a utilisation is the mean since the one before."""


class Observed(Cells):
    """Utilisation, memory, temperature and clocks, and a tree of processes.

    Args:
        session: to be asked.
        interval_s: between two rows.
        tree: whether there are columns of a tree of processes.
    """

    def __init__(self, session: Session, interval_s: float, tree: bool) -> None:
        self._session = session
        self._interval_s = interval_s
        self.tree: ProcessTree | None = None
        now = session.clock.now
        began = now()
        session.observe()
        cold_s = now() - began
        session.clock.sleep(FIRST_LOOK_S)
        began = now()
        first = self._observed()
        # Something else may have come in between one of them.
        self.taken_s = min(cold_s, now() - began)
        self.columns = [observed_column(*key) for key in first]
        self._names = {key: observed_column(*key).name for key in first}
        self._places: dict[str, int] = {}
        if tree:
            self.columns += TREE_COLUMNS
        self._first: dict[tuple[str, str, str], float] | None = first
        self._period_s = max(OBSERVE_S, interval_s)
        self._behind = None
        if self.taken_s + (TREE_S if tree else 0.0) > INLINE_SHARE * interval_s:
            self._behind = Background(self._look, self._period_s, session.clock)

    def _observed(self) -> dict[tuple[str, str, str], float]:
        return {(one.device, one.quantity, one.unit): one.value for one in self._session.observe()}

    def _look(self) -> dict[str, str]:
        first, self._first = self._first, None
        values = self._observed() if first is None else first
        cells = {
            self._names[key]: f"{value:.10g}" for key, value in values.items() if key in self._names
        }
        tree = self.tree
        if tree is not None:
            cells |= dict(zip(self._tree_names(), self._tree_cells(tree), strict=True))
        return cells

    def _tree_names(self) -> list[str]:
        return [column.name for column in TREE_COLUMNS]

    def _tree_cells(self, tree: ProcessTree) -> list[str]:
        use = tree.use()
        return [f"{use.cpu_s:.2f}", str(use.rss_bytes), str(use.processes)]

    def place(self, first: int) -> None:
        """See ``Cells``."""
        super().place(first)
        self._places = {column.name: first + i for i, column in enumerate(self.columns)}

    def read(self, now_s: float, row: list[str], notes: list[str]) -> None:
        """See ``Cells``."""
        try:
            if self._behind is not None:
                newest = self._behind.take()
                known = newest.value if newest else {}
                self.due_s = now_s + TAKE_S
            else:
                if self._interval_s < OBSERVE_S:
                    self.due_s = now_s + max(OBSERVE_S, MANY_COSTS * self.taken_s)
                known = self._look()
            for name, text in known.items():
                row[self._places[name]] = text
        except Exception as error:  # noqa: BLE001  # the energy goes on being recorded
            notes.append(note(FAILED, "telemetry", f"{type(error).__name__}: {error}"))

    def close(self) -> None:
        """See ``Cells``."""
        if self._behind is not None:
            self._behind.close()
