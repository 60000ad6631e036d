"""A large read in the foreground: parts in parallel, each received in its place."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple, NoReturn

from .changes import Changes
from .receive import receive, receive_and_drop
from .resume import ResumingStream
from .source import Source
from .workers import PARTS

__all__ = ["Fill", "Place"]

_TICK = 0.1  # seconds between two looks at the progress, or for a worker that does not come


class Place(NamedTuple):
    """Bytes from `offset` on, and where they go: memory, or an int of bytes that nobody wants."""

    offset: int
    targets: Sequence[memoryview | int]

    @property
    def size(self) -> int:
        """How many bytes."""
        return sum(one if isinstance(one, int) else len(one) for one in self.targets)


class Fill:
    """Brings many places of one blob, some at a time.

    Parameters
    ----------
    source : Source
    places : sequence of Place
        They are begun in this order.
    connections : callable
        Gives how many may be under way; asked before each part.

    Notes
    -----
    Workers write into memory of the caller, so a call may return only when none of them can any
    more, on every way out: when a call of `leave` has come back.
    """

    def __init__(
        self, source: Source, places: Sequence[Place], connections: Callable[[], int]
    ) -> None:
        self._source = source
        self._all = places
        self._places: Iterator[Place] = iter(places)
        self._left = len(places)
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

    def wait(self, on_tick: Callable[[], object] | None = None) -> None:
        """Return when all is there.

        Raises
        ------
        BaseException
            What the first part to fail raised.
        """
        waiter = None
        while True:
            with self._changes.lock:
                if self._error is not None:
                    self._raise()
                if not self._left:
                    return
                is_idle = not self._streams
                waiter = waiter or self._changes.waiter()
            if waiter.acquire(_TICK if is_idle or on_tick is not None else -1):
                waiter = None
            elif is_idle:
                self._work_here()
            if on_tick is not None:
                on_tick()

    def leave(self) -> None:
        """Stop all that is under way, and let go of the memory.

        None of it is written when this returns. From any thread; when it was interrupted, call it
        again.
        """
        with self._changes.lock:
            self._is_over = True
            if self._error is None:
                self._error = ValueError("I/O operation on closed file.")
            streams = list(self._streams)
            self._changes.tell()
        for stream in streams:
            stream.leave()
        for place in self._all:
            for target in place.targets:
                if isinstance(target, memoryview):
                    with suppress(BufferError):  # a stream has kept something of it
                        target.release()

    def _raise(self) -> NoReturn:
        # Its traceback will hold us: if we held it too, only the collector could free either.
        error, self._error = self._error, ValueError("I/O operation on closed file.")
        assert error is not None
        try:
            raise error
        finally:
            del error

    def _work_here(self) -> None:
        """Bring a place on this thread: all of the pool are busy, or it was not told."""
        with self._changes.lock:
            if self._streams:
                return
            self._workers += 1
        if (found := self._next()) is not None:
            self._bring(*found)
            with self._changes.lock:
                self._workers -= 1

    def _more_workers(self) -> int:
        """How many more there shall be; they count from now on."""
        more = max(0, min(self._connections(), self._left) - self._workers)
        self._workers += more
        return more

    def _work(self) -> None:
        while (place := self._next()) is not None:
            more = self._bring(*place)
            for _ in range(more):
                PARTS.run_soon(self._work)

    def _next(self) -> tuple[ResumingStream, Place] | None:
        with self._changes.lock:
            place = None
            if not self._is_over and self._workers <= max(1, self._connections()):
                place = next(self._places, None)
            if place is None:
                self._workers -= 1
                return None
            stream = ResumingStream(self._source, place.offset, place.offset + place.size)
            self._streams.add(stream)
        return stream, place

    def _bring(self, stream: ResumingStream, place: Place) -> int:
        """Fill one place; give how many workers more the link is found to be good for."""
        error: BaseException | None = None
        try:
            for target in place.targets:
                if isinstance(target, int):
                    receive_and_drop(stream, target)
                else:
                    receive(stream, target)
        except BaseException as failure:
            error = failure
        stream.close()
        try:
            with self._changes.lock:
                self._streams.discard(stream)
                self._left -= 1
                if error is not None and self._error is None:
                    self._error = error
                    self._is_over = True
                if not self._left or error is not None:
                    self._changes.tell()
                return 0 if self._is_over else self._more_workers()
        finally:
            del error  # its traceback holds this frame, and that the memory of the caller
