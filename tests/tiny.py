"""A CLIP of a few thousand weights and a folder of small images: whole runs in a second, without any download."""

import json
import os
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from magiqa.config.compose import Configs
from magiqa.features.shard import read_shard, write_shard

CONFIG = {
    "model_cfg": {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {},
}
N = 24


def make(folder: Path) -> Path:
    """Write ``clip/`` and ``set/`` (24 images of 128x96 or 96x96, three groups) into a folder."""
    (folder / "clip").mkdir(parents=True)
    (folder / "clip" / "open_clip_config.json").write_text(json.dumps(CONFIG))
    images = folder / "set"
    images.mkdir()
    rng = np.random.default_rng(0)
    rows = ["image,mos,gen,sd"]
    for i in range(N):
        noise = rng.integers(0, 256, (96, 128 if i % 4 else 96, 3))
        pixels = (noise * i / N + 128 * (1 - i / N)).astype(np.uint8)
        Image.fromarray(pixels).save(images / f"{i:02d}.png")
        rows.append(f"{i:02d}.png,{i / 5 + rng.normal():.4f},g{i % 3},0.5")
    (images / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


def pristine(folder: Path) -> Path:
    """Write ``pristine/``: 30 reference images, in a sub-folder."""
    out = folder / "pristine" / "more"
    out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(3)
    for i in range(30):
        pixels = rng.integers(0, 256, (128, 128, 3)).astype(np.uint8)
        Image.fromarray(pixels).resize((96 + i, 96)).save(out / f"{i}.png")
    return out.parent


def overrides(folder: Path, *more: str) -> list[str]:
    """Return the overrides of a run on that folder."""
    return [
        "dataset=folder",
        f"dataset.root={folder / 'set'}",
        "dataset.group_column=gen",
        "dataset.mos_std_column=sd",
        "backbone=open_clip",
        f"backbone.name='local-dir:{folder / 'clip'}'",
        "backbone.untrained=0",
        "views.window=64",
        "views.stride=32",
        f"cache_dir={folder / 'cache'}",
        "engine=torch",
        "device=cpu",
        "batch_size=4",
        "workers=1",
        "figures=false",
        *more,
    ]


def scoring(folder: Path) -> list[str]:
    """Return those of `overrides` that commands without a data set take."""
    keys = ("backbone", "views", "engine", "batch_size", "workers")
    return [o for o in overrides(folder) if o.startswith(keys)]


def named(folder: Path) -> str:
    """The override that lets a command take this backbone from a record."""
    return f"backbone.name=local-dir:{folder / 'clip'}"


@cache
def _configs(folder: str) -> Configs:
    return Configs()


def configs() -> Configs:
    """Return the configs of the current folder, read once for all tests of a process."""
    return _configs(os.getcwd())


def job(folder: Path, *more: str):
    """Return the job of these overrides."""
    return configs().job(overrides(folder, *more))


def altered(bundle, out, change):
    """A bundle with a change of its tensors and meta, and a checksum that fits."""
    tensors, metadata = read_shard(bundle)
    arrays = {k: np.array(v) for k, v in tensors.items()}
    meta = json.loads(metadata["magiqa"])
    change(arrays, meta)
    write_shard(out, arrays, {"images": metadata["images"], "magiqa": json.dumps(meta, sort_keys=True)})
    return out
