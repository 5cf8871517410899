"""Views against an independent implementation of the protocol, and every kind of file that a data set may hold."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from towers import photo

from magiqa.errors import UnreadableImage, UserError
from magiqa.images.decode import open_image
from magiqa.images.views import CLIP_MEAN, CLIP_STD, Resize, Views, cut, geometry, normalize


def encoded(image: Image.Image, format: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def views_of(image: Image.Image, views: Views, resize: Resize | None = None) -> np.ndarray:
    return np.concatenate(list(cut(image, views, resize)))


def reference(image: Image.Image, window: int = 224, stride: int = 128) -> torch.Tensor:
    """Torch's own unfold and interpolate on the whole normalized image: nothing shared with the package."""
    pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).float() / 255
    pixels = (pixels - torch.tensor(CLIP_MEAN)[:, None, None]) / torch.tensor(CLIP_STD)[:, None, None]
    windows = pixels.unfold(1, window, stride).unfold(2, window, stride)
    windows = windows.permute(1, 2, 0, 3, 4).reshape(-1, 3, window, window)
    whole = torch.nn.functional.interpolate(
        pixels[None], (window, window), mode="bilinear", align_corners=False
    )
    return torch.cat([windows, whole])


@pytest.mark.parametrize("size", [(512, 512), (500, 333), (224, 224), (225, 480), (1024, 768), (640, 227)])
def test_windows_and_global_view_are_those_of_the_protocol(size):
    image = photo(*size)
    got, expected = views_of(image, Views()), reference(image).numpy()
    assert got.dtype == np.float32 and got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("cover", [False, True])
@pytest.mark.parametrize("size", [(512, 512), (500, 333), (224, 224), (352, 225), (1024, 300)])
def test_labels_and_boxes_say_which_pixels_a_view_holds(size, cover):
    image = photo(*size)
    views = Views(kinds=("global", "windows"), cover=cover)
    got, labels = views_of(image, views), views.labels(*size)
    assert labels[0] == "global" and len(labels) == len(got)
    mean, std = np.float32(CLIP_MEAN), np.float32(CLIP_STD)
    for view, label, (x, y) in zip(got[1:], labels[1:], views.boxes(*size), strict=True):
        assert label == f"window {x},{y}"
        crop = np.asarray(image.crop((x, y, x + 224, y + 224)))
        np.testing.assert_array_equal(view, normalize(crop, mean, std))


@pytest.mark.parametrize("size", [(512, 512), (500, 333), (224, 224), (352, 225), (353, 480)])
def test_cover_reaches_every_pixel_and_adds_nothing_where_the_stride_already_does(size):
    covered = np.zeros(size[::-1], bool)
    boxes = Views(cover=True).boxes(*size)
    for x, y in boxes:
        assert x + 224 <= size[0] and y + 224 <= size[1]
        covered[y : y + 224, x : x + 224] = True
    assert covered.all() and len(set(boxes)) == len(boxes)
    more = set(boxes) - set(Views().boxes(*size))
    assert bool(more) == any((s - 224) % 128 for s in size)


def test_a_small_image_is_an_error_unless_upscaled():
    image = photo(300, 120)
    with pytest.raises(UserError, match=r"a\.png: 300x120 has a side under .* 224; use views\.small=upscale"):
        next(cut(image, Views(), name="a.png"))
    upscaled = image.resize((560, 224), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(views_of(image, Views(small="upscale")), views_of(upscaled, Views()))
    # kinds that need no window take it as it is
    both = list(cut(image, Views(kinds=("whole", "center_crop"))))
    assert [b.shape for b in both] == [(1, 3, 120, 300), (1, 3, 224, 224)]
    assert len(views_of(image, Views(), Resize("squash", 448))) == 5  # the set's resize comes first


@pytest.mark.parametrize(
    "size", [(512, 512), (500, 333), (333, 500), (224, 225), (640, 227), (301, 1000), (97, 60)]
)
def test_center_crop_is_open_clips_own_transform(size):
    import open_clip

    image = photo(*size)
    own = open_clip.image_transform(224, is_train=False)(image)
    got = views_of(image, Views(kinds=("center_crop",)))
    np.testing.assert_allclose(got[0], own.numpy(), rtol=0, atol=1e-6)


def test_resizes_are_pillows():
    image = photo(640, 481)
    squashed = Resize("squash", 448)(image)
    np.testing.assert_array_equal(squashed, image.resize((448, 448), Image.Resampling.BICUBIC))
    short = Resize("short_side", 512, "bilinear")(image)
    assert short.size == (681, 512)
    np.testing.assert_array_equal(short, image.resize((681, 512), Image.Resampling.BILINEAR))


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK"])
def test_other_modes_become_rgb_as_pillow_does(mode):
    image = photo(256, 230).convert(mode)
    if mode in ("LA", "RGBA"):
        image.putalpha(7)  # alpha is dropped, not composed
    data = encoded(image, "TIFF" if mode == "CMYK" else "PNG")
    got = views_of(open_image(data, "a"), Views())
    np.testing.assert_array_equal(got, views_of(Image.open(io.BytesIO(data)).convert("RGB"), Views()))
    assert got.shape == (2, 3, 224, 224)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty; fetch it again, or {}"),
        (b"no image at all\n", r"not an image that is read here \(JPEG and MPO, PNG, .*; convert .*, or {}"),
        (encoded(photo(300, 300), "JPEG")[:4000], r"cannot be decoded \(.*truncated.*\); replace it, or {}"),
        (encoded(Image.new("LAB", (300, 300)), "TIFF"), "CIELAB, .*; save it as RGB, or {}"),
    ],
)
def test_bad_files_say_which_and_what_to_do(data, message):
    remedy = "use on_error=skip to list and leave out"
    with pytest.raises(UnreadableImage, match=rf"^a\.img: {message.format(remedy)}$"):
        open_image(data, "a.img")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Views(kinds=()), r"views\.kinds=\[\] must name some of windows, global, whole, center_crop"),
        (lambda: Views(kinds=("window",)), r"views\.kinds\[0\]=window is not known: use windows, global"),
        (lambda: Views(window=0), "views.window=0 must be a whole number from 1"),
        (lambda: Views(small="skip"), "views.small=skip is not known: use error, upscale"),
        (lambda: Resize("crop", 3), "dataset.resize.mode=crop is not known: use squash, short_side"),
        (lambda: Resize("squash", 9, "box"), "dataset.resize.filter=box is not known: use bicubic, bilinear"),
    ],
)
def test_specifications_check_themselves(make, message):
    with pytest.raises(UserError, match=f"^{message}"):
        make()


def test_geometry_goes_back_through_resizes():
    half = geometry(896, 448, Views(kinds=("windows",)), Resize("squash", 448))
    assert half[0] == ("windows", 0, 0, 448, 224) and half[1] == ("windows", 256, 0, 704, 224)
    ((kind, *box),) = geometry(672, 448, Views(kinds=("center_crop",)))
    assert kind == "center_crop" and box == pytest.approx([112, 0, 560, 448])
    (_, *first), *_ = geometry(100, 50, Views(kinds=("windows",), small="upscale"))
    assert first == pytest.approx([0, 0, 50, 50])


def test_windows_are_evenly_spaced_or_at_random_in_row_major_order():
    assert Views(stride=32, take=15).boxes(256, 256) == Views(stride=32).boxes(256, 256)  # four in all
    every = Views(stride=32).boxes(512, 480)
    assert Views(stride=32, take=15).boxes(512, 480) == [every[6 * i] for i in range(15)]  # 90 in all
    boxes = Views(take=40, seed=3).boxes(240, 230)  # many share a row
    assert boxes == sorted(boxes, key=lambda c: (c[1], c[0])) and boxes != Views(take=40, seed=4).boxes(
        240, 230
    )
    assert all(0 <= x <= 16 and 0 <= y <= 6 for x, y in boxes)
