"""A pickle read without running it.

A pickle is a program for a stack machine. Python's own interpreter imports and calls whatever the program names. This one knows
no import and no call: a global is a name, and calling a name looks it up in a table of builders (plain containers, descriptions
of tensors, records). Any other name is refused, and told. `pickletools.genops` decodes the instructions and runs nothing.
"""

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NoReturn, cast

from sarigan.errors import InputError

MAX_INSTRUCTIONS = 1_000_000  # the largest network pickle of the field needs some 30,000
_KEYS = (str, int, float, bool, type(None))  # of exactly these types: hashing nested tuples can take for ever
Builders = Mapping[str, Callable[..., Any]]


class RefusedGlobalError(InputError):
    """A pickle names something that is not rebuilt. `path` is its dotted name."""

    def __init__(self, path: str) -> None:
        super().__init__(f"its pickle wants to use {path[:200]}; only tensors and plain containers are rebuilt, nothing is run")
        self.path = path


@dataclass(frozen=True)
class Global:
    """The name of something in a Python module, never imported."""

    path: str


@dataclass(eq=False)
class Record:
    """An object of somebody's class, which is not rebuilt: the name of the class, and its attributes."""

    kind: str
    state: dict[Any, Any] = field(default_factory=dict)


@dataclass
class Budget:
    """Instructions that are left for a file and all pickles inside it."""

    left: int = MAX_INSTRUCTIONS

    def spend(self, count: int = 1) -> None:
        """ValueError when it is used up."""
        self.left -= count
        if self.left < 0:
            raise ValueError(f"more than {MAX_INSTRUCTIONS:,} instructions in its pickles")


class BoundedStream:
    """A file up to its end: asking for more is an error before memory is taken for it."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        start = file.tell()
        self.end = file.seek(0, 2)
        file.seek(start)

    def tell(self) -> int:
        """The position in bytes."""
        return self.file.tell()

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes; EOFError when there are fewer."""
        if not 0 <= size <= self.end - self.file.tell():
            raise EOFError(f"it ends where {size:,} more bytes should follow")
        return self.file.read(size)

    def readline(self) -> bytes:
        """Up to the next newline."""
        return self.file.readline()

    def skip(self, size: int) -> None:
        """Move on; EOFError behind the end."""
        if not 0 <= size <= self.end - self.file.tell():
            raise EOFError(f"it ends where {size:,} more bytes should follow")
        self.file.seek(size, 1)


class PickleReader:
    """One pickle at a time from a stream.

    builders: by dotted name, what a call of that name with these arguments gives. values: names that may stand for themselves.
    persistent: what an external reference (a storage of PyTorch) gives.
    """

    def __init__(
        self, builders: Builders, values: frozenset[str] = frozenset(), persistent: Callable[[Any], Any] | None = None,
        budget: Budget | None = None,
    ) -> None:  # fmt: skip
        self.builders, self.values, self.persistent = builders, values, persistent
        self.budget = budget or Budget()

    def read(self, stream: BoundedStream) -> Any:
        """The next pickle's value. RefusedGlobalError naming what it wanted; any other exception when it is damaged."""
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        for opcode, argument, _ in pickletools.genops(cast(BinaryIO, stream)):
            self.budget.spend()
            if opcode.name == "STOP":
                return self.stack.pop()
            action = _ACTIONS.get(opcode.name)
            if action is None:
                raise ValueError(f"pickle instruction {opcode.name} is of no use to a model")
            action(self, argument)
        raise EOFError("its pickle has no end")

    def _to_mark(self) -> list[Any]:
        start = self.marks.pop()
        if start > len(self.stack):
            raise ValueError("pickle stack out of order")
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def _tuple(self, count: int) -> None:
        if len(self.stack) < count:
            raise ValueError("pickle stack out of order")
        self.stack[-count:] = [tuple(self.stack[-count:])]

    def _global(self, path: str) -> Global:
        if path not in self.builders and path not in self.values:
            raise RefusedGlobalError(path)
        return Global(path)

    def _stack_global(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise ValueError("a global whose name is no text")
        self.stack.append(self._global(f"{module}.{name}"))

    def _call(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(arguments, tuple) or not isinstance(function, Global):
            raise ValueError("a call of something that has no name")
        if function.path not in self.builders:
            raise RefusedGlobalError(function.path)
        self.budget.spend(sum(len(item) for item in arguments if isinstance(item, list | set | dict)))
        self.stack.append(self.builders[function.path](*arguments))

    def _build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, Record):
            if isinstance(state, dict):
                target.state.update(state)
        elif not isinstance(target, dict):  # PyTorch hangs its `_metadata` on the dictionary of a state
            raise ValueError(f"attributes for a {type(target).__name__}")

    def _set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict) or len(items) % 2:
            raise ValueError("pickle stack out of order")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[plain_key(key)] = value

    def _dictionary(self) -> None:
        items = self._to_mark()
        self.stack.append({})
        self._set_items(items)

    def _append(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise ValueError("pickle stack out of order")
        self.stack[-1].extend(items)

    def _add(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], set):
            raise ValueError("pickle stack out of order")
        self.stack[-1].update(plain_key(item) for item in items)

    def _persistent_id(self) -> None:
        if self.persistent is None:
            raise ValueError("an external reference where there can be none")
        self.stack.append(self.persistent(self.stack.pop()))


def plain_key(key: Any) -> Any:
    """The key itself; ValueError when it is no text, number or None."""
    if type(key) not in _KEYS:
        raise ValueError(f"a dictionary key of type {type(key).__name__}")
    return key


def _push(reader: PickleReader, argument: Any) -> None:
    reader.stack.append(argument)


def _constant(value: Any) -> Callable[[PickleReader, Any], None]:
    return lambda reader, _: reader.stack.append(value)


def _remember(reader: PickleReader, index: int) -> None:
    reader.memo[index] = reader.stack[-1]


def _refuse_instance(reader: PickleReader, argument: str) -> NoReturn:
    raise RefusedGlobalError(argument.replace(" ", "."))


def _nothing(reader: PickleReader, argument: Any) -> None:
    return


_PUSHED = (
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8",
)  # fmt: skip

_ACTIONS: dict[str, Callable[[PickleReader, Any], Any]] = {
    **dict.fromkeys(_PUSHED, _push),
    **dict.fromkeys(("PROTO", "FRAME"), _nothing),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _remember),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda r, index: r.stack.append(r.memo[index])),
    "MEMOIZE": lambda r, _: _remember(r, len(r.memo)),
    "NONE": _constant(None),
    "NEWTRUE": _constant(True),
    "NEWFALSE": _constant(False),
    "MARK": lambda r, _: r.marks.append(len(r.stack)),
    "POP": lambda r, _: r.stack.pop(),
    "POP_MARK": lambda r, _: r._to_mark(),
    "DUP": lambda r, _: r.stack.append(r.stack[-1]),
    "EMPTY_TUPLE": _constant(()),
    "TUPLE1": lambda r, _: r._tuple(1),
    "TUPLE2": lambda r, _: r._tuple(2),
    "TUPLE3": lambda r, _: r._tuple(3),
    "TUPLE": lambda r, _: r.stack.append(tuple(r._to_mark())),
    "EMPTY_LIST": lambda r, _: r.stack.append([]),
    "LIST": lambda r, _: r.stack.append(r._to_mark()),
    "APPEND": lambda r, _: r._append([r.stack.pop()]),
    "APPENDS": lambda r, _: r._append(r._to_mark()),
    "EMPTY_SET": lambda r, _: r.stack.append(set()),
    "ADDITEMS": lambda r, _: r._add(r._to_mark()),
    "EMPTY_DICT": lambda r, _: r.stack.append({}),
    "DICT": lambda r, _: r._dictionary(),
    "SETITEM": lambda r, _: r._set_items([r.stack.pop(-2), r.stack.pop()]),
    "SETITEMS": lambda r, _: r._set_items(r._to_mark()),
    "GLOBAL": lambda r, argument: r.stack.append(r._global(argument.replace(" ", "."))),
    "STACK_GLOBAL": lambda r, _: r._stack_global(),
    "INST": _refuse_instance,
    "REDUCE": lambda r, _: r._call(),
    "NEWOBJ": lambda r, _: r._call(),
    "BUILD": lambda r, _: r._build(),
    "BINPERSID": lambda r, _: r._persistent_id(),
}
