"""Records: made while a command runs, typed and checked when they are read.

Records travel between people. A key that is missing, or holds something of another kind, is told with the file's name
and its own; keys that are not known here are let through, and a number passes for text.
"""

import json
import os
import platform
import stat
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, TypeVar

from magiqa import __version__
from magiqa.checked import Least, Parsed
from magiqa.errors import UserError
from magiqa.runs.config import RunConfig

RECORD_BYTES = 256 << 20

_AGAIN = "run the command that wrote it again"

Count = Annotated[int, Least(0)]

P = TypeVar("P", bound=Parsed)


@dataclass(frozen=True, kw_only=True)
class Skipped(Parsed):
    """An image that was left out, with the reason."""

    image: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class LabelFacts(Parsed):
    """The fields of `magiqa.datasets.base.Labels` other than its table."""

    name: str
    label: str
    variant: str = ""
    higher_is_better: bool | None = None
    cluster: str | None = None
    expected: Count | None = None
    every: Annotated[int, Least(1)] = 1
    layout: str = ""
    notes: tuple[str, ...] = ()
    page: str = ""

    def facts(self) -> dict[str, Any]:
        """Return the fields, as `Labels` takes them."""
        return {f.name: getattr(self, f.name) for f in fields(LabelFacts)}


@dataclass(frozen=True, kw_only=True)
class DataSet(LabelFacts):
    """The data set of a run."""

    n: Count
    root: str = ""
    fingerprint: str = ""
    images_sha256: str = ""
    resize: Mapping[str, Any] | None = None
    skipped: tuple[Skipped, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Bone(Parsed):
    """The backbone of a run, with its weights: see `magiqa.backbones.weights.Weights.record`."""

    name: str
    label: str | None
    kind: str = ""
    pretrained: str | None = None
    weights_sha256: str = ""
    source: str = ""
    positional_embedding: str = "drop"


@dataclass(frozen=True, kw_only=True)
class Engine(Parsed):
    """The engine that encoded."""

    engine: str = ""
    precision: str = "fp32"
    device: str = ""


@dataclass(frozen=True, kw_only=True)
class Listed(Parsed):
    """A file beside a record."""

    sha256: str
    rows: Count | None = None


@dataclass(frozen=True, kw_only=True)
class Fit(Parsed):
    """A logistic fitted to a score."""

    status: str = ""
    params: tuple[float, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class RunSettings(Parsed):
    """The keys of a recorded config that are read without instantiating it."""

    dataset: Mapping[str, Any] | None = None
    pooling: Any = "mean"
    seed: Count | None = None


@dataclass(frozen=True, kw_only=True)
class Ablation(Parsed):
    """The result of an ablation."""

    name: str
    reference: str
    lacking: Mapping[str, str] = field(default_factory=dict)
    parameter: str | None = None
    best: str = ""
    score: str = "q"


@dataclass(frozen=True, kw_only=True)
class Experiment(Parsed):
    """An experiment's name, notes and captions."""

    name: str
    notes: tuple[str, ...] = ()
    captions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Chosen(Parsed):
    """A name, and the options that were chosen and changed."""

    name: str = ""
    choices: Mapping[str, str] = field(default_factory=dict)
    changed: Mapping[str, Any] = field(default_factory=dict)
    study: Mapping[str, Any] = field(default_factory=dict)
    backbone: Bone | None = None
    engine: Engine | None = None


@dataclass(frozen=True, kw_only=True)
class Compared(Chosen):
    """A method of a comparison: the source of its scores, and the config of a run."""

    source: str = ""
    note: str = ""
    choice: str = ""
    score: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class External(Parsed):
    """Scores of another program."""

    method: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Record(Chosen):
    """A command's record."""

    magiqa: str = ""
    command: str = ""
    config: RunSettings | None = None
    dataset: DataSet | None = None
    views: Mapping[str, Any] = field(default_factory=dict)
    cache: Mapping[str, Any] = field(default_factory=dict)
    fits: Mapping[str, Fit] = field(default_factory=dict)
    versions: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    files: Mapping[str, Listed] = field(default_factory=dict)
    ablation: Ablation | None = None
    experiment: Experiment | None = None
    external: External | None = None
    methods: tuple[Compared, ...] | None = None
    score: str | None = None
    seed: Count | None = None


@dataclass(frozen=True, kw_only=True)
class RunRecord(Record):
    """The record of ``magiqa evaluate``: without these keys a run cannot be shown or compared."""

    dataset: DataSet = field()
    backbone: Bone = field()
    files: Mapping[str, Listed] = field()


def read_as(kind: type[P], value: Any, where: str) -> P:
    """Return JSON as an object of a class.

    Args:
        where: its file, for messages.

    Raises:
        UserError: names the file, the key and what is wrong, in one line.
    """
    try:
        # halves of characters and infinite numbers are told, too
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        return kind.of(value)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: {' '.join(str(error).split())[:300]}; {_AGAIN}") from None


def load_record(file: Path) -> Record:
    """Read a record's file; the record of ``magiqa evaluate`` is a `RunRecord`.

    Raises:
        UserError: it is no plain file of JSON, or holds what a record may not.
    """
    try:
        status = os.stat(file)
        if not stat.S_ISREG(status.st_mode) or status.st_size > RECORD_BYTES:
            raise ValueError("no plain file, or too large for a record")
        record = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{file}: not readable as JSON ({reason}); {_AGAIN}") from None
    run = isinstance(record, Mapping) and record.get("command") == "evaluate"
    made = read_as(RunRecord if run else Record, record, str(file))
    if made.command in ("ablate", "experiment"):
        lacking = [
            key
            for key in (made.command.replace("ablate", "ablation"), "backbone", "dataset")
            if key not in made
        ]
        if lacking:
            raise UserError(f"{file}: {lacking[0]} is missing; {_AGAIN}")
    return made


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
