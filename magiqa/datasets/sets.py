"""The packaged readers by name."""

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from magiqa import datasets
from magiqa.datasets.base import DataSet


@cache
def sets(on_disk: bool = False) -> dict[str, type[DataSet]]:
    """Return the readers of this folder that have a title, by their names; ``on_disk``: of sets that users fetch."""
    names = [module.name for module in iter_modules(datasets.__path__) if module.name != "sets"]
    modules = [import_module(f"magiqa.datasets.{name}") for name in names]
    classes = [value for module in modules for value in vars(module).values() if isinstance(value, type)]
    return {c.name: c for c in classes if issubclass(c, DataSet) and c.title and (c.folder or not on_disk)}
