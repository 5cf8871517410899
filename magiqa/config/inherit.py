"""What of the overrides typed goes on to the options that a study names."""

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from magiqa.config.compose import compose, make_job, typed_keys
from magiqa.config.trust import GROUPS
from magiqa.package import conf_dir

if TYPE_CHECKING:
    from magiqa.runs.config import Job

# where files lie and how small images are dealt with: true of a data set or machine, whichever option is named
_PLACES = ("dataset.root", "dataset.annotation", "backbone.checkpoint", "views.small")


def composer(args: Sequence[str], searchpath: str, *, packaged: bool = False) -> "Callable[[list[str]], Job]":
    """Composes a job anew with some overrides in place of those of the same keys.

    Where an override names a group's option (``fusion=fixed``), keys typed for that group (``fusion.alpha=2``) go on
    to it if it and the option configured have them with the same value: what sets the two apart is as the option
    says. Paths, and what is done with small images, always go on.

    Args:
        packaged: no other key goes on: an option that is named is what its file says.
    """
    fields = cache(partial(_fields, searchpath=searchpath))  # the same options come in many variants

    def shared(group: str, overrides: list[str]) -> set[str]:
        """The keys that the option configured and that of the overrides have with the same value."""
        one, other = (
            fields(
                group,
                tuple(a for a, k in zip(texts, typed_keys(texts), strict=True) if k in (group, "bundle")),
            )
            for texts in (args, overrides)
        )
        return {key for key, value in one.items() if other.get(key) == value}

    def composed(overrides: list[str]) -> "Job":
        new = set(typed_keys(overrides))
        kept = [a for a, key in zip(args, typed_keys(args), strict=True) if key not in new]
        for group in new.intersection(GROUPS):
            typed = {k for k in typed_keys(kept) if k.startswith(f"{group}.")}.difference(_PLACES)
            if typed:
                typed -= set() if packaged else shared(group, overrides)
                kept = [a for a, key in zip(kept, typed_keys(kept), strict=True) if key not in typed]
        return make_job([*kept, *overrides], searchpath)

    return composed


def _fields(group: str, chosen: tuple[str, ...], searchpath: str) -> dict[str, str]:
    """The keys and values of a group's option, which overrides choose, as its file says."""
    from omegaconf import OmegaConf

    cfg, choices = compose(chosen, searchpath)
    option = choices[group]
    if (conf_dir() / group / f"{option}.yaml").is_file():  # as packaged, not as a bundle had it
        cfg, _ = compose([f"{group}={option}"], searchpath)
    return {key: repr(value) for key, value in _leaves(OmegaConf.to_container(cfg[group]), group)}


def _leaves(node: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of nested mappings, inner nodes too."""
    yield prefix, node
    for key, value in node.items() if isinstance(node, dict) else ():
        yield from _leaves(value, f"{prefix}.{key}")
