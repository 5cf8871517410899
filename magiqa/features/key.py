"""What shapes a feature: the key that it is cached under."""

import hashlib
import json
from dataclasses import asdict
from typing import Any

from magiqa.backbones.spec import Backbone
from magiqa.backbones.weights import Weights
from magiqa.images.views import Resize, Views

FEATURE_VERSION = 2  # raise it when a change of code changes features: old caches are then never hit


def feature_key(
    backbone: Backbone, weights: Weights, views: Views, resize: Resize | None, engine: str, precision: str
) -> dict[str, Any]:
    """All that shapes a feature, the image's content apart."""
    return {
        "version": FEATURE_VERSION,
        "weights_sha256": weights.sha256,
        "architecture": {k: weights.config[k] for k in sorted(weights.config)},
        "activation": "quickgelu" if weights.quickgelu else "gelu",
        "positional_embedding": backbone.positional_embedding,
        "engine": engine,
        "precision": precision,
        "mean": list(weights.mean),
        "std": list(weights.std),
        "decode": "pillow rgb, no exif rotation",
        "resize": asdict(resize) if resize is not None else None,
        "views": asdict(views) | {"kinds": list(views.kinds)},
    }


def key_hash(key: dict[str, Any]) -> str:
    """A short, stable name of a key: any field that differs gives another."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:20]
