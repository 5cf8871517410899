"""The files that come with the package, and the checksum of its code."""

import hashlib
import os
from pathlib import Path

from magiqa.errors import UserError


def expanded(path: str | os.PathLike[str]) -> Path:
    """Return a path with ``~`` and ``~user`` expanded; a name that is no user's (``~$photo.jpg``) stays as it is.

    Raises:
        UserError: this user has no home folder.
    """
    text = os.path.expanduser(os.fspath(path))
    if text == "~" or text.startswith("~/"):
        raise UserError(f"{path}: you have no home folder here; write the whole path, or set HOME")
    return Path(text)


def _shipped(name: str, place: str) -> Path:
    """Return a file of the installed package, or of a checkout, where it lies in a place of its own.

    Raises:
        UserError: neither has it.
    """
    package = Path(__file__).resolve().parent
    for path in (package / name, package.parent / place):
        if path.exists():
            return path
    raise UserError(f"{name} is neither in magiqa's package nor at {place} beside it: reinstall magiqa")


def conf_dir() -> Path:
    """The configs: inside the installed package, or beside it in a checkout."""
    return _shipped("conf", "conf")


def published_file() -> Path:
    """The table of published numbers: inside the installed package, or in the checkout's ``results``."""
    return _shipped("published.csv", "results/published.csv")


def code_sha256() -> str:
    """sha256 over this package's own Python files: which code, where the version alone does not tell."""
    digest = hashlib.sha256()
    package = Path(__file__).parent
    for file in sorted(package.rglob("*.py")):
        digest.update(f"{file.relative_to(package).as_posix()}\n".encode() + file.read_bytes())
    return digest.hexdigest()
