"""LIVE, release 2: MATLAB vectors of 982 values, images under ``jp2k/ jpeg/ wn/ gblur/ fastfading/``.

The vectors hold the images of the five folders in this order (227, 233, 174, 174, 174 files ``img1.bmp``,
``img2.bmp``, ...). ``orgs`` is 1 for the 203 rows that are references: 779 distorted images are left.

Traps: there are two label files. ``dmos_realigned.mat`` (``dmos_new``, ``dmos_std``) is used by hyperIQA, ARNIQA and
LIQE, ``dmos.mat`` (``dmos``) by pyiqa and Q-Align; they rank-correlate at 0.957 only. DMOS is lower = better.
``dmos_std`` is the standard deviation of the raters' realigned scores.
"""

from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from magiqa.datasets.base import DataSet, Labels
from magiqa.datasets.image_index import ImageIndex
from magiqa.datasets.matlab import read_mat
from magiqa.errors import UserError

TYPES = {"jp2k": 227, "jpeg": 233, "wn": 174, "gblur": 174, "fastfading": 174}


@dataclass(frozen=True)
class Live(
    DataSet,
    name="live",
    title="LIVE",
    folder="databaserelease2",
    page="https://live.ece.utexas.edu/research/quality/subjective.htm",
    count=779,
    cluster="reference",
    lower_is_better=True,
    licence="free, with its notice",
):
    """LIVE release 2 (Sheikh et al., IEEE TIP 2006): 779 distorted images of 29 references, five distortion types.

    Args:
        dmos: the label file: ``realigned`` (dmos_realigned.mat) or ``original`` (dmos.mat).
    """

    dmos: Literal["realigned", "original"] = "realigned"

    def load(self) -> Labels:
        """Read the labels. ``group`` is the distortion type; references are left out."""
        root = self.folder_path()
        name = "dmos_realigned.mat" if self.dmos == "realigned" else "dmos.mat"
        file = self.find_file(root, name, f"{self.folder}/{name}")
        keys = ["dmos_new", "dmos"] if self.dmos == "realigned" else ["dmos"]
        columns: dict[str, Any] = {
            "image": pd.Series([f"{kind}/img{i + 1}.bmp" for kind, n in TYPES.items() for i in range(n)]),
            "mos": read_mat(file, *keys),
            "group": pd.Series([kind for kind, n in TYPES.items() for _ in range(n)]),
            "reference": read_mat(self.find_file(file.parent, "refnames_all.mat"), "refnames_all"),
        }
        if self.dmos == "realigned":
            columns["mos_std"] = read_mat(file, "dmos_std")
        references = read_mat(file, "orgs")
        total = sum(TYPES.values())
        for values in (references, *columns.values()):
            if len(values) != total:
                raise UserError(
                    f"{file}: {len(values)} {values.name}, expected {total}; fetch the files again"
                )
        columns = {column: values[references == 0] for column, values in columns.items()}
        return self.labels(
            file,
            ImageIndex([file.parent]),
            columns,
            variant="" if self.dmos == "realigned" else "original",
            notes=[
                f"labels: {columns['mos'].name} of {file.name}; {int((references != 0).sum())} references left out"
            ],
        )
