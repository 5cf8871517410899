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

from magiqa.datasets.base import DataSet, Labels, read_table
from magiqa.errors import some


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
        duplicate: ``keep`` both rows of the name that stands twice (1,080 in all, as published), or ``drop`` both.
    """

    duplicate: Literal["keep", "drop"] = "keep"

    def load(self) -> Labels:
        """Read the labels. ``group`` is the generator: the name up to its first underscore."""
        file = self.find_file("AIGC_MOS_Zscore.xlsx")
        raw = read_table(file, ["Image", "Prompt", "MOS"])
        twice = raw["Image"].duplicated(keep=False) & (self.duplicate == "drop")
        notes = (
            [f"annotated twice and left out: {some(sorted(set(raw['Image'][twice])))}"] if twice.any() else []
        )
        raw = raw[~twice]
        columns = {
            "image": raw["Image"],
            "mos": raw["MOS"],
            "group": raw["Image"].astype(str).str.split("_").str[0],
            "prompt": raw["Prompt"].astype(str),
        }
        folders = ["file", "images", ""]
        if self.duplicate == "keep":
            return self.labels(file, folders, columns)
        return self.labels(file, folders, columns, variant="duplicate_drop", count=1078, notes=notes)
