"""A bundle in place of images and weights: its features."""

from dataclasses import asdict
from pathlib import Path

import numpy as np

from magiqa.datasets.base import Labels
from magiqa.errors import UserError
from magiqa.features.bundle import LABELS, BundleCache, read_header, verify_bundle
from magiqa.features.features import Features
from magiqa.features.shard import text_of
from magiqa.method.prompts import PromptSet
from magiqa.runs.config import RunConfig
from magiqa.runs.portable import portable


def from_bundle(job: RunConfig) -> Features:
    """The features of ``job.bundle``, in place of `magiqa.features.from_images.from_images`.

    Raises:
        UserError: a corrupt file; a job that asks for other features than the bundle holds.
    """
    assert job.source.bundle is not None
    path = Path(job.source.bundle).expanduser()
    header = read_header(path)
    verify_bundle(job.source.bundle)
    cache = BundleCache(path, dict(header.key))
    unheld = next((image for image in header.images if image not in cache), None)
    if unheld is not None:
        raise UserError(
            f"bundle={job.source.bundle}: holds no features of its image {unheld[:64]!r}; pack it anew"
        )
    views = {**asdict(job.method.views), "kinds": list(job.method.views.kinds)}
    held = {k: v for k, v in header.record.views.plain().items() if k != "count"}
    config = header.config.given
    asked_set = portable({"dataset": job.config.get("dataset", config["dataset"])})["dataset"]
    if asked_set != config["dataset"]:
        raise UserError(
            f"bundle={job.source.bundle}: holds the data set {header.labels.name} with its labels; leave "
            "out dataset="
        )
    for key, asked, has in (
        ("backbone", portable({"backbone": asdict(job.method.backbone)})["backbone"], header.backbone),
        ("views", views, held),
        ("all", {"precision": job.machine.precision}, {"precision": config["precision"]}),
        ("all", {"engine": job.machine.engine}, {"engine": config["engine"]}),
    ):
        for name in asked:
            if asked[name] != has.get(name):
                where = name if key == "all" else f"{key}.{name}"
                raise UserError(
                    f"bundle={job.source.bundle}: holds features of {where}={has.get(name)}, not {asked[name]}; "
                    "other features need the images and weights"
                )
    table = header.frame()
    labels = Labels(**{name: getattr(header.labels, name) for name in (*LABELS, "notes")}, table=table)
    text, scale = text_of(path, len(header.pairs), cache.width)
    known = {pair: i for i, pair in enumerate(header.pairs)}

    def embeddings(prompts: PromptSet) -> tuple[np.ndarray, float]:
        missing = next((p for p in prompts.pairs if p not in known), None)
        if missing is not None:
            raise UserError(
                f"bundle={job.source.bundle}: holds no embeddings of the prompt pair {' / '.join(missing)}, which "
                "would need the weights; use one of its own pairs, or pack it with that prompt set"
            )
        return text[[known[p] for p in prompts.pairs]], scale

    made = {"magiqa": header.magiqa, "code_sha256": header.code_sha256}
    skipped = [one.plain() for one in header.skipped]
    record = header.record.plain() | {"bundle": made}
    return Features(labels, table, cache, list(header.images), skipped, record, embeddings)
