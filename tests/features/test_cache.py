"""The cache: what comes out is what went in, keys stay, damage is mended, engines and writers share it."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny

from magiqa.backbones.model import build_model
from magiqa.backbones.spec import Backbone
from magiqa.backbones.weights import Weights, load_weights
from magiqa.errors import UserError
from magiqa.features.cache import SHARING, FeatureCache, Maker, feature_key, key_hash, own_key
from magiqa.features.cache_upkeep import prune
from magiqa.features.images import content_sha256
from magiqa.features.shard import CorruptShard
from magiqa.features.source import prepare
from magiqa.features.text import read_text, text_embeddings, text_path, write_text
from magiqa.images.views import Resize, Views
from magiqa.runs.record import Clock

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
    assert key() == key(b=Backbone("RN50", checkpoint="x.pt", label="mine"), w=weights(source="x.pt"))


DAMAGES = {
    "cut": lambda data: data[:-3],
    "longer": lambda data: data + b"\0",
    "feature": lambda data: data[:-2] + bytes([data[-2] ^ 1]) + data[-1:],
    "name": lambda data: data.replace(images(1)[0].encode(), images(1, 99)[0].encode()),
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
    values = dict(zip(images(40), features(*[3] * 40), strict=True))

    def work(part: int) -> None:
        for n in list(values)[part % 3 :: 3]:  # thirds overlap nowhere, the fourth writer repeats the first
            caches[part].write([n], [values[n]], np.zeros(4))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    cache = FeatureCache(tmp_path, KEY)
    np.testing.assert_array_equal(read(cache, list(values)), list(values.values()))
    assert json.loads((cache.folder / "key.json").read_text()) == KEY
    assert not list(cache.folder.glob(".*"))


def test_leftovers_of_killed_writers_are_never_read_and_go_with_any_prune(tmp_path):
    cache, names, _, shard = filled(tmp_path, 2)
    leftover = cache.folder / f".{shard.name}.1234.tmp"
    leftover.write_bytes(shard.read_bytes()[:50])
    os.utime(leftover, (0, 0))
    live = cache.folder / ".live.safetensors.5678.tmp"  # of a writer at work
    live.write_bytes(b"half a sh")
    assert set(FeatureCache(tmp_path, KEY).entries) == set(names)
    assert prune(tmp_path, "corrupt") == (1, 50)
    assert shard.exists() and not leftover.exists()
    prune(tmp_path, "all")
    assert list(cache.folder.iterdir()) == [live]


@pytest.mark.parametrize("what", ["corrupt", "all"])
def test_prune_leaves_a_users_files_alone_and_follows_no_link(tmp_path, what):
    cache, *_ = filled(tmp_path, 2)
    own = (
        "features/mine/clip.safetensors",
        "text/notes.txt",
        "launches/plan.txt",
        "mine/a.safetensors",
        "mine/in/b",
    )
    for name in own:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("mine")
    for link in ("hashes", f"features/{'0' * 20}", "launches/one", "text/link"):
        (tmp_path / link).symlink_to(tmp_path / "mine")
    prune(tmp_path, what)
    assert all((tmp_path / name).read_text() == "mine" for name in own)
    assert cache.folder.exists() == (what == "corrupt")


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


def test_text_comes_back_bit_for_bit_by_its_key_and_damage_counts_as_absent(tmp_path):
    key = {"pairs": [["a", "b"]] * 3, "architecture": {"embed_dim": 5}}
    text = RNG.standard_normal((3, 2, 5)).astype(np.float32)
    assert read_text(tmp_path, key) is None
    write_text(tmp_path, key, text, 99.99999237060547)
    got, scale = read_text(tmp_path, key)
    np.testing.assert_array_equal(got, text.reshape(-1, 5))
    assert scale == 99.99999237060547
    assert read_text(tmp_path, key | {"pairs": [["a", "c"]]}) is None
    path = text_path(tmp_path, key)
    path.write_bytes(DAMAGES["feature"](path.read_bytes()))
    assert read_text(tmp_path, key) is None
    assert prune(tmp_path, "corrupt")[0] == 1
    for wrong in (np.ones((2, 2, 5)), np.ones((3, 2, 6)), np.full((3, 2, 5), np.nan)):
        write_text(tmp_path, key, wrong, 1.0)
        assert read_text(tmp_path, key) is None


# --- keys stay what they were, so that nobody encodes anew ---

# computed by the version of November 2026, with the demo's weights
FEATURES = {
    (): "a34576e1c8574bd6c825",
    ("views=clip",): "73d3e293b6ca1d0e734b",
    ("views=whole",): "ede546c05cb274d63b33",
    ("views.cover=true", "views.small=upscale"): "abacc907043c41c11fd4",
    ("backbone.positional_embedding=interpolate",): "eb73190fbcf3685d146a",
    ("precision=bf16",): "faae163d6150a073c11e",
    ("dataset=spaq_448short", "dataset.root=."): "5075444e1ca3245687a8",
}
TEXTS = {"maclip": "083de5a23ae3b542dcb2", "clipiqa_attributes": "7b04c3dbab3e6dea0909"}


@pytest.mark.parametrize("typed", FEATURES, ids=" ".join)
def test_the_key_of_features(typed):
    job = tiny.configs().job(["cache_dir=unused", *typed])
    backbone = job.method.backbone
    resize = job.source.dataset.resize
    key = feature_key(backbone, load_weights(backbone), job.method.views, resize, job.machine.precision)
    assert key_hash(key) == FEATURES[typed]


@pytest.mark.slow
@pytest.mark.parametrize("option", TEXTS)
def test_the_key_of_text_embeddings(option, tmp_path, monkeypatch):
    monkeypatch.setattr("magiqa.backbones.text.version", lambda package: "3.3.0")
    method = tiny.configs().job([f"prompts={option}"]).method
    weights = load_weights(method.backbone)
    text_embeddings(
        str(tmp_path), method.backbone, weights, lambda: build_model(method.backbone, weights), method.prompts
    )
    assert [f.stem for f in (tmp_path / "text").iterdir()] == [TEXTS[option]]


# --- what engines and devices share ---

FP32 = {
    "version": 3,
    "weights_sha256": "ab",
    "precision": "fp32",
    "views": {"kinds": ["global"], "stride": 128},
}
CPU, GPU = Maker("openvino", "cpu"), Maker("torch", "cuda")


def written(
    root: Path, key: dict, maker: Maker, images: list[str], value: float, error: float = 1e-7
) -> FeatureCache:
    cache = FeatureCache(root, key, maker)
    cache.max_error = error
    cache.write(images, [np.full((2, 4), value, np.float32)] * len(images), np.zeros((len(images), 4)))
    return cache


def value(cache: FeatureCache, image: str) -> float:
    return float(cache.rows(image)[0, 0])


def test_verified_float32_is_found_by_every_engine_and_counted_by_its_maker(tmp_path):
    written(tmp_path, FP32, GPU, ["a", "b"], 1.0)
    written(tmp_path, FP32, CPU, ["c"], 2.0)
    for asker in (CPU, GPU, Maker("compile", "cpu")):
        cache = FeatureCache(tmp_path, FP32, asker)
        assert cache.name == key_hash(FP32) and set(cache.entries) == {"a", "b", "c"}
        assert cache.made_by(["a", "b", "c", "a"]) == [
            {"engine": "openvino", "device": "cpu", "images": 1},
            {"engine": "torch", "device": "cuda", "images": 3},
        ]


def test_same_finds_the_makers_own_only(tmp_path):
    written(tmp_path, FP32, GPU, ["a"], 1.0)
    assert "a" not in FeatureCache(tmp_path, FP32, CPU, "same")
    assert "a" not in FeatureCache(tmp_path, FP32, Maker("torch", "cpu"), "same")
    assert "a" in FeatureCache(tmp_path, FP32, GPU, "same")
    own = FeatureCache(tmp_path, FP32, CPU, "same")
    own.write(["a"], [np.full((2, 4), 3.0, np.float32)], np.zeros((1, 4)))
    assert value(own, "a") == 3.0 and value(FeatureCache(tmp_path, FP32, CPU, "same"), "a") == 3.0
    assert value(FeatureCache(tmp_path, FP32, GPU, "same"), "a") == 1.0


@pytest.mark.parametrize(
    ("key", "error"), [(FP32, 2 * SHARING), (FP32, float("nan")), (FP32 | {"precision": "bf16"}, 0.0)]
)
def test_half_precision_and_float32_past_the_sharing_tolerance_are_their_makers_alone(tmp_path, key, error):
    written(tmp_path, key, GPU, ["a"], 1.0, error)
    assert value(FeatureCache(tmp_path, key, GPU), "a") == 1.0
    assert "a" not in FeatureCache(tmp_path, key, CPU)
    assert "a" not in FeatureCache(tmp_path, key, Maker("torch", "cpu"))
    assert (tmp_path / "features" / key_hash(own_key(key, GPU)) / "key.json").exists()


def test_what_all_share_comes_before_a_makers_own(tmp_path):
    written(tmp_path, FP32, GPU, ["a"], 1.0, 2 * SHARING)
    written(tmp_path, FP32, CPU, ["a"], 2.0)
    assert [value(FeatureCache(tmp_path, FP32, maker), "a") for maker in (GPU, CPU)] == [2.0, 2.0]


@pytest.mark.slow
def test_a_run_finds_what_another_engine_encoded_and_says_who_made_it(tmp_path):
    folder = tiny.make(tmp_path)
    first = prepare(tiny.job(folder), Clock(), progress=False).record["cache"]
    assert first["made_by"] == [{"engine": "torch", "device": "cpu", "images": tiny.N}]
    assert first["views_encoded"] > 0
    for other in ("engine=openvino", "device=cuda"):  # neither is here, or needed: nothing is to encode
        cache = prepare(tiny.job(folder, other), Clock(), progress=False).record["cache"]
        assert (cache["made_by"], cache["key"], cache["views_encoded"]) == (first["made_by"], first["key"], 0)
    with pytest.raises(UserError, match="0 CUDA devices"):
        prepare(tiny.job(folder, "device=cuda", "cache_engine=same"), Clock(), progress=False)
