"""Read CIFAR's pickled batches without Python's unpickler, so that a file cannot run code, and costs what it weighs.

A pickle is a program for a stack machine. This machine knows the steps that batches consist of, and makes inert
stand-ins for arrays. Its memory is of the order of the file: objects that the file names many times are never copied,
hashed, compared or printed.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from lpm.console.errors import InvalidInput


class Refused(InvalidInput):
    """A pickle that is no batch of CIFAR; the message may hold words of the file."""


class Array:
    """Stands in for a pickled NumPy array: its shape, type and bytes, which are checked before they are interpreted.

    Args:
        state: bytes, type, shape and order.
    """

    def __init__(self, *state: Any) -> None:
        self.state = state

    def build(self, state: Any) -> None:
        """Take what NumPy's ``__setstate__`` takes.

        Args:
            state: version, shape, type, whether the order is Fortran's, and the bytes.
        """
        _version, shape, kind, fortran, raw = state
        self.state = raw, kind, shape, "F" if fortran else "C"

    def pixels(self) -> np.ndarray:
        """Interpret the bytes as images.

        Returns:
            Pixels, (N, 3, 32, 32) uint8.

        Raises:
            Refused: unless it is N x 3072 bytes in C order.
        """
        raw, kind, shape, order = self.state
        word = kind.word if isinstance(kind, DType) else None
        word = word.decode() if isinstance(word, bytes) else word
        if not isinstance(word, str):
            raise Refused("its images have no NumPy type")
        if word not in ("u1", "|u1") or order != "C" or not isinstance(raw, bytes | bytearray):
            raise Refused(f"its images are {word!r}, not bytes")
        if not isinstance(shape, tuple) or len(shape) != 2 or not all(type(n) is int for n in shape):
            raise Refused("its images have another shape than N x 3072")
        if shape[1] != 3072 or len(raw) != shape[0] * 3072:
            raise Refused(f"its images have shape {shape}, not N x 3072")
        return np.frombuffer(raw, dtype=np.uint8).reshape(-1, 3, 32, 32)


class DType:
    """Stands in for a pickled NumPy type.

    Args:
        word: its name.
    """

    def __init__(self, word: Any, *_: Any) -> None:
        self.word = word

    def build(self, state: Any) -> None:
        """Ignore byte order and alignment, which bytes do not have.

        Args:
            state: what NumPy's ``__setstate__`` takes.
        """


def _encode(text: Any, codec: Any) -> bytes:
    if not (isinstance(text, str) and codec == "latin1"):
        raise Refused("it asks for another codec than latin1")
    return text.encode("latin1")


class _Global:
    """A function or class that the pickle asks for."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call = call


class _Machine:
    """Does the steps of a pickle.

    ``stack`` holds the objects, ``marks`` the heights at which MARK was met, ``room`` the bytes that texts may become.
    """

    GLOBALS: ClassVar[dict[tuple[str, str], _Global]] = {
        **{
            (f"numpy.{core}.multiarray", "_reconstruct"): _Global(lambda *arguments: Array())
            for core in ("core", "_core")
        },
        **{(f"numpy.{core}.numeric", "_frombuffer"): _Global(Array) for core in ("core", "_core")},
        ("numpy", "ndarray"): _Global(Array),
        ("numpy", "dtype"): _Global(DType),
        ("_codecs", "encode"): _Global(_encode),
    }

    def __init__(self, room: int) -> None:
        self.room = room
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        """Do one step. Raises Refused for one that batches do not have."""
        stack = self.stack
        if name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _LITERALS:
            stack.append(argument)
        elif name in ("SHORT_BINSTRING", "BINSTRING"):  # Python 2's strings, which genops reads as latin-1
            stack.append(argument.encode("latin1"))
        elif name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self.memo[len(self.memo) if argument is None else argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif name == "MARK":
            self.marks.append(len(stack))
        elif name in ("EMPTY_LIST", "EMPTY_DICT"):
            stack.append([] if name == "EMPTY_LIST" else {})
        elif name in ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"):
            stack.append(tuple(self.marked() if name == "TUPLE" else self.top(int(name[5:]))))
        elif name in ("APPEND", "APPENDS"):
            items = self.marked() if name == "APPENDS" else self.top(1)
            self.last(list).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = self.marked() if name == "SETITEMS" else self.top(2)
            if len(items) % 2 or not all(isinstance(key, bytes | str) and len(key) < 100 for key in items[::2]):
                raise Refused("a key is no short text")
            self.last(dict).update(zip(items[::2], items[1::2], strict=True))
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            module, _, word = argument.partition(" ") if name == "GLOBAL" else (*self.top(1), "", *self.top(1))[::-1]
            if not (isinstance(module, str) and isinstance(word, str)):
                raise Refused("it asks for what is no name")
            if (module, word) not in self.GLOBALS:
                raise Refused(f"it asks for {module}.{word}")
            stack.append(self.GLOBALS[module, word])
        elif name == "REDUCE":
            function, arguments = self.top(2)
            if not (isinstance(function, _Global) and isinstance(arguments, tuple)):
                raise Refused("it calls what is no function")
            stack.append(function.call(*arguments))
            self.room -= len(stack[-1]) if isinstance(stack[-1], bytes) else 0
            if self.room < 0:  # the same text is encoded again and again
                raise Refused("its texts are larger than itself")
        elif name == "BUILD":
            (state,) = self.top(1)
            self.last(Array, DType).build(state)
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise Refused(f"it has the step {name}, which no batch has")

    def top(self, number: int) -> list[Any]:
        """Take the last objects off the stack."""
        if len(self.stack) - number < (self.marks[-1] if self.marks else 0):
            raise Refused("its stack is empty")
        items = self.stack[-number:]
        del self.stack[-number:]
        return items

    def marked(self) -> list[Any]:
        """Take the objects since the last MARK off the stack."""
        height = self.marks.pop()
        items = self.stack[height:]
        del self.stack[height:]
        return items

    def last(self, *kinds: type) -> Any:
        """The object on top of the stack, which stays there; it must be of one of these kinds."""
        if not isinstance(self.stack[-1], kinds):
            raise Refused(f"it changes an object of type {type(self.stack[-1]).__name__}")
        return self.stack[-1]


_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_LITERALS = (
    "BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE", "SHORT_BINUNICODE", "SHORT_BINBYTES", "BINBYTES",
    "BINBYTES8", "BYTEARRAY8",
)  # fmt: skip


def load(data: bytes) -> Any:
    """Read a pickled batch.

    Args:
        data: the content of the file.

    Returns:
        Dicts, lists, tuples, texts, bytes, numbers and stand-ins for arrays; strings of Python 2 are bytes.

    Raises:
        Refused: if the pickle has a step that no batch has, or asks for a name that no batch needs.
        Exception: of another kind, such as ValueError or IndexError, if the pickle is corrupt.
    """
    machine = _Machine(len(data))
    for code, argument, _ in pickletools.genops(data):
        machine.step(code.name, argument)
    if len(machine.stack) != 1 or machine.marks:
        raise Refused("it does not end with one object")
    return machine.stack[0]
