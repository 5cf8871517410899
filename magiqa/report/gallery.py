"""The gallery of a run's page: the images on which a score and MOS disagree most, with maps of their windows."""

import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from PIL import Image

from magiqa.datasets.sample import file_names
from magiqa.errors import UserError
from magiqa.images.decode import LIMITS
from magiqa.images.views import Resize, Views, geometry, size_cut
from magiqa.method.heatmap import over_image
from magiqa.report.pictures import LARGE, data_uri, thumbnail
from magiqa.report.runs_exhibits import shown_scores
from magiqa.report.words import AXES, group_name, short_label
from magiqa.runs.names import CUES
from magiqa.runs.read import Run, views_table

_MOST = 1_000_000  # windows of an image: a record may claim any stride


@dataclass(frozen=True)
class Shown:
    """An image of a gallery: its name, the places of its copy and map in the page's data, the words below it."""

    image: str
    large: int | None
    map: int | None
    text: str
    gap: str


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
        """Return the maps of a run; None where it has no windows or kept no scores of them."""
        views = {key: value for key, value in run.record["views"].items() if key != "count"}
        table = views_table(run)
        if table is None or "windows" not in views.get("kinds", ()) or "width" not in run.scores:
            return None
        resize = run.record["dataset"].get("resize")
        rows = table[table["pair"] == 0].reset_index(drop=True)
        starts = np.flatnonzero(rows["view"] == 0)
        if rows.loc[starts, "image"].tolist() != run.scores["image"].tolist():
            raise UserError(
                f"{run.folder}/views.csv: its images are not those of scores.csv; run magiqa evaluate again"
            )
        limits = {c: (float(rows[c].min()), float(rows[c].max())) for c in CUES}
        return cls(run.scores, rows, starts, Views(**views), Resize(**resize) if resize else None, limits)

    def picture(self, i: int, score: str) -> Image.Image:
        """Return the map of an image, small, dark = low."""
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
        if len(own) < len(places):
            raise UserError(
                f"views.csv: image {row['image']} has too few views for its size; run magiqa evaluate again"
            )
        windows = [k for k, place in enumerate(places) if place[0] == "windows"]
        corners = np.array([places[k][1:] for k in windows], float)
        values = over_image(own[windows], corners, self.views.window, size)
        low, high = self.limits[score]
        share = (values - low) / (high - low if high > low else 1.0)
        colors = colormaps["viridis"](np.nan_to_num(share), bytes=True)[..., :3]
        colors[np.isnan(values)] = 128  # no window lies there
        picture = Image.fromarray(np.ascontiguousarray(colors))
        picture.thumbnail((LARGE, LARGE))
        return picture


def disagreement(score: pd.Series, label: pd.Series) -> np.ndarray:
    """Return the rank of the score minus the rank of MOS, as shares of n: (N,) in [-1, 1]; above 0 is overrated.

    Example:
        >>> disagreement(pd.Series([1.0, 2.0, 3.0]), pd.Series([3.0, 2.0, 1.0])).round(2).tolist()
        [-0.67, 0.0, 0.67]
    """
    return (score.rank(pct=True) - label.rank(pct=True)).fillna(0.0).to_numpy()


class Pictures:
    """Small copies of the images of all runs, each once.

    Args:
        wanted: False where small copies of the images may not be published.
    """

    def __init__(self, runs: Sequence[Run], wanted: bool) -> None:
        self.most = max(3, min(12, 100 // max(len(runs), 1)))  # images a list of a gallery: bounds the page
        self.wanted = wanted
        self.paths = {run.name: _paths(run) if wanted else [None] * len(run.scores) for run in runs}
        self._places: dict[object, int | None] = {}
        self._codes: list[str] = []

    def note(self, run: Run) -> str:
        """Return how many images of a run could not be reached."""
        paths = self.paths[run.name]
        missing = sum(path is None for path in paths)
        if not self.wanted:
            return "made without small copies of images"
        note = f"{missing:,} of {len(paths):,} files are not under the data set's root, or have changed"
        return note if missing else ""

    def _place(self, key: object, image: Image.Image | None) -> int | None:
        """Return the place of a picture in the page's data."""
        if key not in self._places:
            self._places[key] = None if image is None else len(self._codes)
            self._codes += [] if image is None else [data_uri(image)]
        return self._places[key]

    def gallery(self, run: Run) -> Iterator[tuple[str, list[Shown]]]:
        """Return the lists of a run's gallery: a title and images, no file twice in a list."""
        maps, label = WindowMaps.of(run), short_label(run.label)
        for score in reversed(shown_scores(run)):
            gap = disagreement(run.scores[score], run.scores[run.label])
            order = np.argsort(gap, kind="stable")
            for kind, rows in (("Over", order[::-1]), ("Under", order)):
                images = []
                for i in self.first_of_each(run, rows):
                    path, row = self.paths[run.name][i], run.scores.iloc[i]
                    large = None if path is None else self._place(path, thumbnail(path))
                    overlay = None if maps is None or large is None else self._place(
                        (run.name, i, score), maps.picture(i, score))  # fmt: skip
                    text = f"{label} {row[run.label]:.3g}, score {row[score]:.4g}"
                    side = "above" if gap[i] > 0 else "below"
                    words = f"score rank {abs(100 * gap[i]):.0f} percentile points {side} {label} rank"
                    images.append(Shown(str(row["image"]), large, overlay, text, words))
                yield f"{kind}rated by the {AXES[score].lower()}", images

    def first_of_each(self, run: Run, rows: np.ndarray) -> list[int]:
        """Return the first rows of the first half, no file twice."""
        paths, half = self.paths[run.name], rows[: max(1, len(rows) // 2)]
        firsts = {str(paths[i] or i): int(i) for i in half[::-1]}
        return [int(i) for i in half if firsts[str(paths[i] or i)] == i][: self.most]

    def data(self, runs: Sequence[Run]) -> dict[str, Any]:
        """Return what the page's script needs: points, fitted curves, groups and small copies."""
        return {"large": self._codes, "runs": [_points(run) for run in runs]}


def _points(run: Run) -> dict[str, Any]:
    scores, fits = run.scores, run.record["fits"]
    out: dict[str, Any] = {
        "names": scores["image"].tolist(),
        "label": short_label(run.label),
        "axes": AXES,
        "curves": {score: (fits.get(score) or {}).get("params") for score in CUES},
        "y": _floats(scores[run.label]),
    }
    out |= {score: _floats(scores[score]) for score in (*CUES, "w_sim") if score in scores}
    if "group" in scores:
        groups = pd.Categorical(scores["group"].astype(str))
        out["groups"] = [group_name(name, run.record["dataset"]) for name in groups.categories]
        out["group"] = groups.codes.tolist()
    return out


def _floats(values: pd.Series) -> list[float | None]:
    """Return six significant digits, None for what is not finite."""
    return [float(f"{v:.6g}") if np.isfinite(v) else None for v in values.to_numpy(float)]


def _paths(run: Run) -> list[Path | None]:
    """Return the files of a run's images."""
    data, names = run.record["dataset"], run.scores["image"].tolist()
    sizes = run.scores["bytes"].tolist() if "bytes" in run.scores else [None] * len(names)
    root = str(data.get("root") or "")
    if data.get("name") == "sample":
        files = file_names(root)
        names = [files.get(name, name) for name in names]
    return locate(root, names, sizes, image_folders(str(data.get("layout") or "")))


def image_folders(layout: str) -> list[str]:
    """Return the folders of images that a data set's layout names, relative to its root.

    Example:
        >>> image_folders("data.csv; images in ./, images/")
        ['', './', 'images/']
    """
    words = re.search(r"images in ([^(]*)", layout)
    folders = [part.strip() for part in words[1].split(",")] if words else []
    return ["", *(folder for folder in folders if folder.endswith("/"))]


def locate(
    root: str, images: Sequence[str], sizes: Sequence[float | None], folders: Sequence[str] = ("",)
) -> list[Path | None]:
    """Return each image's file below a root; None where there is none, or its size is not the recorded one.

    Only named files are looked for: no folder is searched.

    Args:
        images: names relative to the root or to one of the folders; a name that leads out of the root has no file.
        sizes: recorded file sizes in bytes. No file fits an unknown size.
    """
    return [
        next((path for folder in folders if (path := _file(root, os.path.join(folder, image), size))), None)
        for image, size in zip(images, sizes, strict=True)
    ]


def _file(root: str, name: str, size: float | None) -> Path | None:
    top = os.path.abspath(root)
    path = os.path.abspath(os.path.join(top, name))
    if not root or not path.startswith(os.path.join(top, "")):
        return None
    try:
        return Path(path) if os.path.isfile(path) and os.path.getsize(path) == size else None
    except (OSError, ValueError):  # a name that no file can have
        return None
