"""The config of a run that was, from its record."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magiqa.config.compose import instantiated, override_value, top_keys, trusted_classes
from magiqa.config.paths import split_literal
from magiqa.config.trust import GROUPS
from magiqa.errors import UserError

if TYPE_CHECKING:
    from magiqa.runs.config import Job


def job_of(folder: Path, overrides: Sequence[str] = ()) -> "Job":
    """The job of a run's folder, from the config in its record; overrides of paths and machine settings on top."""
    from omegaconf import OmegaConf

    from magiqa.config.trust import check_config
    from magiqa.runs.config import default_cache_dir
    from magiqa.runs.read import read_record

    record = read_record(folder)
    rest, literal = split_literal(overrides)
    check_config(
        record.get("config"),
        record.get("choices"),
        f"{folder}/record.json",
        top_keys(),
        trusted_classes(rest),
    )
    cfg: Any = OmegaConf.create(record["config"])
    given = dict(map(override_value, rest))
    for key, value in [*given.items(), *literal.items()]:
        parent, _, leaf = key.rpartition(".")
        node = OmegaConf.select(cfg, parent) if parent else cfg
        if not OmegaConf.is_dict(node) or leaf not in [str(k) for k in node.keys()]:  # noqa: SIM118 (`in` hides ???)
            raise UserError(f"{key}: no such key in the config of {folder}")
        if key in GROUPS:
            raise UserError(
                f"{key}={value}: {folder} has its own config; override fields ({key}.FIELD=VALUE), not whole options"
            )
        OmegaConf.update(cfg, key, value)
    cfg["ablation"] = cfg["experiment"] = None
    if not cfg.get("cache_dir"):
        cfg["cache_dir"] = os.environ.get("MAGIQA_CACHE") or default_cache_dir()
    return instantiated(cfg, record["choices"])
