"""The ``magiqa`` command: a file here a command, whose docstring is its help."""

import os
import sys
from collections.abc import Collection, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from magiqa.cli.given import Given
from magiqa.config.objects import is_users
from magiqa.config.typed import GROUPS, OTHERS
from magiqa.errors import BOLD, PLAIN, UserError, one_line, printable
from magiqa.package import conf_dir
from magiqa.runs.config import default_cache_dir
from magiqa.stop import Terminated, listening

COMMANDS = (
    "evaluate",
    "encode",
    "score",
    "probe",
    "ablate",
    "experiment",
    "compare",
    "reconcile",
    "report",
    "paper",
    "pack",
    "verify",
    "check",
    "datasets",
    "cache",
)
HELP = """magiqa: training-free, CLIP-based no-reference image quality assessment, benchmarked.

  magiqa COMMAND [GROUP=OPTION] [KEY=VALUE] [PATH]      magiqa COMMAND --help

{commands}

Options of each group (own ones: ./conf/GROUP/NAME.yaml, or --config-dir DIR, in the form that --cfg prints):

{options}

-m runs every combination of GROUP=A,B; --cfg prints the composed config; behind -- all words are paths;
HYDRA_FULL_ERROR=1 shows tracebacks.
"""


def command_of(name: str) -> Any:
    """The module of a command: its docstring is the help, ``run`` what it does."""
    return import_module(f"magiqa.cli.{name}")


def help_text() -> str:
    """One screen: the commands, and the options of each group, read from their folders."""
    commands = "\n".join(f"  {name:<11} {command_of(name).__doc__.splitlines()[0]}" for name in COMMANDS)
    options = "\n".join(
        f"  {g:<10} {', '.join(sorted(f.stem for f in (conf_dir() / g).glob('*.yaml')))}"
        for g in (*GROUPS, *OTHERS)
    )
    return HELP.format(commands=commands, options=options)


def parse(argv: Sequence[str]) -> tuple[set[str], Given]:
    """The flags, and what else was typed: everything is KEY=VALUE but five flags and paths.

    Raises:
        UserError: a flag that does not exist, ``--config-dir`` without a folder.

    Example:
        >>> parse(["compare", "-m", "a", "--", "b=c"])
        ({'-m'}, Given(command='compare', args=('a',), paths=('b=c',), multirun=True, config_dir=None))
    """
    before, paths = list(argv), []
    if "--" in before:
        at = before.index("--")
        before, paths = before[:at], before[at + 1 :]
    flags: set[str] = set()
    words: list[str] = []
    config_dir: str | None = None
    pending = iter(before)
    for arg in pending:
        if arg in _FLAGS:
            flags.add(_FLAGS[arg])
        elif arg == "--config-dir" or arg.startswith("--config-dir="):
            config_dir = arg.partition("=")[2] or next(pending, "")
            if not config_dir:
                raise UserError("--config-dir: give a folder")
        elif (arg.startswith("-") and arg[1:2].isalpha()) or arg.startswith("--"):
            meant = arg.lstrip("-")
            remedy = (
                f"write {meant}" if "=" in meant else "use --help, --version, -m, --cfg or --config-dir DIR"
            )
            raise UserError(f"{arg} is not understood: {remedy}")
        else:
            words.append(arg)
    command, args = (words[0], words[1:]) if words else ("", [])
    return flags, Given(command, tuple(args), tuple(paths), "-m" in flags, config_dir)


_FLAGS = {
    "-h": "--help",
    "--help": "--help",
    "--version": "--version",
    "-m": "-m",
    "--multirun": "-m",
    "--cfg": "--cfg",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit code: 0, 2 for what a user can mend; 130, 141, 143 at Ctrl-C, a closed pipe, SIGTERM."""
    _open_streams()
    _set_up_matplotlib()
    style = (BOLD, PLAIN) if sys.stdout.isatty() else ()
    with listening(), redirect_stdout(_Plain(sys.stdout, style)), redirect_stderr(_Plain(sys.stderr, "\r")):
        return _main(argv)


def _open_streams() -> None:
    """Open the null device where the caller has closed a stream; write as an escape what a stream cannot encode."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _set_up_matplotlib() -> None:
    """Give matplotlib a backend that needs no notebook or screen, and magiqa's cache for its list of fonts."""
    os.environ["MPLBACKEND"] = "agg"
    with suppress(RuntimeError):  # no home: the command tells
        folder = Path(default_cache_dir()).expanduser() / "matplotlib"
        os.environ.setdefault("MPLCONFIGDIR", str(folder))


class _Plain:
    """A stream that shows text of strangers' files as text: it moves no cursor and hides nothing."""

    def __init__(self, stream: Any, kept: Collection[str] = ()) -> None:
        self._stream, self._kept = stream, kept  # of progress bars: they go back to the line's beginning

    def write(self, text: str) -> int:
        self._stream.write(printable(text, self._kept))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _main(argv: Sequence[str] | None) -> int:
    try:
        flags, given = parse(sys.argv[1:] if argv is None else argv)
        if "--version" in flags:
            from magiqa import __version__

            print(f"magiqa {__version__}")
            return 0
        if not given.command:
            print(help_text())
            return 0 if "--help" in flags else 2
        if given.command not in COMMANDS:
            raise UserError(f"magiqa {given.command}: no such command; use {', '.join(COMMANDS)}, or --help")
        command = command_of(given.command)
        if "--help" in flags:
            print(f"magiqa {given.command}: {command.__doc__}", end="")
            return 0
        if "--cfg" in flags:
            print(given.configs.text(given.typed), end="")
            return 0
        code = int(command.run(given))
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
        # an OSError is the disk's or the machine's: it has no place in the code to look for
        if os.environ.get("HYDRA_FULL_ERROR") == "1" or not (is_users(error) or isinstance(error, OSError)):
            raise
        print(f"magiqa: {one_line(error)}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
