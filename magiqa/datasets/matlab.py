"""MATLAB files (version 5 to 7.2): the vectors of numbers and the cells of names that data sets keep in them.

A few megabytes may unpack to gigabytes, or claim an array that no memory holds. Nothing is allocated here for what a
file claims, only for what it holds, and no more than ``_BYTES`` is unpacked.
"""

import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from magiqa.errors import UserError

_BYTES = 8 << 20  # unpacked; the largest file of labels that is read here has a hundredth
_DEPTH = 4  # of cells in cells
_NUMBERS = {
    1: "i1",
    2: "u1",
    3: "<i2",
    4: "<u2",
    5: "<i4",
    6: "<u4",
    7: "<f4",
    9: "<f8",
    12: "<i8",
    13: "<u8",
}
_ENCODINGS = {1: "utf-8", 2: "utf-8", 4: "utf-16-le", 16: "utf-8", 17: "utf-16-le", 18: "utf-32-le"}
_MATRIX, _COMPRESSED = 14, 15
_CELL, _CHAR = 1, 4


def read_mat(file: Path, *keys: str) -> pd.Series:
    """Return the numbers, or the texts, of the first of these variables that is there, with its name.

    Raises:
        UserError: the file is of another format, too large or damaged, or has no such variable.
    """
    try:
        data = file.read_bytes() if file.stat().st_size <= _BYTES else b""
        if data[:6] != b"MATLAB" or data[126:128] != b"IM":
            raise ValueError("no MATLAB file of version 5 to 7.2" if data else "larger than a file of labels")
        variables = dict(_variables(data[128:]))
    except (ValueError, LookupError, zlib.error, RecursionError) as error:
        raise UserError(f"{file}: cannot be read ({error}); fetch the annotation file again") from None
    for key in keys:
        if key in variables:
            return pd.Series(variables[key], name=key)
    others = ", ".join(variables)[:100]
    raise UserError(
        f"{file}: no variable {' or '.join(keys)} (found {others}); is it the right annotation file?"
    )


def _variables(data: bytes) -> Iterator[tuple[str, list]]:
    budget = _BYTES
    for kind, content in _elements(data):
        if kind == _COMPRESSED:
            unpacker = zlib.decompressobj()
            content = unpacker.decompress(content, budget)
            budget -= len(content)
            if unpacker.unconsumed_tail or budget <= 0:
                raise ValueError("it unpacks to more than any file of labels")
            kind, content = next(_elements(content), (0, b""))
        if kind == _MATRIX:
            yield _matrix(content, 0)


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Go through elements: a tag of type and size, then the bytes, up to a multiple of eight."""
    start = 0
    while start + 8 <= len(data):
        kind, size = (int.from_bytes(data[i : i + 4], "little") for i in (start, start + 4))
        if kind >> 16:  # a small element: size, type and up to four bytes of data in one
            yield kind & 0xFFFF, data[start + 4 : start + 4 + (kind >> 16)]
            start += 8
            continue
        if start + 8 + size > len(data):
            raise ValueError("it is cut short")
        yield kind, data[start + 8 : start + 8 + size]
        start += 8 + size + (0 if kind == _COMPRESSED else -size % 8)


def _matrix(data: bytes, depth: int) -> tuple[str, list]:
    """Return the name and the values of an array; of a kind that no labels have, none."""
    parts = list(_elements(data))
    if len(parts) < 3 or depth > _DEPTH:
        return "", []
    (_, flags), _, (_, name), *contents = parts
    values: list = []
    if flags[0] == _CELL:
        for _, content in contents:
            values += _matrix(content, depth + 1)[1]
    elif flags[0] == _CHAR:
        values = [content.decode(_ENCODINGS[kind]) for kind, content in contents[:1]]
    elif flags[0] > 5 and contents:
        kind, content = contents[0]
        values = np.frombuffer(content, _NUMBERS[kind]).astype(np.float64).tolist()
    return name.decode("latin-1"), values
