"""Typed overrides in, a composed config and its checked objects out.

Composition needs no Hydra application and disturbs none: it reads files through a loader of its own, so that it works
in a notebook, in threads, and inside somebody's own ``@hydra.main``. Nothing is written, no directory is changed.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from magiqa.config.loader import find_root, loader_of
from magiqa.config.objects import (
    bundled,
    changed_keys,
    check_config,
    instantiate,
    is_users,
    leaves,
    put,
    targets,
    typed_model,
)
from magiqa.config.typed import GROUPS, OTHERS, STUDIES, override_value, split_literal, sweep_jobs, typed_keys
from magiqa.errors import UserError, one_line
from magiqa.method.presets import GROUPS as VARIED
from magiqa.method.presets import changed_name
from magiqa.package import conf_dir, expanded
from magiqa.runs.config import MACHINE, PLACES, RunConfig, default_cache_dir
from magiqa.runs.read import read_record

# where files lie and how small images are dealt with: true of a data set or machine, whichever option is named
_STAYING = ("dataset.root", "dataset.annotation", "backbone.checkpoint", "views.small")


@dataclass(frozen=True)
class Composed:
    """A composed config.

    Args:
        config: plain values, references resolved. choices: the option of each group.
        changed: what differs from what the options' own files say: dotted key -> value.
        study: the same of the ablation or experiment, its option first: {"ablation": "lambda", "ablation.score": "q"}.
    """

    config: dict[str, Any]
    choices: dict[str, str]
    changed: dict[str, Any]
    study: dict[str, Any] = field(default_factory=dict)

    def job(self) -> RunConfig:
        """Return the checked objects of this config.

        Raises:
            UserError: a key that must be set and is not; a value that its object refuses.
        """
        missing = [key for key, value in leaves(self.config) if value == "???"]
        if missing:
            remedy = (
                f" (the folder of the data set {self.choices['dataset']}), or roots.SET=DIR, or MAGIQA_DATA"
            )
            raise UserError(
                f"{missing[0]} is not set: add {missing[0]}=VALUE{remedy if missing[0] == 'dataset.root' else ''}"
            )
        for group in (*GROUPS, *OTHERS):
            node = self.config.get(group)
            if node is not None and not (isinstance(node, Mapping) and "_target_" in node):
                raise UserError(
                    f"{group}={self.choices.get(group, node)}: its file names no _target_; copy it from an option of "
                    "that group, as --cfg prints it"
                )
        objects = {key: instantiate(value, key) for key, value in self.config.items()}
        more = {"choices": self.choices, "changed": self.changed, "config": self.config, "study": self.study}
        return RunConfig.of(objects, **more)


class Configs:
    """The packaged configs, and the user's own in ``./conf`` and ``config_dir``.

    Only what lies in magiqa's own groups counts (``conf/prompts/mine.yaml``): a folder of another Hydra project is no
    obstacle. A file is opened only if its option is named.

    Args:
        config_dir: a folder of configs beside ``./conf``.

    Raises:
        UserError: the folder is missing.

    Example:
        >>> job = Configs().job(["fusion.alpha=2", "cache_dir=/tmp/features"])
        >>> job.method.fusion.alpha, job.choices["fusion"], job.changed
        (2.0, 'adaptive', {'fusion.alpha': 2})
    """

    def __init__(self, config_dir: str | None = None) -> None:
        if config_dir is not None and not expanded(config_dir).is_dir():
            raise UserError(f"--config-dir {config_dir}: no such folder")
        folders = [expanded(folder).resolve() for folder in (config_dir, "conf") if folder]
        self._loader = loader_of([f for f in dict.fromkeys(folders) if f.is_dir() and f != conf_dir()])
        self._files: dict[tuple[str, ...], dict[str, Any]] = {}

    def compose(self, overrides: Sequence[str]) -> Composed:
        """Compose overrides (``group=option``, ``key=value``; paths and text are taken as typed).

        Raises:
            UserError: a key or option that does not exist, with the nearest that does; a bundle that names a class
                which is not magiqa's own.
        """
        rest, literal = split_literal(overrides)
        if literal.get("bundle") is not None:
            config, choices, changed = bundled(literal["bundle"], typed_keys(rest))
            return self._on_top(config, choices, changed, rest, literal)
        config, choices = self._plain(rest, literal)
        if config["dataset"].get("root") == "???":
            config["dataset"]["root"] = find_root(config["dataset"].get("_target_"), config["roots"]) or "???"
        changed = changed_keys(config, self._options([f"{g}={c}" for g, c in choices.items()]))
        config["name"] = config["name"] or changed_name(rest, choices, changed)
        return Composed(config, choices, changed, self._study(config, rest))

    def _plain(
        self, overrides: Sequence[str], literal: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """Return a composed config as plain values, and the option of each group."""
        from omegaconf import OmegaConf

        cfg, choices = self._load(overrides)
        for key, value in literal.items():
            put(cfg, key, value)
        if cfg.cache_dir is None:
            put(cfg, "cache_dir", default_cache_dir())
        config: Any = OmegaConf.to_container(cfg, resolve=True)
        return config, choices

    def _on_top(
        self,
        config: Mapping[str, Any],
        choices: Mapping[str, str],
        changed: Mapping[str, Any],
        rest: Sequence[str],
        literal: Mapping[str, Any],
    ) -> Composed:
        """Return a file's config with what was typed on top: options replace its parts, and keys its values.

        Raises:
            UserError: a key that the config does not have.
        """
        named = [
            o for o in rest if typed_keys([o])[0].partition(".")[0] in OTHERS or typed_keys([o])[0] in GROUPS
        ]
        plain, options = self._plain(named, {k: literal[k] for k in ("cache_dir",) if k in literal})
        keys = {*typed_keys(named)}
        typed = {g: options[g] for g in GROUPS if g in keys or ("method" in keys and g in VARIED)}
        made = plain | {k: deepcopy(v) for k, v in config.items() if k not in typed}
        if made["dataset"]["_target_"] == plain["dataset"]["_target_"] and plain["dataset"]["root"] != "???":
            made["dataset"]["root"] = plain["dataset"][
                "root"
            ]  # a set that magiqa makes lies where this machine has it
        different = {k: v for k, v in changed.items() if k.partition(".")[0] not in typed}
        for key, value in [*map(override_value, (o for o in rest if o not in named)), *literal.items()]:
            *parents, leaf = key.split(".")
            node: Any = made
            for parent in parents:
                node = node.get(parent) if isinstance(node, dict) else None
            if not isinstance(node, dict) or (leaf not in node and parents != ["roots"]):
                raise UserError(
                    f"{key}: no such key in the config; {'.'.join(parents) or 'it'} has {', '.join(node or ())}"
                )
            if leaf not in PLACES and key.partition(".")[0] not in MACHINE and node.get(leaf) != value:
                different[key] = value
            node[leaf] = value
        return Composed(made, dict(choices) | typed, different, self._study(made, rest))

    def job(self, overrides: Sequence[str]) -> RunConfig:
        """Return what overrides ask for, as checked objects.

        Raises:
            UserError: as `compose`; a key that must be set and is not; a value that its object refuses.
        """
        return self.compose(overrides).job()

    def jobs(self, overrides: Sequence[str]) -> list[list[str]]:
        """Return the overrides of each job of a sweep.

        Raises:
            UserError: as `split_literal`.
        """
        return sweep_jobs(overrides, self._loader)

    def recorded(self, folder: Path, overrides: Sequence[str] = ()) -> RunConfig:
        """Return the job of a run's folder, from the config in its record.

        Args:
            overrides: fields, paths and machine settings on top. The name of an option (``magnitude=mine``) takes the
                record's own option of that name, whose class may then be the user's.

        Raises:
            UserError: the folder is no run's; its config names a class that is not magiqa's own; a key that it does
                not have.
        """
        record = read_record(folder)
        where = f"{folder}/record.json"
        rest, literal = split_literal(overrides)
        named = [o for o in rest if o.partition("=")[0] in (*GROUPS, "method")]
        for group, option in (o.split("=", 1) for o in named):
            if option != record.choices.get(group):
                raise UserError(
                    f"{group}={option}: {folder} has its own config; override fields ({group}.FIELD=VALUE), not whole "
                    "options"
                )
        # a launcher's setup lines are a shell's
        config = {k: v for k, v in record.given["config"].items() if k not in ("launcher", *STUDIES)}
        classes = targets(self._options(named)) if named else ()
        check_config(config, record.choices, where, typed=[*classes])
        names = [split_literal([o])[1].get("backbone.name") for o in overrides]
        models = [name for name in names if name is not None and ":" in name]
        if literal.get("backbone.name") in models:
            del literal["backbone.name"]
        config["backbone"] = dict(config["backbone"])
        config["backbone"]["name"] = typed_model(str(config["backbone"].get("name")), models, where)
        config["cache_dir"] = config.get("cache_dir") or default_cache_dir()
        rest = [o for o in rest if o not in named]
        return self._on_top(config, record.choices, record.changed, rest, literal).job()

    def composer(self, typed: Sequence[str], *, packaged: bool = False) -> Callable[[list[str]], RunConfig]:
        """Return a function that composes a job anew with some overrides in place of those typed for the same keys.

        If an override names a group's option (``fusion=fixed``), keys typed for that group (``fusion.alpha=2``) hold
        for it too, if it and the option configured have them with the same value: what sets the two apart is as the
        option says. Paths, and what is done with small images, always hold.

        Args:
            packaged: no other key holds: an option that is named is what its file says.
        """

        @cache  # the same options come in many variants
        def values(override: str) -> dict[str, Any]:
            group = override.partition("=")[0]
            return dict(leaves(self._options([override])[group], group))

        @cache
        def configured(group: str) -> dict[str, Any]:
            composed = self.compose(typed)
            option = composed.choices[group]
            if option in self._loader.get_group_options(group):
                return values(f"{group}={option}")
            return dict(leaves(composed.config[group], group))  # a bundle's own

        def stays(key: str, new: Mapping[str, str]) -> bool:
            group = key.partition(".")[0]
            if key in new or group not in new or group not in GROUPS or key in _STAYING:
                return key not in new
            own = configured(group)
            return not packaged and key in own and values(new[group]).get(key, "???") == own[key]

        def composed(overrides: list[str]) -> RunConfig:
            new = dict(zip(typed_keys(overrides), overrides, strict=True))
            keys = typed_keys(typed)
            for override, key in zip(typed, keys, strict=True):
                if "method" in new and key.partition(".")[0] in VARIED:
                    raise UserError(
                        f"{override}: each method of the ablation sets its {', '.join(VARIED)}; drop it"
                    )
            staying = [o for o, key in zip(typed, keys, strict=True) if stays(key, new)]
            return self.job([*staying, *overrides])

        return composed

    def text(self, overrides: Sequence[str]) -> str:
        """Return the composed config as YAML: the form in which an option of one's own is written."""
        import yaml

        return yaml.safe_dump(self.compose(overrides).config, sort_keys=False, allow_unicode=True)

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
            raise UserError(one_line(error) + self._suggestion(overrides, error)) from error
        except (YAMLError, RecursionError, ValueError) as error:
            if is_users(error):
                raise
            # the words for views=false, views=3 or a broken file: they do not say which override
            options = " ".join(o for o in overrides if typed_keys([o])[0] in (*GROUPS, *OTHERS))
            raise UserError(
                f"{options}: {one_line(error)}; give the name of an option, quoted if it is a number, or mend its file"
            ) from error
        choices = {g: str(cfg.hydra.runtime.choices[g]) for g in GROUPS}
        with open_dict(cfg):
            cfg.pop("about", None)  # of a method, which is no part of a run
            del cfg["hydra"]
        return cfg, choices

    def _options(self, overrides: Sequence[str]) -> dict[str, Any]:
        """Return the files of options, references as they are written."""
        from omegaconf import OmegaConf

        named = tuple(overrides)
        if named not in self._files:
            self._files[named] = dict(OmegaConf.to_container(self._load(named)[0]))  # type: ignore[arg-type]
        return self._files[named]

    def _study(self, config: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
        """Return what was chosen and typed for the ablation or experiment."""
        study: dict[str, Any] = {}
        for group in (g for g in STUDIES if isinstance(config.get(g), Mapping)):
            chosen = [o for o in overrides if o.partition("=")[0] == group]
            own = self._options(chosen)[group]
            study[group] = chosen[-1].partition("=")[2]
            for key, value in config[group].items():
                if key not in own or own[key] != value:
                    study[f"{'' if key in own else '+'}{group}.{key}"] = value
        return study

    def _suggestion(self, overrides: Sequence[str], error: Exception) -> str:
        """Return the nearest key that exists, for an override of one that does not."""
        import difflib

        named = re.search(r"Could not override '([\w.]+)'", str(error))
        if named is None:
            return ""
        options = [o for o in overrides if o.split("=")[0] in (*GROUPS, *OTHERS)]
        near = difflib.get_close_matches(
            named[1], [k for k, v in leaves(self._options(options)) if not isinstance(v, dict)], n=1
        )
        return f"; did you mean {near[0]}?" if near else ""
