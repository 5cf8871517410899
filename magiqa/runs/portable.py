"""A config without what belongs to one machine."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from magiqa.runs.config import MACHINE

PLACES = (
    "root",
    "annotation",
    "split_file",
    "checkpoint",
    "context",
    "features",
)  # of something, not what it is


def portable(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config without what belongs to one machine; paths keep their last part."""

    def strip(key: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {k: strip(k, v) for k, v in value.items()}
        if not isinstance(value, str):
            return value
        return Path(value).name if key in PLACES else plain_name(value)

    return {k: strip(k, v) for k, v in config.items() if k not in (*MACHINE, "ablation", "experiment")}


def plain_name(name: str) -> str:
    """Return a backbone's name; a local folder keeps its last part.

    Example:
        >>> plain_name("local-dir:/home/me/clip"), plain_name("local-dir:clip"), plain_name("RN50")
        ('local-dir:clip', 'local-dir:clip', 'RN50')
    """
    folder = name.removeprefix("local-dir:")
    return name if folder == name else f"local-dir:{Path(folder).name}"
