"""The files that come with the package, and the checksum of its code."""

import hashlib
import os
from functools import cache
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


def conf_dir() -> Path:
    """The configs: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    for folder in (package / "conf", package.parent / "conf"):
        if (folder / "config.yaml").is_file():
            return folder
    raise UserError("magiqa's conf folder is not beside the package: reinstall magiqa")


def code_sha256() -> str:
    """sha256 over this package's own Python files: which code, where the version alone does not tell."""
    digest = hashlib.sha256()
    package = Path(__file__).parent
    for file in sorted(package.rglob("*.py")):
        digest.update(f"{file.relative_to(package).as_posix()}\n".encode() + file.read_bytes())
    return digest.hexdigest()


@cache
def published_file() -> Path:
    """The table of published numbers: inside the installed package, or in the checkout's ``results``."""
    package = Path(__file__).resolve().parent
    for path in (package / "published.csv", package.parent / "results" / "published.csv"):
        if path.is_file():
            return path
    raise UserError("published.csv is neither in magiqa's package nor in results/: reinstall magiqa")
