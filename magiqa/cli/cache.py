"""What lies in the feature cache, and what can go.

magiqa cache [verify | prune=KEY|corrupt|all] [cache_dir=DIR]

Lists a line a key: images, views, size, what shaped the features, and how many each engine and device made; keys of
another version of the code are never read and can go. verify checks every shard's checksum, types and shapes, those of
text embeddings too; prune removes a key's features (by its name, or a beginning of it), every corrupt shard, or all.
Links to other folders are left alone.

  magiqa cache prune=corrupt
"""

import sys
from pathlib import Path

from magiqa.cli.given import Given
from magiqa.errors import UserError


def run(given: Given) -> int:
    """List, verify or prune."""
    from magiqa.features.cache_upkeep import corrupt_shards, describe, hashes, listing, prune
    from magiqa.runs.config import default_cache_dir

    words, keys = given.words, given.keys(("prune", "cache_dir"))
    root = Path(keys.get("cache_dir") or default_cache_dir()).expanduser()
    if words not in ([], ["verify"]) or (words and "prune" in keys):
        raise UserError(
            f"cache: {' '.join(given.args)} is not understood: use verify, or prune=KEY|corrupt|all"
        )
    if "prune" in keys:
        count, size = prune(root, keys["prune"])
        print(f"{root}: removed {count} files, {size / 1e6:.1f} MB")
        return 0
    bad: list[str] = []
    for row in listing(root):
        what = describe(row["key"]) + "".join(f"; {n} by {m}" for m, n in sorted(row["makers"].items()))
        print(
            f"{row['name']}  {row['images']:>6} images  {row['views']:>8} views  {row['bytes'] / 1e6:>8.1f} MB  {what}"
        )
        bad += [f"{s}: not readable" for s in row["unreadable"]]
    print(hashes(root))
    if words:
        bad = [str(error) for _, error in corrupt_shards(root)]
    print(f"{root}" + (": every shard matches its checksum" if words and not bad else ""))
    for line in bad:
        print(line, file=sys.stderr)
    return 2 if bad else 0
