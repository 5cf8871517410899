"""One key for one feature: what engines and devices share, what they do not, and what is said of it."""

from pathlib import Path

import numpy as np
import pytest
import tiny

from magiqa.errors import UserError
from magiqa.features.cache import SHARING, FeatureCache, Maker, key_hash, own_key
from magiqa.features.source import prepare
from magiqa.runs.record import Clock

FP32 = {
    "version": 3,
    "weights_sha256": "ab",
    "precision": "fp32",
    "views": {"kinds": ["global"], "stride": 128},
}
BF16 = FP32 | {"precision": "bf16"}
CPU, GPU = Maker("openvino", "cpu"), Maker("torch", "cuda")


def write(
    root: Path, key: dict, maker: Maker, images: list[str], value: float, error: float = 1e-7
) -> FeatureCache:
    cache = FeatureCache(root, key, maker)
    cache.max_error = error
    cache.write(images, [np.full((2, 4), value, np.float32) for _ in images], np.zeros((len(images), 4)))
    return cache


def value(cache: FeatureCache, image: str) -> float:
    return float(next(cache.blocks([image]))[1][0, 0])


def test_verified_float32_is_found_by_every_engine_and_counted_by_its_maker(tmp_path):
    write(tmp_path, FP32, GPU, ["a", "b"], 1.0)
    write(tmp_path, FP32, CPU, ["c"], 2.0)
    for asker in (CPU, GPU, Maker("compile", "cpu")):
        cache = FeatureCache(tmp_path, FP32, asker)
        assert cache.name == key_hash(FP32) and set(cache.entries) == {"a", "b", "c"}
        assert cache.made_by(["a", "b", "c", "a"]) == [
            {"engine": "openvino", "device": "cpu", "images": 1},
            {"engine": "torch", "device": "cuda", "images": 3},
        ]


def test_same_finds_the_makers_own_only(tmp_path):
    write(tmp_path, FP32, GPU, ["a"], 1.0)
    assert "a" not in FeatureCache(tmp_path, FP32, CPU, "same")
    assert "a" not in FeatureCache(tmp_path, FP32, Maker("torch", "cpu"), "same")
    assert "a" in FeatureCache(tmp_path, FP32, GPU, "same")
    own = FeatureCache(tmp_path, FP32, CPU, "same")
    own.write(["a"], [np.full((2, 4), 3.0, np.float32)], np.zeros((1, 4)))
    assert value(own, "a") == 3.0 and value(FeatureCache(tmp_path, FP32, CPU, "same"), "a") == 3.0
    assert value(FeatureCache(tmp_path, FP32, GPU, "same"), "a") == 1.0


@pytest.mark.parametrize("error", [2 * SHARING, float("nan")])
def test_float32_past_the_sharing_tolerance_is_its_makers_alone(tmp_path, error):
    cache = write(tmp_path, FP32, GPU, ["a"], 1.0, error)
    assert value(cache, "a") == 1.0
    assert "a" in FeatureCache(tmp_path, FP32, GPU) and "a" not in FeatureCache(tmp_path, FP32, CPU)
    assert (tmp_path / "features" / key_hash(own_key(FP32, GPU)) / "key.json").exists()
    write(tmp_path, FP32, CPU, ["a"], 2.0)  # what all share comes before it, for its own maker too
    assert (
        value(FeatureCache(tmp_path, FP32, GPU), "a") == value(FeatureCache(tmp_path, FP32, CPU), "a") == 2.0
    )


def test_half_precision_is_its_makers_alone_however_close(tmp_path):
    write(tmp_path, BF16, GPU, ["a"], 1.0, 0.0)
    assert "a" in FeatureCache(tmp_path, BF16, GPU)
    assert "a" not in FeatureCache(tmp_path, BF16, CPU)
    assert "a" not in FeatureCache(tmp_path, BF16, Maker("torch", "cpu"))


@pytest.mark.slow
def test_a_run_finds_what_another_engine_encoded_and_says_who_made_it(tmp_path, monkeypatch):
    folder = tiny.make(tmp_path)
    first = prepare(tiny.job(folder), Clock(), progress=False)
    assert first.record["cache"]["made_by"] == [{"engine": "torch", "device": "cpu", "images": tiny.N}]
    assert first.record["cache"]["views_encoded"] > 0
    for engine in ("compile", "openvino"):  # asked, not built: nothing is to encode
        found = prepare(tiny.job(folder, f"engine={engine}"), Clock(), progress=False)
        assert found.record["engine"]["engine"] == engine and found.record["cache"]["views_encoded"] == 0
        assert found.record["cache"]["made_by"] == first.record["cache"]["made_by"]
        assert found.record["cache"]["key"] == first.record["cache"]["key"]
    gpu = prepare(tiny.job(folder, "device=cuda"), Clock(), progress=False)  # no GPU here, and none needed
    assert gpu.record["cache"]["views_encoded"] == 0
    with pytest.raises(UserError, match="0 CUDA devices"):
        prepare(tiny.job(folder, "device=cuda", "cache_engine=same"), Clock(), progress=False)
