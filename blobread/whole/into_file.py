"""The bytes of a blob into a file: parts in parallel, each written in its place."""

from collections.abc import Callable, Iterable, Iterator

from ..transfer.budget import BUDGET, LEAST
from ..transfer.changes import Changes
from ..transfer.receive import receive
from ..transfer.resume import ResumingStream
from ..transfer.source import Source
from ..transfer.workers import PARTS
from .partial import Partial

__all__ = ["IntoFile"]

_PIECE = 1024 * 1024  # of memory for each connection
_LEAST_WRITE = 256 * 1024
_TICK = 0.1  # seconds between two looks at the progress


class IntoFile:
    """Brings parts of one blob, some at a time.

    Parameters
    ----------
    source : Source
    file : Partial
    parts : iterable of (start, stop)
    connections : callable
        Gives how many may be under way; asked before each part.
    """

    def __init__(
        self,
        source: Source,
        file: Partial,
        parts: Iterable[tuple[int, int]],
        connections: Callable[[], int],
    ) -> None:
        self._source = source
        self._file = file
        parts = list(parts)
        self._parts: Iterator[tuple[int, int]] = iter(parts)
        self._left = len(parts)
        self._connections = connections
        self._changes = Changes()
        self._workers = 0
        self._streams: set[ResumingStream] = set()
        self._error: BaseException | None = None
        self._is_over = False

    def begin(self) -> None:
        """Begin, on threads of the pool."""
        with self._changes.lock:
            count = self._more_workers()
        for _ in range(count):
            PARTS.run_soon(self._work)

    def bring(self, stream: ResumingStream, start: int, stop: int) -> None:
        """Write what a stream brings from `start` on, and before `stop`; on this thread."""
        with self._changes.lock:
            self._streams.add(stream)
        try:
            self._bring(stream, start, stop)
        finally:
            stream.close()
            with self._changes.lock:
                self._streams.discard(stream)

    def wait(self, on_tick: Callable[[], bool]) -> None:
        """Return when all is there; until then call `on_tick`, at once again if it is true.

        Raises
        ------
        BaseException
            What the first part to fail raised.
        """
        while True:
            with self._changes.lock:
                error, self._error = self._error, None  # its traceback will hold us
                waiter = self._changes.waiter()
                is_done = not self._left
            if error is not None:
                try:
                    raise error
                finally:
                    del error
            if is_done:
                return
            while on_tick() and not self._is_over and self._left:
                pass
            waiter.acquire(timeout=_TICK)

    def leave(self) -> None:
        """Stop all that is under way. When it was interrupted, call it again."""
        with self._changes.lock:
            self._is_over = True
            streams = list(self._streams)
            self._changes.tell()
        for stream in streams:
            stream.leave()

    def _more_workers(self) -> int:
        """How many more there shall be; they count from now on."""
        more = max(0, min(self._connections(), self._left) - self._workers)
        self._workers += more
        return more

    def _work(self) -> None:
        while (found := self._next()) is not None:
            for _ in range(self._done(*found)):
                PARTS.run_soon(self._work)

    def _next(self) -> tuple[ResumingStream, int, int] | None:
        with self._changes.lock:
            part = None
            if not self._is_over and self._workers <= max(1, self._connections()):
                part = next(self._parts, None)
            if part is None:
                self._workers -= 1
                return None
            stream = ResumingStream(self._source, *part)
            self._streams.add(stream)
        return stream, *part

    def _done(self, stream: ResumingStream, start: int, stop: int) -> int:
        """Bring one part; give how many workers more the link is found to be good for."""
        error: BaseException | None = None
        try:
            self._bring(stream, start, stop)
        except BaseException as failure:
            error = failure
        stream.close()
        with self._changes.lock:
            self._streams.discard(stream)
            self._left -= 1
            if error is not None and self._error is None:
                self._error = error
                self._is_over = True
            if not self._left or error is not None:
                self._changes.tell()
            return 0 if self._is_over else self._more_workers()

    def _bring(self, stream: ResumingStream, start: int, stop: int) -> None:
        if start >= stop:
            return
        block = BUDGET.take(min(_PIECE, stop - start))
        if block is None:
            block = BUDGET.take(min(LEAST, stop - start), least=True)
            assert block is not None
        try:
            while start < stop:
                with block.view(0, min(block.size, stop - start), readonly=False) as view:
                    count = receive(stream, view, min(len(view), _LEAST_WRITE))
                    with view[:count] as got:
                        self._file.write(got, start)
                start += count
        finally:
            BUDGET.give(block)
