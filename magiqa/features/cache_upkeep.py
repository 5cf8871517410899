"""List, check and prune the feature cache."""

import json
import os
import re
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from magiqa.errors import UserError
from magiqa.features.cache import text_shape, width_of
from magiqa.features.key import FEATURE_VERSION
from magiqa.features.shard import (
    CorruptShard,
    read_features,
    read_shard,
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


def _json(text: str) -> dict[str, Any]:
    try:
        key = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return key if isinstance(key, dict) else {}


def _read_key(path: Path) -> dict[str, Any]:
    try:  # for people only: features are found by the folder's name
        return _json(path.read_text())
    except (OSError, ValueError):
        return {}


def _files(base: Path) -> list[Path]:
    """Return the cache's files, none behind a link; without the temporary ones of writers at work, which are young."""
    tops = [base / name for name in FOLDERS if not (base / name).is_symlink()]
    files = [
        Path(folder, name) for top in tops for folder, _, names in os.walk(top) for name in sorted(names)
    ]
    files = [file for file in files if _OWN.fullmatch(file.relative_to(base).as_posix())]

    def live(file: Path) -> bool:
        try:
            return file.suffix == ".tmp" and file.lstat().st_mtime > time.time() - LEFTOVER_SECONDS
        except FileNotFoundError:  # renamed meanwhile: its shard is complete
            return True

    return [file for file in files if not live(file)]


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


def hashes(root: str | Path) -> str:
    """Describe the size of the index of images' sha256."""
    files = list((expanded(root) / "hashes").glob("*/*.json"))
    folders = len({f.parent for f in files})
    return f"hashes of images: {folders} roots, {sum(f.stat().st_size for f in files) / 1e6:.1f} MB"


def listing(root: str | Path) -> Iterable[dict[str, Any]]:
    """Yield a row for each key in the cache: folder, key, shards, images, makers, views, bytes, corrupt shards."""
    folder = expanded(root) / "features"
    for parent in sorted(f for f in folder.glob("*") if f.is_dir() and not f.is_symlink()):
        shards = sorted(parent.glob("*.safetensors"))
        row: dict[str, Any] = {
            "name": parent.name,
            "key": _read_key(parent / "key.json"),
            "shards": len(shards),
            "images": 0,
            "views": 0,
            "bytes": sum(s.lstat().st_size for s in shards),
            "unreadable": [],
            "makers": Counter(),
        }
        for path in shards:
            try:
                shard = read_features(path, width_of(row["key"]))
                made = shard.maker
                row["makers"][f"{made['engine']} {made['device']}" if made else "unknown"] += len(
                    shard.images
                )
                row["images"] += len(shard.images)
                row["views"] += len(shard.features)
            except (UserError, KeyError, TypeError):
                row["unreadable"].append(path)
        yield row


def corrupt_shards(root: str | Path) -> list[tuple[Path, UserError]]:
    """Return every damaged shard of features or text, and those whose shapes do not fit their key."""
    bad: list[tuple[Path, UserError]] = []
    for path in _files(expanded(root)):
        if path.suffix != ".safetensors":
            continue
        try:
            if path.parent.name == "text":
                verify_shard(path)
                read_text_shard(path, *text_shape(_json(read_shard(path)[1].get("key", ""))))
            else:
                verify_features(path, width_of(_read_key(path.parent / "key.json")))
        except CorruptShard as error:
            bad.append((path, error))
        except UserError as error:
            if path.is_symlink() and not path.exists():  # a link to nothing, which no run can read either
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
        names = [row["name"] for row in listing(base) if what and row["name"].startswith(what)]
        if len(names) != 1:
            raise UserError(
                f"cache: prune={what} names {len(names)} keys of {base}; see `magiqa cache` for their names"
            )
        doomed = [file for file in files if file.parent == base / "features" / names[0]]
    doomed = list(dict.fromkeys([*doomed, *(file for file in files if file.suffix == ".tmp")]))
    size = sum(f.lstat().st_size for f in doomed)
    for file in doomed:
        file.unlink()
    for folder in {f.parent for f in doomed}:
        if not any(folder.iterdir()):
            folder.rmdir()
    return len(doomed), size
