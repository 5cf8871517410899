"""Read runs and ablations from their folders, the files that a record lists as they were written, and its names."""

import hashlib
import io
import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from magiqa.errors import UserError
from magiqa.runs.config import portable
from magiqa.runs.record import Record, RunRecord, load_record

CUES = ("q_sim", "q_mag", "q")

CONTROLS = {"laplacian": "Laplacian variance (control)", "bytes": "File size (control)"}


def option(record: Mapping[str, Any], group: str) -> str:
    """The option of a config group, with every key that the run changed of it.

    Example:
        >>> option({"choices": {"fusion": "adaptive"}, "changed": {"fusion.alpha": 2}}, "fusion")
        'adaptive(alpha=2)'
    """
    chosen = str(record.get("choices", {}).get(group, ""))
    changed = [
        f"{key.removeprefix(f'{group}.')}={value}"
        for key, value in record.get("changed", {}).items()
        if key.startswith(f"{group}.")
    ]
    return f"{chosen}({', '.join(changed)})" if changed else chosen


def pooling(config: Mapping[str, Any]) -> str:
    """Return the pooling over views in words; empty for the mean.

    Example:
        >>> pooling({"pooling": "median"}), pooling({"pooling": {"_target_": "mine.Trimmed", "share": 0.1}})
        ('median', 'Trimmed(share=0.1)')
    """
    how = config.get("pooling", "mean")
    if isinstance(how, Mapping):
        own = ", ".join(f"{key}={value}" for key, value in how.items() if not key.startswith("_"))
        return str(how.get("_target_", "")).rpartition(".")[2] + (f"({own})" if own else "")
    return "" if how == "mean" else str(how)


def slug(name: str) -> str:
    """A file name: letters, digits, dots, dashes.

    Example:
        >>> slug("AGIQA 3K/é: 1")
        'AGIQA_3K_1'
    """
    return re.sub(r"[^A-Za-z0-9.-]+", "_", name).strip("._") or "run"


def is_below(name: object) -> bool:
    """Return whether a name that a record lists is that of a file below its folder."""
    if not isinstance(name, str) or not name or "\0" in name:
        return False
    return not Path(name).is_absolute() and ".." not in Path(name).parts


def files_of(record: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what a record says of each file that it lists: its sha256, and a table's rows."""
    files = record.get("files")
    if not isinstance(files, Mapping):
        return {}
    return {
        name: dict(about) for name, about in files.items() if is_below(name) and isinstance(about, Mapping)
    }


def written(folder: Path, record: str = "record.json") -> str:
    """Return a command's last lines: the folder, and the files and folders in it that its record lists.

    Raises:
        UserError: no such record, or it cannot be read.
    """
    names = [*files_of(load_record(Path(folder) / record)), record]
    tops = {first + "/" * bool(rest) for first, rest in (name.partition("/")[::2] for name in names)}
    line = f"{folder}/: {', '.join(sorted(tops, key=lambda name: (name.endswith('/'), name)))}"
    return textwrap.fill(line, 80, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def read_listed(folder: Path, record: Mapping[str, Any], name: str) -> bytes:
    """Return a file's bytes, exactly those that its record was written with.

    Raises:
        UserError: no such file, or the record does not list it; it was cut short, changed, or is another run's.
    """
    path = folder / name
    about = files_of(record).get(name)
    if about is None:
        raise UserError(f"{path}: the record beside it does not list it; run the command that wrote it again")
    try:
        data = path.read_bytes() if path.is_file() else None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); make it readable") from None
    if data is None:
        raise UserError(f"{path}: no such file, and the record lists it; run the command that wrote it again")
    if hashlib.sha256(data).hexdigest() != about.get("sha256"):
        lines = max(0, data.count(b"\n") - 1)
        rows = about.get("rows")
        short = f", {rows} rows there, {lines} here" if rows not in (None, lines) else ""
        raise UserError(
            f"{path}: is not what its record says (other sha256{short}): cut short, changed or of another run; run the "
            "command that wrote it again"
        )
    return data


@dataclass(frozen=True)
class Run:
    """A run, read from its folder."""

    name: str
    folder: Path
    record: RunRecord
    scores: pd.DataFrame
    agreement: pd.DataFrame
    groups: pd.DataFrame | None

    @property
    def label(self) -> str:
        """Return the name of the label's column."""
        return self.record.dataset.label


@dataclass(frozen=True)
class Sheet:
    """A CSV of an ablation's folder, or of any other that holds a record.

    Args:
        name: of the table. result: of the folder.
    """

    name: str
    result: str
    file: Path
    record: Record
    table: pd.DataFrame
    ablation: bool


def read(folders: Sequence[Path]) -> tuple[list[Run], list[Sheet]]:
    """Read run folders, ablation folders, and folders of them (the folder of a sweep).

    Raises:
        UserError: a folder that holds none of them, or whose files cannot be read.
    """
    files: dict[Path, None] = {}
    for folder in map(Path, folders):
        inside = sorted(folder.rglob("record.json"), key=_order) if folder.is_dir() else []
        if not inside:
            lack = "holds no record.json" if folder.is_dir() else "no such folder"
            raise UserError(f"{folder}: {lack}; give folders written by magiqa evaluate or magiqa ablate")
        files |= dict.fromkeys(inside)
    # records beside another command's: of comparisons, and of one data set left out
    beside = {p for pattern in _BESIDE for folder in folders for p in Path(folder).rglob(pattern)}
    runs: list[Run] = []
    sheets: list[Sheet] = []
    names: set[str] = set()
    for file in [*files, *sorted(beside, key=lambda p: (p.name != "comparison.json", p))]:
        record, folder = load_record(file), file.parent
        own = folder.name if file.name == "record.json" else file.stem
        name = _unique(slug(_without_hash(record.name) or own), names)
        if isinstance(record, RunRecord):
            runs.append(_run(name, folder, record))
            continue
        tables = sorted(n for n in files_of(record) if n.endswith(".csv") and "/" not in n)
        for table in ["ablation.csv"] if record.command == "ablate" else tables:
            whole = table == "ablation.csv" or file in beside
            sheet = name if whole else f"{name}-{slug(Path(table).stem)}"
            content = _csv(folder, record, table)
            sheets.append(Sheet(sheet, name, folder / table, record, content, table == "ablation.csv"))
    return runs, sheets


_BESIDE = ("comparison.json", "*-left_out.json")


def _unique(name: str, names: set[str]) -> str:
    """Return a name that is not among the names yet, whatever its case (some disks know none), and add it."""
    unique = next(n for n in (name, *(f"{name}-{k}" for k in range(2, 10_000))) if n.casefold() not in names)
    names.add(unique.casefold())
    return unique


def _without_hash(name: str) -> str:
    """Return a record's name without its hash, which depends on the place of the data set: tables must not."""
    return re.sub(r"-[0-9a-f]{8}$", "", name)


def _order(file: Path) -> tuple[str, str, Path]:
    """Return the sort key of a record: what it is, then where it lies."""
    record = load_record(file)
    config = json.dumps(portable(record.given.get("config", {})), sort_keys=True)
    return _without_hash(record.name), config, file


def _run(name: str, folder: Path, record: RunRecord) -> Run:
    label = record.dataset.label
    columns = {
        "scores.csv": ("image", label, *CUES),
        "agreement.csv": _STATISTICS,
        "groups.csv": ("group", *_STATISTICS),
    }
    tables: dict[str, pd.DataFrame] = {}
    for file, needed in columns.items():
        if file != "groups.csv" or file in files_of(record):
            tables[file] = _csv(folder, record, file)
            _check_columns(tables[file], folder / file, needed)
    _check_numbers(tables["scores.csv"], folder / "scores.csv", (label, *CUES), finite=True)
    return Run(name, folder, record, tables["scores.csv"], tables["agreement.csv"], tables.get("groups.csv"))


_STATISTICS = ("score", "statistic", "value", "ci_low", "ci_high", "n")


def _check_columns(table: pd.DataFrame, file: Path, columns: Sequence[str]) -> None:
    if missing := [column for column in columns if column not in table]:
        raise UserError(f"{file}: the column {missing[0]} is missing; run magiqa evaluate again")


def _csv(folder: Path, record: Mapping[str, Any], name: str) -> pd.DataFrame:
    return read_table(folder / name, read_listed(folder, record, name))


_SLACK = 1 << 20  # names may hold line breaks


def read_table(file: Path, data: bytes | None = None) -> pd.DataFrame:
    """Read a table that a command wrote, from its file or its bytes, and check its columns of numbers.

    Raises:
        UserError: it is no such table; names file and column.
    """
    # names such as "NA" or "null" are names: only numbers' columns may be empty
    text = {"image": str, "group": str, "reference": str, "prompt": str, "split": str, "variant": str}
    try:
        content = file.read_bytes() if data is None else data
        columns = max(line.count(b",") for line in content.split(b"\n", 2)[:2])
        if columns * content.count(b"\n") > len(content) + _SLACK:  # pandas fills up rows that are too short
            raise ValueError(f"its rows have fewer cells than its {columns + 1} columns")
        table = pd.read_csv(io.BytesIO(content), dtype=text, keep_default_na=False, na_values=[""])
        _check_numbers(table, file)
        return table
    except UserError:
        raise
    except (ValueError, RecursionError, OverflowError) as error:
        raise UserError(
            f"{file}: not readable as CSV ({' '.join(str(error).split())}); run the command that wrote it again"
        ) from None


def read_record(folder: Path) -> RunRecord:
    """Return a run's record.

    Raises:
        UserError: the folder is none that ``magiqa evaluate`` wrote, or the record lacks what a rerun needs.
    """
    record = _run_record(folder)
    needed = {
        "dataset.fingerprint": record.dataset.fingerprint,
        "dataset.images_sha256": record.dataset.images_sha256,
        "backbone.weights_sha256": record.backbone.weights_sha256,
        **{key: key in record.given for key in ("config", "choices", "changed")},
    }
    for key, value in needed.items():
        if not value:
            raise UserError(
                f"{folder / 'record.json'}: {key} is missing; run the command that wrote it again"
            )
    return record


def read_run(folder: Path) -> tuple[pd.DataFrame, RunRecord]:
    """Return a run's scores and record.

    Raises:
        UserError: the folder is none that ``magiqa evaluate`` wrote.
    """
    record = _run_record(folder)
    run = _run(folder.name, folder, record)
    _check_columns(run.scores, folder / "scores.csv", list(CONTROLS))
    return run.scores, record


def _run_record(folder: Path) -> RunRecord:
    file = folder / "record.json"
    record = load_record(file) if file.exists() else None
    if not isinstance(record, RunRecord):
        raise UserError(f"{folder}: no run's folder; give one that holds the record.json of magiqa evaluate")
    return record


_NUMBERS = re.compile(
    r"(srcc|krcc|plcc|plcc_logistic|diff|value|change|q|q_sim|q_mag)(_within)?(_low|_high)?|w_sim|n|"
    r"(ci|ci_simultaneous|ci_groups|loo_group)_(low|high)|p|p_adjusted|detectable|level|mos_std|ratings|width|height|bytes|laplacian"
)


def _check_numbers(
    table: pd.DataFrame, file: Path, columns: Sequence[str] | None = None, finite: bool = False
) -> None:
    """Check that columns hold numbers; without ``columns`` those with a number's name.

    Raises:
        UserError: names the file, the column and the first cell that is none.
    """
    for column in [c for c in table if _NUMBERS.fullmatch(str(c))] if columns is None else columns:
        values = table[column]
        plain = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
        truths = values.map(lambda value: isinstance(value, bool))  # which pandas would take for 1
        numbers = values if plain else pd.to_numeric(values.astype(object).mask(truths, "-"), errors="coerce")
        bad = (
            ~np.isfinite(numbers.to_numpy(float)) if finite else (numbers.isna() & values.notna()).to_numpy()
        )
        if bad.any():
            raise UserError(
                f"{file}: column {column} holds {str(values[bad].iloc[0])[:60]!r}, no {'finite ' if finite else ''}"
                "number; run the command that wrote it again"
            )
        if not plain:  # numbers too large for a kind of NumPy's
            table[column] = numbers.astype(float)
