"""The root of a data set on this machine, if ``dataset.root`` does not say it."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from magiqa.datasets.sets import sets
from magiqa.errors import UserError, one_line

# by the reader's name: the folder that a set unpacks to, under MAGIQA_DATA
FOLDERS = {name: reader.folder for name, reader in sets(on_disk=True).items()}


def find_root(target: Any, roots: Mapping[str, Any]) -> str | None:
    """Return the root of a reader's data set; None if nothing says it.

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
    base = os.environ.get("MAGIQA_DATA")
    return roots.get(name) or _file().get(name) or (str(Path(base) / FOLDERS[name]) if base else None)


def roots_file() -> Path:
    """Return the user's file of roots."""
    from platformdirs import user_config_dir

    return Path(user_config_dir("magiqa", appauthor=False)) / "roots.yaml"


def _file() -> dict[str, str]:
    import yaml

    file = roots_file()
    try:
        roots = yaml.safe_load(file.read_text()) if file.is_file() else {}
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise UserError(f"{file}: not readable ({one_line(error)}); write lines SET: DIR") from None
    entries = roots.items() if isinstance(roots, dict) else [(roots, "")] if roots else []
    wrong = [n for n, folder in entries if not isinstance(folder, str) or str(n) not in FOLDERS]
    if wrong:
        raise UserError(f"{file}: {wrong[0]!r:.80} is no line SET: DIR; SET is one of {', '.join(FOLDERS)}")
    return dict(entries)
