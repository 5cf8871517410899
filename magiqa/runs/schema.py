"""What a record may hold: checked when it is read, so that no later line meets junk.

Records travel between people. A key that is missing, or holds something of another kind, is told with the file's name
and its own; keys that are not known here are let through.
"""

import json
import math
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from magiqa.checked import Least, checked
from magiqa.errors import UserError

RECORD_BYTES = 256 << 20

_AGAIN = "run the command that wrote it again"

_Count = Annotated[int, Least(0)]


def _mapping(inner: Any = None) -> Callable[[Any, str], None]:
    """A mapping of names to values of a kind."""

    def check(value: Any, key: str) -> None:
        if not isinstance(value, Mapping):
            raise UserError(f"{key} must be a mapping of names")
        for name, one in value.items():
            if inner is not None:
                _check(one, inner, f"{key}.{name}")

    return check


def _listed(inner: Any) -> Callable[[Any, str], None]:
    """A list of values of a kind."""

    def check(value: Any, key: str) -> None:
        if not isinstance(value, list):
            raise UserError(f"{key} must be a list")
        for i, one in enumerate(value):
            _check(one, inner, f"{key}[{i}]")

    return check


def _nullable(inner: Any) -> Callable[[Any, str], None]:
    return lambda value, key: None if value is None else _check(value, inner, key)


def _pooling(value: Any, key: str) -> None:
    """A name, or the config of a class."""
    if not isinstance(value, str | Mapping):
        raise UserError(f"{key} must be text or a mapping of names")


_Params = _nullable(_listed(float))

_DATASET: dict[str, Any] = {
    "name": str,
    "variant": str,
    "root": str,
    "n": _Count,
    "n_annotated": _Count,
    "expected": int | None,
    "label": str,
    "higher_is_better": bool,
    "cluster": str | None,
    "every": Annotated[int, Least(1)],
    "layout": str,
    "notes": _listed(str),
    "page": str,
    "fingerprint": str,
    "images_sha256": str,
    "resize": _nullable(_mapping()),
    "skipped": _listed({"image": str, "reason": str}),
}
_BACKBONE: dict[str, Any] = {
    "name": str,
    "pretrained": str | None,
    "kind": str,
    "label": str | None,
    "weights_sha256": str,
    "source": str,
    "activation": str,
    "positional_embedding": str,
}
_SOURCE: dict[str, Any] = {
    "dataset": _DATASET,
    "backbone": _BACKBONE,
    "engine": _mapping(),
    "views": _mapping(),
    "cache": _mapping(),
}
_RECORD: dict[str, Any] = {
    **_SOURCE,
    "magiqa": str,
    "command": str,
    "name": str,
    "choices": _mapping(str),
    "changed": _mapping(),
    "config": {"dataset": _mapping(), "pooling": _pooling, "resamples": int, "seed": int},
    "fits": _mapping({"status": str, "params": _Params}),
    "versions": _mapping(),
    "warnings": _listed(str),
    "seconds": _mapping(float),
    "files": _mapping({"sha256": str, "rows": _Count}),
    "ablation": {
        "name": str,
        "reference": str,
        "lacking": _mapping(str),
        "parameter": str | None,
        "best": str,
        "best_gain": float | None,
        "split_half": _mapping(float | None),
    },
    "experiment": {"name": str, "notes": _listed(str), "captions": _mapping(str)},
    "study": _mapping(),
    "external": {"method": str},
    "start": _SOURCE,
}
# without these a run cannot be shown or compared
_NEEDED = ("dataset.name", "dataset.label", "dataset.n", "files")

_PORTABLE = (
    "dataset.fingerprint",
    "dataset.images_sha256",
    "backbone.weights_sha256",
    "config",
    "choices",
    "changed",
)


def _check(value: Any, kind: Any, key: str) -> None:
    if isinstance(kind, dict):
        _mapping()(value, key)
        for name, inner in kind.items():
            if name in value:
                _check(value[name], inner, f"{key}.{name}".lstrip("."))
    elif kind is object:
        return
    elif callable(kind) and not isinstance(kind, type) and not hasattr(kind, "__metadata__"):
        kind(value, key)
    elif checked(value, kind, key) != value or (kind is str and type(value) is not str):
        raise UserError(f"{key}={value!r} must be text")


_COLUMN = {"float": float | None, "int": int, "str": str | None}


def _columns(value: Any, key: str) -> None:
    """A bundle's table: names of columns, and of each its kind and values, all of one length."""
    _mapping(_listed(object))(value, key)
    for name, column in value.items():
        if len(column) != 2 or not isinstance(column[0], str) or column[0] not in _COLUMN:
            raise UserError(f"{key}.{name} must be a kind and a list of values")
        _listed(_COLUMN[column[0]])(column[1], f"{key}.{name}")
    if len({len(column[1]) for column in value.values()}) > 1:
        raise UserError(f"{key} has columns of different lengths")


def _pair(value: Any, key: str) -> None:
    _listed(str)(value, key)
    if len(value) != 2:
        raise UserError(f"{key} must be a positive and a negative prompt")


_BUNDLE: dict[str, Any] = {
    "magiqa": str,
    "code_sha256": str,
    "versions": _mapping(),
    "key": _mapping(),
    "images": _listed(str),
    "table": _columns,
    "labels": {
        **{k: _DATASET[k] for k in ("name", "variant", "label", "higher_is_better", "cluster", "expected")},
        **{k: _DATASET[k] for k in ("page", "layout", "every", "notes")},
    },
    "fingerprint": str,
    "n_annotated": _Count,
    "skipped": _DATASET["skipped"],
    "pairs": _listed(_pair),
    "choices": _mapping(str),
    "changed": _mapping(),
    "config": {"dataset": _mapping(), "precision": str, "engine": str},
    "backbone": _mapping(),
    "record": _SOURCE,
}


def check_bundle(meta: Any, where: str) -> dict[str, Any]:
    """A bundle's header: all its keys are there and hold what they must, and its tables fit together.

    Raises:
        UserError: names the file, the key and what is wrong, in one line.
    """
    needed = [
        *_BUNDLE,
        *(f"labels.{k}" for k in _BUNDLE["labels"]),
        *(f"config.{k}" for k in _BUNDLE["config"]),
    ]
    needed += ["record.views", "record.dataset.label", "record.backbone.weights_sha256", "record.engine"]
    found = _told(meta, _BUNDLE, where, needed)
    table, label, images = found["table"], found["labels"]["label"], found["images"]
    if "image" not in table or label not in table or len(table["image"][1]) != len(images):
        raise UserError(f"{where}: its table is not one of its images and their {label[:60]}; {_AGAIN}")
    if table["image"][0] != "str" or None in table["image"][1]:
        raise UserError(f"{where}: its table names no images; {_AGAIN}")
    if table[label][0] == "str" or None in table[label][1]:
        raise UserError(f"{where}: its {label[:60]} are no numbers; {_AGAIN}")
    return found


def check_record(record: Any, where: str, needed: tuple[str, ...] = ()) -> dict[str, Any]:
    """A record whose known keys hold what they must.

    Args:
        where: its file, for messages. needed: dotted keys that it must have.

    Raises:
        UserError: names the file, the key and what is wrong, in one line.
    """
    return _told(record, _RECORD, where, needed)


def _told(record: Any, kinds: dict[str, Any], where: str, needed: Sequence[str]) -> dict[str, Any]:
    try:
        _check(record, kinds, "")
        for key in needed:
            at: Any = record
            for part in key.split("."):
                if not isinstance(at, Mapping) or part not in at:
                    raise UserError(f"{key} is missing")
                at = at[part]
    except UserError as error:
        raise UserError(f"{where}: {' '.join(str(error).split())[:300]}; {_AGAIN}") from None
    return dict(record)


def load_record(file: Path) -> dict[str, Any]:
    """A record's file, read and checked.

    Raises:
        UserError: it is no plain file of JSON, or holds what a record may not.
    """
    try:
        status = os.stat(file)
        if not stat.S_ISREG(status.st_mode) or status.st_size > RECORD_BYTES:
            raise ValueError("no plain file, or too large for a record")
        record = json.loads(file.read_text(encoding="utf-8"), parse_constant=_no_number, parse_float=_finite)
    except (OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{file}: not readable as JSON ({reason}); {_AGAIN}") from None
    run = isinstance(record, Mapping) and record.get("command") == "evaluate"
    return check_record(record, str(file), _NEEDED if run else ())


def check_portable(record: Mapping[str, Any], where: str) -> None:
    """Check that a run's record says what packing and rerunning it need.

    Raises:
        UserError: it does not: it is of an older magiqa.
    """
    check_record(record, where, _PORTABLE)


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no finite number")
    return value
