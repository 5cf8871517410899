"""Stopping a command from outside where nothing gets lost: Ctrl-C, and the SIGTERM that a scheduler sends.

Only commands listen (`listening`); in a library's use Python's own handlers and submitit's stay. While they listen, a
signal that comes within `unbroken` waits for its end; anywhere else it is raised at once.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


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
    ours = threading.current_thread() is threading.main_thread()
    plain = {signal.SIGINT: (signal.default_int_handler,), signal.SIGTERM: (signal.SIG_DFL,)}
    before = {
        s: signal.getsignal(s) for s, handlers in plain.items() if ours and signal.getsignal(s) in handlers
    }
    _State.waiting = None
    for number in before:
        signal.signal(number, _heard)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _heard(number: int, frame: FrameType | None) -> None:
    insisted = number == signal.SIGINT and _State.waiting == number  # Ctrl-C twice: at once, whatever is lost
    if _State.depth and not insisted:
        _State.waiting = number
        return
    _raise(number)


def _raise(number: int) -> None:
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
