"""Exported programs: what ``torch.export.save`` wrote."""

from __future__ import annotations

import importlib
import logging
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from greenai_core import (
    Ability,
    Layered,
    LayerParameters,
    ModelInputError,
    ModelLoadError,
    ParameterCount,
    ParameterEntry,
    TensorSpec,
    loading,
    require,
)

from . import archives, exported_archive, exported_program, exported_safety
from .fitting import check_shapes
from .torch_runtime import Feed, TorchLibrary, pick_device, reason
from .user_code import trusted

if TYPE_CHECKING:
    import numpy.typing as npt

OUTPUT_TYPES = re.compile(
    r'\\"type\\": \\"(transformers\.(?:modeling_outputs|models\.\w+\.modeling_\w+))\.\w+\\"'
)
"""Modules whose classes a program returns; the description is JSON within JSON."""

NO_TRAINING = (
    "an exported program is a fixed graph without the network's code, so it is not trained. Train "
    "the network that it was exported from, and export that"
)


class ExportedModel(TorchLibrary):
    """A ``.pt2`` file of ``torch.export.save``.

    Parameters are counted from the archive's table of weights, each storage once;
    trainable are parameters with a gradient. Floating buffers that the network's
    state dict holds are not trainable; constants of the graph are no parameters.

    A program that asks for nothing but PyTorch's own operators is loaded as it is;
    one with pickled objects, foreign operators or compiled code takes ``trust``.

    Args:
        trust: let the file run code while it is loaded.
    """

    format = "exported"
    suffixes = (".pt2",)
    option_names = {  # noqa: RUF012  # ClassVar by the base class
        "trust": "let a program with code of its own run that code",
    }

    _program: Any = None
    _described: exported_program.Program | None = None

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Whether the file is an archive of ``torch.export``."""
        return path.is_file() and exported_archive.layout(path) != exported_archive.OTHER

    def cannot_run(self) -> str:
        """Why not: exported in training, wants what is no tensor, or asks for code."""
        try:
            with loading(self.path, "greenai"):
                return self._description().refusal or self._unsafe()
        except ModelLoadError as error:
            return str(error).removeprefix(f"{self.path}: ")

    def abilities(self) -> Mapping[str, Ability]:
        """It runs, and its layers are told apart by the traces in the graph; it is not trained."""
        cannot = self.cannot_run()
        return {
            "run": Ability(not cannot, cannot),
            "train": Ability(False, NO_TRAINING),
            "layers": Ability(not cannot, cannot),
        }

    def count_parameters(self) -> ParameterCount:
        """Elements and bytes; see the class for what counts. Imports no PyTorch.

        Raises:
            ModelLoadError: the file is broken.
        """
        return ParameterCount.of(self._entries({}))

    def count_by_layer(self) -> tuple[LayerParameters, ...]:
        """Parameters layer by layer; see ``count_parameters``.

        Raises:
            ModelLoadError: the file is broken.
        """
        return LayerParameters.of(self._entries(self._description().layer_types))

    def load_weights(self) -> None:
        """Load the program to the device.

        Raises:
            ModelLoadError: the file is broken, or asks for code without being trusted.
            PluginUnavailable: PyTorch cannot use the device.
        """
        self._device = pick_device(self.device)
        with loading(self.path, "PyTorch"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of deprecations inside PyTorch
            archives.check(self.path)
            if not trusted(self.options):
                self._check_as_pytorch_reads_it()
            self._import_output_types()
            with _failures() as logged:
                try:
                    self._program = self._read()
                except Exception as error:
                    raise ModelLoadError(
                        f"{self.path}: PyTorch cannot read this program "
                        f"({reason(logged[-1] if logged else error)}). It may be damaged, or "
                        "written by a PyTorch too new or too old for the one installed"
                    ) from error
            if self._device.type != "cpu":
                from torch.export.passes import move_to_device_pass

                self._program = move_to_device_pass(self._program, str(self._device))
            self._module = self._program.module()
        self.device = str(self._device)

    def drop_weights(self) -> None:
        """Let go of the program."""
        self._module = self._program = None

    def signature(self) -> tuple[TensorSpec, ...]:
        """The tensors that the program takes; open axes carry the names of their symbols.

        Raises:
            ModelLoadError: the file is broken.
        """
        return tuple(entry.spec for entry in self._description().inputs)

    def prepare(self, inputs: Mapping[str, npt.NDArray[Any]]) -> Feed:
        """Tensors on the device, nested as the program takes them.

        Raises:
            ModelInputError: an input is missing, unknown or of another shape.
        """
        import torch

        self.load()
        check_shapes(self.path, self.signature(), inputs)
        types = {entry.spec.name: entry.dtype for entry in self._description().inputs}
        tensors = {
            name: self._tensor(name, array).to(getattr(torch, types[name]))
            for name, array in inputs.items()
        }
        return self._nested(tensors)

    def as_layered(self) -> Layered:
        """The program taken apart along the layers of the network that it came from.

        Raises:
            ModelLoadError: it cannot be run, or its traces do not tell the layers.
        """
        import torch

        from .exported_layers import ExportedLayered

        self.load()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                module = torch.export.unflatten(self._program)
        except Exception as error:  # the traces of a program may be of any quality
            raise ModelLoadError(
                f"{self.path}: PyTorch cannot tell the layers of this program apart "
                f"({reason(error)})"
            ) from error
        return ExportedLayered(module.to(self._device), self._call)

    def _module_trains(self) -> bool:
        # The mode is part of the graph; the flag says nothing.
        return False

    def _description(self) -> exported_program.Program:
        if self._described is None:
            with loading(self.path, "greenai"), exported_archive.opened(self.path) as archive:
                self._described = exported_program.describe(archive)
        return self._described

    def _entries(self, types: Mapping[str, str]) -> list[ParameterEntry]:
        with loading(self.path, "greenai"), exported_archive.opened(self.path) as archive:
            if archive.layout == exported_archive.FLAT:
                return list(exported_program.flat_weights(archive, types))
            return list(exported_program.weights(archive, types))

    def _unsafe(self) -> str:
        """Why the file needs to be trusted; empty if it does not, or is."""
        if trusted(self.options):
            return ""
        with exported_archive.opened(self.path) as archive:
            return _refusal(list(exported_safety.objections(archive)))

    def _check_as_pytorch_reads_it(self) -> None:
        """Hold what PyTorch will see against the rules: zip readers may differ in what they find.

        Raises:
            ModelLoadError: the file asks for code.
        """
        import torch

        with exported_archive.opened(self.path) as archive:
            found = list(exported_safety.objections(archive))
            if archive.layout == exported_archive.PT2:
                reader = torch._C.PyTorchFileReader(os.fspath(self.path))
                seen = [name for name in reader.get_all_records() if not name.startswith(".data/")]
                own = [name for name in archive.sizes if not name.startswith(".data/")]
                documents = [name for name in own if name.endswith(".json")]
                if sorted(seen) != sorted(own) or any(
                    reader.get_record(name) != archive.read(name) for name in documents
                ):
                    found.append("an archive that reads differently to different programs")
            for name in exported_safety.pickles(archive):
                try:
                    torch.load(archive.open(name), weights_only=True, map_location="meta")
                except Exception:  # noqa: BLE001  # whatever the safe loader does not take
                    found.append(f"a pickle that the safe loader refuses ({name})")
        if found:
            raise ModelLoadError(f"{self.path}: {_refusal(found)}")

    def _import_output_types(self) -> None:
        """Import the classes of transformers that the program returns, so that PyTorch knows them.

        Raises:
            PluginUnavailable: transformers is not installed.
        """
        with exported_archive.opened(self.path) as archive:
            text = archive.read(archive.programs()[archive.program()]).decode()
        for module in sorted(set(OUTPUT_TYPES.findall(text))):
            require({"transformers": "transformers"})
            importlib.import_module(module)

    def _read(self) -> Any:
        import torch

        if self.path.suffix == ".pt2":
            return torch.export.load(os.fspath(self.path))
        with self.path.open("rb") as file:  # PyTorch wants the ending, or an open file
            return torch.export.load(file)

    def _nested(self, tensors: Mapping[str, Any]) -> Feed:
        """Arguments of the program: tensors where it takes tensors, its own constants elsewhere."""
        from torch.export.graph_signature import ConstantArgument, InputKind
        from torch.utils import _pytree

        flat = [
            spec.arg.value if isinstance(spec.arg, ConstantArgument) else tensors[spec.arg.name]
            for spec in self._program.graph_signature.input_specs
            if spec.kind == InputKind.USER_INPUT
        ]
        args, kwargs = _pytree.tree_unflatten(flat, self._program.call_spec.in_spec)
        return Feed(args, kwargs)

    def _call(self, module: Any, prepared: Feed) -> Any:
        """One inference of a module made from the program."""
        import torch

        try:
            with torch.inference_mode():
                return module(*prepared.args, **prepared.kwargs)
        except Exception as error:  # the guards of a program raise what they like
            raise ModelInputError(
                f"{self.path}: the program cannot run on this input ({reason(error)})"
            ) from error


def _refusal(found: list[str]) -> str:
    if not found:
        return ""
    more = f" and {len(found) - 4} more" if len(found) > 4 else ""
    return (
        f"it could run code: it holds {', '.join(found[:4])}{more}. If you trust where it comes "
        "from, pass --trust (in Python trust=True)"
    )


@contextmanager
def _failures() -> Iterator[list[Exception]]:
    """While it lasts, PyTorch's loader logs nothing; the errors that it would log are collected."""
    errors: list[Exception] = []

    def collect(record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, Exception):
            errors.append(error)
        return False

    names = ("torch.export", "torch.export.pt2_archive._package", "torch._export.serde.serialize")
    loggers = [logging.getLogger(name) for name in names]
    for logger in loggers:
        logger.addFilter(collect)
    try:
        yield errors
    finally:
        for logger in loggers:
            logger.removeFilter(collect)
