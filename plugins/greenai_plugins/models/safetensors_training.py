"""Training steps of a network whose weights are kept in safetensors files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from greenai_core import ModelError

from .torch_runtime import Feed, reason
from .torch_training import TorchTrainable

WEIGHT_ENDINGS = (".safetensors", ".bin", ".index.json", ".h5", ".msgpack", ".ot", ".pt", ".onnx")
"""Files of a model folder that hold the weights of before the training."""


class SafetensorsTrainable(TorchTrainable):
    """A network in training that is saved as safetensors.

    Args:
        module: on its device.
        prepare: from NumPy inputs to the arguments of ``forward``.
        synchronize: waits for the device.
        optimizer: ``"sgd"`` or ``"adam"``.
        learning_rate: of the optimiser.
        folder: the model folder that it came from; None for a network with a class.
    """

    def __init__(
        self,
        module: Any,
        prepare: Callable[[Any], Feed],
        synchronize: Callable[[], None],
        optimizer: str,
        learning_rate: float,
        folder: Path | None,
    ) -> None:
        super().__init__(module, prepare, synchronize, optimizer, learning_rate, whole=False)
        self._folder = folder

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a file, or a model folder; it is complete or not there at all.

        Raises:
            ModelError: it cannot be written, or a folder of that name exists.
        """
        target = Path(path)
        unfinished = target.with_name(f".{target.name}.{os.getpid()}.unfinished")
        try:
            if self._folder is None:
                self._save_file(unfinished)
            else:
                if target.exists():
                    raise ModelError(f"{target} exists already: give the name of a new folder")
                self._save_folder(self._folder, unfinished)
            unfinished.replace(target)
        except (OSError, RuntimeError) as error:
            raise ModelError(f"{target} cannot be written ({reason(error)})") from error
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
            if unfinished.is_file():
                unfinished.unlink()

    def _save_file(self, path: Path) -> None:
        from . import safetensors_file

        with path.open("wb") as file:
            safetensors_file.write(file, self._module.state_dict())
            file.flush()
            os.fsync(file.fileno())

    def _save_folder(self, source: Path, folder: Path) -> None:
        """The configuration, tokenizer and the like of before, with the weights of now."""
        folder.mkdir()
        for file in source.iterdir():
            if file.is_file() and not file.name.endswith(WEIGHT_ENDINGS):
                shutil.copyfile(file, folder / file.name)
        self._module.save_pretrained(folder)
