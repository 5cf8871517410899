"""Typed overrides in, a composed config and its checked objects out.

Composition needs no Hydra application and disturbs none: it reads files through a loader of its own, so that it works
in a notebook, in threads, and inside somebody's own ``@hydra.main``. Nothing is written, no directory is changed.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from magiqa.checked import check_names
from magiqa.config.changed import changed_keys
from magiqa.config.from_bundle import Bundled, bundled
from magiqa.config.paths import own_folders, split_literal, typed_keys
from magiqa.config.roots import find_root
from magiqa.config.trust import GROUPS, OTHERS, STUDIES
from magiqa.errors import UserError, one_line, users_mistake
from magiqa.package import conf_dir
from magiqa.runs.config import RunConfig, default_cache_dir

# where files lie and how small images are dealt with: true of a data set or machine, whichever option is named
_PLACES = ("dataset.root", "dataset.annotation", "backbone.checkpoint", "views.small")


@dataclass(frozen=True)
class Composed:
    """A composed config.

    Args:
        config: plain values, references resolved. choices: the option of each group. missing: keys that must be set.
        changed: what differs from what the options' own files say: dotted key -> value.
        study: the same of the ablation or experiment, its option first: {"ablation": "lambda", "ablation.score": "q"}.
    """

    config: dict[str, Any]
    choices: dict[str, str]
    missing: tuple[str, ...]
    changed: dict[str, Any]
    study: dict[str, Any] = field(default_factory=dict)


class Configs:
    """The packaged configs, and the user's own in ``./conf`` and ``config_dir``.

    Args:
        config_dir: a folder of configs beside ``./conf``.

    Raises:
        UserError: the folder is missing, or an option has the name of another.

    Example:
        >>> job = Configs().job(["fusion.alpha=2", "cache_dir=/tmp/features"])
        >>> job.method.fusion.alpha, job.choices["fusion"], job.changed
        (2.0, 'adaptive', {'fusion.alpha': 2})
    """

    def __init__(self, config_dir: str | None = None) -> None:
        self._loader = _loader(own_folders(config_dir))
        self._plain: dict[tuple[tuple[str, ...], bool], dict[str, Any]] = {}

    def compose(self, overrides: Sequence[str]) -> Composed:
        """Compose overrides (``group=option``, ``key=value``; values of paths are taken as typed).

        Raises:
            UserError: a key or option that does not exist, with the nearest that does; a bundle that is not to be
                trusted.
        """
        config, choices, missing, held, rest = self._composed(overrides)
        changed = changed_keys(config, self._option_values(choices, held)) | {
            key: value for key, value in held.changed.items() if key not in typed_keys(rest)
        }
        return Composed(config, choices, missing, changed, self._study(config, rest))

    def _composed(
        self, overrides: Sequence[str]
    ) -> tuple[dict[str, Any], dict[str, str], tuple[str, ...], Bundled, list[str]]:
        """Config, choices, keys that must be set, what a bundle holds, and the overrides that are no paths."""
        from omegaconf import OmegaConf

        rest, literal = split_literal(overrides)
        held = bundled(rest, literal.get("bundle"))
        cfg, choices = self._load([*held.options, *rest])
        _put_bundled(cfg, held, rest)
        choices |= held.choices
        for key, value in literal.items():
            _put_path(cfg, key, value)
        if cfg.cache_dir is None:
            cfg.cache_dir = default_cache_dir()
        missing = set(map(str, OmegaConf.missing_keys(cfg)))
        if "dataset.root" in missing and (root := find_root(cfg.dataset.get("_target_"), cfg.roots)):
            cfg.dataset.root = root
            missing.remove("dataset.root")
        config: Any = OmegaConf.to_container(cfg, resolve=True)
        return config, choices, tuple(sorted(missing)), held, rest

    def job(self, overrides: Sequence[str]) -> RunConfig:
        """What overrides ask for, instantiated and checked.

        Raises:
            UserError: as `compose`; a key that must be set and is not; a value that its object refuses.
        """
        composed = self.compose(overrides)
        if composed.missing:
            key = composed.missing[0]
            remedy = ""
            if key == "dataset.root":
                name = composed.choices["dataset"]
                remedy = f" (the folder of the data set {name}), or roots.SET=DIR, or MAGIQA_DATA; see magiqa check"
            raise UserError(f"{key} is not set: add {key}=VALUE{remedy}")
        return replace(
            instantiated(composed.config, composed.choices, composed.changed), study=composed.study
        )

    def composer(self, typed: Sequence[str], *, packaged: bool = False) -> Callable[[list[str]], RunConfig]:
        """Composes a job anew with some overrides in place of those typed for the same keys.

        Where an override names a group's option (``fusion=fixed``), keys typed for that group (``fusion.alpha=2``) go
        on to it if it and the option configured have them with the same value: what sets the two apart is as the
        option says. Paths, and what is done with small images, always go on.

        Args:
            packaged: no other key goes on: an option that is named is what its file says.
        """

        @cache  # the same options come in many variants
        def fields(group: str, chosen: tuple[str, ...]) -> dict[str, str]:
            config, choices, *_ = self._composed(chosen)
            alone = (f"{group}={choices[group]}",)
            if chosen != alone and (conf_dir() / group / f"{choices[group]}.yaml").is_file():
                return fields(group, alone)  # as packaged, not as a bundle had it
            return {key: repr(value) for key, value in _leaves(config[group], group)}

        def shared(group: str, overrides: list[str]) -> set[str]:
            """The keys that the option configured and that of the overrides have with the same value."""
            one, other = (
                fields(
                    group,
                    tuple(a for a, k in zip(texts, typed_keys(texts), strict=True) if k in (group, "bundle")),
                )
                for texts in (typed, overrides)
            )
            return {key for key, value in one.items() if other.get(key) == value}

        def composed(overrides: list[str]) -> RunConfig:
            new = set(typed_keys(overrides))
            kept = [a for a, key in zip(typed, typed_keys(typed), strict=True) if key not in new]
            for group in new.intersection(GROUPS):
                keys = {k for k in typed_keys(kept) if k.startswith(f"{group}.")}.difference(_PLACES)
                if keys:
                    keys -= set() if packaged else shared(group, overrides)
                    kept = [a for a, key in zip(kept, typed_keys(kept), strict=True) if key not in keys]
            return self.job([*kept, *overrides])

        return composed

    def text(self, overrides: Sequence[str]) -> str:
        """The composed config as YAML: the form in which an option of one's own is written."""
        from omegaconf import OmegaConf

        return OmegaConf.to_yaml(OmegaConf.create(self.compose(overrides).config))

    def _load(self, overrides: Sequence[str]) -> tuple[Any, dict[str, str]]:
        from hydra.errors import ConfigCompositionException
        from hydra.types import RunMode
        from omegaconf import open_dict
        from yaml import YAMLError

        try:
            cfg = self._loader.load_configuration(
                "config", overrides=list(overrides), run_mode=RunMode.RUN, from_shell=False
            )
        except ConfigCompositionException as error:
            raise UserError(one_line(error) + self._suggest(overrides, error)) from error
        except (YAMLError, RecursionError) as error:
            named = " ".join(o for o in overrides if o.partition("=")[0] in (*GROUPS, *OTHERS))
            raise UserError(
                f"{named}: an option's file is not readable as YAML ({one_line(error)}); mend it"
            ) from error
        except ValueError as error:
            if is_users(error):
                raise
            # Hydra's words for views=false or views=3: they do not say which override
            said = " ".join(o for o in overrides if o.lstrip("+~").split("=")[0] in GROUPS)
            raise UserError(
                f"{said}: {one_line(error)}; give the name of an option, quoted if it is a number"
            ) from error
        choices = {g: str(cfg.hydra.runtime.choices[g]) for g in GROUPS}
        with open_dict(cfg):
            del cfg["hydra"]
        return cfg, choices

    def _option_values(self, choices: Mapping[str, str], held: Bundled) -> dict[str, Any]:
        """What the chosen options' own files say; of a bundle's own options, which may not lie here, what it holds."""
        from omegaconf import OmegaConf

        named = tuple(f"{g}={c}" for g, c in choices.items() if g not in held.choices)
        return deepcopy(self._as_named(named)) | {
            g: OmegaConf.to_container(held.nodes[g]) for g in held.choices
        }

    def _as_named(self, options: tuple[str, ...], resolve: bool = False) -> dict[str, Any]:
        """What the files of options say, each read once; references as they are written, or resolved."""
        from omegaconf import OmegaConf

        if (options, resolve) not in self._plain:
            cfg, _ = self._load(options)
            self._plain[options, resolve] = dict(OmegaConf.to_container(cfg, resolve=resolve))  # type: ignore[arg-type]
        return self._plain[options, resolve]

    def _study(self, config: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
        """What was chosen and typed for the ablation or experiment."""
        out: dict[str, Any] = {}
        for group in (g for g in STUDIES if isinstance(config.get(g), Mapping)):
            chosen = [o for o in overrides if o.partition("=")[0] == group]
            own = self._as_named(tuple(chosen), resolve=True)[group]
            out[group] = chosen[-1].partition("=")[2]
            for key, value in config[group].items():
                if key not in own or own[key] != value:
                    out[f"{'' if key in own else '+'}{group}.{key}"] = value
        return out

    def _suggest(self, overrides: Sequence[str], error: Exception) -> str:
        """For an override of a key that does not exist: the nearest key that does."""
        import difflib

        from omegaconf import OmegaConf

        named = re.search(r"Could not override '([\w.]+)'", str(error))
        if named is None:
            return ""
        cfg, _ = self._load([o for o in overrides if o.split("=")[0] in (*GROUPS, *OTHERS)])
        keys = [key for key, _ in _leaves(OmegaConf.to_container(cfg), "")]
        near = difflib.get_close_matches(named[1], keys, n=1)
        return f"; did you mean {near[0]}?" if near else ""


def _loader(folders: Sequence[os.PathLike[str]]) -> Any:
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra._internal.utils import create_config_search_path

    from magiqa.config.read_once import ReadOnce

    path = create_config_search_path(str(conf_dir()))
    for folder in folders:
        path.prepend("own", f"file://{os.fspath(folder)}", anchor="schema")  # behind the packaged ones
    loader = ConfigLoaderImpl(path)
    loader.repository = ReadOnce(path)
    return loader


def _put_bundled(cfg: Any, held: Bundled, rest: Sequence[str]) -> None:
    """Set what a bundle's own config says, but for the keys typed."""
    from omegaconf import OmegaConf, open_dict

    with open_dict(cfg):
        for key, value in held.nodes.items():
            made = OmegaConf.select(cfg, f"{key}.root")
            if made is not None:  # a set that magiqa makes lies where this machine has it
                value["root"] = made
            for typed in typed_keys(rest):
                if typed.startswith(f"{key}."):
                    OmegaConf.update(value, typed.removeprefix(f"{key}."), OmegaConf.select(cfg, typed))
            cfg[key] = value


def _put_path(cfg: Any, key: str, value: str | None) -> None:
    from omegaconf import OmegaConf, open_dict

    parent, _, leaf = key.rpartition(".")
    node = OmegaConf.select(cfg, parent) if parent else cfg
    keys = [str(k) for k in node.keys()] if OmegaConf.is_dict(node) else []  # noqa: SIM118 (`in` hides ???)
    if leaf not in keys and parent != "roots":
        raise UserError(f"{key}: no such key in the config; {parent or 'it'} has {', '.join(keys)}")
    if value is not None and "${" in value:
        raise UserError(
            f"{key}={value}: holds ${{, which configs read as a reference; rename the folder or link to it"
        )
    with open_dict(node):
        node[leaf] = value


def _leaves(node: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of nested mappings, inner nodes too."""
    if prefix:
        yield prefix, node
    for key, value in node.items() if isinstance(node, dict) else ():
        yield from _leaves(value, f"{prefix}.{key}" if prefix else str(key))


def instantiated(config: dict[str, Any], choices: dict[str, str], changed: dict[str, Any]) -> RunConfig:
    """The job of a composed config: past this function there are no configs, only checked objects.

    Raises:
        UserError: an option without a class, a field that its class does not have or that is missing, a value that
            it refuses.
    """
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    for group in (*GROUPS, *OTHERS):
        node = config.get(group)
        if node is not None:
            _check_node(node, group, choices.get(group, ""))
    try:
        made = instantiate(config, _convert_="all")
    except InstantiationException as error:
        if (mistake := users_mistake(error)) is None:
            raise
        raise mistake from None
    for group in GROUPS:  # a column may be called 1: the record holds what the object took it for
        for name, value in config[group].items():
            taken = getattr(made[group], name, None)
            if type(value) is int and isinstance(taken, str):
                config[group][name] = taken
    return RunConfig.of(made, choices=choices, changed=changed, config=config)


def _check_node(node: Any, key: str, option: str = "") -> None:
    """Check the names of an object's fields, which Hydra would answer with a traceback of its own."""
    from hydra.utils import get_class

    if not isinstance(node, dict) or "_target_" not in node:
        raise UserError(
            f"{key}={option or node}: its file names no _target_; copy it from an option of that group, as --cfg "
            "prints it"
        )
    try:
        target = get_class(node["_target_"])
    except Exception:  # a function, or nothing at all: instantiating says what is wrong
        return
    check_names(target, [str(k) for k in node if not str(k).startswith("_")], key)
    for name, value in node.items():
        if isinstance(value, dict) and "_target_" in value:
            _check_node(value, f"{key}.{name}")


def is_users(error: BaseException) -> bool:
    """Whether an error is a mistake that its reader can mend: ours, Hydra's or OmegaConf's."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    return isinstance(error, UserError | HydraException | OmegaConfBaseException)
