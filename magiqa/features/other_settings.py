"""What lies in the cache under other settings: said before hours of encoding begin."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from magiqa.errors import UserError
from magiqa.features.cache import FeatureCache
from magiqa.features.shard import read_shard

SHARE = 0.9  # of the images to encode: what holds fewer is another set


def elsewhere(cache: FeatureCache, images: Iterable[str]) -> list[str]:
    """What of the missing images the cache holds under other settings of the same weights, and what to type for it.

    Returns:
        A sentence for the key with the fewest differences that holds nearly all of them, or none.
    """
    missing = {i for i in images if i not in cache}
    found: list[tuple[int, int, str]] = []
    for folder in sorted(f for f in cache.root.glob("*") if f.is_dir()):
        typed = _differences(cache, _key(folder))
        if typed is None or (not typed and cache.only is None):
            continue
        held = len(missing & _images(folder))
        if held and held >= SHARE * len(missing):
            found.append((len(typed), -held, " ".join(typed) or "cache_engine=any"))
    if not found:
        return []
    _, held, typed_ = min(found)
    return [
        f"{-held} of the {len(missing)} images that are now encoded are in the cache under other settings; to use "
        f"those, stop and add {typed_}"
    ]


def _differences(cache: FeatureCache, key: dict[str, Any]) -> list[str] | None:
    """The overrides that lead from a cache's key to another; None if no override does."""
    own = json.loads(json.dumps(cache.key))
    out: list[str] = []
    maker = key.get("maker")
    if maker and maker != own.get("maker"):
        out += [f"engine={maker['engine']}", f"device={maker['device']}"]
    for name in sorted((own.keys() | key.keys()) - {"maker"}):
        here, there = own.get(name), key.get(name)
        if here == there:
            continue
        if name == "views" and isinstance(here, dict) and isinstance(there, dict):
            out += [f"views.{k}={_typed(v)}" for k, v in there.items() if here.get(k) != v]
        elif name == "precision":
            out.append(f"precision={there}")
        elif name == "positional_embedding":
            out.append(f"backbone.positional_embedding={there}")
        elif name == "resize" and there is None:
            out.append("dataset.resize=null")
        elif name == "resize" and isinstance(here, dict) and isinstance(there, dict):
            out += [f"dataset.resize.{k}={v}" for k, v in there.items() if here.get(k) != v]
        else:
            return None
    return out


def _typed(value: Any) -> str:
    """A plain value as an override has it."""
    if isinstance(value, list):
        return f"[{','.join(map(str, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _key(folder: Path) -> dict[str, Any]:
    try:
        key = json.loads((folder / "key.json").read_text())
    except (OSError, ValueError):
        return {}
    return key if isinstance(key, dict) else {}


def _images(folder: Path) -> set[str]:
    """The images of a key's readable shards: here a damaged one is nobody's business."""
    images: set[str] = set()
    for shard in folder.glob("*.safetensors"):
        try:
            images.update(json.loads(read_shard(shard)[1]["images"]))
        except (UserError, KeyError, ValueError, TypeError):
            continue
    return images
