"""List, check and prune the feature cache."""

import json
import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from magiqa.errors import UserError
from magiqa.features.cache import FEATURE_VERSION, width_of
from magiqa.features.shard import (
    CorruptShard,
    read_features,
    read_text_shard,
    verify_features,
    verify_shard,
)
from magiqa.package import expanded

LEFTOVER_SECONDS = 3600.0

FOLDERS = ("features", "text", "hashes", "launches")

# names that magiqa gives: a folder of such a name may be the user's, with files of theirs
_OWN = re.compile(
    r"features/[0-9a-f]{20}/[^/]+|text/([0-9a-f]{20}\.safetensors|\.[^/]+\.tmp)|hashes/[0-9a-f]+/[^/]+"
    r"|launches/\d{8}-\d{6}-[0-9a-f]{6}/.+"
)


def _key_of(folder: Path) -> dict[str, Any]:
    """Return a key, which is for people only (features are found by the folder's name); none if it is damaged."""
    try:
        key = json.loads((folder / "key.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return key if isinstance(key, dict) else {}


def _files(base: Path) -> list[Path]:
    """Return the cache's files, none behind a link; without the temporary ones of writers at work, which are young."""
    tops = [base / name for name in FOLDERS if not (base / name).is_symlink()]
    files = [Path(folder, name) for top in tops for folder, _, names in os.walk(top) for name in names]
    return sorted(f for f in files if _OWN.fullmatch(f.relative_to(base).as_posix()) and not _live(f))


def _live(file: Path) -> bool:
    try:
        return file.suffix == ".tmp" and file.lstat().st_mtime > time.time() - LEFTOVER_SECONDS
    except FileNotFoundError:  # renamed meanwhile: its shard is complete
        return True


def describe(key: dict[str, Any]) -> str:
    """Describe a key: what was encoded, how, and whether this version of the code still reads it."""
    if key and key.get("version") != FEATURE_VERSION:
        return f"of another version of magiqa (version {key.get('version')}): never read, can go"
    try:
        maker = key.get("maker")
        return (
            f"weights {key['weights_sha256'][:12]}, {key['precision']}, "
            + (f"{maker['engine']} on {maker['device']}" if maker else "any engine")
            + f", views {'+'.join(key['views']['kinds'])}, positional embedding {key['positional_embedding']}"
        )
    except (KeyError, TypeError):
        return "no key.json, or a damaged one: written by something else, or cut short"


def listing(root: str | Path) -> Iterator[dict[str, Any]]:
    """Yield a row for each key in the cache: name, key, images, views, bytes, makers, errors of unreadable shards."""
    folder = expanded(root) / "features"
    for parent in sorted(f for f in folder.glob("*") if f.is_dir() and not f.is_symlink()):
        shards, errors, key = [], [], _key_of(parent)
        paths = sorted(parent.glob("*.safetensors"))
        for path in paths:
            try:
                shards.append(read_features(path, width_of(key)))
            except UserError as error:
                errors.append(error)
        makers = Counter[str]()
        for shard in shards:
            maker = shard.maker or {"engine": "unknown", "device": ""}
            makers[f"{maker['engine']} {maker['device']}".strip()] += len(shard.images)
        yield {
            "name": parent.name,
            "key": key,
            "makers": makers,
            "bytes": sum(path.lstat().st_size for path in paths),
            "images": makers.total(),
            "views": sum(len(shard.features) for shard in shards),
            "unreadable": errors,
        }


def corrupt_shards(root: str | Path) -> list[tuple[Path, UserError]]:
    """Return every damaged shard of features or text, those whose shapes do not fit their key, and links to nothing."""
    bad: list[tuple[Path, UserError]] = []
    for path in _files(expanded(root)):
        if path.suffix != ".safetensors":
            continue
        try:
            if path.parent.name == "text":
                verify_shard(path)
                read_text_shard(path)
            else:
                verify_features(path, width_of(_key_of(path.parent)))
        except UserError as error:
            if isinstance(error, CorruptShard) or not path.exists():
                bad.append((path, error))
    return bad


def prune(root: str | Path, what: str) -> tuple[int, int]:
    """Remove a key's features (by its name, or a beginning of it), every ``corrupt`` shard, or ``all``.

    Leftovers of writers that were killed go too. No removal follows a link below the cache's own folder.

    Returns:
        Files and bytes removed.

    Raises:
        UserError: no key, or several, begin with that name.
    """
    base = expanded(root)
    files = _files(base)
    if what == "all":
        doomed = files
    elif what == "corrupt":
        doomed = [shard for shard, _ in corrupt_shards(base)]
    else:
        keys = {f.parent for f in files if f.parent.parent == base / "features"}
        folders = [key for key in keys if what and key.name.startswith(what)]
        if len(folders) != 1:
            raise UserError(
                f"cache: prune={what} names {len(folders)} keys of {base}; see `magiqa cache` for their names"
            )
        doomed = [file for file in files if file.parent == folders[0]]
    doomed = list(dict.fromkeys([*doomed, *(file for file in files if file.suffix == ".tmp")]))
    size = sum(f.lstat().st_size for f in doomed)
    for file in doomed:
        file.unlink()
    for folder in {f.parent for f in doomed}:
        if not any(folder.iterdir()):
            folder.rmdir()
    return len(doomed), size
