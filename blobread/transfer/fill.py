"""A large read in the foreground: parts in parallel, each received in its place."""

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Self

from .receive import receive, receive_and_drop
from .resume import ResumingStream
from .source import Source
from .workers import PARTS

__all__ = ["Fill", "Place"]

_TICK = 0.1  # seconds between two looks at the progress


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
    more: leaving the context sees to that, on every way out.
    """

    def __init__(
        self, source: Source, places: Sequence[Place], connections: Callable[[], int]
    ) -> None:
        self._source = source
        self._places: Iterator[Place] = iter(places)
        self._left = len(places)
        self._connections = connections
        self._changed = threading.Condition(threading.Lock())
        self._workers = 0
        self._streams: set[ResumingStream] = set()
        self._error: BaseException | None = None
        self._is_over = False

    def __enter__(self) -> Self:
        """Begin, on threads of the pool."""
        with self._changed:
            count = self._more_workers()
        for _ in range(count):
            PARTS.run_soon(self._work)
        return self

    def __exit__(self, *exc: object) -> None:
        while True:
            try:
                return self.leave()
            except KeyboardInterrupt:
                continue  # the caller's first one, or the error, is on its way already

    def wait(self, on_tick: Callable[[], object] | None = None) -> None:
        """Return when all is there.

        Raises
        ------
        BaseException
            What the first part to fail raised.
        """
        while True:
            with self._changed:
                if self._left and self._error is None:
                    self._changed.wait(_TICK if on_tick is not None else None)
                if self._error is not None:
                    raise self._error
                if not self._left:
                    return
            if on_tick is not None:
                on_tick()

    def leave(self) -> None:
        """Stop all that is under way; no memory is written when it returns. From any thread."""
        with self._changed:
            self._is_over = True
            if self._error is None:
                self._error = ValueError("I/O operation on closed file.")
            streams = list(self._streams)
            self._changed.notify_all()
        for stream in streams:
            stream.leave()

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
        with self._changed:
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
        with self._changed:
            self._streams.discard(stream)
            self._left -= 1
            if error is not None and self._error is None:
                self._error = error
                self._is_over = True
            if not self._left or error is not None:
                self._changed.notify_all()
            return 0 if self._is_over else self._more_workers()
