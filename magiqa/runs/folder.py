"""Results folders: one command at a time writes whole files, and overwrites only files of magiqa."""

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pandas as pd

from magiqa.errors import UserError
from magiqa.runs.read import files_of
from magiqa.stop import unbroken

LOCK, MARK, STAGE = ".lock", ".writing.json", ".writing-"

RECORDS = ("record.json", "sweep.json", "comparison.json", "report.json", "paper.json")

ALONE = {"report.json", "paper.json"}  # of results that share no folder

_FORMULA = ("=", "+", "-", "@", "\t", "\r")

# an error of the disk that names no file, as Pillow and matplotlib pass it on, is of what is being written
_OF_THE_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO}


class ResultFolder:
    """The folder of a command's results, which stays as it was until ``record`` moves all files into it.

    The record holds the sha256 of each file and the rows of each table, so that a reader notices a file that was cut,
    changed or taken from another run. No write and no removal follows a link.

    Args:
        path: the folder; it is made if missing. command: its name, as `command_of` returns it.
        files: names that the command will write, so that a conflict shows before hours of work.
        record: the name of its record; records of several commands may lie in one folder.

    Raises:
        UserError: on entering, that it cannot be written, is being written by another command, or holds another
            command's record or one of the files from elsewhere; anywhere in the block, that the disk is full.

    Example:
        >>> import tempfile
        >>> with ResultFolder(Path(tempfile.mkdtemp()) / "run", "evaluate", ["scores.csv"]) as results:
        ...     results.csv("scores", pd.DataFrame({"image": ["a.png"], "q": [0.5]}))
        ...     results.record({"command": "evaluate"})["files"]["scores.csv"]["rows"]
        1
    """

    def __init__(
        self, path: Path, command: str, files: Collection[str] = (), *, record: str = "record.json"
    ) -> None:
        self.path, self.command, self.name = Path(path), command, record
        self._announced = {*files, record}
        self._rows: dict[str, dict[str, int]] = {}
        self.warnings: list[str] = []

    def __enter__(self) -> Self:
        from filelock import FileLock, Timeout

        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if (self.path / LOCK).is_symlink():
                raise UserError(f"{self.path / LOCK}: is a link, where magiqa keeps its lock; remove it")
            self._lock = FileLock(self.path / LOCK)
            self._lock.acquire(timeout=0)
        except Timeout:
            raise UserError(
                f"out={self.path}: another magiqa command is writing there; wait for it, or set out=DIR to another "
                "folder"
            ) from None
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            self._tidy()
            self._check(self._announced)
            self._stage = Path(tempfile.mkdtemp(prefix=STAGE, dir=self.path))
        except BaseException as error:
            self._unlock()
            if isinstance(error, OSError):
                raise self._unwritable(error) from error
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self._stage, ignore_errors=True)
        self._unlock()
        if isinstance(error, OSError) and self._ours(error):
            raise self._unwritable(error) from error

    def _unlock(self) -> None:
        with suppress(OSError):  # while it is held: filelock notices a file that has no name
            (self.path / LOCK).unlink()
        self._lock.release()

    def csv(self, name: str, table: pd.DataFrame, float_format: str | None = None) -> None:
        """Write a table as ``name.csv``, in full float precision by default."""
        table.to_csv(self.new(f"{name}.csv"), index=False, lineterminator="\n", float_format=float_format)
        self._rows[f"{name}.csv"] = {"rows": len(table)}
        self.warnings += formula_notes(f"{name}.csv", table)

    def text(self, name: str, text: str) -> None:
        """Write a file of text in UTF-8."""
        self.new(name).write_text(text, encoding="utf-8")

    def new(self, name: str) -> Path:
        """Return the path to write a file to, which ``record`` moves to its place in the folder."""
        (self._stage / name).parent.mkdir(parents=True, exist_ok=True)
        return self._stage / name

    def figure_path(self, name: str = "") -> Path:
        """Return the path to draw a figure to; without a name, the folder of all figures."""
        return self.new(f"figures/{name or 'x'}").parent / name

    @contextmanager
    def drawing(self, record: Mapping[str, Any]) -> Iterator[Path]:
        """Give the folder to draw figures into; if they fail, write the record with the tables alone."""
        try:
            yield self.figure_path()
        except BaseException:
            shutil.rmtree(self._stage / "figures", ignore_errors=True)
            self.record(record)
            raise

    def record(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Move all files to their places, with a record that lists them, and remove what an earlier record lists.

        Returns:
            The record as written: its ``warnings`` also hold what a reader of the tables must know.

        Raises:
            UserError: a file would overwrite one that no record there lists; the folder is as it was.
        """
        with unbroken():
            files = sorted(
                p.relative_to(self._stage).as_posix() for p in self._stage.rglob("*") if p.is_file()
            )
            self._check(files)
            warnings = [*record.get("warnings", []), *self.warnings]
            digests = {name: hashlib.sha256((self._stage / name).read_bytes()).hexdigest() for name in files}
            written = {
                **record,
                **({"warnings": warnings} if warnings else {}),
                "files": {name: {**self._rows.get(name, {}), "sha256": digests[name]} for name in files},
            }
            text = json.dumps(written, indent=1, default=str, allow_nan=False)
            self.new(self.name).write_text(text + "\n", encoding="utf-8")
            # with a run go the comparisons that were made of it
            records = [self.name, *(["comparison.json"] if self.name == "record.json" else [])]
            earlier = [name for name in _listed(self.path, *records) if name not in (*files, self.name)]
            os.replace(self._stage / self.name, self.path / MARK)
            # the old record goes before new files come: a folder that is half replaced is no result
            for name in [*earlier, self.name]:
                _remove(self.path, name)
            for name in files:
                (self.path / name).parent.mkdir(parents=True, exist_ok=True)
                os.replace(self._stage / name, self.path / name)
            os.replace(self.path / MARK, self.path / self.name)
        return written

    def _check(self, names: Collection[str]) -> None:
        other = command_of(self.path)
        if self.name in ("record.json", "sweep.json") and other not in (None, self.command):
            raise UserError(
                f"out={self.path}: holds the record of magiqa {other}, which magiqa {self.command} would overwrite; "
                "set out=DIR to another folder"
            )
        others = [r for r in RECORDS if r != self.name and {r, self.name} & ALONE]
        others = [r for r in others if _own_record(self.path / r)]
        if others:
            raise UserError(
                f"out={self.path}: holds {others[0]} of another command, and no two results share a folder; set "
                "out=DIR to another folder"
            )
        claimed = _listed(self.path, *RECORDS, self.name)
        for name in sorted(names):
            linked = next((p for p in (self.path / name).parents if p != self.path and p.is_symlink()), None)
            if linked is not None and linked.is_relative_to(self.path):
                raise UserError(
                    f"{linked}: is a link, and results are written into no link; remove it, or set out=DIR to another "
                    "folder"
                )
            if os.path.lexists(self.path / name) and name not in claimed:
                raise UserError(
                    f"{self.path / name}: would be overwritten, and no record there says that magiqa wrote it; move "
                    "it, or set out=DIR to another folder"
                )

    def _tidy(self) -> None:
        """Remove what a killed command left: files that no record lists, and those not yet in their places."""
        for name in {*_listed(self.path, MARK)} - {*_listed(self.path, *RECORDS, self.name)}:
            _remove(self.path, name)
        for stage in self.path.glob(f"{STAGE}*"):
            shutil.rmtree(stage, ignore_errors=True)  # which follows no link

    def _ours(self, error: OSError) -> bool:
        if error.filename is None:
            return error.errno in _OF_THE_DISK
        return Path(os.fsdecode(error.filename)).is_relative_to(self.path)

    def _unwritable(self, error: OSError) -> UserError:
        return UserError(
            f"out={self.path}: cannot be written ({error.strerror or error}); set out=DIR to a folder of yours with "
            "room"
        )


def formula_notes(name: str, table: pd.DataFrame) -> list[str]:
    """Return a note on the texts of a table that a spreadsheet would run as formulas; a CSV keeps them as they are."""
    texts = [table[c].dropna().unique() for c in table if table[c].dtype.kind not in "fiub"]
    cells = [*table.columns, *(cell for column in texts for cell in column)]
    starts = pd.Series([c for c in cells if isinstance(c, str) and c[:1] in _FORMULA], dtype=object)
    formulas = starts[pd.to_numeric(starts, errors="coerce").isna()].tolist()
    note = f"{name}: a spreadsheet would run {len(formulas)} cells as formulas, such as {formulas[:1]}; import as text"
    return [note] if formulas else []


def command_of(folder: Path) -> str | None:
    """Return the command whose record a folder holds, with its ablation or experiment; None without a record."""
    record = _own_record(folder / "record.json") or _own_record(folder / "sweep.json")
    studies = {s: record[s] for s in ("ablation", "experiment") if isinstance(record.get(s), dict)}
    named = [f" {study}={about.get('name')}" for study, about in studies.items()]
    return str(record.get("command")) + "".join(named) if record else None


def _own_record(file: Path) -> dict[str, Any]:
    """Return a record that magiqa wrote, and nothing for any other file."""
    try:
        record = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        return record if isinstance(record, dict) and "magiqa" in record else {}
    except (OSError, ValueError, RecursionError):
        return {}


def _listed(folder: Path, *records: str) -> list[str]:
    """Return the names of records of a folder that magiqa wrote, and the files that they list."""
    contents = {name: _own_record(folder / name) for name in records}
    return [file for name, content in contents.items() if content for file in (name, *files_of(content))]


def _remove(folder: Path, name: str) -> None:
    """Remove a file, never what lies behind a link, and the folders below ours that it leaves empty."""
    parents = [p for p in (folder / name).parents if p != folder and p.is_relative_to(folder)]
    if any(p.is_symlink() for p in parents):
        return
    with suppress(FileNotFoundError, IsADirectoryError, NotADirectoryError):
        (folder / name).unlink()
    for parent in parents:
        with suppress(OSError):
            parent.rmdir()
