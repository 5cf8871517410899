"""AGIQA-1K: ``AIGC_MOS_Zscore.xlsx``, images under ``file/``.

Example (sheet's columns)::

    Image                      Prompt          MOS
    dreamStudio_0_0_0_0.jpg    ...             2.7813

Traps: ``dreamStudio_8_9_1_1.jpg`` stands twice with different MOS (0.441 and 2.084), ``dreamStudio_8_5_0_0.jpg`` is
missing; ``AIGC_all.csv`` holds other scores (SRCC 0.805 with the xlsx) and is not read.
The set has no standard deviations.
"""

from dataclasses import dataclass
from typing import Literal

import pandas as pd

from magiqa.datasets.base import DataSet, Labels, read_table
from magiqa.errors import UserError


@dataclass(frozen=True)
class Agiqa1k(
    DataSet,
    name="agiqa1k",
    title="AGIQA-1K",
    folder="AGIQA-1K",
    page="https://github.com/lcysyzxdxc/AGIQA-1k-Database",
    count=1080,
    cluster="prompt",
):
    """AGIQA-1K (Zhang et al., arXiv:2303.12618): 1,080 rows, 1,079 names.

    Args:
        duplicate: the policy for a name that stands twice: ``keep`` both rows (1,080 in all, as published), the
            ``first`` or the ``last`` row, the ``mean`` of the MOS in the first row's place, ``drop`` the image, or
            stop with an ``error``.
    """

    duplicate: Literal["keep", "first", "last", "mean", "drop", "error"] = "keep"

    def load(self) -> Labels:
        """Read the labels. ``group`` is the generator: the name up to its first underscore."""
        root = self.folder_path()
        file = self.find_file(root, "AIGC_MOS_Zscore.xlsx")
        raw = read_table(file, ["Image", "Prompt", "MOS"])
        names = raw["Image"].astype(str)
        twice = sorted(set(names[names.duplicated()]))
        if twice and self.duplicate == "error":
            raise UserError(
                f"{file}: annotated twice: {', '.join(twice)}; choose with dataset.duplicate=keep, first, last, mean "
                "or drop"
            )
        notes = []
        if twice and self.duplicate != "keep":
            notes = [f"annotated twice: {', '.join(twice)}; duplicate={self.duplicate}"]
            if self.duplicate == "mean":
                raw["MOS"] = pd.to_numeric(raw["MOS"], errors="coerce").groupby(names).transform("mean")
            copies: Literal["first", "last", False] = "first"
            if self.duplicate in ("last", "drop"):
                copies = "last" if self.duplicate == "last" else False
            raw = raw[~names.duplicated(keep=copies)]
        columns = {
            "image": raw["Image"],
            "mos": raw["MOS"],
            "group": raw["Image"].astype(str).str.split("_").str[0],
            "prompt": raw["Prompt"].astype(str),
        }
        return self.labels(
            file,
            [root / "file", root / "images", root],
            columns,
            variant="" if self.duplicate == "keep" else f"duplicate_{self.duplicate}",
            count={"keep": 1080, "drop": 1078}.get(self.duplicate, 1079),
            notes=notes,
        )
