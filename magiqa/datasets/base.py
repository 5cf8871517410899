"""Readers of data sets: their base class, the labels that they return, and how they find files and check numbers."""

import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd

from magiqa.checked import Checked, Least
from magiqa.datasets.containers import read_excel
from magiqa.datasets.image_index import ImageIndex
from magiqa.errors import UserError, some
from magiqa.images.decode import Alpha
from magiqa.images.views import Resize

MIN_IMAGES = 3


class NoAnnotation(UserError):
    """Raised when a folder has no annotation file of a set."""


@dataclass(frozen=True)
class Labels:
    """Images and labels of a data set, in the annotation's order.

    Args:
        name, variant: ``koniq``, ``test`` ("" is the default variant).
        table: columns ``image`` (as annotated), ``path`` (absolute; "" where the file is missing), the label's
            column, and where the set has them ``group``, ``level``, ``reference``, ``prompt``, ``split``,
            ``mos_std``, ``ratings``.
        label: the label's column: ``mos``, or ``ssim`` where no human gave it. Always higher = better.
        higher_is_better: the direction as distributed; where False the reader has negated the label.
        cluster: the column to resample by, where images are not independent.
        expected: the published number of images of this variant. page: where to get the set.
        layout: the annotation file and the image folders, in words. notes: policies and subsets.
        warnings: readings of a table that the user should check.
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
    warnings: tuple[str, ...] = ()


def other_than_published(notes: Iterable[str]) -> list[str]:
    """Of a data set's notes, those that say that it is not as large as published.

    Example:
        >>> other_than_published(["one row in 10", "900 annotated images, where 2982 were published"])
        ['900 annotated images, where 2982 were published']
    """
    return [note for note in notes if note.endswith("were published")]


@dataclass(frozen=True)
class DataSet(Checked, key="dataset"):
    """A reader: a config object whose class holds what is published about its set.

    A subclass gives the attributes as keywords (``class Koniq(DataSet, name="koniq", title=...)``) and implements
    ``load``, which ends with a call of `labels`.

    Args:
        root: the set's folder. resize: part of the set's protocol. every: take one row in so many.

    Attributes:
        name: as in ``dataset=NAME``. title: as its authors print it. page: where to get the set.
        folder: the folder that the set unpacks to, looked for below ``MAGIQA_DATA``.
        count: images of the default variant. cluster: the column to resample by.
        lower_is_better: the scores are differences (DMOS), which `labels` negates.
        splits: images of each official split. licence: in a word, where it is known to magiqa.
        alpha: what is shown of transparent pixels, unless the config says.
    """

    root: str
    resize: Resize | None = None
    every: Annotated[int, Least(1)] = 1

    name: ClassVar[str] = ""
    title: ClassVar[str] = ""
    folder: ClassVar[str] = ""
    page: ClassVar[str] = ""
    count: ClassVar[int | None] = None
    cluster: ClassVar[str | None] = None
    lower_is_better: ClassVar[bool] = False
    splits: ClassVar[Mapping[str, int]] = {}
    licence: ClassVar[str] = "not stated: ask at its page"
    alpha: ClassVar[Alpha] = "drop"

    def __init_subclass__(cls, **facts: Any) -> None:
        super().__init_subclass__()
        for attribute, value in facts.items():
            setattr(cls, attribute, value)

    def load(self) -> Labels:
        """Read the labels."""
        raise NotImplementedError

    def folder_path(self) -> Path:
        """Return the set's folder, ``~`` expanded.

        Raises:
            UserError: it does not exist.
        """
        folder = Path(os.path.expanduser(self.root))
        if not self.root or not folder.is_dir():
            where = f"; get the set from {self.page}" if self.page else ""
            where += (
                f", which unpacks to {self.folder}/ (docs/datasets.md lists its files)" if self.folder else ""
            )
            raise UserError(f"dataset.root={self.root}: no such folder{where}")
        return folder.absolute()

    def find_file(self, *candidates: str | Path) -> Path:
        """Return the first of the candidates (relative to the set's folder) that exists, without regard to case.

        Raises:
            NoAnnotation: none exists. UserError: it is empty.
        """
        folder = self.folder_path()
        file = look_up(folder, *(os.path.expanduser(candidate) for candidate in candidates))
        source = f" (from {self.page})" if self.page else ""
        if file is None:
            names = " or ".join(map(str, candidates))
            raise NoAnnotation(f"{folder}: annotation file {names} is missing; put it there{source}")
        if file.stat().st_size == 0:
            raise UserError(f"{file}: the annotation file is empty; fetch it again{source}")
        return file

    def labels(
        self,
        file: Path,
        folders: Sequence[str | Path],
        columns: Mapping[str, Any],
        *,
        recursive: bool = False,
        variant: str | None = None,
        count: int | None = None,
        notes: Sequence[str] = (),
    ) -> Labels:
        """Build the labels from an annotation's columns: choose the split, find the images, check the numbers.

        Args:
            file: the annotation, for messages. folders: of the images, below the set's. recursive: see `ImageIndex`.
            columns: ``image``, ``mos`` and others of `Labels.table`; ``path`` where a file is not called as its image.
            variant: by default the split. count: the published number of images, by default that of the split.
        """
        table = pd.DataFrame(dict(columns))
        split = getattr(self, "split", "all")
        if split != "all":
            table = table[table["split"] == split]
        names, home = table["image"].astype(str), self.folder_path()
        images = ImageIndex([home / folder for folder in folders], recursive)
        paths = table["path"] if "path" in table else [images.find(name) for name in names]
        table = table.assign(image=names, path=paths)
        table = table[["image", "path", *table.columns.drop(["image", "path"])]]
        score = getattr(columns["mos"], "name", None) or "mos"
        for column in {"mos", "mos_std"} & set(table):
            table[column] = numbers(
                file, table[column].rename(getattr(columns[column], "name", None) or column)
            )
        if self.lower_is_better:
            table["mos"] = -table["mos"]
            notes = (*notes, f"{score} is lower = better: mos = -{score}")
        labels = Labels(
            self.name,
            table,
            variant if variant is not None else split * (split != "all"),
            higher_is_better=not self.lower_is_better,
            cluster=self.cluster,
            expected=count or self.splits.get(split, self.count),
            page=self.page,
            layout=images.layout(home, file),
            notes=tuple(notes),
        )
        return finish(labels, self.every, file)


def finish(labels: Labels, every: int, file: Path) -> Labels:
    """Check a reader's labels and take every K-th row.

    Raises:
        UserError: fewer than three images, all labels equal.
    """
    table = labels.table.reset_index(drop=True)
    labels = replace(labels, annotated=len(table))
    notes = (*labels.notes, *filter(None, [count_note(labels)]))
    twice = duplicates(table["image"])
    if twice and labels.label == "mos":
        notes += (f"{len(twice)} images are annotated more than once, all rows kept: {some(twice)}",)
    if every > 1:
        table = table.iloc[::every].reset_index(drop=True)
        notes += (f"one row in {every}: {len(table)} of {labels.annotated}",)
    if len(table) < MIN_IMAGES:
        subset = f" (dataset.every={every} of {labels.annotated})" if every > 1 else ""
        raise UserError(
            f"{file}: {len(table)} images are too few{subset}, agreement needs at least {MIN_IMAGES}"
        )
    if (table[labels.label] == table[labels.label].iloc[0]).all():
        raise UserError(
            f"{file}: all values of {labels.label} are {table[labels.label].iloc[0]}; nothing can be ranked"
        )
    return replace(labels, table=table, notes=notes, every=every)


def duplicates(names: pd.Series) -> list[str]:
    """Return the names that stand several times."""
    return list(dict.fromkeys(names[names.duplicated()]))


def count_note(labels: Labels) -> str:
    """Return a note if the annotation does not hold the published number of images, else ""."""
    if labels.expected is None or labels.annotated is None or labels.annotated == labels.expected:
        return ""
    return f"{labels.annotated} annotated images, where {labels.expected} were published"


def fingerprint(labels: Labels) -> str:
    """Return the sha256 of image names and label values."""
    digest = hashlib.sha256(labels.label.encode())
    for image, value in zip(labels.table["image"], labels.table[labels.label], strict=True):
        digest.update(f"\n{image}\t{float(value)!r}".encode())
    return digest.hexdigest()


def occurrences(names: Iterable[str]) -> list[tuple[str, int]]:
    """Pair each name with how often it came before: a set may annotate one image twice.

    Example:
        >>> occurrences(["a", "b", "a"])
        [('a', 0), ('b', 0), ('a', 1)]
    """
    series = pd.Series(list(names), dtype=object)
    return list(zip(series, series.groupby(series).cumcount(), strict=True))


def look_up(folder: Path, *candidates: str) -> Path | None:
    """Return the first candidate file below a folder that exists, without regard to case, or None."""
    for candidate in candidates:
        path = folder
        for part in Path(candidate).parts:
            exact = path / part
            names = {} if exact.exists() or not path.is_dir() else {p.name.lower(): p for p in path.iterdir()}
            path = names.get(part.lower(), exact)
        if path.is_file():
            return path
    return None


def read_table(file: Path, columns: Sequence[str], **options: Any) -> pd.DataFrame:
    """Read a CSV or a workbook of a data set, and check that it has these columns.

    Args:
        options: of ``pandas.read_csv``, or of `read_excel`.

    Raises:
        UserError: the file cannot be parsed, has no rows, or lacks a column.
    """
    try:
        table = (read_excel if file.suffix.lower() == ".xlsx" else pd.read_csv)(file, **options)
    except Exception as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise UserError(f"{file}: cannot be read ({reason}); mend or replace it") from None
    table.columns = [str(column).strip() for column in table.columns]
    missing = [c for c in columns if c not in table]
    if missing:
        raise UserError(
            f"{file}: no column {', '.join(missing)} (found {some(list(table.columns))}); is it the right file?"
        )
    if table.empty:
        raise UserError(f"{file}: holds no rows; mend or replace it")
    return table


def numbers(file: Path, values: Any, column: str = "") -> np.ndarray:
    """Return a column as finite float64.

    Args:
        values: a Series has the name and the row numbers for the message. column: the name, if it has none.

    Raises:
        UserError: a value is text, NaN or infinite; names the row (1 = the first below the header) and the value.
    """
    series = values if isinstance(values, pd.Series) else pd.Series(list(values))
    out = pd.to_numeric(series, errors="coerce").to_numpy(np.float64)
    bad = np.flatnonzero(~np.isfinite(out))
    if len(bad):
        value = series.iloc[bad[0]]
        comma = isinstance(value, str) and re.fullmatch(r"\s*-?\d+,\d+\s*", value)
        raise UserError(
            f"{file}: column {series.name or column} holds {repr(value) if isinstance(value, str) else value} in row "
            f"{series.index[bad[0]] + 1}{f' (and {len(bad) - 1} more)' if len(bad) > 1 else ''}, which is no finite "
            f"number; {'add dataset.decimal=,' if comma else 'mend or remove the row'}"
        )
    return out


def name_parts(file: Path, names: pd.Series, pattern: str, form: str) -> pd.DataFrame:
    """Return the groups of a pattern that all names must match, a column each.

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


@cache
def sets(on_disk: bool = False) -> dict[str, type[DataSet]]:
    """Return the readers of this folder that have a title, by their names; ``on_disk``: of sets that users fetch."""
    files = iter_modules([str(Path(__file__).parent)])
    modules = [import_module(f"magiqa.datasets.{file.name}") for file in files]
    classes = [value for module in modules for value in vars(module).values() if isinstance(value, type)]
    return {c.name: c for c in classes if issubclass(c, DataSet) and c.title and (c.folder or not on_disk)}
