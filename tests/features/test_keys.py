"""Keys of the cache stay what they were, so that nobody encodes anew."""

import pytest

from magiqa.backbones.model import build_model
from magiqa.backbones.weights import load_weights
from magiqa.config.compose import Configs
from magiqa.features.cache import feature_key, key_hash
from magiqa.features.text import text_embeddings

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


@pytest.fixture(scope="module")
def configs():
    return Configs()


@pytest.mark.parametrize("typed", FEATURES, ids=" ".join)
def test_the_key_of_features(configs, typed):
    job = configs.job(["cache_dir=unused", *typed])
    backbone = job.method.backbone
    resize = job.source.dataset.resize
    key = feature_key(backbone, load_weights(backbone), job.method.views, resize, job.machine.precision)
    assert key_hash(key) == FEATURES[typed]


@pytest.mark.parametrize("option", TEXTS)
def test_the_key_of_text_embeddings(configs, option, tmp_path, monkeypatch):
    monkeypatch.setattr("magiqa.backbones.text.version", lambda package: "3.3.0")
    method = configs.job([f"prompts={option}"]).method
    weights = load_weights(method.backbone)
    text_embeddings(
        str(tmp_path), method.backbone, weights, lambda: build_model(method.backbone, weights), method.prompts
    )
    assert [f.stem for f in (tmp_path / "text").iterdir()] == [TEXTS[option]]
