"""What a record says of how a run came about: seconds, warnings, versions."""

import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version

from magiqa import __version__


class Clock:
    """Seconds by stage, and warnings, as they go into the record."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.warnings: list[str] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage, without the stages inside it."""
        start, before = time.perf_counter(), sum(self.seconds.values())
        try:
            yield
        finally:
            own = time.perf_counter() - start - (sum(self.seconds.values()) - before)
            self.seconds[name] = round(self.seconds.get(name, 0.0) + own, 3)


def versions() -> dict[str, str]:
    """Versions of everything that can change a number."""
    out = {"python": platform.python_version(), "magiqa": __version__}
    for package in ("torch", "open_clip_torch", "numpy", "scipy", "pandas", "pillow", "openvino"):
        try:
            out[package] = version(package)
        except PackageNotFoundError:
            continue
    return out
