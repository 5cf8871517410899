"""BID: ``DatabaseGrades.xlsx``, images ``ImageDatabase/DatabaseImage0001.JPG`` and on.

A row holds the image's number (1-590, with gaps), the mean, a cell that is not read, and the raters' grades of 0-5:
``mos_std`` is the standard deviation of these. The distributed file is a ``.xls``: save it as ``.xlsx``.
"""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from magiqa.datasets.base import DataSet, Labels, look_up, read_table
from magiqa.errors import UserError


@dataclass(frozen=True)
class Bid(
    DataSet,
    name="bid",
    title="BID",
    folder="BID",
    page="https://github.com/zwx8981/UNIQUE",
    count=586,
):
    """BID (Ciancio et al., IEEE TIP 2011): 586 photos with real blur."""

    def load(self) -> Labels:
        """Read the labels."""
        root = self.folder_path()
        if look_up(root, "DatabaseGrades.xls") and not look_up(root, "DatabaseGrades.xlsx"):
            raise UserError(
                f"{root}: DatabaseGrades.xls is an old Excel file; save it as DatabaseGrades.xlsx"
            )
        file = self.find_file("DatabaseGrades.xlsx", "ImageDatabase/DatabaseGrades.xlsx")
        raw = read_table(file, ["0", "1"], header=None)
        raw = raw[pd.to_numeric(raw["0"], errors="coerce").notna()]
        grades = raw.iloc[:, 3:].apply(pd.to_numeric, errors="coerce")
        columns: dict[str, Any] = {
            "image": [f"DatabaseImage{int(number):04d}.JPG" for number in raw["0"]],
            "mos": raw["1"].rename("mean"),
        }
        if grades.notna().sum(axis=1).min() > 1:
            columns |= {"mos_std": grades.std(axis=1), "ratings": grades.notna().sum(axis=1)}
        return self.labels(file, ["ImageDatabase", ""], columns)
