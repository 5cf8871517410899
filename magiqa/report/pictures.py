"""The images of all runs on the page: tiles for the plots, larger copies for the galleries."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from magiqa.datasets.sample import file_names
from magiqa.report.display_names import short_label
from magiqa.report.gallery_maps import WindowMaps
from magiqa.report.thumbnails import LARGE, data_uri, locate, make_tiles, thumbnail
from magiqa.runs.names import CUES
from magiqa.runs.read import Run


class Pictures:
    """Thumbnails of the images of all runs, each once: runs on the same images share them.

    Args:
        wanted: False where small copies of the images may not be published.
    """

    def __init__(self, runs: Sequence[Run], wanted: bool) -> None:
        # images a direction and score in a gallery: bounds the page
        self.gallery = max(3, min(12, 100 // max(len(runs), 1)))
        self.wanted = wanted
        self.set_of: dict[str, int] = {}
        self.names: list[list[str]] = []
        self.paths: list[list[Path | None]] = []
        seen: dict[tuple[Any, ...], int] = {}
        for run in runs:
            key = (run.record["dataset"].get("root"), *run.scores["image"])
            if key not in seen:
                seen[key] = len(self.names)
                self.names.append(run.scores["image"].tolist())
                self.paths.append(_paths(run) if wanted else [None] * len(run.scores))
            self.set_of[run.name] = seen[key]
        self.tiles = make_tiles(path for paths in self.paths for path in paths if path is not None)
        self._large: dict[Path, int | None] = {}
        self._codes: list[str] = []
        self._maps: dict[str, WindowMaps | None] = {}

    @property
    def remark(self) -> str:
        """What a reader must know of the thumbnails."""
        if not self.wanted:
            return "Made without thumbnails."
        shown, total = len(self.tiles.place), self.tiles.total
        some = "" if shown == total else f" of {shown:,} of {total:,} images, to keep the page small"
        return f"Thumbnails{some}: JPEG, at most {self.tiles.side} pixels a side." if shown else ""

    def note(self, run: Run) -> str:
        """How many images of a run could not be reached."""
        paths = self.paths[self.set_of[run.name]]
        missing = sum(path is None for path in paths)
        if not self.wanted or not missing:
            return ""
        return f"{missing:,} of {len(paths):,} files are not under the data set's root, or have changed: no thumbnails"

    def large(self, run: Run, i: int) -> int | None:
        """The place of an image's larger copy in the data; None where the file cannot be read."""
        path = self.paths[self.set_of[run.name]][i]
        if path is None:
            return None
        if path not in self._large:
            image = thumbnail(path, LARGE)
            self._large[path] = None if image is None else len(self._codes)
            self._codes += [] if image is None else [data_uri(image, 70)]
        return self._large[path]

    def map(self, run: Run, i: int, score: str) -> int | None:
        """The place of a map of an image's score in the data; None where the run wrote no ``views.csv``."""
        if run.name not in self._maps:
            self._maps[run.name] = WindowMaps.of(run)
        maps = self._maps[run.name]
        picture = None if maps is None else maps.picture(i, score)
        if picture is None:
            return None
        self._codes.append(data_uri(picture, 70))
        return len(self._codes) - 1

    def data(self, runs: Sequence[Run]) -> dict[str, Any]:
        """What the page's script needs."""
        place = self.tiles.place
        sets = [
            {"names": names, "tile": [place.get(path, -1) if path else -1 for path in paths]}
            for names, paths in zip(self.names, self.paths, strict=True)
        ]
        tiles = self.tiles.data() if place else None
        return {"sets": sets, "tiles": tiles, "large": self._codes, "runs": [self._run(run) for run in runs]}

    def _run(self, run: Run) -> dict[str, Any]:
        names = group_names(run)
        fits = run.record.get("fits", {})
        out: dict[str, Any] = {
            "set": self.set_of[run.name],
            "label": short_label(run.label),
            "curves": {score: (fits.get(score) or {}).get("params") for score in CUES},
            "y": _floats(run.scores[run.label]),
        }
        out |= {score: _floats(run.scores[score]) for score in (*CUES, "w_sim") if score in run.scores}
        if names:
            place = {name: k for k, name in enumerate(names)}
            out |= {"groups": names, "group": [place[str(group)] for group in run.scores["group"]]}
        return out


def group_names(run: Run) -> list[str]:
    """The names of a run's groups, sorted; none where it has no groups."""
    return sorted(run.scores["group"].astype(str).unique()) if "group" in run.scores else []


def _paths(run: Run) -> list[Path | None]:
    """The files of a run's images; folders of the root are searched only where the user named a root."""
    config = run.record.get("config", {}).get("dataset")
    named = isinstance(config, dict) and bool(config.get("root"))
    n = len(run.scores)
    sizes = run.scores["bytes"].tolist() if "bytes" in run.scores else [None] * n
    root = str(run.record["dataset"].get("root") or "")
    names = run.scores["image"].tolist()
    if run.record["dataset"].get("name") == "sample":
        files = file_names(root)
        names = [files.get(name, name) for name in names]
    return locate(root, names, sizes, search=named)


def _floats(values: pd.Series) -> list[float | None]:
    """Six significant digits, None for what is not finite."""
    return [float(f"{v:.6g}") if np.isfinite(v) else None for v in values.to_numpy(float)]
