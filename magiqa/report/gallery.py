"""The gallery of a run's page: the images on which a score and MOS disagree most."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from magiqa.datasets.sample import file_names
from magiqa.report.pictures import data_uri, thumbnail
from magiqa.report.runs_exhibits import shown_scores
from magiqa.report.words import AXES, group_name, short_label
from magiqa.runs.read import CUES, Run


@dataclass(frozen=True)
class Shown:
    """An image of a gallery: its name, the place of its copy in the page's data, the words below it."""

    image: str
    large: int | None
    text: str
    gap: str


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
        shown: False where small copies of the images may not be published.
    """

    def __init__(self, runs: Sequence[Run], shown: bool) -> None:
        self.most = max(3, min(12, 100 // max(len(runs), 1)))  # images a list of a gallery: bounds the page
        self.shown = shown
        self.paths = {run.name: image_paths(run) if shown else [None] * len(run.scores) for run in runs}
        self._places: dict[Path, int | None] = {}
        self._codes: list[str] = []

    def note(self, run: Run) -> str:
        """Return how many images of a run could not be reached."""
        paths = self.paths[run.name]
        missing = sum(path is None for path in paths)
        if not self.shown:
            return "made without small copies of images"
        note = f"{missing:,} of {len(paths):,} files are not under the data set's root, or have changed"
        return note if missing else ""

    def _place(self, path: Path | None, row: pd.Series) -> int | None:
        """Return the place of a file's copy in the page's data; None where the file is not the recorded image."""
        if path is None:
            return None
        if path not in self._places:
            uri = data_uri(thumbnail(path, laplacian=row.get("laplacian", np.nan)))
            self._places[path] = len(self._codes) if uri else None
            self._codes += [uri] if uri else []
        return self._places[path]

    def gallery(self, run: Run) -> Iterator[tuple[str, list[Shown]]]:
        """Return the lists of a run's gallery: a title and images, no file twice in a list."""
        label, paths = short_label(run.label), self.paths[run.name]
        for score in reversed(shown_scores(run)):
            gap = disagreement(run.scores[score], run.scores[run.label])
            order = np.argsort(gap, kind="stable")
            for kind, rows in (("Over", order[::-1]), ("Under", order)):
                images = []
                for i in self.first_of_each(run, rows):
                    row, path = run.scores.iloc[i], paths[i]
                    text = f"{label} {row[run.label]:.3g}, score {row[score]:.4g}"
                    side = "above" if gap[i] > 0 else "below"
                    words = f"score rank {abs(100 * gap[i]):.0f} percentile points {side} {label} rank"
                    images.append(Shown(str(row["image"]), self._place(path, row), text, words))
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


def image_paths(run: Run) -> list[Path | None]:
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
    root: str, images: Sequence[str], sizes: Sequence[float | None], folders: Sequence[str]
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
