"""The gallery of a run's page: the images on which a score and MOS disagree most, with maps of their windows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from magiqa.datasets.sample import file_names
from magiqa.report.gallery_maps import WindowMaps
from magiqa.report.runs_exhibits import shown_scores
from magiqa.report.thumbnails import LARGE, data_uri, image_folders, locate, thumbnail
from magiqa.report.words import AXES, group_name, short_label
from magiqa.runs.names import CUES
from magiqa.runs.read import Run


@dataclass(frozen=True)
class Shown:
    """An image of a gallery: its name, the places of its copy and map in the page's data, the words below it."""

    image: str
    large: int | None
    map: int | None
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
        wanted: False where small copies of the images may not be published.
    """

    def __init__(self, runs: Sequence[Run], wanted: bool) -> None:
        self.most = max(3, min(12, 100 // max(len(runs), 1)))  # images a list of a gallery: bounds the page
        self.wanted = wanted
        self.paths = {run.name: _paths(run) if wanted else [None] * len(run.scores) for run in runs}
        self._places: dict[Path, int | None] = {}
        self._codes: list[str] = []
        self._maps: dict[str, WindowMaps | None] = {}

    def note(self, run: Run) -> str:
        """Return how many images of a run could not be reached."""
        paths = self.paths[run.name]
        missing = sum(path is None for path in paths)
        if not self.wanted:
            return "made without small copies of images"
        return (
            f"{missing:,} of {len(paths):,} files are not under the data set's root, or have changed"
            if missing
            else ""
        )

    def _large(self, run: Run, i: int) -> int | None:
        path = self.paths[run.name][i]
        if path is None:
            return None
        if path not in self._places:
            image = thumbnail(path, LARGE)
            self._places[path] = None if image is None else len(self._codes)
            self._codes += [] if image is None else [data_uri(image, 70)]
        return self._places[path]

    def _map(self, run: Run, i: int, score: str) -> int | None:
        if run.name not in self._maps:
            self._maps[run.name] = WindowMaps.of(run)
        maps = self._maps[run.name]
        if maps is None:
            return None
        self._codes.append(data_uri(maps.picture(i, score), 70))
        return len(self._codes) - 1

    def gallery(self, run: Run) -> Iterator[tuple[str, list[Shown]]]:
        """Return the lists of a run's gallery: a title and images, no file twice in a list."""
        for score in reversed(shown_scores(run)):
            gap = disagreement(run.scores[score], run.scores[run.label])
            order = np.argsort(gap, kind="stable")
            name = AXES[score].lower()
            for title, rows in (
                (f"Overrated by the {name}", order[::-1]),
                (f"Underrated by the {name}", order),
            ):
                yield (
                    title,
                    [self._shown(run, i, score, float(gap[i])) for i in self._first_of_each(run, rows)],
                )

    def _first_of_each(self, run: Run, rows: np.ndarray) -> list[int]:
        paths = self.paths[run.name]
        out: list[int] = []
        seen: set[str] = set()
        for i in map(int, rows[: len(rows) // 2] if len(rows) > 1 else rows):
            known = str(paths[i] or i)
            if known not in seen and len(out) < self.most:
                seen.add(known)
                out.append(i)
        return out

    def _shown(self, run: Run, i: int, score: str, gap: float) -> Shown:
        row, label = run.scores.iloc[i], short_label(run.label)
        large = self._large(run, i)
        overlay = None if large is None else self._map(run, i, score)
        side = "above" if gap > 0 else "below"
        words = f"score rank {abs(100 * gap):.0f} percentile points {side} {label} rank"
        return Shown(
            str(row["image"]), large, overlay, f"{label} {row[run.label]:.3g}, score {row[score]:.4g}", words
        )

    def data(self, runs: Sequence[Run]) -> dict[str, Any]:
        """Return what the page's script needs: points, fitted curves, groups and small copies."""
        return {"large": self._codes, "runs": [_points(run) for run in runs]}


def group_names(run: Run) -> list[str]:
    """Return the names of a run's groups, sorted; none where it has no groups."""
    return sorted(run.scores["group"].astype(str).unique()) if "group" in run.scores else []


def _points(run: Run) -> dict[str, Any]:
    names, fits = group_names(run), run.record.get("fits", {})
    out: dict[str, Any] = {
        "names": run.scores["image"].tolist(),
        "label": short_label(run.label),
        "axes": AXES,
        "curves": {score: (fits.get(score) or {}).get("params") for score in CUES},
        "y": _floats(run.scores[run.label]),
    }
    out |= {score: _floats(run.scores[score]) for score in (*CUES, "w_sim") if score in run.scores}
    if names:
        place = {name: k for k, name in enumerate(names)}
        shown = [group_name(name, run.record["dataset"]) for name in names]
        out |= {"groups": shown, "group": [place[str(group)] for group in run.scores["group"]]}
    return out


def _paths(run: Run) -> list[Path | None]:
    """Return the files of a run's images."""
    data, names = run.record["dataset"], run.scores["image"].tolist()
    sizes = run.scores["bytes"].tolist() if "bytes" in run.scores else [None] * len(names)
    root = str(data.get("root") or "")
    if data.get("name") == "sample":
        files = file_names(root)
        names = [files.get(name, name) for name in names]
    return locate(root, names, sizes, image_folders(str(data.get("layout") or "")))


def _floats(values: pd.Series) -> list[float | None]:
    """Return six significant digits, None for what is not finite."""
    return [float(f"{v:.6g}") if np.isfinite(v) else None for v in values.to_numpy(float)]
