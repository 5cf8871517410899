"""What a bundle's own config says, where the overrides typed do not."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from magiqa.config.paths import typed_keys
from magiqa.config.sweep import override_value
from magiqa.config.trust import GROUPS, OTHERS, check_config
from magiqa.package import conf_dir
from magiqa.runs.config import MACHINE
from magiqa.runs.portable import portable


@dataclass(frozen=True)
class Bundled:
    """A bundle's part of a config.

    Args:
        options: overrides for the options that are packaged here too, so that Hydra checks typed keys against the
            right fields. nodes: its values, by key. choices: names of its options. changed: as its run recorded.
    """

    options: list[str] = field(default_factory=list)
    nodes: dict[str, Any] = field(default_factory=dict)
    choices: dict[str, str] = field(default_factory=dict)
    changed: dict[str, Any] = field(default_factory=dict)


def bundled(rest: Sequence[str], bundle: str | None) -> Bundled:
    """A bundle's part of a config, checked: its checksum first, then every class that it names.

    Raises:
        UserError: the file does not match its checksum, or its config names what is not magiqa's own.
    """
    if bundle is None:
        return Bundled()
    from omegaconf import OmegaConf

    from magiqa.features.bundle import open_bundle

    header = open_bundle(bundle).header
    known = [key for key in top_keys() if key not in (*MACHINE, *OTHERS)]
    config = header.config.given
    typed = set(typed_keys(rest))
    check_config(config, header.choices, f"bundle={bundle}", known, trusted_classes(rest))
    # paths of a bundle are of another machine: their last part is a name and no more
    held = {k: v for k, v in portable(config).items() if k not in typed}
    choices = {g: c for g, c in header.choices.items() if g in held}
    changed = {k: v for k, v in header.changed.items() if k.partition(".")[0] in held}
    options = [f"{g}={c}" for g, c in choices.items() if (conf_dir() / g / f"{c}.yaml").is_file()]
    nodes = {k: OmegaConf.create(v) if isinstance(v, dict) else v for k, v in held.items()}
    return Bundled(options, nodes, choices, changed)


@cache
def top_keys() -> tuple[str, ...]:
    """The keys of ``conf/config.yaml``, groups included."""
    import yaml

    own = yaml.safe_load((conf_dir() / "config.yaml").read_text())
    return (*GROUPS, *OTHERS, *(key for key in own if key != "defaults"))


def trusted_classes(overrides: Sequence[str]) -> list[str]:
    """The classes that the user names by ``trust=``: what a file may name beside magiqa's own."""
    given = dict(map(override_value, (o for o in overrides if o.startswith("trust=")))).get("trust", [])
    return [str(name) for name in (given if isinstance(given, list) else [given])]
