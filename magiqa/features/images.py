"""The images of a data set that are present and readable, each known by its sha256, and their features."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from magiqa.datasets.base import Labels, fingerprint
from magiqa.errors import UnreadableImage
from magiqa.features.cache import Shards
from magiqa.features.hashing import HashIndex, hash_files
from magiqa.images.controls import CONTROLS
from magiqa.method.prompts import PromptSet
from magiqa.method.rivals import Reference, Rival
from magiqa.package import expanded
from magiqa.runs.config import RunConfig


@dataclass(frozen=True)
class Images:
    """The images of a data set that take part.

    Args:
        table: rows of the labels' table, one an image. sha256: of each. skipped: name and reason of the others.
    """

    table: pd.DataFrame
    sha256: list[str]
    skipped: list[dict[str, str]] = field(default_factory=list)

    def without(self, bad: Mapping[str, str]) -> "Images":
        """Leave out images by sha256, each with its reason. Two names may have one content."""
        left = [sha not in bad for sha in self.sha256]
        skipped = [
            {"image": name, "reason": f"{path or name}: {bad[sha]}"}
            for name, path, sha in zip(self.table["image"], self.table["path"], self.sha256, strict=True)
            if sha in bad
        ]
        return Images(
            self.table[left].reset_index(drop=True),
            [sha for sha in self.sha256 if sha not in bad],
            self.skipped + skipped,
        )

    def record(self, labels: Labels, dataset: Any) -> dict[str, Any]:
        """Return a record's ``dataset``: of the labels, their reader and these images."""
        resize = getattr(dataset, "resize", None)
        facts = (
            "name",
            "variant",
            "expected",
            "label",
            "higher_is_better",
            "cluster",
            "every",
            "layout",
            "page",
        )
        return {
            **{fact: getattr(labels, fact) for fact in facts},
            "root": str(expanded(getattr(dataset, "root", "")).absolute()),
            "n": len(self.sha256),
            "n_annotated": len(labels.table),
            "notes": list(labels.notes),
            "resize": asdict(resize) if resize else None,
            "fingerprint": fingerprint(labels),
            "images_sha256": hashlib.sha256("\n".join(self.sha256).encode()).hexdigest(),
            "skipped": list(self.skipped),
        }


def of_part(paths: pd.Series, part: str | None) -> pd.Series:
    """Return which rows belong to ``I/N``: every N-th file from the I-th on, so that no two parts read the same."""
    if part is None:
        return pd.Series(True, index=paths.index)
    first, step = (int(v) for v in part.split("/"))
    return paths.isin(list(paths.drop_duplicates())[first - 1 :: step])


def find_images(job: RunConfig, labels: Labels, index: HashIndex | None = None) -> Images:
    """Hash the files of the labels' images; without an index every file is read.

    Raises:
        UnreadableImage: an image is missing or cannot be read, and ``on_error`` is ``raise``.
    """
    table = labels.table.reset_index(drop=True)
    absent = table.index[table["path"] == ""]
    if len(absent) and job.source.on_error != "skip":
        names = ", ".join(table.loc[absent[:3], "image"])
        raise UnreadableImage(
            f"dataset {labels.name}: {len(absent)} of {len(table)} annotated images are missing "
            f"under {getattr(job.source.dataset, 'root', '')} ({names}{', ...' if len(absent) > 3 else ''}); complete "
            f"the set from {labels.page or 'its source'}, or use on_error=skip to list and leave out"
        )
    present = table.index[table["path"] != ""]
    present = present[of_part(table.loc[present, "path"], job.source.part)]
    hashes, failed = hash_files(
        list(table.loc[present, "path"]),
        job.source.on_error,
        index or HashIndex(None, "", limits=job.source.limits),
    )
    reasons = {int(i): "not found" for i in absent} | {int(present[i]): why for i, why in failed.items()}
    sha_of = dict(zip(present, hashes, strict=True))
    rows = [i for i in present if i not in reasons]
    skipped = [{"image": table.loc[i, "image"], "reason": reasons[i]} for i in sorted(reasons)]
    return Images(table.loc[rows].reset_index(drop=True), [str(sha_of[i]) for i in rows], skipped)


@dataclass
class Features:
    """Features of a data set's images, in the cache, with what they came from.

    Args:
        labels: with the rows of skipped images gone. cache: holds every image. images: sha256 a row.
        skipped: name and reason of each image left out. record: what the run's record says of all this.
        text: for a prompt set, its text features (T, D) and the logit scale. reference: for a cue that compares with
            reference images, the statistics of their features.
    """

    labels: Labels
    table: pd.DataFrame
    cache: Shards
    images: list[str]
    skipped: list[dict[str, str]]
    record: dict[str, Any]
    text: Callable[[PromptSet], tuple[np.ndarray, float]]
    reference: Callable[[Rival], Reference]

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of the views that an image's rows are of, in their order."""
        return tuple(self.record["views"]["kinds"])

    @property
    def controls(self) -> pd.DataFrame:
        """Width, height, bytes and Laplacian variance a row."""
        values = np.stack([self.cache.entries[i].controls for i in self.images])
        return pd.DataFrame(values, columns=list(CONTROLS)).astype({c: int for c in CONTROLS[:3]})
