"""Progress of long work: a bar in a terminal, a line now and then in a log."""

import sys
from typing import Any, TextIO

from tqdm import tqdm

SECONDS = 30.0  # between the lines of a log


class _Lines:
    """A log in which each state of a bar is a line of its own."""

    def __init__(self, log: TextIO) -> None:
        self._log = log

    def write(self, text: str) -> None:
        text = text.strip("\r\n ")
        if text:
            self._log.write(f"{text}\n")

    def flush(self) -> None:
        self._log.flush()


def progress_bar(*over: Any, shown: bool = True, **options: Any) -> Any:
    """Return tqdm's bar, on stderr.

    Args:
        over: what to go through, or nothing. shown: False draws none. options: tqdm's own.
    """
    if not shown or sys.stderr.isatty():
        return tqdm(*over, disable=not shown, **options)
    return tqdm(*over, file=_Lines(sys.stderr), mininterval=SECONDS, maxinterval=SECONDS, ncols=80, **options)
