"""Verify a bundle: compare its labels, weights, prompts and some features with the images and weights here."""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from magiqa.datasets.base import fingerprint, occurrences
from magiqa.features.bundle import Bundle, Header, columns_of, open_bundle
from magiqa.features.images import Features, Images
from magiqa.features.source import ImageSource
from magiqa.method.cues import BoxCox
from magiqa.method.prompts import PromptSet
from magiqa.runs.config import RunConfig, plain_name
from magiqa.runs.record import Clock
from magiqa.studies.pack import label_facts

SAMPLED = 50

TOLERANCE = {
    "fp32": 1e-4,
    "bf16": 3e-2,
    "fp16": 1e-2,
}  # of an image's largest |feature|: engines and CPUs differ


def verify(
    path: str | Path,
    job: RunConfig,
    *,
    sampled: int = SAMPLED,
    seed: int | None = None,
    progress: bool = True,
) -> tuple[list[str], dict[str, Any]]:
    """Compare a bundle's labels, weights, prompts and the features of some random images with those here.

    Args:
        job: the bundle's config with the paths of the images and weights here.
        sampled: how many images are encoded anew. seed: of the draw; None draws differently each time, so that
            nobody can know which images to leave untouched.

    Returns:
        The differences (none: the bundle holds), and what was checked.

    Raises:
        UserError: the bundle cannot be read, or data set and weights cannot be had.
    """
    bundle = open_bundle(path)
    header = bundle.header
    seed = int.from_bytes(os.urandom(4), "little") if seed is None else seed
    with tempfile.TemporaryDirectory() as temporary:
        # a part may have few images; what the bundle leaves out may be unreadable here too
        skip = {"on_error": "skip"} if header.skipped else {}
        # the magnitude plays no part, and may need a folder of reference images
        job = job.having(bundle=None, cache_dir=temporary, part="1/1", magnitude=BoxCox(), **skip)
        source = ImageSource(job, Clock(), progress=progress)
        labels, weights = source.labels(), source.weights()
        images = source.images(labels)
        left_out = {image.image: image.reason for image in header.skipped}
        others = images.table["image"].isin(set(left_out) - set(header.frame()["image"])).to_numpy()
        rows = np.flatnonzero(~others)
        drawn = _drawn(header, images, rows, sampled, seed)
        chosen = [*np.flatnonzero(others), *(row for row, _ in drawn)]
        table = images.table.iloc[chosen].reset_index(drop=True)
        some = Images(table, [images.sha256[row] for row in chosen])
        features = source.features(labels, some, weights)
        problems = [
            f"{name}: left out of the bundle ({left_out[name]}), but readable here"
            for name in features.table["image"][features.table["image"].isin(images.table["image"][others])]
        ]
        problems += compare_tables(header, images.table.iloc[rows], labels.label)
        problems += _compare_facts(header, job, features)
        if not problems and fingerprint(labels) != header.fingerprint:
            problems.append("labels: the annotation differs from the bundle's fingerprint")
        problems += _compare_prompts(bundle, job, features)
        tolerance = TOLERANCE[source.resolved.precision]
        pairs = [(images.table["image"].iloc[row], images.sha256[row], sha) for row, sha in drawn]
        wrong, worst = _compare_features(pairs, features, bundle, tolerance)
    return problems + wrong, {
        "labels": len(rows),
        "images": len(drawn),
        "seed": seed,
        "largest_difference": worst,
        "tolerance": tolerance,
        "weights_sha256": weights.sha256,
    }


def _drawn(
    header: Header, images: Images, rows: np.ndarray, sampled: int, seed: int
) -> list[tuple[int, str]]:
    """Draw some rows of ``images`` that are in the bundle too, each with the sha256 that the bundle claims."""
    claimed = dict(zip(occurrences(header.frame()["image"]), header.images, strict=True))
    names = occurrences(images.table["image"].iloc[rows])
    both = [(int(row), claimed[name]) for row, name in zip(rows, names, strict=True) if name in claimed]
    return [both[i] for i in sorted(np.random.default_rng(seed).permutation(len(both))[:sampled])]


def _compare_facts(header: Header, job: RunConfig, features: Features) -> list[str]:
    """Compare the facts of labels, weights and cache key with what the bundle claims."""
    labels = label_facts(features.labels)
    bone, claims = features.record["backbone"], header.record.backbone
    names = ("kind", "label", "name", "positional_embedding", "weights_sha256")
    here, claimed = {n: bone[n] for n in names}, {n: getattr(claims, n) for n in names}
    if here["kind"] == "given" and claimed["kind"] == "published":  # a file may stand for a tag
        here["kind"] = "published"
    for side in (here, claimed):
        side["name"] = plain_name(side["name"])
    key = {k: v for k, v in features.cache.key.items() if k != "weights_sha256"}
    record = {k: v for k, v in header.record.dataset.items() if k in labels}
    return [
        *_differences("labels", labels, header.labels.facts()),
        *_differences("labels", {k: labels[k] for k in record}, record),
        *_differences("weights", here, claimed),
        *_differences("features", key, header.key),
    ]


def _differences(what: str, here: Mapping[str, Any], claimed: Mapping[str, Any]) -> list[str]:
    here, claimed = (json.loads(json.dumps(side)) for side in (here, claimed))  # no tuples
    return [
        f"{what}: {key} is {value} here, {claimed.get(key)} in the bundle"
        for key, value in here.items()
        if value != claimed.get(key)
    ]


def _compare_prompts(bundle: Bundle, job: RunConfig, features: Features) -> list[str]:
    """Compare the bundle's text embeddings with those here: of the run's own set, and of plain texts."""
    own, scale = features.text(job.method.prompts)
    rows = dict(zip(job.method.prompts.text_names, own, strict=True))
    names = bundle.header.text_names
    if rest := [name for name in names if name not in rows]:
        plain = PromptSet(
            "rest", tuple((text, f"no {text}") for text in rest)
        )  # the second one is not compared
        rows |= zip(plain.text_names, features.text(plain)[0], strict=True)
    packed, packed_scale = bundle.text()
    wrong = np.abs(np.stack([rows[name] for name in names]) - packed).max(axis=1) > TOLERANCE["fp32"]
    wrong |= not np.isclose(packed_scale, scale, rtol=1e-6)
    return [f"prompts: the embedding of {names[i]} differs" for i in np.flatnonzero(wrong)]


def _compare_features(
    drawn: list[tuple[str, str, str]], features: Features, bundle: Bundle, tolerance: float
) -> tuple[list[str], float]:
    """Compare features encoded here with the bundle's.

    Args:
        drawn: name, sha256 here and sha256 in the bundle of each image.

    Returns:
        The differences, and the largest one as a share of its image's largest feature.
    """
    problems, worst = [], 0.0
    for name, sha, claimed in drawn:
        if claimed != sha:
            problems.append(f"{name}: the image file is another one (sha256 {sha[:12]}, not {claimed[:12]})")
            continue
        if sha not in features.cache:
            problems.append(f"{name}: cannot be read here")
            continue
        new, old = features.cache.rows(sha).astype(np.float64), bundle.features.rows(sha)
        if len(new) != len(old):
            problems.append(f"{name}: {len(new)} views here, {len(old)} in the bundle")
            continue
        if not np.array_equal(features.cache.entries[sha].controls, bundle.features.entries[sha].controls):
            problems.append(f"{name}: its controls (size, bytes, Laplacian) differ")
        error = np.abs(new - old).max(axis=1) / np.abs(new).max()
        worst = max(worst, float(error.max()))
        if error.max() > tolerance:
            problems.append(
                f"{name}: the features of view {int(error.argmax())} differ by {error.max():.2g} of its largest, "
                f"more than {tolerance:g}"
            )
    return problems, worst


def compare_tables(header: Header, table: pd.DataFrame, label: str) -> list[str]:
    """Compare the rows of the bundle's table with those of the data set's, column by column."""
    claimed = {name: list(column.cells) for name, column in header.table.items()}
    here = {name: cells for name, (_, cells) in columns_of(table).items()}
    if claimed["image"] != here["image"]:
        return [
            f"labels: {len(here['image'])} images here, {len(claimed['image'])} in the bundle, or in another order"
        ]
    problems = []
    for name in dict.fromkeys((label, *here, *claimed)):
        if name not in here or name not in claimed:
            missing = "missing here" if name in claimed else "not in the bundle"
            problems.append(f"labels: the column {name} is {missing}")
            continue
        rows = [i for i, (a, b) in enumerate(zip(here[name], claimed[name], strict=True)) if a != b]
        if rows:
            i = rows[0]
            problems.append(
                f"labels: {name} differs for {len(rows)} of {len(table)} images (first {here['image'][i]}: "
                f"{here[name][i]} here, {claimed[name][i]} in the bundle)"
            )
    return problems
