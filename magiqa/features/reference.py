"""Statistics of the features of reference images, for the cues that compare with them."""

import hashlib
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from magiqa.errors import UserError
from magiqa.features.cache import Shards
from magiqa.features.images import HashIndex, hash_files
from magiqa.images.decode import images_in, picture_notes
from magiqa.method.rivals import Reference, Rival
from magiqa.package import expanded
from magiqa.runs.config import RunConfig


def reference_folder(rival: Rival) -> Path:
    """Return the folder of a rival's reference images.

    Raises:
        UserError: there is none.
    """
    folder = expanded(rival.statistics_from or "")
    if not rival.statistics_from or not folder.is_dir():
        raise UserError(
            f"magnitude.statistics_from={rival.statistics_from}: magnitude={rival.kind} needs a folder of undistorted "
            "images; give magnitude.statistics_from=FOLDER"
        )
    return folder


def reference_statistics(
    job: RunConfig,
    store: Shards,
    encode: Callable[..., tuple[int, dict[str, str]]],
    evaluated: Collection[str],
    record: dict[str, Any],
    warn: Callable[[str], object],
    rival: Rival,
) -> Reference:
    """Return the statistics of a rival's reference images, and describe these in the record.

    Args:
        encode: paths and sha256 of images into the store. evaluated: sha256 of the data set's images.
        warn: takes a remark on images that are left out.

    Raises:
        UserError: the folder holds no images, or one that is evaluated.
    """
    folder = reference_folder(rival)
    paths = images_in(folder, recursive=True)
    index = HashIndex(job.machine.cache_dir, folder, rehash=job.machine.rehash, limits=job.source.limits)
    hashes, _ = hash_files(paths, job.source.on_error, index)
    for remark in (*picture_notes(index.traits, index.limits), *filter(None, [index.warning])):
        warn(f"reference images: {remark}")
    names = {sha: path for path, sha in zip(paths, hashes, strict=True) if sha}
    if both := [path for sha, path in names.items() if sha in evaluated]:
        raise UserError(
            f"magnitude.statistics_from={folder}: {len(both)} of its images are evaluated too (first {both[0]}); give "
            "other images"
        )
    _, bad = encode(names.values(), list(names))
    images = sorted(sha for sha in names if sha not in bad)
    if not images:
        raise UserError(f"magnitude.statistics_from={folder}: holds no images; give a folder with some")
    if left_out := hashes.count(None) + len(bad):
        warn(f"{left_out} of {len(paths)} reference images left out (on_error=skip)")
    reference = Reference.of(len(images), lambda: (rows for _, rows in store.blocks(images)))
    digest = hashlib.sha256("\n".join(images).encode()).hexdigest()
    record["reference"] = reference.facts() | {"images_sha256": digest, "skipped": left_out}
    return reference
