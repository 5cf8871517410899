"""Anyone's images and ratings: a CSV.

Example (``labels.csv``)::

    image,mos
    a.jpg,3.2
"""

import os
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from magiqa.datasets.base import DataSet, Labels, finish, numbers, read_csv
from magiqa.errors import UserError


@dataclass(frozen=True)
class Folder(DataSet):
    """A folder of images with a CSV of ratings.

    Args:
        annotation: the CSV, absolute or relative to the root. image_column: paths, absolute or relative to the root.
        higher_is_better: false for DMOS and the like: the label is then negated, once, here.
        split: take only the rows with this value in ``split_column``.
        reference_column: what images share that are not independent: intervals are resampled by it.
        outside_root: names may lead out of the root (absolute ones, ``..``, ``~``). Links inside it are followed
            in any case.
    """

    annotation: str = "labels.csv"
    image_column: str = "image"
    mos_column: str = "mos"
    higher_is_better: bool = True
    group_column: str | None = None
    reference_column: str | None = None
    split_column: str | None = None
    mos_std_column: str | None = None
    split: str | None = None
    outside_root: bool = False

    def load(self) -> Labels:
        """Read the labels."""
        root = self.folder_path()
        given = Path(os.path.expanduser(self.annotation))
        file = (
            self.find_file(given.parent, given.name)
            if given.is_absolute()
            else self.find_file(root, str(given))
        )
        optional = {
            "group": self.group_column,
            "reference": self.reference_column,
            "split": self.split_column,
            "mos_std": self.mos_std_column,
        }
        wanted = [self.image_column, self.mos_column, *(c for c in optional.values() if c)]
        raw = read_csv(file, wanted)
        names = _filled(file, raw, self.image_column)
        # Joined and tidied, so that a.jpg and ./a.jpg are one image.
        paths = pd.Series([os.path.normpath(root / os.path.expanduser(name)) for name in names])
        places = (str(root), os.path.realpath(root))  # the root as typed, and where links lead from there
        out = [not any(os.path.commonpath((path, place)) == place for place in places) for path in paths]
        if any(out) and not self.outside_root:
            raise UserError(
                f"{file}: {sum(out)} names lead out of dataset.root={self.root} (first {names[out.index(True)]!r}); if "
                "you know whose file this is, add dataset.outside_root=true"
            )
        twice = list(dict.fromkeys(names[paths.duplicated()]))
        if twice:
            more = f" and {len(twice) - 5} more" if len(twice) > 5 else ""
            raise UserError(
                f"{file}: rated more than once: {', '.join(twice[:5])}{more}; keep one row an image"
            )
        mos = numbers(file, raw[self.mos_column], self.mos_column)
        table = pd.DataFrame(
            {
                "image": names,
                "path": [path if os.path.lexists(path) else "" for path in paths],
                "mos": mos if self.higher_is_better else -mos,
            }
        )
        for key, column in optional.items():
            if column:
                table[key] = (
                    numbers(file, raw[column], column) if key == "mos_std" else _filled(file, raw, column)
                )
        notes: tuple[str, ...] = (f"outside_root: {sum(out)} names lead out of the root",) if any(out) else ()
        if not self.higher_is_better:
            notes += (f"{self.mos_column} is lower = better: mos = -{self.mos_column}",)
        if self.split is not None:
            if self.split_column is None:
                raise UserError(
                    f"dataset.split={self.split} needs dataset.split_column: name the column that holds it"
                )
            chosen = table[table["split"] == str(self.split)]
            if chosen.empty:
                known = ", ".join(dict.fromkeys(table["split"]))
                raise UserError(
                    f"dataset.split={self.split}: column {self.split_column} of {file} has {known}"
                )
            notes += (f"split {self.split}: {len(chosen)} of {len(table)} rows",)
            table = chosen
        labels = Labels(
            name=root.name,
            variant="" if self.split is None else str(self.split),
            table=table,
            higher_is_better=self.higher_is_better,
            cluster="reference" if self.reference_column else None,
            layout=f"{file.name}; images as it names them",
            notes=notes,
        )
        return finish(labels, self.every, file)


def _filled(file: Path, raw: pd.DataFrame, column: str) -> pd.Series:
    """A column of text with no empty cell."""
    empty = (raw[column] == "").to_numpy()
    if empty.any():
        raise UserError(
            f"{file}: column {column} is empty in row {int(empty.argmax()) + 1}; fill it or remove the row"
        )
    return raw[column]
