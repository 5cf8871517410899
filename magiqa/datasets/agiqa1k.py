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

from magiqa.checked import Checked
from magiqa.datasets.base import Every, ImageIndex, Labels, find_file, find_root, finish, numbers, read_table
from magiqa.datasets.excel import read_excel
from magiqa.errors import UserError
from magiqa.images.views import Resize

PAGE = "https://github.com/lcysyzxdxc/AGIQA-1k-Database"
POLICIES = ("keep", "first", "last", "mean", "drop", "error")


@dataclass(frozen=True)
class Agiqa1k(Checked, key="dataset"):
    """AGIQA-1K (Zhang et al., arXiv:2303.12618): 1,080 rows, 1,079 names.

    Args:
        duplicate: what becomes of a name that stands twice: ``keep`` both rows (1,080 in all, as published), the
            ``first`` or the ``last`` row, the ``mean`` of the MOS in the first row's place, ``drop`` the image, or
            stop with an ``error``.
    """

    root: str
    duplicate: Literal["keep", "first", "last", "mean", "drop", "error"] = "keep"
    resize: Resize | None = None
    every: Every = 1

    def load(self) -> Labels:
        """Read the labels. ``group`` is the generator: the name up to its first underscore."""
        root = find_root(self.root, PAGE)
        file = find_file(root, ["AIGC_MOS_Zscore.xlsx"], PAGE)
        raw = read_table(file, read_excel, ["Image", "Prompt", "MOS"])
        index = ImageIndex([root / "file", root / "images", root])
        names = raw["Image"].astype(str)
        table = pd.DataFrame(
            {
                "image": names,
                "path": [index.find(n) for n in names],
                "mos": numbers(file, raw["MOS"], "MOS"),
                "group": names.str.split("_").str[0],
                "prompt": raw["Prompt"].astype(str),
            }
        )
        twice = sorted(set(names[names.duplicated()]))
        notes: tuple[str, ...] = ()
        if twice and self.duplicate == "error":
            raise UserError(
                f"{file}: annotated twice: {', '.join(twice)}; choose with dataset.duplicate=keep, first, last, mean "
                "or drop"
            )
        if twice and self.duplicate != "keep":
            notes = (f"annotated twice: {', '.join(twice)}; duplicate={self.duplicate}",)
            if self.duplicate == "mean":
                table["mos"] = table.groupby("image")["mos"].transform("mean")
            if self.duplicate == "drop":
                table = table[~table["image"].duplicated(keep=False)]
            elif self.duplicate in ("first", "mean"):
                table = table[~table["image"].duplicated(keep="first")]
            elif self.duplicate == "last":
                table = table[~table["image"].duplicated(keep="last")]
        labels = Labels(
            name="agiqa1k",
            variant="" if self.duplicate == "keep" else f"duplicate_{self.duplicate}",
            table=table,
            cluster="prompt",
            expected={"keep": 1080, "drop": 1078}.get(self.duplicate, 1079),
            page=PAGE,
            layout=index.layout(root, file),
            notes=notes,
        )
        return finish(labels, self.every, file)
