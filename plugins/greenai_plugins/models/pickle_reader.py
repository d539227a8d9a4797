"""What a pickle holds, read without executing it.

A pickle is a small program: it names functions and has them called. Here its
instructions are followed, but nothing is looked up and nothing is called: a
function or class stays a ``Global`` with a name, and a call stays a ``Made``
that remembers what would have been called, and with what.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import IO, Any

MAX_INSTRUCTIONS = 3_000_000
"""A checkpoint of 40,000 tensors takes half of this; following it takes seconds."""

MAX_VALUE_BYTES = 2**28
"""The longest text or byte string in a pickle; weights lie outside of it."""

MAX_KEY_BITS = 64
"""Integers longer than this are no keys of a dict, since hashing them takes long."""

MAPPINGS = frozenset(
    {"collections.OrderedDict", "collections.defaultdict", "collections.Counter", "builtins.dict"}
)
"""Calls of these are plain dicts here, since what counts is only what lies in them."""

MARK = object()


class PickleError(ValueError):
    """The bytes are no pickle, or one that is too long or too odd to be a model's."""


@dataclass(frozen=True)
class Global:
    """A function or class that the pickle names: ``module.name``."""

    name: str


@dataclass(frozen=True, eq=False)
class Reference:
    """An object outside the pickle, by its persistent id."""

    id: Any


@dataclass(eq=False)
class Made:
    """What a call would have made.

    Attributes:
        kind: what would have been called.
        arguments: with what.
        state: what the object would have been filled with afterwards.
        items: what would have been appended to it.
    """

    kind: Any
    arguments: Any
    state: Any = None
    items: list[Any] = field(default_factory=list)


@dataclass
class Pickle:
    """One pickle, read.

    Attributes:
        value: what it holds.
        names: of all functions and classes that it asks for.
        references: all objects outside of it that it refers to.
    """

    value: Any
    names: frozenset[str]
    references: tuple[Reference, ...]


def read(file: IO[bytes]) -> Pickle:
    """Read the next pickle of a stream, and leave the stream behind it.

    Raises:
        PickleError: it is broken, or longer than ``MAX_INSTRUCTIONS``.
        OSError: the file cannot be read.
    """
    machine = _Machine()
    try:
        # What is in memory already can be read as it is, which is much faster.
        source: Any = file if isinstance(file, io.BytesIO) else _Careful(file)
        for number, (opcode, argument, _) in enumerate(pickletools.genops(source)):
            if number > machine.left:
                machine.spend(number)
            machine.follow(opcode.name, argument)
        return Pickle(machine.pop(), frozenset(machine.names), tuple(machine.references))
    except PickleError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
        raise PickleError(f"its pickle is damaged ({error})") from error


class _Careful:
    """A stream from which no more is read at once than a model's pickle needs."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, size: int) -> bytes:
        if size > MAX_VALUE_BYTES:
            raise PickleError(f"its pickle holds a value of {size:,} bytes")
        return self._file.read(size)

    def readline(self) -> bytes:
        return self._file.readline(MAX_VALUE_BYTES)


class _Machine:
    """The stack and the memory that the instructions of a pickle work on."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.names: set[str] = set()
        self.references: list[Reference] = []
        self.left = MAX_INSTRUCTIONS

    def spend(self, steps: int) -> None:
        """Take steps off what is allowed, for an instruction that is as long as many."""
        self.left -= steps
        if self.left < 0:
            raise PickleError(f"its pickle has more than {MAX_INSTRUCTIONS:,} instructions")

    def follow(self, name: str, argument: Any) -> None:
        """Do what one instruction says."""
        if name in VALUES:
            self.stack.append(argument)
        elif name in CONSTANTS:
            self.stack.append(CONSTANTS[name]())
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[int(argument)])
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[int(argument)] = self.top()
        elif name in ACTIONS:
            ACTIONS[name](self, argument)
        elif name not in NOTHING_TO_DO:
            raise PickleError(f"its pickle holds the instruction {name}, which no model needs")

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is MARK:
            raise PickleError("its pickle is damaged (a mark where a value should be)")
        return value

    def top(self) -> Any:
        if self.stack[-1] is MARK:
            raise PickleError("its pickle is damaged (a mark where a value should be)")
        return self.stack[-1]

    def to_mark(self) -> list[Any]:
        """All values above the last mark, taken off the stack together with it."""
        for position in range(len(self.stack) - 1, -1, -1):
            if self.stack[position] is MARK:
                values = self.stack[position + 1 :]
                del self.stack[position:]
                return values
        raise PickleError("its pickle is damaged (a mark is missing)")

    def forget(self) -> None:
        """Take all values above the last mark off the stack, together with it."""
        self.to_mark()

    def named(self, name: str) -> Global:
        self.names.add(name)
        return Global(name)

    def refer(self, id: Any) -> None:
        self.references.append(Reference(id))
        self.stack.append(self.references[-1])

    def call(self, kind: Any, arguments: Any) -> None:
        plain = isinstance(kind, Global) and kind.name in MAPPINGS
        self.stack.append(self.pairs(arguments) if plain else Made(kind, arguments))

    def pairs(self, arguments: Any) -> dict[object, Any]:
        """An ordered dict as Python 2 pickled it: from a list of pairs."""
        given = arguments[0] if isinstance(arguments, tuple) and arguments else ()
        if not isinstance(given, list):
            return {}
        self.spend(len(given))
        return {_key(pair[0]): pair[1] for pair in given if len(pair) == 2}

    def add(self, values: list[Any]) -> None:
        """Append values to the list (or what takes them) on top of the stack."""
        target = self.top()
        if isinstance(target, list):
            target.extend(values)
        elif isinstance(target, Made):
            target.items.extend(values)
        else:
            raise PickleError("its pickle is damaged (it appends to what is no list)")

    def set(self, values: list[Any]) -> None:
        """Put keys and values, in turn, into the dict on top of the stack."""
        target = self.top()
        if isinstance(target, dict):
            target.update(zip(map(_key, values[::2]), values[1::2], strict=True))
        elif not isinstance(target, Made):
            raise PickleError("its pickle is damaged (it sets items of what is no mapping)")

    def fill(self, state: Any) -> None:
        target = self.top()
        if isinstance(target, Made):
            target.state = state


def _key(key: Any) -> object:
    """The key, where hashing it is quick and safe: one of deep tuples ends the interpreter."""
    if isinstance(key, int) and key.bit_length() > MAX_KEY_BITS:
        return object()
    return key if isinstance(key, (str, bytes, int, float, type(None))) else object()


def _put(machine: _Machine, argument: Any) -> None:
    machine.memo[len(machine.memo)] = machine.top()


def _tuple(machine: _Machine, size: int) -> None:
    values = [machine.pop() for _ in range(size)]
    machine.stack.append(tuple(reversed(values)))


def _global(machine: _Machine, argument: Any) -> None:
    machine.stack.append(machine.named(str(argument).replace(" ", ".", 1)))


def _stack_global(machine: _Machine, argument: Any) -> None:
    name, module = machine.pop(), machine.pop()
    if not (isinstance(name, str) and isinstance(module, str)):
        raise PickleError("its pickle is damaged (the name of a global is no text)")
    machine.stack.append(machine.named(f"{module}.{name}"))


def _call(machine: _Machine, argument: Any) -> None:
    arguments, kind = machine.pop(), machine.pop()
    machine.call(kind, arguments)


def _new_with_keywords(machine: _Machine, argument: Any) -> None:
    machine.pop()
    _call(machine, argument)


def _inst(machine: _Machine, argument: Any) -> None:
    arguments = tuple(machine.to_mark())
    machine.call(machine.named(str(argument).replace(" ", ".", 1)), arguments)


def _obj(machine: _Machine, argument: Any) -> None:
    kind, *arguments = machine.to_mark()
    machine.call(kind, tuple(arguments))


def _pop(machine: _Machine, argument: Any) -> None:
    machine.stack.pop()


def _setitem(machine: _Machine, argument: Any) -> None:
    value, key = machine.pop(), machine.pop()
    machine.set([key, value])


VALUES = frozenset(
    {
        "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
        "STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
        "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "BYTEARRAY8",
    }
)  # fmt: skip
"""Instructions whose argument is the value itself."""

CONSTANTS: Mapping[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
    "EMPTY_SET": list,
    "MARK": lambda: MARK,
}

ACTIONS: Mapping[str, Callable[[_Machine, Any], None]] = {
    "MEMOIZE": _put,
    "POP": _pop,
    "POP_MARK": lambda machine, _: machine.forget(),
    "DUP": lambda machine, _: machine.stack.append(machine.top()),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.to_mark())),
    "TUPLE1": lambda machine, _: _tuple(machine, 1),
    "TUPLE2": lambda machine, _: _tuple(machine, 2),
    "TUPLE3": lambda machine, _: _tuple(machine, 3),
    "LIST": lambda machine, _: machine.stack.append(machine.to_mark()),
    "FROZENSET": lambda machine, _: machine.stack.append(machine.to_mark()),
    "DICT": lambda machine, _: _dict(machine),
    "APPEND": lambda machine, _: machine.add([machine.pop()]),
    "APPENDS": lambda machine, _: machine.add(machine.to_mark()),
    "ADDITEMS": lambda machine, _: machine.add(machine.to_mark()),
    "SETITEM": _setitem,
    "SETITEMS": lambda machine, _: machine.set(machine.to_mark()),
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _call,
    "NEWOBJ": _call,
    "NEWOBJ_EX": _new_with_keywords,
    "INST": _inst,
    "OBJ": _obj,
    "BUILD": lambda machine, _: machine.fill(machine.pop()),
    "PERSID": lambda machine, argument: machine.refer(argument),
    "BINPERSID": lambda machine, _: machine.refer(machine.pop()),
}


def _dict(machine: _Machine) -> None:
    values = machine.to_mark()
    machine.stack.append({})
    machine.set(values)


NOTHING_TO_DO = frozenset({"PROTO", "FRAME", "STOP"})
