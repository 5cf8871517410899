"""Shards whose headers lie, or whose tensors are of another type or shape: refused in one line, in little memory."""

import json
import resource
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magiqa.errors import UserError
from magiqa.features.cache import FeatureCache
from magiqa.features.cache_upkeep import corrupt_shards, prune
from magiqa.features.shard import CorruptShard, read_features, read_shard, verify_features, write_shard
from magiqa.features.text import read_text, write_text

KEY = {"weights_sha256": "0" * 64}
GOOD = {
    "features": np.ones((5, 3), np.float32),
    "counts": np.array([2, 3]),
    "controls": np.ones((2, 4)),
}


def shard(folder, change: dict | None = None, images: object = ("a", "b"), **more: str):
    """A shard with a right checksum, whatever is in it."""
    tensors = {k: v for k, v in (GOOD | (change or {})).items() if v is not None}
    path = folder / "1-a.safetensors"
    write_shard(path, tensors, {"images": json.dumps(images), **more})
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
}


@pytest.mark.parametrize("what", WRONG)
def test_a_right_checksum_over_wrong_shapes_or_types_is_refused(tmp_path, what):
    folder = FeatureCache(tmp_path, KEY).folder
    folder.mkdir(parents=True)
    path = shard(folder, WRONG[what])
    with pytest.raises(CorruptShard, match=r"1-a.safetensors: this cache shard is corrupt \(it"):
        FeatureCache(tmp_path, KEY)
    assert [bad for bad, _ in corrupt_shards(tmp_path)] == [path]
    assert prune(tmp_path, "corrupt")[0] == 1


@pytest.mark.parametrize("images", [None, 3, {"a": 1}, [1, 2], ["a"], ["a", "b", "c"], [["a"], "b"]])
def test_images_that_are_no_names_are_refused(tmp_path, images):
    with pytest.raises(CorruptShard):
        read_features(shard(tmp_path, images=images))


@pytest.mark.parametrize("maker", ["3", '"x"', "[1]", '{"engine": 1}', '{"engine": [], "device": {}}'])
def test_a_maker_that_is_none_is_refused(tmp_path, maker):
    folder = FeatureCache(tmp_path, KEY).folder
    folder.mkdir(parents=True)
    shard(folder, maker=maker)
    with pytest.raises(CorruptShard):
        FeatureCache(tmp_path, KEY)


def test_features_that_are_not_finite_or_of_another_width_are_refused(tmp_path):
    cache = FeatureCache(tmp_path, KEY)
    cache.folder.mkdir(parents=True)
    path = shard(cache.folder, {"features": np.full((5, 3), np.nan, np.float32)})
    with pytest.raises(CorruptShard, match="its features hold NaN or infinity"):
        list(FeatureCache(tmp_path, KEY).blocks(["a", "b"]))
    assert [bad for bad, _ in corrupt_shards(tmp_path)] == [path]
    shard(cache.folder)
    path.rename(cache.folder / "2-b.safetensors")
    shard(cache.folder, {"features": np.ones((5, 2), np.float32)})
    with pytest.raises(CorruptShard, match="its features are of the shape"):
        FeatureCache(tmp_path, KEY)


@pytest.mark.parametrize(
    "text",
    [
        np.ones((2, 2, 4), np.float32),
        np.ones((3, 2, 5), np.float32),
        np.full((3, 2, 4), np.nan, np.float32),
    ],
)
def test_text_of_other_pairs_or_another_width_is_absent(tmp_path, text):
    key = {"pairs": [["a", "b"]] * 3, "architecture": {"embed_dim": 4}}
    write_text(tmp_path, key, text, 1.0)
    assert read_text(tmp_path, key) is None
    write_text(tmp_path, key, np.ones((3, 2, 4), np.float32), 2.0)
    assert read_text(tmp_path, key)[1] == 2.0 and not corrupt_shards(tmp_path)


def raw(path, header: object, data: bytes = b"", length: int | None = None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def entry(shape, offsets, dtype="F32"):
    return {"__metadata__": {}, "x": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


@pytest.mark.parametrize(
    ("header", "length"),
    [
        (b"{}", 1 << 63),
        (b"{}", 1 << 40),
        (b"[" * 100_000, None),
        (b'{"a":' * 100_000, None),
        (b"\xff\xfe", None),
        ([], None),
        ({"__metadata__": {"a": 1}}, None),
        ({"__metadata__": []}, None),
        (entry([1 << 40], [0, 1 << 42]), None),
        (entry([1 << 32, 1 << 32], [0, 0]), None),
        (entry([-1, -4], [0, 16]), None),
        (entry([2, 2], [-16, 0]), None),
        (entry([True], [0, 4]), None),
        (entry([1.0], [0, 4]), None),
        (entry(["4"], [0, 16]), None),
        (entry([4], [0, 16], "I3"), None),
        (entry([4], [0, 16], ["F32"]), None),
        (entry([4], None), None),
        (entry([4], [0]), None),
        (entry([0, 1 << 62], [0, 0]), None),
        ({"__metadata__": {}, "x": 3}, None),
        (
            {
                "__metadata__": {},
                "x": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]},
                "y": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]},
            },
            None,
        ),
    ],
)
def test_a_header_that_lies_is_one_line_and_little_memory(tmp_path, header, length):
    path = raw(tmp_path / "x.safetensors", header, bytes(16), length)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CorruptShard) as caught:
        read_shard(path)
    assert "\n" not in str(caught.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_shard_changed_anywhere_is_refused_or_the_same(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("shard")
    good = shard(folder).read_bytes()
    at = data.draw(st.integers(0, len(good) - 1))
    kind = data.draw(st.sampled_from(["byte", "cut", "insert"]))
    byte = bytes([data.draw(st.integers(0, 255))])
    changed = {
        "byte": good[:at] + byte + good[at + 1 :],
        "cut": good[:at],
        "insert": good[:at] + byte + good[at:],
    }[kind]
    path = folder / "1-a.safetensors"
    path.write_bytes(changed)
    try:
        held = verify_features(path)
    except UserError as error:
        assert "\n" not in str(error)
        return
    assert held.images == ["a", "b"] and np.array_equal(held.features, GOOD["features"])


@pytest.mark.parametrize("what", ["corrupt", "all"])
@pytest.mark.parametrize(
    "link", ["text", "launches", "batch_sizes", "features", "hashes", "features/key", "launches/one"]
)
def test_prune_removes_nothing_behind_a_link(tmp_path, link, what):
    mine, cache = tmp_path / "mine", tmp_path / "cache"
    (mine / "inner").mkdir(parents=True)
    files = [
        folder / name for folder in (mine, mine / "inner") for name in ("a.safetensors", "b.json", "c.txt")
    ]
    for file in files:
        file.write_text("mine")
    (cache / link).parent.mkdir(parents=True)
    (cache / link).symlink_to(mine)
    assert prune(cache, what) == (0, 0)
    assert all(file.read_text() == "mine" for file in files)
