"""Overrides as a user types them: some are text, the others are read by Hydra's grammar."""

import re
from collections.abc import Sequence
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from magiqa.checked import kinds_of
from magiqa.errors import UserError

GROUPS = ("backbone", "prompts", "views", "magnitude", "fusion", "dataset")
STUDIES = ("ablation", "experiment")
OTHERS = (*STUDIES, "launcher", "method")  # groups that a run itself does not need

_PATHS = (
    r"(?:[\w.]+\.)?(?:root|annotation|split_file|checkpoint|context|statistics_from)"
    r"|prompts\.features|launcher\.folder|roots\.\w+|out|bundle|cache_dir"
)
_OVERRIDE = re.compile(r"\+{0,2}([\w./@-]*)=(.*)", re.DOTALL)


def typed_keys(overrides: Sequence[str]) -> list[str]:
    """Return the keys that overrides set.

    Example:
        >>> typed_keys(["+a.b=1", "~c", "dataset@d=x"])
        ['a.b', 'c', 'dataset']
    """
    return [o.lstrip("+~").partition("=")[0].partition("@")[0] for o in overrides]


@cache
def text_keys() -> frozenset[str]:
    """Return the keys whose values are text, by the annotations of magiqa's own classes."""
    from magiqa.backbones.spec import Backbone
    from magiqa.config.launch import Launcher
    from magiqa.datasets.base import sets
    from magiqa.datasets.folder import Folder
    from magiqa.method.prompts import PromptSet
    from magiqa.runs.config import PARTS

    owners: dict[str, list[Any]] = {
        "backbone.": [Backbone],
        "prompts.": [PromptSet],
        "launcher.": [Launcher],
        "dataset.": [Folder, *sets().values()],
        "": list(PARTS.values()),
    }
    return frozenset(
        f"{prefix}{name}"
        for prefix, classes in owners.items()
        for owner in classes
        for name, kind in kinds_of(owner).items()
        if is_text(kind)
    )


def is_text(kind: Any) -> bool:
    """Tell if an annotation asks for text, or text or null."""
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    return set(kinds) - {NoneType} == {str}


def split_literal(overrides: Sequence[str], *, sweep: bool = False) -> tuple[list[str], dict[str, Any]]:
    """Set apart the overrides that Hydra's grammar must not touch: paths, text, and lists that it cannot read.

    Args:
        sweep: text that the grammar can read is left to it, since ``a,b`` stands for two values.

    Raises:
        UserError: a key of Hydra's own; a list that YAML cannot read either.

    Example:
        >>> split_literal(["fusion.alpha=2", "dataset.root=~/a b,[c]", "dataset.mos_column=MOS (1-5)"])
        (['fusion.alpha=2'], {'dataset.root': '~/a b,[c]', 'dataset.mos_column': 'MOS (1-5)'})
    """
    rest: list[str] = []
    literal: dict[str, Any] = {}
    for override in overrides:
        match = _OVERRIDE.fullmatch(override)
        key, value = (match[1], match[2]) if match else ("", "")
        if re.match(r"hydra\b", key):
            raise UserError(f"{override}: magiqa takes no key of Hydra's; out=DIR says where results go")
        if re.fullmatch(_PATHS, key):
            literal[key] = None if value == "null" else value
        elif key in text_keys() and not (sweep and _readable(override)):
            literal[key] = _text(override, value)
        elif value.startswith("[") and not _readable(override):
            literal[key] = yaml_value(key, value)
        else:
            rest.append(override)
    return rest, literal


def _readable(override: str) -> bool:
    from hydra.errors import HydraException

    try:
        _parsed(override)
    except HydraException:
        return False
    return True


def _text(override: str, value: str) -> str | None:
    """Return text as typed; quotes around all of it are Hydra's."""
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" and _readable(override)
    text = _parsed(override).value() if quoted else value
    return None if value == "null" else text if isinstance(text, str) else value


def yaml_value(key: str, text: str) -> Any:
    """Return what a text says in YAML.

    Raises:
        UserError: it is no YAML.
    """
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise UserError(f"{key}={text} is not understood; put each text between quotes") from None


def _parsed(override: str, loader: Any = None) -> Any:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create(config_loader=loader).parse_overrides([override])[0]


def sweep_jobs(overrides: Sequence[str], loader: Any = None) -> list[list[str]]:
    """Return the product of choices, a list of overrides for each job; ``out`` is left out.

    Args:
        loader: Hydra's loader of configs, which ``glob(*)`` asks for the options that there are.

    Example:
        >>> sweep_jobs(["fusion=fixed,product", "dataset.root=a,b"])
        [['fusion=fixed', 'dataset.root=a,b'], ['fusion=product', 'dataset.root=a,b']]
    """
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    rest = split_literal(overrides, sweep=True)[0]
    literal = [o for o in overrides if o not in rest and "out" not in typed_keys([o])]
    batches = BasicSweeper.split_arguments([_parsed(o, loader) for o in rest], max_batch_size=None)
    return [[*job, *literal] for batch in batches for job in batch]


def override_value(override: str) -> tuple[str, Any]:
    """Return the key and the value of an override.

    Raises:
        UserError: several values, a deletion, or no override at all.

    Example:
        >>> override_value("max_pixels=500"), override_value("views.kinds=[whole]")
        (('max_pixels', 500), ('views.kinds', ['whole']))
    """
    parsed = _parsed(override)
    if parsed.is_sweep_override() or parsed.is_delete():
        raise UserError(f"{override}: give one value, as KEY=VALUE")
    return parsed.key_or_group, parsed.value()
