"""Hydra's loader of configs, over the packaged folder and the user's own."""

import filecmp
from collections.abc import Sequence
from copy import copy, deepcopy
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.utils import create_config_search_path

from magiqa.errors import UserError
from magiqa.package import conf_dir


class _Repository(ConfigRepository):
    """Hydra's repository, which reads each file once, however many jobs are composed of it.

    Hydra copies it for every composition, and merges in place what it gets from it: copies share what was read, and
    what they hand out is a copy.
    """

    folders: Sequence[Path] = ()

    def initialize_sources(self, config_search_path: Any) -> None:
        """Look in other folders, with nothing read yet."""
        self.read: dict[str, Any] = {}
        super().initialize_sources(config_search_path)

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
    loader.repository.folders = folders
    return loader
