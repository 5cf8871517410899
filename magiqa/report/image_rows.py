"""Rows of pictures with words below them, and maps over them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from magiqa.report.pictures import thumbnail
from magiqa.report.style import LINE, WIDTHS, is_wide, make, save, styled

PIXELS = 480  # of a picture's longer side in the file


@dataclass(frozen=True)
class Tile:
    """A picture with the words below it, and a map (H, W) over it or None."""

    path: str
    words: str = ""
    map: np.ndarray | None = None


def image_rows(stem: Path, rows: Mapping[str, Sequence[Tile]]) -> list[Path]:
    """Draw rows of pictures.

    Args:
        rows: by the words at their left. The maps of a row have one scale of colors, which stands at its right.
    """
    across = max(map(len, rows.values()))
    side = WIDTHS["page" if is_wide() else "column"] / across - 0.1
    names = {tile.path for tiles in rows.values() for tile in tiles}
    pictures = {name: thumbnail(Path(name), PIXELS) or Image.new("RGB", (1, 1), "white") for name in names}
    shapes = {name: picture.height / picture.width for name, picture in pictures.items()}
    tall = [max(shapes[tile.path] * side + LINE * (1.2 * len(tile.words.splitlines()) + 0.6) for tile in tiles)
            for tiles in rows.values()]  # fmt: skip
    with styled():
        figure = make(sum(tall))
        grid = figure.subplots(len(rows), across, squeeze=False, height_ratios=tall)
        for (name, tiles), axes in zip(rows.items(), grid, strict=True):
            maps = [tile.map for tile in tiles if tile.map is not None]
            low, high = (float(f([f(m) for m in maps])) if maps else 0.0 for f in (np.nanmin, np.nanmax))
            for ax in axes:
                ax.set(xticks=[], yticks=[], frame_on=False)
            for ax, tile in zip(axes, tiles, strict=False):
                picture = pictures[tile.path]
                box = (0, picture.width, picture.height, 0)
                ax.imshow(picture if tile.map is None else faint(picture), extent=box)
                if tile.map is not None:
                    drawn = ax.imshow(tile.map, extent=box, alpha=0.6, cmap="viridis", vmin=low, vmax=high)
                ax.set_xlabel(tile.words)
            axes[0].set_ylabel(name)
            if maps:
                figure.colorbar(drawn, ax=axes, pad=0.01, aspect=12).outline.set_visible(False)
        return save(figure, stem)


def faint(picture: Image.Image) -> Image.Image:
    """Return a picture in light gray, so that the colors of a map over it are those of the color bar."""
    return ImageOps.grayscale(picture).point(lambda v: 255 - 0.3 * (255 - v)).convert("RGB")
