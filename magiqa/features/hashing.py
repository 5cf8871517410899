"""Image files in, their identity out."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from magiqa.errors import UnreadableImage
from magiqa.images.decode import read_image


def content_sha256(data: bytes) -> str:
    """The identity of an image file."""
    return hashlib.sha256(data).hexdigest()


def hash_files(paths: Sequence[str], on_error: str) -> tuple[list[str | None], dict[int, str]]:
    """sha256 of each file, None for those that cannot be read, and why, by position.

    Raises:
        UnreadableImage: a file cannot be read and ``on_error`` is not ``skip``.
    """

    def one(path: str) -> str | UnreadableImage:
        try:
            return content_sha256(read_image(path))
        except UnreadableImage as error:
            return error

    failed: dict[int, str] = {}
    out: list[str | None] = []
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for i, result in enumerate(pool.map(one, paths)):
            if isinstance(result, UnreadableImage):
                if on_error != "skip":
                    raise result
                failed[i] = str(result)
            out.append(None if isinstance(result, UnreadableImage) else result)
    return out, failed
