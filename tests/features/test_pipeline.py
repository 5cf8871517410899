"""The pipeline from files to cached features, with a ten-line encoder in place of a network."""

import io
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from towers import DEVICE, SIZE, error, plain, tower

from magiqa.engines.build import build
from magiqa.engines.engine import Resolved
from magiqa.errors import UnreadableImage, UserError
from magiqa.features import batches, pipeline
from magiqa.features.cache import FeatureCache, MemoryStore
from magiqa.features.hashing import HashIndex, content_sha256, hash_files
from magiqa.features.pipeline import Recipe, fill_cache
from magiqa.images.controls import controls
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


@pytest.mark.parametrize("batch_size", [1, 3, 8, 64])
@pytest.mark.parametrize("workers", [1, 3])
def test_batches_and_threads_change_nothing(tmp_path, photos, batch_size, workers):
    cache, (n, skipped) = fill(tmp_path / "c", photos, Fake(batch_size), workers=workers)
    assert skipped == {} and n == sum(len(by_hand(p)) for p in photos)
    for path, got in zip(photos, read(cache, photos), strict=True):
        np.testing.assert_array_equal(got, by_hand(path))


def test_batches_are_full_but_the_last(tmp_path, photos):
    engine = Fake(8)
    _, (n, _) = fill(tmp_path / "c", photos, engine)
    assert engine.sizes == [8] * (n // 8) + ([n % 8] if n % 8 else [])


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


def test_whole_images_of_mixed_sizes_run_alone_between_windows(tmp_path, photos):
    views = Views(kinds=("whole", "windows", "global"), window=32, stride=16)
    cache, _ = fill(tmp_path / "c", photos, views=views)
    for path, got in zip(photos, read(cache, photos), strict=True):
        np.testing.assert_array_equal(got, by_hand(path, views))


def test_resize_is_applied_before_the_views(tmp_path, photos):
    resize = Resize("squash", 48)
    cache, _ = fill(tmp_path / "c", photos, resize=resize)
    for path, got in zip(photos, read(cache, photos), strict=True):
        assert got.shape == (5, 12)
        np.testing.assert_array_equal(got, by_hand(path, resize=resize))


def test_controls_are_those_of_the_file_as_distributed(tmp_path, photos):
    cache, _ = fill(tmp_path / "c", photos, resize=Resize("squash", 48))
    for path, sha in wanted(photos):
        data = Path(path).read_bytes()
        image = open_image(data, path)
        got = cache.entries[sha].controls
        np.testing.assert_array_equal(got, controls(image, len(data)))
        assert tuple(got[:3]) == (*image.size, len(data))


def test_views_in_memory_do_not_grow_with_the_image(tmp_path, monkeypatch):
    """Whatever batch the engine works on, only a few more have been cut than it has encoded."""
    handed = 0
    plain = batches.cut

    def counting(*args, **options):
        nonlocal handed
        for block in plain(*args, **options):
            handed += len(block)
            yield block

    monkeypatch.setattr(batches, "cut", counting)
    path = write_photo(tmp_path / "huge.png", 3000, 300, seed=1)
    seen = []

    class First(Fake):
        def __call__(self, views):
            seen.append(handed - sum(self.sizes))
            return super().__call__(views)

    _, (n, _) = fill(tmp_path / "c", [path], First())
    assert n > 3000
    assert max(seen) <= pipeline.PREFETCHED_VIEWS + 5 * 8


def test_all_streams_of_an_engine_work_at_the_same_time(tmp_path, photos):
    class Two(Fake):
        streams = 2
        meet = threading.Barrier(2, timeout=20)

        def __call__(self, views):
            if len(views) == self.batch_size:  # full batches come in pairs here, a last one may be alone
                self.meet.wait()
            return super().__call__(views)

    engine = Two(8)
    cache, (n, _) = fill(tmp_path / "c", photos[:4], engine)
    assert n == 21
    for path, rows in zip(photos, read(cache, photos[:4]), strict=False):
        np.testing.assert_array_equal(rows, by_hand(path))


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


@pytest.mark.parametrize("name", ["empty.jpg", "cut.jpg", "text.jpg"])
@pytest.mark.parametrize("batch_size", [1, 64])
def test_an_unreadable_image_stops_the_run_and_all_before_it_stay_cached(tmp_path, photos, name, batch_size):
    reason = bad_files(tmp_path)[name]
    path = str(tmp_path / name)
    with pytest.raises(UnreadableImage) as error:
        fill(tmp_path / "c", [*photos[:5], path, *photos[5:]], Fake(batch_size))
    message = str(error.value)
    assert message.startswith(f"{path}: {reason}") and "\n" not in message and "on_error=skip" in message
    cache = FeatureCache(tmp_path / "c", KEY)
    for before, got in zip(photos[:5], read(cache, photos[:5]), strict=True):
        np.testing.assert_array_equal(got, by_hand(before))


def test_an_image_too_small_stops_the_run_even_with_skip(tmp_path, photos):
    small = write_photo(tmp_path / "small.png", 31, 64, seed=3)
    with pytest.raises(UserError) as error:
        fill(tmp_path / "c", [*photos, small], skippable=UnreadableImage)
    assert str(error.value) == (
        f"{small}: 31x64 has a side under the window size 32; use views.small=upscale, or a smaller views.window"
    )
    assert all(sha in FeatureCache(tmp_path / "c", KEY) for _, sha in wanted(photos))
    cache, _ = fill(tmp_path / "d", [small], views=Views(window=32, stride=16, small="upscale"))
    assert len(read(cache, [small])[0]) == 4


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


def test_a_second_interrupt_while_the_run_ends_loses_nothing_either(tmp_path, photos, monkeypatch):

    close = pipeline.Batches.close

    def interrupted(queue):
        close(queue)
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline.Batches, "close", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path / "c", photos, Fake(4, fail_after=4))  # 16 views
    kept = int((np.cumsum([len(by_hand(p)) for p in photos]) <= 16).sum())
    cache = FeatureCache(tmp_path / "c", KEY)
    assert [sha in cache for _, sha in wanted(photos)] == [i < kept for i in range(len(photos))]


def test_shards_are_written_on_the_way(tmp_path, photos, monkeypatch):
    monkeypatch.setattr(pipeline, "SHARD_BYTES", 300)
    cache, _ = fill(tmp_path / "c", photos)
    assert len(list(cache.folder.glob("*.safetensors"))) > 3
    for path, got in zip(photos, read(FeatureCache(tmp_path / "c", KEY), photos), strict=True):
        np.testing.assert_array_equal(got, by_hand(path))


def test_one_shard_that_cannot_be_written_takes_no_other_with_it(tmp_path, photos, monkeypatch):
    monkeypatch.setattr(pipeline, "SHARD_BYTES", 300)
    cache = FeatureCache(tmp_path / "c", KEY)
    plain, lost = cache.write, []

    def write(images, *args):
        if not lost:
            lost.extend(images)
            raise UserError("the disk is full")
        plain(images, *args)

    monkeypatch.setattr(cache, "write", write)
    with pytest.raises(UserError, match="the disk is full"):
        fill_cache(cache, wanted(photos), Fake, Recipe(VIEWS), progress=False)
    kept = FeatureCache(tmp_path / "c", KEY).entries
    assert kept and not set(lost) & set(kept)


def test_whole_images_on_their_way_are_no_more_than_the_streams(tmp_path, photos):

    begun, go = threading.Semaphore(0), threading.Event()

    class Slow(Fake):
        streams = 2

        def __call__(self, views):
            begun.release()
            go.wait(20)
            return super().__call__(views)

    engine = Slow()
    queue = batches.Batches(engine, batches.way_of(engine, 32), 32)
    image = batches.OpenImage("a", "a", np.zeros(4))
    whole = np.zeros((1, 3, 40, 40), np.float32)
    adding = threading.Thread(target=lambda: [queue.add(image, whole) for _ in range(3)])
    adding.start()
    assert begun.acquire(timeout=20) and begun.acquire(timeout=20)
    adding.join(0.1)
    assert adding.is_alive() and image.cut == 3  # the third waits for one of them to end
    go.set()
    adding.join()
    queue.wait()
    queue.close()
    assert sorted(image.features) == [0, 1, 2]


def test_an_unwritable_cache_is_found_before_the_engine_is_built(tmp_path, photos):
    root = tmp_path / "in the way"
    root.write_text("")

    def never():
        raise AssertionError("built too early")

    with pytest.raises(UserError, match="the cache cannot be written"):
        fill_cache(
            FeatureCache(root, KEY),
            wanted(photos),
            never,
            Recipe(VIEWS),
            progress=False,
        )


def test_a_file_that_changes_between_hash_and_decoding_is_an_error(tmp_path, photos):
    pairs = wanted(photos[:2])
    write_photo(Path(photos[1]), 40, 40, seed=77)
    with pytest.raises(UserError) as error:
        fill(tmp_path / "c", pairs)
    assert str(error.value) == (
        f"{photos[1]}: its content changed since it was hashed; run again when it is at rest, with rehash=true"
    )
    Path(photos[1]).unlink()
    with pytest.raises(UnreadableImage, match=r"1\.png: cannot be read \(No such file or directory\)"):
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


def test_a_whole_image_that_the_backbone_cannot_take_is_named(tmp_path):
    path = write_photo(tmp_path / "tiny.png", 9, 7, seed=0)

    class Conv(Fake):
        def __call__(self, views):
            raise RuntimeError("Exception from a.cpp:\nKernel size can't be greater than actual input size\n")

    with pytest.raises(UserError) as error:
        fill(tmp_path / "c", [path], Conv(), views=Views(kinds=("whole",)))
    assert str(error.value) == (
        f"{path}: the backbone cannot encode it whole at 9x7 (Kernel size can't be greater than actual input size); "
        "it may be too small, or of another size than a positional embedding that is not dropped: use windows or "
        "global views"
    )


@pytest.mark.parametrize("failure", [RuntimeError("CUDA out of memory. Tried 9 GiB"), MemoryError()])
def test_out_of_memory_says_what_to_change(tmp_path, photos, failure):
    class Full(Fake):
        def __call__(self, views):
            raise failure

    with pytest.raises(
        UserError, match=r"^out of memory with batches of 8 views; .* use batch_size=4, or device=cpu$"
    ):
        fill(tmp_path / "c", photos, Full(8))
    path = write_photo(tmp_path / "large.png", 90, 70, seed=0)
    message = rf"^{path}: out of memory with the whole image of 90x70; use device=cpu, a smaller dataset.resize, or win"
    with pytest.raises(UserError, match=message):
        fill(tmp_path / "d", [path], Full(8), views=Views(kinds=("whole",), window=32))


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


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="memory is read from Linux's /proc")
def test_a_hundred_megapixels_take_the_memory_of_their_pixels_and_a_batch(tmp_path, on_device):
    """5,929 windows, 291 MB as float32 at a window of 64; the pixels are 300 MB, held twice: decoded, and as sent."""

    def own() -> float:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(x for x in lines if x.startswith("RssAnon")).split()[1]) / 1024

    _, engine = on_device
    highest, over = 0.0, threading.Event()

    def watch() -> None:
        nonlocal highest
        while not over.wait(0.01):
            highest = max(highest, own())

    def load(item, key):
        return np.full((10_000, 10_000, 3), 7, np.uint8), np.zeros(4)

    start = own()
    watching = threading.Thread(target=watch)
    watching.start()
    recipe = Recipe(Views(window=64, stride=128))
    n, _ = fill_cache(MemoryStore(), [("a", "a")], lambda: engine, recipe, load=load, progress=False)
    over.set()
    watching.join()
    assert n == 78 * 78 + 1
    assert highest - start < 2 * 300 / 1.048576 + 120


def test_no_thread_outlives_the_run(tmp_path, photos):
    before = threading.active_count()
    fill(tmp_path / "c", photos)
    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path / "d", photos, Fake(fail_after=1))
    assert threading.active_count() == before


def test_hashes_in_order_with_reasons_for_what_cannot_be_read(tmp_path, photos):
    missing = str(tmp_path / "none.png")
    mixed = [photos[2], missing, photos[0]]
    index = HashIndex(tmp_path / "cache", tmp_path)
    hashes, failed = hash_files(mixed, "skip", index)
    assert hashes == [wanted(photos)[2][1], None, wanted(photos)[0][1]]
    assert list(failed) == [1] and failed[1].startswith(f"{missing}: cannot be read")
    with pytest.raises(UnreadableImage, match="on_error=skip"):
        hash_files(mixed, "raise", index)
    assert hash_files([], "raise", index) == ([], {})
