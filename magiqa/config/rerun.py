"""The config of a run that was, from its record."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from magiqa.config.compose import instantiated
from magiqa.config.from_bundle import top_keys, trusted_classes
from magiqa.config.paths import split_literal
from magiqa.config.sweep import override_value
from magiqa.config.trust import GROUPS, check_config, typed_model
from magiqa.errors import UserError
from magiqa.runs.config import MACHINE, RunConfig, default_cache_dir
from magiqa.runs.portable import PLACES
from magiqa.runs.read import read_record


def job_of(folder: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """The job of a run's folder, from the config in its record; overrides of paths and machine settings on top.

    Raises:
        UserError: the folder is no run's; its config names what is not magiqa's own; a key that it does not have.
    """
    from omegaconf import OmegaConf

    record = read_record(folder)
    rest, literal = split_literal(overrides)
    where = f"{folder}/record.json"
    config = {
        k: v for k, v in record.given["config"].items() if k != "launcher"
    }  # its setup lines are a shell's
    check_config(config, record.choices, where, top_keys(), trusted_classes(rest))
    cfg: Any = OmegaConf.create(config)
    changed = dict(record.changed)
    values = [*map(override_value, rest), *literal.items()]
    models = [str(value) for key, value in values if key == "backbone.name" and ":" in str(value)]
    for key, value in values:
        if value in models and key == "backbone.name":
            continue
        parent, _, leaf = key.rpartition(".")
        node = OmegaConf.select(cfg, parent) if parent else cfg
        if not OmegaConf.is_dict(node) or leaf not in [str(k) for k in node.keys()]:  # noqa: SIM118 (`in` hides ???)
            raise UserError(f"{key}: no such key in the config of {folder}")
        if key in GROUPS:
            raise UserError(
                f"{key}={value}: {folder} has its own config; override fields ({key}.FIELD=VALUE), not whole options"
            )
        if leaf not in PLACES and key not in MACHINE and OmegaConf.select(cfg, key) != value:
            changed[key] = value
        OmegaConf.update(cfg, key, value)
    cfg.backbone.name = typed_model(str(cfg.backbone.name), models, where)
    cfg["ablation"] = cfg["experiment"] = None
    if not cfg.get("cache_dir"):
        cfg["cache_dir"] = default_cache_dir()
    return instantiated(OmegaConf.to_container(cfg, resolve=True), record.choices, changed)  # type: ignore[arg-type]
