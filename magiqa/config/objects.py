"""Plain configs into objects, the keys that a user changed, and configs that came in a file.

Bundles and records travel between strangers, and making an object of a config calls the class that it names. So a
config that nobody typed may name the classes that magiqa's own options name and nothing else, unless the user types
the option that names another.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields
from functools import cache
from importlib import import_module
from typing import Any

from magiqa.config.typed import GROUPS, OTHERS, STUDIES
from magiqa.errors import UserError, one_line
from magiqa.package import conf_dir
from magiqa.runs.config import MACHINE, PARTS, PLACES, plain_name, portable


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
    if target is None:
        return {name: instantiate(value, f"{key}.{name}") for name, value in node.items()}
    module, _, name = str(target).rpartition(".")
    try:
        owner = getattr(import_module(module), name)
    except Exception as error:
        raise UserError(f"{key}._target_={target}: no such class ({one_line(error)})") from error
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


KEYS = (*(f.name for part in PARTS.values() for f in fields(part)), *OTHERS)

_OPTION = re.compile(r"\w[\w.+-]*", re.ASCII)

_DEEPEST = 20  # levels: no config of magiqa has more than five


def bundled(
    bundle: str, typed: Collection[str]
) -> tuple[dict[str, Any], Mapping[str, str], Mapping[str, Any]]:
    """Return a bundle's config, the names of its options and what its run changed of them.

    The checksum is verified first, then every class that the config names. Paths keep their last part alone.

    Args:
        typed: the keys that the user typed: options in their place need no check.

    Raises:
        UserError: the file does not match its checksum, or its config names a class that is not magiqa's own.
    """
    from magiqa.features.bundle import open_bundle

    header = open_bundle(bundle).header
    config = {k: v for k, v in header.config.items() if k not in typed}
    keys = [k for k in KEYS if k not in (*MACHINE, *OTHERS)]
    check_config(config, header.choices, f"bundle={bundle}", keys)
    return portable(config), header.choices, header.changed


@cache
def packaged_classes() -> frozenset[str]:
    """Return the classes that magiqa's own options name."""
    import yaml

    files = [conf_dir() / "config.yaml", *(f for g in GROUPS for f in (conf_dir() / g).glob("*.yaml"))]
    return frozenset(target for file in files for target in targets(yaml.safe_load(file.read_text())))


def targets(node: Any) -> Iterator[str]:
    """Yield the classes that a config names, at any depth."""
    for key, value in node.items() if isinstance(node, Mapping) else ():
        if key == "_target_":
            yield str(value)
        yield from targets(value)


def check_config(
    config: Any, choices: Any, where: str, keys: Collection[str] = KEYS, typed: Collection[str] = ()
) -> None:
    """Refuse a config that could do anything but name magiqa's own classes and their values.

    Args:
        config: from a bundle or record. choices: its options by group. where: the file, for messages.
        keys: those that it may have. typed: classes of options that the user typed.

    Raises:
        UserError: another class, an unknown key, the name of an option that is a path.
    """
    if not isinstance(config, Mapping) or not isinstance(choices, Mapping):
        raise UserError(f"{where}: its config is no mapping of keys; run magiqa evaluate anew")
    for key, value in config.items():
        if key not in keys:
            raise UserError(f"{where}: its config holds the key {_short(key)}, which magiqa does not know")
        if key in GROUPS and not (isinstance(value, Mapping) and "_target_" in value):
            raise UserError(f"{where}: its config's {key} names no _target_; run magiqa evaluate anew")
        _check(value, key, where, {*packaged_classes(), *typed}, 0)
    for group, option in choices.items():
        if group not in GROUPS or not isinstance(option, str) or not _OPTION.fullmatch(option):
            raise UserError(f"{where}: {_short(group)}={_short(option)} is no option's name")


def _check(value: Any, key: str, where: str, allowed: Collection[str], depth: int) -> None:
    if depth > _DEEPEST:
        raise UserError(f"{where}: its config's {key[:60]}... lies deeper than any of magiqa's")
    if isinstance(value, Mapping):
        if "_target_" in value and value["_target_"] not in [*allowed]:
            raise UserError(
                f"{where}: its {key} is of the class {_short(value['_target_'])}, which is not magiqa's own and could "
                f"run anything; if it is yours, type its option: {key.partition('.')[0]}=NAME"
            )
        for name, inner in value.items():
            if name != "_target_" and (not isinstance(name, str) or name.startswith("_")):
                raise UserError(f"{where}: its config holds {key}.{_short(name)}, which no class has")
            _check(inner, f"{key}.{name}", where, allowed, depth + 1)
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            _check(inner, f"{key}[{i}]", where, allowed, depth + 1)


def typed_model(name: str, typed: Collection[str], where: str) -> str:
    """Return the name of a file's backbone: one that leads to a folder or to the hub only as the user types it.

    Args:
        name: as the file has it. typed: values of ``backbone.name=``. where: the file, for messages.

    Raises:
        UserError: nobody typed that name.

    Example:
        >>> typed_model("local-dir:/theirs/clip", ["local-dir:~/clip"], "f"), typed_model("RN50", [], "f")
        ('local-dir:~/clip', 'RN50')
    """
    own = [name] if name in typed else [other for other in typed if plain_name(other) == plain_name(name)]
    if ":" in name and not own:
        raise UserError(
            f"{where}: its backbone.name {_short(name)} leads to a folder or to the hub; if you trust that model, add "
            f"backbone.name={plain_name(name)}, with the folder's path on this machine"
        )
    return own[-1] if own else name


def _short(value: Any) -> str:
    """Return a stranger's text for a message: no control characters, not too long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:76]}..."


def put(cfg: Any, key: str, value: Any) -> None:
    """Set a key to a value as it is typed: nothing in it is a reference."""
    from omegaconf import OmegaConf, open_dict

    parent, _, leaf = key.rpartition(".")
    node = OmegaConf.select(cfg, parent) if parent else cfg
    keys = [str(k) for k in node.keys()] if OmegaConf.is_dict(node) else []  # noqa: SIM118 (`in` hides ???)
    if leaf not in keys and parent != "roots":
        raise UserError(f"{key}: no such key in the config; {parent or 'it'} has {', '.join(keys)}")
    with open_dict(node):
        node[leaf] = _escaped(value)


def _escaped(value: Any) -> Any:
    if isinstance(value, list):
        return [_escaped(inner) for inner in value]
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", value) if isinstance(value, str) else value
