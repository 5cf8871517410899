"""Parity with the official implementation's own numbers, through the package's loading, views, engine and cache."""

import json
from pathlib import Path

import numpy as np
import pytest
import skimage
from conftest import ARCHITECTURES, GOLDEN, MACLIP

from magiqa.backbones.model import build_model
from magiqa.backbones.spec import Backbone
from magiqa.backbones.text import encode_text
from magiqa.backbones.weights import load_weights
from magiqa.engines.build import build, resolve
from magiqa.features.cache import FeatureCache, Maker, feature_key
from magiqa.features.images import content_sha256
from magiqa.features.pipeline import Recipe, fill_cache
from magiqa.images.views import Resize, Views
from magiqa.method.cues import BoxCox, similarity
from magiqa.method.fusion import Adaptive

TOLERANCE = 5e-6
PRESETS = {
    "AGIQA-3k": (Views(), None),
    "AGIQA-1k": (Views(), Resize("squash", 224)),
    "SPAQ": (Views(), Resize("squash", 448)),
    "full": (Views(kinds=("whole",)), None),
}

ENGINES = pytest.mark.parametrize(
    "engine",
    [
        "torch",
        pytest.param("torch, views on the device", marks=pytest.mark.long),
        pytest.param("openvino", marks=pytest.mark.long),
    ],
)


def check_cases(golden: dict, find, checkpoints: dict[str, Path], cache_dir: Path, name: str) -> int:
    """Compare every case by torch's features, and one in three by those of another engine; returns how many."""
    compared = 0
    step = 1 if name == "torch" else 3
    for backbone_name in ARCHITECTURES:
        spec = Backbone(
            ARCHITECTURES[backbone_name], checkpoint=str(checkpoints[backbone_name]), quickgelu=True
        )
        weights = load_weights(spec)
        model = build_model(spec, weights)
        text, scale = encode_text(model, spec, [text for pair in MACLIP for text in pair])
        engine_name, _, on_device = name.partition(", ")
        pytest.importorskip(engine_name)
        resolved = resolve(engine_name, "fp32", "cpu")
        engine = build(model.visual, resolved, batch_size=5, view_size=(224, 224), on_device=bool(on_device))
        assert (engine.way is not None) == bool(on_device) and engine.warnings == []
        for preset, (views, resize) in PRESETS.items():
            cases = [c for c in golden["cases"] if (c["backbone"], c["preset"]) == (backbone_name, preset)][
                ::step
            ]
            paths = [str(find(c["image"])) for c in cases]
            images = [content_sha256(Path(p).read_bytes()) for p in paths]
            key = feature_key(spec, weights, views, resize, "fp32")
            cache = FeatureCache(cache_dir, key, Maker(engine_name, "cpu"), cache_engine="same")
            wanted = list(zip(paths, images, strict=True))
            recipe = Recipe(views, resize, weights.mean, weights.std)
            fill_cache(cache, wanted, lambda engine=engine: engine, recipe, progress=False)
            for owner, features in cache.blocks(images, views=1):
                case = cases[owner[0]]
                case_name = f"{backbone_name} {preset} {case['image']}"
                assert len(features) == case["n_crops"], case_name
                close = {"rtol": 0, "atol": TOLERANCE, "err_msg": case_name}
                norms = np.linalg.norm(features.astype(np.float64), axis=1)
                np.testing.assert_allclose(norms / case["feature_norm"], 1, **close)
                np.testing.assert_allclose(features[-1, :8], case["feature_head_global"], **close)
                q_sim = similarity(features, text, scale).mean(axis=1)
                np.testing.assert_allclose(q_sim, case["q_sim"], **close)
                np.testing.assert_allclose(BoxCox(0.5)(features), case["q_mag"], **close)
                for p, q in zip(golden["params"], case["q"] or [], strict=bool(case["q"])):
                    fusion = Adaptive(p["base_cos"], p["base_norm"], p["alpha"])
                    fused, _ = fusion(q_sim, BoxCox(p["box_lam"])(features))
                    np.testing.assert_allclose(fused.mean(), q, **close)
                compared += 1
    return compared


@ENGINES
@pytest.mark.slow
def test_golden_on_the_photos_that_scikit_image_ships(golden_checkpoints, tmp_path, engine):
    golden = json.loads((GOLDEN / "golden_skimage.json").read_text())
    photos = Path(skimage.__file__).parent / "data"
    assert check_cases(golden, lambda name: photos / name, golden_checkpoints, tmp_path, engine) == (
        35 if engine == "torch" else 14
    )


@pytest.mark.long
def test_golden_on_all_cases(golden_checkpoints, tmp_path, real_data):
    golden = json.loads((real_data / "golden" / "golden.json").read_text())

    def find(name: str) -> Path:
        own = real_data / "golden" / "images" / name
        return own if own.is_file() else real_data / "datasets" / "AGIQA-3K" / name

    assert check_cases(golden, find, golden_checkpoints, tmp_path, "torch") == 105
