"""FLIVE (LIVE-FB, PaQ-2-PiQ): ``labels_image.csv``, images under ``database/``.

Example::

    name,mos
    blur_dataset/motion0044.jpg,75.44372347614072

``labels640.csv`` (``name_image``) lists the official test set, 1,827 images larger than 640 pixels. The images are put
together by the authors' notebook from AVA, VOC and Emotic. Patches, which pyiqa's list holds too, are not read: they
are parts of the images. The set has no standard deviations.
"""

from dataclasses import dataclass
from typing import Any, Literal

from magiqa.datasets.base import DataSet, Labels, read_table


@dataclass(frozen=True)
class Flive(
    DataSet,
    name="flive",
    title="FLIVE",
    folder="FLIVE_Database",
    page="https://github.com/niu-haoran/FLIVE_Database",
    count=39810,
    splits={"train": 37983, "test": 1827},
):
    """FLIVE (Ying et al., CVPR 2020): 39,810 photos of three sources.

    Args:
        split: ``all``, the official ``test`` set, or the ``train`` images, which are all others.
    """

    split: Literal["all", "train", "test"] = "all"

    def load(self) -> Labels:
        """Read the labels. ``group`` is the source: the first folder of the name."""
        places = ("", "labels/", "database/")
        file = self.find_file(*(f"{place}labels_image.csv" for place in places))
        raw = read_table(file, ["name", "mos"])
        columns: dict[str, Any] = {
            "image": raw["name"],
            "mos": raw["mos"],
            "group": raw["name"].astype(str).str.partition("/")[0],
        }
        if self.split != "all":
            list_file = self.find_file(*(f"{place}labels640.csv" for place in places))
            test = raw["name"].isin(read_table(list_file, ["name_image"])["name_image"])
            columns["split"] = test.map({True: "test", False: "train"})
        return self.labels(file, ["database", ""], columns)
