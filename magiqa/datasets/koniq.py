"""KonIQ-10k: two CSVs that both call a column ``MOS``, on different scales.

``koniq10k_scores_and_distributions.csv`` (raw MOS, 1-5)::

    "image_name","c1","c2","c3","c4","c5","c_total","MOS","SD","MOS_zscore"
    "10004473376.jpg",0,0,25,73,7,105,3.828571429,0.527278894,3.9

``koniq10k_distributions_sets.csv`` (z-scored MOS, 1-100, with the official split)::

    image_name,c1,c2,c3,c4,c5,c_total,MOS,SD,set
    10004473376.jpg,0,0,25,73,7,105,77.38,12.1,training
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from magiqa.datasets.base import ImageIndex, Labels, find_file, find_root, finish, numbers, read_table
from magiqa.errors import UserError

if TYPE_CHECKING:
    from magiqa.views import Resize

PAGE = "http://database.mmsp-kn.de/koniq-10k-database.html"
RAW = "koniq10k_scores_and_distributions.csv"
SETS = "koniq10k_distributions_sets.csv"
COUNTS = {"all": 10073, "training": 7058, "validation": 1000, "test": 2015}


@dataclass(frozen=True)
class Koniq:
    """KonIQ-10k (Hosu et al., IEEE TIP 2020).

    Args:
        split: ``all``, ``training``, ``validation`` or ``test`` (needs the sets CSV).
        mos: ``raw`` (1-5, MA-CLIP's) or ``zscore`` (CLIP-IQA's); they rank-correlate at 0.9919 only.
        size: the folder of images: ``1024x768`` or ``512x384``.
    """

    root: str
    split: str = "all"
    mos: str = "raw"
    size: str = "1024x768"
    resize: "Resize | None" = None
    every: int = 1

    def __post_init__(self) -> None:
        for key, allowed in {
            "split": COUNTS,
            "mos": ("raw", "zscore"),
            "size": ("1024x768", "512x384"),
        }.items():
            if getattr(self, key) not in allowed:
                raise UserError(f"dataset.{key}={getattr(self, key)} is not known: use {', '.join(allowed)}")

    def load(self) -> Labels:
        """Read the labels, from whichever of the two CSVs the variant needs."""
        root = find_root(self.root, PAGE)
        scores, sets = self._read(root, RAW), self._read(root, SETS)
        label = "MOS"  # of two files, on two scales
        if self.mos == "raw":
            table = scores
        elif sets is not None:
            table = sets
        else:
            table, label = scores, "MOS_zscore"
        if table is None:
            find_file(root, [RAW] if self.mos == "raw" else [SETS, RAW], PAGE)  # raises: neither is there
            raise AssertionError
        file = Path(table.attrs["file"])
        value = numbers(file, table.get(label, []), label)
        if self.mos == "raw" and value.max() > 5:
            raise UserError(
                f"{file}: column MOS reaches {value.max():g}, so it is no raw MOS of 1-5; fetch {RAW} from {PAGE}, or "
                "use dataset.mos=zscore"
            )
        names = table["image_name"].astype(str)
        index = ImageIndex(
            [root / self.size, root / "images" / self.size, root / f"koniq10k_{self.size}", root / "images"]
        )
        out = pd.DataFrame({"image": names, "path": [index.find(n) for n in names], "mos": value})
        if self.mos == "raw":
            out["mos_std"] = numbers(file, table["SD"], "SD")
        if sets is not None:
            split_of = dict(zip(sets["image_name"].astype(str), sets["set"].astype(str), strict=True))
            out["split"] = [split_of.get(n) for n in names]
        if self.split != "all":
            if sets is None:
                find_file(root, [SETS], PAGE)
            out = out[out["split"] == self.split]
        labels = Labels(
            name="koniq",
            variant="_".join(
                filter(
                    None,
                    [
                        self.split if self.split != "all" else "",
                        self.mos if self.mos != "raw" else "",
                        "512" if self.size == "512x384" else "",
                    ],
                )
            ),
            table=out,
            expected=COUNTS[self.split],
            page=PAGE,
            layout=index.layout(root, file),
            notes=(f"{self.mos} MOS from {file.name}",),
        )
        return finish(labels, self.every, file)

    @staticmethod
    def _read(root: Path, name: str) -> pd.DataFrame | None:
        if not any((root / name).parent.glob(name)):
            return None
        file = find_file(root, [name], PAGE)
        columns = ["image_name", "MOS", "SD"] + (["set"] if name == SETS else [])
        table = read_table(file, pd.read_csv, columns)
        table.attrs["file"] = str(file)
        return table
