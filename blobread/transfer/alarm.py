"""A call that is made at some time, unless what it watches over is done before."""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

__all__ = ["Alarm"]


class Alarm:
    """Calls `ring` on a thread of its own, if its context is not left by then.

    Parameters
    ----------
    at : float
        On the clock of `time.monotonic`.
    ring : callable
        It has come back when the context is left.
    """

    def __init__(self, at: float, ring: Callable[[], object]) -> None:
        left = min(max(at - time.monotonic(), 0.0), threading.TIMEOUT_MAX)
        self._timer = threading.Timer(left, ring)
        self._timer.daemon = True
        self._is_set = False

    def __enter__(self) -> Self:
        try:
            self._timer.start()
            self._is_set = True
        except RuntimeError:
            pass  # no thread can be had: the driver's own timeouts have to do
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._is_set:
            self._timer.cancel()
            self._timer.join()
