"""Read arrays out of a pickle without letting it run anything.

CIFAR-10 comes as pickles, and an ordinary unpickler does whatever a file tells it. This
one knows four names, none of which does more than remember what it was given; whatever
else a file asks for is refused.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np
import numpy.typing as npt

NEWEST_ENCODING = "bytes"
"""CIFAR-10 was written by Python 2, whose strings are bytes to us."""


class UnsafePickleError(ValueError):
    """A pickle asked for something that is no plain array of bytes."""


class _Kind:
    """Stands for ``numpy.dtype``: remembers its code."""

    def __init__(self, code: Any = None, align: Any = False, copy: Any = False) -> None:
        self.code = code.decode("latin-1") if isinstance(code, bytes) else code

    def __setstate__(self, state: Any) -> None:
        """The byte order, which one byte does not have."""


class _Held:
    """Stands for ``numpy.ndarray``: remembers its state."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _reconstruct(kind: Any, shape: Any, code: Any) -> _Held:
    return _Held()


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """How newer Pythons write bytes into old pickles."""
    return text.encode("latin-1")


_KNOWN = {
    ("numpy", "dtype"): _Kind,
    ("numpy", "ndarray"): _Held,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("_codecs", "encode"): _encode,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str) -> Any:
        try:
            return _KNOWN[module_name, global_name]
        except KeyError:
            raise UnsafePickleError(
                f"it asks for {module_name}.{global_name}, which no data set needs. The file is "
                "not what it says: get it from its first source again"
            ) from None


def load(content: bytes) -> dict[str, Any]:
    """The dictionary in a pickle: plain values, and arrays of unsigned bytes.

    Raises:
        UnsafePickleError: it holds anything else, or is broken.
    """
    try:
        held = _Unpickler(io.BytesIO(content), encoding=NEWEST_ENCODING).load()
    except UnsafePickleError:
        raise
    except Exception as error:  # a broken pickle may raise anything
        raise UnsafePickleError(f"it cannot be read ({error})") from error
    if not isinstance(held, dict):
        raise UnsafePickleError(f"it holds a {type(held).__name__}, not a dictionary")
    return {
        key.decode("latin-1") if isinstance(key, bytes) else str(key): _plain(value)
        for key, value in held.items()
    }


def _plain(value: Any) -> Any:
    return _array(value) if isinstance(value, _Held) else value


def _array(held: _Held) -> npt.NDArray[np.uint8]:
    try:
        _, shape, kind, fortran, raw = held.state
        code = kind.code
    except (TypeError, ValueError, AttributeError) as error:
        raise UnsafePickleError("an array in it has no content") from error
    if code != "u1" or not isinstance(raw, bytes):
        raise UnsafePickleError(f"an array in it is of {code!r}, not of unsigned bytes")
    try:
        array: npt.NDArray[np.uint8] = np.frombuffer(raw, np.uint8).reshape(
            shape, order="F" if fortran else "C"
        )
    except (TypeError, ValueError) as error:
        raise UnsafePickleError(f"an array in it is broken ({error})") from error
    return array
