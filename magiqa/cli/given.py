"""What was typed behind a command's name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from magiqa.config.compose import Configs
from magiqa.errors import UserError

Word = TypeVar("Word", bound=str)


@dataclass(frozen=True)
class Given:
    """A command's arguments.

    Args:
        command: its name. args: all before ``--``, as typed. paths: all behind it. multirun: ``-m``.
        config_dir: ``--config-dir``.
    """

    command: str
    args: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    multirun: bool = False
    config_dir: str | None = None

    @cached_property
    def configs(self) -> Configs:
        """The packaged configs and the user's own."""
        return Configs(self.config_dir)

    @property
    def words(self) -> list[str]:
        """What is no override, in order: an argument that exists as a path is a word, all behind ``--`` is."""
        return [a for a in self.args if _is_word(a)] + list(self.paths)

    @property
    def overrides(self) -> list[str]:
        """Overrides of a command that takes words too."""
        return [a for a in self.args if not _is_word(a)]

    @property
    def typed(self) -> list[str]:
        """Overrides of a command that takes no words.

        Raises:
            UserError: paths behind ``--``.
        """
        if self.paths:
            raise UserError(f"{self.command}: {self.paths[0]} is not understood; it takes KEY=VALUE only")
        return list(self.args)

    def keys(self, known: Sequence[str]) -> dict[str, str]:
        """The overrides of a command that composes no config.

        Raises:
            UserError: another key than those known.
        """
        out: dict[str, str] = {}
        for override in self.overrides:
            key, _, value = override.partition("=")
            if key not in known:
                takes = f"it takes {', '.join(f'{k}=' for k in known)}" if known else "it takes no keys"
                raise UserError(f"{self.command}: {override} is not understood; {takes}")
            out[key] = value
        return out

    def whole(self, keys: dict[str, str], key: str, default: int) -> int:
        """A whole number among keys.

        Raises:
            UserError: it is none.
        """
        value = keys.get(key)
        if value is not None and not (value.isascii() and value.isdigit()):
            raise UserError(f"{self.command}: {key}={value} must be a whole number")
        return default if value is None else int(value)

    def truth(self, keys: dict[str, str], key: str, default: bool) -> bool:
        """True or false among keys.

        Raises:
            UserError: it is neither.
        """
        value = keys.get(key, str(default).lower())
        if value not in ("true", "false"):
            raise UserError(f"{self.command}: {key}={value} must be true or false")
        return value == "true"

    def one_of(self, keys: dict[str, str], key: str, allowed: Sequence[Word], default: Word) -> Word:
        """One of a few words among keys.

        Raises:
            UserError: another word.
        """
        value = keys.get(key, default)
        for word in allowed:
            if value == word:
                return word
        raise UserError(f"{self.command}: {key}={value} is not known: use {', '.join(allowed)}")

    def several(self, keys: dict[str, str], key: str) -> tuple[str, ...]:
        """Words with commas between them, with or without brackets around them; () without the key."""
        parts = keys.get(key, "").strip("[]").split(",")
        return tuple(part.strip() for part in parts if part.strip())

    def folders_and_csvs(self) -> tuple[list[Path], list[Path]]:
        """The words: folders of results, and CSVs of other programs' scores."""
        paths = [Path(word).expanduser() for word in self.words]
        csvs = [path for path in paths if path.suffix == ".csv" and not path.is_dir()]
        return [path for path in paths if path not in csvs], csvs


Command = Callable[[Given], int]


def _is_word(arg: str) -> bool:
    if "=" not in arg:
        return True
    try:
        return Path(arg).expanduser().exists()
    except (OSError, ValueError, RuntimeError):  # what no file can be called
        return False
