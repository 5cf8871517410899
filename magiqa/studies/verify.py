"""Verify a bundle: compare its labels, weights, prompts and some features with the images and weights here."""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from magiqa.backbones.model import build_model, fit_positional_embedding
from magiqa.backbones.text import encode_prompts, encode_text
from magiqa.backbones.weights import load_weights
from magiqa.datasets.base import fingerprint, occurrences
from magiqa.engines.build import build
from magiqa.engines.resolve import resolve
from magiqa.errors import UnreadableImage
from magiqa.features.bundle import Bundle, Header, columns_of, open_bundle
from magiqa.features.cache import FeatureCache
from magiqa.features.images import Images, find_images
from magiqa.features.key import feature_key
from magiqa.features.pipeline import Recipe, fill_cache
from magiqa.images.decode import Limits, open_image, read_image
from magiqa.runs.config import RunConfig, plain_name
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
    job = job.having(bundle=None)
    labels = job.source.dataset.load()
    images = find_images(job, labels)
    problems = _left_out(header, images.table, job.source.limits)
    gone = {image.image for image in header.skipped} - set(header.frame()["image"])
    images = images.without(
        {s: "" for s, i in zip(images.sha256, images.table["image"], strict=True) if i in gone}
    )
    weights = load_weights(job.method.backbone)
    resolved = resolve(job.machine.engine, job.machine.precision, job.machine.device)
    resize = job.source.dataset.resize
    key = feature_key(job.method.backbone, weights, job.method.views, resize, resolved.precision)
    problems += compare_tables(header, images.table, labels.label)
    problems += _differences("labels", label_facts(labels), header.labels.facts())
    claims = {k: v for k, v in header.record.dataset.items() if k in header.labels.facts()}
    problems += _differences("labels", {k: getattr(labels, k) for k in claims}, claims)
    problems += _differences("weights", *_weights_facts(header, job, weights.record(job.method.backbone)))
    shaping = {k: v for k, v in json.loads(json.dumps(key)).items() if k != "weights_sha256"}
    problems += _differences("features", shaping, header.key)
    if not problems and fingerprint(labels) != header.fingerprint:
        problems.append("labels: the annotation differs from the bundle's fingerprint")
    model: Any = build_model(job.method.backbone, weights)
    problems += _compare_prompts(bundle, *_encoded(model, job, header))
    drawn, seed = _draw(header, images, sampled, seed)
    size = (job.method.views.window, job.method.views.window)

    def engine() -> Any:
        fit_positional_embedding(model, job.method.backbone, size)
        return build(model.visual, resolved, batch_size=job.machine.batch_size, view_size=size)

    with tempfile.TemporaryDirectory() as temporary:
        fresh = FeatureCache(temporary, key)
        recipe = Recipe(job.method.views, resize, weights.mean, weights.std, job.source.limits)
        fill_cache(fresh, [(p, sha) for _, p, sha, _ in drawn], engine, recipe, progress=progress)
        tolerance = TOLERANCE[resolved.precision]
        wrong, worst = _compare_features(drawn, fresh, bundle, tolerance)
    return problems + wrong, {
        "labels": len(images.sha256),
        "images": len(drawn),
        "seed": seed,
        "largest_difference": worst,
        "tolerance": tolerance,
        "weights_sha256": weights.sha256,
    }


def _differences(what: str, here: Mapping[str, Any], claimed: Mapping[str, Any]) -> list[str]:
    def plain(value: Any) -> Any:
        return list(value) if isinstance(value, tuple) else value

    return [
        f"{what}: {key} is {plain(value)} here, {plain(claimed.get(key))} in the bundle"
        for key, value in here.items()
        if plain(value) != plain(claimed.get(key))
    ]


def _weights_facts(
    header: Header, job: RunConfig, here: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what is known of the weights here and what the record claims."""
    facts = ("kind", "label", "name", "positional_embedding", "weights_sha256")
    claims = {fact: getattr(header.record.backbone, fact) for fact in facts}
    here = {fact: here[fact] for fact in facts}
    if here["kind"] == "given" and claims["kind"] == "published":  # a file may stand for a tag
        here["kind"] = "published"
    for side in (here, claims):
        side["name"] = plain_name(side["name"])
    return here, claims


Drawn = list[tuple[str, str, str, str]]


def _draw(header: Header, images: Images, sampled: int, seed: int | None) -> tuple[Drawn, int]:
    """Draw images that both have: name, path, sha256 here, sha256 in the bundle. A name may be annotated twice."""
    seed = int.from_bytes(os.urandom(4), "little") if seed is None else seed
    claimed = dict(zip(occurrences(header.frame()["image"]), header.images, strict=True))
    both = [
        (name[0], path, sha, claimed[name])
        for name, path, sha in zip(
            occurrences(images.table["image"]), images.table["path"], images.sha256, strict=True
        )
        if name in claimed
    ]
    return [both[i] for i in sorted(np.random.default_rng(seed).permutation(len(both))[:sampled])], seed


def _encoded(model: Any, job: RunConfig, header: Header) -> tuple[np.ndarray, float]:
    """Encode the bundle's prompts: the run's own set, which may depend on a file, and plain texts."""
    prompts, backbone = job.method.prompts, job.method.backbone
    own, scale = encode_prompts(model, backbone, prompts)
    rows = dict(zip(prompts.text_names, own, strict=True))
    rest = [name for name in header.text_names if name not in rows]
    if rest:
        rows |= zip(rest, encode_text(model, backbone, rest)[0], strict=True)
    return np.stack([rows[name] for name in header.text_names]), scale


def _compare_prompts(bundle: Bundle, text: np.ndarray, scale: float) -> list[str]:
    """Compare the bundle's text embeddings with those of its prompts here."""
    packed, packed_scale = bundle.text()
    wrong = np.abs(text - packed).max(axis=1) > TOLERANCE["fp32"]
    wrong |= not np.isclose(packed_scale, scale, rtol=1e-6)
    names = bundle.header.text_names
    return [f"prompts: the embedding of {names[i]} differs" for i in np.flatnonzero(wrong)]


def _compare_features(
    drawn: Drawn, fresh: FeatureCache, bundle: Bundle, tolerance: float
) -> tuple[list[str], float]:
    """Compare features encoded here with the bundle's.

    Returns:
        The differences, and the largest one as a share of its image's largest feature.
    """
    problems, worst = [], 0.0
    for name, _, sha, claimed in drawn:
        if claimed != sha:
            problems.append(f"{name}: the image file is another one (sha256 {sha[:12]}, not {claimed[:12]})")
            continue
        new, old = fresh.rows(sha).astype(np.float64), bundle.features.rows(sha)
        if len(new) != len(old):
            problems.append(f"{name}: {len(new)} views here, {len(old)} in the bundle")
            continue
        if not np.array_equal(fresh.entries[sha].controls, bundle.features.entries[sha].controls):
            problems.append(f"{name}: its controls (size, bytes, Laplacian) differ")
        error = np.abs(new - old).max(axis=1) / np.abs(new).max()
        worst = max(worst, float(error.max()))
        if error.max() > tolerance:
            problems.append(
                f"{name}: the features of view {int(error.argmax())} differ by {error.max():.2g} of its largest, "
                f"more than {tolerance:g}"
            )
    return problems, worst


def _left_out(header: Header, present: pd.DataFrame, limits: Limits) -> list[str]:
    """Return the images that the bundle leaves out as unreadable, and that can be read here."""
    reasons = {image.image: image.reason for image in header.skipped}
    problems = []
    for name, path in zip(present["image"], present["path"], strict=True):
        if name in reasons:
            try:
                open_image(read_image(path), name, limits)
            except UnreadableImage:
                continue
            problems.append(f"{name}: left out of the bundle ({reasons[name]}), but readable here")
    return problems


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
