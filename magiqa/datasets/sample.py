"""The built-in sample: photos inside installed wheels, distorted at run time and labeled by SSIM. No download.

The label is ``ssim``, the structural similarity to the pristine photo: it is no human opinion. ``split`` tells which
distortion types the demo backbone was trained on (``seen``) and which not (``unseen``); no photo was in its training.
"""

# ruff: noqa: E501  (a table of sha256, one photo a line)
import hashlib
import importlib.util
import io
import json
import os
import shutil
import tempfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from magiqa.cores import allowed_cores
from magiqa.datasets.base import DataSet, Labels, finish
from magiqa.errors import UserError
from magiqa.images.distortions import LEVELS, SEEN, UNSEEN, distort
from magiqa.package import expanded

VERSION = 2  # of what is made below; another version makes the folder anew
SIDE = 352  # four 224-pixel windows at stride 128
# photo: package, file, sha256, shrink by this before the center crop. Left out: motorcycle_right (the same scene),
# clock_motion (blurred as taken), drawings and text.
PHOTOS: dict[str, tuple[str, str, str, int]] = {
    "astronaut": ("skimage", "data/astronaut.png", "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5", 1),
    "chelsea": ("skimage", "data/chelsea.png", "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb", 1),
    "coffee": ("skimage", "data/coffee.png", "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7", 1),
    "hubble": ("skimage", "data/hubble_deep_field.jpg", "3a19c5dd8a927a9334bb1229a6d63711b1c0c767fb27e2286e7c84a3e2c2f5f4", 2),
    "ihc": ("skimage", "data/ihc.png", "f8dd1aa387ddd1f49d8ad13b50921b237df8e9b262606d258770687b0ef93cef", 1),
    "motorcycle": ("skimage", "data/motorcycle_left.png", "db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179", 1),
    "retina": ("skimage", "data/retina.jpg", "38a07f36f27f095e818aea7b96d34202c05176d30253c66733f2e00379e9e0e6", 4),
    "rocket": ("skimage", "data/rocket.jpg", "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c", 1),
    "brick": ("skimage", "data/brick.png", "7966caf324f6ba843118d98f7a07746d22f6a343430add0233eca5f6eaaa8fcf", 1),
    "camera": ("skimage", "data/camera.png", "b0793d2adda0fa6ae899c03989482bff9a42d3d5690fc7e3648f2795d730c23a", 1),
    "cell": ("skimage", "data/cell.png", "8d23a7fb81f7cc877cd09f330357fc7f595651306e84e17252f6e0a1b3f61515", 1),
    "coins": ("skimage", "data/coins.png", "f8d773fc9cfa6f4d8e5942dc34d0a0788fcaed2a4fefbbed0aef5398d7ef4cba", 1),
    "grass": ("skimage", "data/grass.png", "b6b6022426b38936c43a4ac09635cd78af074e90f42ffa8227ac8b7452d39f89", 1),
    "gravel": ("skimage", "data/gravel.png", "c48615b451bf1e606fbd72c0aa9f8cc0f068ab7111ef7d93bb9b0f2586440c12", 1),
    "moon": ("skimage", "data/moon.png", "78739619d11f7eb9c165bb5d2efd4772cee557812ec847532dbb1d92ef71f577", 1),
    "hopper": ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg", "a8ca6d734765703b09728ab47fe59f473d93ae3967fc24c7c0288c3c7adb7130", 1),
}  # fmt: skip
_TABLE = "labels.csv"
_RECORD = "sample.json"


def _source(photo: str) -> np.ndarray:
    """Return the pristine photo as RGB, shrunk and center-cropped to at most ``SIDE``.

    Raises:
        UserError: its package or file is missing, or the file is another one than expected.
    """
    package, name, sha256, shrink = PHOTOS[photo]
    spec = importlib.util.find_spec(package)  # without importing it
    if spec is None or spec.origin is None:
        raise UserError(
            f"dataset=sample needs the photo {name} of {package}, which is not installed; install it"
        )
    file = Path(spec.origin).parent / name
    data = file.read_bytes() if file.is_file() else b""
    if hashlib.sha256(data).hexdigest() != sha256:
        what = "is not the photo that dataset=sample was made for" if data else "is missing"
        raise UserError(f"{file}: {what}; reinstall {package} or use another release of it")
    image = Image.open(io.BytesIO(data)).convert("RGB")
    if shrink > 1:
        image = image.reduce(shrink)
    width, height = min(SIDE, image.width), min(SIDE, image.height)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return np.asarray(image.crop((left, top, left + width, top + height)))


def _make(folder: Path) -> None:
    """Write every image as PNG, and the labels; photos side by side."""
    with ThreadPoolExecutor(allowed_cores()) as pool:
        rows = [row for photo in pool.map(lambda photo: _versions(folder, photo), PHOTOS) for row in photo]
    pd.DataFrame(rows).to_csv(folder / _TABLE, index=False)
    (folder / _RECORD).write_text(json.dumps({"version": VERSION}))


def _versions(folder: Path, photo: str) -> list[dict[str, Any]]:
    """Write a photo at each level of each type; return its rows of the table."""
    from skimage.metrics import structural_similarity

    rows: list[dict[str, Any]] = []
    pristine = _source(photo)
    (folder / photo).mkdir()
    for group in SEEN + UNSEEN:
        for level in (0, *LEVELS):
            pixels = pristine
            if level:
                pixels = distort(pristine, group, level, zlib.crc32(f"{photo} {group} {level}".encode()))
            # level 0 has a row in every group, so that no group is without its best image; one file serves all
            name = f"{photo}/{group}_{level}.png" if level else f"{photo}/pristine.png"
            Image.fromarray(pixels).save(folder / name, compress_level=1)
            ssim = float(structural_similarity(pristine, pixels, channel_axis=2)) if level else 1.0
            rows.append(
                {
                    "image": f"{photo}/{group}_{level}",
                    "file": name,
                    "ssim": ssim,
                    "group": group,
                    "level": level,
                    "reference": photo,
                    "split": "seen" if group in SEEN else "unseen",
                }
            )
    return rows


def _intact(folder: Path) -> bool:
    try:
        version = json.loads((folder / _RECORD).read_text())["version"]
        files = file_names(folder).values()
        return version == VERSION and bool(files) and all((folder / name).is_file() for name in files)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _ensure(root: Path) -> None:
    """Make the sample in ``root`` unless it is there, with all files and of this version: written aside, then renamed."""
    if _intact(root):
        return
    if root.exists() and not (root / _RECORD).is_file() and any(root.iterdir()):
        raise UserError(f"dataset.root={root}: holds other files; dataset=sample needs a folder of its own")
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=root.parent))
    except OSError as error:
        raise UserError(
            f"dataset.root={root}: cannot be written ({error.strerror}); give a folder that can"
        ) from None
    try:
        _make(aside)
        aside.chmod(0o755)
        if root.exists():
            shutil.rmtree(root)
        os.replace(aside, root)
    except OSError:
        if not _intact(root):  # else another process was faster
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def file_names(root: str | Path) -> dict[str, str]:
    """Return the file of each image of a sample, which several images may share; {} where there is no sample."""
    file = Path(root) / _TABLE
    try:  # a root may be a stranger's word
        table = pd.read_csv(file, dtype=str) if file.is_file() else pd.DataFrame({"image": [], "file": []})
        return dict(zip(table["image"], table["file"], strict=True))
    except (OSError, ValueError, KeyError):
        return {}


@dataclass(frozen=True)
class Sample(
    DataSet,
    name="sample",
    title="magiqa sample",
    cluster="reference",
):
    """Sixteen photos x eight distortion types x five levels, and each photo undistorted (level 0) in every type."""

    def load(self) -> Labels:
        """Make the images where they are missing or damaged; read the labels. ``group`` is the distortion type."""
        root = expanded(self.root).absolute()
        _ensure(root)
        table = pd.read_csv(root / _TABLE)
        table.insert(1, "path", [str(root / name) for name in table.pop("file")])
        labels = Labels(
            "sample",
            table,
            label="ssim",
            cluster="reference",
            expected=len(PHOTOS) * len(SEEN + UNSEEN) * (1 + len(LEVELS)),
            page="photos inside the wheels of scikit-image and matplotlib",
            layout=f"{_TABLE}; images in one folder a photo",
            notes=(
                "label: SSIM to the undistorted photo, not human opinion",
                "the undistorted photo is level 0 of every distortion type: one file, several rows",
                f"seen in the demo backbone's training: {', '.join(SEEN)}; unseen: {', '.join(UNSEEN)}",
            ),
        )
        return finish(labels, self.every, root / _TABLE)
