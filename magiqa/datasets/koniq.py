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
from typing import Literal

import pandas as pd

from magiqa.checked import Checked
from magiqa.datasets.base import (
    Every,
    ImageIndex,
    Labels,
    find_file,
    find_root,
    finish,
    has_file,
    numbers,
    read_table,
)
from magiqa.errors import UnreadableImage, UserError
from magiqa.images.decode import identify, read_image
from magiqa.images.views import Resize

PAGE = "http://database.mmsp-kn.de/koniq-10k-database.html"
RAW = "koniq10k_scores_and_distributions.csv"
SETS = "koniq10k_distributions_sets.csv"
COUNTS = {"all": 10073, "training": 7058, "validation": 1000, "test": 2015}


@dataclass(frozen=True)
class Koniq(Checked, key="dataset"):
    """KonIQ-10k (Hosu et al., IEEE TIP 2020).

    Args:
        split: ``all``, ``training``, ``validation`` or ``test`` (needs the sets CSV).
        mos: ``raw`` (1-5, MA-CLIP's) or ``zscore`` (CLIP-IQA's); they rank-correlate at 0.9919 only.
        size: the folder of images: ``1024x768`` or ``512x384``.
    """

    root: str
    split: Literal["all", "training", "validation", "test"] = "all"
    mos: Literal["raw", "zscore"] = "raw"
    size: Literal["1024x768", "512x384"] = "1024x768"
    resize: Resize | None = None
    every: Every = 1

    def load(self) -> Labels:
        """Read the labels, from whichever of the two CSVs the variant needs."""
        root = find_root(self.root, PAGE)
        raw = self.mos == "raw"
        if raw and has_file(root, SETS) and not has_file(root, RAW):
            raise UserError(
                f"{root}: holds {SETS} only, whose MOS is z-scored; put {RAW} there (from {PAGE}), or use "
                "dataset=koniq_zscore"
            )
        file = find_file(root, [RAW] if raw else [SETS, RAW], PAGE)
        column = "MOS_zscore" if not raw and file.name.lower() == RAW else "MOS"
        table = read_table(file, pd.read_csv, ["image_name", column, "SD"])
        value = numbers(file, table[column], column)
        if raw and value.max() > 5:
            raise UserError(
                f"{file}: column {column} reaches {value.max():g}, so it is no raw MOS of 1-5; put {RAW} there (from "
                f"{PAGE}), or use dataset.mos=zscore"
            )
        if not raw and value.max() <= 5:
            raise UserError(
                f"{file}: column {column} reaches {value.max():g} only, so it is no z-scored MOS of 1-100; put {SETS} "
                f"there (from {PAGE}), or use dataset.mos=raw"
            )
        names = table["image_name"].astype(str)
        unzipped = root / f"koniq10k_{self.size}"
        index = ImageIndex(
            [root / self.size, root / "images" / self.size, unzipped, unzipped / self.size, root / "images"]
        )
        out = pd.DataFrame({"image": names, "path": [index.find(n) for n in names], "mos": value})
        if raw:  # the deviation belongs to the raw scale
            out["mos_std"] = numbers(file, table["SD"], "SD")
        if self.split != "all" or has_file(root, SETS):
            sets_file = find_file(root, [SETS], PAGE)
            sets = read_table(sets_file, pd.read_csv, ["image_name", "set"])
            out["split"] = names.map(
                dict(zip(sets["image_name"].astype(str), sets["set"].astype(str), strict=True))
            )
            if self.split != "all" and out["split"].isna().any():
                lost = names[out["split"].isna()]
                raise UserError(
                    f"{sets_file}: no set for {len(lost)} images of {file.name} ({lost.iloc[0]}, ...); fetch it again "
                    f"(from {PAGE})"
                )
        if self.split != "all":
            out = out[out["split"] == self.split]
        self._check_size(next(iter(out["path"][out["path"] != ""]), ""))
        usual = raw == (self.split == "all")
        words = [
            self.split * (self.split != "all"),
            self.mos * (not usual),
            self.size[:3] * (self.size == "512x384"),
        ]
        labels = Labels(
            name="koniq",
            variant="_".join(filter(None, words)),
            table=out,
            expected=COUNTS[self.split],
            page=PAGE,
            layout=index.layout(root, file),
            notes=(f"mos: {self.mos} MOS, column {column} of {file.name}",),
        )
        return finish(labels, self.every, file)

    def _check_size(self, path: str) -> None:
        """Refuse the other folder's images: a folder named ``images`` does not tell."""
        # an image that cannot be read is told later, with its reason
        with contextlib.suppress(UnreadableImage):
            size = "{}x{}".format(*identify(read_image(path), path).size)
            if size != self.size:
                raise UserError(
                    f"{path}: {size}, not dataset.size={self.size}; use the images or the variant of that size"
                )
