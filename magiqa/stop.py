"""Stopping a command from outside where nothing gets lost: Ctrl-C, and the SIGTERM that a scheduler sends.

Only commands listen (`listening`); in a library's use Python's own handlers and submitit's stay. While they listen, a
signal that comes within `unbroken` waits for its end; anywhere else it is raised at once.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn


class Terminated(SystemExit):
    """A SIGTERM: the command ends with exit code 143."""


class _State:
    depth = 0  # of unbroken blocks that the main thread is in
    waiting: int | None = None  # the signal that one of them holds back


@contextmanager
def listening() -> Iterator[None]:
    """Raise KeyboardInterrupt at SIGINT and `Terminated` at SIGTERM, but not within `unbroken`.

    Handlers that somebody else has set stay, as do all of them outside of the main thread.
    """
    before: dict[int, Any] = {}
    _State.waiting = None
    if threading.current_thread() is threading.main_thread():
        plain: dict[int, Any] = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
        for number in plain:
            if signal.getsignal(number) == plain[number]:
                before[number] = signal.signal(number, _heard)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _heard(number: int, frame: FrameType | None) -> None:
    insisted = number == signal.SIGINT and _State.waiting == number  # Ctrl-C twice: at once, whatever is lost
    if not _State.depth or insisted:
        _raise(number)
    _State.waiting = number


def _raise(number: int) -> NoReturn:
    _State.waiting = None
    if number == signal.SIGTERM:
        signal.signal(number, signal.SIG_IGN)  # once: what ends the command is not to be broken off
        raise Terminated(128 + number)
    raise KeyboardInterrupt


@contextmanager
def unbroken() -> Iterator[None]:
    """Hold back a signal until the block ends, in the main thread; elsewhere there are none.

    Raises:
        KeyboardInterrupt, Terminated: at the end, where a signal came and the block raised nothing itself.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _State.depth += 1
    try:
        yield
    finally:
        _State.depth -= 1
    if _State.waiting is not None and not _State.depth:
        _raise(_State.waiting)
