"""What lies in the feature cache, and what can go.

magiqa cache [verify | prune=KEY|corrupt|all] [cache_dir=DIR]

Lists a line a key: images, views, size, what shaped the features, and how many each engine and device made; keys of
another version of the code are never read and can go. verify checks every shard's checksum; prune removes
a key's features (by its name, or a beginning of it), every corrupt shard, or all.

  magiqa cache prune=corrupt
"""

import sys
from pathlib import Path

from magiqa.cli.given import Given
from magiqa.errors import UserError


def run(given: Given) -> int:
    """List, verify or prune."""
    from magiqa.features.shard import verify_shard
    from magiqa.features.upkeep import describe, hashes, listing, prune
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
        if words:
            for shard in sorted((root / "features" / row["name"]).glob("*.safetensors")):
                if shard not in row["unreadable"]:
                    try:
                        verify_shard(shard)
                    except UserError as error:
                        bad.append(str(error))
    print(hashes(root))
    print(f"{root}" + (": every shard matches its checksum" if words and not bad else ""))
    for line in bad:
        print(line, file=sys.stderr)
    return 2 if bad else 0
