"""Probe the cues: distort photos in levels, and measure how each cue falls with the level.

This needs no ratings, since the order of the levels is known. Within a photo only the level changes.
"""

import hashlib
import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from scipy.stats import quantile_test

from magiqa import __version__
from magiqa.cores import allowed_cores
from magiqa.errors import UserError
from magiqa.features.images import content_sha256
from magiqa.images.controls import laplacian_variance
from magiqa.images.decode import Limits, open_image, read_image
from magiqa.images.distortions import LEVELS, MORE, SEEN, UNSEEN, distort
from magiqa.progress import progress_bar
from magiqa.report.console import screen, spread
from magiqa.report.table import frame_table
from magiqa.report.words import backbone_name
from magiqa.runs.config import Width
from magiqa.runs.folder import ResultFolder
from magiqa.runs.read import CONTROLS
from magiqa.runs.record import Clock, versions
from magiqa.scorer.inputs import Item
from magiqa.scorer.scorer import Scorer
from magiqa.stats.correlation import srcc
from magiqa.stats.family import SIGNIFICANCE

TYPES = SEEN + UNSEEN + MORE

SHOWN = ("q_sim", "q_mag", "q", *CONTROLS)

GAP = "q_mag - q_sim"

FILES = ("probe.csv", "curves.csv", "levels.csv", "scores.csv")

VERSION = 1  # of what level, type and file make of an image: raise it when a distortion changes


@dataclass(frozen=True)
class Photo:
    """An undistorted image: its name in tables, its file."""

    name: str
    path: str

    def item(self, kind: str, level: int) -> Item:
        """Return the distorted photo; its pixels are made only when they are needed."""

        def key(_: Limits) -> str:
            what = f"magiqa probe {VERSION} {content_sha256(read_image(self.path))} {kind} {level}"
            return hashlib.sha256(what.encode()).hexdigest()

        return Item(f"{self.name} {kind} {level}", lambda _: self.pixels(kind, level), key)

    def pixels(self, kind: str, level: int) -> np.ndarray:
        """Return uint8 (H, W, 3); level 0 is the photo. All levels of a type draw the same random numbers."""
        rgb = _decoded(self.path, self.name)
        seed = int.from_bytes(hashlib.sha256(f"{self.name} {kind}".encode()).digest()[:4], "big")
        return distort(rgb, kind, level, seed) if level else rgb


@lru_cache(maxsize=8)
def _decoded(path: str, name: str) -> np.ndarray:
    return np.asarray(open_image(read_image(path), name).convert("RGB"))


def sample_photos(root: str | Path) -> list[Photo]:
    """Return the sample set's sixteen undistorted photos."""
    from magiqa.datasets.sample import Sample

    table = Sample(str(root)).load().table
    first = table[table["level"] == 0].drop_duplicates("reference")
    return [Photo(str(r), str(p)) for r, p in zip(first["reference"], first["path"], strict=True)]


def measure(
    scorer: Scorer, photos: Sequence[Photo], types: Sequence[str], *, progress: bool = True
) -> pd.DataFrame:
    """Score every photo at every level of every type.

    Returns:
        A row each: image, type, level, psnr and ssim to the photo (independent yardsticks of the level's strength),
        q, q_sim, q_mag, w_sim, each prompt pair's own score, laplacian, bytes (as PNG).
    """
    rows = [(p, kind, level) for p in photos for kind in types for level in (0, *LEVELS)]
    # level 0 is the same photo in every type: scored once
    distinct = {(p.name, kind if level else "", level): p.item(kind, level) for p, kind, level in rows}
    place = {key: i for i, key in enumerate(distinct)}
    scored = scorer.score(list(distinct.values()), progress=progress).cues.drop(columns="image")
    with ThreadPoolExecutor(allowed_cores()) as pool:
        measured = list(
            progress_bar(
                pool.map(lambda r: _yardsticks(*r), rows),
                total=len(rows),
                desc="yardsticks",
                unit="image",
                shown=progress,
            )
        )
    out = pd.DataFrame([(p.name, kind, level) for p, kind, level in rows], columns=["image", "type", "level"])
    cues = scored.iloc[[place[(p.name, kind if level else "", level)] for p, kind, level in rows]]
    sticks = pd.DataFrame(measured)
    parts = [out, sticks[["psnr", "ssim"]], cues.reset_index(drop=True), sticks[["laplacian", "bytes"]]]
    return pd.concat(parts, axis=1)


def _yardsticks(photo: Photo, kind: str, level: int) -> dict[str, float]:
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    before, after = photo.pixels(kind, 0), photo.pixels(kind, level)
    same = np.array_equal(before, after)
    buffer = io.BytesIO()
    Image.fromarray(after).save(buffer, "PNG", compress_level=1)
    return {
        "psnr": np.inf if same else float(peak_signal_noise_ratio(before, after)),
        "ssim": 1.0 if same else float(structural_similarity(before, after, channel_axis=2)),
        "laplacian": laplacian_variance(Image.fromarray(after)),
        "bytes": float(buffer.tell()),
    }


def unchanged(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the images and types where some level changes nothing: a gray photo has no color to lose."""
    same = scores[(scores["level"] > 0) & np.isinf(scores["psnr"])]
    return same[["image", "type"]].drop_duplicates(ignore_index=True)


def within(scores: pd.DataFrame) -> pd.DataFrame:
    """Return SRCC of each score and the level within each image; -1 falls at every level.

    SRCC is 0 where a score is the same at all levels. Images that a type does not change are left out.
    """
    names = [c for c in scores if c not in ("image", "type", "level", "psnr", "ssim", "w_sim")]
    left_out = set(map(tuple, unchanged(scores).to_numpy()))
    rows = [
        (image, kind, name, np.nan_to_num(srcc(part[name], part["level"])))
        for (image, kind), part in scores.groupby(["image", "type"], sort=False)
        if (image, kind) not in left_out
        for name in names
    ]
    return pd.DataFrame(rows, columns=["image", "type", "score", "srcc"])


def summary(within: pd.DataFrame) -> pd.DataFrame:
    """Return ``probe.csv``: the median over images of SRCC within an image, by type and score, with its interval.

    Returns:
        type, score, srcc, ci_low, ci_high (95 %), falls (share of images in which the score falls at
        every level), n. The score ``q_mag - q_sim`` is the difference of the two within an image: negative where the
        magnitude follows the level and the similarity does not.
    """
    wide = within.set_index(["type", "image", "score"])["srcc"].unstack()  # noqa: PD010 (nothing to aggregate)
    wide[GAP] = wide["q_mag"] - wide["q_sim"]
    order = [*dict.fromkeys(within["score"]), GAP]
    rows = []
    for kind in dict.fromkeys(within["type"]):
        part = wide.loc[kind]
        for name in order:
            values = part[name].to_numpy()
            ends = quantile_test(values, p=0.5).confidence_interval(
                1 - SIGNIFICANCE
            )  # from their order alone
            falls = float(np.mean(values <= -1 + 1e-12)) if name != GAP else np.nan
            rows.append((kind, name, float(np.median(values)), *ends, falls, len(values)))
    return pd.DataFrame(rows, columns=["type", "score", "srcc", "ci_low", "ci_high", "falls", "n"])


def curves(scores: pd.DataFrame) -> pd.DataFrame:
    """Return ``curves.csv``: the movement of each score, in standard deviations of the undistorted images' scores.

    Returns:
        type, level, score, median and quartiles over images of (score - its value at level 0) / deviation.
    """
    names = [c for c in scores if c not in ("image", "type", "level", "psnr", "ssim", "w_sim")]
    start = scores[scores["level"] == 0].drop_duplicates("image").set_index("image")[names]
    deviation = start.std(ddof=1).replace(0, np.nan)
    moved = (scores[names] - start.loc[scores["image"]].reset_index(drop=True)) / deviation
    long = pd.concat([scores[["type", "level"]], moved], axis=1).melt(["type", "level"], var_name="score")
    grouped = long.groupby(["type", "level", "score"], sort=False)["value"]
    table = pd.DataFrame({n: grouped.quantile(p) for n, p in (("q25", 0.25), ("median", 0.5), ("q75", 0.75))})
    return table.reset_index()


def probe(
    scorer: Scorer,
    photos: Sequence[Photo],
    folder: Path,
    *,
    types: Sequence[str] = TYPES,
    figures: bool = True,
    width: Width = "page",
    progress: bool = True,
    show: Callable[[str], object] | None = None,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Distort, score, and write the folder.

    Returns:
        ``probe.csv`` and the record. ``levels.csv`` has each level's median PSNR (dB) and SSIM to the photo.

    Raises:
        UserError: a type that does not exist, under three photos or two of one name, photos that no type changes.
    """
    names = _checked_names(photos, types)
    clock = Clock()
    with ResultFolder(folder, "probe", FILES) as results:
        with clock.stage("score"):
            scores = measure(scorer, photos, types, progress=progress)
        with clock.stage("statistics"):
            same, inside = unchanged(scores), within(scores)
            if inside.empty:
                raise UserError(
                    f"probe: {', '.join(types)} changes none of these {len(photos)} images at every level; give other "
                    "types, or photos in color"
                )
            strengths = scores[scores["level"] > 0].groupby(["type", "level"], sort=False)[["psnr", "ssim"]]
            levels = strengths.median().reset_index()
            tables = {"probe": summary(inside), "curves": curves(scores), "levels": levels}
        record = {
            "magiqa": __version__,
            "command": "probe",
            **scorer.record(),
            "images": names,
            "types": list(types),
            "levels": list(LEVELS),
            "unchanged": same.to_dict("records"),
            "versions": versions(),
            "warnings": [*scorer.warnings, *_unchanged_types(same, len(photos))],
            "seconds": clock.seconds,
        }
        for name, table in (tables | {"scores": scores}).items():
            results.csv(name, table)
        if show:
            show(render(tables["probe"], record))
        if figures:
            with clock.stage("figures"), results.drawing(record) as folder:
                _draw(folder, tables, record, width)
        results.record(record)
    return tables["probe"], record


def _draw(folder: Path, tables: dict[str, pd.DataFrame], record: dict[str, Any], width: Width) -> None:
    """Draw the figures and write their captions."""
    from magiqa.report.exhibit import write_captions
    from magiqa.report.plots import probe_captions, probe_figures
    from magiqa.report.style import styled
    from magiqa.runs.config import Style

    with styled(Style(width=width)):
        probe_figures(folder, tables["probe"], tables["curves"])
    write_captions(folder, probe_captions(record))


def _checked_names(photos: Sequence[Photo], types: Sequence[str]) -> list[str]:
    """Return the photos' names; refuse unknown types, too few photos and two of one name."""
    if unknown := [t for t in types if t not in TYPES]:
        raise UserError(f"types: {unknown[0]!r} is not known: use {', '.join(TYPES)}")
    names = [p.name for p in photos]
    if len(photos) < 3:
        raise UserError(f"probe: {len(photos)} images are too few, a median needs at least 3")
    if len(set(names)) < len(names):
        raise UserError("probe: two images have one name; give each file once")
    return names


def _unchanged_types(same: pd.DataFrame, total: int) -> list[str]:
    return [
        f"{kind}: does not change {len(part)} of {total} images at every level, left out: {', '.join(part['image'])}"
        for kind, part in same.groupby("type", sort=False)
    ]


def render(table: pd.DataFrame, record: dict[str, Any]) -> str:
    """Return what ``magiqa probe`` prints: SRCC of each score with the level, by distortion type."""
    demo = record["backbone"]["kind"] == "demo"
    names = [*(n for n in SHOWN if n in set(table["score"])), GAP]
    wide = spread(table, "type", "score", "srcc")
    wide = wide.loc[[kind for kind in record["types"] if kind in wide.index]]
    wide.insert(0, "type", [f"{kind}*" if demo and kind in SEEN else kind for kind in wide.index])
    wide.insert(1, "n", table.groupby("type")["n"].first().loc[wide.index].astype(int))
    head = [
        f"probe: {len(record['images'])} images, {len(record['levels'])} levels; {record['method']}; "
        f"{backbone_name(record['backbone'])}",
        "SRCC of score and level within an image (-1: falls at every level), median over images [95 % interval]",
    ]
    controls = {n: f"{n} (control)" for n in CONTROLS}
    shown = frame_table(wide, {"type": "", **{n: controls.get(n, n) for n in names}, "n": "n"}, digits=2)
    star = ["* distortions that the demo backbone was trained on"] if demo else []
    return screen(head, [shown, *star], record["warnings"])
