"""Files, Pillow images, arrays and tensors, made into what the pipeline reads."""

import hashlib
import os
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from magiqa.errors import UnreadableImage, UserError
from magiqa.features.images import identity
from magiqa.features.pipeline import load_file
from magiqa.images.controls import controls
from magiqa.images.decode import Limits, open_image, prepared, read_image
from magiqa.images.views import Pixels
from magiqa.package import expanded

if TYPE_CHECKING:
    import torch

_DECODING = threading.Lock()  # Pillow decodes an opened file at its first use, and not twice at once


@dataclass(frozen=True)
class Item:
    """An image to score.

    Args:
        name: for messages and tables. pixels: gives them, as `magiqa.images.views.cut` takes them; called in a
            thread of its own, maybe more than once. key: gives what tells its content from any other's. path: its
            file, where it is one.
    """

    name: str
    pixels: Callable[[Limits], Pixels]
    key: Callable[[Limits], str]
    path: str | None = None

    def __str__(self) -> str:
        return self.name

    def load(self, key: str, limits: Limits, *, measured: bool) -> tuple[Pixels, np.ndarray]:
        """Return the pixels and their controls; unless ``measured``, of these width and height alone."""
        if measured and self.path is not None:
            return load_file(self.path, key, limits)
        pixels = self.pixels(limits)
        if measured:
            return pixels, pixel_controls(pixels)
        size = pixels.shape[1::-1] if isinstance(pixels, np.ndarray) else pixels.size
        return pixels, np.array([*size, 0, 0])


def items(images: Any) -> list[Item]:
    """Return the images of a caller's argument as a list.

    Args:
        images: a path, a Pillow image, a uint8 array (H, W, 3), a list of these, or a float tensor (N, 3, H, W) or
            (3, H, W) in [0, 1]; tensors (3, H, W) may be in the list too.

    Raises:
        UserError: none at all, or what is none of these, with what to do.
    """
    if _is_tensor(images) and images.ndim == 4:
        sequence: list[Any] = list(images)
    elif isinstance(images, str | os.PathLike | Image.Image) or hasattr(images, "ndim"):
        sequence = [images]
    elif isinstance(images, Iterable):
        sequence = list(images)
    else:
        raise UserError(f"images: a {type(images).__name__} is none; {_GIVE}")
    if not sequence:
        raise UserError(f"images: there are none; {_GIVE}")
    return [_item(image, i) for i, image in enumerate(sequence)]


_GIVE = "give a path, a Pillow image, a uint8 array (H, W, 3), a list of them, or a float tensor (N, 3, H, W) in [0, 1]"


def file_item(path: str | os.PathLike[str]) -> Item:
    """Return a file's item: decoded as `magiqa evaluate` decodes it, and known by its bytes as there."""
    name = os.fspath(path)
    where = os.path.expanduser(name)
    return Item(
        name,
        lambda limits: open_image(read_image(where), name, limits),
        lambda limits: identity(read_image(where), limits),
        where,
    )


def array_item(name: str, pixels: np.ndarray) -> Item:
    """Return the item of pixels (H, W, 3), uint8 or float32 in [0, 1]."""
    return Item(name, lambda _: pixels, lambda _: pixels_key(pixels))


def pixels_key(pixels: np.ndarray) -> str:
    """Return a key of pixels, which never is the sha256 of a file."""
    head = f"magiqa pixels {pixels.dtype} {pixels.shape}\n".encode()
    return hashlib.sha256(head + np.ascontiguousarray(pixels).tobytes()).hexdigest()


def pixel_controls(pixels: Pixels) -> np.ndarray:
    """Return the controls of pixels that have no file: their bytes are those at 8 bits."""
    if isinstance(pixels, np.ndarray):
        whole = np.rint(pixels * 255).astype(np.uint8) if pixels.dtype == np.float32 else pixels
        pixels = Image.fromarray(whole)
    return controls(pixels, 3 * pixels.width * pixels.height)


def _is_tensor(image: Any) -> bool:
    torch = sys.modules.get("torch")  # who holds a tensor has imported it
    return torch is not None and isinstance(image, torch.Tensor)


def _item(image: Any, position: int) -> Item:
    name = f"image {position}"
    if isinstance(image, str | os.PathLike):
        if expanded(image).is_dir():
            raise UserError(f"{image}: is a folder; give its files, or use magiqa score {image}")
        return file_item(image)
    if isinstance(image, Image.Image):
        name = str(getattr(image, "filename", "") or name)

        def rgb(limits: Limits) -> Image.Image:
            try:
                with _DECODING:
                    image.load()
            except (ValueError, OSError) as error:
                raise UnreadableImage(
                    f"{name}: the Pillow image cannot be read ({error}); open it again"
                ) from None
            return prepared(image, name, limits).convert("RGB")

        return Item(name, rgb, lambda limits: pixels_key(np.asarray(rgb(limits))))
    if _is_tensor(image):
        return array_item(name, _tensor_pixels(image, name))
    if isinstance(image, np.ndarray):
        return array_item(name, _array_pixels(image, name))
    raise UserError(f"{name}: a {type(image).__name__} is no image; {_GIVE}")


def _array_pixels(array: np.ndarray, name: str) -> np.ndarray:
    """Check an array; return uint8 (H, W, 3)."""
    remedies = {
        "make it uint8 of 0 to 255, or a torch tensor (N, 3, H, W) in [0, 1]": array.dtype != np.uint8,
        "a gray image: repeat it by np.stack([image] * 3, axis=-1)": array.ndim == 2,
        "several images: pass list(images)": array.ndim == 4,
        "put the channels last by image.transpose(1, 2, 0)": array.ndim == 3
        and array.shape[0] == 3 != array.shape[2],
        "it needs three channels, RGB": array.ndim != 3 or array.shape[2] != 3,
        "it holds no pixel": 0 in array.shape,
    }
    for remedy, wrong in remedies.items():
        if wrong:
            raise UserError(
                f"{name}: an array of {array.dtype} and shape {array.shape}, not uint8 (H, W, 3); {remedy}"
            )
    return np.ascontiguousarray(array)


def _tensor_pixels(tensor: "torch.Tensor", name: str) -> np.ndarray:
    """Convert a tensor (3, H, W) in [0, 1] to float32 (H, W, 3); refuse any other."""
    shape = f"a tensor of shape {tuple(tensor.shape)}, not (3, H, W)"
    mistakes = {
        f"a tensor of {tensor.dtype}; pass floats in [0, 1], such as images / 255": not tensor.is_floating_point(),
        "scores have no gradient; pass images.detach()": tensor.requires_grad,
        f"{shape}; repeat its one channel by images.expand(-1, 3, -1, -1)": tensor.ndim == 3
        and len(tensor) == 1,
        f"{shape}; it needs three channels, RGB": tensor.ndim != 3 or len(tensor) != 3 or 0 in tensor.shape,
    }
    for mistake, wrong in mistakes.items():
        if wrong:
            raise UserError(f"{name}: {mistake}")
    pixels: np.ndarray = tensor.cpu().float().numpy().transpose(1, 2, 0)
    low, high = float(pixels.min()), float(pixels.max())
    if not np.isfinite(low + high):
        raise UserError(f"{name}: the tensor holds NaN or infinity; mend what made it")
    if low < 0 or high > 1:
        remedy = "divide by 255" if low >= 0 and high > 2 else "undo its normalization, or clamp(0, 1) it"
        raise UserError(
            f"{name}: the tensor's values run from {low:.8g} to {high:.8g}, not within [0, 1]; {remedy}"
        )
    return np.ascontiguousarray(pixels)
