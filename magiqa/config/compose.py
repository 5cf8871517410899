"""Overrides in, a composed config and its objects out."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from magiqa.config.paths import search_path, split_literal
from magiqa.config.trust import GROUPS
from magiqa.errors import UserError, one_line
from magiqa.package import conf_dir

if TYPE_CHECKING:
    from magiqa.runs.config import Job

STUDIES = ("ablation", "experiment")  # groups that a run itself does not need


@contextmanager
def configs(config_dir: str | None) -> Iterator[str]:
    """The search path of the packaged configs and the user's own, Hydra initialized for the block."""
    from hydra import initialize_config_dir

    folders = search_path(config_dir)
    quoted = ",".join("'file://" + str(f).replace("\\", "\\\\").replace("'", "\\'") + "'" for f in folders)
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        yield f"hydra.searchpath=[{quoted}]"


def compose(overrides: Sequence[str], searchpath: str) -> tuple[Any, dict[str, str]]:
    """Compose a config: a DictConfig and the option chosen in each group."""
    import hydra
    from hydra.errors import ConfigCompositionException
    from omegaconf import OmegaConf, open_dict

    rest, literal = split_literal(overrides)
    bundled = _bundled(rest, literal.get("bundle"))
    composed = [*bundled[0], *rest, searchpath]
    try:
        cfg = hydra.compose("config", overrides=composed, return_hydra_config=True)
    except ConfigCompositionException as error:
        raise UserError(one_line(error) + _suggest(composed, error)) from error
    choices = {g: str(cfg.hydra.runtime.choices[g]) for g in GROUPS}
    with open_dict(cfg):
        del cfg["hydra"]
        for key, value in bundled[1].items():
            made = OmegaConf.select(cfg, f"{key}.root")
            if made is not None:  # a set that magiqa makes lies where this machine has it
                value["root"] = made
            for typed in typed_keys(rest):
                if typed.startswith(f"{key}."):
                    OmegaConf.update(value, typed.removeprefix(f"{key}."), OmegaConf.select(cfg, typed))
            cfg[key] = value
    choices |= bundled[2]
    for key, value in literal.items():
        parent, _, leaf = key.rpartition(".")
        node = OmegaConf.select(cfg, parent) if parent else cfg
        keys = [str(k) for k in node.keys()] if OmegaConf.is_dict(node) else []  # noqa: SIM118 (`in` hides ???)
        if leaf not in keys:
            raise UserError(f"{key}: no such key in the config; {parent or 'it'} has {', '.join(keys)}")
        if value is not None and "${" in value:
            raise UserError(
                f"{key}={value}: holds ${{, which configs read as a reference; rename the folder or link to it"
            )
        node[leaf] = value
    return cfg, choices


def typed_keys(overrides: Sequence[str]) -> list[str]:
    """The keys that overrides set."""
    return [o.lstrip("+~").partition("=")[0].partition("@")[0] for o in overrides]


def _bundled(rest: Sequence[str], bundle: str | None) -> tuple[list[str], dict[str, Any], dict[str, str]]:
    """What a bundle's own config says where the overrides do not: options, nodes and scalars, names of options.

    Raises:
        UserError: the file does not match its checksum, or its config names what is not magiqa's own.
    """
    if bundle is None:
        return [], {}, {}
    from omegaconf import OmegaConf

    from magiqa.config.trust import check_config
    from magiqa.features.bundle import read_meta, verify_bundle
    from magiqa.runs.config import MACHINE
    from magiqa.runs.portable import portable

    verify_bundle(bundle)
    meta = read_meta(bundle)
    known = [key for key in top_keys() if key not in (*MACHINE, *STUDIES)]
    check_config(meta.get("config"), meta.get("choices"), f"bundle={bundle}", known, trusted_classes(rest))
    typed = set(typed_keys(rest))
    # paths of a bundle are of another machine: their last part is a name and no more
    held = {k: v for k, v in portable(meta["config"]).items() if k not in typed}
    choices = {g: c for g, c in meta["choices"].items() if g in held}
    # with the same options composed, Hydra checks the keys typed against the right fields
    options = [f"{g}={c}" for g, c in choices.items() if (conf_dir() / g / f"{c}.yaml").is_file()]
    nodes = {k: OmegaConf.create(v) if isinstance(v, dict) else v for k, v in held.items()}
    return options, nodes, choices


@cache
def top_keys() -> tuple[str, ...]:
    """The keys of ``conf/config.yaml``, groups included."""
    import yaml

    own = yaml.safe_load((conf_dir() / "config.yaml").read_text())
    return (*GROUPS, *STUDIES, *(key for key in own if key != "defaults"))


def trusted_classes(overrides: Sequence[str]) -> list[str]:
    """The classes that the user names by ``trust=``: what a file may name beside magiqa's own."""
    given = dict(map(override_value, (o for o in overrides if o.startswith("trust=")))).get("trust", [])
    return [str(name) for name in (given if isinstance(given, list) else [given])]


def _suggest(overrides: Sequence[str], error: Exception) -> str:
    """For an override of a key that does not exist: the nearest key that does."""
    import difflib

    import hydra
    from omegaconf import OmegaConf

    named = re.search(r"Could not override '([\w.]+)'", str(error))
    if named is None:
        return ""
    groups = [o for o in overrides if o.split("=")[0] in GROUPS]
    keys: list[str] = []
    pending: list[tuple[str, Any]] = [("", OmegaConf.to_container(hydra.compose("config", overrides=groups)))]
    while pending:
        prefix, node = pending.pop()
        for key, value in node.items():
            keys.append(f"{prefix}{key}")
            if isinstance(value, dict):
                pending.append((f"{prefix}{key}.", value))
    near = difflib.get_close_matches(named[1], keys, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def make_job(overrides: Sequence[str], searchpath: str) -> "Job":
    """Compose and instantiate: past this function there is no DictConfig."""
    from omegaconf import OmegaConf

    cfg, choices = compose(overrides, searchpath)
    if cfg.cache_dir is None:
        from magiqa.runs.config import default_cache_dir

        cfg.cache_dir = default_cache_dir()
    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        raise UserError(
            f"{missing[0]} is not set: add {missing[0]}=VALUE"
            + (f" (the folder of the data set {choices['dataset']})" if missing[0] == "dataset.root" else "")
        )
    return instantiated(cfg, choices)


def instantiated(cfg: Any, choices: dict[str, str]) -> "Job":
    """The job that a composed config makes, its plain values checked."""
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    from magiqa.runs.config import Job

    config: Any = OmegaConf.to_container(cfg, resolve=True)
    for group in (*GROUPS, *STUDIES):
        node = config.get(group)
        if node is None:
            continue
        if "_target_" not in node:
            raise UserError(
                f"{group}={choices.get(group, '')}: its file names no _target_; copy it from an option of that group, "
                "as --cfg prints it"
            )
        _check_types(node, group)
    return Job(**instantiate(config, _convert_="all"), choices=choices, config=config)


def _check_types(node: dict[str, Any], prefix: str) -> None:
    """Check the plain values of an object's config against the types of its fields: no text passes for true.

    A whole number for a field of text becomes one, in place: a column may be called 1.

    Raises:
        UserError: naming the key and what it must be.
    """
    from dataclasses import MISSING, fields, is_dataclass
    from types import UnionType
    from typing import Literal, Union, get_args, get_origin

    from hydra.utils import get_class

    try:
        target = get_class(node["_target_"])
    except Exception:  # a function, or nothing at all: instantiating says what is wrong
        return
    words = {
        bool: "true or false",
        int: "a whole number",
        float: "a finite number",
        str: "text",
        type(None): "null",
    }
    if not is_dataclass(target):
        return
    types = {f.name: f.type for f in fields(target)}
    missing = [
        f.name for f in fields(target) if f.default is f.default_factory is MISSING and f.name not in node
    ]
    if missing:
        raise UserError(f"{prefix}.{missing[0]} is not set; {target.__name__} needs it")
    for key, value in node.items():
        if key not in types and not key.startswith("_"):
            raise UserError(f"{prefix}.{key}: {target.__name__} has no such field; it has {', '.join(types)}")
        if isinstance(value, dict) and "_target_" in value:
            _check_types(value, f"{prefix}.{key}")
            continue
        kind = types.get(key)
        if kind == "Resize | None" and value is not None:
            raise UserError(f"{prefix}.{key}={value}: add _target_: magiqa.images.views.Resize to it")
        if get_origin(kind) is tuple and not isinstance(value, list):
            raise UserError(f"{prefix}.{key}={value} must be a list, such as [{value}]")
        allowed = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
        if any(a not in words and get_origin(a) is not Literal for a in allowed):
            continue  # of a kind that its class checks itself
        if any(
            type(value) is a or (a is float and type(value) is int) or value in get_args(a) for a in allowed
        ):
            continue
        if str in allowed and type(value) is int:
            node[key] = str(value)
            continue
        good = [words[a] if a in words else ", ".join(get_args(a)) for a in allowed]
        raise UserError(f"{prefix}.{key}={value} must be {' or '.join(good)}")


def override_value(override: str) -> tuple[str, Any]:
    """The key and the value of an override, by Hydra's own grammar.

    Raises:
        UserError: several values, a deletion, or no override at all.

    Example:
        >>> override_value("resamples=500"), override_value("views.kinds=[whole]")
        (('resamples', 500), ('views.kinds', ['whole']))
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create().parse_override(override)
    if parsed.is_sweep_override() or parsed.is_delete():
        raise UserError(f"{override}: give one value, as KEY=VALUE")
    return parsed.key_or_group, parsed.value()


def as_yaml(cfg: Any) -> str:
    """A composed config as YAML."""
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(cfg)


def is_users(error: BaseException) -> bool:
    """Whether an error is a mistake that its reader can mend: ours, Hydra's or OmegaConf's."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    return isinstance(error, UserError | HydraException | OmegaConfBaseException)
