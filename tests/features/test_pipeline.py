"""The pipeline from files to cached features, with a ten-line encoder in place of a network."""

from pathlib import Path

import numpy as np
import pytest
from towers import photo

from magiqa.errors import UnreadableImage, UserError
from magiqa.features import pipeline
from magiqa.features.cache import FeatureCache
from magiqa.features.images import content_sha256
from magiqa.features.pipeline import Recipe, fill_cache
from magiqa.images.decode import open_image
from magiqa.images.views import Resize, Views, cut

VIEWS = Views(window=32, stride=16)
KEY = {"version": "test"}


class Fake:
    """Means of each channel's quarters: 12 numbers a view, each view by itself; counts what it is asked."""

    streams = 1

    def __init__(self, batch_size: int = 8, fail_after: int | None = None) -> None:
        self.batch_size, self.fail_after = batch_size, fail_after
        self.sizes: list[int] = []

    def __call__(self, views: np.ndarray) -> np.ndarray:
        assert 0 < len(views) <= self.batch_size and views.dtype == np.float32
        if self.fail_after is not None and len(self.sizes) >= self.fail_after:
            raise KeyboardInterrupt
        self.sizes.append(len(views))
        views = np.ascontiguousarray(views)  # NumPy sums in another order otherwise
        h, w = views.shape[2] // 2, views.shape[3] // 2
        quarters = [views[:, :, :h, :w], views[:, :, h:, :w], views[:, :, :h, w:], views[:, :, h:, w:]]
        return np.stack([[q[i].mean(axis=(1, 2)) for q in quarters] for i in range(len(views))]).reshape(
            -1, 12
        )


def write_photo(path: Path, width: int, height: int, seed: int) -> str:
    photo(width, height, seed).save(path)
    return str(path)


@pytest.fixture
def photos(tmp_path: Path) -> list[str]:
    """Nine images of mixed sizes, 2 to 10 views each."""
    sizes = [(32, 32), (64, 64), (33, 70), (80, 40), (50, 50), (47, 47), (32, 100), (64, 33), (48, 48)]
    return [write_photo(tmp_path / f"{i}.png", *size, seed=i) for i, size in enumerate(sizes)]


def wanted(paths: list[str]) -> list[tuple[str, str]]:
    return [(p, content_sha256(Path(p).read_bytes())) for p in paths]


def fill(root: Path, paths, engine=None, views=VIEWS, resize=None, **options):
    cache = FeatureCache(root, KEY)
    pairs = paths if paths and isinstance(paths[0], tuple) else wanted(paths)
    recipe = Recipe(views, resize)
    done = fill_cache(cache, pairs, lambda: engine or Fake(), recipe, progress=False, **options)
    return cache, done


def read(cache: FeatureCache, paths: list[str]) -> list[np.ndarray]:
    return [cache.rows(sha256) for _, sha256 in wanted(paths)]


def by_hand(path: str, views: Views = VIEWS, resize: Resize | None = None) -> np.ndarray:
    """Image by image, view by view, nothing of the pipeline."""
    image = open_image(Path(path).read_bytes(), path)
    return np.concatenate([Fake()(v[None]) for block in cut(image, views, resize) for v in block])


def test_equal_files_are_encoded_once_and_a_changed_file_again(tmp_path, photos):
    copy = tmp_path / "copy of 1.png"
    copy.write_bytes(Path(photos[1]).read_bytes())
    engine = Fake()
    cache, _ = fill(tmp_path / "c", [photos[1], str(copy)], engine)
    assert sum(engine.sizes) == len(by_hand(photos[1]))
    np.testing.assert_array_equal(*read(cache, [photos[1], str(copy)]))
    write_photo(copy, 64, 64, seed=99)
    cache, (n, _) = fill(tmp_path / "c", [photos[1], str(copy)])
    assert n == len(by_hand(str(copy)))
    np.testing.assert_array_equal(read(cache, [str(copy)])[0], by_hand(str(copy)))


def test_views_in_memory_do_not_grow_with_the_image(tmp_path, monkeypatch):
    """Whatever batch the engine works on, only a few more have been cut than it has encoded."""
    blocks, waiting = [], []

    def counting(*args, **options):
        for block in cut(*args, **options):
            blocks.append(len(block))
            yield block

    class Watching(Fake):
        def __call__(self, views):
            waiting.append(sum(blocks) - sum(self.sizes))
            return super().__call__(views)

    monkeypatch.setattr(pipeline, "cut", counting)
    fill(tmp_path / "c", [write_photo(tmp_path / "huge.png", 3000, 300, seed=1)], Watching())
    assert sum(blocks) > 3000 and max(waiting) <= pipeline.PREFETCHED_VIEWS + 5 * 8


@pytest.fixture
def bad(tmp_path) -> dict[str, str]:
    """Two images that cannot be encoded."""
    (tmp_path / "text.png").write_text("not an image")
    return {"text": str(tmp_path / "text.png"), "small": write_photo(tmp_path / "small.png", 31, 64, seed=3)}


def test_on_error_skip_lists_each_unreadable_image_and_keeps_the_rest(tmp_path, photos, bad):
    cache, (_, skipped) = fill(
        tmp_path / "c", [*photos[:4], bad["text"], *photos[4:]], skippable=UnreadableImage
    )
    ((sha256, reason),) = skipped.items()
    assert wanted([bad["text"]]) == [(bad["text"], sha256)] and sha256 not in cache
    assert reason.startswith("not an image that is read here")
    for path, got in zip(photos, read(cache, photos), strict=True):
        np.testing.assert_array_equal(got, by_hand(path))


@pytest.mark.parametrize(
    ("name", "skippable", "message"),
    [
        ("text", (), r"text\.png: not an image .*on_error=skip"),
        ("small", UnreadableImage, r"small\.png: 31x64 has a side .*use views\.small=upscale"),
    ],
)
def test_an_image_that_stops_the_run_leaves_all_before_it_cached(
    tmp_path, photos, bad, name, skippable, message
):
    with pytest.raises(UserError, match=message):
        fill(tmp_path / "c", [*photos[:5], bad[name], *photos[5:]], Fake(64), skippable=skippable)
    cache = FeatureCache(tmp_path / "c", KEY)
    for path, got in zip(photos[:5], read(cache, photos[:5]), strict=True):
        np.testing.assert_array_equal(got, by_hand(path))


@pytest.mark.parametrize("kinds", [("windows",), ("whole",)])
def test_a_feature_that_is_no_number_stops_the_run(tmp_path, photos, kinds):
    class Broken(Fake):
        def __call__(self, views):
            return super().__call__(views) * np.float32("nan")

    with pytest.raises(UserError, match=r"^backbone: a feature is NaN or infinite; .*bf16"):
        fill(tmp_path / "c", photos[1:], Broken(), views=Views(kinds=kinds, window=32))
    assert FeatureCache(tmp_path / "c", KEY).entries == {}


def test_a_run_stopped_by_hand_goes_on_where_it_was(tmp_path, photos):
    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path / "c", photos, Fake(4, fail_after=4))  # 16 views
    counts = np.cumsum([len(by_hand(p)) for p in photos])
    kept = int((counts <= 16).sum())
    cache = FeatureCache(tmp_path / "c", KEY)
    assert kept > 2
    assert [sha in cache for _, sha in wanted(photos)] == [i < kept for i in range(len(photos))]
    engine = Fake(4)
    cache, (n, _) = fill(tmp_path / "c", photos, engine)
    assert n == counts[-1] - counts[kept - 1]
    for path, got in zip(photos, read(cache, photos), strict=True):
        np.testing.assert_array_equal(got, by_hand(path))


def test_a_file_that_changes_between_hash_and_decoding_is_an_error(tmp_path, photos):
    pairs = wanted(photos[:2])
    write_photo(Path(photos[1]), 40, 40, seed=77)
    with pytest.raises(UserError, match=r"1\.png: its content changed since it was hashed.*rehash=true"):
        fill(tmp_path / "c", pairs)


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 1), (3, 3), (64, 3)])
@pytest.mark.parametrize(
    ("kinds", "resize"),
    [(("windows", "global"), None), (("whole", "windows", "global"), Resize("squash", 48))],
)
def test_features_are_those_of_each_view_alone(tmp_path, photos, batch_size, workers, kinds, resize):
    views = Views(kinds=kinds, window=32, stride=16)
    options = {"views": views, "resize": resize, "workers": workers}
    _, (n, skipped) = fill(tmp_path / "c", photos, Fake(batch_size), **options)
    assert skipped == {} and n == sum(len(by_hand(p, views, resize)) for p in photos)
    again = FeatureCache(tmp_path / "c", KEY)
    assert fill_cache(again, wanted(photos), pytest.fail, Recipe(views, resize)) == (0, {})
    for path, got in zip(photos, read(again, photos), strict=True):
        np.testing.assert_array_equal(got, by_hand(path, views, resize))
