"""Plain configs into objects, and the keys of a config that differ from its options' files."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from magiqa.checked import check_names
from magiqa.config.typed import GROUPS, STUDIES
from magiqa.errors import UserError, one_line
from magiqa.runs.config import MACHINE
from magiqa.runs.portable import PLACES


def leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted keys and values of nested mappings, inner nodes too."""
    if prefix:
        yield prefix, node
    for key, value in node.items() if isinstance(node, dict) else ():
        yield from leaves(value, f"{prefix}.{key}" if prefix else str(key))


def changed_keys(config: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys whose values differ from what the options' files say: dotted key -> value.

    Where files lie and what belongs to a machine is left out, and so are studies: they vary the rest.

    Example:
        >>> changed_keys({"fusion": {"alpha": 2}, "seed": 0}, {"fusion": {"alpha": 1}, "seed": 0})
        {'fusion.alpha': 2}
    """
    changed: dict[str, Any] = {}
    for key, value in config.items():
        own = options.get(key)
        if key in (*MACHINE, *STUDIES):
            continue
        if key in GROUPS and isinstance(value, Mapping) and isinstance(own, Mapping):
            for leaf, inner in value.items():
                if leaf not in (*PLACES, "_target_") and inner != own.get(leaf):
                    changed[f"{key}.{leaf}"] = inner
        elif value != own:
            changed[key] = value
    return changed


def instantiate(node: Any, key: str) -> Any:
    """Return a config's value with an object in place of each mapping that names its class.

    Raises:
        UserError: no such class, a field that it does not have or that is missing, a value that it refuses.
    """
    if isinstance(node, list):
        return [instantiate(value, key) for value in node]
    if not isinstance(node, Mapping):
        return node
    target = node.get("_target_")
    names = [str(name) for name in node if name != "_target_"]
    if target is None:
        return {name: instantiate(value, f"{key}.{name}") for name, value in node.items()}
    module, _, name = str(target).rpartition(".")
    try:
        owner = getattr(import_module(module), name)
    except Exception as error:
        raise UserError(f"{key}._target_={target}: no such class ({one_line(error)})") from error
    check_names(owner, names, key)
    values = {n: instantiate(v, f"{key}.{n}") for n, v in node.items() if n != "_target_"}
    try:
        return owner(**values)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{key}: {target} refuses its fields ({one_line(error)})") from error


def is_users(error: BaseException) -> bool:
    """Return whether an error is a mistake that its reader can mend: ours, Hydra's or OmegaConf's."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    return isinstance(error, UserError | HydraException | OmegaConfBaseException)
