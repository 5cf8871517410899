"""A share of the work in a process of its own: it saves what it has when a cluster wants its place."""

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from magiqa.errors import one_line, users_mistake

LINGER_SECONDS = 600.0  # after SIGTERM, for what a cluster sends next


@dataclass(frozen=True)
class Outcome:
    """The result of one item of work: a value, or an error in a line."""

    value: Any = None
    error: str | None = None


class Preempted(KeyboardInterrupt):
    """Raised in a task that is to make room: it stops as by hand, which saves what it has."""


class Task:
    """A share of the work, in a process of its own.

    Args:
        run: takes one item after the other. items: the share. variables: of the environment, set before the work.
    """

    def __init__(
        self, run: Callable[[Any], Any], items: Sequence[Any], variables: Mapping[str, str] | None = None
    ) -> None:
        self.run, self.items, self.variables = run, list(items), dict(variables or {})

    def __call__(self) -> list[Outcome]:
        """Do the share; print the error of an item that fails, and go on with the next one."""
        os.environ |= self.variables  # before torch starts
        with saved_first():
            return [self._outcome(item) for item in self.items]

    def checkpoint(self) -> Any:
        """Return what submitit requeues: the same share, of which the cache holds what was done."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def _outcome(self, item: Any) -> Outcome:
        try:
            return Outcome(self.run(item))
        except Exception as error:
            if users_mistake(error) is None:
                traceback.print_exc()
            print(f"magiqa: {one_line(error)}", file=sys.stderr, flush=True)
            return Outcome(error=one_line(error))


@contextmanager
def saved_first() -> Iterator[None]:
    """Save what is encoded at a signal, then let the task be requeued.

    submitit's signal requeues at once, in the midst of the work, and submitit ignores SIGTERM, which SLURM sends some
    time before it kills. Here both stop the work as Ctrl-C does. Then submitit's own handler requeues if its signal
    came. After SIGTERM alone the task waits for that signal or for its end, which SLURM follows with a requeue of its
    own if it preempts: a task that left by itself would count as finished.
    """
    signum = signal.Signals[f"SIG{os.environ.get('SUBMITIT_PREEMPT_SIGNAL', 'USR2')}"]
    requeue = signal.getsignal(signum)
    came: set[int] = set()

    def stop(number: int, frame: Any) -> None:
        came.add(number)
        if len(came) == 1:
            raise Preempted

    before = {s: signal.signal(s, stop) for s in (signum, signal.SIGTERM)}
    try:
        yield
    except Preempted:
        print("magiqa: told to make room; what was encoded is saved", file=sys.stderr, flush=True)
        until = time.monotonic() + (LINGER_SECONDS if os.environ.get("SUBMITIT_EXECUTOR") == "slurm" else 0)
        while signum not in came and time.monotonic() < until:
            time.sleep(0.2)
        if signum in came and callable(requeue):
            requeue(signum, None)
        raise SystemExit(128 + signal.SIGTERM) from None
    finally:
        if not came:
            for s, handler in before.items():
                signal.signal(s, handler)
