"""What a command is to run: the config, instantiated and checked. Light to import: a typing error answers at once."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from magiqa.backbones.spec import Backbone
from magiqa.engines.resolve import ENGINES, PRECISIONS
from magiqa.errors import UserError
from magiqa.images.views import Views
from magiqa.method.prompts import PromptSet

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
)


def default_cache_dir() -> str:
    """The platform's cache folder for magiqa."""
    from platformdirs import user_cache_dir

    return user_cache_dir("magiqa", appauthor=False)


@dataclass(frozen=True)
class Job:
    """Everything a command needs, instantiated: what ``conf/config.yaml`` composes to.

    Args:
        dataset: a reader with ``load() -> Labels``. choices: the name of the option of each config group.
        config: the resolved config, for the record. Others: see ``conf/config.yaml``.
    """

    backbone: Backbone
    prompts: PromptSet
    views: Views
    magnitude: Magnitude
    fusion: Fusion
    dataset: Any
    cache_dir: str
    cache_engine: str = "any"
    rehash: bool = False
    out: str | None = None
    bundle: str | None = None
    device: str = "auto"
    engine: str = "auto"
    precision: str = "fp32"
    batch_size: int | Literal["auto"] = "auto"
    workers: int | Literal["auto"] = "auto"
    pooling: str = "mean"
    fit: str = "best"
    ci_fit: bool = False
    resamples: int = 1000
    seed: int = 0
    on_error: str = "raise"
    views_file: bool = False
    figures: bool = True
    part: str | None = None
    trust: Any = ()
    ablation: Any = None
    experiment: Any = None
    choices: dict[str, str] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key, allowed in {
            "pooling": ("mean", "median", "worst_tenth"),
            "fit": ("best", "official"),
            "on_error": ("raise", "skip"),
            "cache_engine": ("any", "same"),
            "engine": ("auto", *ENGINES),
            "precision": PRECISIONS,
        }.items():
            if getattr(self, key) not in allowed:
                raise UserError(f"{key}={getattr(self, key)} is not known: use {', '.join(allowed)}")
        if not isinstance(self.device, str):
            raise UserError(f"device={self.device} must be auto, cpu, cuda, cuda:N or mps")
        for key in ("batch_size", "workers"):
            value = getattr(self, key)
            if value != "auto" and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise UserError(f"{key}={value} must be auto or a whole number from 1")
        if isinstance(self.resamples, bool) or not isinstance(self.resamples, int) or self.resamples < 100:
            raise UserError(f"resamples={self.resamples} must be a whole number from 100")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise UserError(f"seed={self.seed} must be a whole number from 0")
        for key in ("ci_fit", "views_file", "figures", "rehash"):
            if not isinstance(getattr(self, key), bool):
                raise UserError(f"{key}={getattr(self, key)} must be true or false")
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
        digest = hashlib.sha256(json.dumps(shaping, sort_keys=True, default=str).encode()).hexdigest()
        return "-".join([*filter(None, shown), digest[:8]])

    @property
    def folder(self) -> Path:
        """Where the results go."""
        return Path(self.out).expanduser() if self.out else Path("results/runs") / self.name
