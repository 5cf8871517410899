"""The origin of a run, for its record: seconds, warnings, versions."""

import platform
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from magiqa import __version__
from magiqa.runs.config import RunConfig


class Clock:
    """A clock: seconds by stage, and the warnings for the record."""

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


def own_code(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the sha256 of the user's own modules whose classes a config names: module -> sha256.

    Example:
        >>> own_code({"fusion": {"_target_": "magiqa.method.fusion.Product"}})
        {}
    """
    out: dict[str, str] = {}
    for value in config.values():
        if isinstance(value, Mapping):
            out |= own_code(value)
            module = str(value.get("_target_", "")).rpartition(".")[0]
            if module and module.partition(".")[0] != "magiqa":
                file = getattr(sys.modules.get(module), "__file__", None)
                out[module] = sha256(Path(file).read_bytes()).hexdigest() if file else "unknown"
    return out


def versions(config: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Return the versions of everything that can change a number, and the sha256 of the user's own modules."""
    out = {"python": platform.python_version(), "magiqa": __version__}
    for package in ("torch", "open_clip_torch", "numpy", "scipy", "pandas", "pillow", "openvino"):
        try:
            out[package] = version(package)
        except PackageNotFoundError:
            continue
    return out | {name: f"sha256 {digest}" for name, digest in own_code(config or {}).items()}


def job_record(job: RunConfig, command: str, clock: Clock, name: str) -> dict[str, Any]:
    """Return the part of a record that says what ran; its warnings and seconds grow until it is written."""
    study = {"study": job.study} if job.study else {}
    return {
        "magiqa": __version__,
        "command": command,
        "name": name,
        "choices": job.choices,
        "changed": job.changed,
        **study,
        "config": job.config,
        "versions": versions(job.config),
        "warnings": clock.warnings,
        "seconds": clock.seconds,
    }
