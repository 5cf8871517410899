"""Keys of the cache that one pass fills: each holds what it would hold alone."""

from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
import tiny

from magiqa.backbones.alike import alike
from magiqa.backbones.spec import Backbone
from magiqa.errors import UserError
from magiqa.features.shard import read_features
from magiqa.features.source import encoded_together, prepare, prepare_together
from magiqa.images.union import Union
from magiqa.images.views import Resize, Views
from magiqa.runs.provenance import Clock
from magiqa.scoring.score import score
from magiqa.scoring.shared_features import score_all, sources, together

GRIDS = [{"stride": 64}, {"stride": 64, "cover": True}, {"stride": 32}, {"stride": 20}]
WORDS = "the positional embedding of these weights is 0"
SIZES = [(96 if i % 4 == 0 else 128, 96) for i in range(tiny.N)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.make(tmp_path_factory.mktemp("tiny"))


def jobs_of(folder, cache):
    base = tiny.job(folder, f"cache_dir={cache}")
    return [base.having(views=replace(base.method.views, **grid)) for grid in GRIDS]


@pytest.fixture(scope="module")
def alone(folder):
    """The features of each grid, encoded by itself."""
    return [prepare(job, Clock(), progress=False) for job in jobs_of(folder, folder / "alone")]


@pytest.fixture(scope="module")
def both(folder):
    """Those of all grids, encoded in one pass."""
    return prepare_together(jobs_of(folder, folder / "together"), Clock(), progress=False)


def rows(features):
    """The features of each image, by its sha256."""
    out = {image: [] for image in features.images}
    for owner, block in features.cache.blocks(features.images):
        for position, row in zip(owner, block, strict=True):
            out[features.images[position]].append(np.array(row))
    return {image: np.stack(part) for image, part in out.items()}


def same(a, b):
    mine, theirs = rows(a), rows(b)
    return mine.keys() == theirs.keys() and all(np.array_equal(mine[i], theirs[i]) for i in mine)


@pytest.mark.slow
def test_strides_encoded_together_hold_what_each_holds_alone(alone, both):
    for one, other in zip(alone, both, strict=True):
        # the same key, and each view's feature to the bit, whatever lay beside it in its batch
        assert one.cache.name == other.cache.name and one.record["views"] == other.record["views"]
        assert same(one, other) and one.controls.equals(other.controls)
    union = Union.of([Views(window=64, **grid) for grid in GRIDS])
    wanted = sum(len(union.labels(*size)) for size in SIZES)
    assert {f.record["cache"]["views_encoded"] for f in both} == {wanted}
    assert wanted < 0.8 * sum(f.record["views"]["count"] for f in both)


def test_scores_of_strides_equal_those_of_single_runs_and_encode_nothing_more(folder, alone, both):
    jobs = jobs_of(folder, folder / "together")
    assert [len(group) for group in together(sources(jobs))] == [len(GRIDS)]
    kept, matrix = score_all(jobs, Clock(), progress=False)
    assert kept.record["cache"]["views_encoded"] == 0
    for job, features, row in zip(jobs, alone, matrix, strict=True):
        assert score(features, job.method)["q"].to_list() == row.tolist()


@pytest.mark.slow
def test_a_cache_that_is_full_is_neither_encoded_nor_written_again(folder, tmp_path):
    jobs = jobs_of(folder, tmp_path)
    first = prepare(jobs[3], Clock(), progress=False)
    shards = set(first.cache.folder.iterdir())
    record = [f.record["cache"] for f in prepare_together(jobs, Clock(), progress=False)]
    assert set(first.cache.folder.iterdir()) == shards
    assert [r["images_cached"] for r in record] == [0, 0, 0, tiny.N]
    # the windows that only the full one has are not encoded either
    wanted = sum(len(Union.of([job.method.views for job in jobs[:3]]).labels(*size)) for size in SIZES)
    assert [r["views_encoded"] for r in record] == [wanted] * 3 + [0]


@pytest.mark.slow
def test_a_pass_that_was_cut_short_is_completed_key_by_key(folder, tmp_path):
    jobs = jobs_of(folder, tmp_path)[:2]
    part = prepare(jobs[0].having(part="1/2"), Clock(), progress=False)
    found = prepare_together(jobs, Clock(), progress=False)[0]
    assert found.record["cache"]["images_cached"] == tiny.N // 2
    held = [read_features(shard, 4).images for shard in part.cache.folder.glob("*.safetensors")]
    assert sorted(chain(*held)) == sorted(found.images)  # each once


@pytest.mark.slow
def test_upscaled_and_resized_images_are_cut_in_their_final_size(folder, tmp_path):
    def jobs(cache):
        typed = [f"cache_dir={tmp_path / cache}", "views.window=80", "views.small=upscale"]
        made = [tiny.job(folder, *typed, f"views.stride={stride}") for stride in (40, 24)]
        short = Resize("short_side", 70)  # under the window: upscaled again, to 80
        return [job.having(dataset=replace(job.source.dataset, resize=short)) for job in made]

    found = prepare_together(jobs("together"), Clock(), progress=False)
    assert all(
        same(prepare(job, Clock(), progress=False), other)
        for job, other in zip(jobs("alone"), found, strict=True)
    )


def test_what_is_not_encoded_together(folder):
    base = tiny.job(folder)
    others = [
        base.having(views=replace(base.method.views, window=48)),
        base.having(views=replace(base.method.views, kinds=("windows",))),
        base.having(backbone=replace(base.method.backbone, untrained=1)),
        base.having(precision="bf16"),
        base.having(backbone=replace(base.method.backbone, positional_embedding="native")),
    ]
    assert [encoded_together(base, other) for other in others] == [False] * 5


def embedded(base, how):
    return base.having(backbone=replace(base.method.backbone, positional_embedding=how))


@pytest.mark.slow
def test_the_same_features_under_several_names_are_encoded_once_and_said_so(folder, tmp_path):
    base = tiny.job(folder, f"cache_dir={tmp_path}")
    jobs = [embedded(base, how) for how in ("native", "interpolate")]
    clock = Clock()
    _, matrix = score_all(jobs, clock, progress=False)
    assert clock.warnings == [
        "backbone.positional_embedding=native, interpolate: the same features, encoded once (the weights were "
        "trained on views of 64 pixels, so nothing is interpolated)"
    ]
    assert matrix[0].tolist() == matrix[1].tolist()
    # each key is filled as if it had been asked for alone
    alone = prepare(jobs[1].having(cache_dir=str(tmp_path / "alone")), Clock(), progress=False)
    filled = prepare(jobs[1], Clock(), progress=False)
    assert filled.record["cache"]["views_encoded"] == 0 and same(filled, alone)


@pytest.mark.slow
def test_native_at_another_size_is_still_refused(folder, tmp_path):
    base = tiny.job(folder, f"cache_dir={tmp_path}", "views.window=48", "views.stride=48")
    with pytest.raises(UserError, match="takes 64x64 views, not 48x48"):
        score_all([embedded(base, "interpolate"), embedded(base, "native")], Clock(), progress=False)


def test_the_demos_embedding_is_0_in_every_way_of_treating_it():
    demo = Backbone("demo")
    native, interpolated = (replace(demo, positional_embedding=how) for how in ("native", "interpolate"))
    assert alike(demo, native, 224) == alike(demo, interpolated, 64) == WORDS
    assert alike(native, interpolated, 224).startswith("the weights were trained on views of 224")
    assert alike(demo, native, 64) == alike(demo, replace(demo, untrained=0), 224) == ""
    assert alike(demo, demo, 224) == "the same backbone"


def test_a_union_is_row_major_and_holds_each_window_once():
    members = [Views(stride=224), Views(stride=128, cover=True), Views(stride=64)]
    union = Union.of(members)
    for size in ((512, 512), (1024, 768), (224, 300), (513, 224)):
        boxes = union.boxes(*size)
        assert boxes == sorted(set(boxes), key=lambda c: (c[1], c[0]))
        for views in members:
            labels = union.labels(*size)
            assert [labels[row] for row in union.rows_of(views, *size)] == views.labels(*size)
