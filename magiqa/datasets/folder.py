"""Anyone's images and ratings: a folder and a table in any common form.

Example (``labels.csv``)::

    image,mos
    a.jpg,3.2
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from magiqa.datasets.base import DataSet, Labels, finish, numbers
from magiqa.datasets.columns import Columns, written_out
from magiqa.datasets.containers import Container
from magiqa.datasets.image_index import find_images
from magiqa.datasets.splits import chosen_rows
from magiqa.errors import UserError

ANNOTATIONS = ("labels.csv", "metadata.csv", "metadata.jsonl", "metadata.parquet")
# files that other programs write, whose score is a difference whatever its column is called
_DIFFERENCES = re.compile(
    r"(meta_info_|test_|train_)?(live|live_?md|livem|csiq)(dataset|_label)?", re.IGNORECASE
)


@dataclass(frozen=True)
class Folder(DataSet, alpha="white"):
    """A folder of images with a table of ratings: CSV, text, Excel, JSON, JSON lines or Parquet.

    Args:
        annotation: the table, absolute or relative to the root; by default ``labels.csv``, or the ``metadata`` file of
            a Hugging Face image folder.
        image_column: the column of image names, or a template such as ``{model}/{image_name}``. Without it, the one
            column with a known name counts; in a table without a header columns are called 1, 2, ...
        mos_column: the column of scores, or counts of the votes for 1, 2, ...: ``c1..c10``.
        higher_is_better: false for DMOS and the like: labels are then negated. Asked for where a name says DMOS.
        mos_std_column: the standard deviation of the raters, on the scale of the scores.
        rater_column: a row is one rating, by the rater in this column. rater_columns: a column is one rater
            (``[r1,r2]`` or ``r1..r30``). The label is then their mean.
        reference_column: images of one reference are not independent: intervals are resampled by it.
        split: take only the rows of this split (``test`` and 2 are the same, as are ``train`` and 0, ``val`` and 1).
        split_column, split_file: where splits stand: a column, or a list of names (text, or JSON by split) or of row
            numbers (npy; ``split_row`` selects one of its rows). Without both: the first folder of the names.
        encoding, separator, sheet: see `Container`. decimal: ``,`` for numbers such as 2,48.
        strip_prefix, add_prefix: a beginning of the names that is taken away, or put before them.
        outside_root: names may lead out of the root (absolute ones, ``..``, ``~``). Links inside it are followed
            in any case.
    """

    annotation: str | None = None
    image_column: str | None = None
    mos_column: str | None = None
    higher_is_better: bool | None = None
    group_column: str | None = None
    reference_column: str | None = None
    split_column: str | None = None
    mos_std_column: str | None = None
    split: str | None = None
    rater_column: str | None = None
    rater_columns: Sequence[str] | str = ()
    split_file: str | None = None
    split_row: int = 0
    encoding: str | None = None
    separator: str | None = None
    decimal: str = "."
    sheet: str | None = None
    strip_prefix: str = ""
    add_prefix: str = ""
    outside_root: bool = False

    def load(self) -> Labels:
        """Read the labels."""
        root = self.folder_path()
        file = self.find_file(*([self.annotation] if self.annotation else ANNOTATIONS))
        columns = Columns(file, Container(self.encoding, self.separator, self.sheet).read(file))
        table, score = self._table(columns)
        notes: list[str] = []
        split_file = self.find_file(self.split_file) if self.split_file else None
        rows = chosen_rows(file, table, self.split, split_file, self.split_row)
        if rows is not None:
            notes.append(f"split {self.split or self.split_file}: {int(rows.sum())} of {len(table)} rows")
            table = table[rows]
        if self.rater_column:
            table = _averaged(table)
        if "ratings" in table:
            least, most = int(table["ratings"].min()), int(table["ratings"].max())
            notes.append(f"mos: mean of {f'{least} to ' if least < most else ''}{most} ratings an image")
            table["mos"] = numbers(file, table["mos"], score)
            if least < 2:  # no spread of one rating
                table = table.drop(columns="mos_std", errors="ignore")
        table = table.reset_index(drop=True)
        table.insert(
            1, "path", find_images(file, table["image"].tolist(), root, self.outside_root, columns.notes)
        )
        columns.notes += _two_ranges(table["mos"], score)
        if not self._higher(file, score):
            table["mos"] = -table["mos"]
            notes.append(f"{score} is lower = better: mos = -{score}")
        labels = Labels(
            root.name,
            table,
            variant="" if rows is None else str(self.split or Path(str(self.split_file)).stem),
            higher_is_better=self._higher(file, score),
            cluster="reference" if self.reference_column else None,
            layout=f"{file.name}; images as it names them",
            notes=tuple(notes),
            warnings=tuple(columns.notes),
        )
        return finish(labels, self.every, file)

    def _table(self, columns: Columns) -> tuple[pd.DataFrame, str]:
        """Return the table by role, a row as in the file, and the name of the score."""
        names = columns.images(self.image_column)
        if self.strip_prefix:
            names = names.str.removeprefix(self.strip_prefix)
        table = pd.DataFrame({"image": _filled(columns.file, names)})
        if self.add_prefix:
            table["image"] = self.add_prefix + table["image"]
        raters = [self.rater_columns] if isinstance(self.rater_columns, str) else list(self.rater_columns)
        counts = written_out(self.mos_column or "")
        if raters:
            ratings = columns.several(raters, "rater_columns").apply(self._ratings, args=(columns.file,))
            values = ratings.to_numpy(float)
            score = "the raters' mean"
            table["mos"], table["mos_std"], table["ratings"] = _moments(values, np.ones_like(values))
        elif len(counts) > 1:
            votes = (
                columns.several(counts, "mos_column")
                .apply(self._numbers, args=(columns.file,))
                .to_numpy(float)
            )
            if (votes < 0).any():
                raise UserError(
                    f"{columns.file}: {self.mos_column} holds a number below 0; give counts of votes"
                )
            score = "the votes' mean"
            grades = np.broadcast_to(np.arange(1.0, len(counts) + 1), votes.shape)
            table["mos"], table["mos_std"], table["ratings"] = _moments(grades, votes)
        else:
            scores = columns.scores(self.mos_column)
            score = str(scores.name)
            table["mos"] = self._numbers(scores, columns.file)
        optional = {"group": "group_column", "reference": "reference_column", "split": "split_column"}
        optional["rater"] = "rater_column"
        for role, key in optional.items():
            if getattr(self, key):
                table[role] = _filled(columns.file, columns.named(getattr(self, key), key).astype(str))
        if self.mos_std_column:
            table["mos_std"] = self._numbers(
                columns.named(self.mos_std_column, "mos_std_column"), columns.file
            )
        return table, score

    def _numbers(self, values: pd.Series, file: Path) -> np.ndarray:
        if self.decimal != ".":
            values = values.astype(str).str.replace(self.decimal, ".", regex=False)
        return numbers(file, values)

    def _ratings(self, values: pd.Series, file: Path) -> np.ndarray:
        """Return one rater's ratings, NaN where there is none."""
        rated = values.astype(str).str.strip() != ""
        out = np.full(len(values), np.nan)
        out[rated] = self._numbers(values[rated], file)
        return out

    def _higher(self, file: Path, score: str) -> bool:
        """Return the direction.

        Raises:
            UserError: the user did not give it, and the score may be a difference.
        """
        if self.higher_is_better is None and ("dmos" in score.lower() or _DIFFERENCES.fullmatch(file.stem)):
            raise UserError(
                f"{file}: {score} may be a difference (DMOS); add dataset.higher_is_better=false if lower values are "
                "better (labels are then negated), or =true if higher ones are"
            )
        return self.higher_is_better is not False


def _filled(file: Path, values: pd.Series) -> pd.Series:
    """Return a column of text that has no empty cell."""
    empty = (values == "").to_numpy()
    if empty.any():
        row = values.index[int(empty.argmax())] + 1
        raise UserError(
            f"{file}: column {values.name or 'image'} is empty in row {row}; fill it or remove the row"
        )
    return values


def _moments(grades: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean, standard deviation (n - 1) and number of each row's ratings; NaN is none."""
    weights = np.where(np.isnan(grades), 0.0, weights)
    grades = np.nan_to_num(grades)
    count = weights.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = (grades * weights).sum(axis=1) / count
        square = (weights * (grades - mean[:, None]) ** 2).sum(axis=1)
        return mean, np.sqrt(square / (count - 1)), count.astype(int)


def _averaged(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row an image from a row a rating."""
    groups = table.groupby("image", sort=False)
    first = groups.first().drop(columns=["mos", "rater", "mos_std"], errors="ignore")
    moments = groups["mos"].agg(["mean", "std", "count"]).set_axis(["mos", "mos_std", "ratings"], axis=1)
    return pd.concat([moments, first], axis=1).reset_index()


def _two_ranges(scores: pd.Series, column: str) -> list[str]:
    """Warn of scores that lie in two ranges with a wide gap between them, as two mixed scales do."""
    values = np.sort(scores.to_numpy(float))
    gaps = np.diff(values)
    if len(values) < 6 or values[0] < 0:
        return []
    k = int(gaps.argmax())
    low, high = values[: k + 1], values[k + 1 :]
    if min(len(low), len(high)) < 3 or high[0] < 3 * low[-1] or gaps[k] < 2 * np.ptp(low):
        return []
    return [
        f"warning: {column} lies in two ranges, {low[0]:g} to {low[-1]:g} ({len(low)} rows) and {high[0]:g} to "
        f"{high[-1]:g} ({len(high)} rows); are two scales mixed?"
    ]
