"""List, check and empty the feature cache.

magiqa cache [verify | prune=KEY|corrupt|all] [cache_dir=DIR]

Without a word: a line for each key, with its images, views and size, what
shaped the features, and who made them. Keys of another version of magiqa are
never read and can go. verify checks the checksum and shape of every shard.
prune removes the features of a key (its name, or a beginning of it), every
corrupt shard, or all. It follows no link to another folder.

Example:
  magiqa cache prune=corrupt
  magiqa cache
    a34576e1c8574bd6c825  658 images, 3136 views, 3.3 MB
      weights ef84bcf92cc9, fp32, any engine, views windows+global, ...

More: docs/cluster.md
"""

import sys
from dataclasses import dataclass

from magiqa.checked import Checked
from magiqa.config.arguments import Arguments
from magiqa.errors import UserError

TASK = "housekeeping"
KEYS = ("cache_dir",)


@dataclass(frozen=True)
class CacheKeys(Checked):
    """The keys of this command."""

    prune: str | None = None
    cache_dir: str | None = None


def run(arguments: Arguments) -> int:
    """List, verify or prune."""
    from magiqa.features.cache_upkeep import corrupt_shards, describe, listing, prune
    from magiqa.package import expanded
    from magiqa.report.console import screen
    from magiqa.runs.config import default_cache_dir

    words, keys = arguments.words, arguments.keys(CacheKeys)
    root = expanded(keys.cache_dir or default_cache_dir())
    if words not in ([], ["verify"]) or (words and keys.prune is not None):
        raise UserError(
            f"cache: {' '.join(arguments.typed)} is not understood: use verify, or prune=KEY|corrupt|all"
        )
    if keys.prune is not None:
        count, size = prune(root, keys.prune)
        print(f"{root}: removed {count} files, {size / 1e6:.1f} MB")
        return 0
    bad: list[str] = []
    for row in listing(root):
        contents = f"{row['images']} images, {row['views']} views, {row['bytes'] / 1e6:.1f} MB"
        makers = "".join(f"; {n} by {m}" for m, n in sorted(row["makers"].items()))
        print(screen([f"{row['name']}  {contents}\n  {describe(row['key'])}{makers}"], []))
        bad += map(str, row["unreadable"])
    if words:
        bad = [str(error) for _, error in corrupt_shards(root)]
    print(f"{root}" + (": every shard matches its checksum" if words and not bad else ""))
    for line in bad:
        print(line, file=sys.stderr)
    return 2 if bad else 0
