"""The ``magiqa`` command: each file of this folder is a command, whose docstring is its help."""

import argparse
import ast
import os
import pkgutil
import sys
import textwrap
from collections.abc import Collection, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from importlib import import_module
from importlib.util import find_spec
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NoReturn

from magiqa.config.arguments import Arguments
from magiqa.errors import BOLD, PLAIN, UserError, one_line, printable
from magiqa.package import conf_dir, expanded
from magiqa.stop import Terminated, listening

COMMANDS = tuple(
    module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]) if module.name != "main"
)
TASKS = ("score images", "evaluate on ratings", "study", "publish", "housekeeping")
HEAD = """magiqa: training-free, CLIP-based no-reference image quality assessment.

  magiqa COMMAND [GROUP=OPTION] [KEY=VALUE] [PATH]     magiqa COMMAND --help
"""
EXAMPLES = """
Examples:
  magiqa score ~/photos html=sheet.html
  magiqa evaluate dataset=folder dataset.root=~/photos backbone=rn50
  magiqa report results/runs out=report

-m runs every combination of GROUP=A,B; --cfg prints the composed config;
--config-dir DIR adds options of your own to those in ./conf; after -- all words
are paths; HYDRA_FULL_ERROR=1 shows tracebacks.
"""


def description(name: str) -> tuple[str, dict[str, Any]]:
    """Return a command's docstring and its constants, read from its file: imports take time, and -OO drops docstrings.

    Raises:
        UserError: there is no such command.
    """
    if name not in COMMANDS:
        raise UserError(f"magiqa {name}: no such command; use {', '.join(COMMANDS)}, or --help")
    tree = ast.parse(Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8"))
    constants = {
        ast.unparse(node.targets[0]): ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in ("TASK", "KEYS")
    }
    return ast.get_docstring(tree) or "", constants


def overview() -> str:
    """Return the commands by task, a line each, and examples."""
    lines = [HEAD]
    descriptions = {name: description(name) for name in COMMANDS}
    for task in TASKS:
        lines.append(f"{task.capitalize()}:")
        lines += [
            f"  {name:<11} {text.splitlines()[0]}"
            for name, (text, constants) in descriptions.items()
            if constants["TASK"] == task
        ]
    return "\n".join([*lines, EXAMPLES])


def help_of(name: str) -> str:
    """Return a command's docstring, and the defaults of the config keys that people use with it."""
    text, constants = description(name)
    text, _, example = text.partition("Example:\n")
    keys = "\n".join(line for key in constants.get("KEYS", ()) for line in _key_help(key))
    keys = f"Keys of the config, with their defaults (all: magiqa {name} --cfg):\n{keys}\n\n" if keys else ""
    return f"magiqa {name}: {text}{keys}Example:\n{example}\n"


def _key_help(key: str) -> list[str]:
    """Return the lines for one key, from the comment in ``config.yaml`` or the names of a group's options."""
    lines = (line.strip(" -") for line in (conf_dir() / "config.yaml").read_text().splitlines())
    value, _, about = (
        next(line for line in lines if line.startswith(f"{key}:")).partition(":")[2].partition("#")
    )
    if (conf_dir() / key).is_dir():
        about = ", ".join(sorted(file.stem for file in (conf_dir() / key).glob("*.yaml")))
    text = f"  {f'{key}={value.strip()}':<22} {about.strip()}"
    return textwrap.wrap(text, 78, subsequent_indent=" " * 25)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(
            f"{message}: everything but --help, --version, -m, --cfg and --config-dir DIR is KEY=VALUE"
        )


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, Arguments]:
    """Return the flags, and what else was typed.

    Raises:
        UserError: a flag that does not exist, ``--config-dir`` without a folder.

    Example:
        >>> parse(["compare", "-m", "a", "--", "b=c"])[1]
        Arguments(command='compare', typed=('a',), paths=('b=c',), sweep=True, config_dir=None)
    """
    argv = [*argv[:1], *map(_as_path, argv[1:])]
    end = argv.index("--") if "--" in argv else len(argv)
    parser = _Parser(prog="magiqa", add_help=False, allow_abbrev=False)
    parser.add_argument("words", nargs="*")
    parser.add_argument("-m", "--multirun", action="store_true")
    parser.add_argument("-h", "--help", action="store_true")
    for flag in ("--cfg", "--version"):
        parser.add_argument(flag, action="store_true")
    parser.add_argument("--config-dir")
    flags = parser.parse_intermixed_args(argv[:end])
    command, *typed = flags.words or [""]
    return flags, Arguments(command, tuple(typed), tuple(argv[end + 1 :]), flags.multirun, flags.config_dir)


def _as_path(argument: str) -> str:
    """Return an argument that exists as a path so that it is none of ours: a flag, or somebody's home."""
    return f"./{argument}" if argument[:1] in ("-", "~") and os.path.lexists(argument) else argument


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit code: 0, 2 for what a user can mend; 130, 141, 143 at Ctrl-C, a closed pipe, SIGTERM."""
    _open_streams()
    style = (BOLD, PLAIN) if sys.stdout.isatty() else ()
    with listening(), redirect_stdout(_Plain(sys.stdout, style)), redirect_stderr(_Plain(sys.stderr, "\r")):
        return _main(sys.argv[1:] if argv is None else argv)


def _open_streams() -> None:
    """Open the null device where the caller has closed a stream; write as an escape what a stream cannot encode."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _set_up_matplotlib() -> None:
    """Give matplotlib a backend without a screen, its own settings, and magiqa's cache for its list of fonts.

    A ``matplotlibrc`` of the working folder, of the home or of a shared cache would change figures.
    """
    from magiqa.runs.config import default_cache_dir

    os.environ["MPLBACKEND"] = "agg"
    package = find_spec("matplotlib")
    if package is not None and package.origin is not None:
        os.environ["MATPLOTLIBRC"] = str(Path(package.origin).parent / "mpl-data" / "matplotlibrc")
    with suppress(UserError):  # no home: the command tells
        os.environ.setdefault("MPLCONFIGDIR", str(expanded(default_cache_dir()) / "matplotlib"))


class _Plain:
    """A stream that shows text of strangers' files as text: it moves no cursor and hides nothing."""

    def __init__(self, stream: Any, kept: Collection[str] = ()) -> None:
        self._stream, self._kept = stream, kept  # of progress bars: they go back to the line's beginning

    def write(self, text: str) -> int:
        self._stream.write(printable(text, self._kept))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _main(argv: Sequence[str]) -> int:
    try:
        flags, arguments = parse(argv)
        if flags.version:
            from magiqa import __version__

            print(f"magiqa {__version__}")
            return 0
        if not arguments.command:
            print(overview())
            return 0 if flags.help else 2
        if flags.help:
            print(help_of(arguments.command), end="")
            return 0
        description(arguments.command)  # there is such a command
        command: Any = import_module(f"magiqa.cli.{arguments.command}")
        if flags.cfg:
            print(arguments.configs.text(arguments.only_overrides), end="")
            return 0
        _set_up_matplotlib()
        code = int(command.run(arguments))
        sys.stdout.flush()
        return code
    except (KeyboardInterrupt, Terminated) as stopped:
        if isinstance(stopped.__context__, UserError):  # it was ending already, and not all may be cached
            print(f"magiqa: {one_line(stopped.__context__)}", file=sys.stderr)
            return 2
        print(
            "magiqa: stopped; what was encoded is cached: the same command goes on from there",
            file=sys.stderr,
        )
        return 143 if isinstance(stopped, Terminated) else 130
    except BrokenPipeError:  # whoever read has read enough; nothing is left to say at the exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno() if sys.__stdout__ else 1)
        return 141
    except Exception as error:
        from magiqa.config.objects import is_users

        # an OSError is the disk's or the machine's: it has no place in the code to look for
        if os.environ.get("HYDRA_FULL_ERROR") == "1" or not (is_users(error) or isinstance(error, OSError)):
            raise
        print(f"magiqa: {one_line(error)}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
