"""A command's arguments: words, keys of its own, and overrides of the config."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_origin

from magiqa.checked import Checked, kinds_of
from magiqa.config.typed import is_text, split_literal, yaml_value
from magiqa.errors import UserError, one_line
from magiqa.package import expanded

if TYPE_CHECKING:
    from magiqa.config.compose import Configs
    from magiqa.runs.config import RunConfig

Keys = TypeVar("Keys", bound=Checked)


@dataclass(frozen=True)
class Arguments:
    """The arguments of a command.

    Args:
        command: its name. typed: all before ``--``. paths: all behind it. sweep: whether ``-m`` was typed.
        config_dir: the folder of ``--config-dir``.
    """

    command: str
    typed: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    sweep: bool = False
    config_dir: str | None = None

    @cached_property
    def configs(self) -> "Configs":
        """The packaged configs and the user's own."""
        from magiqa.config.compose import Configs

        return Configs(self.config_dir)

    @property
    def words(self) -> list[str]:
        """All that is no override: an argument that exists as a path is a word, and all behind ``--`` is."""
        return [a for a in self.typed if _is_word(a)] + list(self.paths)

    @property
    def overrides(self) -> list[str]:
        """The overrides of a command that takes words too."""
        return [a for a in self.typed if not _is_word(a)]

    @property
    def only_overrides(self) -> list[str]:
        """The overrides of a command that takes no words.

        Raises:
            UserError: paths behind ``--``.
        """
        if self.paths:
            raise UserError(f"{self.command}: {self.paths[0]} is not understood; it takes KEY=VALUE only")
        return list(self.typed)

    def split(self, kind: type[Keys]) -> tuple[Keys, list[str]]:
        """Return the command's own keys, checked by their class, and all other overrides.

        Raises:
            UserError: a value that its field refuses.
        """
        values: dict[str, Any] = {}
        rest = []
        owner: Any = kind
        kinds = kinds_of(owner)
        for override in self.overrides:
            key, _, text = override.partition("=")
            group, _, name = key.partition(".")
            if key in kinds:
                values[key] = _value(key, text, kinds[key])
            elif group in kinds and _is_checked(kinds[group]) and name in kinds_of(kinds[group]):
                values.setdefault(group, {})[name] = _value(key, text, kinds_of(kinds[group])[name])
            else:
                rest.append(override)
        for name in (name for name in values if _is_checked(kinds[name])):
            values[name] = replace(
                getattr(owner, name), **values[name]
            )  # the class holds the field's default
        return kind(**values), rest

    def keys(self, kind: type[Keys]) -> Keys:
        """Return the keys of a command that composes no config.

        Raises:
            UserError: a key that it does not have, or a value that its field refuses.
        """
        keys, rest = self.split(kind)
        if rest:
            takes = ", ".join(f"{f.name}=" for f in fields(kind)) or "no keys"  # type: ignore[arg-type]
            raise UserError(f"{self.command}: {rest[0]} is not understood; it takes {takes}")
        return keys

    def results(self) -> tuple[list[Path], list[Path]]:
        """Return the words as folders of results, and CSVs of other programs' scores."""
        paths = [expanded(word) for word in self.words]
        tables = [
            path
            for path in paths
            if ".csv" in (path.suffix, path.suffix.partition(":")[0]) and not path.is_dir()
        ]
        return [path for path in paths if path not in tables], tables

    @property
    def out(self) -> Path | None:
        """The folder that ``out=`` names."""
        out = split_literal(self.typed)[1].get("out")
        return expanded(out) if out else None

    def job(self) -> "RunConfig":
        """Return the job of a command without ``-m`` and without words.

        Raises:
            UserError: see `here_only`.
        """
        self.here_only()
        return self.configs.job(self.only_overrides)

    def here_only(self) -> None:
        """Refuse a launcher: scoring takes seconds once the features are cached.

        Raises:
            UserError: ``launcher=`` asks for tasks.
        """
        cluster = self.configs.job([o for o in self.typed if o.startswith("launcher")]).launcher.cluster
        if cluster:
            raise UserError(
                f"launcher={cluster}: tasks encode images and do nothing else; fill the cache first with magiqa "
                f"encode, then type magiqa {self.command} without launcher="
            )

    def run_jobs(
        self,
        work: Callable[["Configs", list[str]], Any],
        prepare: Callable[[list[str]], list[str]],
        show: Callable[[Any], object],
    ) -> tuple[list[Any], list[dict[str, str]]]:
        """Run the jobs of ``-m``, and return the results, and the errors of those that failed.

        Args:
            work: does a job. prepare: makes the overrides that a job runs with. show: prints a result.
        """
        self.here_only()
        every = self.configs.jobs(self.only_overrides)
        results: list[Any] = []
        failures: list[dict[str, str]] = []
        for i, overrides in enumerate(every):
            print(f"[{i + 1}/{len(every)}] {' '.join(overrides)}", flush=True)
            try:
                results.append(work(self.configs, prepare(overrides)))
            except Exception as error:
                if os.environ.get("HYDRA_FULL_ERROR") == "1":
                    raise
                failures.append({"job": " ".join(overrides), "error": one_line(error)})
                print(f"magiqa: {one_line(error)}", file=sys.stderr, flush=True)
            else:
                show(results[-1])
        return results, failures

    def inside_out(self, study: str) -> Callable[[list[str]], list[str]]:
        """Return a function that gives each job of a study a folder of its own inside ``out``."""

        def prepare(overrides: list[str]) -> list[str]:
            if self.out is None:
                return overrides
            job = self.configs.job(overrides)
            return [*overrides, f"out={self.out}/{getattr(getattr(job, study), 'name', study)}-{job.name}"]

        return prepare


def _is_word(argument: str) -> bool:
    try:
        return "=" not in argument or expanded(argument).exists()
    except (OSError, ValueError, RuntimeError):  # what no file can be called
        return False


def _is_checked(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Checked)


def _value(key: str, text: str, kind: Any) -> Any:
    """Return a typed value as a field of that kind takes it; the brackets of lists and mappings may be left out."""
    if is_text(kind):
        return None if text == "null" else text
    origin = get_origin(kind)
    brackets = "[]" if origin in (tuple, Sequence) else "{}" if origin is Mapping else ""
    if brackets and not text.lstrip().startswith(brackets[0]):
        text = f"{brackets[0]}{text}{brackets[1]}"
    return yaml_value(key, text)
