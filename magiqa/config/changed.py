"""What a run changed of the options that it names: the part of its method that no option's name tells."""

from collections.abc import Mapping
from typing import Any

from magiqa.config.trust import GROUPS, STUDIES
from magiqa.runs.config import MACHINE
from magiqa.runs.portable import PLACES


def changed_keys(config: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The keys whose values differ from what the options' files say: dotted key -> value.

    Where files lie and what belongs to a machine is left out, and so are studies: they vary the rest.

    Example:
        >>> changed_keys({"fusion": {"alpha": 2}, "seed": 0}, {"fusion": {"alpha": 1}, "seed": 0})
        {'fusion.alpha': 2}
    """
    out: dict[str, Any] = {}
    for key, value in config.items():
        if key in (*MACHINE, *STUDIES):
            continue
        own = options.get(key)
        if key in GROUPS and isinstance(value, Mapping) and isinstance(own, Mapping):
            for leaf, inner in value.items():
                if leaf not in PLACES and leaf != "_target_" and inner != own.get(leaf):
                    out[f"{key}.{leaf}"] = inner
        elif value != own:
            out[key] = value
    return out
