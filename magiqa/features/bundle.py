"""A run in one file: features, labels, text embeddings and records, without images or weights.

A bundle is a shard of the feature cache (safetensors: ``features``, ``counts``, ``controls``) that also holds the
embeddings of prompts (``text``, ``logit_scale``) and, in its header, labels, records, the resolved config and the
version of the code, as JSON. The same run gives the same bytes. Whoever has it reruns evaluations, ablations and
reports; whoever has the images and the weights too can verify it.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from magiqa.checked import Parsed, checked
from magiqa.errors import UserError
from magiqa.features.cache import Shards
from magiqa.features.shard import Blocks, read_shard, read_text_shard, verify_shard, write_shard
from magiqa.method.rivals import DIRECTIONS, Reference
from magiqa.package import expanded
from magiqa.runs.record import Bone, Count, DataSet, Engine, LabelFacts, Skipped, read_as

_KINDS: dict[str, Any] = {"float": float | None, "int": int, "str": str | None}

_TYPES = {"float": np.float64, "int": np.int64, "str": object}


@dataclass(frozen=True, kw_only=True)
class Column(Parsed):
    """A column of a bundle's table, in JSON a list of both.

    Args:
        kind: ``float``, ``int`` or ``str``. cells: of that kind (a number passes for text), or None but for ``int``.
    """

    kind: str
    cells: tuple[Any, ...]

    @classmethod
    def of(cls, value: Any, key: str = "") -> Self:
        """Read a column. Raises: UserError."""
        kind = value[0] if isinstance(value, list) and len(value) == 2 else None
        if not isinstance(kind, str) or kind not in _KINDS or not isinstance(value[1], list):
            raise UserError(f"{key} must be a kind ({', '.join(_KINDS)}) and a list of values")
        cells = tuple(checked(cell, _KINDS[kind], f"{key}[{i}]") for i, cell in enumerate(value[1]))
        if kind == "int" and any(abs(cell) >= 2**63 for cell in cells):
            raise UserError(f"{key} holds a number that is too large")
        return cls(kind=kind, cells=cells)


@dataclass(frozen=True, kw_only=True)
class Seen(Parsed):
    """The views of all images together."""

    count: Count
    kinds: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Origin(Parsed):
    """The part of a run's record that describes its features."""

    dataset: DataSet
    backbone: Bone
    engine: Engine
    views: Seen
    cache: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Header(Parsed):
    """All of a bundle but its tensors.

    Args:
        table: the labels' columns, a row an image. images: sha256 a row. texts: the names of its text features.
        key: of the feature cache. config: of the run that was packed. Others: as the run's record has them.
    """

    magiqa: str
    code_sha256: str
    versions: Mapping[str, Any]
    key: Mapping[str, Any]
    images: tuple[str, ...]
    table: Mapping[str, Column]
    labels: LabelFacts
    fingerprint: str
    n_annotated: Count
    skipped: tuple[Skipped, ...]
    pairs: tuple[tuple[str, str], ...] = ()
    texts: tuple[str, ...] = ()
    choices: Mapping[str, str]
    changed: Mapping[str, Any]
    config: Mapping[str, Any]
    backbone: Mapping[str, Any]
    record: Origin

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.labels.higher_is_better is None:
            raise UserError("labels.higher_is_better is missing")
        if len({len(column.cells) for column in self.table.values()} | {len(self.images)}) > 1:
            raise UserError("table must hold a row for each image, in every column")
        for name, kinds in (("image", ("str",)), (self.labels.label, ("float", "int"))):
            column = self.table.get(name)
            if column is None or column.kind not in kinds or None in column.cells:
                what = "names" if name == "image" else "numbers"
                raise UserError(f"table.{name[:60]} must be a column of {what}, with no cell empty")

    @property
    def text_names(self) -> tuple[str, ...]:
        """The names of its text features; a bundle of format 1 has pairs."""
        return self.texts or tuple(text for pair in self.pairs for text in pair)

    def frame(self) -> pd.DataFrame:
        """The labels' table, without paths."""
        columns = {n: pd.Series(c.cells, dtype=_TYPES[c.kind]) for n, c in self.table.items()}
        return pd.DataFrame(columns).assign(path="")


def columns_of(table: pd.DataFrame) -> dict[str, Any]:
    """Return a table as JSON-able columns, name -> [kind, values], without paths."""
    out: dict[str, Any] = {}
    for name, values in table.drop(columns="path").items():
        kind = {"f": "float", "i": "int", "u": "int"}.get(values.dtype.kind, "str")
        cells = [None if pd.isna(v) else str(v) if kind == "str" else v for v in values.tolist()]
        out[str(name)] = [kind, cells]
    return out


REFERENCE = ("reference_mean", "reference_covariance", "reference_numbers")

FORMATS = (1, 2)  # of which the last is written


@dataclass(frozen=True)
class Bundle:
    """An opened bundle, its checksum verified.

    Args:
        path: the file. header: everything but the tensors. features: by sha256.
    """

    path: Path
    header: Header
    features: Shards

    def text(self) -> tuple[np.ndarray, float]:
        """Return its text features (T, D) and the logit scale."""
        return read_text_shard(self.path, len(self.header.text_names), self.features.width)

    def reference(self) -> Reference:
        """Return the statistics of the reference images.

        Raises:
            UserError: it holds none.
        """
        tensors, width = read_shard(self.path)[0], self.features.width
        arrays = [np.array(tensors.get(name, 0.0), np.float64) for name in REFERENCE]
        shapes = [(width,), (width, width), (3 + 2 * len(DIRECTIONS),)]
        reference = Reference.from_arrays(*arrays) if [a.shape for a in arrays] == shapes else None
        if reference is None or not reference.sound:
            raise UserError(
                f"bundle={self.path}: holds no statistics of reference images, which the magnitude cue needs; pack a "
                "run with such a cue"
            )
        return reference


def open_bundle(path: str | Path) -> Bundle:
    """Open a bundle. A process verifies a file once.

    Raises:
        UserError: the file is missing, damaged or no bundle of a known format; a key is missing or holds something
            of another kind.
    """
    file = expanded(path)
    if not file.is_file():
        raise UserError(f"bundle={path}: no such file; give one that magiqa pack wrote")
    status = os.stat(file)
    return _opened(str(path), file, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=4)
def _opened(path: str, file: Path, size: int, mtime_ns: int) -> Bundle:
    again = "fetch it again or run magiqa pack anew"
    try:
        meta = json.loads(read_shard(file)[1]["magiqa"])
        if not isinstance(meta, dict):
            raise ValueError
    except (UserError, KeyError, ValueError, RecursionError):
        raise UserError(f"bundle={path}: no bundle, or cut short; {again}") from None
    if meta.get("format") not in FORMATS:
        raise UserError(f"bundle={path}: format {meta.get('format')!r:.60} is not known here; update magiqa")
    header = read_as(Header, meta, f"bundle={path}")
    try:
        verify_shard(file)
    except UserError:
        raise UserError(f"bundle={path}: its contents do not match its checksum; {again}") from None
    features = Shards(dict(header.key))
    features.index(file)
    lacking = next((image for image in header.images if image not in features), None)
    if lacking is not None:
        raise UserError(f"bundle={path}: holds no features of its image {lacking[:64]!r}; pack it anew")
    return Bundle(file, header, features)


def write_bundle(
    path: Path,
    meta: dict[str, Any],
    features: Shards,
    images: Sequence[str],
    text: np.ndarray,
    logit_scale: float,
    reference: Reference | None = None,
) -> None:
    """Write a bundle; never more than one block of features is in memory.

    Raises:
        UserError: the file cannot be written.
    """
    unique = list(dict.fromkeys(images))
    entries = [features.entries[image] for image in unique]
    counts = np.array([entry.count for entry in entries], np.int64)
    rows = (np.ascontiguousarray(features.rows(image)) for image in unique)
    try:
        write_shard(
            path,
            {
                "controls": np.stack([entry.controls for entry in entries]).astype(np.float64),
                "counts": counts,
                "features": Blocks(np.dtype(np.float32), (int(counts.sum()), text.shape[-1]), rows),
                "logit_scale": np.array([logit_scale], np.float64),
                "text": text.astype(np.float32)[:, None],
                **(dict(zip(REFERENCE, reference.arrays(), strict=True)) if reference else {}),
            },
            {
                "images": json.dumps(unique),
                "magiqa": json.dumps({"format": FORMATS[-1], **meta}, sort_keys=True, allow_nan=False),
            },
        )
    except OSError as error:
        raise UserError(
            f"out={path}: cannot be written ({error.strerror or error}); give another out=FILE"
        ) from None
