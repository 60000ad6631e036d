"""A part that is read ahead: received into pooled memory, and lent or copied from there."""

import threading

from ._block import Block
from .resume import ResumingStream
from .window import Window

__all__ = ["AheadPart"]


class AheadPart:
    """The bytes ``[start, stop)`` of a blob, of which `received` have come.

    Parameters
    ----------
    block : Block
        Of that size or larger.
    stream : ResumingStream
        That brings them.
    changed : threading.Condition
        Of the engine: guards all of this, and is told when it changes.

    owner : Window or None
        The cursor that it is read ahead of; None: somebody asked for it.

    Attributes
    ----------
    used : int
        Up to where bytes were handed out, from the start on.
    is_dropped : bool
        Whether the engine has given it up; its memory is another's soon.
    """

    __slots__ = (
        "_changed",
        "_stream",
        "block",
        "error",
        "is_dropped",
        "is_running",
        "owner",
        "received",
        "start",
        "stop",
        "used",
    )

    def __init__(
        self,
        start: int,
        stop: int,
        block: Block,
        stream: ResumingStream | None,
        changed: threading.Condition,
        owner: Window | None,
    ) -> None:
        self.start = start
        self.stop = stop
        self.block = block
        self.owner = owner
        self.received = 0
        self.used = 0
        self.error: BaseException | None = None
        self.is_dropped = False
        self.is_running = stream is not None
        self._stream = stream
        self._changed = changed

    def run(self) -> None:
        """Receive all of it, on a worker."""
        assert self._stream is not None
        size = self.stop - self.start
        error: BaseException | None = None
        try:
            while self.received < size:
                with self._changed:
                    if self.is_dropped:
                        break
                    rest = self.block.view(self.received, size, readonly=False)
                try:
                    count = self._stream.readinto(rest)
                finally:
                    rest.release()
                if not count:
                    break
                with self._changed:
                    self.received += count
                    self._changed.notify_all()
        except BaseException as failure:
            error = failure
        self._stream.close()
        with self._changed:
            self.is_running = False
            self.error = error
            self._changed.notify_all()

    def lend(self, start: int, stop: int) -> memoryview | None:
        """Give a read-only view of what has come of ``[start, stop)``; None: nothing has.

        While it lives, the memory is no other's. Call it under the lock.
        """
        stop = min(stop, self.start + self.received)
        if self.is_dropped or stop <= start:
            return None
        self.used = max(self.used, stop - self.start)
        return self.block.view(start - self.start, stop - self.start)

    def end(self) -> None:
        """Have the worker end, at once. From any thread, and not under the lock."""
        if self._stream is not None:
            self._stream.close()
