"""A part that is read ahead: received into pooled memory, and lent or copied from there."""

from ._block import Block
from .asked import Asked
from .changes import Changes
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
    changes : Changes
        Of the engine: its lock guards all of this, and it is told when that changes.
    owner : Window or None
        The cursor that it is read ahead of; None: somebody asked for it.
    asked : Asked or None
        What of it that was.

    Attributes
    ----------
    used : int
        Bytes that were handed out: all from the start on, or what was asked for.
    is_dropped : bool
        Whether the engine has given it up; its memory is another's soon.
    is_begun : bool
        Whether a worker has come to it.
    is_running : bool
        Whether more may come.
    """

    __slots__ = (
        "_changes",
        "_stream",
        "asked",
        "block",
        "is_begun",
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
        changes: Changes,
        owner: Window | None,
        asked: Asked | None = None,
    ) -> None:
        self.start = start
        self.stop = stop
        self.block = block
        self.owner = owner
        self.asked = asked
        self.received = 0
        self.used = 0
        self.is_dropped = False
        self.is_begun = False
        self.is_running = stream is not None
        self._stream = stream
        self._changes = changes

    def run(self) -> None:
        """Receive all of it, on a worker."""
        assert self._stream is not None
        size = self.stop - self.start
        self.is_begun = True
        try:
            while self.received < size:
                with self._changes.lock:
                    if self.is_dropped:
                        break
                    rest = self.block.view(self.received, size, readonly=False)
                try:
                    count = self._stream.readinto(rest)
                finally:
                    rest.release()
                if not count:
                    break
                with self._changes.lock:
                    self.received += count
                    self._changes.tell()
        except BaseException:
            pass  # it is met again by who needs the bytes, if anybody does
        self._stream.close()
        with self._changes.lock:
            self.is_running = False
            self._changes.tell()

    def lend(self, start: int, stop: int) -> memoryview | None:
        """Give a read-only view of what has come of ``[start, stop)``; None: nothing has.

        While it lives, the memory is no other's. Call it under the lock.
        """
        stop = min(stop, self.start + self.received)
        if self.is_dropped or stop <= start:
            return None
        if self.asked is None:
            self.used = max(self.used, stop - self.start)
        else:
            self.used += self.asked.take(start, stop)
        return self.block.view(start - self.start, stop - self.start)

    def end(self) -> None:
        """Have the worker end, at once. From any thread, and not under the lock."""
        if self._stream is not None:
            self._stream.close()
