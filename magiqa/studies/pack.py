"""A run in one file: features, labels, text embeddings and records, without images or weights."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from magiqa import __version__
from magiqa.errors import UserError
from magiqa.features.bundle import FORMAT, LABELS, columns_of, write_bundle
from magiqa.features.shard import read_shard, verify_shard
from magiqa.features.source import prepare
from magiqa.method.prompts import PromptSet
from magiqa.package import code_sha256
from magiqa.runs.config import RunConfig
from magiqa.runs.portable import portable
from magiqa.runs.provenance import Clock
from magiqa.runs.read import read_record


def pack(
    run: str | Path, job: RunConfig, prompt_sets: Sequence[PromptSet] = (), out: str | Path | None = None
) -> Path:
    """Write a run's bundle.

    Args:
        run: its folder. job: the run's own config. prompt_sets: more sets whose embeddings go in, so that ablations
            over prompts can be rerun; pairs of them all can be combined.
        out: the file; default ``bundle.safetensors`` inside the run's folder.

    Raises:
        UserError: no run's folder; labels, images, weights or code changed since the run.
    """
    folder = Path(run).expanduser()
    recorded = read_record(folder)
    features = prepare(job.having(rehash=True), Clock())
    for what, then, now in (
        ("the labels", recorded.dataset.fingerprint, features.record["dataset"]["fingerprint"]),
        (
            "images, or which were left out,",
            recorded.dataset.images_sha256,
            features.record["dataset"]["images_sha256"],
        ),
        (
            "the weights",
            recorded.backbone.weights_sha256,
            features.record["backbone"]["weights_sha256"],
        ),
        ("what shapes the features", recorded.cache.get("key"), features.record["cache"]["key"]),
    ):
        if then != now:
            raise UserError(
                f"{folder}: {what} changed since this run; run magiqa evaluate again with out={folder}, then pack"
            )
    pairs: dict[tuple[str, str], np.ndarray] = {}
    scale = 1.0
    for prompts in (job.method.prompts, *prompt_sets):
        text, scale = features.text(prompts)
        for pair, embedding in zip(prompts.pairs, text, strict=True):
            pairs.setdefault(pair, embedding)
    where = dict(zip(features.labels.table["image"], features.labels.table["path"], strict=True))
    skipped = [
        {**one, "reason": one["reason"].replace(str(where.get(one["image"]) or "\0"), one["image"])}
        for one in features.skipped
    ]
    record = json.loads(json.dumps(features.record, default=str))
    record["dataset"]["skipped"] = skipped
    record["dataset"]["root"] = Path(record["dataset"]["root"]).name
    record["backbone"]["source"] = Path(record["backbone"]["source"]).name
    record["cache"] = {
        "key": features.cache.name,
        "images_cached": len(features.images),
        "views_encoded": 0,
        "made_by": record["cache"]["made_by"],
    }
    measured = ("batch_size", "batch_size_from", "max_error")
    record["engine"] = {k: v for k, v in record["engine"].items() if k not in measured}
    meta = {
        "format": FORMAT,
        "magiqa": __version__,
        "code_sha256": code_sha256(),
        "versions": recorded.versions,
        "key": features.cache.key,
        "images": features.images,
        "table": columns_of(features.table),
        "labels": {k: getattr(features.labels, k) for k in LABELS} | {"notes": list(features.labels.notes)},
        "fingerprint": record["dataset"]["fingerprint"],
        "n_annotated": len(features.labels.table),
        "skipped": skipped,
        "pairs": [list(p) for p in pairs],
        "choices": recorded.choices,
        "changed": recorded.changed,
        "config": portable(recorded.given["config"]),
        "backbone": portable({"backbone": asdict(job.method.backbone)})["backbone"],
        "record": record,
    }
    path = Path(out).expanduser() if out else folder / "bundle.safetensors"
    unique = list(dict.fromkeys(features.images))
    entries = [features.cache.entries[i] for i in unique]
    counts = np.array([e.count for e in entries], np.int64)
    text = np.stack(list(pairs.values())).astype(np.float32)
    shards: dict[Path, np.ndarray] = {}

    def rows() -> Iterable[np.ndarray]:
        for entry in entries:
            if entry.shard not in shards:
                verify_shard(entry.shard)
                shards[entry.shard] = read_shard(entry.shard)[0]["features"]
            yield np.ascontiguousarray(shards[entry.shard][entry.start : entry.start + entry.count])

    controls = np.stack([e.controls for e in entries]).astype(np.float64)
    write_bundle(
        path,
        {
            "controls": (controls.dtype, controls.shape, [controls]),
            "counts": (counts.dtype, counts.shape, [counts]),
            "features": (np.dtype(np.float32), (int(counts.sum()), text.shape[-1]), rows()),
            "logit_scale": (np.dtype(np.float64), (1,), [np.array([scale], np.float64)]),
            "text": (text.dtype, text.shape, [text]),
        },
        {"images": json.dumps(unique), "magiqa": json.dumps(meta, sort_keys=True, allow_nan=False)},
    )
    return path
