"""What a config that came in a file may do: a bundle's and a record's, which travel between strangers.

Instantiating a config calls whatever it names. So a config that nobody typed may name the classes of this list and
nothing else, may hold no reference that is resolved on reading, and no name that leads out of a folder.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any

from magiqa.errors import UserError
from magiqa.runs.portable import plain_name

GROUPS = ("backbone", "prompts", "views", "magnitude", "fusion", "dataset")
STUDIES = ("ablation", "experiment")
OTHERS = (*STUDIES, "launcher")  # groups that a run itself does not need

CLASSES = frozenset(
    {
        "magiqa.backbones.spec.Backbone",
        "magiqa.method.prompts.PromptSet",
        "magiqa.images.views.Views",
        "magiqa.images.views.Resize",
        "magiqa.method.cues.BoxCox",
        "magiqa.method.cues.Plain",
        "magiqa.method.fusion.Adaptive",
        "magiqa.method.fusion.Fixed",
        "magiqa.method.fusion.Product",
        "magiqa.datasets.agiqa1k.Agiqa1k",
        "magiqa.datasets.agiqa3k.Agiqa3k",
        "magiqa.datasets.csiq.Csiq",
        "magiqa.datasets.folder.Folder",
        "magiqa.datasets.kadid10k.Kadid10k",
        "magiqa.datasets.koniq.Koniq",
        "magiqa.datasets.livec.Livec",
        "magiqa.datasets.pipal.Pipal",
        "magiqa.datasets.sample.Sample",
        "magiqa.datasets.spaq.Spaq",
        "magiqa.datasets.tid2013.Tid2013",
        "magiqa.runs.config.Style",
    }
)

_OPTION = re.compile(r"\w[\w.+-]*", re.ASCII)

_DEEPEST = 20  # levels: no config of magiqa has more than five


def check_config(
    config: Any, choices: Any, where: str, known: Collection[str], trusted: Collection[str] = ()
) -> None:
    """Refuse a config that could do anything but name magiqa's own classes and their values.

    Args:
        config: from a bundle or record. choices: its options by group. where: the file, for messages.
        known: the keys that a config may have. trusted: classes that the user named by ``trust=``.

    Raises:
        UserError: another class, a key that instantiating reads (``_args_``), a reference (``${``), an unknown key,
            the name of an option that is a path.
    """
    if not isinstance(config, Mapping) or not isinstance(choices, Mapping):
        raise UserError(f"{where}: its config is no mapping of keys; run magiqa evaluate anew")
    for key, value in config.items():
        if key not in known:
            raise UserError(f"{where}: its config holds the key {_short(key)}, which magiqa does not know")
        if key in GROUPS and not (isinstance(value, Mapping) and "_target_" in value):
            raise UserError(f"{where}: its config's {key} names no _target_; run magiqa evaluate anew")
        _check(value, key, where, {*CLASSES, *trusted}, 0)
    for group, option in choices.items():
        if group not in GROUPS or not isinstance(option, str) or not _OPTION.fullmatch(option):
            raise UserError(f"{where}: {_short(group)}={_short(option)} is no option's name")


def typed_model(name: str, typed: Collection[str], where: str) -> str:
    """Return the name of a file's backbone: one that leads to a folder or to the hub only as the user types it.

    Args:
        name: as the file has it. typed: values of ``backbone.name=``. where: the file, for messages.

    Raises:
        UserError: nobody typed that name.

    Example:
        >>> typed_model("local-dir:/theirs/clip", ["local-dir:~/clip"], "f"), typed_model("RN50", [], "f")
        ('local-dir:~/clip', 'RN50')
    """
    own = [name] if name in typed else [other for other in typed if plain_name(other) == plain_name(name)]
    if ":" in name and not own:
        raise UserError(
            f"{where}: its backbone.name {_short(name)} leads to a folder or to the hub; if you trust that model, add "
            f"backbone.name={plain_name(name)}, with the folder's path on this machine"
        )
    return own[-1] if own else name


def _check(value: Any, key: str, where: str, allowed: Collection[str], depth: int) -> None:
    if depth > _DEEPEST:
        raise UserError(f"{where}: its config's {key[:60]}... lies deeper than any of magiqa's")
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if name == "_target_":
                if not isinstance(inner, str) or inner not in allowed:
                    raise UserError(
                        f"{where}: its {key} is of the class {_short(inner)}, which is not magiqa's own and could run "
                        "anything; if you know and trust it, add trust=CLASS with that name"
                    )
                continue
            if not isinstance(name, str) or name.startswith("_") or "${" in name:
                raise UserError(
                    f"{where}: its config holds {key}.{_short(name)}, which no class of magiqa has"
                )
            _check(inner, f"{key}.{name}", where, allowed, depth + 1)
    elif isinstance(value, list | tuple):
        for i, inner in enumerate(value):
            _check(inner, f"{key}[{i}]", where, allowed, depth + 1)
    elif isinstance(value, str) and "${" in value:
        raise UserError(
            f"{where}: its config's {key} is {_short(value)}: references in files are not resolved"
        )


def _short(value: Any) -> str:
    """A stranger's text for a message: no control characters, not too long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:76]}..."
