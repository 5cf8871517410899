"""What every reader returns, and what readers share: finding files, reading tables, checking labels."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd

from magiqa.checked import Least
from magiqa.errors import UserError

MIN_IMAGES = 3


Every = Annotated[int, Least(1)]  # take one row in so many


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
        every: only every K-th row was taken. annotated: rows of this variant before that; set by ``finish``.
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
    annotated: int | None = None


def count_note(labels: Labels) -> str:
    """That the annotation does not hold as many images as were published; "" where it does."""
    if labels.expected is None or labels.annotated is None or labels.annotated == labels.expected:
        return ""
    return f"{labels.annotated} annotated images, where {labels.expected} were published"


def fingerprint(labels: Labels) -> str:
    """sha256 over the names and label values: what the scores were compared with."""
    digest = hashlib.sha256(labels.label.encode())
    for image, value in zip(labels.table["image"], labels.table[labels.label], strict=True):
        digest.update(f"\n{image}\t{float(value)!r}".encode())
    return digest.hexdigest()


def occurrences(names: Iterable[str]) -> list[tuple[str, int]]:
    """Names, each with how often it came before: a set may annotate one image twice.

    Example:
        >>> occurrences(["a", "b", "a"])
        [('a', 0), ('b', 0), ('a', 1)]
    """
    seen: Counter[str] = Counter()
    out = []
    for name in names:
        out.append((name, seen[name]))
        seen[name] += 1
    return out


def find_root(root: str, page: str) -> Path:
    """The data set's folder, ``~`` expanded.

    Raises:
        UserError: it does not exist.
    """
    folder = Path(os.path.expanduser(root))
    if not root or not folder.is_dir():
        where = f"; get the set from {page}" if page else ""
        raise UserError(f"dataset.root={root}: no such folder{where}")
    return folder.absolute()


def find_file(root: Path, candidates: Sequence[str], page: str = "") -> Path:
    """The first of the candidate files (relative to the root) that exists, without regard to case.

    Raises:
        UserError: none exists, or it is empty.
    """
    for candidate in candidates:
        at = root
        for part in Path(candidate).parts:
            exact = at / part
            names = {} if exact.exists() or not at.is_dir() else {p.name.lower(): p for p in at.iterdir()}
            at = names.get(part.lower(), exact)
        if at.is_file():
            if at.stat().st_size == 0:
                raise UserError(f"{at}: the annotation file is empty; fetch it again" + _from(page))
            return at
    raise UserError(
        f"{root}: annotation file {' or '.join(candidates)} is missing; put it there" + _from(page)
    )


def has_file(root: Path, name: str) -> bool:
    """Whether a folder holds a file of that name, without regard to case."""
    return any(entry.name.lower() == name.lower() for entry in root.iterdir())


def _from(page: str) -> str:
    return f" (from {page})" if page else ""


def read_csv(file: Path, columns: Sequence[str]) -> pd.DataFrame:
    """A CSV that users write, as text: cells as they stand, the header's names without blanks around them.

    Raises:
        UserError: as ``read_table``; a row of more cells than the header, or a column that it names twice.
    """

    def read(file: Path) -> pd.DataFrame:
        # the header as a row like others: pandas would rename doubled columns, and take a surplus first one as index
        cells = pd.read_csv(file, header=None, dtype=str, keep_default_na=False, encoding="utf-8-sig").fillna(
            ""
        )
        table = cells.iloc[1:].reset_index(drop=True)
        return table.set_axis([str(name).strip() for name in cells.iloc[0]], axis=1)

    return read_table(file, read, columns)


def read_table(file: Path, read: Callable[[Path], pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    """Read an annotation table and check that it has these columns.

    Raises:
        UserError: the file cannot be parsed, has no rows, or lacks a column.
    """
    try:
        table = read(file)
    except Exception as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise UserError(f"{file}: cannot be read ({reason}); mend or replace it") from None
    table = table.rename(columns={c: str(c).strip() for c in table.columns})
    missing = [c for c in columns if c not in table]
    if missing:
        found = ", ".join(map(str, table.columns))
        other = [c for c in ";\t" if len(table.columns) == 1 and c in found]
        remedy = f"separate its cells by commas, not {other[0]!r}" if other else "is it the right file?"
        raise UserError(f"{file}: no column {', '.join(missing)} (found {found}); {remedy}")
    twice = [c for c in columns if list(table.columns).count(c) > 1]
    if twice:
        raise UserError(f"{file}: several columns are called {twice[0]}; rename or remove all but one")
    if table.empty:
        raise UserError(f"{file}: holds no rows; mend or replace it")
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
        value = series[bad[0]]
        raise UserError(
            f"{file}: column {column} holds {repr(value) if isinstance(value, str) else value} in row {bad[0] + 1}"
            + (f" (and {len(bad) - 1} more)" if len(bad) > 1 else "")
            + ", which is no finite number; mend or remove the row"
        )
    return out


def name_parts(file: Path, names: pd.Series, pattern: str, form: str) -> pd.DataFrame:
    """The groups of a pattern that all names must match, a column each.

    Raises:
        UserError: a name is not of that form.
    """
    parts = names.str.extract(pattern)
    bad = names[parts.isna().any(axis=1)]
    if len(bad):
        raise UserError(
            f"{file}: {bad.iloc[0]!r} is not of the form {form}; is it the right annotation file?"
        )
    return parts


class ImageIndex:
    """Finds annotated names among the files below some folders: as written, else without regard to case.

    Args:
        folders: searched in order; the first that holds a name wins, and ``layout`` says which others hold it too.
        recursive: descend into sub-folders.
    """

    def __init__(self, folders: Sequence[Path], recursive: bool = False) -> None:
        self.folders = [f for f in dict.fromkeys(folders) if f.is_dir()]
        self.used: set[Path] = set()
        self.unused: set[Path] = set()
        self._names: list[dict[str, list[str]]] = []
        for folder in self.folders:
            names: dict[str, list[str]] = {}
            for base, subfolders, files in os.walk(folder):
                for file in files:
                    names.setdefault(file.lower(), []).append(os.path.join(base, file))
                if not recursive:
                    subfolders.clear()
            self._names.append(names)

    def find(self, name: str) -> str:
        """The absolute path of a file, or "" when there is none.

        Raises:
            UserError: a folder holds several files that could be meant.
        """
        chosen = ""
        for folder, names in zip(self.folders, self._names, strict=True):
            found = names.get(name.lower(), [])
            if chosen:
                if any(not os.path.samefile(chosen, other) for other in found):
                    self.unused.add(folder)
                continue
            exact = [path for path in found if os.path.basename(path) == name] or found
            if len(exact) > 1:
                raise UserError(f"{name}: could be {' or '.join(sorted(exact))}; keep one of them")
            if exact:
                chosen = exact[0]
                self.used.add(folder)
        return chosen

    def layout(self, root: Path, annotation: Path) -> str:
        """What was found where, in words."""

        def words(folders: set[Path]) -> str:
            return ", ".join(
                sorted(f"{f.relative_to(root) if f.is_relative_to(root) else f}/" for f in folders)
            )

        file = annotation.relative_to(root) if annotation.is_relative_to(root) else annotation
        also = f" (not used: files of the same names in {words(self.unused)})" if self.unused else ""
        return f"{file}; images in {words(self.used) or 'no folder'}{also}"


def finish(labels: Labels, every: int, file: Path) -> Labels:
    """Check a reader's labels and take every K-th row.

    Raises:
        UserError: fewer than three images, all labels equal.
    """
    table = labels.table.reset_index(drop=True)
    labels = replace(labels, annotated=len(table))
    notes = labels.notes + ((count_note(labels),) if count_note(labels) else ())
    twice = list(dict.fromkeys(table.loc[table["image"].duplicated(), "image"]))
    if twice and labels.label == "mos":
        more = f" and {len(twice) - 5} more" if len(twice) > 5 else ""
        notes += (
            f"{len(twice)} images are annotated more than once, all rows kept: {', '.join(twice[:5])}{more}",
        )
    if every > 1:
        table = table.iloc[::every].reset_index(drop=True)
        notes += (f"one row in {every}: {len(table)} of {labels.annotated}",)
    if len(table) < MIN_IMAGES:
        raise UserError(
            f"{file}: {len(table)} images are too few"
            + (f" (dataset.every={every} of {labels.annotated})" if every > 1 else "")
            + f", agreement needs at least {MIN_IMAGES}"
        )
    if (table[labels.label] == table[labels.label].iloc[0]).all():
        raise UserError(
            f"{file}: all values of {labels.label} are {table[labels.label].iloc[0]}; nothing can be ranked"
        )
    return replace(labels, table=table, notes=notes, every=every)
