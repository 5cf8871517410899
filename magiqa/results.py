"""Runs and ablations read back from their folders, and the names their methods, backbones and data sets go by."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from magiqa.errors import UserError
from magiqa.job import MACHINE
from magiqa.typeset import slug

CUES = ("q_sim", "q_mag", "q")
PLACES = ("root", "annotation", "checkpoint")  # where something lies, not what it is
CONTROLS = {"laplacian": "Laplacian variance (control)", "bytes": "file bytes (control)"}


@dataclass(frozen=True)
class Run:
    """A run's folder, read."""

    name: str
    folder: Path
    record: dict[str, Any]
    scores: pd.DataFrame
    agreement: pd.DataFrame
    groups: pd.DataFrame | None

    @property
    def label(self) -> str:
        """The label's column."""
        return str(self.record["dataset"]["label"])


@dataclass(frozen=True)
class Sheet:
    """A CSV of an ablation's folder, or of any other that holds a record.

    Args:
        name: of the table. result: of the folder.
    """

    name: str
    result: str
    file: Path
    record: dict[str, Any]
    table: pd.DataFrame
    ablation: bool


def read(folders: Sequence[Path]) -> tuple[list[Run], list[Sheet]]:
    """Read run folders, ablation folders, and folders of them (the folder of a sweep).

    Raises:
        UserError: a folder that holds none of them, or whose files cannot be read.
    """
    found: list[Path] = []
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise UserError(
                f"{folder}: no such folder; give folders written by magiqa evaluate or magiqa ablate"
            )
        inside = sorted((path.parent for path in folder.rglob("record.json")), key=_order)
        if not inside:
            raise UserError(
                f"{folder}: holds no record.json; give folders written by magiqa evaluate or magiqa ablate"
            )
        found += [path for path in inside if path not in found]
    runs: list[Run] = []
    sheets: list[Sheet] = []
    taken: set[str] = set()
    for folder in found:
        record = _json(folder / "record.json")
        name = slug(_shown(record) or folder.name)
        name = next(n for n in (name, *(f"{name}-{k}" for k in range(2, 10_000))) if n not in taken)
        taken.add(name)
        if record.get("command") == "evaluate":
            runs.append(_run(name, folder, record))
            continue
        files = (
            [folder / "ablation.csv"] if record.get("command") == "ablate" else sorted(folder.glob("*.csv"))
        )
        for file in files:
            ablation = file.name == "ablation.csv"
            sheet = name if ablation else f"{name}-{slug(file.stem)}"
            sheets.append(Sheet(sheet, name, file, record, _csv(file), ablation))
    return runs, sheets


def _shown(record: Mapping[str, Any]) -> str:
    """A record's name without its hash, which depends on where the data set lies: tables must not."""
    return re.sub(r"-[0-9a-f]{8}$", "", str(record.get("name") or ""))


def _order(folder: Path) -> tuple[str, str, Path]:
    """Sorts results by what they are, then by where they lie."""
    record = _json(folder / "record.json")
    config = record.get("config")
    return (
        _shown(record),
        json.dumps(portable(config) if isinstance(config, dict) else None, sort_keys=True),
        folder,
    )


def portable(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config without what belongs to one machine: paths keep their last part."""

    def strip(key: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {k: strip(k, v) for k, v in value.items()}
        if not isinstance(value, str):
            return value
        return Path(value).name if key in PLACES else plain_name(value)

    return {k: strip(k, v) for k, v in config.items() if k not in (*MACHINE, "ablation", "experiment")}


def plain_name(name: str) -> str:
    """A backbone's name, of a local folder only its last part.

    Example:
        >>> plain_name("local-dir:/home/me/clip"), plain_name("local-dir:clip"), plain_name("RN50")
        ('local-dir:clip', 'local-dir:clip', 'RN50')
    """
    folder = name.removeprefix("local-dir:")
    return name if folder == name else f"local-dir:{Path(folder).name}"


def occurrences(names: Iterable[str]) -> list[tuple[str, int]]:
    """Names, each with how often it came before: a set may annotate one image twice.

    Example:
        >>> occurrences(["a", "b", "a"])
        [('a', 0), ('b', 0), ('a', 1)]
    """
    seen: Counter[str] = Counter()
    out = []
    for name in names:
        out.append((name, seen[name]))
        seen[name] += 1
    return out


def _run(name: str, folder: Path, record: dict[str, Any]) -> Run:
    data = record.get("dataset", {})
    for key in ("name", "label", "n"):
        if key not in data:
            raise UserError(
                f"{folder}/record.json: dataset.{key} is missing; run magiqa evaluate again with out={folder}"
            )
    scores, agreement = _csv(folder / "scores.csv"), _csv(folder / "agreement.csv")
    for table, file, columns in (
        (scores, "scores.csv", ("image", data["label"], *CUES)),
        (agreement, "agreement.csv", ("score", "statistic", "value", "ci_low", "ci_high", "n")),
    ):
        missing = [column for column in columns if column not in table]
        if missing:
            raise UserError(
                f"{folder}/{file}: the column {missing[0]} is missing; run magiqa evaluate again with out={folder}"
            )
    groups = _csv(folder / "groups.csv") if (folder / "groups.csv").is_file() else None
    return Run(name, folder, record, scores, agreement, groups)


def _json(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: not readable as JSON ({error}); run the command that wrote it again"
        ) from None
    if not isinstance(record, dict):
        raise UserError(f"{path}: holds no record; run the command that wrote it again")
    return record


def _csv(path: Path) -> pd.DataFrame:
    # names such as "NA" or "null" are names: only numbers' columns may be empty
    text = {"image": str, "group": str, "reference": str, "prompt": str, "split": str, "variant": str}
    try:
        return pd.read_csv(path, dtype=text, keep_default_na=False, na_values=_NUMERIC_NA)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: not readable as CSV ({' '.join(str(error).split())}); run the command that wrote it again"
        ) from None


_NUMERIC_NA = [""]


def option(record: Mapping[str, Any], group: str) -> str:
    """The option of a config group, with every parameter that differs from the packaged option's own file."""
    chosen = str(record.get("choices", {}).get(group, ""))
    config = record.get("config", {}).get(group)
    if not isinstance(config, Mapping):
        return chosen
    changed = [
        f"{key}={config[key]}"
        for key, value in _packaged(group, chosen).items()
        if key in config and key not in PLACES and config[key] != value
    ]
    return f"{chosen}({', '.join(changed)})" if changed else chosen


def _packaged(group: str, name: str) -> dict[str, Any]:
    """A packaged option's own values, those of the options that it builds on included; empty if there is none."""
    import yaml

    from magiqa.cli import conf_dir

    file = conf_dir() / group / f"{name}.yaml"
    own = (yaml.safe_load(file.read_text()) or {}) if file.is_file() else {}
    out: dict[str, Any] = {}
    for base in own.pop("defaults", []):
        out |= _packaged(group, base) if base != "_self_" else {}
    for key, value in own.items():
        both = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = out[key] | value if both else value
    return out


def method(record: Mapping[str, Any], score: str) -> str:
    """The name of a run's method: what makes this score, and nothing that does not.

    The similarity cue does not depend on magnitude or fusion, the magnitude cue not on prompts or fusion.
    """
    if score in CONTROLS:
        return CONTROLS[score]
    prompts, views, magnitude, fusion = (
        option(record, g) for g in ("prompts", "views", "magnitude", "fusion")
    )
    config = record.get("config", {})
    extra = []
    if config.get("pooling", "mean") != "mean":
        extra.append(f"pooling {config['pooling']}")
    positional = record.get("backbone", {}).get("positional_embedding", "drop")
    if positional != "drop":
        extra.append(f"positional embedding {positional}")
    if not extra:
        known = {
            ("q", "maclip", "maclip", "boxcox", "adaptive"): "MA-CLIP",
            ("q_sim", "clipiqa", "whole"): "CLIP-IQA",
            ("q_sim", "maclip", "whole"): "CLIP-IQA, five pairs",
        }
        for key in ((score, prompts, views, magnitude, fusion), (score, prompts, views)):
            if key in known:
                return known[key]
    if score == "q_sim":
        what, parts = "similarity only", [f"prompts {prompts}", f"views {views}"]
    elif score == "q_mag":
        what, parts = "magnitude only", [magnitude, f"views {views}"]
    else:
        what, parts = "fused", [f"fusion {fusion}", f"prompts {prompts}", f"views {views}", magnitude]
    return f"{what} [{'; '.join([*(p for p in parts if p.split()[-1:] and p.strip()), *extra])}]"


def backbone(record: Mapping[str, Any]) -> str:
    """A backbone with its weights: their label where they have one.

    Example:
        >>> backbone({"backbone": {"name": "demo", "kind": "demo", "label": "demo weights"}})
        'demo (demo weights)'
        >>> backbone({"backbone": {"name": "RN50", "kind": "published", "pretrained": "openai", "label": None}})
        'RN50 (openai)'
    """
    bone = record.get("backbone", {})
    name, label = plain_name(str(bone.get("name", ""))), bone.get("label")
    if label:
        return f"{name} ({label})"
    if bone.get("kind") == "given":
        return f"{name} (given, sha256 {str(bone.get('weights_sha256', ''))[:8]})"
    return f"{name} ({bone['pretrained']})" if bone.get("pretrained") else name


def dataset(record: Mapping[str, Any]) -> str:
    """A data set with its variant, n, subset and, where it is not MOS, its label.

    Example:
        >>> dataset({"dataset": {"name": "koniq", "variant": "test", "n": 202, "every": 10, "label": "mos"}})
        'koniq test (n = 202, one row in 10)'
    """
    data = record["dataset"]
    name = " ".join(str(data[key]) for key in ("name", "variant") if data.get(key))
    if record.get("choices", {}).get("dataset") == "folder" and data.get("fingerprint"):
        name += f" {data['fingerprint'][:6]}"  # folders of one name are not one set
    facts = [f"n = {data['n']:,}"]
    if int(data.get("every") or 1) > 1:
        facts.append(f"one row in {data['every']}")
    if data.get("skipped"):
        facts.append(f"{len(data['skipped'])} skipped")
    if data.get("label") != "mos":
        facts.append(f"label {data['label']}, no MOS")
    return f"{name} ({', '.join(facts)})"


def long_table(runs: Sequence[Run]) -> pd.DataFrame:
    """Every statistic of every run, a row each, with the names of method, backbone and data set.

    Rows that show the same thing twice are left out: a fused score that equals one cue, a cue that two runs share.
    """
    parts = []
    for run in runs:
        table = run.agreement.copy()
        if np.array_equal(run.scores["q"], run.scores["q_sim"]) or np.array_equal(
            run.scores["q"], run.scores["q_mag"]
        ):
            table = table[table["score"] != "q"]
        names = {score: method(run.record, score) for score in table["score"].unique()}
        table.insert(0, "dataset", dataset(run.record))
        table.insert(1, "label", run.label)
        table.insert(2, "method", table["score"].map(names))
        control = table["score"].isin(list(CONTROLS))
        table.insert(3, "backbone", np.where(control, "", backbone(run.record)))
        table.insert(4, "run", run.name)
        parts.append(table)
    rows = pd.concat(parts, ignore_index=True)
    keys = ["dataset", "method", "backbone", "score", "statistic"]
    rows = rows[~rows.duplicated([*keys, "value"])]
    # what still collides differs in something that no name shows: the run's name tells
    twice = rows.duplicated(keys, keep=False)
    rows.loc[twice, "method"] = rows["method"] + " [" + rows["run"] + "]"
    return rows.reset_index(drop=True)
