"""Files of configs, each read once, however many jobs are composed of them."""

from copy import copy, deepcopy
from typing import Any

from hydra._internal.config_repository import ConfigRepository


class ReadOnce(ConfigRepository):
    """Hydra's repository, keeping what it read: a sweep composes some hundred jobs of the same twenty files.

    Hydra copies it for every composition, and merges in place what it gets from it: copies share what was read, and
    what they hand out is a copy.
    """

    def initialize_sources(self, config_search_path: Any) -> None:
        """Look in other folders, with nothing read yet."""
        self.read: dict[str, Any] = {}
        super().initialize_sources(config_search_path)

    def load_config(self, config_path: str) -> Any:
        """A file's content; None where there is no such file."""
        if config_path not in self.read:
            self.read[config_path] = super().load_config(config_path)
        return deepcopy(self.read[config_path])

    def __deepcopy__(self, memo: dict[int, Any]) -> "ReadOnce":
        return copy(self)
