"""What lies in the cache, and what can go."""

import json
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from magiqa.errors import UserError
from magiqa.features.key import FEATURE_VERSION
from magiqa.features.shard import CorruptShard, read_features, read_text_shard, verify_features
from magiqa.images.controls import CONTROLS

LEFTOVER_SECONDS = 3600.0


def _read_key(path: Path) -> dict[str, Any]:
    try:  # for people only: features are found by the folder's name
        key = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return key if isinstance(key, dict) else {}


def _removable(folder: Path, pattern: str = "*") -> list[Path]:
    """Files of a folder, but for the temporary ones of writers at work: those are young."""

    def live(file: Path) -> bool:
        try:
            return file.suffix == ".tmp" and file.stat().st_mtime > time.time() - LEFTOVER_SECONDS
        except FileNotFoundError:  # renamed meanwhile: its shard is complete
            return True

    return [f for f in sorted(folder.glob(pattern)) if not live(f)]


def describe(key: dict[str, Any]) -> str:
    """A key in words: what was encoded, how, and whether this version of the code still reads it."""
    if not key:
        return "no key.json: written by something else, or cut short"
    if key.get("version") != FEATURE_VERSION:
        return f"of another version of magiqa (version {key.get('version')}): never read, can go"
    maker = key.get("maker")
    return (
        f"weights {key['weights_sha256'][:12]}, {key['precision']}, "
        + (f"{maker['engine']} on {maker['device']}" if maker else "any engine")
        + f", views {'+'.join(key['views']['kinds'])}, positional embedding {key['positional_embedding']}"
    )


def hashes(root: str | Path) -> str:
    """What the index of images' sha256 takes, in words."""
    files = list((Path(root).expanduser() / "hashes").glob("*/*.json"))
    folders = len({f.parent for f in files})
    return f"hashes of images: {folders} roots, {sum(f.stat().st_size for f in files) / 1e6:.1f} MB"


def listing(root: str | Path) -> Iterable[dict[str, Any]]:
    """A row for each key in the cache: folder, key, shards, images, makers, views, bytes, corrupt shards."""
    for folder in _folders(Path(root).expanduser() / "features"):
        shards = sorted(folder.glob("*.safetensors"))
        row: dict[str, Any] = {
            "name": folder.name,
            "key": _read_key(folder / "key.json"),
            "shards": len(shards),
            "images": 0,
            "views": 0,
            "bytes": sum(s.lstat().st_size for s in shards),
            "unreadable": [],
            "leftovers": _removable(folder, ".*.tmp"),
            "makers": Counter(),
        }
        for shard in shards:
            try:
                held = read_features(shard, len(CONTROLS))
                images, made = len(held.images), held.maker
                maker = f"{made['engine']} {made['device']}" if made else "unknown"
                row["images"] += images
                row["makers"][maker] += images
                row["views"] += len(held.features)
            except (UserError, KeyError, TypeError):
                row["unreadable"].append(shard)
        yield row


def _folders(parent: Path) -> list[Path]:
    """The folders in a folder; links to others are nobody's to list or to empty."""
    return sorted(f for f in parent.glob("*") if f.is_dir() and not f.is_symlink())


def corrupt_shards(root: str | Path) -> list[tuple[Path, UserError]]:
    """Every shard of features or of text that is not as it was written, or not of the shapes and types it must be."""
    base = Path(root).expanduser()
    bad: list[tuple[Path, UserError]] = []
    features = [s for folder in _folders(base / "features") for s in sorted(folder.glob("*.safetensors"))]
    for shard in [*features, *sorted((base / "text").glob("*.safetensors"))]:
        try:
            if shard.parent.name == "text":
                read_text_shard(shard)
            else:
                verify_features(shard, len(CONTROLS))
        except CorruptShard as error:
            bad.append((shard, error))
        except UserError as error:
            if shard.is_symlink() and not shard.exists():  # a link to nothing, which no run can read either
                bad.append((shard, error))
    return bad


def _behind_link(file: Path, base: Path) -> bool:
    """Return whether a folder between the cache and a file in it is a link."""
    return any(parent.is_symlink() for parent in file.parents if base in parent.parents)


def prune(root: str | Path, what: str) -> tuple[int, int]:
    """Remove a key's features (by its name, or a beginning of it), every ``corrupt`` shard, or ``all``.

    Leftovers of writers that were killed go too. No removal follows a link below the cache's own folder.

    Returns:
        Files and bytes removed.

    Raises:
        UserError: no key, or several, begin with that name.
    """
    base = Path(root).expanduser()
    rows = list(listing(base))
    doomed: list[Path] = [f for row in rows for f in row["leftovers"]]
    doomed += _removable(base / "text", ".*.tmp")
    indexes = _folders(base / "hashes")
    doomed += [f for folder in indexes for f in _removable(folder, ".*.tmp")]
    if what == "all":
        doomed += [f for folder in indexes for f in _removable(folder)]
        doomed += [f for row in rows for f in _removable(base / "features" / row["name"])]
        doomed += _removable(base / "text") + _removable(base / "batch_sizes")
        doomed += [f for f in _removable(base / "launches", "**/*") if f.is_file()]
    elif what == "corrupt":
        doomed += [shard for shard, _ in corrupt_shards(base)]
    else:
        names = [row["name"] for row in rows if what and row["name"].startswith(what)]
        if len(names) != 1:
            raise UserError(
                f"cache: prune={what} names {len(names)} keys of {base}; see `magiqa cache` for their names"
            )
        doomed += _removable(base / "features" / names[0])
    doomed = [file for file in dict.fromkeys(doomed) if not _behind_link(file, base)]
    size = sum(f.lstat().st_size for f in doomed)
    for file in doomed:
        file.unlink()
    for folder in {f.parent for f in doomed}:
        if not any(folder.iterdir()):
            folder.rmdir()
    return len(doomed), size
