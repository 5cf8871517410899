"""The batch size: searched for once, never for a few images, and the record says which and why."""

import json

import pytest
import tiny

from magiqa.backbones.spec import Backbone
from magiqa.backbones.weights import load_weights
from magiqa.engines import build as building
from magiqa.engines.build import CANDIDATES
from magiqa.engines.resolve import Resolved
from magiqa.features import batch_size
from magiqa.features.batch_size import FEW, choose, remember, remembered, search_key
from magiqa.features.source import prepare
from magiqa.runs.provenance import Clock

RESOLVED = Resolved("torch", "fp32", "cpu")
KEY = search_key(RESOLVED, "ab", (224, 224))


def test_what_is_typed_counts_then_what_is_remembered_then_how_many_images_there_are(tmp_path):
    assert choose(7, tmp_path, KEY, RESOLVED, 10**6) == (7, "typed")
    assert choose("auto", tmp_path, KEY, RESOLVED, FEW - 1) == (CANDIDATES["cpu"][0], "few images")
    assert choose("auto", tmp_path, KEY, RESOLVED, FEW) == ("auto", "measured")
    remember(tmp_path, KEY, 20)
    remember(tmp_path, KEY, 5)  # of a task beside it: the first counts
    for images in (1, 10**6):
        assert choose("auto", tmp_path, KEY, RESOLVED, images) == (20, "remembered")


@pytest.mark.parametrize("field", sorted(KEY))
def test_a_search_is_remembered_by_all_that_it_depends_on(tmp_path, field):
    remember(tmp_path, KEY, 20)
    assert remembered(tmp_path, KEY) == 20 and remembered(tmp_path, KEY | {field: "other"}) is None


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"batch_size": "20"}', '{"batch_size": -1}', '{"batch_size": true}']
)
def test_a_damaged_memory_is_none(tmp_path, text):
    remember(tmp_path, KEY, 20)
    next((tmp_path / "batch_sizes").iterdir()).write_text(text)
    assert remembered(tmp_path, KEY) is None


@pytest.mark.slow
def test_the_first_run_searches_the_second_does_not_and_both_give_the_same_bytes(tmp_path, monkeypatch):
    searched = []
    fastest = building._fastest

    def counting(make, resolved):
        searched.append(1)
        return fastest(make, resolved)

    monkeypatch.setattr(building, "_fastest", counting)
    monkeypatch.setattr(building, "_seconds", lambda engine, budget: 1.0)  # the largest is the fastest
    monkeypatch.setattr(batch_size, "FEW", 1)
    folder = tiny.make(tmp_path)
    found = []
    for i in range(2):
        features = prepare(
            tiny.job(folder, "batch_size=auto", f"cache_dir={tmp_path}/c{i}"), Clock(), progress=False
        )
        found.append(
            (
                features.record["engine"],
                [rows.tobytes() for _, rows in features.cache.blocks(features.images)],
            )
        )
        if i == 0:
            (tmp_path / "c1").mkdir()
            (tmp_path / "c0" / "batch_sizes").rename(tmp_path / "c1" / "batch_sizes")
    (first, rows), (second, again) = found
    assert searched == [1] and rows == again
    assert (first["batch_size"], first["batch_size_from"]) == (max(CANDIDATES["cpu"]), "measured")
    assert (second["batch_size"], second["batch_size_from"]) == (max(CANDIDATES["cpu"]), "remembered")
    json.dumps(first)


@pytest.mark.slow
def test_networks_of_one_architecture_share_a_search():
    one, other = (load_weights(Backbone("demo", untrained=seed)) for seed in (0, 1))
    assert one.sha256 != other.sha256 and one.shapes_sha256 == other.shapes_sha256
    assert load_weights(Backbone("RN50", untrained=0)).shapes_sha256 != one.shapes_sha256
