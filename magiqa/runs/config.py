"""What a command is to run: the config, instantiated and checked. Light to import: a typing error answers at once."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from magiqa.backbones.spec import Backbone
from magiqa.checked import Checked, Least
from magiqa.datasets.folder import Folder
from magiqa.errors import UserError
from magiqa.images.decode import LIMITS, Limits
from magiqa.images.views import Views
from magiqa.method.prompts import PromptSet
from magiqa.runs.launcher import Launcher

Magnitude = Callable[[np.ndarray], np.ndarray]

Fusion = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]

# keys that say where and how fast, not what: they leave every number as it is
MACHINE = (
    "out",
    "cache_dir",
    "cache_engine",
    "rehash",
    "device",
    "batch_size",
    "workers",
    "bundle",
    "figures",
    "views_file",
    "part",
    "trust",
    "roots",
    "max_pixels",
    "max_whole_pixels",
    "launcher",
)


def default_cache_dir() -> str:
    """``MAGIQA_CACHE``, else the platform's cache folder for magiqa."""
    if given := os.environ.get("MAGIQA_CACHE"):
        return given
    from platformdirs import user_cache_dir

    return user_cache_dir("magiqa", appauthor=False)


@dataclass(frozen=True)
class Job(Checked):
    """Everything a command needs, instantiated: what ``conf/config.yaml`` composes to.

    Args:
        dataset: a reader with ``load() -> Labels``. choices: the name of the option of each config group.
            changed: what differs from what those options' files say.
        config: the resolved config, for the record. Others: see ``conf/config.yaml``.
    """

    backbone: Backbone
    prompts: PromptSet
    views: Views
    magnitude: Magnitude
    fusion: Fusion
    dataset: Any
    cache_dir: str
    cache_engine: Literal["any", "same"] = "any"
    rehash: bool = False
    out: str | None = None
    bundle: str | None = None
    device: str = "auto"
    engine: Literal["auto", "torch", "compile", "openvino"] = "auto"
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    batch_size: Literal["auto"] | Annotated[int, Least(1)] = "auto"
    workers: Literal["auto"] | Annotated[int, Least(1)] = "auto"
    pooling: Literal["mean", "median", "worst_tenth"] = "mean"
    fit: Literal["best", "official"] = "best"
    ci_fit: bool = False
    resamples: Annotated[int, Least(100)] = 1000
    seed: Annotated[int, Least(0)] = 0
    on_error: Literal["raise", "skip"] = "raise"
    max_pixels: Annotated[int, Least(1)] = LIMITS.pixels
    max_whole_pixels: Annotated[int, Least(1)] = LIMITS.whole
    views_file: bool = False
    figures: bool = True
    part: str | None = None
    trust: str | tuple[str, ...] = ()
    roots: Mapping[str, str] = field(default_factory=dict)
    ablation: Any = None
    experiment: Any = None
    launcher: Launcher = field(default_factory=Launcher)
    choices: dict[str, str] = field(default_factory=dict)
    changed: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", self.device):
            raise UserError(f"device={self.device} is not known: use auto, cpu, cuda, cuda:N or mps")
        if self.part is not None:
            i, _, n = str(self.part).partition("/")
            if not (i.isdigit() and n.isdigit() and 1 <= int(i) <= int(n)):
                raise UserError(f"part={self.part} must be I/N, the I-th of N parts, such as 3/8")
        if "whole" in self.views.kinds and self.backbone.positional_embedding != "drop":
            raise UserError(
                f"views.kinds={list(self.views.kinds)} holds whole images of any size, which need "
                f"backbone.positional_embedding=drop, not {self.backbone.positional_embedding}"
            )

    @property
    def name(self) -> str:
        """A readable name and a hash of all that shapes the results."""
        shown = [
            self.choices.get(g, "")
            for g in ("dataset", "backbone", "prompts", "views", "magnitude", "fusion")
        ]
        shaping = {k: v for k, v in self.config.items() if k not in MACHINE}
        data = self.config.get("dataset")
        if isinstance(data, dict) and not isinstance(
            self.dataset, Folder
        ):  # a folder is its root, a set is not
            shaping["dataset"] = {k: v for k, v in data.items() if k != "root"}
        digest = hashlib.sha256(json.dumps(shaping, sort_keys=True, default=str).encode()).hexdigest()
        return "-".join([*filter(None, shown), digest[:8]])

    @property
    def limits(self) -> Limits:
        """The pixels that images may have."""
        return Limits(self.max_pixels, self.max_whole_pixels)

    @property
    def folder(self) -> Path:
        """Where the results go."""
        return Path(self.out).expanduser() if self.out else Path("results/runs") / self.name
