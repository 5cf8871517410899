"""Presets: published methods, each as one option of the group ``method``, with what is known of it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml

from magiqa.package import conf_dir

GROUPS = ("backbone", "prompts", "views", "magnitude", "fusion")


@dataclass(frozen=True)
class Preset:
    """A published method.

    Args:
        name: of its option. options: the option of each of `GROUPS`.
        title: its authors' name for it. weights: where to get weights of its own; empty if it takes any CLIP's.
        differs: how other implementations differ.
    """

    name: str
    options: Mapping[str, str]
    title: str
    paper: str
    code: str
    licence: str
    differs: str
    weights: str = ""

    @classmethod
    def of(cls, name: str, node: Mapping[str, Any]) -> "Preset":
        """Read the content of an option's file."""
        options = {
            group.removeprefix("override /"): option
            for entry in node["defaults"]
            for group, option in entry.items()
        }
        return cls(name, options, **node["about"])

    def changes(
        self, choices: Mapping[str, str], changed: Mapping[str, Any], groups: Collection[str] = GROUPS
    ) -> list[str]:
        """Return what a run sets otherwise; any backbone will do if the method has no weights of its own.

        Args:
            choices: the option of each group. changed: the run's changes of these options.
            groups: those that count.
        """
        own = [g for g in self.options if g in groups and (g != "backbone" or self.weights)]
        keys = [
            key
            for key in changed
            if key.partition(".")[0] in own or key in ("pooling", "backbone.positional_embedding")
        ]
        other = [f"{g}={choices.get(g)}" for g in own if choices.get(g) != self.options[g]]
        return other + [f"{key}={changed[key]}" for key in keys]


@cache
def presets() -> dict[str, Preset]:
    """Return the packaged presets by name."""
    files = sorted((conf_dir() / "method").glob("*.yaml"))
    return {file.stem: Preset.of(file.stem, yaml.safe_load(file.read_text())) for file in files}


def changed_name(overrides: Sequence[str], choices: Mapping[str, str], changed: Mapping[str, Any]) -> str:
    """Return the title of the method that was typed, with what the run changed of it; empty if nothing."""
    typed = [o.partition("=")[2] for o in overrides if o.startswith("method=")]
    preset = presets().get(typed[-1]) if typed else None
    changes = preset.changes(choices, changed) if preset else []
    return f"{preset.title} ({', '.join(changes)})" if preset and changes else ""


def maclip() -> dict[str, str]:
    """Return MA-CLIP on any backbone, as the overrides of a job."""
    options = {group: name for group, name in presets()["maclip"].options.items() if group != "backbone"}
    return options | {"pooling": "mean", "backbone.positional_embedding": "drop"}
