"""Whether a bundle is what it claims."""

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from magiqa.backbones.model import build_model, fit_positional_embedding
from magiqa.backbones.text import encode_text
from magiqa.backbones.weights import load_weights
from magiqa.datasets.base import Labels, fingerprint, occurrences
from magiqa.engines.build import build
from magiqa.engines.resolve import resolve
from magiqa.errors import UnreadableImage, UserError
from magiqa.features.bundle import BundleCache, read_header
from magiqa.features.cache import FeatureCache
from magiqa.features.header import Header
from magiqa.features.key import feature_key
from magiqa.features.pipeline import Encoder, fill_cache, load_file
from magiqa.features.present import load_labels
from magiqa.features.shard import read_shard, verify_shard
from magiqa.images.decode import Limits, open_image, read_image
from magiqa.runs.config import RunConfig
from magiqa.runs.portable import plain_name

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
    """Whether a bundle is what it claims: labels, weights, prompts, and the features of some random images.

    Args:
        job: the bundle's config with the paths of the images and weights here.
        sampled: how many images are encoded anew. seed: of the draw; none draws differently each time, so that
            nobody can know which images to leave untouched.

    Returns:
        What is wrong (nothing: the bundle holds), and what was checked.

    Raises:
        UserError: the bundle cannot be read, or data set and weights cannot be had.
    """
    header = read_header(path)
    file = Path(path).expanduser()
    problems: list[str] = []
    try:
        verify_shard(file)
    except UserError:
        problems.append("the file does not match its own checksum")
    job = job.having(bundle=None)
    labels, images, _, kept = load_labels(job)
    own = header.frame()
    problems += _left_out(header, kept, job.source.limits)
    gone = {one.image for one in header.skipped} - set(own["image"])
    chosen_rows = ~kept["image"].isin(gone).to_numpy()
    images, kept = [i for i, here in zip(images, chosen_rows, strict=True) if here], kept[chosen_rows]
    problems += _compare_labels(own, header, labels, kept.reset_index(drop=True))
    problems += _compare_facts(header, job, labels)
    weights = load_weights(job.method.backbone)
    claimed = header.record.backbone.weights_sha256
    if weights.sha256 != claimed:
        problems.append(f"weights: sha256 {weights.sha256[:12]} here, {claimed[:12]} in the bundle")
    seed = int.from_bytes(os.urandom(4), "little") if seed is None else seed
    # by name and occurrence: a name may be annotated twice
    here = dict(zip(occurrences(kept["image"]), zip(images, kept["path"], strict=True), strict=True))
    there = dict(zip(occurrences(own["image"]), header.images, strict=True))
    both = [name for name in there if name in here]
    drawn = np.random.default_rng(seed).permutation(len(both))[:sampled]
    chosen = [both[i] for i in sorted(drawn)]
    resolved = resolve(job.machine.engine, job.machine.precision, job.machine.device)
    key = feature_key(
        job.method.backbone, weights, job.method.views, job.source.dataset.resize, resolved.precision
    )
    key = json.loads(json.dumps(key))
    different = [k for k in key if k != "weights_sha256" and key[k] != header.key.get(k)]
    problems += [f"{k}: {key[k]} here, {header.key.get(k)} in the bundle" for k in different]
    model: Any = build_model(job.method.backbone, weights)
    problems += _compare_prompts(
        header, read_shard(file)[0], *encode_text(model, job.method.backbone, list(header.pairs))
    )
    with tempfile.TemporaryDirectory() as temporary:
        fresh = FeatureCache(temporary, key)

        def engine() -> Encoder:
            size = (job.method.views.window, job.method.views.window)
            fit_positional_embedding(model, job.method.backbone, size)
            return build(model.visual, resolved, batch_size=job.machine.batch_size, view_size=size)

        fill_cache(
            fresh,
            [(here[n][1], here[n][0]) for n in chosen],
            engine,
            views=job.method.views,
            resize=job.source.dataset.resize,
            mean=weights.mean,
            std=weights.std,
            load=partial(load_file, limits=job.source.limits),
            limits=job.source.limits,
            progress=progress,
        )
        tolerance = TOLERANCE[resolved.precision]
        wrong, worst = _compare_features(
            [(name[0], here[name][0], there[name]) for name in chosen],
            fresh,
            BundleCache(file, dict(header.key)),
            tolerance,
        )
    problems += wrong
    done = {
        "labels": len(kept),
        "images": len(chosen),
        "seed": seed,
        "largest_difference": worst,
        "tolerance": tolerance,
        "weights_sha256": weights.sha256,
    }
    return problems, done


def _compare_prompts(
    header: Header, tensors: Mapping[str, np.ndarray], text: np.ndarray, scale: float
) -> list[str]:
    """The bundle's text embeddings, against those of its prompts here."""
    wrong = np.abs(text - tensors["text"]).max(axis=(1, 2)) > TOLERANCE["fp32"]
    wrong |= ~np.isclose(float(tensors["logit_scale"][0]), scale, rtol=1e-6)
    return [f"prompts: the embeddings of {' / '.join(header.pairs[i])} differ" for i in np.flatnonzero(wrong)]


def _compare_features(
    chosen: Sequence[tuple[str, str, str]], fresh: FeatureCache, held: FeatureCache, tolerance: float
) -> tuple[list[str], float]:
    """Features encoded here against the bundle's, of images by name, sha256 here and sha256 in the bundle.

    Returns:
        What is wrong, and the largest difference, as a share of its image's largest feature.
    """
    problems, worst = [], 0.0
    for name, sha, claimed in chosen:
        if claimed != sha:
            problems.append(f"{name}: the image file is another one (sha256 {sha[:12]}, not {claimed[:12]})")
            continue
        new, old = fresh.entries[sha], held.entries[sha]
        if new.count != old.count:
            problems.append(f"{name}: {new.count} views here, {old.count} in the bundle")
            continue
        if not np.array_equal(new.controls, old.controls):
            problems.append(f"{name}: its controls (size, bytes, Laplacian) differ")
        a, b = (
            np.array(read_shard(e.shard)[0]["features"][e.start : e.start + e.count], np.float64)
            for e in (new, old)
        )
        error = np.abs(a - b).max(axis=1) / np.abs(a).max()
        error = np.where(np.isfinite(error), error, np.inf)
        worst = max(worst, float(error.max()))
        if error.max() > tolerance:
            problems.append(
                f"{name}: the features of view {int(error.argmax())} differ by {error.max():.2g} of its largest, "
                f"more than {tolerance:g}"
            )
    return problems, worst


def _left_out(header: Header, kept: pd.DataFrame, limits: Limits) -> list[str]:
    """Images that the bundle leaves out as unreadable, and that can be read here."""
    reasons = {one.image: one.reason for one in header.skipped}
    out = []
    for name, path in zip(kept["image"], kept["path"], strict=True):
        if name in reasons:
            try:
                open_image(read_image(path), name, limits)
                out.append(f"{name}: left out of the bundle ({reasons[name]}), but readable here")
            except UnreadableImage:
                continue
    return out


def _compare_facts(header: Header, job: RunConfig, labels: Labels) -> list[str]:
    """What the record says of labels and weights, against what they are here."""
    record, out = header.record, []
    for key in ("variant", "label", "higher_is_better", "cluster", "expected", "every"):
        here = getattr(labels, key)
        for claimed in (getattr(header.labels, key), getattr(record.dataset, key)):
            if claimed != here:
                out.append(f"labels: {key} is {here} here, {claimed} in the bundle")
                break
    spec, claims = job.method.backbone, record.backbone
    kinds = ("given", "published") if spec.kind == "given" else (spec.kind,)  # a file may stand for a tag
    if claims.kind not in kinds:
        out.append(f"weights: {spec.kind} here, {claims.kind} in the bundle")
    for key, here, claimed in (
        ("label", spec.shown_label, claims.label),
        ("name", plain_name(spec.name), plain_name(claims.name)),
        ("positional_embedding", spec.positional_embedding, claims.positional_embedding),
    ):
        if claimed != here:
            out.append(f"weights: {key} is {here} here, {claimed} in the bundle")
    return out


def _compare_labels(own: pd.DataFrame, header: Header, labels: Labels, kept: pd.DataFrame) -> list[str]:
    """What differs between the bundle's labels and the data set's: every row is compared."""
    column, claimed = labels.label, header.labels.label
    if column != claimed:
        return [f"labels: the label is {column} here, {claimed} in the bundle"]
    if own["image"].tolist() != kept["image"].tolist():
        return [f"labels: {len(kept)} images here, {len(own)} in the bundle, or in another order"]
    a, b = kept[column].to_numpy(float), own[column].to_numpy(float)
    wrong = np.flatnonzero(a != b)
    if len(wrong):
        i = wrong[0]
        return [
            f"labels: {column} differs for {len(wrong)} of {len(a)} images (first {own['image'].iloc[i]}: {a[i]} here, "
            f"{b[i]} in the bundle)"
        ]
    out = []
    for extra in ("group", "reference", "prompt", "split", "level", "mos_std"):
        if (extra in own) != (extra in kept):
            out.append(
                f"labels: the column {extra} is {'missing here' if extra in own else 'not in the bundle'}"
            )
        elif extra in own:
            same = [
                (pd.isna(x) and pd.isna(y)) or x == y or str(x) == str(y)
                for x, y in zip(own[extra], kept[extra], strict=True)
            ]
            if not all(same):
                out.append(
                    f"labels: the column {extra} differs for {same.count(False)} of {len(same)} images"
                )
    if not out and fingerprint(labels) != header.fingerprint:
        out.append("labels: the annotation differs from the bundle's fingerprint")
    return out
