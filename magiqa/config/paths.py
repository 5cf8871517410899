"""Where configs are looked for, and which overrides are paths."""

import re
from collections.abc import Sequence
from pathlib import Path

from magiqa.config.own_files import read_option
from magiqa.config.trust import GROUPS, OTHERS
from magiqa.errors import UserError
from magiqa.package import conf_dir

_PATHS = r"(?:[\w.]+\.)?(?:root|annotation|checkpoint)|launcher\.folder|roots\.\w+|out|bundle|cache_dir"
LITERAL = re.compile(rf"^\+{{0,2}}({_PATHS})=(.*)$", re.DOTALL)


def own_folders(config_dir: str | None) -> list[Path]:
    """The user's config folders: ``--config-dir`` and ``./conf``.

    Only what lies in magiqa's own groups counts (``conf/prompts/mine.yaml``): a folder of another Hydra project is no
    obstacle. A file with the same bytes as the packaged one is none either.

    Raises:
        UserError: a folder is missing, or holds an option that the package or the other folder has too with other
            contents (Hydra would silently ignore one of them).
    """
    packaged = conf_dir()
    folders: list[Path] = []
    if config_dir is not None:
        folder = Path(config_dir).expanduser()
        if not folder.is_dir():
            raise UserError(f"--config-dir {config_dir}: no such folder")
        folders.append(folder)
    if Path("conf").is_dir():
        folders.append(Path("conf"))
    found = [f for f in dict.fromkeys(f.resolve() for f in folders) if f != packaged]
    first: dict[str, Path] = {}
    for folder in (packaged, *found):
        for group in (*GROUPS, *OTHERS):
            for file in sorted((folder / group).glob("*.yaml")):
                other = first.setdefault(f"{group}/{file.name}", file)
                if read_option(other) != read_option(file):
                    raise UserError(
                        f"{file}: {other} has that name too and one would be ignored; rename your file"
                    )
    return found


def split_literal(overrides: Sequence[str]) -> tuple[list[str], dict[str, str | None]]:
    """Set apart the overrides whose values are paths, which Hydra's grammar must not touch.

    Example:
        >>> split_literal(["fusion.alpha=2", "dataset.root=~/a b,[c]"])
        (['fusion.alpha=2'], {'dataset.root': '~/a b,[c]'})
    """
    rest: list[str] = []
    literal: dict[str, str | None] = {}
    for override in overrides:
        match = LITERAL.match(override)
        if match:
            literal[match[1]] = None if match[2] == "null" else match[2]
        else:
            rest.append(override)
    return rest, literal


def typed_keys(overrides: Sequence[str]) -> list[str]:
    """The keys that overrides set.

    Example:
        >>> typed_keys(["+a.b=1", "~c", "dataset@d=x"])
        ['a.b', 'c', 'dataset']
    """
    return [o.lstrip("+~").partition("=")[0].partition("@")[0] for o in overrides]
