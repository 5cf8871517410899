"""Small copies of images, a contact sheet of them, and an image beside the maps of its scores."""

import base64
import io
import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from magiqa.cores import allowed_cores
from magiqa.errors import printable
from magiqa.images.controls import laplacian_variance
from magiqa.images.decode import Limits, identify, prepared, read_image
from magiqa.package import expanded
from magiqa.report.page import page
from magiqa.report.style import shorten, styled
from magiqa.report.words import AXES

LARGE = 224  # pixels of a side of a small copy

MOST_PIXELS = 900  # of a side of a map as drawn


def thumbnail(path: Path, side: int = LARGE, laplacian: float | None = None) -> Image.Image | None:
    """Return an RGB copy of at most ``side`` pixels a side; None for what Pillow cannot read.

    Args:
        laplacian: the variance that a record holds; no other image is copied. Whoever wrote the record had the image,
            so a page never shows a file that its author only knows by name.
    """
    try:
        file = identify(read_image(path), str(path))
        if laplacian is None:
            file.draft("RGB", (side, side))  # JPEG decodes at a fraction of its size
        elif not any(_fits(laplacian, file, alpha) for alpha in ("drop", "white", "black")):
            return None
        image = file.convert("RGB")
        image.thumbnail((side, side), reducing_gap=2.0)
        return image
    except (OSError, ValueError, SyntaxError):
        return None


def _fits(laplacian: float, file: Image.Image, alpha: Any) -> bool:
    return math.isclose(laplacian_variance(prepared(file, "", Limits(alpha=alpha))), laplacian, rel_tol=1e-6)


def data_uri(image: Image.Image | None, quality: int = 70) -> str:
    """Return a JPEG as a data URI; empty without an image."""
    if image is None:
        return ""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def contact_sheet(part: pd.DataFrame, total: int, method: str, skipped: Mapping[str, str]) -> str:
    """Return a self-contained page: each image with its place, its score, its cues and each prompt pair's own score.

    Args:
        part: rows of a ranking, indexed by their place in it from 0. total: images in the ranking.
        method: what gave the scores. skipped: files that were left out, and why.
    """
    side = 320 if len(part) <= 300 else 160
    with ThreadPoolExecutor(allowed_cores()) as pool:
        uris = list(pool.map(lambda name: data_uri(thumbnail(expanded(name), side), 80), part["image"]))
    low, high = part["q"].min(), part["q"].max()
    shares = ((part["q"] - low) / (high - low)).fillna(1.0)
    tiles = [
        {
            "place": int(place) + 1,
            "name": row["image"],
            "q": f"{row['q']:.4f}",
            "share": 100 * shares[place],
            "scores": [(n, "–" if pd.isna(row[n]) else f"{row[n]:.4f}") for n in part.columns[2:]],
            "uri": uri,
        }
        for (place, row), uri in zip(part.iterrows(), uris, strict=True)
    ]
    return page("contact_sheet.html.j2", tiles=tiles, total=total, method=method, skipped=skipped, side=side)


def map_figure(
    file: Path,
    image: str,
    maps: Mapping[str, np.ndarray],
    limits: Mapping[str, tuple[float, float]],
    note: str = "",
) -> None:
    """Write a PNG: the image, then each map with the scale of its colors.

    Args:
        image: its path. maps: name -> (H, W), NaN where there is none.
        limits: what the colors run between, by name: the same for all images that are to be compared.
        note: over the figure.
    """
    with Image.open(expanded(image)) as opened:
        picture = opened.convert("RGB")
    height, width = next(iter(maps.values())).shape
    step = max(1, -(-max(height, width) // MOST_PIXELS))
    picture.thumbnail((width // step, height // step))
    across = 3.0 * min(1.6, max(0.6, width / height))
    size = (1 + len(maps)) * (across + 0.35), min(9.0, across * height / width + 1.5)
    with styled():
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(1, 1 + len(maps), squeeze=False)[0]
        for ax, (name, values) in zip(axes, {"": np.asarray(picture), **maps}.items(), strict=True):
            low, high = limits.get(name, (None, None))
            shown = values[::step, ::step] if name else values
            drawn = ax.imshow(shown, extent=(0, width, height, 0), vmin=low, vmax=high, cmap="viridis")
            title = AXES.get(name, name) or shorten(printable(Path(image).name), 36)
            ax.set_title(title, loc="left")
            ax.set_axis_off()
            ax.set_anchor("N")  # side by side, whatever stands below them
            if name:
                ticks = MaxNLocator(5)
                figure.colorbar(drawn, ax=ax, orientation="horizontal", shrink=0.8, pad=0.03, ticks=ticks)
        figure.suptitle(note, x=0.01, ha="left")
        figure.savefig(file, format="png", dpi=90, metadata={"Software": None})
