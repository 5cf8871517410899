"""A contact sheet: images from best to worst on one self-contained page."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import pandas as pd

from magiqa import __version__
from magiqa.cores import allowed_cores
from magiqa.package import expanded
from magiqa.report.template import HERE, environment
from magiqa.report.thumbnails import data_uri, thumbnail

SIDES = ((300, 320), (2_000, 224), (10_000, 128))  # up to so many images: pixels of a picture's side


def contact_sheet(part: pd.DataFrame, total: int, method: str, skipped: Mapping[str, str]) -> str:
    """The page: each image with its place, its score, its cues and each prompt pair's own score.

    Args:
        part: rows of a ranking, indexed by their place in it from 0. total: images in the ranking.
        method: what gave the scores. skipped: files that were left out, and why.
    """
    side = next((s for most, s in SIDES if len(part) <= most), SIDES[-1][1])

    def picture(name: str) -> str:
        small = thumbnail(expanded(name), side)
        return data_uri(small, 80) if small is not None else ""

    with ThreadPoolExecutor(allowed_cores()) as pool:
        pictures = list(pool.map(picture, part["image"]))
    names = list(part.columns[2:])
    low, high = (float(f(part["q"])) if len(part) else 0.0 for f in (min, max))
    tiles = [
        {
            "place": int(place) + 1,
            "name": row["image"],
            "q": f"{row['q']:.4f}",
            "share": 100 * (row["q"] - low) / (high - low) if high > low else 100,
            "scores": [(n, "–" if pd.isna(row[n]) else f"{row[n]:.4f}") for n in names],
            "uri": uri,
        }
        for (place, row), uri in zip(part.iterrows(), pictures, strict=True)
    ]
    return (
        environment()
        .get_template("contact_sheet.html.j2")
        .render(
            tiles=tiles,
            total=total,
            method=method,
            skipped=skipped,
            side=side,
            version=__version__,
            css=(HERE / "assets" / "report.css").read_text(encoding="utf-8"),
        )
    )
