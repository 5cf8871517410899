"""AIGIQA-20K (AIGCQA-30K-Image): ``info_train.xlsx``, ``info_val.xlsx``, ``info_test.xlsx``; a folder for each split.

Example (sheet's columns)::

    name              prompt                          mos
    DALLE2_0000.png   A cyberpunk gopnik on ...       3.6638868235

Traps: MOS mixes quality and fit to the prompt. The challenge's copy of ``info_val.xlsx`` has no MOS. A generator's name
may hold underscores: it ends at the last one. The set has no standard deviations.
"""

from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from magiqa.datasets.base import DataSet, Labels, read_table


@dataclass(frozen=True)
class Aigiqa20k(
    DataSet,
    name="aigiqa20k",
    title="AIGIQA-20K",
    folder="AIGIQA-20K",
    page="https://www.modelscope.cn/datasets/lcysyzxdxc/AIGCQA-30K-Image",
    count=20000,
    cluster="prompt",
    splits={"train": 14000, "val": 2000, "test": 4000},
):
    """AIGIQA-20K (Li et al., 2024): 20,000 images of 15 generators.

    Args:
        split: ``all``, or an official one.
    """

    split: Literal["all", "train", "val", "test"] = "all"

    def load(self) -> Labels:
        """Read the labels. ``group`` is the generator: the name up to its last underscore."""
        splits = list(self.splits) if self.split == "all" else [self.split]
        frames = []
        for split in splits:
            file = self.find_file(f"info_{split}.xlsx", f"{split}/info_{split}.xlsx")
            frames.append(read_table(file, ["name", "prompt", "mos"]).assign(split=split))
        raw = pd.concat(frames, ignore_index=True)
        columns: dict[str, Any] = {
            "image": raw["name"],
            "mos": raw["mos"],
            "group": raw["name"].astype(str).str.rpartition("_")[0],
            "prompt": raw["prompt"].astype(str),
            "split": raw["split"],
        }
        return self.labels(file, [*splits, ""], columns)
