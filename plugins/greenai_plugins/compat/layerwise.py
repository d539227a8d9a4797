"""``LayerwiseMeasurementTool``: the energy of each layer of a network, by its time."""

from __future__ import annotations

import atexit
import math
import os
import sys
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from greenai_core import LayersResult, LifecycleError, NoSensorError, Session

from .csv_files import Options, append, begin, cell, with_board

LAYER_COLUMNS = ("layer type", "energy (J)")


class LayerwiseMeasurementTool:
    """Mean joules of each layer in a pass: forward and backward together in training.

    A row for each layer that calls no other, in the order of the network; one that PyTorch runs
    as a whole, or whose weights are computed by parametrizations, is one row. The energy is the
    layer's share of the time times what the sensors measured; it is empty for layers that were
    not called, and nothing is ever modelled into the file where nothing was measured.

    Args:
        out_file: a CSV file; emptied at once, written by ``stop``, or at the end of the
            program, by an exception too.
        gpu_num: number of the board, as nvidia-smi counts.
        header: whether the first line names the columns.
        profilers, options: see ``greenai_core.Session``.
    """

    def __init__(
        self,
        out_file: str | os.PathLike[str],
        gpu_num: int = 0,
        *,
        header: bool = False,
        profilers: str | Iterable[Any] = "auto",
        options: Options | None = None,
    ) -> None:
        self.out_file = Path(out_file)
        self._header = LAYER_COLUMNS if header else None
        begin(self.out_file, self._header)
        self._session = Session(profilers, options=with_board(options, gpu_num))
        self._is_open = False
        self._model: Any = None
        self._block: Any = None
        self._energies: Any = None
        self._process = os.getpid()
        atexit.register(self._at_exit)

    def start(self, model: Any) -> Any:
        """Begin to watch a network; call it just before the loop.

        Args:
            model: a ``torch.nn.Module``.

        Returns:
            The same network: its outputs and gradients stay what they are.

        Raises:
            LifecycleError: one is being watched already.
            ModelError: its layers cannot be watched; the message says what to do.
        """
        if self._model is not None:
            raise LifecycleError("a network is being measured already: call stop() first")
        from greenai_plugins.integrations.torch_layer_energy import layer_energy

        if not self._is_open:
            try:
                self._session.open()
                self._is_open = True
            except NoSensorError as error:
                warnings.warn(
                    f"energy is not known, its column stays empty: {error}",
                    RuntimeWarning,
                    stacklevel=2,
                )
        if self._is_open:
            block = layer_energy(model, self._session)
            self._energies = block.__enter__()
            self._block = block
        self._model = model
        return model

    def stop(self) -> None:
        """End it and write the file.

        Raises:
            LifecycleError: nothing is being measured, or the network was not called.
            ModelError: training and inference were mixed, or the layers could not be told.
        """
        self._finish(sys.exc_info()[1])

    def _finish(self, error: BaseException | None) -> None:
        """End it; an exception may have come between the passes of a step."""
        model, self._model = self._model, None
        if model is None:
            raise LifecycleError("nothing is being measured: call start(model) first")
        joules: dict[str, float] = {}
        result: LayersResult | None = None
        block, self._block = self._block, None
        if block is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # it is raised below
                block.__exit__(type(error) if error else None, error, None)
            result = self._energies.result
            joules = self._joules(result)
        begin(self.out_file, self._header)
        rows = (
            (kind, cell(joules.get(name, math.nan))) for name, kind in _row_names(model, result)
        )
        append(self.out_file, rows)

    def _joules(self, result: LayersResult) -> dict[str, float]:
        """Joules of a pass in each layer; none where no sensor measured them."""
        if result.energy_j is None:
            why = "; ".join(f"{m.id}: {m.reason}" for m in result.missing) or "no sensor counts"
            self._tell(f"energy is not known, its column stays empty: {why}")
            return {}
        if "modelled" in result.energy_j.method:
            self._tell(
                "energy is not measured here, its column stays empty; `greenai devices` says what "
                "would bring it in"
            )
            return {}
        called = _called(result)
        return {
            layer.name: layer.with_parts_j.value
            for layer in result.layers
            if layer.with_parts_j is not None and any(_is_in(name, layer.name) for name in called)
        }

    def _tell(self, message: str) -> None:
        warnings.warn(message, RuntimeWarning, stacklevel=5)

    def _at_exit(self) -> None:
        if os.getpid() != self._process:
            return  # a fork of the program that measures
        try:
            if self._model is not None:
                self._finish(SystemExit())
        finally:
            self._session.close()


def _called(result: LayersResult) -> set[str]:
    """The layers that were called, in one direction at least."""
    return {
        layer.parent if layer.direction and layer.parent else layer.name
        for layer in result.layers
        if layer.calls
    }


def _is_in(name: str, other: str) -> bool:
    return name == other or name.startswith(f"{other}.")


def _row_names(model: Any, result: LayersResult | None) -> Iterator[tuple[str, str]]:
    """Name and type of each layer that has a row."""
    called = set() if result is None else _called(result)
    whole: str | None = None
    for name, layer in model.named_modules():
        if whole is not None and _is_in(name, whole):
            continue
        children = [child for child, _ in layer.named_children()]
        alone = name in called and not any(_is_in(o, name) for o in called - {name})
        if name and (children == ["parametrizations"] or (children and alone)):
            whole = name
        elif children:
            continue
        yield name or type(layer).__name__, type(layer).__name__
