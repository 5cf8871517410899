"""The config of a command, instantiated and checked. Light to import, so that a typing error answers at once."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from magiqa.backbones.checkpoint import read_learned
from magiqa.backbones.spec import Backbone
from magiqa.checked import Checked, Least
from magiqa.datasets.folder import Folder
from magiqa.engines.build import check_names
from magiqa.errors import UserError
from magiqa.images.decode import LIMITS, Alpha, Limits, Orientation
from magiqa.images.views import Views
from magiqa.method import pooling
from magiqa.method.prompts import PromptSet
from magiqa.package import expanded

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
    "name",
    "style",
    "views_file",
    "statistics",
    "splits",
    "part",
    "roots",
    "max_pixels",
    "max_whole_pixels",
    "launcher",
)


def default_cache_dir() -> str:
    """Return ``MAGIQA_CACHE``, else the platform's cache folder for magiqa.

    Raises:
        UserError: the user has no home folder.
    """
    if folder := os.environ.get("MAGIQA_CACHE"):
        return folder
    from platformdirs import user_cache_dir

    try:
        return str(expanded(user_cache_dir("magiqa", appauthor=False)))
    except (UserError, RuntimeError, KeyError):
        raise UserError("no cache folder, since you have no home folder here: set MAGIQA_CACHE=DIR") from None


@dataclass(frozen=True)
class Method(Checked):
    """The method: what is needed to score an image.

    Args:
        pooling: over an image's views: a name, or a function of their values (V,) that gives a number.
    """

    backbone: Backbone
    prompts: PromptSet
    views: Views
    magnitude: Magnitude
    fusion: Fusion
    pooling: Any = "mean"

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("magnitude", "fusion"):
            if not callable(value := getattr(self, key)):
                raise UserError(f"{key}: a {type(value).__name__} computes nothing; its _target_ must name a class "
                                "whose objects can be called, such as those of magiqa.method")  # fmt: skip
        if not pooling.known(self.pooling):
            raise UserError(
                f"pooling={self.pooling} is not known: use {pooling.WORDS}, or {{_target_: my_module.MyClass}}, "
                "whose objects turn an image's views' values into a number"
            )
        kept = self.backbone.positional_embedding
        if "whole" in self.views.kinds and kept not in ("drop", "interpolate_tokens"):
            raise UserError(
                f"views.kinds={list(self.views.kinds)} holds whole images of any size, which need "
                f"backbone.positional_embedding=drop or interpolate_tokens, not {kept}"
            )


@dataclass(frozen=True)
class Source(Checked):
    """The source of images and labels.

    Args:
        dataset: a reader with ``load() -> Labels``. bundle: a file in place of images and weights. part: I/N, one of
            N parts of the set. roots: as typed, for the record.
    """

    dataset: Any
    bundle: str | None = None
    on_error: Literal["raise", "skip"] = "raise"
    part: str | None = None
    max_pixels: Annotated[int, Least(1)] = LIMITS.pixels
    max_whole_pixels: Annotated[int, Least(1)] = LIMITS.whole
    alpha: Alpha | None = None
    orientation: Orientation = "stored"
    roots: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.part is not None:
            i, _, n = self.part.partition("/")
            if not (i.isdigit() and n.isdigit() and 1 <= int(i) <= int(n)):
                raise UserError(f"part={self.part} must be I/N, the I-th of N parts, such as 3/8")

    @property
    def limits(self) -> Limits:
        """Return what is let through of an image; transparency as the data set has it, unless ``alpha`` says."""
        alpha: Alpha = self.alpha or getattr(self.dataset, "alpha", None) or "drop"
        return Limits(self.max_pixels, self.max_whole_pixels, alpha, self.orientation)


@dataclass(frozen=True)
class Machine(Checked):
    """The computing and keeping of features. Of these settings, engine and precision shape them a little."""

    cache_dir: str
    cache_engine: Literal["any", "same"] = "any"
    rehash: bool = False
    device: str = "auto"
    engine: str = "auto"
    precision: str = "fp32"
    batch_size: Literal["auto"] | Annotated[int, Least(1)] = "auto"
    workers: Literal["auto"] | Annotated[int, Least(1)] = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_names(self.engine, self.precision, self.device)


@dataclass(frozen=True)
class Splits(Checked, key="splits"):
    """Test parts that a method is also scored on, to stand beside supervised methods. Nothing is fitted.

    Args:
        repeats: random parts; 0 takes none. share: of all references, prompts or images. by: what is drawn whole;
            null takes the reference where the set has one, else the prompt, else the image.
        files: lists of test images in their place, as ``dataset.split_file`` takes them; of an npy file of row numbers
            the first `repeats` rows.
    """

    repeats: Annotated[int, Least(0)] = 0
    share: float = 0.2
    by: Literal["reference", "prompt", "image"] | None = None
    seed: Annotated[int, Least(0)] = 0
    files: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.share < 1:
            raise UserError(f"splits.share={self.share} must lie between 0 and 1")


@dataclass(frozen=True)
class Statistics(Checked):
    """The settings of the statistics."""

    fit: Literal["logistic4", "official"] = "logistic4"
    equivalence: float | None = None
    seed: Annotated[int, Least(0)] = 0
    splits: Splits = field(default_factory=Splits)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.equivalence is not None and not self.equivalence > 0:
            raise UserError(f"equivalence={self.equivalence} must be a number above 0, such as 0.01")


Width = Literal["column", "page"]


@dataclass(frozen=True)
class Style(Checked, key="style"):
    """The look of figures.

    Args:
        width: printed width: a column, or the text of a two-column page. font: a font family, such as Times New Roman.
        title: the caption's first sentence stands above each figure.
    """

    width: Width = "page"
    font: str = ""
    title: bool = False


@dataclass(frozen=True)
class Output(Checked):
    """The files of a run.

    Args:
        out: their folder; by default one of the run's own name. name: of the method, for tables and figures.
    """

    out: str | None = None
    name: str = ""
    views_file: bool = False
    figures: bool = True
    statistics: Literal["main", "all"] = "main"
    style: Style = field(default_factory=Style)


PARTS = {"method": Method, "source": Source, "machine": Machine, "statistics": Statistics, "output": Output}
_PART_OF = {f.name: part for part, kind in PARTS.items() for f in fields(kind)}


def _by_part(keys: Mapping[str, Any]) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Return flat keys by the part of a config that has them, and the others."""
    parts: dict[str, dict[str, Any]] = {}
    for key in keys.keys() & _PART_OF.keys():
        parts.setdefault(_PART_OF[key], {})[key] = keys[key]
    return parts, {key: value for key, value in keys.items() if key not in _PART_OF}


@dataclass(frozen=True)
class RunConfig(Checked):
    """The config of a command: the keys of ``conf/config.yaml`` in five parts.

    Args:
        ablation, experiment: a study's own config. launcher: where its work runs.
        choices: the name of the option of each config group. changed: what differs from what those options' files
            say. config: all keys, resolved, for the record. study: the study's option, and what was changed of it.
    """

    method: Method
    source: Source
    machine: Machine
    statistics: Statistics = field(default_factory=Statistics)
    output: Output = field(default_factory=Output)
    ablation: Any = None
    experiment: Any = None
    launcher: Any = None
    choices: dict[str, str] = field(default_factory=dict)
    changed: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    study: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, keys: Mapping[str, Any], **more: Any) -> "RunConfig":
        """Make a config from flat keys, as they are typed.

        Raises:
            UserError: a key that does not exist, or a value that its part refuses.
        """
        parts, own = _by_part(keys)
        for key in own:
            if key not in ("ablation", "experiment", "launcher"):
                raise UserError(f"{key}: no such key in the config")
        made = {part: kind(**parts.get(part, {})) for part, kind in PARTS.items()}
        return cls(**made, **own, **more)

    def get(self, key: str) -> Any:
        """Return the value of a key, named as it is typed.

        Example: ``job.get("pooling")`` is ``job.method.pooling``.
        """
        return getattr(getattr(self, _PART_OF[key]), key)

    def having(self, **keys: Any) -> "RunConfig":
        """Return the same config with other values for some keys or fields.

        Raises:
            UserError: a value that its part refuses.
        """
        parts, own = _by_part(keys)
        changed = {part: replace(getattr(self, part), **values) for part, values in parts.items()}
        return replace(self, **changed, **own)

    @property
    def name(self) -> str:
        """Return a readable name with a hash of all that shapes the results."""
        shown = [
            self.choices.get(g, "")
            for g in ("dataset", "backbone", "prompts", "views", "magnitude", "fusion")
        ]
        shaping = {k: v for k, v in self.config.items() if k not in MACHINE}
        data = self.config.get("dataset")
        # a folder is its root, a set is not
        if isinstance(data, dict) and not isinstance(self.source.dataset, Folder):
            shaping["dataset"] = {k: v for k, v in data.items() if k != "root"}
        prompts = self.method.prompts
        path = prompts.context or prompts.features
        if (
            path and expanded(path).is_file() and (learned := read_learned(prompts))
        ):  # its tensors, wherever they lie
            shaping["prompts"] = self.config["prompts"] | {"context": None, "features": learned.sha256}
        digest = hashlib.sha256(json.dumps(shaping, sort_keys=True, default=str).encode()).hexdigest()
        return "-".join([*filter(None, shown), digest[:8]])

    @property
    def folder(self) -> Path:
        """Return the folder of the results."""
        return expanded(self.output.out) if self.output.out else Path("results/runs") / self.name


PLACES = (
    "root",
    "annotation",
    "split_file",
    "checkpoint",
    "context",
    "statistics_from",
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
