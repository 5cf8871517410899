"""Views made on a device: an image's 8-bit pixels are sent once, and its views are cut from them there.

A 1024x768 photo is 2.4 MB of pixels and 21.7 MB of windows. The arithmetic is that of `magiqa.images.views`, one
operation after another in float32, so that views are equal to rounding; the same code runs on a CPU.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import torch

from magiqa.images.decode import LIMITS, Limits
from magiqa.images.views import CLIP_MEAN, CLIP_STD, Pixels, Resize, Views, cut, sheets, taps

GLOBALS = 16  # global views made at a time: each takes some 10 MB meanwhile

PINNED_BYTES = 64 << 20  # larger images are sent from ordinary memory: pinned buffers are never given back


class Sent:
    """An image's pixels, on the host until a first batch needs them, then on the device until the last one is done."""

    def __init__(self, pixels: np.ndarray, device: torch.device) -> None:
        self.shape, self.device = pixels.shape, device
        self.dtype = dtype = torch.uint8 if pixels.dtype == np.uint8 else torch.float32
        pinned = device.type == "cuda" and pixels.nbytes <= PINNED_BYTES
        self._here: torch.Tensor | None = _buffer(pixels.shape, dtype, pinned)
        self._here.numpy()[...] = pixels
        self._there: torch.Tensor | None = None
        self._lock = threading.Lock()

    def __call__(self) -> torch.Tensor:
        """Return the pixels (H, W, 3) on the device."""
        with self._lock:
            if self._there is None:
                assert self._here is not None
                self._there, self._here = send(self._here, self.device), None
            return self._there


def _buffer(shape: tuple[int, ...], dtype: torch.dtype, pinned: bool) -> torch.Tensor:
    """Return memory of the host, pinned if the system has enough of it (WSL and memory locks have limits)."""
    try:
        return torch.empty(shape, dtype=dtype, pin_memory=pinned)
    except RuntimeError:
        return torch.empty(shape, dtype=dtype)


def send(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy a tensor to the device and wait: any stream may read it then."""
    copied = tensor.to(device, non_blocking=device.type == "cuda")
    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()
    return copied


class Piece(NamedTuple):
    """A view to be made: its pixels, kind, corner, normalization and shape (3, H, W)."""

    pixels: Sent
    kind: str
    corner: tuple[int, int]
    scale: tuple[tuple[float, ...], tuple[float, ...]]
    shape: tuple[int, int, int]


class OnDevice:
    """Makes views on a device and hands them to a tower there.

    Nothing a call reads may be freed before it ends, and all that it began has ended when it returns: its features are
    copied to the host. Callers hold the pieces until then.

    Args:
        size: of windows. turn: a context for each call: its stream.
        many: (``batch_size``, 3, size, size) -> features. one: (1, 3, H, W) of any size -> features.
    """

    def __init__(
        self,
        device: torch.device,
        batch_size: int,
        size: int,
        turn: Callable[[], Any],
        many: Callable[[torch.Tensor], np.ndarray],
        one: Callable[[torch.Tensor], np.ndarray],
    ) -> None:
        self.device, self.batch_size, self.size = device, batch_size, size
        self._turn, self._many, self._one = turn, many, one
        # of functions, not of methods: a cycle through self would keep the tower on its device
        # They are never dropped, because another stream may be reading them: 5 kB for each side of an image.
        self._taps = cache(partial(_make_taps, device, size))
        self._constants = cache(partial(_make_constants, device))

    def cut(
        self,
        image: Pixels,
        views: Views,
        resize: Resize | None = None,
        *,
        name: str = "image",
        mean: tuple[float, ...] = CLIP_MEAN,
        std: tuple[float, ...] = CLIP_STD,
        limits: Limits = LIMITS,
    ) -> Iterator[list[Piece]]:
        """Yield the views of `magiqa.images.views.cut`, in its order, as pieces: a list for each kind."""
        sent: Sent | None = None
        source: np.ndarray | None = None
        scale, window = (tuple(mean), tuple(std)), (3, self.size, self.size)
        for sheet in sheets(image, views, resize, name=name, limits=limits):
            if sent is None or sheet.pixels is not source:
                sent, source = Sent(sheet.pixels, self.device), sheet.pixels
            height, width = sheet.pixels.shape[:2]
            if sheet.kind == "whole" and (3, height, width) != window:
                yield [Piece(sent, "whole", (0, 0), scale, (3, height, width))]
            else:  # an image of a window's size is a window
                kind = "global" if sheet.kind == "global" else "windows"
                yield [Piece(sent, kind, corner, scale, window) for corner in sheet.corners]

    def encode(self, pieces: Sequence[Piece]) -> np.ndarray:
        """Encode pieces of a window's size, up to ``batch_size``, or one whole image: features (B, D) float32."""
        with self._turn(), torch.inference_mode():
            if pieces[0].kind == "whole":
                return self._one(self._normalized(pieces[0].pixels()[None], pieces[0]).permute(0, 3, 1, 2))
            # windows of all images together, since what a GPU is asked costs more than what it does; then back in order
            order = sorted(range(len(pieces)), key=lambda i: pieces[i].kind == "global")
            features = self._many(self.batch([pieces[i] for i in order]).permute(0, 3, 1, 2))
            return features[np.argsort(order)]

    def batch(self, pieces: Sequence[Piece]) -> torch.Tensor:
        """Make normalized views (``batch_size``, size, size, 3), zeros after the last piece. Channels lie last."""
        shape = (self.batch_size, self.size, self.size, 3)
        out = torch.empty(shape, dtype=torch.float32, device=self.device)
        out[len(pieces) :] = 0
        start = 0
        for (kind, _, _), run in groupby(pieces, key=lambda p: (p.kind, p.scale, p.pixels.dtype)):
            part = list(run)
            made = self._squashed(part) if kind == "global" else self._windows(part)
            out[start : start + len(part)] = made
            start += len(part)
        return out

    def difference(self) -> float:
        """Return the largest difference of views made here from those of `magiqa.images.views.cut`."""
        shape = (self.size + 37, self.size * 2 + 5, 3)
        pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        views = Views(window=self.size, stride=max(1, self.size // 2))
        pieces = [piece for block in self.cut(pixels, views) for piece in block]
        parts = [pieces[i : i + self.batch_size] for i in range(0, len(pieces), self.batch_size)]
        with self._turn(), torch.inference_mode():
            made = (
                torch.cat([self.batch(part)[: len(part)] for part in parts]).permute(0, 3, 1, 2).cpu().numpy()
            )
        return float(np.abs(made - np.concatenate(list(cut(pixels, views)))).max())

    def _windows(self, pieces: Sequence[Piece]) -> torch.Tensor:
        size = self.size
        corners = ((piece.pixels(), piece.corner) for piece in pieces)
        cut = [pixels[y : y + size, x : x + size] for pixels, (x, y) in corners]
        return self._normalized(torch.stack(cut), pieces[0])

    def _squashed(self, pieces: Sequence[Piece]) -> torch.Tensor:
        parts = (pieces[i : i + GLOBALS] for i in range(0, len(pieces), GLOBALS))
        return torch.cat([self._globals(part) for part in parts])

    def _globals(self, pieces: Sequence[Piece]) -> torch.Tensor:
        """Make global views as `magiqa.images.views.global_view` does: each pixel's four neighbors side by side.

        What is read of each image is gathered first: from then on, all images take one call together.
        """
        size = self.size
        read, lowers, rights = [], [], []
        for piece in pieces:
            pixels = piece.pixels()
            rows, lower = self._taps(pixels.shape[0])
            columns, right = self._taps(pixels.shape[1])
            read.append(pixels[rows[:, None], columns])
            lowers.append(lower)
            rights.append(right)
        four = self._normalized(torch.stack(read), pieces[0])
        lower, right = torch.stack(lowers)[:, :, None, None], torch.stack(rights)[:, None, :, None]
        lines = (1 - right) * four[:, :, :size] + right * four[:, :, size:]
        return (1 - lower) * lines[:, :size] + lower * lines[:, size:]

    def _normalized(self, pixels: torch.Tensor, piece: Piece) -> torch.Tensor:
        """Normalize pixels (..., 3), dividing by tensors: a division by a number may become a multiplication."""
        full, mean, std = self._constants(piece.scale)
        if pixels.dtype == torch.uint8:
            return pixels.float().div_(full).sub_(mean).div_(std)
        return (pixels - mean).div_(std)


def _make_constants(
    device: torch.device, scale: tuple[tuple[float, ...], tuple[float, ...]]
) -> list[torch.Tensor]:
    return [send(torch.tensor(v, dtype=torch.float32), device) for v in ((255.0,) * 3, *scale)]


def _make_taps(device: torch.device, size: int, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the indices that are read (2 size,), lower neighbors first, and the weight of the upper ones (size,)."""
    low, high, weight = taps(side, size)
    both = torch.from_numpy(np.concatenate([low, high]))
    return send(both, device), send(torch.from_numpy(weight), device)
