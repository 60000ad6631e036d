"""One stream over several answers, for a server that sends less than it was asked for."""

import threading
from collections.abc import Callable

from ..driver import BlobInfo
from .stream import Body, closed_error

__all__ = ["JoinedStream"]


class JoinedStream:
    """The bytes up to `wanted`: those of `body`, which ends before `stop`, then those of `more`.

    Parameters
    ----------
    more : callable
        ``more(position)`` asks for what is wanted from there on, and returns a body and its stop.
    """

    info: BlobInfo  # set by a driver, where a reader shall learn the version

    def __init__(
        self, body: Body, stop: int, wanted: int, more: Callable[[int], tuple[Body, int]]
    ) -> None:
        self.new_connection = body.new_connection
        self._body = body
        self._stop = stop
        self._wanted = wanted
        self._more = more
        self._lock = threading.RLock()
        self._is_closed = False

    def readinto(self, buffer: memoryview, /) -> int:
        if not buffer:
            return 0
        count = self._body.readinto(buffer)
        if count or self._stop >= self._wanted:
            return count
        body, stop = self._more(self._stop)
        with self._lock:
            is_closed = self._is_closed
            if not is_closed:
                self._body, self._stop = body, stop
        if is_closed:
            body.close()
            raise closed_error()
        return body.readinto(buffer)

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
        self._body.close()
