"""Rows of a table that belong to a split: by a column, a folder, a list of names, or row numbers."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from magiqa.errors import UserError, some

_ALIASES = {
    "0": "train", "training": "train", "1": "val", "valid": "val", "validation": "val", "2": "test", "testing": "test",
}  # fmt: skip
_BYTES = 64 << 20


def chosen_rows(
    file: Path, table: pd.DataFrame, split: str | None, split_file: Path | None, split_row: int
) -> np.ndarray | None:
    """Return a mask of the rows that belong to a split, or None where none is asked for.

    Args:
        table: ``image`` and perhaps ``split``. See `magiqa.datasets.folder.Folder` for the others.

    Raises:
        UserError: no row belongs to it; a list names images or rows that the table does not have.
    """
    if split_file is not None:
        return _listed(split_file, table["image"], split, split_row)
    if split is None:
        return None
    source, values = "the column", table.get("split")
    if values is None:
        folders = table["image"].str.replace("\\", "/").str.extract("^([^/]+)/")[0]
        source, values = "the first folder of the names", folders.fillna("none")
    values = values.astype(str).str.strip()
    rows = (values == split).to_numpy()
    if not rows.any():
        rows = (values.map(_plain) == _plain(split)).to_numpy()
    if not rows.any():
        names = some([name[:30] for name in values.unique()])
        hint = (
            ""
            if "split" in table
            else "; name the column (dataset.split_column=NAME) or a list (dataset.split_file=FILE)"
        )
        raise UserError(f"{file}: no row has dataset.split={split}; {source} has {names}{hint}")
    return rows


def _plain(word: str) -> str:
    return _ALIASES.get(word.lower(), word.lower())


def _listed(file: Path, names: pd.Series, split: str | None, split_row: int) -> np.ndarray:
    """Return a mask of the rows in a list: names in a text or in JSON by split, row numbers in an npy file."""
    data = file.read_bytes() if file.stat().st_size <= _BYTES else b""
    if not data or data.startswith(b"\x80") or file.suffix.lower() in (".pkl", ".pickle"):
        raise UserError(
            f"{file}: is a pickle or too large, and never opened; give a list of names (text) or npy rows"
        )
    if data.startswith(b"\x93NUMPY"):
        rows = np.zeros(len(names), bool)
        rows[_row_numbers(file, split_row, len(names))] = True
        return rows
    words = _words(file, data.decode("utf-8-sig", errors="replace"), split)
    bases = names.str.replace("\\", "/").str.rpartition("/")[2]
    bases = bases.where(~bases.duplicated(keep=False), names)  # only unique ones stand for their images
    missing = sorted(words - {*names, *bases})
    if missing or not words:
        problem = f"{len(missing)} names are not in the annotation ({some(missing)})"
        raise UserError(f"{file}: {problem if missing else 'no name is of the split'}; mend the list")
    return (names.isin(words) | bases.isin(words)).to_numpy()


def _words(file: Path, text: str, split: str | None) -> set[str]:
    """Return the names in a list: JSON by split, or a line each, its other columns left out.

    Where other columns hold the words train, val or test, only the lines of the split count.
    """
    if not text.lstrip().startswith("{"):
        lines = [[c.strip() for c in line.replace(",", "\t").split("\t")] for line in text.splitlines()]
        marks = [{_plain(c) for c in cells[1:] if not c.isdigit()} & {*_ALIASES.values()} for cells in lines]
        return {
            cells[0]
            for cells, mark in zip(lines, marks, strict=True)
            if _plain(split or "test") in mark or not any(marks)
        } - {""}
    try:
        lists = json.loads(text)
        return {
            str(n) for key, names in lists.items() if _plain(key) == _plain(split or "test") for n in names
        }
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(f'{file}: is no JSON of lists such as {{"test": [...]}} ({error}); mend it') from None


def _row_numbers(file: Path, split_row: int, count: int) -> np.ndarray:
    """Return one row of an npy file of row numbers, filled up with -1."""
    try:
        numbers = np.atleast_2d(np.load(file, allow_pickle=False))[split_row]
        if numbers.dtype.kind not in "iuf" or (numbers % 1).any():
            raise TypeError(f"{numbers.dtype} that are no whole numbers")
        numbers = numbers[numbers >= 0].astype(int)
    except (ValueError, TypeError, IndexError, OSError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{file}: no row dataset.split_row={split_row} of row numbers ({reason})") from None
    if not len(numbers) or numbers.max() >= count:
        raise UserError(
            f"{file}: holds row numbers up to {numbers.max(initial=0)}, the annotation has {count} rows"
        )
    return numbers
