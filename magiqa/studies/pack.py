"""Pack a run in one file: features, labels, text embeddings and records, without images or weights."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from magiqa import __version__
from magiqa.datasets.base import Labels
from magiqa.errors import UserError
from magiqa.features.bundle import LabelFacts, columns_of, write_bundle
from magiqa.features.images import Features
from magiqa.features.source import prepare
from magiqa.method.prompts import PromptSet
from magiqa.method.rivals import Rival
from magiqa.package import code_sha256, expanded
from magiqa.runs.config import RunConfig, portable
from magiqa.runs.read import read_record
from magiqa.runs.record import Clock


def pack(
    run: str | Path, job: RunConfig, prompt_sets: Sequence[PromptSet] = (), out: str | Path | None = None
) -> Path:
    """Write a run's bundle.

    Args:
        run: its folder. job: the run's own config. prompt_sets: more sets, of pairs, whose embeddings go in, so that
            ablations over prompts can be rerun.
        out: the file; default ``bundle.safetensors`` inside the run's folder.

    Raises:
        UserError: no run's folder; labels, images, weights or code changed since the run.
    """
    folder = expanded(run)
    recorded = read_record(folder)
    features = prepare(job.having(rehash=True), Clock())
    magnitude = job.method.magnitude
    reference = features.reference(magnitude) if isinstance(magnitude, Rival) else None
    _check_unchanged(folder, recorded, features.record)
    texts: dict[str, np.ndarray] = {}
    scale = 1.0
    plain = [
        prompts for prompts in prompt_sets if not (prompts.groups or prompts.context or prompts.features)
    ]
    for prompts in (job.method.prompts, *plain):
        embeddings, scale = features.text(prompts)
        for name, embedding in zip(prompts.text_names, embeddings, strict=True):
            texts.setdefault(name, embedding)
    record = _portable_record(features)
    meta = {
        "magiqa": __version__,
        "code_sha256": code_sha256(),
        "versions": recorded.versions,
        "key": features.cache.key,
        "images": features.images,
        "table": columns_of(features.table),
        "labels": label_facts(features.labels),
        "fingerprint": record["dataset"]["fingerprint"],
        "n_annotated": len(features.labels.table),
        "skipped": record["dataset"]["skipped"],
        "texts": list(texts),
        "choices": recorded.choices,
        "changed": recorded.changed,
        "config": portable(recorded.given["config"]),
        "backbone": portable({"backbone": asdict(job.method.backbone)})["backbone"],
        "record": record,
    }
    path = expanded(out) if out else folder / "bundle.safetensors"
    write_bundle(
        path, meta, features.cache, features.images, np.stack(list(texts.values())), scale, reference
    )
    return path


def label_facts(labels: Labels) -> dict[str, Any]:
    """Return what `Labels` hold beside their table, JSON-able."""
    facts = {name: getattr(labels, name) for name in LabelFacts.__dataclass_fields__}
    return facts | {"notes": list(labels.notes)}


def _check_unchanged(folder: Path, recorded: Any, now: dict[str, Any]) -> None:
    for what, then, here in (
        ("the labels", recorded.dataset.fingerprint, now["dataset"]["fingerprint"]),
        (
            "images, or which were left out,",
            recorded.dataset.images_sha256,
            now["dataset"]["images_sha256"],
        ),
        ("the weights", recorded.backbone.weights_sha256, now["backbone"]["weights_sha256"]),
        ("what shapes the features", recorded.cache.get("key"), now["cache"]["key"]),
        ("contexts or text features from a file", *(_learned(r) for r in (recorded.given, now))),
        ("reference images", *(r.get("reference", {}).get("images_sha256") for r in (recorded.given, now))),
    ):
        if then != here:
            raise UserError(
                f"{folder}: {what} changed since this run; run magiqa evaluate again with out={folder}, then pack"
            )


def _learned(record: Mapping[str, Any]) -> str:
    return str(record["backbone"]["source"]).partition(" of sha256 ")[2]


def _portable_record(features: Features) -> dict[str, Any]:
    """Return the features' record without paths, and without what another run of the same would measure otherwise."""
    record = json.loads(json.dumps(features.record, default=str))
    paths = dict(zip(features.labels.table["image"], features.labels.table["path"], strict=True))
    for image in record["dataset"]["skipped"]:
        name = image["image"]
        image["reason"] = image["reason"].replace(str(paths.get(name) or "\0"), name)
    record["dataset"]["root"] = Path(record["dataset"]["root"]).name
    record["backbone"]["source"] = Path(record["backbone"]["source"]).name
    cache = record["cache"]
    record["cache"] = {"key": cache["key"], "made_by": cache["made_by"]}
    record["cache"] |= {"images_cached": len(features.images), "views_encoded": 0}
    for measured in ("batch_size", "max_error"):
        record["engine"].pop(measured, None)
    return record
