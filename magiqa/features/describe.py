"""What a record says of the images and labels behind it."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from magiqa.datasets.base import Labels, fingerprint


def dataset_record(
    labels: Labels, dataset: Any, images: Sequence[str], skipped: Sequence[dict[str, str]]
) -> dict[str, Any]:
    """A record's ``dataset``.

    Args:
        labels: as read. dataset: their reader. images: sha256 of each image that is scored.
        skipped: name and reason of the others.
    """
    resize = getattr(dataset, "resize", None)
    return {
        "name": labels.name,
        "variant": labels.variant,
        "root": str(Path(getattr(dataset, "root", "")).expanduser().absolute()),
        "n": len(images),
        "n_annotated": len(labels.table),
        "expected": labels.expected,
        "label": labels.label,
        "higher_is_better": labels.higher_is_better,
        "cluster": labels.cluster,
        "every": labels.every,
        "layout": labels.layout,
        "notes": list(labels.notes),
        "page": labels.page,
        "resize": asdict(resize) if resize else None,
        "fingerprint": fingerprint(labels),
        "images_sha256": hashlib.sha256("\n".join(images).encode()).hexdigest(),
        "skipped": list(skipped),
    }
