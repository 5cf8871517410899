"""CSIQ: ``csiq.DMOS.xlsx``, sheet ``all_by_image``, header in row 4; images under ``dst_imgs/<type>/``.

Example (sheet's columns)::

    image       dst_idx  dst_type  dst_lev  dmos_std  dmos
    artisanal   1        noise     1        0.0       0.0623      -> dst_imgs/awgn/artisanal.AWGN.1.png

``dmos`` is lower = better. Type names differ from the folders; the image ``1600`` may be read as a number.
``dmos_std`` is the standard deviation over the raters.
"""

from dataclasses import dataclass

import pandas as pd

from magiqa.checked import Checked
from magiqa.datasets.base import Every, ImageIndex, Labels, find_file, find_root, finish, numbers, read_table
from magiqa.datasets.excel import read_excel
from magiqa.errors import UserError
from magiqa.images.views import Resize

PAGE = "https://s2.smu.edu/~eclarson/csiq.html"
FILE_TYPES = {
    "noise": "AWGN", "blur": "BLUR", "jpeg": "JPEG", "jpeg 2000": "jpeg2000", "contrast": "contrast",
    "fnoise": "fnoise",
}  # fmt: skip


@dataclass(frozen=True)
class Csiq(Checked, key="dataset"):
    """CSIQ (Larson & Chandler, 2010): 866 images, 30 references, 6 distortion types."""

    root: str
    resize: Resize | None = None
    every: Every = 1

    def load(self) -> Labels:
        """Read the labels. ``group`` is the distortion type; ``mos`` is minus DMOS."""
        root = find_root(self.root, PAGE)
        file = find_file(root, ["csiq.DMOS.xlsx", "CSIQ/csiq.DMOS.xlsx"], PAGE)
        columns = ["image", "dst_type", "dst_lev", "dmos_std", "dmos"]
        raw = read_table(file, lambda f: read_excel(f, sheet_name="all_by_image", header=3), columns)
        raw = raw[[c for c in raw.columns if not str(c).startswith("Unnamed")]].dropna(how="all")
        types = raw["dst_type"].astype(str).str.strip().str.lower()
        unknown = sorted(set(types) - set(FILE_TYPES))
        if unknown:
            raise UserError(f"{file}: dst_type {unknown[0]!r} is not known: expected {', '.join(FILE_TYPES)}")
        references = [f"{v:g}" if isinstance(v, float) else str(v).strip() for v in raw["image"]]
        levels = numbers(file, raw["dst_lev"], "dst_lev").astype(int)
        names = [
            f"{r}.{FILE_TYPES[t]}.{lev}.png" for r, t, lev in zip(references, types, levels, strict=True)
        ]
        index = ImageIndex([file.parent / "dst_imgs", file.parent], recursive=True)
        table = pd.DataFrame(
            {
                "image": names,
                "path": [index.find(n) for n in names],
                "mos": -numbers(file, raw["dmos"], "dmos"),
                "group": list(types),
                "level": levels,
                "reference": references,
                "mos_std": numbers(file, raw["dmos_std"], "dmos_std"),
            }
        )
        labels = Labels(
            name="csiq",
            table=table,
            higher_is_better=False,
            cluster="reference",
            expected=866,
            page=PAGE,
            layout=index.layout(root, file),
            notes=("dmos is lower = better: mos = -dmos",),
        )
        return finish(labels, self.every, file)
