r"""Miniature KonIQ-10k, SPAQ and KADID-10k in their real layouts: to rehearse a paper without the sets.

Photos of the installed wheels, cut, distorted and labeled by SSIM with a little noise, on each set's own scale. They
are no opinions, and not the sets' images: no number from them says anything of the sets, whose names they bear.

  python scripts/minis.py DIR && MAGIQA_DATA=DIR magiqa evaluate -m dataset=koniq,spaq,kadid10k
"""

import argparse
import importlib.util
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import openpyxl
import pandas as pd
from PIL import Image, ImageOps
from skimage.metrics import structural_similarity

from magiqa.datasets.base import sets
from magiqa.datasets.sample import PHOTOS
from magiqa.images.distortions import SEEN, UNSEEN, distort

KADID_TYPES = {  # their numbers in KADID's file names
    "gaussian_blur": 1,
    "motion_blur": 3,
    "jpeg2000": 9,
    "jpeg": 10,
    "gaussian_noise": 11,
    "quantization": 22,
}


def photo(name: str, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A random half or more of a photo, at a size: (H, W, 3)."""
    package, file, _, _ = PHOTOS[name]
    origin = importlib.util.find_spec(package).origin
    image = Image.open(Path(origin).parent / file).convert("RGB")
    share = rng.uniform(0.6, 1.0)
    width, height = int(image.width * share), int(image.height * share)
    left, top = rng.integers(image.width - width + 1), rng.integers(image.height - height + 1)
    return np.asarray(ImageOps.fit(image.crop((left, top, left + width, top + height)), size))


def made(count: int, size: tuple[int, int], seed: int) -> Iterator[tuple[np.ndarray, float]]:
    """Images and how good they are, in [0, 1]: photos in turn, each with a random distortion or none."""
    rng = np.random.default_rng(seed)
    for k in range(count):
        pristine = photo(list(PHOTOS)[k % len(PHOTOS)], size, rng)
        level = int(rng.integers(6))
        pixels = distort(pristine, str(rng.choice(SEEN + UNSEEN)), level, k) if level else pristine
        yield pixels, opinion(pristine, pixels, rng)


def opinion(pristine: np.ndarray, pixels: np.ndarray, rng: np.random.Generator) -> float:
    """SSIM with noise, in [0, 1]."""
    ssim = structural_similarity(pristine, pixels, channel_axis=2)
    return float(np.clip(0.85 * ssim + 0.05 + rng.normal(0, 0.08), 0, 1))


def save(pixels: np.ndarray, file: Path) -> None:
    """Write an image in the format of its suffix."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file, **({"quality": 97} if file.suffix.lower() == ".jpg" else {}))


def koniq(root: Path, count: int) -> None:
    """Two CSVs, images of 1024x768."""
    rows = []
    for k, (pixels, good) in enumerate(made(count, (1024, 768), 1)):
        save(pixels, root / "1024x768" / f"{10004473376 + k}.jpg")
        rows.append((f"{10004473376 + k}.jpg", 0, 0, 25, 73, 7, 105, 1 + 4 * good, 0.5))
    table = pd.DataFrame(rows, columns=["image_name", "c1", "c2", "c3", "c4", "c5", "c_total", "MOS", "SD"])
    z = 1 + 99 * (table["MOS"] - 1) / 4
    table.assign(MOS_zscore=z).to_csv(root / "koniq10k_scores_and_distributions.csv", index=False)
    sets = np.resize(["training", "training", "test", "validation"], count)
    table.assign(MOS=z, set=sets).to_csv(root / "koniq10k_distributions_sets.csv", index=False)


def spaq(root: Path, count: int) -> None:
    """A workbook, photos of any size."""
    book = openpyxl.Workbook()
    book.active.append(
        ["Image name", "MOS", "Brightness", "Colorfulness", "Contrast", "Noisiness", "Sharpness"]
    )
    for k, (pixels, good) in enumerate(made(count, (800, 600), 2), 1):
        save(pixels, root / "TestImage" / f"{k:05d}.jpg")
        book.active.append([f"{k:05d}.jpg", 100 * good, 50, 50, 50, 50, 50])
    (root / "Annotations").mkdir()
    book.save(root / "Annotations" / "MOS and Image attribute scores.xlsx")


def kadid10k(root: Path, references: int) -> None:
    """References x six of the distortion types x five levels, of 512x384."""
    rng = np.random.default_rng(4)
    rows = []
    for r, name in enumerate(list(PHOTOS)[:references], 1):
        pristine = photo(name, (512, 384), rng)
        save(pristine, root / "images" / f"I{r:02d}.png")
        for kind, number in KADID_TYPES.items():
            for level in range(1, 6):
                file = f"I{r:02d}_{number:02d}_{level:02d}.png"
                pixels = distort(pristine, kind, level, zlib.crc32(file.encode()))
                save(pixels, root / "images" / file)
                rows.append((file, f"I{r:02d}.png", 1 + 4 * opinion(pristine, pixels, rng), 0.75))
    pd.DataFrame(rows, columns=["dist_img", "ref_img", "dmos", "var"]).to_csv(root / "dmos.csv", index=False)


def main() -> None:
    """Write the three sets."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=96, help="images of KonIQ and SPAQ")
    parser.add_argument("--references", type=int, default=10, help="KADID's, thirty images each")
    given = parser.parse_args()
    for make, count in ((koniq, given.count), (spaq, given.count), (kadid10k, given.references)):
        root = given.out / sets()[make.__name__].folder
        root.mkdir(parents=True)
        make(root, count)
        print(f"{root}/", flush=True)


if __name__ == "__main__":
    main()
