"""Readers from files outside the package, which the config's ``extensions`` name.

Such a file declares ``READER = {"source": "my_format", "kind": "forces"}`` and has ``reader``, a
``records.Reader`` of that kind. Files are parsed in worker processes, which do not know modules by the names
that this one gives them: a reader travels there as the path of its file.
"""

from dataclasses import dataclass, fields
from pathlib import Path

from equidyn.data.readers.records import Reader
from equidyn.declarations import source_in
from equidyn.errors import DataError
from equidyn.extensions import module_of


@dataclass(frozen=True)
class Outside(Reader):
    """A reader of the file ``file``."""

    file: str = ""

    def __reduce__(self):
        return load, (self.file,)


def load(file: str | Path) -> Outside:
    """The reader of a file outside the package.

    Raises
    ------
    DataError
        a file without a reader, or with one of another kind than it declares
    """
    declared, reader = source_in(file), getattr(module_of(file), "reader", None)
    if not isinstance(reader, Reader) or declared is None or reader.kind != declared.kind:
        raise DataError(
            f"{file}: reader is {reader!r}, expected reader = Reader(kind, records, parse) as declared"
        )
    return Outside(**{field.name: getattr(reader, field.name) for field in fields(Reader)}, file=str(file))
