"""UHD-IQA: ``uhd-iqa-metadata.csv``, images under ``training/ validation/ test/``.

Example::

    image_name,quality_mos,set,orig_width,...
    "1.jpg",0.76,"training",5515,...

Images are about 3,840 pixels wide: some 460 windows each. The set has no standard deviations.
"""

from dataclasses import dataclass, replace
from typing import Literal

from magiqa.datasets.base import DataSet, Labels, read_table


@dataclass(frozen=True)
class Uhdiqa(
    DataSet,
    name="uhdiqa",
    title="UHD-IQA",
    folder="UHD-IQA",
    page="https://datasets.vqa.mmsp-kn.de/archives/UHD-IQA/",
    count=6073,
    splits={"training": 4269, "validation": 904, "test": 900},
    licence="images CC0",
):
    """UHD-IQA (Hosu et al., 2024): 6,073 photos of high quality at some 8 megapixels.

    Args:
        split: ``all``, or an official one.
    """

    split: Literal["all", "training", "validation", "test"] = "all"

    def load(self) -> Labels:
        """Read the labels."""
        file = self.find_file("uhd-iqa-metadata.csv", "uhd-iqa-training-metadata.csv")
        raw = read_table(file, ["image_name", "quality_mos", "set"])
        columns = {"image": raw["image_name"], "mos": raw["quality_mos"], "split": raw["set"]}
        labels = self.labels(file, [*self.splits, ""], columns)
        views = 460 * len(labels.table)
        effort = (
            f"{len(labels.table)} images of some 8 megapixels: about 460 windows each at stride 128, {views:,} in all. "
            f"With RN50 this is about {views / 9 / 3600:.1f} hours of one CPU core, and {views * 4096 / 1e9:.1f} GB in "
            "the cache. Each decoding thread takes about 0.1 GB of memory. A larger views.stride or a dataset.resize "
            "takes less"
        )
        return labels if self.resize else replace(labels, warnings=(effort,))
