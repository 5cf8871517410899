"""KonIQ-10k: two CSVs that both call a column ``MOS``, on different scales.

``koniq10k_scores_and_distributions.csv`` (raw MOS, 1-5)::

    "image_name","c1","c2","c3","c4","c5","c_total","MOS","SD","MOS_zscore"
    "10004473376.jpg",0,0,25,73,7,105,3.828571429,0.527278894,77.38

``koniq10k_distributions_sets.csv`` (z-scored MOS, 1-100, with the official split)::

    image_name,c1,c2,c3,c4,c5,c_total,MOS,SD,set
    10004473376.jpg,0,0,25,73,7,105,77.38,0.527278894,training

Both ``SD`` are the standard deviation of the raters' grades on the raw scale, so that only raw MOS has a ``mos_std``.
"""

import contextlib
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from magiqa.datasets.base import DataSet, Labels, look_up, numbers, read_table
from magiqa.errors import UnreadableImage, UserError
from magiqa.images.decode import identify, read_image

RAW = "koniq10k_scores_and_distributions.csv"
SETS = "koniq10k_distributions_sets.csv"


@dataclass(frozen=True)
class Koniq(
    DataSet,
    name="koniq",
    title="KonIQ-10k",
    folder="koniq10k",
    page="http://database.mmsp-kn.de/koniq-10k-database.html",
    count=10073,
    splits={"training": 7058, "validation": 1000, "test": 2015},
):
    """KonIQ-10k (Hosu et al., IEEE TIP 2020).

    Args:
        split: ``all``, ``training``, ``validation`` or ``test`` (needs the sets CSV).
        mos: ``raw`` (1-5, MA-CLIP's) or ``zscore`` (CLIP-IQA's); they rank-correlate at 0.9919 only.
        size: the folder of images: ``1024x768`` or ``512x384``.
    """

    split: Literal["all", "training", "validation", "test"] = "all"
    mos: Literal["raw", "zscore"] = "raw"
    size: Literal["1024x768", "512x384"] = "1024x768"

    def load(self) -> Labels:
        """Read the labels, from whichever of the two CSVs the variant needs."""
        root = self.folder_path()
        raw = self.mos == "raw"
        if raw and look_up(root, SETS) and not look_up(root, RAW):
            raise UserError(
                f"{root}: holds {SETS} only, whose MOS is z-scored; put {RAW} there (from {self.page}), or use "
                "dataset=koniq_zscore"
            )
        file = self.find_file(*([RAW] if raw else [SETS, RAW]))
        column = "MOS_zscore" if not raw and file.name.lower() == RAW else "MOS"
        table = read_table(file, ["image_name", column, "SD"])
        top = numbers(file, table[column]).max()
        if raw != (top <= 5):
            scale, other, way = (
                ("raw MOS of 1-5", RAW, "zscore") if raw else ("z-scored MOS of 1-100", SETS, "raw")
            )
            raise UserError(
                f"{file}: column {column} reaches {top:g}, so it is no {scale}; put {other} there (from {self.page}), "
                f"or use dataset.mos={way}"
            )
        columns: dict[str, Any] = {"image": table["image_name"].astype(str), "mos": table[column]}
        if raw:  # the deviation belongs to the raw scale
            columns["mos_std"] = table["SD"]
            columns |= {"ratings": table["c_total"]} if "c_total" in table else {}
        if self.split != "all" or look_up(root, SETS):
            columns["split"] = self._splits(self.find_file(SETS), columns["image"])
        unzipped = f"koniq10k_{self.size}"
        folders = [self.size, f"images/{self.size}", unzipped, f"{unzipped}/{self.size}", "images"]
        labels = self.labels(
            file,
            folders,
            columns,
            variant=self._variant(),
            notes=[f"mos: {self.mos} MOS, column {column} of {file.name}"],
        )
        self._check_size(next(filter(None, labels.table["path"]), ""))
        return labels

    def _variant(self) -> str:
        usual = (self.mos == "raw") == (self.split == "all")
        words = [
            self.split * (self.split != "all"),
            self.mos * (not usual),
            self.size[:3] * (self.size == "512x384"),
        ]
        return "_".join(filter(None, words))

    def _splits(self, file: Any, names: pd.Series) -> pd.Series:
        """Return the official split of each image."""
        sets = read_table(file, ["image_name", "set"]).astype(str)
        splits = names.map(dict(zip(sets["image_name"], sets["set"], strict=True)))
        if self.split != "all" and splits.isna().any():
            missing = names[splits.isna()]
            raise UserError(
                f"{file}: no set for {len(missing)} images ({missing.iloc[0]}, ...); fetch it again (from {self.page})"
            )
        return splits

    def _check_size(self, path: str) -> None:
        """Refuse the other folder's images, which a folder named ``images`` may hold."""
        # an image that cannot be read is reported later, with its reason
        with contextlib.suppress(UnreadableImage):
            size = "{}x{}".format(*identify(read_image(path), path).size)
            if size != self.size:
                raise UserError(
                    f"{path}: {size}, not dataset.size={self.size}; use the images or the variant of that size"
                )
