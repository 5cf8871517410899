"""The pipeline from files to cached features, with a ten-line encoder in place of a network."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from towers import DEVICE, SIZE, error, plain, tower

from magiqa.engines.build import build
from magiqa.engines.engine import Resolved
from magiqa.errors import UnreadableImage, UserError
from magiqa.features import pipeline
from magiqa.features.cache import FeatureCache
from magiqa.features.images import content_sha256
from magiqa.features.pipeline import Recipe, fill_cache
from magiqa.images.decode import open_image
from magiqa.images.views import KINDS, Resize, Views, cut

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
    rng = np.random.default_rng(seed)
    Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)
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
    shas = [s for _, s in wanted(paths)]
    out: dict[int, np.ndarray] = {}
    for owner, rows in cache.blocks(shas):
        for position in np.unique(owner):
            out[int(position)] = rows[owner == position]
    return [out[i] for i in range(len(paths))]


def by_hand(path: str, views: Views = VIEWS, resize: Resize | None = None) -> np.ndarray:
    """Image by image, view by view, nothing of the pipeline."""
    image = open_image(Path(path).read_bytes(), path)
    return np.concatenate([Fake()(v[None]) for block in cut(image, views, resize) for v in block])


def test_a_second_run_encodes_nothing_and_reads_the_same_bits(tmp_path, photos):
    first, _ = fill(tmp_path / "c", photos)

    def never():
        raise AssertionError("nothing is missing")

    second = FeatureCache(tmp_path / "c", KEY)
    assert fill_cache(second, wanted(photos), never, Recipe(VIEWS)) == (0, {})
    for a, b in zip(read(first, photos), read(second, photos), strict=True):
        np.testing.assert_array_equal(a, b)


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
    handed = 0
    plain = pipeline.cut

    def counting(*args, **options):
        nonlocal handed
        for block in plain(*args, **options):
            handed += len(block)
            yield block

    monkeypatch.setattr(pipeline, "cut", counting)
    path = write_photo(tmp_path / "huge.png", 3000, 300, seed=1)
    seen = []

    class First(Fake):
        def __call__(self, views):
            seen.append(handed - sum(self.sizes))
            return super().__call__(views)

    _, (n, _) = fill(tmp_path / "c", [path], First())
    assert n > 3000
    assert max(seen) <= pipeline.PREFETCHED_VIEWS + 5 * 8


def bad_files(folder: Path) -> dict[str, str]:
    """Name and the reason that the message must give."""
    good = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(good, "JPEG")
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "cut.jpg").write_bytes(good.getvalue()[:1500])
    (folder / "text.jpg").write_text("not an image")
    return {
        "empty.jpg": "the file is empty",
        "cut.jpg": "cannot be decoded (image file is truncated",
        "text.jpg": "not an image that is read here",
    }


def test_on_error_skip_lists_each_unreadable_image_and_keeps_the_rest(tmp_path, photos):
    reasons = bad_files(tmp_path)
    bad = [str(tmp_path / name) for name in reasons]
    mixed = [bad[0], *photos[:4], bad[1], *photos[4:], bad[2]]
    cache, (_, skipped) = fill(tmp_path / "c", mixed, skippable=UnreadableImage)
    sha_of = dict(wanted(mixed))
    assert set(skipped) == {sha_of[b] for b in bad}
    for path, reason in zip(bad, reasons.values(), strict=True):
        assert skipped[sha_of[path]].startswith(reason)
        assert sha_of[path] not in cache
    for path, got in zip(photos, read(cache, photos), strict=True):
        np.testing.assert_array_equal(got, by_hand(path))


def test_an_unreadable_image_stops_the_run_and_all_before_it_stay_cached(tmp_path, photos):
    path = str(tmp_path / "cut.jpg")
    bad_files(tmp_path)
    with pytest.raises(UnreadableImage, match=r"cut\.jpg: cannot be decoded .*on_error=skip"):
        fill(tmp_path / "c", [*photos[:5], path, *photos[5:]], Fake(64))
    cache = FeatureCache(tmp_path / "c", KEY)
    for before, got in zip(photos[:5], read(cache, photos[:5]), strict=True):
        np.testing.assert_array_equal(got, by_hand(before))


def test_an_image_too_small_stops_the_run_even_with_skip(tmp_path, photos):
    small = write_photo(tmp_path / "small.png", 31, 64, seed=3)
    with pytest.raises(UserError, match=r"small\.png: 31x64 has a side .*use views\.small=upscale"):
        fill(tmp_path / "c", [*photos, small], skippable=UnreadableImage)
    assert all(sha in FeatureCache(tmp_path / "c", KEY) for _, sha in wanted(photos))


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
    Path(photos[1]).unlink()
    with pytest.raises(UnreadableImage, match=r"1\.png: cannot be read"):
        fill(tmp_path / "c", pairs)


@pytest.mark.parametrize("kinds", [("windows",), ("whole",)])
def test_a_feature_that_is_no_number_stops_the_run(tmp_path, photos, kinds):
    class Broken(Fake):
        def __call__(self, views):
            return super().__call__(views) * np.float32("nan")

    with pytest.raises(
        UserError, match=r"^backbone: a feature is NaN or infinite; with precision=fp16 use bf16"
    ):
        fill(tmp_path / "c", photos[1:], Broken(), views=Views(kinds=kinds, window=32))
    assert FeatureCache(tmp_path / "c", KEY).entries == {}


@pytest.fixture(scope="module")
def on_device():
    """A small tower that makes its own views of pixels."""
    visual = tower("resnet")
    return visual, build(
        visual, Resolved("torch", "fp32", DEVICE), batch_size=4, view_size=SIZE, on_device=True
    )


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.slow
def test_an_engine_that_makes_its_views_gives_the_features_of_ready_made_ones(
    tmp_path, photos, on_device, workers
):
    visual, engine = on_device
    views = Views(kinds=KINDS, window=64, stride=32, small="upscale")
    cache, (n, _) = fill(tmp_path / "c", photos, engine, views=views, workers=workers)
    got = read(cache, photos)
    for path, rows in zip(photos, got, strict=True):
        image = open_image(Path(path).read_bytes(), path)
        made = [plain(visual, block) for block in cut(image, views)]
        assert error(rows, np.concatenate(made)) < engine.resolved.tolerance
    assert n == sum(len(rows) for rows in got)
    cache, _ = fill(tmp_path / "d", photos[::-1], engine, views=views)  # other neighbors in the batches
    for rows, again in zip(got, read(cache, photos), strict=True):
        if engine.resolved.device == "cpu":
            np.testing.assert_array_equal(rows, again)
        else:  # a GPU's libraries may sum in another order in another place of the batch
            assert error(rows, again) < 1e-6


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 1), (3, 3), (64, 3)])
@pytest.mark.parametrize(
    ("kinds", "resize"),
    [(("windows", "global"), None), (("whole", "windows", "global"), Resize("squash", 48))],
)
def test_features_are_those_of_each_view_alone(tmp_path, photos, batch_size, workers, kinds, resize):
    views = Views(kinds=kinds, window=32, stride=16)
    options = {"views": views, "resize": resize, "workers": workers}
    cache, (n, skipped) = fill(tmp_path / "c", photos, Fake(batch_size), **options)
    assert skipped == {} and n == sum(len(by_hand(p, views, resize)) for p in photos)
    for path, got in zip(photos, read(cache, photos), strict=True):
        np.testing.assert_array_equal(got, by_hand(path, views, resize))
