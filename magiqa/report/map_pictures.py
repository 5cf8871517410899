"""An image beside the maps of its scores."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from magiqa.errors import printable
from magiqa.package import expanded
from magiqa.report.style import shorten, styled
from magiqa.report.words import AXES

MOST_PIXELS = 900  # of a side as drawn


def map_figure(
    file: Path,
    image: str,
    maps: Mapping[str, np.ndarray],
    limits: Mapping[str, tuple[float, float]],
    note: str = "",
) -> None:
    """Write a PNG: the image, then each map with the scale of its colors.

    Args:
        file: where. image: its path. maps: name -> (H, W), NaN where there is none.
        limits: what the colors run between, by name: the same for all images that are to be compared.
        note: over the figure.
    """
    with Image.open(expanded(image)) as opened:
        picture = opened.convert("RGB")
    height, width = next(iter(maps.values())).shape
    step = max(1, -(-max(height, width) // MOST_PIXELS))
    picture.thumbnail((width // step, height // step))
    across = 3.0 * min(1.6, max(0.6, width / height))
    with styled():
        tall = across * height / width + 1.5
        figure = Figure(figsize=((1 + len(maps)) * (across + 0.35), min(9.0, tall)), layout="constrained")
        axes = figure.subplots(1, 1 + len(maps), squeeze=False)[0]
        axes[0].imshow(np.asarray(picture), extent=(0, width, height, 0), interpolation="antialiased")
        axes[0].set_title(shorten(printable(Path(image).name), 36), loc="left")
        for ax, (name, values) in zip(axes[1:], maps.items(), strict=True):
            low, high = limits[name]
            drawn = ax.imshow(
                values[::step, ::step], extent=(0, width, height, 0), vmin=low, vmax=high, cmap="viridis"
            )
            ax.set_title(AXES.get(name, name), loc="left")
            figure.colorbar(
                drawn, ax=ax, orientation="horizontal", shrink=0.8, pad=0.03, ticks=MaxNLocator(5)
            )
        for ax in axes:
            ax.set_axis_off()
            ax.set_anchor("N")  # side by side, whatever stands below them
        figure.suptitle(note, x=0.01, ha="left")
        figure.savefig(file, format="png", dpi=90, metadata={"Software": None})
