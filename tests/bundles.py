"""Bundles that somebody has changed, with a checksum that fits."""

import json

import numpy as np

from magiqa.features.shard import read_shard, write_shard


def altered(bundle, out, change):
    """A bundle with a change of its tensors and meta, and a checksum that fits."""
    tensors, metadata = read_shard(bundle)
    arrays = {k: np.array(v) for k, v in tensors.items()}
    meta = json.loads(metadata["magiqa"])
    change(arrays, meta)
    write_shard(out, arrays, {"images": metadata["images"], "magiqa": json.dumps(meta, sort_keys=True)})
    return out
