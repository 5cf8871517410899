"""What every reader returns, and what readers share: finding files, reading tables, checking labels."""

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from magiqa.errors import UserError

MIN_IMAGES = 3


@dataclass(frozen=True)
class Labels:
    """A data set's images and labels, in the annotation's order.

    Args:
        name, variant: ``koniq``, ``test`` ("" is the default variant).
        table: columns ``image`` (as annotated), ``path`` (absolute; "" where the file was not found), the label's
            column, and where the set has them ``group``, ``level``, ``reference``, ``prompt``, ``split``, ``mos_std``.
        label: the label's column: ``mos``, or ``ssim`` for what no human gave. Always higher = better.
        higher_is_better: the direction as distributed; where False the reader has negated the label.
        cluster: the column to resample by, where images are not independent.
        expected: the published number of images of this variant. page: where to get the set.
        layout: what was found where, in words. notes: policies and subsets that a reader of numbers must know.
        every: only every K-th row was taken.
    """

    name: str
    table: pd.DataFrame
    variant: str = ""
    label: str = "mos"
    higher_is_better: bool = True
    cluster: str | None = None
    expected: int | None = None
    page: str = ""
    layout: str = ""
    notes: tuple[str, ...] = ()
    every: int = 1


def fingerprint(labels: Labels) -> str:
    """sha256 over the names and label values: what the scores were compared with."""
    digest = hashlib.sha256(labels.label.encode())
    for image, value in zip(labels.table["image"], labels.table[labels.label], strict=True):
        digest.update(f"\n{image}\t{float(value)!r}".encode())
    return digest.hexdigest()


def find_root(root: str, page: str) -> Path:
    """The data set's folder, ``~`` expanded.

    Raises:
        UserError: it does not exist.
    """
    folder = Path(root).expanduser()
    if not folder.is_dir():
        where = f"; get the set from {page}" if page else ""
        raise UserError(f"dataset.root={root}: no such folder{where}")
    return folder.absolute()


def find_file(root: Path, candidates: Sequence[str], page: str = "") -> Path:
    """The first of the candidate files (relative to the root) that exists, without regard to case.

    Raises:
        UserError: none exists, or it is empty.
    """
    for candidate in candidates:
        folder = root
        for part in Path(candidate).parts:
            names = {p.name.lower(): p for p in folder.iterdir()} if folder.is_dir() else {}
            folder = names.get(part.lower(), folder / part)
        if folder.is_file():
            if folder.stat().st_size == 0:
                raise UserError(f"{folder}: the annotation file is empty; fetch it again" + _from(page))
            return folder
    raise UserError(
        f"{root}: annotation file {' or '.join(candidates)} is missing; put it there" + _from(page)
    )


def _from(page: str) -> str:
    return f" (from {page})" if page else ""


def read_table(file: Path, read: Callable[[Path], pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    """Read an annotation table and check that it has these columns.

    Raises:
        UserError: the file cannot be parsed, has no rows, or lacks a column.
    """
    try:
        table = read(file)
    except Exception as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise UserError(f"{file}: cannot be read ({reason}); fetch the annotation file again") from None
    table = table.rename(columns={c: str(c).strip() for c in table.columns})
    missing = [c for c in columns if c not in table]
    if missing:
        found = ", ".join(map(str, table.columns))
        raise UserError(
            f"{file}: no column {', '.join(missing)} (found {found}); is it the right annotation file?"
        )
    if table.empty:
        raise UserError(f"{file}: the annotation file has no rows; fetch it again")
    return table


def numbers(file: Path, values: Iterable[Any], column: str) -> np.ndarray:
    """A column as finite float64.

    Raises:
        UserError: a value is text, NaN or infinite: names the row (1 = the first below the header) and the value.
    """
    series = pd.Series(list(values))
    out = pd.to_numeric(series, errors="coerce").to_numpy(np.float64)
    bad = np.flatnonzero(~np.isfinite(out))
    if len(bad):
        raise UserError(
            f"{file}: column {column} holds {series[bad[0]]!r} in row {bad[0] + 1}"
            + (f" (and {len(bad) - 1} more)" if len(bad) > 1 else "")
            + ", which is no finite number; mend or remove the row"
        )
    return out


class ImageIndex:
    """Finds annotated names among the files below some folders, without regard to case.

    Args:
        folders: searched in order; the first that holds a name wins. recursive: descend into sub-folders.
    """

    def __init__(self, folders: Sequence[Path], recursive: bool = False) -> None:
        self.folders = [f for f in folders if f.is_dir()]
        self.used: set[Path] = set()
        self._names: list[dict[str, str]] = []
        for folder in self.folders:
            names: dict[str, str] = {}
            for base, subfolders, files in os.walk(folder):
                for file in sorted(files):
                    names.setdefault(file.lower(), os.path.join(base, file))
                if not recursive:
                    subfolders.clear()
            self._names.append(names)

    def find(self, name: str) -> str:
        """The absolute path of a file, or "" when there is none."""
        for folder, names in zip(self.folders, self._names, strict=True):
            if name.lower() in names:
                self.used.add(folder)
                return names[name.lower()]
        return ""

    def layout(self, root: Path, annotation: Path) -> str:
        """What was found where, in words."""
        folders = (
            ", ".join(sorted(f"{f.relative_to(root)}/" for f in self.used)) or "no folder that holds images"
        )
        return f"{annotation.relative_to(root) if annotation.is_relative_to(root) else annotation}; images in {folders}"


def finish(labels: Labels, every: int, file: Path) -> Labels:
    """Check a reader's labels and take every K-th row.

    Raises:
        UserError: ``every`` under 1, fewer than three images, all labels equal.
    """
    if isinstance(every, bool) or not isinstance(every, int) or every < 1:
        raise UserError(f"dataset.every={every} must be a whole number from 1")
    notes = labels.notes
    if labels.expected is not None and len(labels.table) != labels.expected:
        notes += (f"{len(labels.table)} annotated images, where {labels.expected} were published",)
    table = labels.table.reset_index(drop=True)
    if every > 1:
        notes += (f"every {every}th row: {len(table.iloc[::every])} of {len(table)}",)
        table = table.iloc[::every].reset_index(drop=True)
    if len(table) < MIN_IMAGES:
        raise UserError(f"{file}: {len(table)} images are too few, agreement needs at least {MIN_IMAGES}")
    if (table[labels.label] == table[labels.label].iloc[0]).all():
        raise UserError(
            f"{file}: all values of {labels.label} are {table[labels.label].iloc[0]}; nothing can be ranked"
        )
    return replace(labels, table=table, notes=notes, every=every)
