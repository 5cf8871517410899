"""How many views an engine takes at once: typed, remembered from an earlier search, or searched for.

A search costs up to fifteen seconds before the first view. Its result is kept in the cache by all that it depends on;
where there are few images to encode, it would cost more than it brings and is left out.
"""

import hashlib
import json
import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from magiqa.engines.build import CANDIDATES
from magiqa.engines.hardware import chip
from magiqa.engines.resolve import Resolved, threads
from magiqa.errors import UserError
from magiqa.features.shard import write_atomically

FEW = 100  # images: on two cores a minute and a half with RN50, of which the best size saves less than the search takes


def choose(
    given: int | Literal["auto"], root: str | Path, key: dict[str, Any], resolved: Resolved, images: int
) -> tuple[int | Literal["auto"], str]:
    """The batch size to build an engine with, and where it comes from, for the record.

    Args:
        given: as typed. root: the cache. key: as `search_key` makes it. images: how many are to be encoded.

    Returns:
        A size, or ``auto``: to be searched for; and ``typed``, ``remembered``, ``few images`` or ``measured``.
    """
    if given != "auto":
        return given, "typed"
    if (known := remembered(root, key)) is not None:
        return known, "remembered"
    if images < FEW:
        return CANDIDATES[resolved.device.partition(":")[0]][0], "few images"
    return "auto", "measured"


def search_key(resolved: Resolved, shapes_sha256: str, view_size: tuple[int, int]) -> dict[str, Any]:
    """All that the fastest batch size depends on: of the weights their shapes, not their values."""
    package = "openvino" if resolved.engine == "openvino" else "torch"
    try:
        library = f"{package} {version(package)}"
    except PackageNotFoundError:
        library = package
    return {
        "machine": machine(resolved.device),
        "threads": threads(),
        "shapes_sha256": shapes_sha256,
        "engine": resolved.engine,
        "precision": resolved.precision,
        "library": library,
        "view_size": list(view_size),
    }


def remembered(root: str | Path, key: dict[str, Any]) -> int | None:
    """The size that an earlier search found, or None."""
    try:
        size = json.loads(_file(root, key).read_text())["batch_size"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return size if type(size) is int and size > 0 else None


def remember(root: str | Path, key: dict[str, Any], size: int) -> None:
    """Keep what a search found, the first of several; a cache that cannot be written has said so before."""
    if remembered(root, key) is None:
        try:
            write_atomically(
                _file(root, key), json.dumps({"key": key, "batch_size": size}, indent=1).encode()
            )
        except UserError:
            return


def machine(device: str) -> str:
    """The name of the GPU, or of the CPU with its number of cores."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    return f"{chip()} x {os.cpu_count()}"


def _file(root: str | Path, key: dict[str, Any]) -> Path:
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:20]
    return Path(root).expanduser() / "batch_sizes" / f"{name}.json"
