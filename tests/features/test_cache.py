"""The cache: what comes out is what went in, damage is found and mended, writers do not disturb each other."""

import json
import os
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from magiqa.backbones.spec import Backbone
from magiqa.backbones.weights import Weights
from magiqa.errors import UserError
from magiqa.features.cache import FeatureCache, feature_key, key_hash
from magiqa.features.cache_upkeep import listing, prune
from magiqa.features.images import content_sha256
from magiqa.features.shard import CorruptShard
from magiqa.features.text import read_text, text_path, write_text
from magiqa.images.views import Resize, Views

RNG = np.random.default_rng(5)
KEY = {"version": 1, "weights_sha256": "ab"}


def images(n: int, start: int = 0) -> list[str]:
    return [content_sha256(bytes([i])) for i in range(start, start + n)]


def features(*counts: int, size: int = 6) -> list[np.ndarray]:
    return [RNG.standard_normal((c, size)).astype(np.float32) for c in counts]


def filled(
    root: Path, *counts: int, start: int = 0
) -> tuple[FeatureCache, list[str], list[np.ndarray], Path]:
    cache = FeatureCache(root, KEY)
    names, values = images(len(counts), start), features(*counts)
    cache.write(names, values, np.arange(4.0 * len(counts)))
    return cache, names, values, cache.entries[names[0]].shard


def read(cache: FeatureCache, names: list[str], views: int = 4096) -> list[np.ndarray]:
    rows: dict[int, list[np.ndarray]] = {}
    for owner, block in cache.blocks(names, views):
        assert len(block) == len(owner)
        for o, row in zip(owner, block, strict=True):
            rows.setdefault(int(o), []).append(row)
    return [np.stack(rows[i]) for i in range(len(names))]


@pytest.mark.parametrize("views", [1, 4, 7, 4096])
def test_what_comes_out_is_what_went_in_bit_for_bit(tmp_path, views):
    _, names, values, _ = filled(tmp_path, 3, 1, 5)
    cache = FeatureCache(tmp_path, KEY)
    more, others = images(2, 10), features(2, 9)
    cache.write(more, others, np.arange(8.0))
    again = FeatureCache(tmp_path, KEY)
    order = [more[1], names[2], names[0], more[0], names[1], names[2]]  # any order, with a repeat
    for got, expected in zip(
        read(again, order, views),
        [others[1], values[2], values[0], others[0], values[1], values[2]],
        strict=True,
    ):
        assert got.dtype == np.float32
        np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(again.entries[names[1]].controls, [4, 5, 6, 7])


def weights(**changed) -> Weights:
    config = {"embed_dim": 8, "quick_gelu": True, "vision_cfg": {"layers": 1}, "text_cfg": {"width": 8}}
    base = Weights({}, "aa", config, (0.1, 0.2, 0.3), (1.0, 1.0, 1.0), "somewhere")
    return replace(base, **changed)


def test_every_field_that_shapes_a_feature_changes_the_key():
    backbone, views = Backbone("RN50"), Views()
    config = weights().config

    def key(b=backbone, w=weights(), v=views, resize=None, precision="fp32"):  # noqa: B008
        return key_hash(feature_key(b, w, v, resize, precision))

    others = {
        "weights": key(w=weights(sha256="ab")),
        "activation": key(w=weights(config=config | {"quick_gelu": False})),
        "architecture": key(w=weights(config=config | {"vision_cfg": {"layers": 2}})),
        "mean": key(w=weights(mean=(0.1, 0.2, 0.4))),
        "std": key(w=weights(std=(1.0, 1.0, 1.1))),
        "native": key(b=Backbone("RN50", positional_embedding="native")),
        "interpolate": key(b=Backbone("RN50", positional_embedding="interpolate")),
        "precision": key(precision="bf16"),
        "kinds": key(v=Views(kinds=("global", "windows"))),
        "kinds whole": key(v=Views(kinds=("whole",))),
        "window": key(v=Views(window=192)),
        "stride": key(v=Views(stride=127)),
        "cover": key(v=Views(cover=True)),
        "small": key(v=Views(small="upscale")),
        "squash": key(resize=Resize("squash", 448)),
        "short side": key(resize=Resize("short_side", 448)),
        "size": key(resize=Resize("squash", 447)),
        "filter": key(resize=Resize("squash", 448, "bilinear")),
    }
    assert len({key(), *others.values()}) == len(others) + 1


def test_where_weights_come_from_does_not_change_the_key():
    def key(backbone, w):
        return key_hash(feature_key(backbone, w, Views(), None, "fp32"))

    assert key(Backbone("RN50", pretrained="openai"), weights()) == key(
        Backbone("RN50", checkpoint="x.pt", label="mine"), weights(source="x.pt")
    )


def flipped(data: bytes, at: int) -> bytes:
    at %= len(data)
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


DAMAGES = {
    "cut": lambda data: data[:-3],
    "longer": lambda data: data + b"\0",
    "feature": lambda data: flipped(data, -2),
    "name": lambda data: flipped(data, data.index(images(1)[0].encode()) + 5),
    "names' JSON": lambda data: flipped(data, data.index(b'[\\"') + 1),
    "header": lambda data: flipped(data, 8),
    "length": lambda data: b"\xff" * 8 + data[8:],
    "all": lambda data: b"not a shard",
    "empty": lambda data: b"",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_shard_is_a_one_line_error_and_its_remedy_works(tmp_path, damage):
    _, names, _, shard = filled(tmp_path, 2, 3)
    _, kept, values, _ = filled(tmp_path, 4, start=50)
    shard.write_bytes(DAMAGES[damage](shard.read_bytes()))
    message = rf"^{shard}: this cache shard is corrupt \(.*run `magiqa cache prune=corrupt`"
    with pytest.raises(CorruptShard, match=message):
        cache = FeatureCache(tmp_path, KEY)
        read(cache, [n for n in cache.entries if n not in kept])
    assert prune(tmp_path, "corrupt")[0] == 1
    again = FeatureCache(tmp_path, KEY)
    assert names[0] not in again
    np.testing.assert_array_equal(read(again, kept)[0], values[0])


def test_leftovers_of_killed_writers_are_never_read_and_go_with_any_prune(tmp_path):
    cache, names, _, shard = filled(tmp_path, 2)
    write_text(tmp_path, KEY, np.ones((1, 2, 4), np.float32), 100.0)
    leftovers = [cache.folder / f".{shard.name}.1234.tmp", tmp_path / "text" / ".x.safetensors.1234.tmp"]
    for file in leftovers:
        file.write_bytes(shard.read_bytes()[:50])
        os.utime(file, (0, 0))
    live = cache.folder / ".live.safetensors.5678.tmp"  # of a writer at work
    live.write_bytes(b"half a sh")
    assert set(FeatureCache(tmp_path, KEY).entries) == set(names)
    assert prune(tmp_path, "corrupt") == (2, 100)
    assert not any(f.exists() for f in leftovers) and shard.exists() and live.exists()
    prune(tmp_path, cache.name)
    prune(tmp_path, "all")
    assert list(cache.folder.iterdir()) == [live]


def test_no_partial_shard_is_ever_visible(tmp_path, monkeypatch):
    cache, names, _, _ = filled(tmp_path, 2)
    before = sorted(cache.folder.iterdir())

    def full(data, *_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("magiqa.features.shard.os.replace", full)
    with pytest.raises(UserError, match=r"cannot be written \(No space left on device\); set cache_dir=DIR"):
        cache.write(images(1, 90), features(3), np.zeros(4))
    assert sorted(cache.folder.iterdir()) == before
    assert set(FeatureCache(tmp_path, KEY).entries) == set(names)


def test_writers_side_by_side_lose_nothing(tmp_path):
    caches = [FeatureCache(tmp_path, KEY) for _ in range(4)]
    values = {n: f for n, f in zip(images(40), features(*[3] * 40), strict=True)}
    errors = []

    def work(cache: FeatureCache, part: int) -> None:
        try:
            for n in list(values)[part::3]:  # thirds overlap nowhere, the fourth writer repeats the first
                cache.write([n], [values[n]], np.zeros(4))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(c, i % 3)) for i, c in enumerate(caches)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    cache = FeatureCache(tmp_path, KEY)
    for got, expected in zip(read(cache, list(values)), values.values(), strict=True):
        np.testing.assert_array_equal(got, expected)
    assert json.loads((cache.folder / "key.json").read_text()) == KEY
    assert not list(cache.folder.glob(".*"))


@pytest.mark.parametrize("what", ["corrupt", "all"])
def test_prune_leaves_a_users_files_alone_whatever_their_folder_is_called(tmp_path, what):
    cache, *_ = filled(tmp_path, 2)
    own = [
        tmp_path / name for name in ("features/mine/clip.safetensors", "text/notes.txt", "launches/plan.txt")
    ]
    for file in own:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("mine")
    prune(tmp_path, what)
    assert all(file.exists() for file in own) and cache.folder.exists() == (what == "corrupt")


def test_prune_by_name_and_all(tmp_path):
    filled(tmp_path, 2)
    other = FeatureCache(tmp_path, {"version": 3})
    other.write(images(1), features(1), np.zeros(4))
    write_text(tmp_path, KEY, np.ones((1, 2, 4), np.float32), 100.0)
    with pytest.raises(UserError, match=r"prune=zz names 0 keys of .*; see `magiqa cache`"):
        prune(tmp_path, "zz")
    assert prune(tmp_path, other.name[:8])[0] == 2
    assert not other.folder.exists() and images(1)[0] in FeatureCache(tmp_path, KEY)
    prune(tmp_path, "all")
    assert not [f for f in tmp_path.rglob("*") if f.is_file()]


def test_text_comes_back_bit_for_bit_by_its_key(tmp_path):
    text = RNG.standard_normal((3, 2, 5)).astype(np.float32)
    key = KEY | {"pairs": [["a", "b"]] * 3}
    assert read_text(tmp_path, key) is None
    write_text(tmp_path, key, text, 99.99999237060547)
    got, scale = read_text(tmp_path, key)
    np.testing.assert_array_equal(got, text.reshape(-1, 5))
    assert scale == 99.99999237060547
    assert read_text(tmp_path, KEY | {"pairs": []}) is None
    path = text_path(tmp_path, key)
    path.write_bytes(flipped(path.read_bytes(), -2))
    assert read_text(tmp_path, key) is None  # a damaged file counts as absent
    assert prune(tmp_path, "corrupt")[0] == 1


def test_a_key_that_cannot_be_read_hides_no_other(tmp_path):
    for name in ("a" * 20, "b" * 20):
        (tmp_path / "features" / name / "key.json").mkdir(parents=True)
    assert [row["name"] for row in listing(tmp_path)] == ["a" * 20, "b" * 20]
