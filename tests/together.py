"""Running calls side by side, and holding one of them at a chosen point."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from misbehaving import Behaviour, Stream, honest

__all__ = ["Call", "Gate", "switch_interval", "together", "wait_until"]

PATIENCE = 60.0  # seconds; only a test that fails waits so long


class Call(threading.Thread):
    """A call in a thread of its own; `outcome` gives what it returned, or raises what it raised."""

    def __init__(self, function: Callable[[], object]) -> None:
        super().__init__()
        self.function = function
        self.result: object = None
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.result = self.function()
        except BaseException as error:
            self.error = error

    def outcome(self) -> object:
        self.join(PATIENCE)
        assert not self.is_alive(), "the call does not come back"
        if self.error is not None:
            raise self.error
        return self.result


def together(*functions: Callable[[], object]) -> list[object]:
    """Call all of them at once; give what they return, in order, or raise the first error."""
    start = threading.Barrier(len(functions))

    def after_start(function: Callable[[], object]) -> Callable[[], object]:
        def run() -> object:
            start.wait(PATIENCE)
            return function()

        return run

    calls = [Call(after_start(function)) for function in functions]
    for call in calls:
        call.join(PATIENCE)
    return [call.outcome() for call in calls]


def wait_until(holds: Callable[[], object], said: str = "") -> None:
    """Wait for something that another thread or process does."""
    late = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < late, f"it has not come to pass {said}"
        time.sleep(0)


class Gate:
    """A point that a stream comes to, and does not pass until it is let."""

    def __init__(self) -> None:
        self._reached = threading.Event()
        self._opened = threading.Event()

    def pass_through(self) -> None:
        self._reached.set()
        assert self._opened.wait(PATIENCE), "the gate was never opened"

    def wait_until_reached(self) -> None:
        assert self._reached.wait(PATIENCE), "nobody came to the gate"

    def open(self) -> None:
        self._opened.set()

    def before(self, behave: Behaviour = honest) -> Behaviour:
        """A behaviour whose readinto() comes to this gate first."""

        def behaviour(stream: Stream, buffer: memoryview) -> object:
            self.pass_through()
            return behave(stream, buffer)

        return behaviour


@contextmanager
def switch_interval(seconds: float) -> Iterator[None]:
    """Let threads change as often as this.

    With a long interval a thread that waits for the GIL gets it only where another gives it up,
    so a thread that was woken runs exactly when the one that woke it is in a call without it.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(seconds)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
