"""A results folder: written anew as one, nothing of anybody else overwritten."""

import json
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from magiqa import __version__
from magiqa.errors import UserError

MARK = ".writing.json"


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """A table as CSV, full float precision, the same bytes for the same values."""
    table.to_csv(path, index=False, lineterminator="\n")


def _record(file: Path) -> dict[str, Any]:
    """A record that magiqa wrote; nothing of anybody else's."""
    try:
        found = json.loads(file.read_text())
        return found if "magiqa" in found else {}
    except (OSError, ValueError, TypeError):
        return {}


def command_of(folder: Path) -> str | None:
    """The command whose record a folder holds, with the ablation or experiment it ran; None without a record."""
    record = _record(folder / "record.json") or _record(folder / "sweep.json")
    named = [f" {study}={record[study]['name']}" for study in ("ablation", "experiment") if study in record]
    return str(record["command"]) + "".join(named) if record else None


def make_folder(folder: Path, command: str | None = None, files: Collection[str] = ()) -> None:
    """Create a results folder, for a command (as ``command_of`` names it) that writes its record and files there.

    Raises:
        UserError: it cannot be written, or holds another command's record, or one of the files from elsewhere.
    """
    held = command_of(folder)
    if command is not None and held not in (None, command):
        raise UserError(
            f"out={folder}: holds the record of magiqa {held}, which magiqa {command} would overwrite; set out=DIR to "
            "another folder"
        )
    foreign = sorted(_files(folder).intersection([*files, "record.json"]) - _listed(folder))
    if foreign:
        raise UserError(
            f"{folder / foreign[0]}: would be overwritten, and no record there says that magiqa wrote it; move it, or "
            "set out=DIR to another folder"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"out={folder}: cannot be written ({error.strerror}); set out=DIR to a folder of yours"
        ) from None


@contextmanager
def writing(folder: Path, files: Collection[str]) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Write a command's results anew: what earlier records list is removed first, so that no two runs mix.

    A mark stays in the folder until the block ends, so that what a killed run left behind is known for magiqa's.

    Args:
        files: the names it may write, besides ``record.json`` and figures.

    Yields:
        Writes ``record.json``, which lists as ``files`` what the block has written so far.
    """
    earlier = _listed(folder)
    mark = {"magiqa": __version__, "files": sorted(files), "others": sorted(_files(folder) - earlier)}
    write_record(folder, mark, MARK)
    for name in sorted(_files(folder) & earlier - {MARK}, key=lambda n: n != "record.json"):
        (folder / name).unlink()

    def write(record: dict[str, Any]) -> None:
        write_record(folder, record | {"files": sorted(_written(folder, mark))})

    yield write
    (folder / MARK).unlink()


def _files(folder: Path) -> set[str]:
    paths = (*folder.glob("*"), *folder.glob("figures/*"))
    return {p.relative_to(folder).as_posix() for p in paths if p.is_file()}


def _written(folder: Path, mark: dict[str, Any]) -> set[str]:
    """What lies in a folder of what a mark announces: its files, and figures that were not there before."""
    new = {name for name in _files(folder) if name.startswith("figures/")}.difference(mark["others"])
    return new | _files(folder).intersection(mark["files"])


def _listed(folder: Path) -> set[str]:
    """The files of a folder that magiqa wrote: its records, what they list, and what a killed run left."""
    names: set[str] = set()
    for file in ("record.json", "comparison.json", "sweep.json"):
        record = _record(folder / file)
        names.update([file, *record.get("files", ())] if record else ())
    mark = _record(folder / MARK)
    return names | _written(folder, mark) | {MARK, "record.json"} if mark else names


def write_record(folder: Path, record: dict[str, Any], name: str = "record.json") -> None:
    """A record as JSON."""
    (folder / name).write_text(json.dumps(record, indent=1, default=str, allow_nan=False) + "\n")
