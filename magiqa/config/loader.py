"""Hydra's loader of configs, over the packaged folder and the user's own."""

import filecmp
import os
from collections.abc import Mapping, Sequence
from copy import copy, deepcopy
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.utils import create_config_search_path

from magiqa.datasets.base import sets
from magiqa.errors import UserError, one_line
from magiqa.package import conf_dir


class _Repository(ConfigRepository):
    """Hydra's repository, which reads each file once, however many jobs are composed of it.

    Hydra copies it for every composition, and merges in place what it gets from it: copies share what was read, and
    what they hand out is a copy.
    """

    folders: Sequence[Path]
    read: dict[str, Any]

    def load_config(self, config_path: str) -> Any:
        """Return a file's content; None if there is no such file.

        Raises:
            UserError: two folders have other files of that name, of which Hydra would ignore one.
        """
        if config_path not in self.read:
            name = f"{config_path.removesuffix('.yaml')}.yaml"
            own = [conf_dir() / name, *(folder / name for folder in self.folders if "/" in config_path)]
            files = [file for file in own if file.is_file()]
            for file in files[1:]:
                if not filecmp.cmp(files[0], file, shallow=False):
                    raise UserError(
                        f"{file}: {files[0]} has that name too and one would be ignored; rename your file"
                    )
            self.read[config_path] = super().load_config(config_path)
        return deepcopy(self.read[config_path])

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Repository":
        return copy(self)


def loader_of(folders: Sequence[Path]) -> Any:
    """Return a loader that finds the packaged options first, then those of other folders."""
    path = create_config_search_path(str(conf_dir()))
    for folder in folders:
        path.prepend("own", f"file://{folder}", anchor="schema")  # behind the packaged ones
    loader = ConfigLoaderImpl(path)
    loader.repository = _Repository(path)
    loader.repository.folders, loader.repository.read = folders, {}
    return loader


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
