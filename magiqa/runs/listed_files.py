"""The files that a record lists, read back as they were written, or refused."""

import hashlib
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from magiqa.errors import UserError
from magiqa.runs.record import load_record


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
