"""Where configs are looked for, and which overrides are paths."""

import re
from collections.abc import Sequence
from pathlib import Path

from magiqa.errors import UserError
from magiqa.package import conf_dir

LITERAL = re.compile(
    r"^\+{0,2}((?:[\w.]+\.)?(?:root|annotation|checkpoint)|out|bundle|cache_dir)=(.*)$", re.DOTALL
)


def search_path(config_dir: str | None) -> list[Path]:
    """The user's config folders: ``./conf`` and ``--config-dir``.

    Raises:
        UserError: a folder is missing, or holds a config that the package or the other folder has too (Hydra
            would silently ignore one of them).
    """
    own = conf_dir()
    folders: list[Path] = []
    if config_dir is not None:
        folder = Path(config_dir).expanduser()
        if not folder.is_dir():
            raise UserError(f"--config-dir {config_dir}: no such folder")
        folders.append(folder)
    if Path("conf").is_dir():
        folders.append(Path("conf"))
    seen: dict[Path, Path] = {f.relative_to(own): f for f in own.rglob("*.yaml")}
    out: list[Path] = []
    for folder in dict.fromkeys(f.resolve() for f in folders):
        if folder == own:
            continue
        for file in sorted(folder.rglob("*.yaml")):
            name = file.relative_to(folder)
            if name in seen:
                raise UserError(
                    f"{file}: {seen[name]} has that name too and one would be ignored; rename your file"
                )
            seen[name] = file
        out.append(folder)
    return out


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
