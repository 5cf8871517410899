"""Shards whose headers lie, or whose tensors are of another type or shape: refused in one line, in little memory."""

import json
import resource
import struct

import numpy as np
import pytest

from magiqa.features.cache import FeatureCache
from magiqa.features.cache_upkeep import corrupt_shards, prune
from magiqa.features.shard import CorruptShard, read_shard, write_shard

KEY = {"weights_sha256": "0" * 64}
GOOD = {
    "features": np.ones((5, 3), np.float32),
    "counts": np.array([2, 3]),
    "controls": np.ones((2, 4)),
}


def shard(folder, images: object = ("a", "b"), maker: str = "null", **change: np.ndarray | None):
    """A shard with a right checksum, whatever is in it."""
    tensors = {k: v for k, v in (GOOD | change).items() if v is not None}
    path = folder / "1-a.safetensors"
    write_shard(path, tensors, {"images": json.dumps(images), "maker": maker})
    return path


WRONG = {
    "counts in two dimensions": {"counts": np.array([[2], [3]])},
    "counts of floats": {"counts": np.array([2.0, 3.0])},
    "a count of none": {"counts": np.array([0, 5])},
    "a negative count": {"counts": np.array([-1, 6])},
    "counts that wrap round": {"counts": np.array([(1 << 62) + 2, 3])},
    "too few counts": {"counts": np.array([5])},
    "short controls": {"controls": np.ones((1, 4))},
    "controls of three": {"controls": np.ones((2, 3))},
    "controls of float32": {"controls": np.ones((2, 4), np.float32)},
    "infinite controls": {"controls": np.full((2, 4), np.inf)},
    "no controls": {"controls": None},
    "no features": {"features": None},
    "features of float64": {"features": np.ones((5, 3))},
    "features in one dimension": {"features": np.ones(5, np.float32)},
    "features in three": {"features": np.ones((5, 3, 1), np.float32)},
    "too many features": {"features": np.ones((6, 3), np.float32)},
    "images that are none": {"images": None},
    "images of numbers": {"images": [1, 2]},
    "too few images": {"images": ["a"]},
    "images in a mapping": {"images": {"a": 1}},
    "a maker of text": {"maker": '"x"'},
    "a maker without a device": {"maker": '{"engine": 1}'},
    "a maker of lists": {"maker": '{"engine": [], "device": {}}'},
}


@pytest.mark.parametrize("what", WRONG)
def test_a_right_checksum_over_wrong_shapes_or_types_is_refused(tmp_path, what):
    folder = FeatureCache(tmp_path, KEY).folder
    folder.mkdir(parents=True)
    path = shard(folder, **WRONG[what])
    with pytest.raises(CorruptShard, match=r"1-a.safetensors: this cache shard is corrupt \(it"):
        FeatureCache(tmp_path, KEY)
    assert [bad for bad, _ in corrupt_shards(tmp_path)] == [path]
    assert prune(tmp_path, "corrupt")[0] == 1


def test_features_that_are_not_finite_or_of_another_width_are_refused(tmp_path):
    folder = FeatureCache(tmp_path, KEY).folder
    folder.mkdir(parents=True)
    path = shard(folder, features=np.full((5, 3), np.nan, np.float32))
    with pytest.raises(CorruptShard, match="its features hold NaN or infinity"):
        FeatureCache(tmp_path, KEY).rows("a")
    assert [bad for bad, _ in corrupt_shards(tmp_path)] == [path]
    shard(folder).rename(folder / "2-b.safetensors")
    shard(folder, features=np.ones((5, 2), np.float32))
    with pytest.raises(CorruptShard, match="its features are of the shape"):
        FeatureCache(tmp_path, KEY)


LIES = [
    ("{}", 1 << 63),
    ("{}", 1 << 40),
    ("[" * 100_000, None),
    ('{"a":' * 100_000, None),
    ("[]", None),
    ('{"__metadata__": {"a": 1}}', None),
    ('{"x": {"dtype": "F32", "shape": [1099511627776], "data_offsets": [0, 4398046511104]}}', None),
    ('{"x": {"dtype": "F32", "shape": [4294967296, 4294967296], "data_offsets": [0, 0]}}', None),
    ('{"x": {"dtype": "F32", "shape": [-1, -4], "data_offsets": [0, 16]}}', None),
    ('{"x": {"dtype": "F32", "shape": [2, 2], "data_offsets": [-16, 0]}}', None),
    ('{"x": {"dtype": "I3", "shape": [4], "data_offsets": [0, 16]}}', None),
]


@pytest.mark.parametrize(("header", "length"), LIES)
def test_a_header_that_lies_is_one_line_and_little_memory(tmp_path, header, length):
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", length or len(header)) + header.encode() + bytes(16))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CorruptShard) as caught:
        read_shard(path)
    assert "\n" not in str(caught.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB
