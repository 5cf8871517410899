"""A run in one file: features, labels, text embeddings and records, without images or weights.

A bundle is a shard of the feature cache (safetensors: ``features``, ``counts``, ``controls``) that also holds the
embeddings of prompt pairs (``text``, ``logit_scale``) and, in its header, labels, records, the resolved config and
the version of the code, as JSON. The same run gives the same bytes. Whoever has it reruns evaluations, ablations and
reports; whoever has the images and the weights too can verify it.
"""

import hashlib
import json
import os
import struct
import tempfile
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from magiqa import __version__, encode
from magiqa.backbone import build_model, encode_text, fit_positional_embedding, load_weights
from magiqa.cache import FeatureCache, key_hash, read_shard, verify_shard
from magiqa.datasets.base import Labels, fingerprint
from magiqa.engine import build, resolve
from magiqa.errors import UnreadableImage, UserError
from magiqa.job import Job
from magiqa.prompts import PromptSet
from magiqa.results import occurrences, plain_name, portable
from magiqa.runner import Clock, Features, load_labels, prepare
from magiqa.views import open_image, read_image

FORMAT = 1
SAMPLED = 50
TOLERANCE = {
    "fp32": 1e-4,
    "bf16": 3e-2,
    "fp16": 1e-2,
}  # of an image's largest |feature|: engines and CPUs differ
_LABELS = ("name", "variant", "label", "higher_is_better", "cluster", "expected", "page", "layout", "every")
_TYPES = {"float64": "F64", "float32": "F32", "int64": "I64"}


def code_sha256() -> str:
    """sha256 over this package's own Python files: which code, where the version alone does not tell."""
    digest = hashlib.sha256()
    package = Path(__file__).parent
    for file in sorted(package.rglob("*.py")):
        digest.update(f"{file.relative_to(package).as_posix()}\n".encode() + file.read_bytes())
    return digest.hexdigest()


def _columns(table: pd.DataFrame) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for column in table.columns.drop("path"):
        values = table[column]
        kind = "float" if values.dtype.kind == "f" else "int" if values.dtype.kind in "iu" else "str"
        listed = [None if pd.isna(v) else v for v in values.tolist()]
        out[column] = [kind, listed if kind != "str" else [v if v is None else str(v) for v in listed]]
    return out


def _table(columns: Mapping[str, Any]) -> pd.DataFrame:
    types = {"float": np.float64, "int": np.int64, "str": object}
    table = pd.DataFrame({c: pd.Series(v, dtype=types[kind]) for c, (kind, v) in columns.items()})
    return table.assign(path="")


def pack(
    run: str | Path, job: Job, prompt_sets: Sequence[PromptSet] = (), out: str | Path | None = None
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
    features = prepare(job, Clock())
    for what, then, now in (
        ("the labels", recorded["dataset"]["fingerprint"], features.record["dataset"]["fingerprint"]),
        (
            "images, or which were left out,",
            recorded["dataset"]["images_sha256"],
            features.record["dataset"]["images_sha256"],
        ),
        (
            "the weights",
            recorded["backbone"]["weights_sha256"],
            features.record["backbone"]["weights_sha256"],
        ),
        ("what shapes the features", recorded["cache"]["key"], features.record["cache"]["key"]),
    ):
        if then != now:
            raise UserError(
                f"{folder}: {what} changed since this run; run magiqa evaluate again with out={folder}, then pack"
            )
    pairs: dict[tuple[str, str], np.ndarray] = {}
    scale = 1.0
    for prompts in (job.prompts, *prompt_sets):
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
    record["cache"] = {"key": features.cache.name, "images_cached": len(features.images), "views_encoded": 0}
    record["engine"] = {k: v for k, v in record["engine"].items() if k not in ("batch_size", "max_error")}
    meta = {
        "format": FORMAT,
        "magiqa": __version__,
        "code_sha256": code_sha256(),
        "versions": recorded.get("versions", {}),
        "key": features.cache.key,
        "images": features.images,
        "table": _columns(features.table),
        "labels": {k: getattr(features.labels, k) for k in _LABELS} | {"notes": list(features.labels.notes)},
        "fingerprint": record["dataset"]["fingerprint"],
        "n_annotated": len(features.labels.table),
        "skipped": skipped,
        "pairs": [list(p) for p in pairs],
        "choices": recorded["choices"],
        "config": portable(recorded["config"]),
        "backbone": portable({"backbone": asdict(job.backbone)})["backbone"],
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
    _write(
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


def _write(
    path: Path,
    tensors: Mapping[str, tuple[np.dtype, tuple[int, ...], Iterable[np.ndarray]]],
    metadata: Mapping[str, str],
) -> None:
    """A safetensors file, streamed: never more than one image's features in memory; names in sorted order."""
    header: dict[str, Any] = {"__metadata__": {**metadata, "sha256": "0" * 64}}
    at = 0
    for name in sorted(tensors):
        dtype, shape, _ = tensors[name]
        size = int(np.prod(shape)) * dtype.itemsize
        header[name] = {"dtype": _TYPES[dtype.name], "shape": list(shape), "data_offsets": [at, at + size]}
        at += size

    def head(sha256: str) -> bytes:
        header["__metadata__"]["sha256"] = sha256
        data = json.dumps(header, sort_keys=True).encode()
        data += b" " * (-len(data) % 8)
        return struct.pack("<Q", len(data)) + data

    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256(json.dumps(dict(metadata), sort_keys=True).encode())
        with open(temporary, "wb") as file:
            file.write(head("0" * 64))
            for name in sorted(tensors):
                dtype, shape, blocks = tensors[name]
                digest.update(f"{name} {dtype.str} {shape}\n".encode())
                for block in blocks:
                    digest.update(block.data)
                    file.write(block.data)
            file.seek(0)
            file.write(head(digest.hexdigest()))
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(
            f"out={path}: cannot be written ({error.strerror or error}); give another out=FILE"
        ) from None
    finally:
        temporary.unlink(missing_ok=True)


def read_record(folder: Path) -> dict[str, Any]:
    """A run's ``record.json``.

    Raises:
        UserError: the folder is none that ``magiqa evaluate`` wrote, or the record lacks its images' checksum.
    """
    try:
        record = json.loads((folder / "record.json").read_text())
        if record["command"] != "evaluate":
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(
            f"{folder}: no run's folder; give one that holds the record.json of magiqa evaluate"
        ) from None
    if "images_sha256" not in record["dataset"]:
        raise UserError(
            f"{folder}: its record is of an older magiqa, which said less; run magiqa evaluate anew"
        )
    return dict(record)


def read_meta(path: str | Path) -> dict[str, Any]:
    """A bundle's header: everything but the tensors.

    Raises:
        UserError: the file is missing, cut short, or no bundle of a known format.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(f"bundle={path}: no such file; give one that magiqa pack wrote")
    try:
        meta = json.loads(read_shard(file)[1]["magiqa"])
    except (UserError, KeyError, ValueError):
        raise UserError(
            f"bundle={path}: no bundle, or cut short; fetch it again or run magiqa pack anew"
        ) from None
    if meta.get("format") != FORMAT:
        raise UserError(f"bundle={path}: format {meta.get('format')} is not known here; update magiqa")
    return dict(meta)


def verify_bundle(path: str | Path) -> None:
    """Check a bundle's checksum.

    Raises:
        UserError: the file is missing, no bundle, or does not match.
    """
    read_meta(path)
    try:
        verify_shard(Path(path).expanduser())
    except UserError:
        raise UserError(
            f"bundle={path}: its contents do not match its checksum; fetch it again or run magiqa pack anew"
        ) from None


class _File(FeatureCache):
    """A bundle as the feature cache of its one key."""

    def __init__(self, path: Path, key: dict[str, Any]) -> None:
        self.key, self.name, self.folder = key, key_hash(key), path.parent
        self.entries = {}
        self._verified = set()
        self._index(path)


def unpack(job: Job) -> Features:
    """The features of ``job.bundle``, in place of `magiqa.runner.prepare`.

    Raises:
        UserError: a corrupt file; a job that asks for other features than the bundle holds.
    """
    assert job.bundle is not None
    path = Path(job.bundle).expanduser()
    meta = read_meta(path)
    verify_bundle(job.bundle)
    cache = _File(path, meta["key"])
    tensors = read_shard(path)[0]
    views = {**asdict(job.views), "kinds": list(job.views.kinds)}
    held = {k: v for k, v in meta["record"]["views"].items() if k != "count"}
    config = meta["config"]
    asked_set = portable({"dataset": job.config.get("dataset", config["dataset"])})["dataset"]
    if asked_set != config["dataset"]:
        raise UserError(
            f"bundle={job.bundle}: holds the data set {meta['labels']['name']} with its labels; leave out dataset="
        )
    for key, asked, has in (
        ("backbone", portable({"backbone": asdict(job.backbone)})["backbone"], meta["backbone"]),
        ("views", views, held),
        ("all", {"precision": job.precision}, {"precision": config["precision"]}),
        ("all", {"engine": job.engine}, {"engine": config["engine"]}),
    ):
        for name in asked:
            if asked[name] != has.get(name):
                where = name if key == "all" else f"{key}.{name}"
                raise UserError(
                    f"bundle={job.bundle}: holds features of {where}={has.get(name)}, not {asked[name]}; "
                    "other features need the images and weights"
                )
    table = _table(meta["table"])
    labels = Labels(**{**meta["labels"], "notes": tuple(meta["labels"]["notes"])}, table=table)
    text = np.array(tensors["text"])
    scale = float(tensors["logit_scale"][0])
    known = {tuple(pair): i for i, pair in enumerate(meta["pairs"])}

    def embeddings(prompts: PromptSet) -> tuple[np.ndarray, float]:
        missing = next((p for p in prompts.pairs if p not in known), None)
        if missing is not None:
            raise UserError(
                f"bundle={job.bundle}: holds no embeddings of the prompt pair {' / '.join(missing)}, which would need "
                "the weights; use one of its own pairs, or pack it with that prompt set"
            )
        return text[[known[p] for p in prompts.pairs]], scale

    record = meta["record"] | {"bundle": {"magiqa": meta["magiqa"], "code_sha256": meta["code_sha256"]}}
    return Features(labels, table, cache, meta["images"], meta["skipped"], record, embeddings)


def verify(
    path: str | Path, job: Job, *, sampled: int = SAMPLED, seed: int | None = None, progress: bool = True
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
    meta = read_meta(path)
    file = Path(path).expanduser()
    problems: list[str] = []
    try:
        verify_shard(file)
    except UserError:
        problems.append("the file does not match its own checksum")
    job = replace(job, bundle=None)
    labels, images, _, kept = load_labels(job)
    own = _table(meta["table"])
    problems += _left_out(meta, kept)
    gone = {one["image"] for one in meta["skipped"]} - set(own["image"])
    chosen_rows = ~kept["image"].isin(gone).to_numpy()
    images, kept = [i for i, here in zip(images, chosen_rows, strict=True) if here], kept[chosen_rows]
    problems += _compare_labels(own, meta, labels, kept.reset_index(drop=True))
    problems += _compare_facts(meta, job, labels)
    weights = load_weights(job.backbone)
    claimed = meta["record"]["backbone"]["weights_sha256"]
    if weights.sha256 != claimed:
        problems.append(f"weights: sha256 {weights.sha256[:12]} here, {claimed[:12]} in the bundle")
    seed = int.from_bytes(os.urandom(4), "little") if seed is None else seed
    # by name and occurrence: a name may be annotated twice
    here = dict(zip(occurrences(kept["image"]), zip(images, kept["path"], strict=True), strict=True))
    there = dict(zip(occurrences(own["image"]), meta["images"], strict=True))
    both = [name for name in there if name in here]
    drawn = np.random.default_rng(seed).permutation(len(both))[:sampled]
    chosen = [both[i] for i in sorted(drawn)]
    resolved = resolve(job.engine, job.precision, job.device)
    key = encode.feature_key(
        job.backbone, weights, job.views, job.dataset.resize, meta["key"]["engine"], resolved.precision
    )
    key = json.loads(json.dumps(key))
    different = [k for k in key if k != "weights_sha256" and key[k] != meta["key"].get(k)]
    problems += [f"{k}: {key[k]} here, {meta['key'].get(k)} in the bundle" for k in different]
    model: Any = build_model(job.backbone, weights)
    tensors = read_shard(file)[0]
    text, scale = encode_text(model, job.backbone, [(str(a), str(b)) for a, b in meta["pairs"]])
    wrong = np.abs(text - tensors["text"]).max(axis=(1, 2)) > TOLERANCE["fp32"]
    wrong |= ~np.isclose(float(tensors["logit_scale"][0]), scale, rtol=1e-6)
    problems += [
        f"prompts: the embeddings of {' / '.join(meta['pairs'][i])} differ" for i in np.flatnonzero(wrong)
    ]
    held = _File(file, meta["key"])
    worst = 0.0
    with tempfile.TemporaryDirectory() as temporary:
        fresh = FeatureCache(temporary, key)

        def engine() -> encode.Encoder:
            size = (job.views.window, job.views.window)
            fit_positional_embedding(model, job.backbone, size)
            return build(model.visual, resolved, batch_size=job.batch_size, view_size=size)

        encode.fill_cache(
            fresh,
            [(here[n][1], here[n][0]) for n in chosen],
            engine,
            views=job.views,
            resize=job.dataset.resize,
            mean=weights.mean,
            std=weights.std,
            progress=progress,
        )
        for name in chosen:
            sha, shown = here[name][0], name[0]
            if there[name] != sha:
                problems.append(
                    f"{shown}: the image file is another one (sha256 {sha[:12]}, not {there[name][:12]})"
                )
                continue
            new, old = fresh.entries[sha], held.entries[sha]
            if new.count != old.count:
                problems.append(f"{shown}: {new.count} views here, {old.count} in the bundle")
                continue
            if not np.array_equal(new.controls, old.controls):
                problems.append(f"{shown}: its controls (size, bytes, Laplacian) differ")
            a = np.array(read_shard(new.shard)[0]["features"][new.start : new.start + new.count], np.float64)
            b = np.array(read_shard(old.shard)[0]["features"][old.start : old.start + old.count], np.float64)
            error = np.abs(a - b).max(axis=1) / np.abs(a).max()
            error = np.where(np.isfinite(error), error, np.inf)
            worst = max(worst, float(error.max()))
            if error.max() > TOLERANCE[resolved.precision]:
                problems.append(
                    f"{shown}: the features of view {int(error.argmax())} differ by {error.max():.2g} of its largest, "
                    f"more than {TOLERANCE[resolved.precision]:g}"
                )
    done = {
        "labels": len(kept),
        "images": len(chosen),
        "seed": seed,
        "largest_difference": worst,
        "tolerance": TOLERANCE[resolved.precision],
        "weights_sha256": weights.sha256,
    }
    return problems, done


def _left_out(meta: dict[str, Any], kept: pd.DataFrame) -> list[str]:
    """Images that the bundle leaves out as unreadable, and that can be read here."""
    reasons = {one["image"]: one["reason"] for one in meta["skipped"]}
    out = []
    for name, path in zip(kept["image"], kept["path"], strict=True):
        if name in reasons:
            try:
                open_image(read_image(path), name)
                out.append(f"{name}: left out of the bundle ({reasons[name]}), but readable here")
            except UnreadableImage:
                continue
    return out


def _compare_facts(meta: dict[str, Any], job: Job, labels: Labels) -> list[str]:
    """What the record says of labels and weights, against what they are here."""
    record, out = meta["record"], []
    for key in ("variant", "label", "higher_is_better", "cluster", "expected", "every"):
        here = getattr(labels, key)
        for claimed in (meta["labels"].get(key), record["dataset"].get(key)):
            if claimed != here:
                out.append(f"labels: {key} is {here} here, {claimed} in the bundle")
                break
    spec, claims = job.backbone, record["backbone"]
    kinds = ("given", "published") if spec.kind == "given" else (spec.kind,)  # a file may stand for a tag
    if claims.get("kind") not in kinds:
        out.append(f"weights: {spec.kind} here, {claims.get('kind')} in the bundle")
    claims = claims | {"name": plain_name(str(claims.get("name")))}
    for key, here in (
        ("label", spec.shown_label),
        ("name", plain_name(spec.name)),
        ("positional_embedding", spec.positional_embedding),
    ):
        if claims.get(key) != here:
            out.append(f"weights: {key} is {here} here, {claims.get(key)} in the bundle")
    return out


def _compare_labels(own: pd.DataFrame, meta: dict[str, Any], labels: Labels, kept: pd.DataFrame) -> list[str]:
    """What differs between the bundle's labels and the data set's: every row is compared."""
    column, claimed = labels.label, meta["labels"]["label"]
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
    if not out and fingerprint(labels) != meta["fingerprint"]:
        out.append("labels: the annotation differs from the bundle's fingerprint")
    return out
