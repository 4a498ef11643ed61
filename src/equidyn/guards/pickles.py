"""One pickled list of (SMILES, [RDKit Mol, …]) read without running it.

A pickle is a program, so no unpickler runs it here. ``pickletools`` splits the file into opcodes, which
executes nothing, and a machine of the few opcodes that such a list needs does the rest: an RDKit Mol stays
the bytes that it was written as until a worker makes a molecule of it, and every other class, function,
opcode or state is refused by name. Protocols 0 to 5.

The list is never whole in memory: pickle writes it in batches of 1000 molecules, and a batch is handed out
and forgotten before the next. What one batch and the memo hold is counted, and more than ``LIMIT`` is
refused. Measured on a generated file of 202 MB (35,465 molecules of 5 conformers and 45 atoms, protocol 4;
one core of an Intel Xeon, both cores of the machine busy): 68,000 conformers/s read here, 3,300 per second
and core made into items, peak memory 7 MB above Python with RDKit, as for a file of 2.1 GB; the plain
unpickler takes 7.2 GB, 35 times the file.
"""

import pickletools
from collections.abc import Iterator
from sys import getsizeof
from typing import BinaryIO

from equidyn.errors import DataError

LIMIT = 2**30  # bytes, estimated, of one batch and the memo
LONGEST = 2**24  # bytes of one string; a molecule of 180 atoms has 6 kB
SHARED = 1024  # characters; longer strings are not remembered beyond their batch
DEEPEST = 16  # open marks; a list of molecules has 3


def elements(file: BinaryIO) -> Iterator:
    """Elements of the outermost list of a pickle; a molecule is a ``PickledMolecule``.

    Raises
    ------
    DataError
        an opcode, name, argument or state that such a list does not need, more than ``LIMIT`` bytes, or more
        data after its end
    ValueError, OverflowError
        from pickletools: not a pickle, or truncated
    """
    yield from _Machine(_Bounded(file)).run()
    if file.read(1):
        raise DataError("more data after the end of the pickle, expected none")


def describe(value: object) -> str:
    """Kind and size of a value, shallowly: a hostile one may be deep or huge."""
    return f"{type(value).__name__.lstrip('_')}{f' of {len(value)}' if hasattr(value, '__len__') else ''}"


class PickledMolecule:
    """An RDKit Mol, as the bytes that make it."""

    __slots__ = ("data",)

    def __init__(self, data: bytes):
        self.data = data


class _Function:
    """A name that the pickle may call; calling is done by the machine."""

    __slots__ = ("name",)

    def __init__(self, name: str):
        self.name = name


_MOL, _ENCODE = _Function("Mol"), _Function("encode")
# _codecs.encode is how protocols before 3 write bytes: encode('...', 'latin1')
ADMITTED = {("rdkit.Chem.rdchem", "Mol"): _MOL, ("_codecs", "encode"): _ENCODE}


class _Bounded:
    """What pickletools reads from: no read or line is longer than LONGEST, so that a length in the file
    allocates nothing.
    """

    def __init__(self, file):
        self.file = file

    def read(self, n: int) -> bytes:
        if n > LONGEST:
            raise DataError(f"a string of {n} bytes, expected at most {LONGEST}")
        return self.file.read(n)

    def readline(self) -> bytes:
        line = self.file.readline(LONGEST + 1)
        if len(line) > LONGEST:
            raise DataError(f"a line of more than {LONGEST} bytes")
        return line


class _Machine:
    """Runs the opcodes of a pickled list and hands out its elements; containers are trees, because the memo
    keeps none of them.
    """

    def __init__(self, file: _Bounded):
        self.file = file
        self.stack, self.marks = [], []  # values; heights of the stack at open marks
        self.kept = {}  # of the memo: strings and names
        self.batch = {}  # of the memo: molecules and bytes of the batch
        self.next = 0  # number of the memo's next entry
        self.kept_size = self.size = 0  # estimated bytes of the memo's strings; of everything

    def run(self) -> Iterator:
        """Elements of the outermost list.

        Raises
        ------
        DataError
            an opcode, name, argument or state that such a list does not need, or more than LIMIT bytes
        ValueError
            from pickletools: not a pickle, or truncated
        """
        for opcode, argument, _ in pickletools.genops(self.file):
            name = opcode.name
            if name in _CONSTANTS:
                self.push(argument, getsizeof(argument))
            elif name in _ACTIONS:
                yield from _ACTIONS[name](self, argument) or ()
            else:
                raise DataError(
                    f"opcode {name}, expected only those of lists, tuples, strings and RDKit Mols"
                )

    def push(self, value, size: int) -> None:
        self.stack.append(value)
        self.grow(size + 16)

    def grow(self, size: int) -> None:
        self.size += size
        if self.size > LIMIT:
            raise DataError(
                f"more than {LIMIT / 2**30:g} GiB before a batch of molecules ends, expected batches of "
                f"1000 molecules"
            )

    def pop(self):
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise DataError("a value is taken from an empty stack")
        return self.stack.pop()

    def top(self):
        value = self.pop()
        self.stack.append(value)
        return value

    def mark(self, _) -> None:
        if len(self.marks) == DEEPEST:
            raise DataError(f"more than {DEEPEST} containers within each other")
        self.marks.append(len(self.stack))

    def since_mark(self) -> list:
        if not self.marks:
            raise DataError("a mark is taken where there is none")
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def tuple_of(self, n: int) -> None:
        start = len(self.stack) - n
        if start < (self.marks[-1] if self.marks else 0):
            raise DataError("a value is taken from an empty stack")
        self.stack[start:] = [tuple(self.stack[start:])]
        self.grow(56 + 8 * n)

    def append(self, _):
        return self.extend([self.pop()])

    def appends(self, _):
        return self.extend(self.since_mark())

    def extend(self, values: list) -> list | None:
        """APPENDS; of the outermost list the values are handed out instead."""
        target = self.top()
        if type(target) is not list:
            raise DataError(f"an append to a {describe(target)}, expected a list")
        if len(self.stack) > 1:
            target += values
            return None
        self.batch, self.size = {}, self.kept_size  # the outermost list: hand them out, keep nothing
        return values

    def memoize(self, index: int | None) -> None:
        """PUT: containers are left out of the memo, so that a few bytes can not stand for a large tree."""
        value, index = self.top(), self.next if index is None else int(index)
        self.next += 1
        if isinstance(value, _Function) or (type(value) is str and len(value) <= SHARED):
            self.kept[index] = value
            self.kept_size += getsizeof(value) + 100
            self.grow(100)
        elif type(value) in (str, bytes, PickledMolecule):
            self.batch[index] = value
            self.grow(100)

    def get(self, index) -> None:
        value = self.kept.get(int(index), self.batch.get(int(index)))
        if value is None:
            raise DataError(f"memo entry {index}, expected a string, a name, or a molecule of the same batch")
        self.push(
            value, getsizeof(value.data if type(value) is PickledMolecule else value)
        )  # counted again: it may be written out again

    def named(self, argument: str | None) -> None:
        """GLOBAL: one of the admitted names, of which none is ever imported."""
        if argument is None:
            name, module = self.pop(), self.pop()
        else:
            module, _, name = argument.partition(" ")
        if type(module) is not str or type(name) is not str or (module, name) not in ADMITTED:
            shown = (
                f"{module}.{name}"[:100]
                if type(module) is type(name) is str
                else f"a name that is a {describe(name)}"
            )
            raise DataError(
                f"the pickle asks for {shown}, expected only rdkit.Chem.rdchem.Mol; refused, nothing was run"
            )
        self.push(ADMITTED[module, name], 0)

    def reduce(self, _) -> None:
        """REDUCE: the two calls that a molecule is made of, kept as data."""
        arguments, function = self.pop(), self.pop()
        kinds = [type(a) for a in arguments] if type(arguments) is tuple else None
        if function is _MOL and kinds == [bytes]:
            self.push(PickledMolecule(arguments[0]), 48)
        elif function is _ENCODE and kinds == [str, str] and arguments[1] == "latin1":
            data = arguments[0].encode("latin1")
            self.push(data, getsizeof(data))
        else:
            name = function.name if isinstance(function, _Function) else describe(function)
            raise DataError(f"a call of {name} with {describe(arguments)}, expected Mol(bytes)")

    def build(self, _) -> None:
        """State of a molecule: RDKit writes the empty one."""
        state, target = self.pop(), self.top()
        if type(target) is not PickledMolecule or state not in ({}, ({},)):
            raise DataError(
                f"state, a {describe(state)}, for a {describe(target)}, "
                "expected the empty one of an RDKit Mol"
            )

    def stop(self, _) -> list:
        result = self.pop()
        if self.stack or self.marks or type(result) is not list:
            raise DataError(f"the file holds a {describe(result)}, expected one list of molecules")
        return result  # empty where all its elements were appended


def _dict_since_mark(machine, _) -> None:
    if machine.since_mark():
        raise DataError("a dictionary with entries, expected the empty one of an RDKit Mol")
    machine.push({}, 64)


_CONSTANTS = frozenset(
    "UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8 SHORT_BINBYTES BINBYTES BINBYTES8 NONE".split()
)
_ACTIONS = {
    "PROTO": lambda machine, _: None,
    "FRAME": lambda machine, _: None,
    "STOP": _Machine.stop,
    "MARK": _Machine.mark,
    "EMPTY_LIST": lambda machine, _: machine.push([], 56),
    "EMPTY_TUPLE": lambda machine, _: machine.push((), 0),
    "EMPTY_DICT": lambda machine, _: machine.push({}, 64),
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.since_mark()), 56),
    "LIST": lambda machine, _: machine.push(machine.since_mark(), 56),
    "DICT": _dict_since_mark,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "REDUCE": _Machine.reduce,
    "BUILD": _Machine.build,
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), _Machine.memoize),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Machine.get),
    **dict.fromkeys(("GLOBAL", "STACK_GLOBAL"), _Machine.named),
}
