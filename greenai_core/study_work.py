"""Work of a study that is Python code instead of a model file.

``callable = "file.py:function"`` in a study's TOML names a function that makes one
inference ready::

    def function(size: int, batch_size: int, device: str) -> Callable[[], object] | StudyWork

It is called once in each cell, and what it returns is repeated. Running it is running the code
of that file, with all that it may do: a study is as much to be trusted as a script.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import GreenAIError, ModelError, ModelLoadError
from .model import DLLibrary
from .parameters import MacCount, ParameterCount
from .tensors import TensorSpec

FORMAT = "callable"
"""What reports call the format of such work."""


@dataclass(frozen=True)
class StudyWork:
    """One inference, and what is known of it.

    Attributes:
        step: one inference of the whole batch; what it returns is dropped.
        synchronize: returns when nothing that ``step`` has started is still running; None
            where ``step`` returns when it is done. CUDA work of PyTorch is waited for anyway.
        parameters: of the model: a count, or how many; None where not known.
        macs: multiply-accumulates of one step; None likewise.
        close: called when the cell is over.
        note: in words, such as ``random weights``.
    """

    step: Callable[[], object]
    synchronize: Callable[[], object] | None = None
    parameters: ParameterCount | int | None = None
    macs: int | None = None
    close: Callable[[], object] | None = None
    note: str = ""


def load_function(where: str) -> Callable[..., Any]:
    """The function that ``"file.py:function"`` names; runs the file.

    Modules beside the file can be imported by it.

    Raises:
        ModelLoadError: there is no such file or function, or running the file failed.
    """
    path, _, name = where.rpartition(":")
    file = Path(path)
    if not file.is_file():
        raise ModelLoadError(f"there is no file {file} for the callable {name}. Check the path")
    folder = str(file.parent.absolute())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    module_name = f"greenai_study_{file.stem}"
    spec = importlib.util.spec_from_file_location(module_name, file)
    if spec is None or spec.loader is None:
        raise ModelLoadError(f"{file} is no Python file: its name must end with .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses and pickles look their module up
    try:
        spec.loader.exec_module(module)
    except GreenAIError:
        raise
    except Exception as error:  # users' code may raise anything
        raise ModelLoadError(
            f"{file} cannot be run ({type(error).__name__}: {error}). {_remedy(error, file)}"
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        raise ModelLoadError(f"{file} has no function {name}: it defines {_functions(module)}")
    made: Callable[..., Any] = function
    return made


def _remedy(error: Exception, file: Path) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"Install what it needs, such as by `pip install {error.name.partition('.')[0]}`"
    return f"Try `python {file}`"


def made_work(where: str, size: int, batch_size: int, device: str) -> WorkLibrary:
    """The work of one cell, made ready by the user's function.

    Raises:
        ModelError: the function failed, or returned something else.
    """
    function = load_function(where)
    device = chosen_device(device)
    try:
        made = function(size=size, batch_size=batch_size, device=device)
    except (GreenAIError, MemoryError):
        raise
    except Exception as error:  # likewise
        name = where.rpartition(":")[2]
        raise ModelError(
            f"{name}(size={size}, batch_size={batch_size}, device={device!r}) failed "
            f"({type(error).__name__}: {error})"
        ) from error
    if not isinstance(made, StudyWork):
        if not callable(made):
            raise ModelError(
                f"{where} returned {type(made).__name__}: it has to return a function without "
                "arguments that does one inference, or a StudyWork"
            )
        made = StudyWork(made)
    return WorkLibrary(where, made, device)


def chosen_device(asked: str) -> str:
    """What the function is told: for ``auto`` a GPU where the library in use has one."""
    if asked != "auto":
        return asked
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return "cuda"
    return "cpu"


class WorkLibrary(DLLibrary):
    """A ``StudyWork`` as the measuring loop sees a model.

    Args:
        where: ``file.py:function``.
        made: what the function returned.
        device: that it was told.
    """

    format = FORMAT

    def __init__(self, where: str, made: StudyWork, device: str) -> None:
        super().__init__(where.rpartition(":")[0], device=device)
        self.where = where
        self.made = made
        self._loaded = True
        self.boards: tuple[str, ...] = ()
        self._wait = made.synchronize or _cuda_wait(device) or (lambda: None)

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Never: such work is asked for by name."""
        return False

    def count_parameters(self) -> ParameterCount:
        """What the work says of itself."""
        count = self.made.parameters
        if count is None:
            raise ModelError(f"{self.where} does not say how many parameters it has")
        return count if isinstance(count, ParameterCount) else ParameterCount(int(count), 0, 0)

    def count_macs(self, options: object = None) -> MacCount:
        """What the work says of itself."""
        macs = self.made.macs
        return MacCount(macs, "" if macs is not None else f"{self.where} does not say")

    def load_weights(self) -> None:
        """Nothing to do: the function has loaded them."""

    def signature(self) -> tuple[TensorSpec, ...]:
        """No inputs: the work has its own."""
        return ()

    def prepare(self, inputs: Mapping[str, Any]) -> Any:
        """Nothing to do."""
        return inputs

    def predict(self, prepared: Any) -> Any:
        """One step."""
        return self.made.step()

    def synchronize(self) -> None:
        """Wait for what the step has started."""
        self._wait()

    def fetch(self, outputs: Any) -> dict[str, Any]:
        """Nothing is kept of a step."""
        return {}

    def drop_weights(self) -> None:
        """Let the work let go."""
        if self.made.close is not None:
            self.made.close()

    def accelerators(self) -> tuple[str, ...]:
        """What ``boards`` was set to."""
        return self.boards


def boards_of(device: str) -> Collection[str] | None:
    """Channel ids of the boards behind a device name; None for all that are visible."""
    kind, _, number = device.partition(":")
    if kind != "cuda":
        return ()
    torch = sys.modules.get("torch")
    try:
        properties = torch.cuda.get_device_properties(int(number or 0)) if torch else None
    except Exception:  # noqa: BLE001  # another library's device, or its number
        return None
    identity = getattr(properties, "uuid", None)
    return None if identity is None else (f"gpu:GPU-{identity}",)


def _cuda_wait(device: str) -> Callable[[], object] | None:
    """PyTorch's own wait, where it is in use."""
    torch = sys.modules.get("torch")
    if torch is None or not device.startswith("cuda"):
        return None
    wait: Callable[[], object] = torch.cuda.synchronize
    return wait


def _functions(module: Any) -> str:
    own = [
        name
        for name, value in vars(module).items()
        if callable(value)
        and not name.startswith("_")
        and getattr(value, "__module__", "") == module.__name__
    ]
    return ", ".join(own) or "none"
