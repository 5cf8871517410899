"""Maps of a run's images from the scores of their windows, for the gallery of its report."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from PIL import Image

from magiqa.errors import UserError
from magiqa.images.decode import LIMITS
from magiqa.images.views import Resize, Views, geometry, size_cut
from magiqa.method.heatmap import over_image
from magiqa.report.thumbnails import LARGE
from magiqa.runs.names import CUES
from magiqa.runs.read import Run, views_table

_MOST = 1_000_000  # windows of an image: a record may claim any stride


@dataclass(frozen=True)
class WindowMaps:
    """A run's ``views.csv``, a row a view.

    Args:
        scores: of the run, with the images' sizes. rows: image, view and the cues. starts: an image's first row.
        limits: lowest and highest of each score over all windows of the run: one scale of colors for all of them.
    """

    scores: pd.DataFrame
    rows: pd.DataFrame
    starts: np.ndarray
    views: Views
    resize: Resize | None
    limits: dict[str, tuple[float, float]]

    @classmethod
    def of(cls, run: Run) -> "WindowMaps | None":
        """The maps of a run; None where it has no windows or kept no scores of them."""
        kept: dict[str, Any] = dict(run.record.get("views", {}))
        table = views_table(run)
        if table is None or "windows" not in kept.get("kinds", ()) or "width" not in run.scores:
            return None
        kept.pop("count", None)
        resize = run.record["dataset"].get("resize")
        rows = table[table["pair"] == 0].reset_index(drop=True)
        starts = np.flatnonzero(rows["view"] == 0)
        if rows.loc[starts, "image"].tolist() != run.scores["image"].tolist():
            raise UserError(
                f"{run.folder}/views.csv: its images are not those of scores.csv; run magiqa evaluate again"
            )
        limits = {c: (float(rows[c].min()), float(rows[c].max())) for c in CUES}
        return cls(run.scores, rows, starts, Views(**kept), Resize(**resize) if resize else None, limits)

    def picture(self, i: int, score: str) -> Image.Image:
        """The map of an image, small, dark = low."""
        row = self.scores.iloc[i]
        size = int(row["width"]), int(row["height"])
        cut = size_cut(*size, self.views, self.resize)
        sides = [max(0, (side - self.views.window) // self.views.stride + 1) for side in cut]
        if math.prod(cut) > LIMITS.pixels or max(math.prod(sides), self.views.take or 0) > _MOST:
            raise UserError(
                f"views.csv: image {row['image']} has more windows or pixels than a map can show; run magiqa report "
                "without that run"
            )
        places = geometry(*size, self.views, self.resize)
        own = self.rows[score].to_numpy()[self.starts[i] :][: len(places)]
        windows = [k for k, place in enumerate(places) if place[0] == "windows"]
        if len(own) < len(places):
            raise UserError(
                f"views.csv: image {row['image']} has too few views for its size; run magiqa evaluate again"
            )
        found = over_image(
            own[windows], np.array([places[k][1:] for k in windows], float), self.views.window, size
        )
        low, high = self.limits[score]
        share = (found - low) / (high - low if high > low else 1.0)
        colors = colormaps["viridis"](np.nan_to_num(share), bytes=True)[..., :3]
        colors[np.isnan(found)] = 128  # no window lies there
        picture = Image.fromarray(np.ascontiguousarray(colors))
        picture.thumbnail((LARGE, LARGE))
        return picture
