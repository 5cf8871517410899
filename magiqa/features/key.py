"""The key of a cached feature: everything that shapes it.

Engines that agree share one key: a float32 feature that was verified against plain float32 torch within `SHARING` is
the same feature whatever engine and device made it. What misses that, and half precision, whose features differ by
percents between devices, has keys of its own by engine and device.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

from magiqa.backbones.spec import Backbone
from magiqa.backbones.weights import Weights
from magiqa.engines.engine import Resolved
from magiqa.images.views import Resize, Views

FEATURE_VERSION = 3  # raise it when a change of code changes features: old caches are then never hit

SHARING = 5e-6  # of |f - f_torch| / |f_torch|: the same for all engines and devices, whatever each may tolerate itself


@dataclass(frozen=True)
class Maker:
    """The maker of a feature: an engine on a kind of device (``cpu``, ``cuda``, ``mps``)."""

    engine: str
    device: str

    @classmethod
    def of(cls, resolved: Resolved) -> "Maker":
        """The maker that a resolved engine is; one GPU is like another.

        Example:
            >>> Maker.of(Resolved("torch", "fp32", "cuda:1"))
            Maker(engine='torch', device='cuda')
        """
        return cls(resolved.engine, resolved.kind)


def feature_key(
    backbone: Backbone, weights: Weights, views: Views, resize: Resize | None, precision: str
) -> dict[str, Any]:
    """All that shapes a feature, the image's content and its maker apart."""
    return {
        "version": FEATURE_VERSION,
        "weights_sha256": weights.sha256,
        "architecture": {k: weights.config[k] for k in sorted(weights.config)},
        "activation": "quickgelu" if weights.quickgelu else "gelu",
        "positional_embedding": backbone.positional_embedding,
        "precision": precision,
        "mean": list(weights.mean),
        "std": list(weights.std),
        "decode": "pillow rgb, no exif rotation",
        "resize": asdict(resize) if resize is not None else None,
        "views": views.plain(),
    }


def own_key(key: dict[str, Any], maker: Maker) -> dict[str, Any]:
    """The key of features that one maker shares with nobody."""
    return key | {"maker": asdict(maker)}


def shared(key: dict[str, Any]) -> bool:
    """Tell if verified features of a key count whoever made them."""
    return key.get("precision") == "fp32"


def key_hash(key: dict[str, Any]) -> str:
    """A short, stable name of a key: any field that differs gives another."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:20]
