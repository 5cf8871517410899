"""The images of a data set that are there, each known by its sha256."""

import pandas as pd

from magiqa.datasets.base import Labels
from magiqa.errors import UnreadableImage
from magiqa.features.hashing import HashIndex, hash_files
from magiqa.runs.config import RunConfig


def load_labels(job: RunConfig) -> tuple[Labels, list[str], list[dict[str, str]], pd.DataFrame]:
    """Read labels and every image, no cache: labels, sha256 a kept row, skipped images, the kept rows."""
    labels: Labels = job.source.dataset.load()
    return labels, *hash_images(job, labels, HashIndex(None, ""))


def of_part(paths: pd.Series, part: str | None) -> pd.Series:
    """Which rows belong to ``I/N``: every N-th file from the I-th on, so that no two parts read the same."""
    if part is None:
        return pd.Series(True, index=paths.index)
    first, step = (int(v) for v in part.split("/"))
    return paths.isin(list(paths.drop_duplicates())[first - 1 :: step])


def hash_images(
    job: RunConfig, labels: Labels, index: HashIndex
) -> tuple[list[str], list[dict[str, str]], pd.DataFrame]:
    """sha256 of each kept row, the images left out with the reason, and the kept rows.

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
    hashes, failed = hash_files(list(table.loc[present, "path"]), job.source.on_error, index)
    reasons = {int(i): "not found" for i in absent} | {int(present[i]): why for i, why in failed.items()}
    sha_of = dict(zip(present, hashes, strict=True))
    kept = [i for i in present if i not in reasons]
    skipped = [{"image": table.loc[i, "image"], "reason": reasons[i]} for i in sorted(reasons)]
    return [str(sha_of[i]) for i in kept], skipped, table.loc[kept]
