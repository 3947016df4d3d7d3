"""Read FlatBuffers without trusting them: every offset is checked before anything behind it is read.

Layout (FlatBuffers' own specification, little endian): the file starts with the offset of the root table and a
four-letter identifier. A table starts with the signed distance back to its vtable; the vtable holds its own size, the
table's size and, per field, where in the table the field is (0: left out, the default holds). Strings, vectors
and sub-tables are behind unsigned offsets, relative to where the offset stands; vectors start with their length.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from quant.errors import QuantError

#: Offsets are unsigned 32-bit numbers, but no reader accepts files beyond this.
MAX_BYTES = (1 << 31) - 1
#: Many offsets may lead to one place, so a small file could ask for endless work: longer vectors of tables are
#: refused, longer strings are cut.
MAX_TABLES = 1 << 16
MAX_TEXT_BYTES = 1 << 10
_HEADER_BYTES = 8


@dataclass(frozen=True, slots=True)
class Table:
    """One table: where it starts, its size, and the place of each field in it (0 where a field is left out).

    `what` names the table in messages, for example `tensor 3`.
    """

    data: bytes
    start: int
    size: int
    fields: tuple[int, ...]
    what: str

    def has(self, field: int) -> bool:
        """Whether a field is written, by its number in the schema."""
        return field < len(self.fields) and self.fields[field] != 0

    def integer(self, field: int, kind: str, default: int = 0) -> int:
        """Return a whole number (or a truth value as 0 or 1); `kind` is its `struct` letter."""
        return int(self._scalar(field, kind, default))

    def real(self, field: int, default: float) -> float:
        """Return a float32."""
        return float(self._scalar(field, "f", default))

    def table(self, field: int, what: str) -> Table | None:
        """Return the table behind a field, or None when it is left out."""
        return _table(self.data, self._target(field), what) if self.has(field) else None

    def tables(self, field: int, what: str) -> tuple[Table, ...]:
        """Return the tables of a vector; each is called `what` and its index."""
        if not self.has(field):
            return ()
        first, count = self._vector(field, 4)
        if count > MAX_TABLES:
            raise QuantError(f"{self.what} lists {count} of {what}; at most {MAX_TABLES} are read.")
        places = range(first, first + 4 * count, 4)
        return tuple(
            _table(self.data, place + _number(self.data, place, "I", what), f"{what} {i}")
            for i, place in enumerate(places)
        )

    def array(self, field: int, dtype: str) -> npt.NDArray[Any]:
        """Return a vector of numbers (read-only, no copy); empty when it is left out."""
        kind = np.dtype(dtype).newbyteorder("<")
        if not self.has(field):
            return np.zeros(0, kind)
        first, count = self._vector(field, kind.itemsize)
        return np.frombuffer(self.data, kind, count, first)

    def text(self, field: int) -> str:
        """Return (the start of) a string; bytes that are not UTF-8 are shown as escapes. Empty when it is left out."""
        return self.array(field, "u1")[:MAX_TEXT_BYTES].tobytes().decode("utf-8", "backslashreplace")

    def _scalar(self, field: int, kind: str, default: float) -> Any:
        if not self.has(field):
            return default
        place = self.fields[field]
        if place + struct.calcsize(f"<{kind}") > self.size:
            raise _damaged(self.what, f"field {field} reaches beyond the table")
        return _number(self.data, self.start + place, kind, self.what)

    def _target(self, field: int) -> int:
        """Return where the offset of a field leads."""
        if self.fields[field] + 4 > self.size:
            raise _damaged(self.what, f"field {field} reaches beyond the table")
        place = self.start + self.fields[field]
        return place + int(_number(self.data, place, "I", self.what))

    def _vector(self, field: int, item_bytes: int) -> tuple[int, int]:
        """Return the place of a vector's first item and the number of items."""
        start = self._target(field)
        count = int(_number(self.data, start, "I", self.what))
        if start + 4 + count * item_bytes > len(self.data):
            raise _damaged(self.what, f"field {field} has {count} items, more than the file holds")
        return start + 4, count


def root(data: bytes, identifier: bytes, what: str) -> Table:
    """Return the root table of a file.

    Raises:
        QuantError: the file is too short or too long, or has another identifier.
    """
    if len(data) > MAX_BYTES:
        raise QuantError(f"{what} has {len(data)} bytes; at most {MAX_BYTES} are read.")
    if data[4:_HEADER_BYTES] != identifier:
        raise QuantError(f"this is no {what}: the identifier {identifier.decode()} at byte 4 is missing.")
    return _table(data, int(_number(data, 0, "I", what)), what)


def _table(data: bytes, start: int, what: str) -> Table:
    vtable = start - int(_number(data, start, "i", what))
    if vtable < 0:
        raise _damaged(what, "its vtable lies before the file")
    bytes_of_vtable, size = (int(_number(data, vtable + k, "H", what)) for k in (0, 2))
    if bytes_of_vtable < 4 or bytes_of_vtable % 2 or vtable + bytes_of_vtable > len(data):
        raise _damaged(what, f"its vtable has {bytes_of_vtable} bytes")
    if size < 4 or start + size > len(data):
        raise _damaged(what, f"its table has {size} bytes")
    fields = struct.unpack_from(f"<{bytes_of_vtable // 2 - 2}H", data, vtable + 4)
    if any(0 < place < 4 or place >= size for place in fields):
        raise _damaged(what, "a field lies outside its table")
    return Table(data, start, size, fields, what)


def _number(data: bytes, place: int, kind: str, what: str) -> Any:
    """Return one number, or raise QuantError when it does not lie in the file."""
    if not 0 <= place <= len(data) - struct.calcsize(f"<{kind}"):
        raise _damaged(what, f"it points to byte {place}")
    return struct.unpack_from(f"<{kind}", data, place)[0]


def _damaged(what: str, why: str) -> QuantError:
    return QuantError(f"the file is damaged at {what}: {why}. Fetch or convert it again.")
