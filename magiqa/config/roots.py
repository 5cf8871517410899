"""Where a data set lies on this machine, if ``dataset.root`` does not say."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from magiqa.datasets.sets import sets
from magiqa.errors import UserError

# by the reader's name: the folder that a set unpacks to, under MAGIQA_DATA
FOLDERS = {name: reader.folder for name, reader in sets(on_disk=True).items()}


def find_root(target: Any, roots: Mapping[str, Any]) -> str | None:
    """The root of a reader's data set, or None where nothing says it.

    In this order: ``roots.SET=DIR`` as typed, ``~/.config/magiqa/roots.yaml`` (lines ``koniq: ~/data/koniq10k``),
    the environment's ``MAGIQA_DATA``, which holds a folder for each set. SET is the reader's name: ``koniq`` serves
    ``koniq_test`` and ``koniq_512`` too.

    Args:
        target: the reader's class, as a config names it. roots: those typed.

    Raises:
        UserError: roots of a set that has no reader, or a file of roots that is none.
    """
    for name in roots:
        if name not in FOLDERS:
            raise UserError(f"roots.{name}: no such set; use {', '.join(FOLDERS)}")
    name = str(target).split(".")[-2] if str(target).startswith("magiqa.datasets.") else ""
    if name not in FOLDERS:
        return None
    for given in (roots, _file()):
        if given.get(name):
            return str(given[name])
    base = os.environ.get("MAGIQA_DATA")
    return str(Path(base) / FOLDERS[name]) if base else None


def roots_file() -> Path:
    """The user's file of roots."""
    from platformdirs import user_config_dir

    return Path(user_config_dir("magiqa", appauthor=False)) / "roots.yaml"


def _file() -> dict[str, str]:
    file = roots_file()
    if not file.is_file():
        return {}
    import yaml

    try:
        found = yaml.safe_load(file.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(
            f"{file}: not readable ({' '.join(str(error).split())}); write lines SET: DIR"
        ) from None
    found = found or {}
    if not isinstance(found, dict) or not all(isinstance(v, str) for v in found.values()):
        raise UserError(f"{file}: write lines SET: DIR, such as koniq: ~/data/koniq10k")
    unknown = [str(name) for name in found if name not in FOLDERS]
    if unknown:
        raise UserError(f"{file}: {unknown[0]} is no set; use {', '.join(FOLDERS)}")
    return found
