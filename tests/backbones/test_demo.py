"""The demo backbone: its file, and a run on the sample that an untrained network fails."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from magiqa.backbones.library import DEMO
from magiqa.backbones.model import build_model
from magiqa.backbones.spec import DEMO_LABEL, Backbone
from magiqa.backbones.weights import load_weights
from magiqa.cli.main import main
from magiqa.datasets import sample
from magiqa.stats.correlation import srcc

FLOOR = {"seen": 0.6, "unseen": 0.4}  # mean SRCC within photo and type


def test_weights_are_small_half_precision_and_labeled() -> None:
    file = DEMO / "demo.safetensors"
    assert file.stat().st_size <= 8_000_000
    spec = Backbone("demo")
    weights = load_weights(spec)
    assert all(t.dtype.itemsize == 2 for t in weights.state.values() if t.is_floating_point())
    assert not weights.state["visual.attnpool.positional_embedding"].any()  # it was trained without
    build_model(spec, weights)  # every tensor there, of the right shape
    assert spec.kind == "demo" and spec.shown_label == DEMO_LABEL
    assert Backbone("demo", label="mine").shown_label == f"{DEMO_LABEL}; mine"
    assert Backbone("demo", untrained=3, label="mine").shown_label == "untrained, seed 3; mine"
    assert Backbone("RN50", "openai", label="mine").shown_label == "mine"


def test_no_photo_of_the_sample_is_named_in_the_training_record() -> None:
    text = (DEMO / "training.json").read_text().lower()
    assert '"held_out"' in text
    assert not [p for p, (_, name, _, _) in sample.PHOTOS.items() if Path(name).name in text]


def within(scores: pd.DataFrame, cue: str, split: str) -> float:
    cells = scores[scores["split"] == split].groupby(["reference", "group"])
    return float(np.mean([np.nan_to_num(srcc(c[cue], c["ssim"])) for _, c in cells]))


@pytest.mark.long
def test_a_run_on_the_sample_beats_a_floor_that_the_untrained_network_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = {k: sample.PHOTOS[k] for k in ("astronaut", "coffee", "chelsea", "gravel")}  # a quarter: quick
    monkeypatch.setattr(sample, "PHOTOS", photos)
    common = ["evaluate", f"cache_dir={tmp_path / 'cache'}", "figures=false", "engine=torch"]
    means = {}
    for name, more in {"demo": [], "untrained": ["backbone.untrained=0"]}.items():
        assert (
            main([*common, f"out={tmp_path / name}", *more]) == 0
        )  # the defaults: backbone=demo dataset=sample
        scores = pd.read_csv(tmp_path / name / "scores.csv")
        assert len(scores) == 4 * 8 * 6 and "mos" not in scores
        means[name] = {s: within(scores, "q_sim", s) for s in ("seen", "unseen")}
    for split, floor in FLOOR.items():
        assert means["demo"][split] > floor > means["untrained"][split]
