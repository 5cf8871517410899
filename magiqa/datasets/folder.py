"""Anyone's images and ratings: a CSV.

Example (``labels.csv``)::

    image,mos
    a.jpg,3.2
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from magiqa.datasets.base import Labels, find_file, find_root, finish, numbers, read_table
from magiqa.errors import UserError

if TYPE_CHECKING:
    from magiqa.views import Resize


@dataclass(frozen=True)
class Folder:
    """A folder of images with a CSV of ratings.

    Args:
        annotation: the CSV, absolute or relative to the root. image_column: paths, absolute or relative to the root.
        higher_is_better: false for DMOS and the like: the label is then negated, once, here.
        split: take only the rows with this value in ``split_column``.
        cluster: resample intervals by ``reference`` or ``group``, where images are not independent.
    """

    root: str
    annotation: str = "labels.csv"
    image_column: str = "image"
    mos_column: str = "mos"
    higher_is_better: bool = True
    group_column: str | None = None
    reference_column: str | None = None
    split_column: str | None = None
    mos_std_column: str | None = None
    split: str | None = None
    resize: "Resize | None" = None
    every: int = 1

    def load(self) -> Labels:
        """Read the labels."""
        root = find_root(self.root, "")
        given = Path(self.annotation).expanduser()
        file = find_file(given.parent, [given.name]) if given.is_absolute() else find_file(root, [str(given)])
        optional = {
            "group": self.group_column,
            "reference": self.reference_column,
            "split": self.split_column,
            "mos_std": self.mos_std_column,
        }
        wanted = [self.image_column, self.mos_column, *(c for c in optional.values() if c)]
        raw = read_table(file, lambda f: pd.read_csv(f, dtype={self.image_column: str}), wanted)
        names = raw[self.image_column].fillna("")
        if (names == "").any():
            row = int((names == "").to_numpy().argmax()) + 1
            raise UserError(
                f"{file}: column {self.image_column} is empty in row {row}; name the image or remove the row"
            )
        twice = sorted(set(names[names.duplicated()]))
        if twice:
            more = f" and {len(twice) - 3} more" if len(twice) > 3 else ""
            raise UserError(f"{file}: rated twice: {', '.join(twice[:3])}{more}; keep one row an image")
        paths = [root / Path(n).expanduser() for n in names]
        mos = numbers(file, raw[self.mos_column], self.mos_column)
        table = pd.DataFrame(
            {
                "image": names,
                "path": [str(p) if p.is_file() else "" for p in paths],
                "mos": mos if self.higher_is_better else -mos,
            }
        )
        for column, source in optional.items():
            if source:
                table[column] = (
                    numbers(file, raw[source], source) if column == "mos_std" else raw[source].astype(str)
                )
        if self.split is not None:
            if self.split_column is None:
                raise UserError(
                    "dataset.split is set without dataset.split_column: name the column that holds it"
                )
            known = sorted(set(table["split"]))
            table = table[table["split"] == self.split]
            if table.empty:
                raise UserError(
                    f"dataset.split={self.split}: {file} has {', '.join(known)} in {self.split_column}"
                )
        notes = (
            ()
            if self.higher_is_better
            else (f"{self.mos_column} is lower = better: mos = -{self.mos_column}",)
        )
        labels = Labels(
            name=root.name,
            variant=self.split or "",
            table=table,
            higher_is_better=self.higher_is_better,
            cluster="reference" if self.reference_column else None,
            layout=f"{file.name}; images as it names them",
            notes=notes,
        )
        return finish(labels, self.every, file)
