"""A results folder: one command at a time writes there, whole files only, and nothing of anybody else's."""

import errno
import hashlib
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pandas as pd

from magiqa import __version__
from magiqa.errors import UserError
from magiqa.runs.listed_files import is_below
from magiqa.stop import unbroken

LOCK, MARK, STAGE = ".lock", ".writing.json", ".writing-"

RECORDS = ("record.json", "sweep.json", "comparison.json", "report.json", "paper.json")

_FORMULA = ("=", "+", "-", "@", "\t", "\r")

# an error of the disk that names no file, as Pillow and matplotlib pass it on, is of what is being written
_OF_THE_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO}


class ResultFolder:
    """A command's results: written beside their places, then moved there with the record that lists them.

    Until ``record`` the folder is as it was. The record holds each file's sha256, and a table's rows, so that a reader
    knows a file that was cut, changed or mixed with another run's. No write and no removal follows a link.

    Args:
        path: the folder; made if missing. command: as ``command_of`` names it.
        files: names that it will write, so that a conflict is known before hours of work.
        record: the name of its record; those of several commands may lie in one folder.

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
        self._rows: dict[str, int] = {}
        self._warnings: list[str] = []
        self._files: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> Self:
        from filelock import FileLock, Timeout

        self._check(self._announced)
        with self._said():
            self.path.mkdir(parents=True, exist_ok=True)
            if (self.path / LOCK).is_symlink():
                raise UserError(f"{self.path / LOCK}: is a link, where magiqa keeps its lock; remove it")
            self._lock = FileLock(self.path / LOCK)
            try:
                self._lock.acquire(timeout=0)
            except Timeout:
                raise UserError(
                    f"out={self.path}: {_writer(self.path)} is writing there; wait for it, or set out=DIR to another "
                    "folder"
                ) from None
        try:
            with self._said():
                self._tidy()
                self._check(self._announced)
                self._stage = Path(tempfile.mkdtemp(prefix=STAGE, dir=self.path))
                self._mark([])
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self._stage, ignore_errors=True)
        for name in (MARK, LOCK):  # the lock's file while it is held: filelock notices one that has no name
            with suppress(OSError):
                (self.path / name).unlink()
        self._lock.release()
        if isinstance(error, OSError) and self._ours(error):
            raise self._unwritable(error) from error

    def csv(self, name: str, table: pd.DataFrame, float_format: str | None = None) -> None:
        """A table as ``name.csv``, full float precision unless told, the same bytes for the same values."""
        with self._said():
            table.to_csv(self.new(f"{name}.csv"), index=False, lineterminator="\n", float_format=float_format)
        self._rows[f"{name}.csv"] = len(table)
        formulas = _formulas(table)
        if formulas:
            self._warnings.append(
                f"{name}.csv: {len(formulas)} cells, such as {formulas[0]!r}, are what a spreadsheet would run as "
                "formulas; import these columns as text"
            )

    def text(self, name: str, text: str) -> None:
        """A file of text, UTF-8."""
        with self._said():
            self.new(name).write_text(text, encoding="utf-8")

    def new(self, name: str) -> Path:
        """Where to write a file, which ``record`` moves to its place in the folder."""
        with self._said():
            (self._stage / name).parent.mkdir(parents=True, exist_ok=True)
        return self._stage / name

    def figure_path(self, name: str = "") -> Path:
        """Where to draw a figure of that name; without a name, the folder of all figures."""
        return self.new(f"figures/{name}" if name else "figures/x").parent / name

    def record(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Move what was written into its place, with the record, which lists all of it as ``files``.

        The first time it also removes what the command's earlier record lists: no two runs mix. What a reader of the
        tables must know of them is added to the record's list of warnings, the caller's own.

        Returns:
            The record as written.

        Raises:
            UserError: a file would overwrite one that no record there lists; the folder is as it was.
        """
        with unbroken(), self._said():
            staged = sorted(
                p.relative_to(self._stage).as_posix() for p in self._stage.rglob("*") if p.is_file()
            )
            self._check(staged)
            new = {name: self._described(name) for name in staged}
            said = record.get("warnings", [])
            said += [one for one in self._warnings if one not in said]
            found = {
                **record,
                **({"warnings": said} if said else {}),
                "files": dict(sorted((self._files | new).items())),
            }
            self.new(self.name).write_text(
                json.dumps(found, indent=1, default=str, allow_nan=False) + "\n", encoding="utf-8"
            )
            earlier = [] if self._files else [n for n in _earlier(self.path, self.name) if n not in new]
            self._mark([*staged, *earlier, self.name])
            if not self._files:  # without its record, what is half replaced is known for no result
                _remove(self.path, self.name)
            for name in earlier:
                _remove(self.path, name)
            for name in [*staged, self.name]:
                (self.path / name).parent.mkdir(parents=True, exist_ok=True)
                os.replace(self._stage / name, self.path / name)
            self._files |= new
        return found

    def _described(self, name: str) -> dict[str, Any]:
        rows = {"rows": self._rows[name]} if name in self._rows else {}
        with open(self._stage / name, "rb") as file:
            return {**rows, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}

    def _mark(self, files: Collection[str]) -> None:
        """Say who writes here, and which files a killed command may leave half replaced."""
        who = {"command": self.command, "host": socket.gethostname(), "process": os.getpid()}
        text = json.dumps({"magiqa": __version__, **who, "files": sorted(set(files))}, indent=1)
        fresh = self._stage / MARK
        fresh.write_text(text + "\n", encoding="utf-8")
        os.replace(fresh, self.path / MARK)

    def _check(self, names: Collection[str]) -> None:
        held = command_of(self.path)
        if self.name in ("record.json", "sweep.json") and held not in (None, self.command):
            raise UserError(
                f"out={self.path}: holds the record of magiqa {held}, which magiqa {self.command} would overwrite; set "
                "out=DIR to another folder"
            )
        claimed = _claimed(self.path, self.name)
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
        listed = {name for record in {*RECORDS, self.name} for name in _listed(self.path, record)}
        for name in set(_names(_found(self.path / MARK))) - listed:
            _remove(self.path, name)
        for left in self.path.glob(f"{STAGE}*"):
            if not left.is_symlink() and left.is_dir():
                shutil.rmtree(left)

    def _ours(self, error: OSError) -> bool:
        if error.filename is None:
            return error.errno in _OF_THE_DISK
        return Path(os.fsdecode(error.filename)).is_relative_to(self.path)

    def _unwritable(self, error: OSError) -> UserError:
        return UserError(
            f"out={self.path}: cannot be written ({error.strerror or error}); set out=DIR to a folder of yours with "
            "room"
        )

    @contextmanager
    def _said(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._unwritable(error) from error


def _formulas(table: pd.DataFrame) -> list[str]:
    """The texts of a table that a spreadsheet would take for formulas; they stay as they are: a CSV is exact."""
    out: list[str] = []
    for column in table.columns:
        texts = table[column].dropna().unique() if table[column].dtype.kind not in "fiub" else []
        cells = [column, *texts] if isinstance(column, str) else texts
        out += [c for c in cells if isinstance(c, str) and c[:1] in _FORMULA and not _is_number(c)]
    return out


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def command_of(folder: Path) -> str | None:
    """The command whose record a folder holds, with the ablation or experiment it ran; None without a record."""
    record = _found(folder / "record.json") or _found(folder / "sweep.json")
    studies = {s: record[s] for s in ("ablation", "experiment") if isinstance(record.get(s), dict)}
    named = [f" {study}={about.get('name')}" for study, about in studies.items()]
    return str(record.get("command")) + "".join(named) if record else None


def _found(file: Path) -> dict[str, Any]:
    """A record that magiqa wrote; nothing of anybody else's."""
    try:
        found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        return found if isinstance(found, dict) and "magiqa" in found else {}
    except (OSError, ValueError, RecursionError):
        return {}


def _names(record: Mapping[str, Any]) -> list[str]:
    """The files that a record lists: names below its folder, nothing else."""
    files = record.get("files")
    return [name for name in files if is_below(name)] if isinstance(files, dict | list) else []


def _listed(folder: Path, record: str) -> list[str]:
    """A record of a folder and what it lists."""
    found = _found(folder / record)
    return [record, *_names(found)] if found else []


def _earlier(folder: Path, record: str) -> list[str]:
    """What goes when a record is written anew: what it listed, and the comparisons of a run that is no more."""
    also = _listed(folder, "comparison.json") if record == "record.json" else []
    return [name for name in [*_listed(folder, record), *also] if name != record]


def _claimed(folder: Path, record: str) -> set[str]:
    """The files of a folder that magiqa wrote: its records, what they list, and what a killed command left."""
    names = {name for one in {*RECORDS, record} for name in _listed(folder, one)}
    mark = _found(folder / MARK)
    return names | {MARK, *_names(mark)} if mark else names


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


def _writer(folder: Path) -> str:
    mark = _found(folder / MARK)
    where = f" (process {mark.get('process')} on {mark.get('host')})" if mark else ""
    return f"magiqa {mark.get('command', '')}".strip() + where if mark else "another magiqa command"
