"""Read a MATLAB 5 file of structs, cells, text and numbers, whoever wrote it.

A few changed bytes in a file take the process of scipy.io.loadmat down (a segmentation fault); here each
length is compared with what is left. Format: "MAT-File Format", The MathWorks, chapter 1.

    128 bytes     text, version, and IM (little endian) or MI
    element       type and size, 4 bytes each, then the data, padded to 8; up to 4 bytes fit in a short tag
    matrix (14)   elements: class, dimensions, name, then the values: numbers, text, or further matrices
    packed (15)   zlib, of one element
"""

from __future__ import annotations

import math
import struct
import zlib
from pathlib import Path
from typing import Any

LARGEST = 16 * 2**20
"""Bytes that a packed variable may unpack to; the list of CARS196 has about half of them."""
DEEPEST = 8
"""Structs and cells in one another."""

_NUMBERS = {1: "b", 2: "B", 3: "h", 4: "H", 5: "i", 6: "I", 7: "f", 9: "d", 12: "q", 13: "Q"}
_TEXT = {1: "latin1", 2: "latin1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_MATRIX, _PACKED = 14, 15
_CELL, _STRUCT, _CHAR = 1, 2, 4


def read(path: Path) -> dict[str, Any]:
    """Variables by name: a struct array as a list of dictionaries, a cell array as a list, text as str,
    numbers as a tuple; several dimensions as one, column by column. ValueError naming any other file.
    """
    content = path.read_bytes()
    try:
        order = {b"IM": "<", b"MI": ">"}.get(content[126:128])
        if order is None:
            raise ValueError("it is no MATLAB 5 file")
        rest, found = _Bytes(content[128:], order), {}
        while rest.at < len(rest.whole):
            kind, data = rest.element()
            if kind == _PACKED:
                unpacker = zlib.decompressobj()
                unpacked = unpacker.decompress(data, LARGEST)
                if not unpacker.eof:
                    raise ValueError(f"a variable is cut short, or larger than {LARGEST} bytes")
                kind, data = _Bytes(unpacked, order).element()
            if kind != _MATRIX:
                raise ValueError(f"an element of type {kind} stands in place of a variable")
            name, value = _matrix(_Bytes(data, order))
            found[name] = value
        return found
    except (ValueError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read: {error}; get it again") from error


class _Bytes:
    """Bytes that are taken from the front."""

    def __init__(self, whole: bytes, order: str):
        self.whole, self.order, self.at = whole, order, 0

    def take(self, size: int) -> bytes:
        end = self.at + size
        if end > len(self.whole):
            raise ValueError(f"{size} bytes are told of and {len(self.whole) - self.at} are left")
        taken, self.at = self.whole[self.at : end], end
        return taken

    def element(self) -> tuple[int, bytes]:
        """(type, data) of the next element."""
        tag = self.take(8)
        kind, size = struct.unpack(self.order + "II", tag)
        if kind >> 16:  # short: the size stands beside the type, the data where the size stood
            if kind >> 16 > 4:
                raise ValueError(f"a short element has {kind >> 16} bytes")
            return kind & 0xFFFF, tag[4 : 4 + (kind >> 16)]
        data = self.take(size)
        if kind != _PACKED:
            self.at = min(self.at + -size % 8, len(self.whole))
        return kind, data

    def numbers(self) -> tuple[float, ...]:
        """The values of the next element."""
        kind, data = self.element()
        code = _NUMBERS.get(kind)
        if code is None or len(data) % struct.calcsize(code):
            raise ValueError(f"{len(data)} bytes of type {kind} stand in place of numbers")
        return struct.unpack(f"{self.order}{len(data) // struct.calcsize(code)}{code}", data)


def _matrix(data: _Bytes, depth: int = 0) -> tuple[str, Any]:
    """(name, value) of a matrix element."""
    if not data.whole:
        return "", ()
    if depth > DEEPEST:
        raise ValueError(f"structs and cells are nested more than {DEEPEST} deep")
    flags, dimensions = data.numbers(), data.numbers()
    name = data.element()[1].decode("latin1")
    if not flags or not dimensions or not all(isinstance(d, int) and d >= 0 for d in dimensions):
        raise ValueError(f"a variable has the dimensions {dimensions[:4]}")
    kind, count = int(flags[0]) & 0xFF, int(math.prod(dimensions))
    if kind == _CELL:
        return name, [_inner(data, depth) for _ in range(count)]
    if kind == _STRUCT:
        width, text = data.numbers(), data.element()[1]
        if len(width) != 1 or not isinstance(width[0], int) or width[0] < 1 or not text:
            raise ValueError("a struct has no fields")
        starts = range(0, len(text), width[0])
        fields = [text[i : i + width[0]].split(b"\0")[0].decode("latin1") for i in starts]
        return name, [{field: _inner(data, depth) for field in fields} for _ in range(count)]
    if kind == _CHAR:
        code, found = data.element()
        if code not in _TEXT or dimensions[0] > 1:
            raise ValueError(f"text has the type {code} and {dimensions[0]} rows")
        wide = ("-le" if data.order == "<" else "-be") if code in (4, 17, 18) else ""
        return name, found.decode(_TEXT[code] + wide)
    values = data.numbers()
    if len(values) != count:
        raise ValueError(f"{len(values)} values stand where {count} are told of")
    return name, values


def _inner(data: _Bytes, depth: int) -> Any:
    kind, inner = data.element()
    if kind != _MATRIX:
        raise ValueError(f"an element of type {kind} stands in a struct or cell")
    return _matrix(_Bytes(inner, data.order), depth + 1)[1]
